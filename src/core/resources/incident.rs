//! `Incident`: a severity, a start, an end.

use jiff::Timestamp;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::ResourceStatus;

/// The longest title, in characters.
pub const LONGEST_TITLE: usize = 200;

/// Whether a text can be a title; else what one is.
///
/// # Errors
/// What a title is, in words.
pub fn check_title(title: &str) -> Result<(), String> {
    if title.is_empty() || title.chars().count() > LONGEST_TITLE || title.contains(char::is_control) {
        return Err(format!("a title is one line of 1 to {LONGEST_TITLE} characters"));
    }
    Ok(())
}

/// Something that is wrong.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "betagate.dev",
    version = "v1alpha1",
    kind = "Incident",
    namespaced,
    status = "ResourceStatus",
    derive = "PartialEq",
    category = "betagate",
    selectable = ".spec.program",
    selectable = ".spec.severity",
    shortname = "inc",
    printcolumn(name = "Severity", type_ = "string", json_path = ".spec.severity"),
    printcolumn(name = "Title", type_ = "string", json_path = ".spec.title"),
    printcolumn(name = "Started", type_ = "date", json_path = ".spec.startedAt"),
    printcolumn(name = "Resolved", type_ = "date", json_path = ".spec.resolvedAt"),
    printcolumn(name = "State", type_ = "string", json_path = ".status.state"),
    printcolumn(name = "Accepted", type_ = "string", json_path = ".status.conditions[?(@.type==\"Accepted\")].status"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[x_kube(validation = Rule::new("!has(self.resolvedAt) || timestamp(self.resolvedAt) >= timestamp(self.startedAt)").message("resolvedAt is before startedAt"))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IncidentSpec {
    /// The program it concerns.
    pub program: String,
    /// sev-1 (worst) to sev-4.
    #[schemars(regex(pattern = "^sev-[1-4]$"))]
    pub severity: String,
    /// What kind of trouble, such as security.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// What is wrong, in a few words.
    pub title: String,
    /// Since when.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub started_at: Timestamp,
    /// Until when; left out: it is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub resolved_at: Option<Timestamp>,
    /// When somebody took it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub acknowledged_at: Option<Timestamp>,
}
