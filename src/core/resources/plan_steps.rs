//! The further steps of a rollback plan: invites taken back, ingestion, workloads, datasets, and what is called outside.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Names, Span};

/// Whose unused invites are taken back. It is done once: lifting the run gives none of them back.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RevokeInvites {
    /// `all`, or a list of names.
    #[serde(default)]
    pub cohorts: Names,
}

/// Nothing is taken in: product events are refused with a wait, and not lost by a client that tries again.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(transform = without_additional_properties)]
pub struct PauseIngestion {}

/// An API server takes no definition that says so of itself; what a mapping doesn't name it refuses or leaves out anyway.
fn without_additional_properties(schema: &mut schemars::Schema) {
    schema.remove("additionalProperties");
}

/// How many processes of a workload run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ScaleWorkload {
    /// The workload.
    pub workload: String,
    /// How many.
    #[schemars(range(min = 0, max = 1000))]
    pub replicas: u32,
}

/// Which earlier revision of a workload runs. The one that ran is put in quarantine: it does not come back when the hold is lifted, but by another
/// commit, or by a person's acknowledgement.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RevertWorkload {
    /// The workload.
    pub workload: String,
    /// The revision; the last other one that stayed up when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

/// Which workload's processes are replaced, once.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RestartWorkload {
    /// The workload.
    pub workload: String,
}

/// A dataset that is undone as its document says (truncate, restore, reseed), once. It stays so while the run is in force; the file that was live is not
/// brought in again by itself: another one is, or this one after a person's acknowledgement (not after a reseed, which brings it in itself).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RestoreDataset {
    /// The dataset.
    pub dataset: String,
}

/// A command that is run once, again until it ends with 0: it must bear to be run twice. It finds `BETAGATE_RUN`, `BETAGATE_STEP` and
/// `BETAGATE_EFFECT_KEY` in its environment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RunJob {
    /// The program and its arguments; no shell between.
    #[schemars(length(min = 1))]
    pub command: Vec<String>,
    /// The image it runs in, on a cluster; the installation's own for commands when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^\S+$"))]
    pub image: Option<String>,
    /// The service account it runs under, on a cluster: one with the label `betagate.dev/jobs: allowed`. The installation's own for commands when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub service_account: Option<String>,
    /// After this it is ended, and tried again; 60s when left out, 10m at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
}

/// An address that is called once, again until it answers 2xx, under one `Idempotency-Key`: a path of one of the program's http sources, or a channel's
/// webhook.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("has(self.source) != has(self.channel)").message("callWebhook is either a source and a path, or a channel"))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CallWebhook {
    /// An http source of the program: only hosts that it names are called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// A channel of the program that has a webhook.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// The path below the source's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Fields of the body, beside `program`, `run`, `plan`, `episode`, `reason`, `since` and `key`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "super::kind::map_of_anything")]
    pub body: BTreeMap<String, Value>,
}
