#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

use super::super::spec::{CommandLine, Listens, Ready};
use super::*;

fn spec(revision: &str, replicas: u32, listens: Listens) -> Arc<ProcessSpec> {
    Arc::new(ProcessSpec {
        workload: "api".into(),
        revision: revision.into(),
        command: CommandLine::ThisBinary(vec!["api".into()]),
        env: BTreeMap::new(),
        replicas,
        listens,
        ready: Ready::Report,
        stop_grace: Duration::from_secs(10),
    })
}

fn at(seconds: f64) -> Timestamp {
    Timestamp::from_microsecond((seconds * 1e6) as i64).unwrap()
}

/// Carries actions out as the supervisor does, without any process.
struct World {
    workload: Workload,
    next_id: u64,
    log: Vec<String>,
}

impl World {
    fn new(wanted: Arc<ProcessSpec>) -> Self {
        let mut workload = Workload::default();
        workload.want(Some(wanted));
        Self { workload, next_id: 0, log: Vec::new() }
    }

    fn step(&mut self, now: Timestamp) -> Vec<Action> {
        let actions = self.workload.next(now);
        for action in &actions {
            match *action {
                Action::Start { slot } | Action::StandIn { slot } => {
                    self.next_id += 1;
                    let wanted = matches!(action, Action::Start { .. }).then(|| self.workload.spec.clone()).flatten();
                    let spec = wanted.or_else(|| self.workload.stand_in(slot).cloned()).unwrap();
                    self.log.push(format!("start {} as {}", spec.revision, self.next_id));
                    let (phase, output) = (Phase::Starting, Tail::default());
                    let id = self.next_id;
                    let (pid, port, stale) = (None, None, false);
                    let instance = Instance { id, slot, spec, phase, since: now, pid, port, stale, output };
                    self.workload.instances.push(instance);
                }
                Action::Terminate { id } => self.stopping(id, now, false, false),
                Action::Kill { id } => self.stopping(id, now, true, false),
                Action::GiveUp { id } => self.stopping(id, now, true, true),
            }
        }
        actions
    }

    fn stopping(&mut self, id: u64, now: Timestamp, killed: bool, failed: bool) {
        self.log.push(format!("{} {id}", if killed { "kill" } else { "stop" }));
        let instance = self.workload.instances.iter_mut().find(|i| i.id == id).unwrap();
        instance.enter(Phase::Stopping { asked_at: now, killed, failed }, now);
    }

    fn ready(&mut self, id: u64, now: Timestamp) {
        self.workload.instances.iter_mut().find(|i| i.id == id).unwrap().enter(Phase::Ready, now);
    }

    fn fails(&mut self, id: u64, now: Timestamp) {
        self.workload.ended(id, Some(1), None, now, 0.5);
    }
}

#[test]
fn a_replacement_is_ready_before_the_old_one_goes_one_replica_at_a_time() {
    let mut world = World::new(spec("r1", 2, Listens::Shared));
    world.step(at(0.0));
    world.ready(1, at(1.0));
    world.ready(2, at(1.0));
    world.workload.want(Some(spec("r2", 2, Listens::Shared)));
    assert_eq!(world.step(at(2.0)), [Action::Start { slot: 0 }]);
    assert_eq!(world.step(at(2.5)), [], "the second replica waits for its turn");
    world.ready(3, at(3.0));
    assert_eq!(world.step(at(3.0)), [Action::Terminate { id: 1 }, Action::Start { slot: 1 }]);
    world.ready(4, at(4.0));
    assert_eq!(world.step(at(4.0)), [Action::Terminate { id: 2 }]);
    assert_eq!(world.step(at(13.0)), [Action::Kill { id: 1 }], "its grace of ten seconds is over");
    world.workload.ended(1, None, Some(9), at(13.0), 0.5);
    world.workload.ended(2, Some(0), None, at(13.0), 0.5);
    assert_eq!(world.step(at(20.0)), []);
    let states: Vec<_> = world.workload.statuses(at(20.0)).into_iter().map(|s| (s.revision, s.restarts)).collect();
    assert_eq!(states, [("r2".to_owned(), 0), ("r2".to_owned(), 0)]);
}

#[test]
fn an_old_process_stays_while_its_replacement_crashes_and_the_loop_is_visible() {
    let mut world = World::new(spec("good", 1, Listens::Shared));
    world.step(at(0.0));
    world.ready(1, at(0.0));
    world.workload.want(Some(spec("bad", 1, Listens::Shared)));
    let mut now = at(1.0);
    for id in 2..=4 {
        assert_eq!(world.step(now), [Action::Start { slot: 0 }]);
        world.fails(id, now);
        assert_eq!(world.step(now), [], "it waits");
        now = world.workload.look_again_at().unwrap();
    }
    let status = world.workload.statuses(now);
    assert_eq!(status.len(), 1);
    assert_eq!((status[0].revision.as_str(), status[0].state), ("good", ProcessState::Ready));
    assert!(status[0].crash_loop);
    assert_eq!(status[0].restarts, 3);
    world.workload.want(Some(spec("good", 1, Listens::Shared)));
    assert_eq!(world.step(now), [], "going back needs no new process");
    assert!(!world.workload.statuses(now)[0].crash_loop);
}

