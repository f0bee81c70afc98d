//! What leaves: invites of open cohorts are rendered and sent at their pace, and the outbox is delivered, with receipts.
//!
//! The freeze is read in the transaction that takes an invite, so none can slip past it.

use std::collections::BTreeMap;

use betagate_core::decide::MessageKind;
use betagate_core::desired::ProgramDesired;
use betagate_core::resources::{Address, Rate, Span};
use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;
use serde_json::json;

use super::{Controller, ControllerError, secret_in};
use crate::outbox::{CauseDocument, DeliveryError, Documents, Mail, Mailer, Note, Template, Webhook};
use crate::source::Snapshot;
use crate::store::invites::{self, Invite};
use crate::store::{Tx, leadership, outbox};

const INVITE_EXPIRES: Span = Span::seconds(14 * 86_400);
const USUAL_RATE: Rate = Rate { count: 30, seconds: 60 };
/// A dry run renders at most so many in a pass; nothing leaves, so it is not paced.
const DRY_AT_ONCE: i64 = 500;
const LEASE: SignedDuration = SignedDuration::from_secs(120);
/// What only the leading controller sends.
pub(super) const KINDS: &[&str] = &["note", "page", "document"];
const USUAL_SENDER: &str = "betagate@localhost";

impl Controller {
    /// Delivers what is due, and renders and sends the invites of one program. Protection comes first: this runs after what a pass decided is
    /// committed.
    pub(super) async fn dispatch(&mut self, name: &str) -> Result<(), ControllerError> {
        let (Some(built), Some(snapshot)) = (&self.built, self.snapshot.clone()) else { return Ok(()) };
        let Some(program) = built.desired.programs.get(name).cloned() else { return Ok(()) };
        self.deliver_outbox(&snapshot).await?;
        let mailer = match self.mailer(&program) {
            Ok(mailer) => mailer,
            Err(reason) => {
                tracing::warn!(program = name, %reason, "mail can't be sent; invites wait");
                return Ok(());
            }
        };
        let decided = self.programs.get(name).and_then(|state| state.decision.as_ref());
        let open: Vec<String> = decided
            .into_iter()
            .flat_map(|decision| &decision.effective.cohorts)
            .filter(|(_, state)| state.open)
            .map(|(cohort, _)| cohort.clone())
            .collect();
        for cohort in open {
            if let Some(rules) = program.cohorts.get(&cohort).and_then(|resource| resource.spec.invites.clone()) {
                let expires = rules.expire_after.unwrap_or(INVITE_EXPIRES);
                self.invite_cohort(&program, &snapshot, &mailer, &cohort, (&rules.template, expires, rules.rate))
                    .await?;
            }
        }
        Ok(())
    }

    fn mailer(&self, program: &ProgramDesired) -> Result<Mailer, String> {
        let data = &self.settings.data;
        let mail = program.program.spec.mail.clone().unwrap_or_default();
        let send = mail.send || std::env::var("SEND").is_ok_and(|send| send == "1");
        // A tour on a fast clock writes to nobody.
        if !send || self.settings.clock.is_demo() {
            return Ok(Mailer::dry_run(data));
        }
        let command = mail.send_command.or_else(|| std::env::var("SEND_CMD").ok());
        let mailer = match (&mail.smtp_ref, command) {
            (Some(secret), _) => Mailer::smtp(data, &secret_in(data, secret)?),
            (None, Some(command)) => Mailer::command(data, &command),
            (None, None) => return Err("sending is on, but neither smtpRef nor sendCommand says how".to_owned()),
        };
        mailer.map_err(|error| error.to_string())
    }

    async fn invite_cohort(
        &mut self,
        program: &ProgramDesired,
        snapshot: &Snapshot,
        mailer: &Mailer,
        cohort: &str,
        (template, expires, rate): (&str, Span, Option<Rate>),
    ) -> Result<(), ControllerError> {
        let now = self.settings.clock.now();
        let limit = if mailer.sends() {
            self.allowance(program.name(), cohort, rate.unwrap_or(USUAL_RATE), now)
        } else {
            DRY_AT_ONCE
        };
        if limit == 0 {
            return Ok(());
        }
        let template = match template_of(snapshot, template) {
            Ok(template) => template,
            Err(reason) => {
                tracing::warn!(cohort, %reason, "invites wait");
                return Ok(());
            }
        };
        let mut tx = self.settings.store.begin().await?;
        leadership::fence(&mut tx, self.epoch).await?;
        let at = (program.name(), cohort);
        let taken = invites::take_to_render(&mut tx, &self.settings.keys, at, limit, expires.after(now), now).await?;
        let mails: Vec<(&Invite, Mail)> = taken
            .iter()
            .filter_map(|rendered| {
                let invite = &rendered.invite;
                let to = invite.email.clone()?;
                let (code, expiry) = (rendered.code.reveal(), expires.after(now).to_string());
                let variables = self.invite_variables(program, cohort, &to, &code, &expiry);
                let effect_key = format!("invite/{}/{}", invite.id, invite.generation);
                Some((
                    invite,
                    Mail { effect_key, from: sender(program), to, template: template.clone(), variables, at: now },
                ))
            })
            .collect();
        let sent = if mailer.sends() {
            self.send_invites(tx, mailer, mails).await?
        } else {
            write_invites(tx, mailer, mails).await?
        };
        let (dispatched, failed) = sent;
        if dispatched + failed > 0 {
            tracing::info!(cohort, dispatched, failed, sent = mailer.sends(), "rendered invites");
            if let Err(error) = mailer.end_batch(now, dispatched, failed) {
                tracing::warn!(error = %error, "the dispatch log could not be written");
            }
        }
        Ok(())
    }

