//! Words from outside: a forge says that a branch moved.

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use secrecy::ExposeSecret as _;
use serde_json::json;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::auth::refuse_at;
use super::{ApiState, Problem};
use crate::controller::TRIGGER_SOURCE;
use crate::source::hook;
use crate::store::intents;

pub fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(git))
}

/// Has the source looked at now. Signed as GitHub and Gitea do it (`X-Hub-Signature-256`) with the secret `git-hook`.
#[utoipa::path(post, path = "/hooks/git", tag = "hooks", request_body = String,
    responses((status = 202, description = "It is looked at"), (status = 401, description = "Not signed with the secret")))]
async fn git(State(state): State<ApiState>, headers: HeaderMap, body: Bytes) -> Result<StatusCode, Problem> {
    let secret = state.hook_secret.as_ref().map(|secret| secret.expose_secret().as_bytes()).unwrap_or_default();
    let signature = headers.get("x-hub-signature-256").and_then(|value| value.to_str().ok());
    if let Err(error) = hook::verify(secret, signature, &body) {
        let problem = Problem::new(StatusCode::UNAUTHORIZED, "signature", error.to_string());
        return Err(refuse_at(&state, "POST /hooks/git", problem).await);
    }
    let mut tx = state.store.begin().await?;
    intents::submit(&mut tx, TRIGGER_SOURCE, "hooks/git", &json!({}), state.clock.now()).await?;
    tx.commit().await?;
    Ok(StatusCode::ACCEPTED)
}
