//! `Rollback`: written by the controller, one run of a plan. Deleting the resource changes nothing: the run is in the database.

use jiff::Timestamp;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::{ResourceStatus, Step};

/// One run of a rollback plan.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "betagate.dev",
    version = "v1alpha1",
    kind = "Rollback",
    namespaced,
    status = "ResourceStatus",
    derive = "PartialEq",
    category = "betagate",
    selectable = ".spec.program",
    selectable = ".spec.plan",
    shortname = "rb",
    printcolumn(name = "Plan", type_ = "string", json_path = ".spec.plan"),
    printcolumn(name = "State", type_ = "string", json_path = ".status.state"),
    printcolumn(name = "Summary", type_ = "string", json_path = ".status.summary"),
    printcolumn(name = "Holds", type_ = "string", json_path = ".status.holds"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[x_kube(validation = Rule::new("self == oldSelf").message("a run keeps the plan it started with"))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RollbackSpec {
    /// The program it belongs to.
    pub program: String,
    /// The plan it runs.
    pub plan: String,
    /// Which episode of the trigger started it.
    pub episode: u64,
    /// What started it, in a sentence.
    pub reason: String,
    /// When.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub started_at: Timestamp,
    /// Its own copy of the steps.
    #[schemars(length(max = 100))]
    pub steps: Vec<Step>,
}
