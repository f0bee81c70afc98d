//! Writes with an `Idempotency-Key` are carried out once: the same request again gets the answer that the first one got.
//!
//! The key is claimed before the request is carried out, so that of two at once one waits for no one and is told so; what the request commits says
//! that it was carried out, so that nothing is in doubt when the process dies meanwhile. What a repeated request
//! is told of a person (address, code) is read and made again then: neither is kept here. Must not know: what a route does.

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{FromRequestParts as _, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::auth::Admin;
use super::{ApiState, MAX_BODY, Problem};
use crate::desk::{self, shown_code, shown_invite, told_code};
use crate::store::invites;
use crate::store::repeated::{self, Claim, Known};

pub(super) const KEY: &str = "idempotency-key";
/// Says that an answer was given before.
pub(super) const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
/// The route of which some requests only ask.
const DESK: &str = "/v1/admin/desk";
/// A longer key is refused, in bytes.
const LONGEST_KEY: usize = 255;
/// What stands in a kept answer for an invite: its id, the generation it had, and whether its code was told.
const INVITE: &str = "betagate:invite";
/// What stands there for a code for several people: its id, and whether its text was told.
const CODE: &str = "betagate:invite-code";

/// Looks for the key in front of administration's routes; a request without one goes on as it is.
pub async fn once(State(state): State<ApiState>, request: Request, next: Next) -> Response {
    let writes = matches!(*request.method(), Method::POST | Method::PUT | Method::DELETE);
    if !writes || !request.headers().contains_key(KEY) {
        return next.run(request).await;
    }
    // Beside the connection: whoever hangs up and comes again with the key is to find the answer.
    match tokio::spawn(async move { keyed(&state, request, next).await }).await {
        Ok(Ok(response)) => response,
        Ok(Err(problem)) => problem.into_response(),
        Err(_) => {
            let words = "something went wrong; it was logged";
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", words).into_response()
        }
    }
}

async fn keyed(state: &ApiState, request: Request, next: Next) -> Result<Response, Problem> {
    let key = key_of(request.headers())?;
    let (mut parts, body) = request.into_parts();
    // Whoever may not ask is not told what somebody else was answered.
    let scope = Admin::from_request_parts(&mut parts, state).await?.actor;
    let body = to_bytes(body, MAX_BODY)
        .await
        .map_err(|_| Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "the request is too large"))?;
    // What only asks can be asked again, and its answer is kept nowhere.
    if parts.uri.path() == DESK && serde_json::from_slice::<desk::Request>(&body).is_ok_and(|asked| !asked.writes()) {
        return Ok(next.run(Request::from_parts(parts, Body::from(body))).await);
    }
    let mut digest = Sha256::new();
    digest.update(format!("{} {}\n", parts.method, parts.uri));
    digest.update(&body);
    let digest = digest.finalize();
    let mut tx = state.store.begin().await?;
    let claimed = repeated::claim(&mut tx, (&scope, &key), &digest, state.clock.now()).await?;
    tx.commit().await?;
    match claimed {
        Ok(claim) => {
            let work = next.run(Request::from_parts(parts, Body::from(body)));
            let response = repeated::under(claim.clone(), work).await;
            keep(state, &claim, response).await
        }
        Err(known) => answered(state, known).await,
    }
}

/// The key that a request carries.
pub(super) fn key_of(headers: &HeaderMap) -> Result<String, Problem> {
    let text = headers.get(KEY).and_then(|value| value.to_str().ok()).map(str::trim).unwrap_or_default();
    if text.is_empty() || text.len() > LONGEST_KEY {
        return Err(Problem::bad(format!("an Idempotency-Key has 1 to {LONGEST_KEY} printable characters")));
    }
    Ok(text.to_owned())
}

/// Keeps what was answered. An answer that says "try again" is none: the key is free again, unless something was done.
async fn keep(state: &ApiState, claim: &Claim, response: Response) -> Result<Response, Problem> {
    let (parts, body) = response.into_parts();
    // Ours, and in memory already: however long it is, it is what was answered.
    let body = to_bytes(body, usize::MAX).await.unwrap_or_else(|_| Bytes::new());
    let (status, said) = (parts.status, serde_json::from_slice::<Value>(&body).ok());
    let mut tx = state.store.begin().await?;
    if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
        repeated::give_back(&mut tx, claim).await?;
    } else {
        let kept = said.map(without_person);
        repeated::keep(&mut tx, claim, (i64::from(status.as_u16()), kept.as_ref())).await?;
    }
    tx.commit().await?;
    Ok(Response::from_parts(parts, Body::from(body)))
}

