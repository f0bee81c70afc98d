//! OFREP: flags for any OpenFeature SDK. Single and bulk evaluation, answers that are known to be unchanged without evaluating, word of
//! changes, and the error bodies that real clients need.
//!
//! Must not know: SQL, where flags come from.

mod access;
mod answers;
mod bulk;
mod counts;
mod etag;
mod events;
mod front;
mod request;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, header};
use axum::response::Response;
use axum::routing::{any, get};
use betagate_core::flags::{Asker, EvaluationError};
use serde_json::json;
use tower_http::cors::{Any, CorsLayer};

use super::flags_cache::FlagsCache;
use crate::clock::Clock;
use crate::keys::Keys;
pub use access::Access;
pub(super) use answers::Answers;
use answers::{Refusal, json_response, stale};
pub use counts::Counts;
pub use events::Streams;
pub use front::Front;

/// A larger request is refused.
const MAX_BODY: usize = 1 << 20;
/// How long a request waits for the freshness that it asks for.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// What a page of another origin may read of an answer.
const EXPOSED: [HeaderName; 2] = [header::ETAG, header::RETRY_AFTER];

/// What the routes work with.
#[derive(Clone)]
pub struct OfrepState {
    /// What is served.
    pub cache: Arc<FlagsCache>,
    /// The time, for rules that read it.
    pub clock: Clock,
    /// Who may ask.
    pub access: Access,
    /// What signs the addresses of event streams.
    pub keys: Arc<Keys>,
    /// The event streams that are open.
    pub streams: Streams,
    /// How long a request waits for the freshness that it asks for.
    pub patience: Duration,
}

/// The routes under `/ofrep/v1`, evaluation aside: that is answered by [`Front`], before any route is looked for.
pub fn router(state: OfrepState) -> Router {
    let cors = CorsLayer::new()
        .allow_origin(Any)
        .allow_methods([Method::POST, Method::GET])
        .allow_headers([
            header::AUTHORIZATION,
            HeaderName::from_static("x-api-key"),
            header::CONTENT_TYPE,
            header::IF_NONE_MATCH,
        ])
        .expose_headers(EXPOSED);
    Router::new()
        .route("/ofrep/v1/events", get(events::events))
        .route("/ofrep/v1/health", get(health))
        .route("/ofrep/v1/{*rest}", any(nothing_there))
        .method_not_allowed_fallback(nothing_there)
        .layer(cors)
        .with_state(state)
}

async fn health(State(state): State<OfrepState>) -> Response {
    let served = state.cache.served();
    let status = if served.revision > 0 { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut body = json!({ "revision": served.revision, "version": served.source_revision });
    if let Some(seconds) = state.cache.stale_seconds() {
        body["staleSeconds"] = json!(seconds);
    }
    json_response(status, body.to_string())
}

async fn nothing_there(method: Method) -> Response {
    Refusal::new(StatusCode::NOT_FOUND, "GENERAL", format!("nothing here answers {method}")).respond(None)
}

/// One flag for one person.
async fn single(state: &OfrepState, key: &str, headers: &HeaderMap, body: &Bytes) -> Result<Bytes, Refusal> {
    state.access.check(headers, &state.clock).await?;
    let (served, members) = (state.cache.served(), state.cache.members());
    // A context that is none is said before a flag that is not there.
    let place = served.flags.place(key);
    let reads = place.map_or(served.flags.all_reads(), |place| served.flags.reads(place));
    let context = request::context(body, reads)?;
    let place = place.ok_or_else(|| Refusal::from(&EvaluationError::FlagNotFound))?;
    let found = served.flags.evaluate_at(place, Asker::new(&context, &members), state.clock.now());
    let found = found.map_err(|error| Refusal::from(&error))?;
    let answer = served.answers.give((place, key), &found, &state.cache.counts);
    Ok(match state.cache.stale_seconds() {
        None => answer.clone(),
        Some(seconds) => stale(answer, seconds),
    })
}
