//! A rehearsal: the same decisions over a copy of what is known, with a plan started in it, in a world that carries everything out at once. Nothing
//! leaves this room: it tells what each step would do and send.
//!
//! Must not know: whether what a step needs is there.

use jiff::Timestamp;

use super::world::World;
use crate::decide::{Effective, Memory, Message, Readings, Request, RequestKind, decide};
use crate::desired::{ProgramDesired, Revision};
use crate::plan::{Observed, plan, text};

/// The world has come to rest long before so many passes.
const MOST_PASSES: usize = 500;
/// The request's id: it is nobody's.
const REQUEST: &str = "rehearsal";

/// What one step would do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RehearsedStep {
    /// Its name.
    pub name: String,
    /// What it would change, a line each.
    pub changes: Vec<String>,
    /// What it would send, or run, or call.
    pub messages: Vec<Message>,
}

/// Goes through a plan as a drill. What came into force is told step by step, in order; `None` when it does not come to its end.
pub fn rehearse(
    program: &ProgramDesired,
    revision: &Revision,
    (readings, memory): (&Readings, &Memory),
    name: &str,
    now: Timestamp,
) -> Option<Vec<RehearsedStep>> {
    let steps = &program.plans.get(name)?.spec.steps;
    let mut memory = memory.clone();
    // As if no run were in force: one that is would be joined, and its destructive steps not repeated.
    memory.runs.clear();
    memory.plans.remove(name);
    let mut readings = readings.clone();
    readings.freezes.clear();
    readings.pauses.clear();
    readings.effects.clear();
    readings.requests.clear();
    let before = decide(program, revision, &readings, &memory, now).effective;
    let what = RequestKind::StartRollback { plan: name.to_owned(), reason: "a drill".to_owned() };
    readings.requests.push(Request { id: REQUEST.to_owned(), what, by: "a drill".to_owned() });
    let mut world = World::around(program, readings, memory);
    world.move_to(now);
    let mut rehearsed: Vec<RehearsedStep> =
        steps.iter().map(|step| RehearsedStep { name: step.name().to_owned(), ..RehearsedStep::default() }).collect();
    let run = format!("{name}-1");
    let mut last = before;
    for _ in 0..MOST_PASSES {
        let decision = decide(program, revision, &world.readings, &world.memory, now);
        for place in in_force(&world.memory, &decision.memory, &run) {
            let Some(step) = rehearsed.get_mut(place) else { continue };
            step.changes.extend(difference(&last, &decision.effective));
            let begins = format!("{run}/1/{}/", place + 1);
            step.messages.extend(decision.messages.iter().filter(|m| m.effect_key.starts_with(&begins)).cloned());
        }
        let rests = decision.memory == world.memory && decision.messages.is_empty();
        last = decision.effective.clone();
        if !world.follow(&decision, now) && rests {
            let came = world.memory.runs.get(&run)?;
            return came.steps.iter().all(|step| step.holds()).then_some(rehearsed);
        }
    }
    None
}

/// The places of the steps of a run that a decision puts in force.
fn in_force(before: &Memory, after: &Memory, run: &str) -> Vec<usize> {
    let since = |memory: &Memory, place: usize| memory.runs.get(run)?.steps.get(place)?.in_force_at;
    let steps = after.runs.get(run).map_or(0, |run| run.steps.len());
    (0..steps).filter(|place| since(after, *place).is_some() && since(before, *place).is_none()).collect()
}

fn difference(before: &Effective, after: &Effective) -> Vec<String> {
    let observed = Observed {
        open_cohorts: before.cohorts.iter().filter(|(_, state)| state.open).map(|(name, _)| name.clone()).collect(),
        freezes: before.freezes.keys().cloned().collect(),
        flags: before.flags.clone(),
        pauses: before.pauses.keys().cloned().collect(),
        effects: before.revocations.keys().chain(before.restores.keys()).cloned().collect(),
        ..Observed::default()
    };
    let mut lines: Vec<String> =
        text(&plan(after, &Default::default(), &observed)).lines().map(str::to_owned).collect();
    for (name, hold) in &after.workloads {
        let had = before.workloads.get(name).cloned().unwrap_or_default();
        if let Some(replicas) = hold.replicas.filter(|_| hold.replicas != had.replicas) {
            lines.push(format!("~ workload {name}: {replicas} process(es)"));
        }
        if let Some(revision) = hold.revision.as_ref().filter(|_| hold.revision != had.revision) {
            lines.push(format!("~ workload {name}: back to revision {revision}"));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot be set up has failed")]

    use std::sync::Arc;

    use super::*;
    use crate::desired::{Origin, Resource};

    fn resource<S: serde::de::DeserializeOwned>(name: &str, spec: &str) -> Resource<S> {
        let origin = Origin { file: Arc::from("test.yaml"), line: 1 };
        Resource { name: name.to_owned(), spec: serde_saphyr::from_str(spec).expect("a valid spec"), origin }
    }

    #[test]
    fn a_drill_tells_step_by_step_what_a_run_would_do_and_changes_nothing_it_was_given() {
        let mut program = ProgramDesired::new(resource(
            "beta",
            "{timeZone: UTC, startsOn: 2026-03-02, people: {ana: {}}, channels: {ops: {email: [ops@example.com]}}}",
        ));
        let flag = "{program: beta, type: boolean, risk: high, variants: {\"on\": true, \"off\": false}, defaultVariant: \"on\",
            safeVariant: \"off\", fallback: /classic}";
        program.flags.insert("boost".to_owned(), resource("boost", flag));
        let worker = resource("worker", "{program: beta, component: worker, replicas: 2}");
        program.workloads.insert("worker".to_owned(), worker);
        let plan = "{program: beta, steps: [{freezeInvites: {}}, {disableFlags: {keys: [boost]}}, {pauseIngestion: {}},
            {scaleWorkload: {workload: worker, replicas: 0}}, {publishNote: {to: [ops], template: note}}, {runJob: {command: [mend]}}]}";
        program.plans.insert("back".to_owned(), resource("back", plan));
        let (readings, memory) = (Readings::default(), Memory::default());
        let now = "2026-03-02T08:00:00Z".parse().unwrap();
        let revision = Revision::default();
        let steps = rehearse(&program, &revision, (&readings, &memory), "back", now).unwrap();
        let said: Vec<(&str, &str)> =
            steps.iter().map(|step| (step.name.as_str(), step.changes.first().map_or("", String::as_str))).collect();
        assert_eq!(said[0].0, "freezeInvites");
        assert!(said[0].1.starts_with("- freeze invites of all cohorts"), "{said:?}");
        assert!(said[1].1.contains("flag boost: held at off"), "{said:?}");
        assert!(said[2].1.contains("pause ingestion"), "{said:?}");
        assert_eq!(said[3].1, "~ workload worker: 0 process(es)");
        let sent: Vec<usize> = steps.iter().map(|step| step.messages.len()).collect();
        assert_eq!(sent, [0, 0, 0, 0, 1, 1]);
        assert!(rehearse(&program, &revision, (&readings, &memory), "none", now).is_none());
    }
}
