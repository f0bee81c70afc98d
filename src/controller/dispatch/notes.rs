//! The outbox: notes, pages and documents, claimed for a while and receipted; at least once, with the same Message-ID.
//!
//! Must not know: invites.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{MutexGuard, PoisonError};

use betagate_core::decide::MessageKind;
use betagate_core::desired::ProgramDesired;
use betagate_core::resources::Address;
use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;
use serde_json::json;
use uuid::Uuid;

use super::super::ControllerError;
use super::letters::{sender, template_in};
use super::{Batch, Delivered, Order, Post, later, never};
use crate::cluster::LONGEST_PAUSE;
use crate::outbox::{CauseDocument, DeliveryError, Documents, Mail, Minutes, Note, Template, Webhook};
use crate::secrets::secret_in;
use crate::source::Snapshot;
use crate::store::{Tx, leadership, outbox};

pub(super) const LEASE: SignedDuration = SignedDuration::from_secs(120);

impl Post {
    /// Delivers what is due, as much as is taken at once, each message with its receipt. After a round that failed, what that one had claimed is delivered again under the same name:
    /// this sender is the only one of its kinds, and the claim would only lapse after the step's time.
    pub(super) async fn deliver_messages(&self, batch: &Batch) -> Result<Delivered, ControllerError> {
        if self.orders.borrow().is_empty() {
            return Ok(Delivered::Nothing(None));
        }
        let again = self.dropped().remove(batch.kinds[0]);
        let round = self.deliver_round(batch, again).await;
        if round.is_err() {
            self.dropped().insert(batch.kinds[0]);
        }
        round
    }

