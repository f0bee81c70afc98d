//! `Invite`: one person let in (or taken back) outside a cohort's list.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ResourceStatus;

/// One person's invite.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "betagate.dev",
    version = "v1alpha1",
    kind = "Invite",
    namespaced,
    status = "ResourceStatus",
    derive = "PartialEq",
    category = "betagate",
    shortname = "inv",
    selectable = ".spec.program",
    selectable = ".spec.cohort",
    printcolumn(name = "Program", type_ = "string", json_path = ".spec.program"),
    printcolumn(name = "Cohort", type_ = "string", json_path = ".spec.cohort"),
    printcolumn(name = "State", type_ = "string", json_path = ".status.state"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[x_kube(validation = Rule::new("self.email == oldSelf.email && self.cohort == oldSelf.cohort").message("an invite's email and cohort are immutable: make another invite"))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InviteSpec {
    /// The program it belongs to.
    pub program: String,
    /// The cohort the person joins.
    pub cohort: String,
    /// The person's address.
    pub email: String,
    /// A label, as in a list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// A role, as in a list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// The language for mail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locale: Option<String>,
    /// Why this person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Takes the invite back, and the membership it granted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Revoked>,
}

/// Why an invite was taken back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Revoked {
    /// Why.
    pub reason: String,
}
