//! Codes that let several people in, by hand.

use betagate_core::resources::{Kind, Span};
use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Desk, DeskError};
use crate::keys::Keys;
use crate::store::invites::{self, NewCode, Refusal, SharedCode};

/// A code lets in at most so many; a larger group has a list.
const MOST_USES: i64 = 100_000;

/// What is said of a code that is to be made.
pub(super) struct Wanted<'a> {
    pub(super) cohort: &'a str,
    pub(super) uses: i64,
    pub(super) expires: Option<Span>,
    pub(super) label: &'a str,
    pub(super) note: &'a str,
}

impl Desk<'_> {
    pub(super) async fn add_code(
        &self,
        program: Option<String>,
        wanted: Wanted<'_>,
        by: &str,
    ) -> Result<Value, DeskError> {
        let keys = self.keys_at_hand()?;
        let program = self.program(program).await?;
        let Wanted { cohort, uses, expires, label, note } = wanted;
        if invites::cohort_state(self.store, &program, cohort).await?.is_none() {
            self.expect_known(&program, Kind::Cohort, cohort).await?;
        }
        self.expect_person(&program, by).await?;
        if !(1..=MOST_USES).contains(&uses) {
            return Err(DeskError::Usage(format!("a code lets in 1 to {MOST_USES} people, not {uses}")));
        }
        let expires_at = match expires {
            Some(expires) => expires.after(self.now),
            None => super::good_until(self.store, cohort, self.now).await?,
        };
        let new = NewCode { program: &program, cohort, label, note, uses, expires_at };
        let mut tx = self.store.begin().await?;
        let made = invites::add_code(&mut tx, keys, new, &self.actor(by), self.now).await?;
        tx.commit().await?;
        Ok(told(&made, keys, self.now))
    }

    pub(super) async fn list_codes(&self, program: Option<String>, cohort: Option<String>) -> Result<Value, DeskError> {
        let codes = invites::codes(self.store, program.as_deref(), cohort.as_deref()).await?;
        Ok(codes.iter().map(|code| shown(code, self.now)).collect())
    }

    /// A code with its text, made again from the key; that it was looked at is an entry.
    pub(super) async fn show_code(&self, id: Uuid, by: &str) -> Result<Value, DeskError> {
        let keys = self.keys_at_hand()?;
        let found = self.code(id).await?;
        let mut tx = self.store.begin().await?;
        let object = format!("invite-code/{id}");
        self.note(&mut tx, (&found.program, by), "invite-code.shown", object, json!({})).await?;
        tx.commit().await?;
        Ok(told(&found, keys, self.now))
    }

    pub(super) async fn revoke_code(&self, id: Uuid, reason: &str, by: &str) -> Result<Value, DeskError> {
        let found = self.code(id).await?;
        self.expect_person(&found.program, by).await?;
        let mut tx = self.store.begin().await?;
        let revoked = invites::revoke_code(&mut tx, id, reason, &self.actor(by), self.now).await?;
        tx.commit().await?;
        if !revoked {
            return Err(DeskError::Refused("this code was taken back before".to_owned()));
        }
        Ok(shown(&self.code(id).await?, self.now))
    }

    async fn code(&self, id: Uuid) -> Result<SharedCode, DeskError> {
        let found = invites::code(self.store, id).await?;
        found.ok_or_else(|| {
            DeskError::Unknown("there is no such code; `betagate invite code list` has their ids".into())
        })
    }
}

/// A code, without its text.
pub fn shown(code: &SharedCode, now: Timestamp) -> Value {
    let state = match code.refusal(now) {
        None => "open",
        Some(Refusal::Revoked) => "revoked",
        Some(Refusal::Expired) => "expired",
        Some(_) => "used-up",
    };
    json!({
        "id": code.id, "program": code.program, "cohort": code.cohort, "label": code.label, "note": code.note, "state": state,
        "uses": code.uses, "used": code.used, "createdAt": code.created_at, "expiresAt": code.expires_at,
        "revokedAt": code.revoked_at, "reason": code.revoke_reason,
    })
}

/// A code with its text.
pub fn told(code: &SharedCode, keys: &Keys, now: Timestamp) -> Value {
    let mut body = shown(code, now);
    body["code"] = json!(code.code(keys).reveal());
    body
}
