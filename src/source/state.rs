//! How a source is doing, for status: the last attempt, what went wrong, the revision that is in use.
//!
//! Must not know: how the source works.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::SourceError;
use super::snapshot::Revision;

/// How a source is doing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceState {
    /// The folder, or the repository's address without its user part, with branch and path.
    pub place: String,
    /// When it was last looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_attempt: Option<Timestamp>,
    /// When that last worked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_success: Option<Timestamp>,
    /// What is wrong since; the last good revision goes on meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// The revision in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<Revision>,
}

/// A failure that lasts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// What is wrong, without secrets.
    pub message: String,
    /// Whether it is tried again by itself.
    pub retryable: bool,
    /// The first of these failures in a row.
    pub since: Timestamp,
    /// How many in a row.
    pub attempts: u32,
}

impl SourceState {
    pub(super) fn new(place: String) -> Self {
        Self { place, last_attempt: None, last_success: None, failure: None, revision: None }
    }

    pub(super) fn worked(&mut self, at: Timestamp, revision: &Revision) {
        self.last_attempt = Some(at);
        self.last_success = Some(at);
        self.failure = None;
        self.revision = Some(revision.clone());
    }

    pub(super) fn failed(&mut self, at: Timestamp, error: &SourceError) {
        self.last_attempt = Some(at);
        let (since, attempts) = self.failure.as_ref().map_or((at, 0), |before| (before.since, before.attempts));
        self.failure = Some(Failure {
            message: error.to_string(),
            retryable: error.retryable(),
            since,
            attempts: attempts.saturating_add(1),
        });
    }
}
