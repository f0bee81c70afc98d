//! Requests at the doors that may come again with an `Idempotency-Key`: what they were answered is kept in the transaction that lets in, so a
//! process that dies leaves nothing in doubt, and who is refused leaves no trace.
//!
//! Whoever asks has shown nothing, so keys are apart for each address; and a password stands in the request, so that it is named by a keyed hash.
//! Must not know: what a door does.

use axum::http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use serde_json::Value;

use super::once::{KEY, key_of, other_request};
use super::{ApiState, Problem};
use crate::store::repeated::{self, Known};
use crate::store::{StoreError, Tx};

/// A request that may come again.
pub struct Repeatable {
    scope: String,
    key: String,
    digest: [u8; 32],
}

impl Repeatable {
    /// The request, where it carries a key; `whose`: the address or account, at the door `what`.
    ///
    /// # Errors
    /// A key that can't be one.
    pub(super) fn of(
        state: &ApiState,
        headers: &HeaderMap,
        (what, whose): (&str, &str),
        asked: &[&str],
    ) -> Result<Option<Self>, Problem> {
        if !headers.contains_key(KEY) {
            return Ok(None);
        }
        let key = key_of(headers)?;
        let named = |parts: &[&str]| {
            let mut message = b"repeatable/".to_vec();
            for part in parts {
                message.extend((part.len() as u64).to_be_bytes());
                message.extend(part.as_bytes());
            }
            state.keys.token.hash(&message)
        };
        let whose = data_encoding::HEXLOWER.encode(&named(&[whose.trim().to_lowercase().as_str()])[..16]);
        Ok(Some(Self { scope: format!("{what}/{whose}"), key, digest: named(asked) }))
    }

    /// What it was answered before.
    ///
    /// # Errors
    /// When the key stands for another request; the database's.
    pub(super) async fn answered(this: Option<&Self>, state: &ApiState) -> Result<Option<Value>, Problem> {
        let Some(Self { scope, key, digest }) = this else { return Ok(None) };
        let mut tx = state.store.begin().await?;
        let known = repeated::known(&mut tx, (scope, key), digest, state.clock.now()).await?;
        tx.commit().await?;
        match known {
            Known::Mismatch => Err(other_request()),
            Known::Answered { response, .. } => Ok(Some(response.unwrap_or_default())),
            Known::New | Known::UnderWay | Known::CarriedOut => Ok(None),
        }
    }

    /// Keeps what it is answered now.
    pub(super) async fn answer(
        &self,
        tx: &mut Tx,
        status: StatusCode,
        said: &Value,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let answer = (i64::from(status.as_u16()), Some(said));
        repeated::answer(tx, (&self.scope, &self.key), &self.digest, answer, now).await
    }
}
