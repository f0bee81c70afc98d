//! `Flag`: a feature flag after flagd's definition, with what a beta adds: risk, safe variant, fallback, cohorts.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Moment, ResourceStatus, Suspend};

/// A feature flag.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "betagate.dev",
    version = "v1alpha1",
    kind = "Flag",
    namespaced,
    status = "ResourceStatus",
    derive = "PartialEq",
    category = "betagate",
    shortname = "fl",
    selectable = ".spec.program",
    selectable = ".spec.risk",
    printcolumn(name = "Key", type_ = "string", json_path = ".spec.key"),
    printcolumn(name = "Program", type_ = "string", json_path = ".spec.program"),
    printcolumn(name = "Risk", type_ = "string", json_path = ".spec.risk"),
    printcolumn(name = "State", type_ = "string", json_path = ".status.state"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Summary", type_ = "string", json_path = ".status.summary"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FlagSpec {
    /// The program it belongs to.
    pub program: String,
    /// The key that SDKs ask for; the resource's name when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// How much harm it can do; a rollback routes flags of a risk to their fallback.
    #[serde(default)]
    pub risk: Risk,
    /// The type of every variant's value.
    pub r#type: FlagType,
    /// ENABLED or DISABLED, as flagd has it.
    #[serde(default)]
    pub state: FlagState,
    /// Values by name. Quote "on" and "off".
    #[schemars(length(min = 1), schema_with = "super::kind::map_of_anything")]
    pub variants: IndexMap<String, Value>,
    /// The variant that is served when no rule decides; left out: the default in the program's own code counts then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_variant: Option<String>,
    /// The variant that a rollback serves; needed for a flag that a plan disables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub safe_variant: Option<String>,
    /// The safe path that a rollback routes to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<String>,
    /// JsonLogic rules, as flagd has them, and `in_cohort`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::kind::anything")]
    pub targeting: Option<Value>,
    /// Changes for a while: in its window an entry stands in for the default and the rules above.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub schedule: Vec<ScheduledChange>,
    /// Flags that must give a variant to a person; where one does not, this flag gives its default.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub requires: Vec<FlagRequirement>,
    /// Rules shared between flags, by name, used with {"$ref": NAME}.
    #[serde(default, rename = "$evaluators", skip_serializing_if = "IndexMap::is_empty")]
    #[schemars(schema_with = "super::kind::map_of_anything")]
    pub evaluators: IndexMap<String, Value>,
    /// An environment variable of the API process that overrides the flag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<String>,
    /// What differs by environment.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environments: BTreeMap<String, FlagDifference>,
    /// How percentages pick people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bucketing: Option<Bucketing>,
    /// A cohort whose name stands in for the flag's key where percentages hash it: flags of one seed pick the same people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bucket_seed: Option<String>,
    /// Handed to SDKs with each answer: booleans, strings, numbers.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    #[schemars(schema_with = "super::kind::map_of_anything")]
    pub metadata: IndexMap<String, Value>,
    /// Leaves it as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<Suspend>,
}

/// What a flag gives in a window of time, in place of its default and its rules.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("has(self.variant) != has(self.targeting)").message("a scheduled change is exactly one of variant, targeting"))]
#[x_kube(validation = Rule::new("has(self.from) || has(self.until)").message("a scheduled change needs from or until"))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ScheduledChange {
    /// Its first instant; left out: it has begun already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Moment>,
    /// The first instant after it (a bare date: the end of that day); left out: it never ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Moment>,
    /// The variant that everyone gets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// The rule that picks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::kind::any_mapping")]
    pub targeting: Option<Value>,
}

/// A variant that another flag must give.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FlagRequirement {
    /// The other flag's key.
    pub flag: String,
    /// What it must give.
    pub variant: String,
}

/// How much harm a flag can do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the names say it")]
pub enum Risk {
    #[default]
    Low,
    Medium,
    High,
}

/// The type of a flag's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the names say it")]
pub enum FlagType {
    Boolean,
    String,
    Integer,
    Float,
    Object,
}

impl FlagType {
    /// Whether a value is of this type.
    pub fn admits(self, value: &Value) -> bool {
        match self {
            Self::Boolean => value.is_boolean(),
            Self::String => value.is_string(),
            Self::Integer => value.is_i64() || value.is_u64(),
            Self::Float => value.is_number(),
            Self::Object => value.is_object() || value.is_array(),
        }
    }
}

/// Whether a flag is evaluated at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "the names say it")]
#[serde(rename_all = "UPPERCASE")]
pub enum FlagState {
    #[default]
    Enabled,
    Disabled,
}

/// What differs in one environment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FlagDifference {
    /// Another state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<FlagState>,
    /// Another default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_variant: Option<String>,
    /// Other rules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::kind::anything")]
    pub targeting: Option<Value>,
}

/// The generation of flagd's hashing that picks people for percentages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Bucketing {
    /// Hash of key and targeting key, one after the other.
    Concat,
    /// Hash of the canonical CBOR of both.
    Cbor,
}
