//! Workloads under rollbacks: which hold counts, what a step goes back to, whether what runs is what is held, and which revisions are in quarantine.
//!
//! The oldest hold of each sort counts; a later one that differs waits until that is lifted, and pages like any step that does not take effect.
//!
//! Must not know: processes, pods.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{Timestamp, civil::Date, tz::TimeZone};

use super::{
    GoneBack, RolloutMemory, RunMemory, SignoffFact, StageVersion, StepMemory, WorkloadFact, WorkloadHold,
    pass::{Pass, latest_words},
    run::{holder, standing},
};
use crate::desired::ProgramDesired;
use crate::resources::{Action, Edge, Says, SignoffSpec};

/// Stands for a first day that is not known: what counts from it is over.
const LONG_AGO: Date = Date::constant(1970, 1, 1);

/// How the runs in force hold each workload. Read from memory alone, so that a new controller holds it before it has decided anything.
pub fn workload_holds(runs: &BTreeMap<String, RunMemory>) -> BTreeMap<String, WorkloadHold> {
    let mut holds: BTreeMap<String, WorkloadHold> = BTreeMap::new();
    for (id, _, place, step) in standing(runs) {
        let holder = holder(id, place);
        match step.step.action() {
            Some(Action::ScaleWorkload(scale)) => {
                let hold = holds.entry(scale.workload.clone()).or_default();
                if *hold.replicas.get_or_insert(scale.replicas) == scale.replicas {
                    hold.holders.insert(holder);
                }
            }
            Some(Action::RevertWorkload(revert)) => {
                let Some(target) = &step.target else { continue };
                let hold = holds.entry(revert.workload.clone()).or_default();
                if hold.revision.get_or_insert_with(|| target.clone()) == target {
                    hold.reverts.insert(holder.clone());
                    hold.holders.insert(holder);
                }
            }
            Some(Action::RestartWorkload(restart)) if step.verified_at.is_none() => {
                let Some(before) = &step.before else { continue };
                let hold = holds.entry(restart.workload.clone()).or_default();
                hold.restarts.insert(holder, before.clone());
            }
            _ => {}
        }
    }
    holds
}

/// The versions that stages gave workloads. A version stays until a later stage names another: a stage that opens takes nothing back by itself.
/// Read from memory alone, as holds are.
pub fn stage_versions(
    program: &ProgramDesired,
    rollouts: &BTreeMap<String, RolloutMemory>,
) -> BTreeMap<String, StageVersion> {
    let mut versions = BTreeMap::new();
    for (name, rollout) in &program.rollouts {
        let Some(memory) = rollouts.get(name) else { continue };
        for stage in rollout.spec.stages.iter().filter(|stage| memory.opened.contains_key(&stage.name)) {
            versions.extend(stage.workloads.iter().map(|(workload, version)| {
                let (rollout, stage, version) = (name.clone(), stage.name.clone(), version.clone());
                (workload.clone(), StageVersion { rollout, stage, version })
            }));
        }
    }
    versions
}

/// A revision that a run went back from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantined {
    /// The run.
    pub run: String,
    /// The revision that it went back to.
    pub target: String,
    /// When.
    pub since: Timestamp,
}

/// The revisions that runs went back from, by workload. They stay in quarantine after the run is lifted.
pub fn quarantine(runs: &BTreeMap<String, RunMemory>) -> BTreeMap<String, BTreeMap<String, Quarantined>> {
    let mut found: BTreeMap<String, BTreeMap<String, Quarantined>> = BTreeMap::new();
    for (id, run) in runs {
        for step in &run.steps {
            let Some(Action::RevertWorkload(revert)) = step.step.action() else { continue };
            for gone in &step.quarantined {
                let quarantined = Quarantined { run: id.clone(), target: gone.to.clone(), since: gone.at };
                let of_this = found.entry(revert.workload.clone()).or_default();
                // Of several runs the newest one says where it is kept, and since when a word counts.
                if of_this.get(&gone.from).is_none_or(|known| known.since <= gone.at) {
                    of_this.insert(gone.from.clone(), quarantined);
                }
            }
        }
    }
    found
}

/// Whether somebody said, since it is in quarantine, that a revision of a workload may run again: each person's latest word about it counts, until it
/// runs out, and only if it is known who said it where the program asks for that. Without `day0`, the first day of relative dates, a word with a
/// relative end counts no more.
pub fn released(
    program: &ProgramDesired,
    words: &[SignoffFact],
    (workload, revision): (&str, &str),
    quarantined: &Quarantined,
    (day0, now): (Option<Date>, Timestamp),
) -> bool {
    let object = format!("Workload/{workload}");
    let about = |spec: &SignoffSpec| {
        spec.says == Says::Acknowledge
            && spec.object.as_deref() == Some(object.as_str())
            && spec.digest.as_deref().map(str::trim) == Some(revision)
    };
    let zone = TimeZone::get(&program.program.spec.time_zone).unwrap_or(TimeZone::UTC);
    latest_words(program, words, now, about).into_iter().any(|word| {
        let until = word.spec.until.map(|until| until.resolve(day0.unwrap_or(LONG_AGO), &zone, Edge::End));
        word.first_seen >= quarantined.since && until.is_none_or(|until| now < until)
    })
}

