//! The further steps: invites taken back, ingestion, workloads, jobs and calls.

use super::*;

/// The world with a worker, and a plan by hand with these steps.
fn with(steps: &str) -> World {
    let mut world = world();
    put(&mut world.desired.workloads, "worker", "{program: beta, component: worker, replicas: 2}");
    put(&mut world.desired.plans, "further", &format!("{{program: beta, steps: {steps}}}"));
    world.healthy();
    world.settle();
    world
}

impl World {
    fn start(&mut self, plan: &str) {
        let id = format!("request-{}", self.memory.program.done_requests.len());
        let what = RequestKind::StartRollback { plan: plan.to_owned(), reason: "bad".to_owned() };
        self.readings.requests = vec![Request { id, what, by: "founder".to_owned() }];
        self.settle();
    }

    fn worker(&self) -> &WorkloadFact {
        &self.readings.workloads["worker"]
    }

    fn lift_by_hand(&mut self, run: &str) {
        self.complete_documents();
        self.says(&format!("lift-{run}"), &format!("{{program: beta, by: founder, says: lift, run: {run}}}"));
        self.settle();
    }

    fn sent(&self, ending: &str) -> usize {
        self.messages.iter().filter(|message| message.effect_key.ends_with(ending)).count()
    }
}

const ALL: &str = "[{freezeInvites: {cohorts: all}}, {pauseIngestion: {}}, {revokeInvites: {cohorts: [pavia]}},
    {scaleWorkload: {workload: worker, replicas: 1}}, {revertWorkload: {workload: worker}}, {restartWorkload: {workload: worker}},
    {runJob: {command: [mend]}}, {callWebhook: {channel: ops}}]";

#[test]
fn every_further_step_comes_into_force_in_order_and_is_verified_by_a_reading() {
    let mut world = with(ALL);
    let before: Vec<String> = world.worker().processes.iter().map(|process| process.id.clone()).collect();
    world.start("further");
    assert_eq!(world.states("further-1"), [StepState::Verified; 8], "{:#?}", world.run("further-1").steps);
    assert!(world.readings.pauses.contains("further-1/2"));
    assert!(world.readings.effects.contains("further-1/3/pavia"));
    let worker = world.worker();
    assert_eq!((worker.replicas, worker.revision.as_str()), (1, "before"));
    assert!(worker.processes.iter().all(|process| !before.contains(&process.id)), "{before:?} {worker:?}");
    assert_eq!((world.sent("/job"), world.sent("/call")), (1, 1));
    assert_eq!(world.last.states["Workload/worker"].state, "Held");
    world.lift_by_hand("further-1");
    assert!(world.readings.pauses.is_empty() && world.last.effective.workloads.is_empty());
    assert!(world.readings.effects.contains("further-1/3/pavia"), "what was taken back stays so");
}

#[test]
fn a_later_episode_repeats_no_step_that_changes_something_outside() {
    let mut world = with(ALL);
    world.start("further");
    world.start("further");
    assert_eq!(world.runs(), ["further-1"]);
    assert_eq!(world.run("further-1").episodes.len(), 2);
    assert_eq!((world.sent("/job"), world.sent("/call")), (1, 1));
    let revoked: Vec<_> = world.readings.effects.iter().collect();
    assert_eq!(revoked, ["further-1/3/pavia"]);
}

#[test]
fn a_step_whose_effect_does_not_show_is_overdue_pages_owner_then_backup_and_is_tried_until_it_holds() {
    let mut world = with("[{runJob: {command: [mend]}, deadline: 2m}, {pauseIngestion: {}}]");
    let receipts = |world: &mut World, done: bool| {
        let error = (!done).then(|| "it ended with exit code 1".to_owned());
        let receipt = Receipt { done, at: world.now, error };
        world.readings.receipts.insert("further-1/1/1/job".to_owned(), receipt);
    };
    world.start("further");
    // The world receipts everything at once: take it back, as if the job went on failing.
    let run = world.memory.runs.get_mut("further-1").unwrap();
    run.phase = RunPhase::Running;
    run.steps.iter_mut().for_each(|step| step.state = StepState::Waiting);
    run.steps[0].state = StepState::InForce;
    receipts(&mut world, false);
    world.settle();
    assert_eq!(world.states("further-1"), [StepState::InForce, StepState::Waiting]);
    let paged = |world: &World| {
        let people = world.messages.iter().filter_map(|message| match &message.what {
            MessageKind::Page { person, text } if text.contains("exit code 1") => Some(person.clone()),
            _ => None,
        });
        people.collect::<std::collections::BTreeSet<_>>().into_iter().collect::<Vec<_>>()
    };
    world.advance(SignedDuration::from_secs(121));
    world.settle();
    assert_eq!(world.states("further-1"), [StepState::Overdue, StepState::Verified], "the next one goes on");
    assert_eq!(paged(&world), ["founder"]);
    world.advance(SignedDuration::from_secs(121));
    world.settle();
    assert_eq!(paged(&world), ["founder", "ops"]);
    receipts(&mut world, true);
    world.settle();
    assert_eq!(world.states("further-1"), [StepState::Verified, StepState::Verified]);
}

