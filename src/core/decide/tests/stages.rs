//! Stages.

use super::*;

fn at_second_window(world: &mut World) {
    world.settle();
    world.advance_to("2026-03-13T16:00:00Z");
    world.healthy();
    world.settle();
    world.advance_to("2026-03-16T08:00:00Z");
    world.healthy();
    world.settle();
}

#[test]
fn the_first_stage_opens_with_its_window_and_opens_its_cohorts() {
    let mut world = world();
    world.advance_to("2026-03-01T22:59:59Z");
    world.settle();
    assert_eq!(world.memory.rollouts["closed"].current, None);
    world.advance_to("2026-03-01T23:00:00Z");
    world.settle();
    assert_eq!(world.memory.rollouts["closed"].current.as_deref(), Some("pilot"));
    assert!(world.last.effective.cohorts["pavia"].open);
    assert!(!world.last.effective.cohorts["canary"].open);
}

#[test]
fn the_second_stage_waits_for_every_go_and_says_whose() {
    let mut world = world();
    at_second_window(&mut world);
    let waits: Vec<_> = world.last.states["Rollout/closed"].waits.iter().map(|wait| wait.on.clone()).collect();
    assert_eq!(waits, ["GO from founder, ops"]);
    world.says("a", "{program: beta, by: founder, says: go, rollout: closed, stage: wide}");
    world.settle();
    assert_eq!(world.memory.rollouts["closed"].current.as_deref(), Some("pilot"));
    world.says("b", "{program: beta, by: ops, says: go, rollout: closed, stage: wide}");
    world.settle();
    assert_eq!(world.memory.rollouts["closed"].current.as_deref(), Some("wide"));
}

#[test]
fn one_no_go_blocks_until_that_person_says_otherwise() {
    let mut world = world();
    at_second_window(&mut world);
    world.says("a", "{program: beta, by: founder, says: go, rollout: closed, stage: wide}");
    world.says("b", "{program: beta, by: ops, says: no-go, rollout: closed, stage: wide, note: not yet}");
    world.settle();
    assert_eq!(world.memory.rollouts["closed"].current.as_deref(), Some("pilot"));
    world.advance(SignedDuration::from_secs(1));
    world.says("c", "{program: beta, by: ops, says: go, rollout: closed, stage: wide}");
    world.settle();
    assert_eq!(world.memory.rollouts["closed"].current.as_deref(), Some("wide"));
}

#[test]
fn an_overdue_stage_needs_a_go() {
    let mut world = world();
    world.advance_to("2026-03-08T23:00:00Z");
    world.settle();
    assert_eq!(world.memory.rollouts["closed"].current, None);
    assert!(world.last.states["Rollout/closed"].summary.contains("overdue"));
    world.says("go", "{program: beta, by: founder, says: go, rollout: closed, stage: pilot}");
    world.settle();
    assert_eq!(world.memory.rollouts["closed"].current.as_deref(), Some("pilot"));
}

/// The pilot gives a flag to a growing share, which the KPI gate must let grow.
fn growing() -> World {
    let mut world = world();
    put(
        &mut world.desired.rollouts,
        "closed",
        "{program: beta, stages: [{name: pilot, window: {from: +0d, until: +6d}, cohorts: [pavia],
          flags: {boost: {variant: \"off\", percent: [10, 50, 100], every: 2d, gate: kpis}}}]}",
    );
    world.healthy();
    world.settle();
    world
}

impl World {
    fn share(&self) -> u64 {
        self.flag("boost")["stage"]["percent"].as_u64().unwrap()
    }

    fn after(&mut self, hours: i64) {
        self.advance(SignedDuration::from_hours(hours));
        self.healthy();
        self.settle();
    }
}

#[test]
fn a_share_grows_step_by_step_and_says_what_it_waits_for() {
    let mut world = growing();
    assert_eq!(world.share(), 10);
    let waits = format!("{:?}", world.last.states["Rollout/closed"].waits);
    assert!(waits.contains("flag boost grows from 10 % to 50 % at 2026-03-04T08:00:00Z"), "{waits}");
    world.after(47);
    assert_eq!(world.share(), 10);
    world.after(1);
    assert_eq!(world.share(), 50);
    world.after(48);
    assert_eq!((world.share(), world.said("ShareGrew").len()), (100, 2));
    world.after(480);
    assert_eq!((world.share(), world.said("ShareGrew").len()), (100, 2));
}

#[test]
fn a_share_does_not_grow_on_an_unknown_nor_during_a_rollback_and_its_time_begins_anew_after_one() {
    let mut world = growing();
    world.advance(SignedDuration::from_hours(72));
    world.readings.checks.insert(CheckRef::new("kpis", "sync"), Reading::unknown(Why::NoData, world.now));
    world.settle();
    assert_eq!(world.share(), 10);
    let waits = format!("{:?}", world.last.states["Rollout/closed"].waits);
    assert!(waits.contains("gate kpis is Pending"), "{waits}");
    world.after(0);
    assert_eq!(world.share(), 50);
    world.measure("sync", 1, 100);
    world.settle();
    assert_eq!(world.runs(), ["pull-back-1"]);
    world.after(96);
    assert_eq!(world.share(), 50, "no stage goes on while a rollback is in force");
    world.complete_documents();
    world.says("lift", "{program: beta, by: founder, says: lift, run: pull-back-1}");
    world.settle();
    assert_eq!(world.share(), 50);
    world.after(47);
    assert_eq!(world.share(), 50);
    world.after(1);
    assert_eq!(world.share(), 100);
}