impl Pass<'_> {
    /// What a step about a workload works on is written down once, when it is known: the processes that are to be replaced, the revision to go
    /// back to, the one that is left.
    pub fn aim(&mut self, id: &str) {
        let bad = quarantine(&self.memory.runs);
        let (facts, now) = (&self.readings.workloads, self.now);
        let Some(run) = self.memory.runs.get_mut(id) else { return };
        for step in run.steps.iter_mut().filter(|step| step.holds()) {
            if let Some(restart) = &step.step.restart_workload
                && step.before.is_none()
            {
                let fact = facts.get(&restart.workload);
                step.before =
                    fact.map(|fact| fact.processes.iter().map(|process| process.id.clone()).collect::<BTreeSet<_>>());
            }
            if let Some(revert) = &step.step.revert_workload
                && step.target.is_none()
                && let Some(fact) = facts.get(&revert.workload)
            {
                let quarantined = bad.get(&revert.workload);
                let sound = |one: &String| quarantined.is_none_or(|quarantined| !quarantined.contains_key(one));
                step.target = revert.to.clone().or_else(|| fact.previous.clone().filter(sound));
                if let Some(to) = step.target.clone().filter(|target| *target != fact.document) {
                    step.quarantined.retain(|gone| gone.from != fact.document);
                    step.quarantined.push(GoneBack { from: fact.document.clone(), to, at: now });
                }
            }
        }
    }

    /// Whether a workload runs as a hold wants it, and in no other way.
    pub(super) fn runs_as_held(&self, holder: &str, workload: &str) -> Result<(), String> {
        let fact = self.fact_of(workload)?;
        if !fact.holders.contains(holder) {
            let other: Vec<&str> = fact.holders.iter().map(String::as_str).collect();
            return Err(match other.as_slice() {
                [] => format!("{workload} is not held yet"),
                other => format!("{workload} is held otherwise by {}", other.join(", ")),
            });
        }
        all_run(fact, workload)
    }

    /// Whether none of the processes runs that ran when the step came into force, and enough others do.
    pub(super) fn replaced(&self, step: &StepMemory, workload: &str) -> Result<(), String> {
        let fact = self.fact_of(workload)?;
        let Some(before) = &step.before else { return Err(format!("nobody knows what ran of {workload}")) };
        let left = fact.processes.iter().filter(|process| before.contains(&process.id)).count();
        if left > 0 {
            return Err(format!("{left} of {} processes of {workload} are not replaced yet", before.len()));
        }
        all_run(fact, workload)
    }

    fn fact_of(&self, workload: &str) -> Result<&WorkloadFact, String> {
        self.readings.workloads.get(workload).ok_or_else(|| format!("nothing is known of workload {workload}"))
    }

    /// The version that a stage gave a workload, in words.
    fn version_of(&self, workload: &str) -> Option<String> {
        stage_versions(self.program, &self.memory.rollouts).get(workload).map(ToString::to_string)
    }

    /// The states of workloads.
    pub(super) fn workload_states(&self) -> Vec<(String, &'static str, String)> {
        let states = self.readings.workloads.iter().map(|(name, fact)| {
            let ready = fact.processes.iter().filter(|process| process.ready && process.revision == fact.revision);
            let short: String = fact.revision.chars().take(8).collect();
            let trouble = fact.trouble.as_ref().map(|trouble| format!("; {trouble}")).unwrap_or_default();
            let runs = format!("{} of {} ready at revision {short}{trouble}", ready.count(), fact.replicas);
            let runs = match self.version_of(name) {
                Some(version) => format!("{runs}; {version}"),
                None => runs,
            };
            let by: Vec<&str> = fact.holders.iter().map(String::as_str).collect();
            match (&fact.kept_back, by.as_slice()) {
                (_, [_, ..]) => (name.clone(), "Held", format!("{runs}; held by {}", by.join(", "))),
                (Some(why), _) => (name.clone(), "KeptBack", format!("{runs}; {why}")),
                (None, _) if all_run(fact, name).is_ok() => (name.clone(), "Ready", runs),
                (None, _) if fact.stuck => (name.clone(), "Stalled", runs),
                (None, _) => (name.clone(), "Rolling", runs),
            }
        });
        states.collect()
    }

    /// Whether a workload goes no further without somebody.
    pub(super) fn workload_is_stuck(&self, name: &str) -> bool {
        let fact = self.readings.workloads.get(name);
        fact.is_some_and(|fact| fact.kept_back.is_some() || (fact.stuck && all_run(fact, name).is_err()))
    }
}

fn all_run(fact: &WorkloadFact, workload: &str) -> Result<(), String> {
    let (ready, other) = fact.processes.iter().fold((0_u32, 0_u32), |(ready, other), process| {
        match (process.revision == fact.revision, process.ready) {
            (true, true) => (ready + 1, other),
            (true, false) => (ready, other),
            (false, _) => (ready, other + 1),
        }
    });
    match (ready == fact.replicas, other) {
        (true, 0) => Ok(()),
        (false, 0) => Err(format!("{ready} of {} processes of {workload} are ready", fact.replicas)),
        (_, other) => Err(format!("{other} process(es) of {workload} still run another revision")),
    }
}
