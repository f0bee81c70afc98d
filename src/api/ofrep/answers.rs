//! Answers as they are written: every one that a flag can give is written out once, when a snapshot is taken over.
//!
//! What clients need (read from their sources): a variant always, metadata an object without nulls on every status, floats with their
//! decimal point, `errorDetails` and a JSON content type.
//!
//! Must not know: how a flag is evaluated.

use axum::body::Bytes;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use betagate_core::flags::{Evaluation, EvaluationError, FlagSet};
use serde_json::{Value, json};

/// The answers of a snapshot's flags, by flag and number.
#[derive(Debug, Default)]
pub struct Answers(Vec<Vec<Bytes>>);

impl Answers {
    /// Writes every answer out.
    pub fn new(flags: &FlagSet, source_revision: &str) -> Self {
        let of_flag = |(place, key): (usize, &String)| {
            flags.answers(place).map(|answer| Bytes::from(written(key, &answer, source_revision))).collect()
        };
        Self(flags.keys().iter().enumerate().map(of_flag).collect())
    }

    /// The answer of a number; empty for a number that was never given.
    pub fn of(&self, place: usize, number: usize) -> Bytes {
        self.0.get(place).and_then(|answers| answers.get(number)).cloned().unwrap_or_default()
    }
}

fn written(key: &str, answer: &Evaluation<'_>, source_revision: &str) -> String {
    let mut metadata = answer.metadata.clone();
    metadata.insert("betagate.version".to_owned(), json!(source_revision));
    let mut body = json!({ "key": key });
    if let Some(value) = answer.value {
        body["value"] = value.clone();
    }
    body["reason"] = json!(answer.reason.name());
    body["variant"] = json!(answer.variant);
    // Last: see `stale`.
    body["metadata"] = Value::Object(metadata);
    body.to_string()
}

/// An answer that says how old it may be: the database has not been heard of for so long.
pub(super) fn stale(answer: &Bytes, seconds: i64) -> Bytes {
    // Metadata is the last field and never empty.
    let whole = answer.strip_suffix(b"}}").unwrap_or(answer);
    [whole, format!(",\"betagate.staleSeconds\":{seconds}}}}}").as_bytes()].concat().into()
}

/// A refusal, as OFREP has it.
#[derive(Debug)]
pub struct Refusal {
    status: StatusCode,
    code: &'static str,
    details: String,
    retry_after_seconds: Option<u32>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, code: &'static str, details: String) -> Self {
        Self { status, code, details, retry_after_seconds: None }
    }

    /// To be asked again after some seconds.
    pub(super) fn later(details: &str, seconds: u32) -> Self {
        // The only status whose `Retry-After` clients heed.
        let (status, details) = (StatusCode::TOO_MANY_REQUESTS, details.to_owned());
        Self { status, code: "GENERAL", details, retry_after_seconds: Some(seconds) }
    }

    pub(super) fn body(&self, key: Option<&str>) -> Value {
        let mut body = json!({});
        if let Some(key) = key {
            body["key"] = json!(key);
        }
        body["errorCode"] = json!(self.code);
        body["errorDetails"] = json!(self.details);
        body["variant"] = json!("");
        body["metadata"] = json!({});
        body
    }

    pub(super) fn respond(&self, key: Option<&str>) -> Response {
        let mut response = json_response(self.status, self.body(key).to_string());
        if let Some(seconds) = self.retry_after_seconds {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<&EvaluationError> for Refusal {
    fn from(error: &EvaluationError) -> Self {
        let missing = *error == EvaluationError::FlagNotFound;
        let status = if missing { StatusCode::NOT_FOUND } else { StatusCode::BAD_REQUEST };
        Self::new(status, error.code(), error.details())
    }
}

pub(super) fn json_response(status: StatusCode, body: impl Into<Bytes>) -> Response {
    const JSON: HeaderValue = HeaderValue::from_static("application/json");
    (status, [(header::CONTENT_TYPE, JSON)], body.into()).into_response()
}
