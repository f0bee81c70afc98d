//! The difference between what should be so and what is: ordered, guarded, readable actions.
//!
//! Knows the order in which differences may be made up, and how to say them. Must not know: I/O, why a difference is wanted.
//!
//! The order is part of the promise: what protects comes before what opens. Freezes first (with pauses, invites that are taken back and datasets that are undone), then flags, then closing,
//! then places, lists, datasets and opening, then thawing, then workloads.

mod held;
mod moves;
mod render;
mod shares;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::dataset::DatasetDelta;
use crate::decide::Effective;
use crate::resources::Undo;

pub use held::{Held, held, held_line};
pub use moves::{Census, Moves};
pub use render::{markdown, share_lines, text};
pub use shares::{ShareChange, VariantShare, share_changes};

/// What is so already, in one program.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// Cohorts that take redemptions now.
    pub open_cohorts: BTreeSet<String>,
    /// The freezes that stand.
    pub freezes: BTreeSet<(Option<String>, String)>,
    /// The flag definitions that are published, by key.
    pub flags: BTreeMap<String, Value>,
    /// What bringing each changed list in would do.
    pub lists: BTreeMap<String, ListDelta>,
    /// Cohorts that have another number of places than they should: what they have, and what they should have.
    pub capacities: BTreeMap<String, (Option<i64>, Option<i64>)>,
    /// Revisions and replicas of workloads that run, by name.
    pub workloads: BTreeMap<String, RunningWorkload>,
    /// The pauses of ingestion that stand, by holder; those by hand are not told.
    pub pauses: BTreeSet<String>,
    /// Effects that were done, by effect key.
    pub effects: BTreeSet<String>,
    /// What bringing each dataset in would do, where its table differs.
    pub datasets: BTreeMap<String, DatasetDelta>,
}

/// A workload as it should run, or runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunningWorkload {
    /// The digest of its settings; empty where only whoever runs it could tell.
    pub revision: String,
    /// How many.
    pub replicas: u32,
}

/// What bringing a list in would do. A million rows never pass through here: counts, a digest, and the first twenty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListDelta {
    /// The digest of the list's file.
    pub digest: String,
    /// Rows that are new.
    pub added: u64,
    /// Rows that are gone; their unused invites are revoked.
    pub removed: u64,
    /// Rows whose label, role or note changed.
    pub changed: u64,
    /// People who are in and whose row is gone: they stay in, with a warning.
    pub members_removed: u64,
    /// Rows after the change.
    pub total: u64,
    /// The first twenty lines of the change, `+ ada@example.com` and the like.
    pub first: Vec<String>,
    /// Why it waits for a person, where it does.
    pub guard: Option<String>,
}

/// One difference to make up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Action {
    /// No invite of the cohort (none: of any) can be redeemed or sent.
    Freeze {
        /// The cohort.
        cohort: Option<String>,
        /// Who holds it.
        holder: String,
        /// Why.
        reason: String,
    },
    /// No product events are taken in.
    PauseIngestion {
        /// Who holds it.
        holder: String,
        /// Why.
        reason: String,
    },
    /// The unused invites of a cohort (none: of all) are taken back, once.
    RevokeInvites {
        /// The cohort.
        cohort: Option<String>,
        /// Which step asks for it.
        holder: String,
        /// What makes it one effect.
        key: String,
        /// Why.
        reason: String,
    },
    /// A dataset is undone, once.
    RestoreDataset {
        /// The dataset.
        dataset: String,
        /// How.
        how: Undo,
        /// Which step asks for it.
        holder: String,
        /// What makes it one effect.
        key: String,
        /// Why.
        reason: String,
    },
    /// The rows of a dataset are brought in: imported, then published.
    SyncDataset {
        /// The dataset.
        dataset: String,
        /// What that does.
        delta: DatasetDelta,
    },
    /// A pause of ingestion is taken away.
    ResumeIngestion {
        /// Who held it.
        holder: String,
    },
    /// A flag is served otherwise.
    SetFlag {
        /// Its key.
        key: String,
        /// What changes, in words.
        change: String,
        /// What becomes of its percentages.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        shares: Vec<ShareChange>,
        /// Whom it moves, where that was counted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        moves: Option<Moves>,
    },
    /// A cohort takes no new redemptions.
    CloseCohort {
        /// Its name.
        cohort: String,
    },
    /// A cohort has another number of places; who waits moves up where there are more.
    SetCapacity {
        /// The cohort.
        cohort: String,
        /// How many it has; none: without a bound.
        from: Option<i64>,
        /// How many it should have.
        to: Option<i64>,
    },
    /// A list is brought in.
    SyncList {
        /// The cohort.
        cohort: String,
        /// What that does.
        delta: ListDelta,
    },
    /// A cohort takes redemptions.
    OpenCohort {
        /// Its name.
        cohort: String,
    },
    /// A freeze is taken away.
    Unfreeze {
        /// The cohort.
        cohort: Option<String>,
        /// Who held it.
        holder: String,
    },
    /// A workload is started, or replaced one by one.
    SetWorkload {
        /// Its name.
        workload: String,
        /// What runs now.
        from: Option<RunningWorkload>,
        /// What should run.
        to: RunningWorkload,
        /// The version that a stage gave it, in words.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        version: Option<String>,
    },
    /// A workload is stopped.
    StopWorkload {
        /// Its name.
        workload: String,
    },
}

