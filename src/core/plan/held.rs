//! The holds in force, as a plan tells them: what of the documents will not be so while they stand.
//!
//! Must not know: how a hold comes about.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::decide::{Effective, RunMemory};

/// Something that a rollback holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Held {
    /// What, in words.
    pub what: String,
    /// Who holds it: `RUN/STEP`, or the run.
    pub by: String,
    /// Why.
    pub why: String,
}

/// Every hold in force: freezes, flags, reviews.
pub fn held(effective: &Effective, runs: &BTreeMap<String, RunMemory>) -> Vec<Held> {
    let mut all = Vec::new();
    for ((cohort, by), why) in &effective.freezes {
        let whose = cohort.as_ref().map_or_else(|| "all cohorts".to_owned(), |name| format!("cohort {name}"));
        all.push(Held { what: format!("invites of {whose} are frozen"), by: by.clone(), why: why.clone() });
    }
    for (key, flag) in &effective.flags {
        let hold = &flag["hold"];
        let Some(run) = hold["run"].as_str() else { continue };
        let text = |field: &str| hold[field].as_str().unwrap_or_default();
        let what = format!("flag {key} is served at {}", text("variant"));
        all.push(Held { what, by: format!("{run}/{}", hold["step"]), why: text("reason").to_owned() });
    }
    for (id, run) in runs.iter().filter(|(_, run)| run.holds_reviews()) {
        let why = run.episodes.last().map(|episode| episode.reason.clone()).unwrap_or_default();
        all.push(Held { what: "reviews are held".to_owned(), by: id.clone(), why });
    }
    all
}

/// A hold in a line.
pub fn held_line(held: &Held) -> String {
    format!("held: {} (by {}: {})", held.what, held.by, held.why)
}