#[test]
fn a_step_that_must_not_be_passed_stops_those_after_it() {
    let mut world = with("[{revertWorkload: {workload: nobody}, onFailure: stop}, {pauseIngestion: {}}]");
    world.start("further");
    world.advance(SignedDuration::from_mins(30));
    world.settle();
    assert_eq!(world.states("further-1"), [StepState::Overdue, StepState::Waiting]);
    let waits = &world.last.states["Rollback/further-1"].waits;
    assert!(waits.iter().any(|wait| wait.on.contains("no earlier revision of nobody")), "{waits:?}");
}

#[test]
fn of_two_runs_on_one_workload_the_oldest_holds_and_the_other_takes_over_when_it_is_lifted() {
    let mut world = with("[{scaleWorkload: {workload: worker, replicas: 1}}]");
    put(
        &mut world.desired.plans,
        "later",
        "{program: beta, steps: [{scaleWorkload: {workload: worker, replicas: 0}}]}",
    );
    world.start("further");
    world.advance(SignedDuration::from_secs(1));
    world.start("later");
    assert_eq!(world.worker().replicas, 1);
    assert_eq!(world.states("later-1"), [StepState::InForce]);
    assert!(world.run("later-1").steps[0].detail.contains("held otherwise by further-1/1"));
    world.advance(SignedDuration::from_mins(6));
    world.settle();
    assert_eq!(world.states("later-1"), [StepState::Overdue], "it waits, and pages");
    world.lift_by_hand("further-1");
    world.settle();
    assert_eq!((world.worker().replicas, world.states("later-1")), (0, vec![StepState::Verified]));
}

#[test]
fn a_flag_with_two_holds_stays_held_until_the_last_one_is_lifted() {
    let mut world = with("[{disableFlags: {keys: [boost]}}]");
    put(
        &mut world.desired.plans,
        "second",
        "{program: beta, steps: [{disableFlags: {keys: [boost]}}, {freezeInvites: {}}]}",
    );
    world.start("further");
    world.start("second");
    assert_eq!(world.flag("boost")["hold"]["run"], "further-1");
    world.lift_by_hand("further-1");
    assert_eq!(world.flag("boost")["hold"]["run"], "second-1", "the other run holds it still");
    assert!(world.last.effective.freezes.keys().all(|(_, holder)| holder == "second-1/2"));
    world.lift_by_hand("second-1");
    assert!(world.flag("boost")["hold"].is_null());
    assert!(world.last.effective.freezes.is_empty());
}

#[test]
fn a_revision_that_was_gone_back_from_stays_in_quarantine_and_is_never_gone_back_to() {
    let mut world = with("[{revertWorkload: {workload: worker}}]");
    world.start("further");
    let step = &world.run("further-1").steps[0];
    assert_eq!((step.target.as_deref(), step.quarantined.as_deref()), (Some("before"), Some("document")));
    world.lift_by_hand("further-1");
    let bad = quarantine(&world.memory.runs);
    assert_eq!(
        (bad["worker"]["document"].run.as_str(), bad["worker"]["document"].target.as_str()),
        ("further-1", "before")
    );
    // Another run, while the revision before is itself one that was gone back from.
    let run = world.memory.runs.get_mut("further-1").unwrap();
    run.steps[0].quarantined = Some("before".to_owned());
    world.start("further");
    assert_eq!(world.run("further-2").steps[0].target, None);
    assert!(world.run("further-2").steps[0].detail.contains("no earlier revision"));
}

#[test]
fn a_cause_step_proposes_its_document_for_each_episode_and_the_revert_once_and_waits_for_neither() {
    let mut world = with("[{captureRootCause: {owner: founder, propose: [document, revert]}}]");
    world.start("further");
    world.start("further");
    assert_eq!(world.states("further-1"), [StepState::Verified]);
    let mut proposed: Vec<String> = world
        .messages
        .iter()
        .filter_map(|message| match &message.what {
            MessageKind::Proposal { branch, revert, .. } => {
                Some(format!("{branch} {}", revert.clone().unwrap_or_default()))
            }
            _ => None,
        })
        .collect();
    proposed.sort();
    proposed.dedup();
    assert_eq!(
        proposed,
        ["betagate/cause-further-1-1 ", "betagate/cause-further-1-2 ", "betagate/revert-further-1 r1"]
    );
}