    fn dropped(&self) -> MutexGuard<'_, BTreeSet<&'static str>> {
        self.dropped.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn deliver_round(&self, batch: &Batch, again: bool) -> Result<Delivered, ControllerError> {
        let now = self.clock.now();
        let next = outbox::next_at(&self.store, batch.kinds).await?;
        if !again && next.is_none_or(|at| at > now) {
            return Ok(Delivered::Nothing(next));
        }
        let by = self.holder.clone();
        let claim = outbox::Claim { kinds: batch.kinds, by: &by, limit: batch.limit, lease: batch.lease };
        let mut tx = self.store.begin().await?;
        leadership::fence(&mut tx, self.epoch).await?;
        if again {
            outbox::take_over(&mut tx, batch.kinds).await?;
        }
        let messages = outbox::claim(&mut tx, &claim, now).await?;
        tx.commit().await?;
        if messages.is_empty() {
            return Ok(Delivered::Nothing(next));
        }
        for message in messages {
            if self.is_ending() {
                // Its claim is taken over by the next controller.
                return Ok(Delivered::Nothing(None));
            }
            let moment = |when: &str| format!("send {}: {when}", message.intent.effect_key);
            self.faults.at(|| moment("before effect")).await;
            let order = self.orders.borrow().get(&message.intent.program).cloned();
            let what = serde_json::from_value::<MessageKind>(message.intent.payload.clone());
            let result = match (order, what) {
                (Some(order), Ok(what)) => {
                    self.deliver(&order, (&message.intent.effect_key, message.id), what, now).await
                }
                (None, _) => Err(later(format!("program {} is not in this revision", message.intent.program))),
                (_, Err(error)) => Err(never(error.to_string())),
            };
            self.faults.at(|| moment("between effect and receipt")).await;
            let mut tx = self.store.begin().await?;
            match result {
                Ok(receipt) => outbox::succeed(&mut tx, message.id, &receipt, now).await?,
                Err(error) => {
                    tracing::warn!(effect = %message.intent.effect_key, error = %error, "a message was not delivered");
                    self.put_back(&mut tx, &message, &error).await?;
                }
            }
            tx.commit().await?;
            self.faults.at(|| moment("after receipt")).await;
            self.wake.notify_one();
        }
        Ok(Delivered::Some)
    }

    /// What has not left goes again after a while that grows with its tries; what waits for the cluster is not kept longer for having waited long.
    async fn put_back(
        &self,
        tx: &mut Tx,
        message: &outbox::Message,
        error: &DeliveryError,
    ) -> Result<(), ControllerError> {
        // From now on: the try itself may have taken longer than the wait is.
        let now = self.clock.now();
        let (id, by, words) = (message.id, self.holder.as_str(), error.to_string());
        if matches!(error, DeliveryError::Waits { .. }) {
            let again = now.checked_add(LONGEST_PAUSE).unwrap_or(now);
            return Ok(outbox::postpone(tx, id, by, &words, again).await?);
        }
        let again = now.checked_add(crate::store::backoff(message.attempts, id)).ok();
        let again = again.filter(|_| error.retryable() || error.uncertain());
        Ok(outbox::fail(tx, id, by, &words, again, now).await?)
    }

    async fn deliver(
        &self,
        order: &Order,
        (effect_key, record): (&str, Uuid),
        what: MessageKind,
        now: Timestamp,
    ) -> Result<serde_json::Value, DeliveryError> {
        let program = &order.program;
        match what {
            MessageKind::Proposal { .. }
            | MessageKind::Pull { .. }
            | MessageKind::Tag { .. }
            | MessageKind::Job { .. }
            | MessageKind::Call { .. } => self.perform(order, (effect_key, record), what, now).await,
            MessageKind::Minutes { call, body } => {
                let minutes = Minutes::with(&self.data, &self.kept_in);
                Ok(json!(minutes.deliver(effect_key, &call, &body, now).await?))
            }
            MessageKind::Document { run, owner, body } => {
                let document = CauseDocument { effect_key: effect_key.to_owned(), run, owner, body, at: now };
                let receipt = Documents::with(&self.data, &self.kept_in).deliver(&document).await?;
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
                    unsubscribe: None,
                    test: false,
                };
                Ok(json!(self.way(program).map_err(later)?.0.deliver(&mail).await?))
            }
            MessageKind::Note { channel, template, variables, drill } => {
                let template = template_in(&order.snapshot, &template, "").map_err(never)?;
                let template = if drill { as_drill(template) } else { template };
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
        let (mut told, mut away) = (Told::default(), None);
        for (place, address) in (1..).zip(&channel.email) {
            let effect_key = format!("{effect_key}/{address}");
            let mail = Mail {
                effect_key,
                from: sender(program),
                to: address.clone(),
                template: template.clone(),
                variables: variables.clone(),
                at: now,
                unsubscribe: None,
                test: false,
            };
            let answer = match (&away, self.way(program)) {
                // Each would wait as long for nothing, and others' notes with them.
                (Some(reason), _) => Err(DeliveryError::Away { reason: String::clone(reason) }),
                (None, Ok((way, _))) => way.deliver(&mail).await,
                (None, Err(why)) => Err(later(why)),
            };
            if let Err(DeliveryError::Away { reason }) = &answer {
                away = Some(reason.clone());
            }
            told.one(format!("mail {place}"), answer.map(|receipt| json!(receipt)));
        }
        if let Some(webhook) = &channel.webhook {
            told.one("webhook".to_owned(), self.post(webhook, effect_key, (&template, &variables), now).await);
        }
        told.all()
    }

    async fn post(
        &self,
        webhook: &Address,
        effect_key: &str,
        (template, variables): (&Template, &BTreeMap<String, String>),
        now: Timestamp,
    ) -> Result<serde_json::Value, DeliveryError> {
        let filled = template.fill(variables)?;
        if self.clock.is_demo() {
            return Ok(json!({ "way": "none", "reference": "a tour on a fast clock calls no webhook" }));
        }
        let note = Note { effect_key: effect_key.to_owned(), title: filled.subject, text: filled.text, at: now };
        let url = self.address(webhook).map_err(never)?;
        Ok(json!(Webhook::new(url)?.deliver(&note).await?))
    }

    /// The subject of a note.
    pub(in crate::controller) fn subject(
        &self,
        snapshot: Option<&Snapshot>,
        what: &MessageKind,
    ) -> Result<String, String> {
        let MessageKind::Note { template, variables, .. } = what else { return Err("it is no note".to_owned()) };
        let snapshot = snapshot.ok_or("there is no revision")?;
        let filled = template_in(snapshot, template, "")?.fill(variables);
        filled.map(|filled| filled.subject).map_err(|error| error.to_string())
    }

    /// What would keep a message of a step from leaving, as far as it shows without sending it.
    pub(in crate::controller) fn refusal(
        &self,
        program: &ProgramDesired,
        snapshot: Option<&Snapshot>,
        what: &MessageKind,
    ) -> Option<String> {
        let spec = &program.program.spec;
        let reached = |address: Option<&Address>| match address {
            Some(address) => self.address(address).err(),
            None => Some("it has no address".to_owned()),
        };
        match what {
            MessageKind::Note { channel, .. } => {
                let to = spec.channels.get(channel);
                let way = to.filter(|to| !to.email.is_empty()).and_then(|_| self.way(program).err());
                let hook = to.and_then(|to| to.webhook.as_ref()).and_then(|hook| reached(Some(hook)));
                self.subject(snapshot, what).err().or(way).or(hook)
            }
            MessageKind::Pull { .. } => self.forge(spec.forge.as_ref()?).err().map(|error| error.to_string()),
            MessageKind::Call { call, .. } => {
                let source = call.source.as_ref().and_then(|name| spec.sources.get(name)?.http.as_ref());
                let channel = call.channel.as_ref().and_then(|name| spec.channels.get(name)?.webhook.as_ref());
                reached(source.or(channel))
            }
            _ => None,
        }
    }

    pub(super) fn address(&self, address: &Address) -> Result<SecretString, String> {
        match (&address.url, &address.secret_ref) {
            (Some(url), _) => Ok(url.clone().into()),
            (None, Some(secret)) => secret_in(&self.data, secret),
            (None, None) => Err("the channel has no address".to_owned()),
        }
    }
}

/// What came of a note, recipient by recipient: one that is refused keeps it from nobody else.
#[derive(Default)]
struct Told {
    receipts: Vec<serde_json::Value>,
    /// By their places in the channel: an address stands in no log.
    failures: Vec<(String, DeliveryError)>,
}

impl Told {
    fn one(&mut self, recipient: String, answer: Result<serde_json::Value, DeliveryError>) {
        match answer {
            Ok(receipt) => self.receipts.push(receipt),
            Err(error) => self.failures.push((recipient, error)),
        }
    }

    /// Every receipt; else, as one failure, who has none and why. It is tried again while that can help any of them.
    fn all(self) -> Result<serde_json::Value, DeliveryError> {
        if self.failures.is_empty() {
            return Ok(json!(self.receipts));
        }
        let (told, of) = (self.receipts.len(), self.receipts.len() + self.failures.len());
        let why: Vec<String> = self.failures.iter().map(|(who, error)| format!("{who}: {error}")).collect();
        let reason = format!("{told} of {of} have it; {}", why.join("; "));
        let after = self.failures.iter().filter_map(|(_, error)| match error {
            DeliveryError::Later { after, .. } => *after,
            _ => None,
        });
        Err(if self.failures.iter().any(|(_, error)| error.retryable()) {
            DeliveryError::Later { reason, after: after.max() }
        } else if self.failures.iter().any(|(_, error)| error.uncertain()) {
            DeliveryError::Uncertain { reason }
        } else {
            never(reason)
        })
    }
}

/// A template whose message says that it is a drill. As when it is filled, its first line is the subject's, and the rest the body, whatever ends its lines.
fn as_drill(mut template: Template) -> Template {
    let (subject, body) = template.text.split_once('\n').unwrap_or((&template.text, ""));
    let subject = subject.replacen("Subject:", "Subject: DRILL:", 1);
    let body = body.trim_start_matches(['\r', '\n']);
    template.text =
        format!("{}\n\nThis is a drill: nothing was changed, and nothing is to be done.\n\n{body}", subject.trim_end());
    template.html =
        template.html.map(|html| format!("<p><strong>This is a drill: nothing was changed.</strong></p>\n{html}"));
    template
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

    use super::*;

    #[test]
    fn a_drill_says_so_in_subject_and_body_whatever_ends_the_lines_of_its_template() {
        for text in ["Subject: Down\n\nIt is.\n\nReally.\n", "Subject: Down\r\n\r\nIt is.\r\n\r\nReally.\r\n"] {
            let template = Template { name: "note".to_owned(), text: text.to_owned(), html: None };
            let filled = as_drill(template).fill(&BTreeMap::new()).unwrap();
            assert_eq!(filled.subject, "DRILL: Down");
            let lines: Vec<&str> = filled.text.lines().filter(|line| !line.is_empty()).collect();
            assert_eq!(
                lines,
                ["This is a drill: nothing was changed, and nothing is to be done.", "It is.", "Really."],
                "{text:?}"
            );
        }
    }
}