/// Each invite or code in an answer is replaced by what it can be told from again.
fn without_person(said: Value) -> Value {
    match said {
        Value::Array(all) => all.into_iter().map(without_person).collect(),
        Value::Object(said) if said.contains_key("id") && said.contains_key("uses") => {
            json!({ CODE: said["id"], "code": said.contains_key("code") })
        }
        Value::Object(said) if said.contains_key("id") && said.contains_key("generation") => {
            json!({ INVITE: said["id"], "generation": said["generation"], "code": said.contains_key("code") })
        }
        Value::Object(said) => said.into_iter().map(|(name, value)| (name, without_person(value))).collect(),
        plain => plain,
    }
}

async fn answered(state: &ApiState, known: Known) -> Result<Response, Problem> {
    let (status, kept) = match known {
        Known::Answered { status, response } => (status, response),
        Known::Mismatch => return Err(other_request()),
        Known::CarriedOut => {
            let words =
                "the same request was carried out, and its answer was lost: look before you repeat it with a new key";
            return Err(Problem::new(StatusCode::CONFLICT, "carried-out", words));
        }
        Known::New | Known::UnderWay => {
            let words = "the same request is under way: repeat it in a moment";
            return Err(Problem::new(StatusCode::CONFLICT, "under-way", words).after(1));
        }
    };
    let status =
        u16::try_from(status).ok().and_then(|status| StatusCode::from_u16(status).ok()).unwrap_or(StatusCode::OK);
    let body = match kept {
        Some(kept) => Some(told_again(state, kept).await?).filter(|told| !told.is_null()),
        None => None,
    };
    let kind = if status.is_success() { "application/json" } else { "application/problem+json" };
    let mut response = match body {
        Some(body) => (status, [(header::CONTENT_TYPE, kind)], body.to_string()).into_response(),
        None => status.into_response(),
    };
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    Ok(response)
}

/// A key that stands for another request.
pub(super) fn other_request() -> Problem {
    let words = "this Idempotency-Key was used for another request";
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "idempotency-key", words)
}

/// A kept answer with its invites and codes as they stand now.
fn told_again(state: &ApiState, kept: Value) -> BoxFuture<'_, Result<Value, Problem>> {
    Box::pin(async move {
        Ok(match kept {
            Value::Array(all) => {
                let mut told = Vec::with_capacity(all.len());
                for one in all {
                    told.push(told_again(state, one).await?);
                }
                told.into()
            }
            Value::Object(kept) if kept.contains_key(INVITE) => invite_again(state, &kept.into()).await?.into(),
            Value::Object(kept) if kept.contains_key(CODE) => code_again(state, &kept.into()).await?.into(),
            Value::Object(kept) => {
                let mut told = serde_json::Map::new();
                for (name, value) in kept {
                    told.insert(name, told_again(state, value).await?);
                }
                told.into()
            }
            plain => plain,
        })
    })
}

/// The invite as it stands now; its code, when it was told and still is the one that works.
async fn invite_again(state: &ApiState, kept: &Value) -> Result<Option<Value>, Problem> {
    let Some(id) = kept[INVITE].as_str().and_then(|id| id.parse::<Uuid>().ok()) else { return Ok(None) };
    let Some(invite) = invites::get(&state.store, id).await? else { return Ok(None) };
    let mut body = shown_invite(&invite);
    if kept["code"] == true && kept["generation"] == invite.code_generation && invite.state.is_active() {
        body["code"] = json!(invite.code(&state.keys).reveal());
    }
    Ok(Some(body))
}

async fn code_again(state: &ApiState, kept: &Value) -> Result<Option<Value>, Problem> {
    let Some(id) = kept[CODE].as_str().and_then(|id| id.parse::<Uuid>().ok()) else { return Ok(None) };
    let Some(code) = invites::code(&state.store, id).await? else { return Ok(None) };
    let (keys, now) = (&state.keys, state.clock.now());
    Ok(Some(if kept["code"] == true { told_code(&code, keys, now) } else { shown_code(&code, now) }))
}
