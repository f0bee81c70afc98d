//! Who calls: a signed-in person, the administration token, or a service token with scopes. Refusals leave an audit entry.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use jiff::Timestamp;
use serde_json::json;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::knocks::Knocks;
use super::{ApiState, Problem};
use crate::store::people::User;
use crate::store::{Store, StoreError, audit, sessions, tokens};

/// The digest under which a token is known.
pub fn token_digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.trim().as_bytes()).into()
}

/// Someone signed in.
pub struct SignedIn {
    /// Their session.
    pub session: uuid::Uuid,
    /// Who.
    pub user: User,
}

/// Someone who may administer: the administration token, a service token with the scope `admin`, or an administrator's session.
pub struct Admin {
    /// Who, for the record.
    pub actor: String,
}

/// A person, or a service that may write on people's behalf.
pub enum Caller {
    /// A person.
    Person(Box<User>),
    /// A service, by the name that the log has for its token, and its scopes.
    Service(String, Vec<String>),
}

fn bearer(parts: &Parts) -> Option<&str> {
    let value = parts.headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    value.strip_prefix("Bearer ").or_else(|| value.strip_prefix("bearer ")).map(str::trim)
}

impl Caller {
    async fn of(parts: &Parts, state: &ApiState) -> Result<Self, Problem> {
        let Some(token) = bearer(parts) else {
            return Err(refuse(parts, state, StatusCode::UNAUTHORIZED, "a token is needed").await);
        };
        let digest = token_digest(token);
        if state.admin_token.is_some_and(|known| known.ct_eq(&digest).into()) {
            return Ok(Self::Service("administration token".to_owned(), vec!["admin".to_owned()]));
        }
        if let Some(known) = tokens::by_digest(&state.store, &digest).await?.filter(|token| token.revoked_at.is_none())
        {
            return Ok(Self::Service(format!("token/{}", known.id), known.scopes));
        }
        match sessions::authenticate(&state.store, token, state.clock.now()).await? {
            Some(signed) => Ok(Self::Person(Box::new(signed.user))),
            None => Err(refuse(parts, state, StatusCode::UNAUTHORIZED, "the token is not known, or has run out").await),
        }
    }

    /// Whether a service may do something.
    pub fn may(&self, scope: &str) -> bool {
        matches!(self, Self::Service(_, scopes) if scopes.iter().any(|known| known == scope || known == "admin"))
    }
}

/// A refusal leaves an audit entry: who, unknown; what, the route. Of a flood only the first ones do, and the next one says how many more
/// there were: nobody makes the log grow without end by knocking.
async fn refuse(parts: &Parts, state: &ApiState, status: StatusCode, why: &str) -> Problem {
    let code = if status == StatusCode::FORBIDDEN { "forbidden" } else { "unauthorized" };
    refuse_at(state, &format!("{} {}", parts.method, parts.uri.path()), Problem::new(status, code, why)).await
}

/// The same by a route that looks for itself who calls. `route`: its method and path.
pub(super) async fn refuse_at(state: &ApiState, route: &str, problem: Problem) -> Problem {
    let now = state.clock.now();
    match list_refusal(&state.store, &state.metrics.knocks, (route, &problem), now).await {
        Ok(()) => problem,
        Err(error) => error.into(),
    }
}

/// Writes a refusal into the record, unless too many are at the moment.
///
/// # Errors
/// The database's.
pub(super) async fn list_refusal(
    store: &Store,
    knocks: &Knocks,
    (route, problem): (&str, &Problem),
    now: Timestamp,
) -> Result<(), StoreError> {
    let Some(unlisted) = knocks.one_more(now) else { return Ok(()) };
    let (status, why) = (problem.status(), problem.detail());
    let mut detail = json!({ "status": status.as_u16(), "why": why });
    if unlisted > 0 {
        detail["unlistedBefore"] = json!(unlisted);
    }
    let entry = audit::Entry {
        at: now,
        program: String::new(),
        actor: "unknown".to_owned(),
        action: "refused".to_owned(),
        object: route.to_owned(),
        detail,
    };
    let mut tx = store.begin().await?;
    audit::append(&mut tx, entry).await?;
    tx.commit().await
}

impl FromRequestParts<ApiState> for SignedIn {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, Problem> {
        let signed = match bearer(parts) {
            Some(token) => sessions::authenticate(&state.store, token, state.clock.now()).await?,
            None => None,
        };
        match signed {
            Some(signed) => Ok(Self { session: signed.session_id, user: signed.user }),
            None => Err(refuse(parts, state, StatusCode::UNAUTHORIZED, "sign in first").await),
        }
    }
}

impl FromRequestParts<ApiState> for Caller {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, Problem> {
        Self::of(parts, state).await
    }
}

impl FromRequestParts<ApiState> for Admin {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, Problem> {
        match Caller::of(parts, state).await? {
            Caller::Person(user) if user.is_admin => Ok(Self { actor: format!("user/{}", user.id) }),
            Caller::Service(name, scopes) if scopes.iter().any(|scope| scope == "admin") => Ok(Self { actor: name }),
            _ => Err(refuse(parts, state, StatusCode::FORBIDDEN, "this needs an administrator").await),
        }
    }
}
