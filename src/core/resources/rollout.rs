//! `Rollout`: ordered stages. Which cohorts are open, which flag values, which workload versions, and what lets one in.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use kube::{CustomResource, KubeSchema};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use serde_json::Value;

use super::{Moment, ResourceStatus, Span, Suspend, WorkloadSpec};

/// The stages of a beta, in order.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "betagate.dev",
    version = "v1alpha1",
    kind = "Rollout",
    namespaced,
    status = "ResourceStatus",
    derive = "PartialEq",
    category = "betagate",
    shortname = "ro",
    selectable = ".spec.program",
    printcolumn(name = "Program", type_ = "string", json_path = ".spec.program"),
    printcolumn(name = "State", type_ = "string", json_path = ".status.state"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Summary", type_ = "string", json_path = ".status.summary"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RolloutSpec {
    /// The program it belongs to.
    pub program: String,
    /// The stages.
    #[schemars(length(min = 1))]
    pub stages: Vec<Stage>,
    /// Leaves it as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<Suspend>,
}

/// One stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Stage {
    /// Its name, unique in the rollout.
    pub name: String,
    /// When it may open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
    /// What lets it open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enter: Option<Enter>,
    /// The cohorts that are open while it is the current one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cohorts: Vec<String>,
    /// Default variants of flags, by key, while it is the current one: for everyone, or for a share of people that grows step by step.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub flags: BTreeMap<String, StageFlag>,
    /// A tag that is made in the repository of the documents once it is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<StageTag>,
    /// What is told about it, to whom, and when.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub announce: Vec<Announcement>,
    /// Versions of workloads, by name, from its opening on, until a later stage names another. A rollback's hold comes first.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub workloads: BTreeMap<String, WorkloadVersion>,
}

/// What a stage makes of a workload: an image, or an image, a command and settings over those of its document. On one machine the image counts for nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WorkloadVersion {
    /// The image, on a cluster.
    pub image: Option<String>,
    /// The program and its arguments.
    pub command: Option<Vec<String>>,
    /// Settings over those of the document.
    pub env: BTreeMap<String, Value>,
}

/// As it is written where it is more than an image.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WrittenVersion {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    image: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    command: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    env: BTreeMap<String, Value>,
}

impl WorkloadVersion {
    /// The settings of a document in this version.
    pub fn over(&self, spec: &WorkloadSpec) -> WorkloadSpec {
        let mut spec = spec.clone();
        spec.image = self.image.clone().or(spec.image);
        spec.command = self.command.clone().or(spec.command);
        spec.env.extend(self.env.clone());
        spec
    }

    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for WorkloadVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let image = self.image.clone();
        let command = self.command.as_ref().map(|command| command.join(" "));
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let env = self.env.iter().map(|(name, value)| format!("{name}={}", text(value)));
        let all: Vec<String> = image.into_iter().chain(command).chain(env).collect();
        f.write_str(&all.join(", "))
    }
}

impl Serialize for WorkloadVersion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { image, command, env } = self.clone();
        match (&image, &command, env.is_empty()) {
            (Some(image), None, true) => serializer.serialize_str(image),
            _ => WrittenVersion { image, command, env }.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for WorkloadVersion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(image) => Ok(Self { image: Some(image), ..Self::default() }),
            version @ Value::Object(_) => {
                let written: Result<WrittenVersion, _> = serde_json::from_value(version);
                let WrittenVersion { image, command, env } =
                    written.map_err(|error| D::Error::custom(error.to_string()))?;
                Ok(Self { image, command, env })
            }
            _ => Err(D::Error::custom("expected an image, or image, command and env")),
        }
    }
}

impl JsonSchema for WorkloadVersion {
    fn schema_name() -> Cow<'static, str> {
        "WorkloadVersion".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let said =
            "An image, or { image, command: [...], env: { NAME: value } } over what the workload's document says.";
        json_schema!({ "description": said, "x-kubernetes-preserve-unknown-fields": true })
    }
}

/// What a stage does to a flag: a variant's name, or a share that grows.
#[derive(Clone, Debug, PartialEq)]
pub enum StageFlag {
    /// The default variant of everyone.
    Variant(String),
    /// The default variant of a share of people.
    Ramp(Ramp),
}

