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