/// Ordered actions for one program.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// In the order in which they are carried out.
    pub actions: Vec<Action>,
}

impl Plan {
    /// Whether nothing is to be done.
    pub fn is_empty(&self) -> bool {
        self.actions.is_empty()
    }
}

/// The actions that make what is so into what should be so.
pub fn plan(effective: &Effective, workloads: &BTreeMap<String, RunningWorkload>, observed: &Observed) -> Plan {
    let mut actions = Vec::new();
    for ((cohort, holder), reason) in &effective.freezes {
        if !observed.freezes.contains(&(cohort.clone(), holder.clone())) {
            actions.push(Action::Freeze { cohort: cohort.clone(), holder: holder.clone(), reason: reason.clone() });
        }
    }
    for (holder, reason) in effective.pauses.iter().filter(|(holder, _)| !observed.pauses.contains(*holder)) {
        actions.push(Action::PauseIngestion { holder: holder.clone(), reason: reason.clone() });
    }
    for (key, wanted) in effective.revocations.iter().filter(|(key, _)| !observed.effects.contains(*key)) {
        let (cohort, holder, reason) = (wanted.cohort.clone(), wanted.holder.clone(), wanted.reason.clone());
        actions.push(Action::RevokeInvites { cohort, holder, key: key.clone(), reason });
    }
    for (key, wanted) in effective.restores.iter().filter(|(key, _)| !observed.effects.contains(*key)) {
        let (dataset, holder, reason) = (wanted.dataset.clone(), wanted.holder.clone(), wanted.reason.clone());
        actions.push(Action::RestoreDataset { dataset, how: wanted.how, holder, key: key.clone(), reason });
    }
    actions.extend(flag_changes(&effective.flags, &observed.flags));
    let open = |name: &String| effective.cohorts.get(name).is_some_and(|state| state.open);
    actions.extend(
        observed
            .open_cohorts
            .iter()
            .filter(|name| !open(name))
            .map(|name| Action::CloseCohort { cohort: name.clone() }),
    );
    for (cohort, (from, to)) in &observed.capacities {
        actions.push(Action::SetCapacity { cohort: cohort.clone(), from: *from, to: *to });
    }
    for (cohort, delta) in &observed.lists {
        actions.push(Action::SyncList { cohort: cohort.clone(), delta: delta.clone() });
    }
    for (dataset, delta) in &observed.datasets {
        actions.push(Action::SyncDataset { dataset: dataset.clone(), delta: delta.clone() });
    }
    for name in effective.cohorts.keys().filter(|name| open(name) && !observed.open_cohorts.contains(*name)) {
        actions.push(Action::OpenCohort { cohort: name.clone() });
    }
    for (cohort, holder) in observed.freezes.iter().filter(|freeze| !effective.freezes.contains_key(*freeze)) {
        actions.push(Action::Unfreeze { cohort: cohort.clone(), holder: holder.clone() });
    }
    for holder in observed.pauses.iter().filter(|holder| !effective.pauses.contains_key(*holder)) {
        actions.push(Action::ResumeIngestion { holder: holder.clone() });
    }
    for (name, to) in workloads {
        let from = observed.workloads.get(name);
        if from != Some(to) {
            let version = effective.versions.get(name).map(ToString::to_string);
            actions.push(Action::SetWorkload { workload: name.clone(), from: from.cloned(), to: to.clone(), version });
        }
    }
    for name in observed.workloads.keys().filter(|name| !workloads.contains_key(*name)) {
        actions.push(Action::StopWorkload { workload: name.clone() });
    }
    Plan { actions }
}

