//! Writes with an `Idempotency-Key` are carried out once: the same request again gets the answer that the first one got.
//!
//! The key is claimed before the request is carried out, so that of two at once one waits for no one and is told so. What a repeated request
//! is told of a person (address, code) is read and made again then: neither is kept here. Must not know: what a route does.

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{FromRequestParts as _, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::auth::Admin;
use super::{ApiState, MAX_BODY, Problem};
use crate::desk::{shown_code, shown_invite, told_code};
use crate::store::invites;
use crate::store::tokens::{self, Known};

const KEY: &str = "idempotency-key";
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
    let mut digest = Sha256::new();
    digest.update(format!("{} {}\n", parts.method, parts.uri));
    digest.update(&body);
    let digest = digest.finalize();
    let now = state.clock.now();
    let mut tx = state.store.begin().await?;
    if !tokens::claim_request(&mut tx, (&scope, &key), &digest, now).await? {
        let known = tokens::known(&mut tx, &scope, &key, &digest).await?;
        tx.commit().await?;
        return answered(state, known).await;
    }
    tx.commit().await?;
    let response = next.run(Request::from_parts(parts, Body::from(body))).await;
    keep(state, (&scope, &key), &digest, response).await
}

fn key_of(headers: &HeaderMap) -> Result<String, Problem> {
    let text = headers.get(KEY).and_then(|value| value.to_str().ok()).map(str::trim).unwrap_or_default();
    if text.is_empty() || text.len() > LONGEST_KEY {
        return Err(Problem::bad(format!("an Idempotency-Key has 1 to {LONGEST_KEY} printable characters")));
    }
    Ok(text.to_owned())
}

/// Keeps what was answered. An answer that says "try again" is none: the key is free again.
async fn keep(
    state: &ApiState,
    (scope, key): (&str, &str),
    digest: &[u8],
    response: Response,
) -> Result<Response, Problem> {
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, MAX_BODY).await.unwrap_or_else(|_| Bytes::new());
    let (status, said) = (parts.status, serde_json::from_slice::<Value>(&body).ok());
    let mut tx = state.store.begin().await?;
    if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
        tokens::give_back_request(&mut tx, scope, key).await?;
    } else {
        let kept = said.map(without_person);
        let answer = (i64::from(status.as_u16()), kept.as_ref());
        tokens::remember(&mut tx, (scope, key), digest, answer, state.clock.now()).await?;
    }
    tx.commit().await?;
    Ok(Response::from_parts(parts, Body::from(body)))
}

/// An invite or a code in an answer is replaced by what it can be told from again.
fn without_person(said: Value) -> Value {
    if said.get("id").is_some() && said.get("uses").is_some() {
        return json!({ CODE: said["id"], "code": said.get("code").is_some() });
    }
    if said.get("id").is_none() || said.get("generation").is_none() {
        return said;
    }
    json!({ INVITE: said["id"], "generation": said["generation"], "code": said.get("code").is_some() })
}

async fn answered(state: &ApiState, known: Known) -> Result<Response, Problem> {
    let conflict = |code, words: &str| Err(Problem::new(StatusCode::CONFLICT, code, words));
    let (status, kept) = match known {
        Known::Mismatch => {
            let words = "this Idempotency-Key was used for another request";
            return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "idempotency-key", words));
        }
        Known::New | Known::Answered { status: 0, .. } => {
            return conflict(
                "under-way",
                "the same request is under way, or ended without an answer: look before you repeat it with a new key",
            );
        }
        Known::Answered { status, response } => (status, response),
    };
    let status =
        u16::try_from(status).ok().and_then(|status| StatusCode::from_u16(status).ok()).unwrap_or(StatusCode::OK);
    let body = match kept {
        Some(kept) if kept.get(INVITE).is_some() => told_again(state, &kept).await?,
        Some(kept) if kept.get(CODE).is_some() => code_again(state, &kept).await?,
        kept => kept,
    };
    let kind = if status.is_success() { "application/json" } else { "application/problem+json" };
    let mut response = match body {
        Some(body) => (status, [(header::CONTENT_TYPE, kind)], body.to_string()).into_response(),
        None => status.into_response(),
    };
    response.headers_mut().insert("idempotent-replayed", HeaderValue::from_static("true"));
    Ok(response)
}

/// The invite as it stands now; its code, when it was told and still is the one that works.
async fn told_again(state: &ApiState, kept: &Value) -> Result<Option<Value>, Problem> {
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
