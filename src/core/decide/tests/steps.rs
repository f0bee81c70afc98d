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
    // Where the revision can't be had, the count is held still.
    let left = world.last.effective.workloads["worker"].without_revision();
    assert_eq!(left.into_iter().collect::<Vec<_>>(), ["further-1/4"]);
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
    let gone = step.quarantined.iter().map(|gone| (gone.from.as_str(), gone.to.as_str()));
    assert_eq!((step.target.as_deref(), gone.collect::<Vec<_>>()), (Some("before"), vec![("document", "before")]));
    world.lift_by_hand("further-1");
    let bad = quarantine(&world.memory.runs);
    assert_eq!(
        (bad["worker"]["document"].run.as_str(), bad["worker"]["document"].target.as_str()),
        ("further-1", "before")
    );
    // Another run, while the revision before is itself one that was gone back from.
    let run = world.memory.runs.get_mut("further-1").unwrap();
    run.steps[0].quarantined[0].from = "before".to_owned();
    world.start("further");
    assert_eq!(world.run("further-2").steps[0].target, None);
    assert!(world.run("further-2").steps[0].detail.contains("no earlier revision"));
}

#[test]
fn what_was_gone_back_from_stays_in_quarantine_when_a_later_episode_goes_back_from_another() {
    let mut world = with("[{revertWorkload: {workload: worker}}, {freezeInvites: {}}]");
    world.start("further");
    let first = world.now;
    // Its hold was lifted, the run is still in force, and meanwhile another commit came.
    let run = world.memory.runs.get_mut("further-1").unwrap();
    run.steps[0].state = StepState::Lifted;
    run.steps[0].quarantined[0].from = "earlier".to_owned();
    world.advance(SignedDuration::from_mins(1));
    world.start("further");
    let step = &world.run("further-1").steps[0];
    assert_eq!(step.target.as_deref(), Some("before"));
    let bad = quarantine(&world.memory.runs);
    let found: Vec<_> =
        bad["worker"].iter().map(|(from, gone)| (from.as_str(), gone.target.as_str(), gone.since)).collect();
    assert_eq!(found, [("document", "before", world.now), ("earlier", "before", first)]);
    // While it is not known what to go back to, what is in quarantine still says where it is kept.
    world.memory.runs.get_mut("further-1").unwrap().steps[0].target = None;
    assert_eq!(quarantine(&world.memory.runs), bad);
}