/// What changes between two sets of flag definitions. The commit a definition came with is no change of its own.
fn flag_changes(wanted: &BTreeMap<String, Value>, published: &BTreeMap<String, Value>) -> Vec<Action> {
    let set = |key: &String, change: String, shares| Action::SetFlag { key: key.clone(), change, shares, moves: None };
    let mut changes = Vec::new();
    for (key, flag) in wanted {
        let Some(before) = published.get(key) else {
            changes.push(set(key, "new".to_owned(), Vec::new()));
            continue;
        };
        let fields = differing_fields(before, flag);
        if !fields.is_empty() {
            changes.push(set(key, fields.join(", "), share_changes(before, flag)));
        }
    }
    let gone = published.keys().filter(|key| !wanted.contains_key(*key));
    changes.extend(gone.map(|key| set(key, "served as not found".to_owned(), Vec::new())));
    changes
}

fn differing_fields(before: &Value, after: &Value) -> Vec<String> {
    let (Some(before), Some(after)) = (before.as_object(), after.as_object()) else {
        return vec!["definition".to_owned()];
    };
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).filter(|name| *name != "commit").collect();
    let differs = names.into_iter().filter(|name| before.get(*name) != after.get(*name));
    differs.map(|name| say(name, before.get(name), after.get(name))).collect()
}

fn say(name: &str, before: Option<&Value>, after: Option<&Value>) -> String {
    match (name, before, after) {
        ("hold", None, Some(hold)) => {
            format!("held at {} by {}/{}", plain(&hold["variant"]), plain(&hold["run"]), hold["step"])
        }
        ("hold", Some(_), None) => "hold lifted".to_owned(),
        ("routed", None, Some(_)) => "routed to its fallback".to_owned(),
        ("routed", Some(_), None) => "no longer routed to its fallback".to_owned(),
        ("defaultVariant" | "state" | "risk" | "fallback" | "safeVariant", Some(before), Some(after)) => {
            format!("{name} {} → {}", plain(before), plain(after))
        }
        (_, None, Some(_)) => format!("{name} added"),
        (_, Some(_), None) => format!("{name} removed"),
        _ => format!("{name} changed"),
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::decide::CohortState;

    fn effective() -> Effective {
        let mut effective = Effective::default();
        effective.cohorts.insert("pavia".to_owned(), CohortState { open: true, opened_before: true });
        effective.freezes.insert((None, "run-1/1".to_owned()), "sync".to_owned());
        effective.flags.insert(
            "boost".to_owned(),
            json!({ "defaultVariant": "on", "hold": { "variant": "off", "run": "run-1", "step": 2 } }),
        );
        effective
    }

    #[test]
    fn what_protects_comes_before_what_opens() {
        let mut observed = Observed::default();
        observed.freezes.insert((None, "old-1/1".to_owned()));
        observed.open_cohorts.insert("lyon".to_owned());
        let plan = plan(&effective(), &BTreeMap::new(), &observed);
        let kinds: Vec<_> = plan
            .actions
            .iter()
            .map(|action| serde_json::to_value(action).unwrap_or_default()["action"].clone())
            .collect();
        assert_eq!(kinds, ["freeze", "setFlag", "closeCohort", "openCohort", "unfreeze"]);
    }

    #[test]
    fn a_plan_that_was_carried_out_is_empty_and_a_commit_alone_changes_no_flag() {
        let effective = effective();
        let mut flags = effective.flags.clone();
        flags.entry("boost".to_owned()).and_modify(|flag| flag["commit"] = json!("abc"));
        let observed = Observed {
            open_cohorts: ["pavia".to_owned()].into(),
            freezes: effective.freezes.keys().cloned().collect(),
            flags,
            ..Observed::default()
        };
        assert!(plan(&effective, &BTreeMap::new(), &observed).is_empty());
    }
}