#[test]
fn waits_grow_with_failures_and_start_anew_after_a_stable_time() {
    let mut world = World::new(spec("r1", 1, Listens::None));
    world.step(at(0.0));
    world.fails(1, at(0.0));
    assert_eq!(world.workload.look_again_at(), Some(at(0.2)));
    assert_eq!(world.workload.statuses(at(0.1))[0].state, ProcessState::Backoff);
    world.step(at(0.2));
    world.ready(2, at(0.2));
    world.fails(2, at(1.0));
    assert_eq!(world.workload.look_again_at(), Some(at(1.4)));
    world.step(at(1.4));
    world.ready(3, at(1.4));
    world.fails(3, at(31.4));
    assert_eq!(world.workload.look_again_at(), Some(at(31.6)), "it had been up for thirty seconds");
}

#[test]
fn a_fixed_port_is_given_up_before_it_is_taken_again() {
    let mut world = World::new(spec("r1", 1, Listens::OwnPort(Some(80))));
    world.step(at(0.0));
    world.ready(1, at(0.0));
    world.workload.want(Some(spec("r2", 1, Listens::OwnPort(Some(80)))));
    assert_eq!(world.step(at(1.0)), [Action::Terminate { id: 1 }]);
    assert_eq!(world.step(at(2.0)), []);
    world.workload.ended(1, Some(0), None, at(3.0), 0.5);
    assert_eq!(world.step(at(3.0)), [Action::Start { slot: 0 }]);
}

#[test]
fn replicas_scale_both_ways_and_a_workload_no_longer_wanted_goes() {
    let mut world = World::new(spec("r1", 3, Listens::Shared));
    assert_eq!(world.step(at(0.0)).len(), 3);
    (1..=3).for_each(|id| world.ready(id, at(0.0)));
    world.workload.want(Some(spec("r1", 1, Listens::Shared)));
    assert_eq!(world.step(at(1.0)), [Action::Terminate { id: 2 }, Action::Terminate { id: 3 }]);
    world.workload.want(Some(spec("r1", 2, Listens::Shared)));
    assert_eq!(world.step(at(1.0)), [Action::Start { slot: 1 }], "one that is stopping does not count");
    world.workload.want(None);
    assert_eq!(world.step(at(2.0)), [Action::Terminate { id: 1 }, Action::Terminate { id: 4 }]);
    assert!(world.workload.history.iter().any(|kept| kept.revision == "r1"));
}

#[test]
fn a_process_that_never_gets_ready_is_given_up_and_counts_as_a_failure() {
    let mut world = World::new(spec("r1", 1, Listens::Shared));
    world.step(at(0.0));
    assert_eq!(world.workload.look_again_at(), Some(at(60.0)));
    assert_eq!(world.step(at(60.0)), [Action::GiveUp { id: 1 }]);
    world.workload.ended(1, None, Some(9), at(60.0), 0.5);
    let status = &world.workload.statuses(at(60.0))[0];
    assert_eq!((status.state, status.restarts), (ProcessState::Backoff, 1));
}

#[test]
fn a_restart_replaces_a_process_of_the_wanted_revision() {
    let mut world = World::new(spec("r1", 1, Listens::Shared));
    world.step(at(0.0));
    world.ready(1, at(0.0));
    world.workload.restart(None);
    assert_eq!(world.step(at(1.0)), [Action::Start { slot: 0 }]);
    world.ready(2, at(2.0));
    assert_eq!(world.step(at(2.0)), [Action::Terminate { id: 1 }]);
}

#[test]
fn only_so_many_revisions_are_remembered() {
    let mut workload = Workload::default();
    for n in 0..KEPT_REVISIONS + 5 {
        workload.want(Some(spec(&format!("r{n}"), 1, Listens::None)));
    }
    assert_eq!(workload.history.len(), KEPT_REVISIONS);
    assert_eq!(workload.history.last().unwrap().revision, format!("r{}", KEPT_REVISIONS + 3));
}

#[test]
fn when_the_old_process_dies_too_the_last_revision_that_stayed_up_stands_in_once_an_attempt() {
    let mut world = World::new(spec("good", 1, Listens::Shared));
    world.step(at(0.0));
    world.ready(1, at(0.0));
    world.workload.note_proven(at(40.0));
    world.workload.want(Some(spec("bad", 1, Listens::Shared)));
    let mut now = at(41.0);
    for id in 2..=4 {
        assert_eq!(world.step(now), [Action::Start { slot: 0 }]);
        world.fails(id, now);
        now = world.workload.look_again_at().unwrap();
    }
    world.fails(1, later(now, Duration::ZERO));
    assert_eq!(world.step(now), [Action::Start { slot: 0 }], "the wanted one is tried first");
    world.fails(5, now);
    assert_eq!(world.step(now), [Action::StandIn { slot: 0 }]);
    assert_eq!(world.workload.instances.last().unwrap().spec.revision, "good");
    world.fails(6, now);
    assert_eq!(world.step(now), [], "it does not crash in a loop of its own");
    now = world.workload.look_again_at().unwrap();
    assert_eq!(world.step(now), [Action::Start { slot: 0 }]);
    world.fails(7, now);
    assert_eq!(world.step(now), [Action::StandIn { slot: 0 }]);
    world.ready(8, now);
    now = world.workload.look_again_at().unwrap();
    assert_eq!(world.step(now), [Action::Start { slot: 0 }], "and the wanted one is tried beside it");
    world.ready(9, now);
    assert_eq!(world.step(now), [Action::Terminate { id: 8 }]);
}
