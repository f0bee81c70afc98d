//! Who may ask for flags: everyone on the machine itself; elsewhere, who has a token that may read flags.
//!
//! Must not know: SQL, flags.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use axum::http::{HeaderMap, StatusCode, header};
use jiff::{SignedDuration, Timestamp};
use subtle::ConstantTimeEq as _;

use super::answers::Refusal;
use crate::api::auth::list_refusal;
use crate::api::knocks::Knocks;
use crate::api::{Problem, token_digest};
use crate::clock::Clock;
use crate::store::{Store, tokens};

/// What a token needs to read flags; one that administrates may as well.
pub const SCOPE: &str = "flags:read";
/// How long a token that was good is taken to be good: revoking one takes effect within it.
const TRUSTED_FOR: SignedDuration = SignedDuration::from_secs(5);
/// Tokens remembered at most.
const REMEMBERED: usize = 10_000;

/// Who may ask.
#[derive(Clone)]
pub enum Access {
    /// Everyone: the server listens on loopback.
    Open,
    /// Who has a token.
    Tokens(Arc<Tokens>),
}

/// The tokens that were good when they were looked up.
pub struct Tokens {
    store: Store,
    administration: Option<[u8; 32]>,
    good: RwLock<HashMap<[u8; 32], Timestamp>>,
    knocks: Knocks,
}

impl Access {
    /// Only who has a token of the store, or the administration token.
    pub fn tokens(store: Store, administration: Option<[u8; 32]>) -> Self {
        Self::Tokens(Arc::new(Tokens { store, administration, good: RwLock::default(), knocks: Knocks::default() }))
    }

    /// Whether the addresses of event streams need a signature: a browser can't send a token with one.
    pub(super) fn is_open(&self) -> bool {
        matches!(self, Self::Open)
    }

    pub(super) async fn check(&self, headers: &HeaderMap, clock: &Clock) -> Result<(), Refusal> {
        match self {
            Self::Open => Ok(()),
            Self::Tokens(tokens) => {
                let checked = tokens.check(headers, clock.now()).await;
                if let Err(refusal) = &checked {
                    tokens.list(refusal, clock.now()).await;
                }
                checked
            }
        }
    }
}

impl Tokens {
    /// A refusal leaves an audit entry, as everywhere; it is answered whether or not the database takes it.
    async fn list(&self, refusal: &Refusal, now: Timestamp) {
        let status = refusal.status();
        if status != StatusCode::UNAUTHORIZED && status != StatusCode::FORBIDDEN {
            return;
        }
        let problem = Problem::new(status, "flags", refusal.why());
        if let Err(error) = list_refusal(&self.store, &self.knocks, ("/ofrep/v1", &problem), now).await {
            tracing::debug!(error = %error, "a refusal could not be written down");
        }
    }

    async fn check(&self, headers: &HeaderMap, now: Timestamp) -> Result<(), Refusal> {
        let refused = |status, why: &str| Refusal::new(status, "GENERAL", why.to_owned());
        let token =
            sent(headers).ok_or_else(|| refused(StatusCode::UNAUTHORIZED, "a token that may read flags is needed"))?;
        let digest = token_digest(token);
        if self.administration.is_some_and(|known| known.ct_eq(&digest).into()) {
            return Ok(());
        }
        let seen = self.good.read().unwrap_or_else(PoisonError::into_inner).get(&digest).copied();
        if seen.is_some_and(|seen| now.duration_since(seen) < TRUSTED_FOR) {
            return Ok(());
        }
        match tokens::by_digest(&self.store, &digest).await {
            Ok(Some(token)) if token.scopes.iter().any(|scope| scope == SCOPE || scope == "admin") => {
                let mut good = self.good.write().unwrap_or_else(PoisonError::into_inner);
                if good.len() >= REMEMBERED {
                    good.clear();
                }
                good.insert(digest, now);
                Ok(())
            }
            Ok(found) => {
                self.good.write().unwrap_or_else(PoisonError::into_inner).remove(&digest);
                Err(match found {
                    Some(_) => refused(StatusCode::FORBIDDEN, "the token may not read flags"),
                    None => refused(StatusCode::UNAUTHORIZED, "the token is not known"),
                })
            }
            // The database is away: who was let in goes on.
            Err(_) if seen.is_some() => Ok(()),
            Err(_) => Err(Refusal::later("the token can't be looked up now", 5)),
        }
    }
}

/// `Authorization: Bearer TOKEN`, or `X-API-Key: TOKEN`.
fn sent(headers: &HeaderMap) -> Option<&str> {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let bearer = bearer.and_then(|value| value.strip_prefix("Bearer ").or_else(|| value.strip_prefix("bearer ")));
    bearer.or_else(|| headers.get("x-api-key").and_then(|value| value.to_str().ok())).map(str::trim)
}
