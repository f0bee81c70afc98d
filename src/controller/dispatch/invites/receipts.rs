//! What became of a message that was handed over: its receipt, how long the others wait for the server, and why, for people to read.
//!
//! Must not know: which message is next.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::super::super::ControllerError;
use super::super::{Order, Post};
use super::Lane;
use crate::outbox::{DeliveryError, Mailer};
use crate::store::invites::{self, Due, Pause, Settled};
use crate::store::{backoff, leadership};

/// So many refusals in a row are no longer about recipients: the sender waits before it burns through a list.
const REFUSED_IN_A_ROW: u32 = 10;
/// The longest wait for a server that is away.
const LONGEST_PAUSE: SignedDuration = SignedDuration::from_secs(300);
/// How long a receipt waits for a database that is away before it is tried again.
const RECEIPT_RETRY: std::time::Duration = std::time::Duration::from_millis(200);

impl Lane {
    pub(super) async fn settle(
        &mut self,
        post: &Post,
        due: &Due,
        attempts: i64,
        outcome: Result<(), DeliveryError>,
    ) -> Result<(), ControllerError> {
        let now = post.clock.now();
        let why = outcome.as_ref().err().map(ToString::to_string).unwrap_or_default();
        if outcome.is_err() {
            tracing::warn!(invite = due.id.to_string(), error = %why, "an invite was not delivered");
        }
        let settled = match &outcome {
            Ok(()) => {
                (self.troubles, self.refusals) = (0, 0);
                self.dispatched += 1;
                Settled::Sent
            }
            Err(DeliveryError::Away { .. } | DeliveryError::Waits { .. }) => {
                self.pause(why.clone(), now);
                let until = self.paused.as_ref().and_then(|(until, _)| *until).unwrap_or(now);
                Settled::Later { why: &why, at: until, counts: false }
            }
            Err(DeliveryError::Later { after, .. }) => {
                self.failed += 1;
                let asked = after.and_then(|after| SignedDuration::try_from(after).ok()).unwrap_or_default();
                let wait = backoff(attempts, due.id).max(asked);
                Settled::Later { why: &why, at: now.checked_add(wait).unwrap_or(now), counts: true }
            }
            Err(DeliveryError::Never { .. }) => {
                (self.failed, self.refusals) = (self.failed + 1, self.refusals + 1);
                if self.refusals >= REFUSED_IN_A_ROW {
                    self.pause(format!("{} messages in a row were refused; the last: {why}", self.refusals), now);
                }
                Settled::Failed(&why)
            }
            Err(DeliveryError::Uncertain { .. }) => {
                self.failed += 1;
                // A server that takes messages and never answers must not put a whole list in doubt.
                self.troubles += 1;
                if self.troubles > 1 {
                    self.pause(why.clone(), now);
                }
                Settled::Uncertain(&why)
            }
        };
        loop {
            match write_receipt(post, due, settled, now).await {
                Err(error) if error.retryable() && !post.is_ending() => tokio::time::sleep(RECEIPT_RETRY).await,
                other => return other,
            }
        }
    }

    /// Nothing leaves for a while, longer each time in a row.
    pub(super) fn pause(&mut self, why: String, now: Timestamp) {
        self.troubles += 1;
        let wait = backoff(self.troubles.into(), Uuid::nil()).min(LONGEST_PAUSE);
        tracing::warn!(reason = %why, "invites wait for the mail server");
        self.paused = Some((now.checked_add(wait).ok(), why));
    }

    pub(super) fn end_batch(&mut self, mailer: &Mailer, now: Timestamp) {
        if self.dispatched + self.failed == 0 {
            return;
        }
        let (dispatched, failed) = (std::mem::take(&mut self.dispatched), std::mem::take(&mut self.failed));
        tracing::info!(dispatched, failed, "sent invites");
        if let Err(error) = mailer.end_batch(now, dispatched, failed) {
            tracing::warn!(error = %error, "the dispatch log could not be written");
        }
    }

    /// Writes down why invites wait, when that has changed.
    pub(super) async fn tell(&mut self, post: &Post, order: &Order) -> Result<(), ControllerError> {
        let now = post.clock.now();
        let mut wanted: BTreeMap<String, Pause> = BTreeMap::new();
        if let Some((until, reason)) = &self.paused {
            let (cohort, reason) = (String::new(), reason.clone());
            wanted.insert(cohort.clone(), Pause { cohort, reason, since: now, until: *until });
        }
        for ((cohort, _), letter) in &self.letters {
            if let Err(reason) = letter {
                let pause = Pause { cohort: cohort.clone(), reason: reason.clone(), since: now, until: None };
                wanted.entry(cohort.clone()).or_insert(pause);
            }
        }
        let wanted: Vec<Pause> = wanted.into_values().collect();
        let same = |known: &Vec<Pause>| {
            let plain = |pause: &Pause| (pause.cohort.clone(), pause.reason.clone(), pause.until);
            known.iter().map(plain).eq(wanted.iter().map(plain))
        };
        if self.told.as_ref().is_some_and(same) {
            return Ok(());
        }
        for pause in wanted.iter().filter(|pause| pause.until.is_none()) {
            tracing::warn!(program = order.program.name(), cohort = %pause.cohort, reason = %pause.reason, "invites wait");
        }
        let mut tx = post.store.begin().await?;
        leadership::fence(&mut tx, post.epoch).await?;
        invites::set_pauses(&mut tx, order.program.name(), &wanted).await?;
        tx.commit().await?;
        self.told = Some(wanted);
        Ok(())
    }
}

async fn write_receipt(post: &Post, due: &Due, settled: Settled<'_>, now: Timestamp) -> Result<(), ControllerError> {
    let mut tx = post.store.begin().await?;
    invites::settle_mail(&mut tx, due.id, due.generation, settled, now).await?;
    tx.commit().await?;
    Ok(())
}
