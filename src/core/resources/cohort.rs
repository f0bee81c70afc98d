//! `Cohort`: a group of people, the rules its list must meet, how its invites are sent.

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Moment, Rate, ResourceStatus, Span, Suspend};

/// A group of people who are let in together.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "betagate.dev",
    version = "v1alpha1",
    kind = "Cohort",
    namespaced,
    status = "ResourceStatus",
    derive = "PartialEq",
    category = "betagate",
    shortname = "co",
    selectable = ".spec.program",
    printcolumn(name = "Program", type_ = "string", json_path = ".spec.program"),
    printcolumn(name = "State", type_ = "string", json_path = ".status.state"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Summary", type_ = "string", json_path = ".status.summary"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CohortSpec {
    /// The program it belongs to.
    pub program: String,
    /// Who is in it.
    pub members: Members,
    /// What the list must meet before anything is sent (seed 004, "Cohort CSV").
    #[serde(default)]
    pub require: Requirements,
    /// How its invites are sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invites: Option<InviteRules>,
    /// How many may be in; rows beyond it wait, in order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<u64>,
    /// From when on a change of the list needs a sign-off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock_list: Option<Moment>,
    /// Leaves it as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<Suspend>,
}

/// Where the list is: exactly one of the ways.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("[has(self.csv), has(self.inline), has(self.secretRef)].filter(x, x).size() == 1").message("members is exactly one of csv, inline, secretRef"))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Members {
    /// A CSV file beside this document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub csv: Option<String>,
    /// The members themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inline: Option<Vec<Member>>,
    /// The name of a secret that holds the CSV.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<String>,
    /// The list's addresses are keyed hashes: an allowlist, to which no mail can go.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hashed: bool,
}

/// One member, as a row of the CSV would say it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Member {
    /// The address.
    pub email: String,
    /// A label, such as creator-lyon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The role; without it, the label's prefix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Who asked for this person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invited_by: Option<String>,
    /// The language for mail, such as it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locale: Option<String>,
    /// Anything else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// The least that a list must have; less is a warning that needs an acknowledgement.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Requirements {
    /// Rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    /// Distinct labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<u64>,
    /// Rows of each role.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub roles: BTreeMap<String, u64>,
}

/// How long an invite or a code stays good when its cohort does not say.
pub const USUAL_EXPIRY: Span = Span::seconds(14 * 86_400);

/// How invites go out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InviteRules {
    /// The template's name, without its ending, in cohorts/templates/.
    pub template: String,
    /// How long an invite stays good after it was rendered; 14d when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expire_after: Option<Span>,
    /// How many messages in a length of time; 30/min when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
}
