//! What a client sends: a context, and how fresh the answer must be.
//!
//! Must not know: flags.

use axum::body::Bytes;
use axum::extract::Query;
use axum::http::{StatusCode, Uri};
use betagate_core::flags::Context;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::answers::Refusal;

/// The context of a request; an absent one is empty.
pub(super) fn context(body: &Bytes) -> Result<Context, Refusal> {
    let bad = |code: &'static str, details: String| Refusal::new(StatusCode::BAD_REQUEST, code, details);
    let mut request: Map<String, Value> = serde_json::from_slice(body)
        .map_err(|error| bad("PARSE_ERROR", format!("the request is no JSON object: {error}")))?;
    let fields = match request.remove("context") {
        None | Some(Value::Null) => json!({}),
        Some(fields) => fields,
    };
    Context::new(fields).map_err(|why| bad("INVALID_CONTEXT", why.to_owned()))
}

/// How fresh an answer must be, as an event said it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Freshness {
    /// The configuration's ETag.
    pub flag_config_etag: Option<String>,
    /// When it was published, in seconds since 1970.
    pub flag_config_last_modified: Option<i64>,
}

impl Freshness {
    /// From a request's query.
    pub(super) fn of(uri: &Uri) -> Result<Self, Refusal> {
        let Query(fresh) = Query::try_from_uri(uri).map_err(|why| {
            Refusal::new(StatusCode::BAD_REQUEST, "PARSE_ERROR", format!("the query is not readable: {why}"))
        })?;
        Ok(fresh)
    }
}