    /// Lets invites leave. They are taken before anything does: a crash from here on leaves one rendered and not sent, never sent twice.
    async fn send_invites(
        &self,
        tx: Tx,
        mailer: &Mailer,
        mails: Vec<(&Invite, Mail)>,
    ) -> Result<(u64, u64), ControllerError> {
        tx.commit().await?;
        let (mut dispatched, mut failed) = (0, 0);
        for (invite, mail) in mails {
            match mailer.deliver(&mail).await {
                Ok(_) => {
                    dispatched += 1;
                    let mut tx = self.settings.store.begin().await?;
                    invites::mark_sent(&mut tx, invite.id, invite.generation, mail.at).await?;
                    tx.commit().await?;
                }
                Err(error) => {
                    failed += 1;
                    tracing::warn!(invite = invite.id.to_string(), error = %error, "an invite was not delivered");
                }
            }
        }
        Ok((dispatched, failed))
    }

    /// How many messages a cohort's rate allows now: what has come in since the last one, at most a whole interval's worth.
    fn allowance(&mut self, program: &str, cohort: &str, rate: Rate, now: Timestamp) -> i64 {
        let state = self.programs.entry(program.to_owned()).or_default();
        let each = (i64::from(rate.seconds) * 1000 / i64::from(rate.count).max(1)).max(1);
        let next = state.paced.entry(cohort.to_owned()).or_insert(now);
        let waited = now.duration_since(*next).as_millis();
        if waited < 0 {
            return 0;
        }
        let allowed = (i64::try_from(waited).unwrap_or(0) / each + 1).min(i64::from(rate.count));
        *next = now.checked_add(SignedDuration::from_millis(each)).unwrap_or(now);
        allowed
    }

