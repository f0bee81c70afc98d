//! The mail of invites: how it stands, what is in doubt and sent again on a person's word, and a test to the operator's own address.
//!
//! Must not know: templates, mail servers.

use std::collections::BTreeMap;

use betagate_core::cohort::{AddressRules, normalise};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{Desk, DeskError, invites as desk_invites};
use crate::controller::SEND_TEST;
use crate::store::invites::{self, Filter, Invite, MailState, State};
use crate::store::{Store, StoreError, intents};

/// How many of those in doubt are sent again at once.
const PAGE: i64 = 1000;

impl Desk<'_> {
    /// Of each program that sends: counts by cohort and state, and why it waits.
    pub(super) async fn mail(&self) -> Result<Value, DeskError> {
        let mut programs: BTreeMap<String, BTreeMap<String, Map<String, Value>>> = BTreeMap::new();
        for (program, cohort, state, count) in invites::mail_counts(self.store, None).await? {
            programs.entry(program).or_default().entry(cohort).or_default().insert(state.to_string(), json!(count));
        }
        let mut pauses: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for (program, pause) in invites::all_pauses(self.store).await? {
            let shown =
                json!({ "cohort": pause.cohort, "reason": pause.reason, "since": pause.since, "until": pause.until });
            pauses.entry(program.clone()).or_default().push(shown);
            programs.entry(program).or_default();
        }
        let shown = programs.into_iter().map(|(program, cohorts)| {
            let pauses = pauses.remove(&program).unwrap_or_default();
            json!({ "program": program, "cohorts": cohorts, "waits": pauses })
        });
        Ok(shown.collect())
    }

    /// Sends every invite of a cohort again of which nobody knows whether it arrived, each with a new code.
    pub(super) async fn resend_uncertain(
        &self,
        program: Option<String>,
        cohort: &str,
        by: &str,
    ) -> Result<Value, DeskError> {
        let program = self.program(program).await?;
        self.expect_person(&program, by).await?;
        let until = desk_invites::good_until(self.store, cohort, self.now).await?;
        let (actor, mut resent, mut after) = (self.actor(by), 0, None);
        loop {
            let (program, cohort) = (Some(program.clone()), Some(cohort.to_owned()));
            let page = Filter { program, cohort, active_only: true, after, limit: PAGE, ..Filter::default() };
            let page = invites::list(self.store, &page).await?;
            let Some(last) = page.last() else { return Ok(json!({ "resent": resent })) };
            after = Some(last.id);
            let states = invites::mail_states(self.store, page.iter().map(|invite| invite.id).collect()).await?;
            let mut tx = self.store.begin().await?;
            for invite in &page {
                if states.get(&invite.id) == Some(&MailState::Uncertain) {
                    let again = invites::resend(&mut tx, invite.id, until, &actor, self.now).await;
                    again.map_err(desk_invites::refused)?;
                    resent += 1;
                }
            }
            tx.commit().await?;
        }
    }

    /// Forgets that an address bounced, on a person's word: then it can be sent to again.
    pub(super) async fn forget_bounce(&self, program: &str, email: &str, by: &str) -> Result<bool, DeskError> {
        let Some(keys) = self.keys else {
            return Err(DeskError::Refused("the keys of this record are not here: ask its server".to_owned()));
        };
        let mut tx = self.store.begin().await?;
        let forgotten = invites::forget_bounce(&mut tx, keys, email).await?;
        if forgotten {
            let object = format!("program/{program}");
            self.note(&mut tx, (program, by), "mail.bounce-forgotten", object, json!({})).await?;
        }
        tx.commit().await?;
        Ok(forgotten)
    }

    /// Asks the controller to send one message, marked as a test, through the real mailer.
    pub(super) async fn test_mail(
        &self,
        program: Option<String>,
        (cohort, locale): (&str, &str),
        to: &str,
        by: &str,
    ) -> Result<Value, DeskError> {
        let program = self.program(program).await?;
        self.expect_known(&program, betagate_core::resources::Kind::Cohort, cohort).await?;
        let to = normalise(to, AddressRules::default()).map_err(|fault| DeskError::Usage(fault.to_string()))?;
        let body = json!({ "program": program, "cohort": cohort, "locale": locale, "to": to });
        let mut tx = self.store.begin().await?;
        let id = intents::submit(&mut tx, SEND_TEST, &self.actor(by), &body, self.now).await?;
        let detail = json!({ "intent": id });
        self.note(&mut tx, (&program, by), "mail.test-asked", format!("Cohort/{cohort}"), detail).await?;
        tx.commit().await?;
        Ok(json!({ "intent": id }))
    }
}

/// Invites, without their codes, each with what became of its message.
///
/// # Errors
/// The database's.
pub async fn with_mail(store: &Store, found: &[Invite]) -> Result<Vec<Value>, StoreError> {
    let ids: Vec<Uuid> = found.iter().map(|invite| invite.id).collect();
    let states = invites::mail_states(store, ids).await?;
    let shown = found.iter().map(|invite| {
        let mut body = desk_invites::shown(invite);
        let due = matches!(invite.state, State::Waiting | State::Pending) && invite.email.is_some();
        let state = match states.get(&invite.id) {
            None if due => Some(MailState::Waiting),
            known => known.copied(),
        };
        body["mail"] = json!(state.map(MailState::as_str));
        body
    });
    Ok(shown.collect())
}
