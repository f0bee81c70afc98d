//! The outbox: notes, pages and documents, claimed for a while and receipted; at least once, with the same Message-ID.
//!
//! Must not know: invites.

use std::collections::BTreeMap;

use betagate_core::decide::MessageKind;
use betagate_core::desired::ProgramDesired;
use betagate_core::resources::Address;
use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;
use serde_json::json;

use super::super::{ControllerError, secret_in};
use super::letters::{sender, template_in};
use super::{Batch, Order, Post, later, never};
use crate::outbox::{CauseDocument, DeliveryError, Documents, Mail, Note, Template, Webhook};
use crate::store::{leadership, outbox};

pub(super) const LEASE: SignedDuration = SignedDuration::from_secs(120);
/// What only the leading controller sends.
pub(in crate::controller) const KINDS: &[&str] = &["note", "page", "document"];

impl Post {
    /// Delivers what is due, each message with its receipt.
    pub(super) async fn deliver_messages(&self, batch: &Batch) -> Result<(), ControllerError> {
        if self.orders.borrow().is_empty() {
            return Ok(());
        }
        let now = self.clock.now();
        let by = self.holder.clone();
        let claim = outbox::Claim { kinds: batch.kinds, by: &by, limit: batch.limit, lease: batch.lease };
        let mut tx = self.store.begin().await?;
        leadership::fence(&mut tx, self.epoch).await?;
        let messages = outbox::claim(&mut tx, &claim, now).await?;
        tx.commit().await?;
        for message in messages {
            if self.is_ending() {
                // Its claim is taken over by the next controller.
                return Ok(());
            }
            let moment = |when: &str| format!("send {}: {when}", message.intent.effect_key);
            self.faults.at(|| moment("before effect")).await;
            let order = self.orders.borrow().get(&message.intent.program).cloned();
            let what = serde_json::from_value::<MessageKind>(message.intent.payload.clone());
            let result = match (order, what) {
                (Some(order), Ok(what)) => self.deliver(&order, &message.intent.effect_key, what, now).await,
                (None, _) => Err(later(format!("program {} is not in this revision", message.intent.program))),
                (_, Err(error)) => Err(never(error.to_string())),
            };
            self.faults.at(|| moment("between effect and receipt")).await;
            let mut tx = self.store.begin().await?;
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
            self.faults.at(|| moment("after receipt")).await;
            self.wake.notify_one();
        }
        Ok(())
    }

    async fn deliver(
        &self,
        order: &Order,
        effect_key: &str,
        what: MessageKind,
        now: Timestamp,
    ) -> Result<serde_json::Value, DeliveryError> {
        let program = &order.program;
        match what {
            MessageKind::Job { .. } | MessageKind::Call { .. } => self.perform(program, effect_key, what, now).await,
            MessageKind::Document { run, owner, body } => {
                let document = CauseDocument { effect_key: effect_key.to_owned(), run, owner, body, at: now };
                let receipt = Documents::of(&self.data).deliver(&document).await?;
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
            MessageKind::Note { channel, template, variables } => {
                let template = template_in(&order.snapshot, &template, "").map_err(never)?;
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
                unsubscribe: None,
                test: false,
            };
            receipts.push(json!(self.way(program).map_err(later)?.0.deliver(&mail).await?));
        }
        if let Some(webhook) = &channel.webhook {
            let filled = template.fill(&variables)?;
            if self.clock.is_demo() {
                receipts.push(json!({ "way": "none", "reference": "a tour on a fast clock calls no webhook" }));
                return Ok(json!(receipts));
            }
            let note = Note { effect_key: effect_key.to_owned(), title: filled.subject, text: filled.text, at: now };
            let url = self.address(webhook).map_err(never)?;
            receipts.push(json!(Webhook::new(url)?.deliver(&note).await?));
        }
        Ok(json!(receipts))
    }

    pub(super) fn address(&self, address: &Address) -> Result<SecretString, String> {
        match (&address.url, &address.secret_ref) {
            (Some(url), _) => Ok(url.clone().into()),
            (None, Some(secret)) => secret_in(&self.data, secret),
            (None, None) => Err("the channel has no address".to_owned()),
        }
    }
}
