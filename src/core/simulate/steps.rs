//! How a world that carries everything out at once answers the further steps of a rollback: pauses, invites taken back, datasets, workloads.

use jiff::Timestamp;

use crate::decide::{Effective, ProcessFact, Readings, WorkloadFact};
use crate::desired::ProgramDesired;

/// The revision that every document describes, and the one before it.
const DOCUMENT: &str = "document";
const BEFORE: &str = "before";

/// Carries out what a decision wants beside freezes, flags and messages.
pub(crate) fn follow_steps(program: &ProgramDesired, effective: &Effective, readings: &mut Readings) {
    readings.pauses = effective.pauses.keys().cloned().collect();
    readings.effects.extend(effective.revocations.keys().cloned());
    for (key, restore) in &effective.restores {
        readings.effects.insert(key.clone());
        let fact = readings.datasets.entry(restore.dataset.clone()).or_default();
        fact.after.insert(key.clone(), (Timestamp::MAX, fact.counts.clone()));
    }
    for (name, workload) in &program.workloads {
        let hold = effective.workloads.get(name).cloned().unwrap_or_default();
        let had = readings.workloads.remove(name).unwrap_or_default();
        let replicas = hold.replicas.unwrap_or(workload.spec.replicas);
        // A version of a stage is another document.
        let version = effective.versions.get(name);
        let document = version.map_or_else(|| DOCUMENT.to_owned(), |version| format!("{DOCUMENT} {}", version.version));
        let revision = hold.revision.unwrap_or_else(|| document.clone());
        let asked = |id: &String| hold.restarts.values().any(|before| before.contains(id));
        let processes = (0..replicas).map(|replica| {
            let first = format!("{name}-{replica}");
            let known = had.processes.iter().find(|one| one.id.trim_end_matches('+') == first);
            let id = known.map_or(first, |one| one.id.clone());
            let id = if asked(&id) { format!("{id}+") } else { id };
            ProcessFact { id, revision: revision.clone(), ready: true }
        });
        let fact = WorkloadFact {
            document,
            processes: processes.collect(),
            revision,
            replicas,
            holders: hold.holders,
            previous: Some(BEFORE.to_owned()),
            kept_back: None,
            trouble: None,
            stuck: false,
        };
        readings.workloads.insert(name.clone(), fact);
    }
}
