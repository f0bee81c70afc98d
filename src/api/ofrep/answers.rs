//! Answers as they are written: every one that a flag can give is written out once, when a snapshot is taken over.
//!
//! What clients need (read from their sources): a variant always, metadata an object without nulls on every status, floats with their
//! decimal point, `errorDetails` and a JSON content type.
//!
//! Must not know: how a flag is evaluated.

use std::sync::OnceLock;

use axum::body::Bytes;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use betagate_core::flags::{Evaluation, EvaluationError, FlagSet};
use prometheus_client::metrics::counter::Counter;
use serde_json::{Value, json};

use super::counts::Counts;

/// The answers of a snapshot's flags, by flag and number.
#[derive(Debug, Default)]
pub struct Answers(Vec<Vec<Written>>);

/// One answer, and how often it was given.
#[derive(Debug)]
struct Written {
    text: Bytes,
    count: OnceLock<Counter>,
}

impl Answers {
    /// Writes every answer out.
    pub fn new(flags: &FlagSet, source_revision: &str) -> Self {
        let of_flag = |(place, key): (usize, &String)| {
            let written = |answer| Bytes::from(written(key, &answer, source_revision));
            flags.answers(place).map(|answer| Written { text: written(answer), count: OnceLock::new() }).collect()
        };
        Self(flags.keys().iter().enumerate().map(of_flag).collect())
    }

    /// The text of an answer, which is counted; empty for one that was never written out.
    pub fn give(&self, (place, key): (usize, &str), answer: &Evaluation<'_>, counts: &Counts) -> &Bytes {
        static NONE: Bytes = Bytes::new();
        let Some(written) = self.0.get(place).and_then(|answers| answers.get(answer.number)) else { return &NONE };
        written.count.get_or_init(|| counts.of_answer(key, answer.variant, answer.reason.name())).inc();
        &written.text
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
    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    pub(super) fn why(&self) -> &str {
        &self.details
    }

    pub(super) fn new(status: StatusCode, code: &'static str, details: String) -> Self {
        Self { status, code, details, retry_after_seconds: None }
    }

    /// To be asked again after some seconds.
    pub(super) fn later(details: &str, seconds: u32) -> Self {
        // The only status whose `Retry-After` clients heed.
        let (status, details) = (StatusCode::TOO_MANY_REQUESTS, details.to_owned());
        Self { status, code: "GENERAL", details, retry_after_seconds: Some(seconds) }
    }

    pub(super) fn counted(self, counts: &Counts) -> Self {
        counts.refused(self.code, self.status.as_u16());
        self
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
        if self.status == StatusCode::PAYLOAD_TOO_LARGE || self.status == StatusCode::REQUEST_TIMEOUT {
            // The rest of the body is not read, so nothing else can come over this connection.
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
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
