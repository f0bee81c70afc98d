//! `POST /hooks/mail`: what came back, as a mail provider or a script beside the mail server tells it.
//!
//! Must not know: what follows from it.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::auth::refuse_at;
use super::{ApiState, Problem};
use crate::source::hook;
use crate::store::invites::{About, InviteError, Returned, returned};

/// Events in one request at most.
const AT_ONCE: usize = 1000;

pub fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(mail))
}

/// One message that came back. Fields that are not named here are ignored.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Event {
    /// What happened.
    #[serde(rename = "type")]
    kind: EventKind,
    /// The message's Message-ID, with or without its angle brackets.
    message_id: Option<String>,
    /// Its recipient, where the Message-ID is not known.
    recipient: Option<String>,
    /// Whether every later message would come back too (a hard bounce): yes, when it is not said.
    #[serde(default = "yes")]
    permanent: bool,
}

#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum EventKind {
    Bounce,
    Complaint,
}

/// One event, or a list of them.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
enum Events {
    One(Event),
    Many(Vec<Event>),
}

fn yes() -> bool {
    true
}

/// Takes in bounces and complaints. Signed with the secret `mail-hook`, as a forge signs (`X-Hub-Signature-256: sha256=…` over the body), or
/// with that secret itself as a bearer token. Answers how many known messages it was about.
#[utoipa::path(post, path = "/hooks/mail", tag = "hooks", request_body = Events,
    responses((status = 200, description = "Written down"), (status = 400, description = "Not understood; nothing was written"),
        (status = 401, description = "Neither signed with the secret nor with it as a token")))]
async fn mail(State(state): State<ApiState>, headers: HeaderMap, body: Bytes) -> Result<Json<Value>, Problem> {
    let secret = state.mail_hook_secret.as_ref().map(|secret| secret.expose_secret().as_bytes()).unwrap_or_default();
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let token = header("authorization").and_then(|value| value.strip_prefix("Bearer "));
    let known = match (token, header("x-hub-signature-256")) {
        (Some(token), None) => hook::verify_token(secret, Some(token)),
        (_, signature) => hook::verify(secret, signature, &body),
    };
    if let Err(error) = known {
        let problem = Problem::new(StatusCode::UNAUTHORIZED, "signature", error.to_string());
        return Err(refuse_at(&state, "POST /hooks/mail", problem).await);
    }
    let events = match serde_json::from_slice(&body) {
        Ok(Events::One(event)) => vec![event],
        Ok(Events::Many(events)) => events,
        Err(_) => {
            return Err(Problem::bad(
                "an event is {\"type\": \"bounce\" or \"complaint\", \"messageId\" or \"recipient\": …}",
            ));
        }
    };
    if events.len() > AT_ONCE {
        return Err(Problem::bad(format!("more than {AT_ONCE} events in one request")));
    }
    let mut tx = state.store.begin().await?;
    let mut known = 0;
    for event in &events {
        let key = event.message_id.as_deref().map(|id| id.trim().trim_matches(['<', '>']));
        let key = key.map(|id| id.split_once('@').map_or(id, |(key, _)| key));
        let about = match (key, event.recipient.as_deref()) {
            (Some(key), _) => About::Message(key),
            (None, Some(recipient)) => About::Recipient(recipient),
            (None, None) => return Err(Problem::bad("an event names neither messageId nor recipient")),
        };
        let what = match event.kind {
            EventKind::Bounce => Returned::Bounce { permanent: event.permanent },
            EventKind::Complaint => Returned::Complaint,
        };
        let done = returned(&mut tx, &state.keys, about, what, "hooks/mail", state.clock.now()).await;
        known += done.map_err(|error| match error {
            InviteError::Store(error) => error.into(),
            other => Problem::bad(other.to_string()),
        })?;
    }
    tx.commit().await?;
    Ok(Json(json!({ "known": known })))
}
