//! OFREP: flags for any OpenFeature SDK. Single and bulk evaluation, ETag, the error bodies that real clients need.
//!
//! Must not know: SQL, where flags come from.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use betagate_core::flags::{Context, Evaluation, EvaluationError};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use tower_http::cors::{Any, CorsLayer};

use super::flags_cache::{FlagsCache, Served};
use crate::clock::Clock;

/// A larger request is refused.
const MAX_BODY: usize = 1 << 20;

/// What the routes work with.
#[derive(Clone)]
pub struct OfrepState {
    /// What is served.
    pub cache: Arc<FlagsCache>,
    /// The time, for rules that read it.
    pub clock: Clock,
}

/// The routes under `/ofrep/v1`.
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
        .expose_headers([header::ETAG, header::RETRY_AFTER]);
    Router::new()
        .route("/ofrep/v1/evaluate/flags/{key}", post(single))
        .route("/ofrep/v1/evaluate/flags", post(bulk))
        .route("/ofrep/v1/health", get(health))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(cors)
        .with_state(state)
}

async fn health(State(state): State<OfrepState>) -> Response {
    let served = state.cache.served();
    let status = if served.revision > 0 { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({ "revision": served.revision, "version": served.source_revision }))).into_response()
}

async fn single(
    State(state): State<OfrepState>,
    Path(key): Path<String>,
    body: Result<Bytes, axum::extract::rejection::BytesRejection>,
) -> Response {
    let context = match context_of(body) {
        Ok(context) => context,
        Err((status, code, details)) => return (status, Json(error_body(Some(&key), code, &details))).into_response(),
    };
    let (served, members) = (state.cache.served(), state.cache.members());
    match served.flags.evaluate(&key, &context, &members, state.clock.now()) {
        Ok(answer) => Json(answer_body(&key, &answer, &served)).into_response(),
        Err(error) => {
            let status =
                if error == EvaluationError::FlagNotFound { StatusCode::NOT_FOUND } else { StatusCode::BAD_REQUEST };
            (status, Json(error_body(Some(&key), error.code(), &error.details()))).into_response()
        }
    }
}

async fn bulk(
    State(state): State<OfrepState>,
    headers: HeaderMap,
    body: Result<Bytes, axum::extract::rejection::BytesRejection>,
) -> Response {
    let context = match context_of(body) {
        Ok(context) => context,
        Err((status, code, details)) => return (status, Json(error_body(None, code, &details))).into_response(),
    };
    let (served, members) = (state.cache.served(), state.cache.members());
    let now = state.clock.now();
    let flags: Vec<Value> = served
        .flags
        .keys()
        .iter()
        .map(|key| match served.flags.evaluate(key, &context, &members, now) {
            Ok(answer) => answer_body(key, &answer, &served),
            // One flag's error never fails the bulk.
            Err(error) => error_body(Some(key), error.code(), &error.details()),
        })
        .collect();
    // Over the answer itself: it covers the configuration, the person's cohorts, the context and rules that read the clock.
    let body =
        json!({ "flags": flags, "metadata": { "version": served.source_revision, "revision": served.revision } });
    let text = body.to_string();
    let etag = format!("\"{}\"", &data_encoding::HEXLOWER.encode(&Sha256::digest(&text))[..32]);
    let known = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let known = known.is_some_and(|known| {
        known.split(',').any(|tag| tag.trim().trim_start_matches("W/") == etag || tag.trim() == "*")
    });
    let mut response = if known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        ([(header::CONTENT_TYPE, "application/json")], text).into_response()
    };
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        response.headers_mut().insert(header::ETAG, etag);
    }
    response
}

type Refusal = (StatusCode, &'static str, String);

fn context_of(body: Result<Bytes, axum::extract::rejection::BytesRejection>) -> Result<Context, Refusal> {
    let bytes = body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            (StatusCode::PAYLOAD_TOO_LARGE, "GENERAL", format!("the request is larger than {MAX_BODY} bytes"))
        }
        status => (status, "PARSE_ERROR", rejection.to_string()),
    })?;
    let bad = |code: &'static str, details: String| (StatusCode::BAD_REQUEST, code, details);
    let mut request: Map<String, Value> = serde_json::from_slice(&bytes)
        .map_err(|error| bad("PARSE_ERROR", format!("the request is no JSON object: {error}")))?;
    let fields = match request.remove("context") {
        None | Some(Value::Null) => json!({}),
        Some(fields) => fields,
    };
    Context::new(fields).map_err(|why| bad("INVALID_CONTEXT", why.to_owned()))
}

/// What clients need: a variant always, metadata an object without nulls, floats with their decimal point.
fn answer_body(key: &str, answer: &Evaluation<'_>, served: &Served) -> Value {
    let mut metadata = answer.metadata.clone();
    metadata.insert("betagate.version".to_owned(), json!(served.source_revision));
    let mut body =
        json!({ "key": key, "reason": answer.reason.name(), "variant": answer.variant, "metadata": metadata });
    if let Some(value) = answer.value {
        body["value"] = value.clone();
    }
    body
}

fn error_body(key: Option<&str>, code: &str, details: &str) -> Value {
    let mut body = json!({ "errorCode": code, "errorDetails": details, "variant": "", "metadata": {} });
    if let Some(key) = key {
        body["key"] = json!(key);
    }
    body
}

#[cfg(test)]
#[path = "ofrep_tests.rs"]
mod tests;
