//! Reference rows: which tables a `Dataset` may fill, what a row of each must look like, how its file is read, and in what a table differs from it.
//!
//! The tables are a fixed list: nothing else in the database can be named by a document. A file is a JSON array of objects, bounded in size; whatever
//! is wrong with it is told at once, each with its line.
//!
//! Must not know: any database, where a file lies.

mod places;
mod rows;
mod shape;
#[cfg(test)]
mod tests;

pub use rows::{LARGEST_FILE, MOST_ROWS, Row, Rows};
pub use shape::{Column, ColumnKind, DRAFT, PUBLISHED, SHAPES, STATUSES, Shape, shape};

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// How many lines of a change a plan shows.
const SHOWN: usize = 20;

/// A row as it stands in its table.
#[derive(Clone, Debug, PartialEq)]
pub struct LiveRow {
    /// Its key.
    pub key: String,
    /// Its other columns.
    pub values: Map<String, Value>,
    /// `draft` or `published`.
    pub status: String,
    /// The digest of what its file said when it came in; none when no dataset brought it (then none takes it away).
    pub staged: Option<String>,
}

impl LiveRow {
    /// Whether it is as its file had it, and published.
    pub fn is_sound(&self) -> bool {
        let now = Row { key: self.key.clone(), values: self.values.clone() }.digest();
        self.status == PUBLISHED && self.staged.as_ref() == Some(&now)
    }
}

/// What makes a table hold the rows of a file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Difference {
    /// Rows that are not there: they come in as drafts.
    pub imports: Vec<Row>,
    /// Rows that say something else.
    pub updates: Vec<Row>,
    /// Keys of rows that are not published, those to be imported included.
    pub publishes: Vec<String>,
    /// Rows that a dataset brought and that its file has no more.
    pub removes: Vec<LiveRow>,
}

impl Difference {
    /// What a file's rows change in a table.
    pub fn between(wanted: &Rows, live: &[LiveRow]) -> Self {
        let known: BTreeMap<&str, &LiveRow> = live.iter().map(|row| (row.key.as_str(), row)).collect();
        let mut found = Self::default();
        for row in &wanted.rows {
            match known.get(row.key.as_str()) {
                None => found.imports.push(row.clone()),
                Some(there) if there.values != row.values => found.updates.push(row.clone()),
                Some(_) => {}
            }
            if known.get(row.key.as_str()).is_none_or(|there| there.status != PUBLISHED) {
                found.publishes.push(row.key.clone());
            }
        }
        let keys: BTreeSet<&str> = wanted.rows.iter().map(|row| row.key.as_str()).collect();
        let gone = live.iter().filter(|row| row.staged.is_some() && !keys.contains(row.key.as_str()));
        found.removes = gone.cloned().collect();
        found
    }

    /// Whether nothing is to be done.
    pub fn is_empty(&self) -> bool {
        self.imports.is_empty() && self.updates.is_empty() && self.publishes.is_empty() && self.removes.is_empty()
    }

    /// In counts and the first lines, for a plan.
    pub fn told(&self, digest: &str) -> DatasetDelta {
        let lines = [
            self.imports.iter().map(|row| format!("+ {}", row.key)).collect::<Vec<_>>(),
            self.updates.iter().map(|row| format!("~ {}", row.key)).collect(),
            self.removes.iter().map(|row| format!("- {}", row.key)).collect(),
        ];
        DatasetDelta {
            digest: digest.to_owned(),
            imports: self.imports.len() as u64,
            updates: self.updates.len() as u64,
            publishes: self.publishes.len() as u64,
            removes: self.removes.len() as u64,
            first: lines.into_iter().flatten().take(SHOWN).collect(),
            waits: None,
        }
    }
}

/// What bringing a dataset in would do: counts, a digest, the first lines.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DatasetDelta {
    /// The digest of the file's rows.
    pub digest: String,
    /// Rows that come in as drafts.
    pub imports: u64,
    /// Rows that say something else.
    pub updates: u64,
    /// Rows that are published.
    pub publishes: u64,
    /// Rows that go.
    pub removes: u64,
    /// The first lines of it, `+ back-squat` and the like.
    pub first: Vec<String>,
    /// Why it is not carried out, where it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits: Option<String>,
}

/// Which expectations a table does not meet, each in words; `counts` are its rows by status.
pub fn unmet(expect: &BTreeMap<String, u64>, counts: &BTreeMap<String, u64>) -> Vec<String> {
    let found = |status: &String| counts.get(status).copied().unwrap_or(0);
    let missed = expect.iter().filter(|(status, wanted)| found(status) != **wanted);
    missed.map(|(status, wanted)| format!("{status}: {} of the {wanted} expected", found(status))).collect()
}

/// Counts by status in words: `8 published, 1 draft`.
pub fn counted(counts: &BTreeMap<String, u64>) -> String {
    let said: Vec<String> = counts.iter().rev().map(|(status, count)| format!("{count} {status}")).collect();
    if said.is_empty() { "no rows".to_owned() } else { said.join(", ") }
}
