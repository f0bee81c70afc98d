//! The holds in force, as a plan tells them: what of the documents will not be so while they stand.
//!
//! Must not know: how a hold comes about.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::decide::{Effective, RunMemory, holder, standing};

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

/// Every hold in force: freezes, flags, pauses, workloads, datasets, reviews. What several runs hold is told once for each.
pub fn held(effective: &Effective, runs: &BTreeMap<String, RunMemory>) -> Vec<Held> {
    let mut all = Vec::new();
    for ((cohort, by), why) in &effective.freezes {
        let whose = cohort.as_ref().map_or_else(|| "all cohorts".to_owned(), |name| format!("cohort {name}"));
        all.push(Held { what: format!("invites of {whose} are frozen"), by: by.clone(), why: why.clone() });
    }
    for (id, run, place, step) in standing(runs) {
        let why = run.episodes.last().map(|episode| episode.reason.clone()).unwrap_or_default();
        let (by, step) = (holder(id, place), &step.step);
        for key in step.disable_flags.iter().flat_map(|disable| &disable.keys) {
            let Some(variant) = effective.flags.get(key).and_then(|flag| flag["hold"]["variant"].as_str()) else {
                continue;
            };
            let what = format!("flag {key} is served at {variant}");
            all.push(Held { what, by: by.clone(), why: why.clone() });
        }
        if let Some(route) = &step.route_to_fallback {
            let what =
                format!("flags of {} risk are served at their fallback", format!("{:?}", route.risk).to_lowercase());
            all.push(Held { what, by: by.clone(), why: why.clone() });
        }
    }
    for (by, why) in &effective.pauses {
        let what = "product events are not taken in".to_owned();
        all.push(Held { what, by: by.clone(), why: why.clone() });
    }
    for (name, hold) in &effective.datasets {
        for (digest, run) in &hold.quarantined {
            let what = format!("the file {digest:.12} of dataset {name} stays out");
            all.push(Held { what, by: run.clone(), why: "it was undone".to_owned() });
        }
        let Some(by) = &hold.holder else { continue };
        let run = by.rsplit_once('/').and_then(|(run, _)| runs.get(run));
        let why = run.and_then(|run| run.episodes.last()).map(|episode| episode.reason.clone()).unwrap_or_default();
        all.push(Held { what: format!("dataset {name} stays as it was left"), by: by.clone(), why });
    }
    for (name, hold) in &effective.workloads {
        let by: Vec<&str> = hold.holders.iter().map(String::as_str).collect();
        let run = by.first().and_then(|holder| runs.get(holder.split('/').next().unwrap_or_default()));
        let why = run.and_then(|run| run.episodes.last()).map(|episode| episode.reason.clone()).unwrap_or_default();
        let revision = hold.revision.as_ref().map(|revision| format!("stays at revision {revision:.8}"));
        let replicas = hold.replicas.map(|replicas| format!("runs {replicas} process(es)"));
        let what: Vec<String> = revision.into_iter().chain(replicas).collect();
        if !what.is_empty() {
            all.push(Held { what: format!("workload {name} {}", what.join(", ")), by: by.join(", "), why });
        }
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
