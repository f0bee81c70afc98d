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
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Summary", type_ = "string", json_path = ".status.summary"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DatasetSpec {
    /// The program it belongs to.
    pub program: String,
    /// The JSON file with the rows (an array of objects), beside this document.
    pub file: String,
    /// The table they go into: movement_library.
    pub table: String,
    /// The column that tells rows apart.
    pub key: String,
    /// The table in which rows stand as the file has them; the one that belongs to `table` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staging: Option<String>,
    /// The table that records each action; the one that belongs to `table` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit: Option<String>,
    /// How many rows of each status (draft, published) there must be; a file that leads to other counts is not brought in.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub expect: BTreeMap<String, u64>,
    /// How it is undone, by the rollback step restoreDataset.
    #[serde(default)]
    pub undo: Undo,
}

/// How a dataset is undone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Undo {
    /// The tables are emptied; a dump is kept.
    #[default]
    Truncate,
    /// The last dump is put back: what stood there before the file changed.
    Restore,
    /// The tables are emptied and filled again from the file.
    Reseed,
}

impl Undo {
    /// As a document writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Truncate => "truncate",
            Self::Restore => "restore",
            Self::Reseed => "reseed",
        }
    }

    /// What a document writes.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Truncate, Self::Restore, Self::Reseed].into_iter().find(|undo| undo.name() == name)
    }
}
