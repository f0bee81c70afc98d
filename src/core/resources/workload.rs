//! `Workload`: an API, worker or web deployment.

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{ResourceStatus, Suspend};

/// Something that runs: betagate's own API or worker, or your program.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "betagate.dev",
    version = "v1alpha1",
    kind = "Workload",
    namespaced,
    status = "ResourceStatus",
    derive = "PartialEq",
    category = "betagate",
    selectable = ".spec.program",
    selectable = ".spec.component",
    shortname = "wl",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(name = "Program", type_ = "string", json_path = ".spec.program"),
    printcolumn(name = "Component", type_ = "string", json_path = ".spec.component"),
    printcolumn(name = "State", type_ = "string", json_path = ".status.state"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Summary", type_ = "string", json_path = ".status.summary"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WorkloadSpec {
    /// The program it belongs to.
    pub program: String,
    /// What part it plays; `api` and `worker` without image and command are betagate's own.
    pub component: Component,
    /// The image, on a cluster; betagate's own when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The program and its arguments; on one machine it is started as it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    /// How many run at once; 1 when left out.
    #[serde(default = "one")]
    #[schemars(range(min = 0, max = 1000))]
    pub replicas: u32,
    /// The Service's port on a cluster; for a command on one machine, the port it is told in PORT.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Settings. Scalars become strings.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "super::kind::map_of_scalars")]
    pub env: BTreeMap<String, Value>,
    /// Settings from secrets: variable to secret's name. On a cluster the Secret's key is `value`, or the one after a slash: `mail/password`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secret_env: BTreeMap<String, String>,
    /// How it is known to be ready; betagate's own components say so themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// What its containers are given on a cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// On a cluster, a command in the new image that runs to its end before the first pod of it starts. Going back to an earlier revision runs none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub migrate: Option<Vec<String>>,
    /// Leaves it as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<Suspend>,
}

/// What a container is given: quantities as Kubernetes writes them, such as 250m and 128Mi.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Resources {
    /// What it has for certain: cpu, memory.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub requests: BTreeMap<String, String>,
    /// What it has at most.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub limits: BTreeMap<String, String>,
}

fn one() -> u32 {
    1
}

impl WorkloadSpec {
    /// The settings as a program reads them: scalars as strings.
    pub fn env_strings(&self) -> BTreeMap<String, String> {
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        self.env.iter().map(|(name, value)| (name.clone(), text(value))).collect()
    }
}

/// What part a workload plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Component {
    /// Answers HTTP.
    Api,
    /// Runs schedules and jobs.
    Worker,
    /// Serves pages.
    Web,
}

/// How a workload is known to be ready.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Health {
    /// A path that answers 2xx when it is ready.
    pub path: String,
}