    fn invite_variables(
        &self,
        program: &ProgramDesired,
        cohort: &str,
        address: &str,
        code: &str,
        expiry: &str,
    ) -> BTreeMap<String, String> {
        let spec = &program.program.spec;
        let base = std::env::var("FRONTEND_URL").ok().or_else(|| spec.public_url.clone());
        let base = base.or_else(|| self.settings.probe.clone());
        let base = base.unwrap_or_default();
        let link = format!("{}/signup?invite={code}", base.trim_end_matches('/'));
        let feedback = spec.feedback_url.clone().unwrap_or_else(|| base.clone());
        let all = [
            ("address", address),
            ("cohort", cohort),
            ("code", code),
            ("link", &link),
            ("expiry", expiry),
            ("feedback_url", &feedback),
            ("program", program.name()),
        ];
        all.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    async fn deliver_outbox(&mut self, snapshot: &Snapshot) -> Result<(), ControllerError> {
        let now = self.settings.clock.now();
        let by = self.settings.holder.clone();
        let claim = outbox::Claim { kinds: KINDS, by: &by, limit: 50, lease: LEASE };
        let mut tx = self.settings.store.begin().await?;
        leadership::fence(&mut tx, self.epoch).await?;
        let messages = outbox::claim(&mut tx, &claim, now).await?;
        tx.commit().await?;
        for message in messages {
            let program = self.built.as_ref().and_then(|built| built.desired.programs.get(&message.intent.program));
            let what = serde_json::from_value::<MessageKind>(message.intent.payload.clone());
            let result = match (program, what) {
                (Some(program), Ok(what)) => {
                    self.deliver(program, snapshot, &message.intent.effect_key, what, now).await
                }
                (None, _) => Err(later(format!("program {} is not in this revision", message.intent.program))),
                (_, Err(error)) => Err(never(error.to_string())),
            };
            let mut tx = self.settings.store.begin().await?;
            match result {
                Ok(receipt) => outbox::succeed(&mut tx, message.id, &receipt, now).await?,
                Err(error) => {
                    tracing::warn!(effect = %message.intent.effect_key, error = %error, "a message was not delivered");
                    let again = now.checked_add(crate::store::backoff(message.attempts, message.id)).ok();
                    let again = again.filter(|_| error.retryable() || error.uncertain());
                    outbox::fail(&mut tx, message.id, &by, &error.to_string(), again, now).await?;
                }
            }
            tx.commit().await?;
            self.wake.notify_one();
        }
        Ok(())
    }

    async fn deliver(
        &self,
        program: &ProgramDesired,
        snapshot: &Snapshot,
        effect_key: &str,
        what: MessageKind,
        now: Timestamp,
    ) -> Result<serde_json::Value, DeliveryError> {
        match what {
            MessageKind::Document { run, owner, body } => {
                let document = CauseDocument { effect_key: effect_key.to_owned(), run, owner, body, at: now };
                let receipt = Documents::of(&self.settings.data).deliver(&document).await?;
                Ok(json!(receipt))
            }
            MessageKind::Page { person, text } => {
                let people = &program.program.spec.people;
                let address = people.get(&person).and_then(|person| person.notify.clone());
                let Some(address) = address else {
                    return Err(never(format!("{person} has no address to be paged at")));
                };
                let template = Template {
                    name: "page".to_owned(),
                    text: format!("Subject: {}: {{{{ subject }}}}\n\n{{{{ text }}}}\n", program.name()),
                    html: None,
                };
                let subject: String = text.chars().take(80).filter(|c| !c.is_control()).collect();
                let variables = [("subject".to_owned(), subject), ("text".to_owned(), text)].into();
                let mail = Mail {
                    effect_key: effect_key.to_owned(),
                    from: sender(program),
                    to: address,
                    template,
                    variables,
                    at: now,
                };
                Ok(json!(self.mailer(program).map_err(later)?.deliver(&mail).await?))
            }
            MessageKind::Note { channel, template, variables } => {
                let template = template_of(snapshot, &template).map_err(never)?;
                self.publish(program, effect_key, (&channel, template, variables), now).await
            }
        }
    }

    async fn publish(
        &self,
        program: &ProgramDesired,
        effect_key: &str,
        (channel, template, variables): (&str, Template, BTreeMap<String, String>),
        now: Timestamp,
    ) -> Result<serde_json::Value, DeliveryError> {
        let Some(channel) = program.program.spec.channels.get(channel) else {
            return Err(never(format!("there is no channel {channel}")));
        };
        let mut receipts = Vec::new();
        for address in &channel.email {
            let effect_key = format!("{effect_key}/{address}");
            let mail = Mail {
                effect_key,
                from: sender(program),
                to: address.clone(),
                template: template.clone(),
                variables: variables.clone(),
                at: now,
            };
            receipts.push(json!(self.mailer(program).map_err(later)?.deliver(&mail).await?));
        }
        if let Some(webhook) = &channel.webhook {
            let filled = template.fill(&variables)?;
            if self.settings.clock.is_demo() {
                receipts.push(json!({ "way": "none", "reference": "a tour on a fast clock calls no webhook" }));
                return Ok(json!(receipts));
            }
            let note = Note { effect_key: effect_key.to_owned(), title: filled.subject, text: filled.text, at: now };
            let url = self.address(webhook).map_err(never)?;
            receipts.push(json!(Webhook::new(url)?.deliver(&note).await?));
        }
        Ok(json!(receipts))
    }

    fn address(&self, address: &Address) -> Result<SecretString, String> {
        match (&address.url, &address.secret_ref) {
            (Some(url), _) => Ok(url.clone().into()),
            (None, Some(secret)) => secret_in(&self.settings.data, secret),
            (None, None) => Err("the channel has no address".to_owned()),
        }
    }
}

/// Writes invites out for review. They are taken when all are written: after a crash the same files are written again, and none is missing.
async fn write_invites(tx: Tx, mailer: &Mailer, mails: Vec<(&Invite, Mail)>) -> Result<(u64, u64), ControllerError> {
    let (mut written, mut failed) = (0, 0);
    for (invite, mail) in &mails {
        match mailer.deliver(mail).await {
            Ok(_) => written += 1,
            Err(error) if error.retryable() => {
                tracing::warn!(error = %error, "invites can't be written out; they wait");
                return Ok((0, 0));
            }
            Err(error) => {
                failed += 1;
                tracing::warn!(invite = invite.id.to_string(), error = %error, "an invite can't be rendered");
            }
        }
    }
    tx.commit().await?;
    Ok((written, failed))
}

fn later(reason: String) -> DeliveryError {
    DeliveryError::Later { reason, after: None }
}

fn never(reason: String) -> DeliveryError {
    DeliveryError::Never { reason }
}

fn sender(program: &ProgramDesired) -> String {
    let mail = program.program.spec.mail.as_ref();
    mail.and_then(|mail| mail.from.clone()).unwrap_or_else(|| USUAL_SENDER.to_owned())
}

/// A template of the snapshot, by its name in `cohorts/templates/`.
fn template_of(snapshot: &Snapshot, name: &str) -> Result<Template, String> {
    let read = |ending: &str| -> Option<String> {
        let file = snapshot.file(&format!("cohorts/templates/{name}.{ending}")).ok()?;
        String::from_utf8(file.read().ok()?.to_vec()).ok()
    };
    let text = read("txt").ok_or_else(|| format!("there is no template cohorts/templates/{name}.txt"))?;
    Ok(Template { name: name.to_owned(), text, html: read("html") })
}
