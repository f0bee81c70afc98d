//! What a message would look like: printed for whoever writes templates, or sent to an operator's own address through the real mailer. No row is
//! touched, and its code lets nobody in.
//!
//! Must not know: who is invited.

use betagate_core::desired::ProgramDesired;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

use super::super::requests::refused;
use super::super::{Controller, ControllerError};
use super::invites::good_for;
use super::letters::{Addressee, NO_CODE, base, letter, sender, usable};
use super::{Order, Post};
use crate::outbox::Mail;
use crate::source::Snapshot;
use crate::store::intents::{self, Intent, State};

/// A message that was not sent.
#[derive(Debug, Serialize)]
pub struct Sample {
    /// The template's name, with its language where it has one.
    pub template: String,
    /// The sender.
    pub from: String,
    /// The recipient.
    pub to: String,
    /// The subject.
    pub subject: String,
    /// The text.
    pub text: String,
    /// The same in HTML, where the template has it.
    pub html: Option<String>,
}

/// The invite of a cohort as it would be sent in a language to an address, with a code that is none.
///
/// # Errors
/// What is wrong with the template, in words.
pub fn sample_letter(
    snapshot: &Snapshot,
    program: &ProgramDesired,
    (cohort, locale): (&str, &str),
    to: &str,
    now: Timestamp,
) -> Result<Sample, String> {
    let base = base(program, Some("http://127.0.0.1:8080"));
    let mail = sample_mail(snapshot, program, (cohort, locale), to, (&base, now))?;
    // As it would leave: an address that is none is refused here too.
    mail.render().map_err(|error| error.to_string())?;
    let filled = mail.template.fill(&mail.variables).map_err(|error| error.to_string())?;
    let (template, from, to) = (mail.template.name, sender(program), mail.to);
    Ok(Sample { template, from, to, subject: filled.subject, text: filled.text, html: filled.html })
}

fn sample_mail(
    snapshot: &Snapshot,
    program: &ProgramDesired,
    (cohort, locale): (&str, &str),
    to: &str,
    (base, now): (&str, Timestamp),
) -> Result<Mail, String> {
    let template = usable(snapshot, program, (cohort, locale))?;
    let expires_at = good_for(program, cohort).after(now);
    let to = Addressee { invite: (Uuid::nil(), 0), cohort, email: to, code: NO_CODE, expires_at };
    Ok(letter(program, template, &to, (base, None), now))
}

impl Controller {
    /// Sends a test beside the passes; within one that waits for everything.
    pub(in crate::controller) async fn send_test(&self, intent: &Intent) -> Option<(State, serde_json::Value)> {
        let program = intent.body["program"].as_str().unwrap_or_default();
        let (built, snapshot) = (self.built.as_ref()?, self.built_from.clone()?);
        let Some(program) = built.desired.programs.get(program) else {
            return Some(refused(format!("there is no program '{program}'")));
        };
        let order = Order { program: program.clone(), snapshot, open: Vec::new() };
        if self.patient {
            return Some(self.post.test(&order, intent).await);
        }
        if self.post.testing.lock().await.insert(intent.id) {
            let (post, intent) = (self.post.clone(), intent.clone());
            tokio::spawn(async move {
                let answer = post.test(&order, &intent).await;
                if let Err(error) = post.answer_test(intent.id, answer).await {
                    tracing::warn!(error = %error, "what became of a test could not be written down; it is sent again");
                }
                post.testing.lock().await.remove(&intent.id);
            });
        }
        None
    }
}

impl Post {
    async fn answer_test(&self, id: Uuid, (state, result): (State, serde_json::Value)) -> Result<(), ControllerError> {
        let mut tx = self.store.begin().await?;
        intents::answer(&mut tx, id, state, &result, self.clock.now()).await?;
        tx.commit().await?;
        Ok(())
    }

    async fn test(&self, order: &Order, intent: &Intent) -> (State, serde_json::Value) {
        let text = |field: &str| intent.body[field].as_str().unwrap_or_default();
        let base = base(&order.program, self.here.as_deref());
        let (of, now) = ((text("cohort"), text("locale")), self.clock.now());
        let mail = match sample_mail(&order.snapshot, &order.program, of, text("to"), (&base, now)) {
            Ok(mail) => Mail { effect_key: format!("test/{}", intent.id), test: true, ..mail },
            Err(reason) => return refused(reason),
        };
        // Also while sending is off: it is what is tried before it is switched on.
        let mailer = match self.real_way(&order.program) {
            Ok((mailer, _)) => mailer,
            Err(reason) => return refused(reason),
        };
        match mailer.deliver(&mail).await {
            Ok(receipt) => (
                State::Done,
                json!({ "way": receipt.way, "reference": receipt.reference, "template": mail.template.name }),
            ),
            Err(error) => refused(error.to_string()),
        }
    }
}