/// A share of people that grows while the stage is open. Whoever has the variant keeps it as the share grows; everyone else has the flag's own default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Ramp {
    /// The variant.
    pub variant: String,
    /// The shares, in per cent: the first from the stage's opening on, each next one after `every`.
    pub percent: Vec<u8>,
    /// How long each share lasts at least. It begins anew after a rollback.
    pub every: Span,
    /// A gate whose live verdict must be Pass, or an accepted Conditional, for each next share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<String>,
}

impl StageFlag {
    /// The variant.
    pub fn variant(&self) -> &str {
        match self {
            Self::Variant(variant) | Self::Ramp(Ramp { variant, .. }) => variant,
        }
    }

    /// The share, where it is one.
    pub fn ramp(&self) -> Option<&Ramp> {
        match self {
            Self::Variant(_) => None,
            Self::Ramp(ramp) => Some(ramp),
        }
    }
}

impl Serialize for StageFlag {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Variant(variant) => serializer.serialize_str(variant),
            Self::Ramp(ramp) => ramp.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for StageFlag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(variant) => Ok(Self::Variant(variant)),
            ramp @ Value::Object(_) => {
                serde_json::from_value(ramp).map(Self::Ramp).map_err(|error| D::Error::custom(error.to_string()))
            }
            _ => Err(D::Error::custom("expected a variant's name, or variant, percent and every")),
        }
    }
}

impl JsonSchema for StageFlag {
    fn schema_name() -> Cow<'static, str> {
        "StageFlag".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let said = "A variant's name, or { variant, percent: [10, 50, 100], every: 2d, gate }.";
        json_schema!({ "description": said, "x-kubernetes-preserve-unknown-fields": true })
    }
}

/// A tag in the repository of the documents, once a stage is open.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StageTag {
    /// The tag's name, such as v2.0.0-public.
    pub name: String,
    /// The time of day, in the program's zone, at which it is made: the next one after the stage opened. At once when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^([01][0-9]|2[0-3]):[0-5][0-9]$"))]
    pub at: Option<String>,
}

/// A note about a stage.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Announcement {
    /// What it is sent at; when it opens, when left out.
    #[serde(default, skip_serializing_if = "StageEvent::is_opened")]
    pub event: StageEvent,
    /// How long before or after that: -24h, +1h. Before is only known of a window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Moment>,
    /// The channels.
    #[schemars(length(min = 1))]
    pub to: Vec<String>,
    /// The template's name.
    pub template: String,
    /// What it is filled with, beside program, rollout, stage, cohort, opens, closes, expiry, reason and feedback_url.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 100))]
    pub variables: BTreeMap<String, String>,
}

/// What happens to a stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum StageEvent {
    /// Its window begins.
    Window,
    /// It opens.
    #[default]
    Opened,
    /// Its window ended before it opened.
    Overdue,
    /// Somebody said NO-GO.
    NoGo,
}

impl StageEvent {
    fn is_opened(&self) -> bool {
        *self == Self::Opened
    }
}

/// When a stage may open.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Window {
    /// Not before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Moment>,
    /// By the end of this day; later it is overdue, and needs a GO.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Moment>,
}

/// What lets a stage open: everything named here.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Enter {
    /// Gates that must hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gates: Vec<EnterGate>,
    /// People who must say GO.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signoffs: Option<EnterSignoffs>,
    /// How long the stage before must have been open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub soak: Option<Span>,
}

/// A gate that must hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EnterGate {
    /// The gate's name.
    pub name: String,
    /// Only these phases of its checklist; all of it when left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub phases: Vec<String>,
    /// So many sealed reviews in a row (accepted Conditionals count); left out: the live verdict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub passes: Option<u32>,
}

/// People who must say GO.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EnterSignoffs {
    /// Who.
    #[schemars(length(min = 1))]
    pub from: Vec<String>,
    /// How their words add up.
    #[serde(default)]
    pub rule: SignoffRule,
    /// When they come together. What was said before counts for nothing, and the stage's gates are reviewed then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<Call>,
}

/// A decision call: people come together and say GO or NO-GO. A NO-GO says why, and with `until` when the next call is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Call {
    /// When it begins, such as +18h or 2026-05-18T18:00:00Z.
    pub at: Moment,
}

/// How words add up. One NO-GO blocks under either.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum SignoffRule {
    /// Everyone said GO; silence is not GO.
    #[default]
    Unanimous,
    /// At least one said GO.
    Any,
}
