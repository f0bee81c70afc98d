//! `Dataset`: reference rows that must exist.

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ResourceStatus;

/// Reference rows that must exist (the movement library of seed 003).
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "betagate.dev",
    version = "v1alpha1",
    kind = "Dataset",
    namespaced,
    status = "ResourceStatus",
    derive = "PartialEq",
    category = "betagate",
    shortname = "ds",
    selectable = ".spec.program",
    printcolumn(name = "Program", type_ = "string", json_path = ".spec.program"),
    printcolumn(name = "Table", type_ = "string", json_path = ".spec.table"),
    printcolumn(name = "State", type_ = "string", json_path = ".status.state"),
    printcolumn(name = "Accepted", type_ = "string", json_path = ".status.conditions[?(@.type==\"Accepted\")].status"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DatasetSpec {
    /// The program it belongs to.
    pub program: String,
    /// The JSON file with the rows, beside this document.
    pub file: String,
    /// The table they go into.
    pub table: String,
    /// The column that tells rows apart.
    pub key: String,
    /// The table in which they are checked first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staging: Option<String>,
    /// The table that records each action.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit: Option<String>,
    /// How many rows of each status must exist.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub expect: BTreeMap<String, u64>,
    /// How it is undone.
    #[serde(default)]
    pub undo: Undo,
}

/// How a dataset is undone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Undo {
    /// The tables are emptied.
    #[default]
    Truncate,
    /// The last dump is put back.
    Restore,
    /// The tables are emptied and filled again from the file.
    Reseed,
}