#[test]
fn a_revision_in_quarantine_runs_again_when_the_latest_word_since_then_says_so() {
    let mut world = with("[{revertWorkload: {workload: worker}}]");
    let ack = |by: &str, more: &str| {
        format!("{{program: beta, by: {by}, says: acknowledge, object: Workload/worker, digest: document{more}}}")
    };
    world.says("before-it", &ack("founder", ""));
    world.advance(SignedDuration::from_mins(1));
    world.start("further");
    world.advance(SignedDuration::from_mins(1));
    let bad = quarantine(&world.memory.runs)["worker"]["document"].clone();
    let free = |world: &World| {
        let day0 = world.memory.program.day0;
        released(&world.desired, &world.readings.signoffs, ("worker", "document"), &bad, (day0, world.now))
    };
    assert!(!free(&world), "what was said before it went back is spent");
    world.says("another", &ack("founder", "0"));
    assert!(!free(&world), "that is another revision");
    world.says("after-it", &ack("founder", ", until: +40d"));
    assert!(free(&world));
    let (at, own) = (world.now, world.readings.signoffs.clone());
    world.advance(SignedDuration::from_hours(24 * 50));
    assert!(!free(&world), "it has run out");
    world.now = at;
    world.advance(SignedDuration::from_mins(1));
    world.says("taken-back", &ack("founder", ", until: 2026-01-01"));
    assert!(!free(&world), "the latest word of a person counts");
    world.says("ops", &ack("ops", ""));
    assert!(free(&world), "another person's word stands beside it");
    // Where words must be proven.
    world.readings.signoffs = own;
    world.desired.program.spec.signoffs = serde_json::from_str(r#"{ "verified": "required" }"#).unwrap();
    world.readings.signoffs.iter_mut().for_each(|word| word.verified = false);
    assert!(!free(&world));
    world.readings.signoffs.iter_mut().for_each(|word| word.verified = true);
    assert!(free(&world));
}

#[test]
fn a_stage_gives_a_workload_a_version_that_stays_until_another_does_and_a_hold_comes_first() {
    let mut world = with("[{revertWorkload: {workload: worker}}]");
    put(
        &mut world.desired.rollouts,
        "closed",
        "{program: beta, stages: [{name: pilot, cohorts: [pavia], workloads: {worker: 'x:1'}}, {name: wide, window: {from: +1d}, cohorts: [pavia]},
          {name: all, window: {from: +2d}, workloads: {worker: {image: 'x:2', env: {LEVEL: 3}}}}]}",
    );
    world.memory = Memory::default();
    world.settle();
    assert_eq!(world.worker().revision, "document x:1");
    assert!(world.last.states["Workload/worker"].summary.ends_with("; x:1 of stage pilot (closed)"));
    assert!(world.events.iter().any(|event| event.message == "stage pilot is open; worker becomes x:1"));
    world.advance(SignedDuration::from_hours(24));
    world.settle();
    assert_eq!(world.memory.rollouts["closed"].current.as_deref(), Some("wide"));
    assert_eq!(world.worker().revision, "document x:1", "a stage that says nothing of it takes nothing back");
    world.start("further");
    assert_eq!(world.worker().revision, "before", "a hold comes first");
    world.advance(SignedDuration::from_hours(24));
    world.settle();
    assert_eq!(world.memory.rollouts["closed"].current.as_deref(), Some("wide"), "no stage opens during a rollback");
    world.lift_by_hand("further-1");
    assert_eq!(world.worker().revision, "document x:2, LEVEL=3");
    let version = &world.last.effective.versions["worker"].version;
    let spec = version.over(&world.desired.workloads["worker"].spec);
    assert_eq!((spec.image.as_deref(), spec.env["LEVEL"].clone(), spec.replicas), (Some("x:2"), 3.into(), 2));
}

#[test]
fn what_is_to_open_after_a_stage_with_a_version_waits_for_a_look_at_that_version() {
    let mut world = with("[{scaleWorkload: {workload: worker, replicas: 1}}]");
    put(
        &mut world.desired.rollouts,
        "closed",
        "{program: beta, stages: [{name: pilot, cohorts: [pavia], workloads: {worker: 'x:1'}}, {name: wide, cohorts: [pavia]}, {name: all}]}",
    );
    world.memory = Memory::default();
    let revision = Revision { id: "r1".to_owned(), ..Revision::default() };
    let mut stage = || {
        let decision = decide(&world.desired, &revision, &world.readings, &world.memory, world.now);
        world.memory = decision.memory;
        world.memory.rollouts["closed"].current.clone().unwrap_or_default()
    };
    assert_eq!(stage(), "pilot", "what was measured is about the version before");
    assert_eq!(stage(), "all", "the others bring none");
}

#[test]
fn a_workload_that_gets_no_further_by_itself_needs_somebody() {
    let mut world = with("[{scaleWorkload: {workload: worker, replicas: 1}}]");
    let mut state = |stuck: bool, ready: bool| {
        let worker = world.readings.workloads.get_mut("worker").unwrap();
        (worker.stuck, worker.trouble) = (stuck, Some("its image is nowhere".to_owned()));
        worker.processes.iter_mut().for_each(|process| process.ready = ready);
        let decision = decide(&world.desired, &Revision::default(), &world.readings, &world.memory, world.now);
        let state = &decision.states["Workload/worker"];
        assert!(state.summary.contains("its image is nowhere"), "{}", state.summary);
        (state.state.clone(), state.needs_somebody)
    };
    assert_eq!(state(true, false), ("Stalled".to_owned(), true));
    assert_eq!(state(false, false), ("Rolling".to_owned(), false));
    assert_eq!(state(true, true), ("Ready".to_owned(), false), "all that is wanted runs");
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
