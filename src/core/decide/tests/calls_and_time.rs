//! Decision calls against what happens meanwhile: rollbacks, readings, reviews, words that run out.

use super::calls::{CALL, current, measure, say, soft_launch, waits};
use super::*;

/// A world whose call has begun, with a good reading.
fn in_the_call() -> World {
    let mut world = soft_launch();
    world.settle();
    world.advance_to("2026-03-02T18:00:01Z");
    measure(&mut world, 30.0);
    world
}

#[test]
fn a_call_that_a_rollback_puts_off_begins_when_it_is_over_and_what_was_said_meanwhile_counts_for_nothing() {
    let mut world = soft_launch();
    world.settle();
    world.advance_to("2026-03-02T17:00:00Z");
    world.incident("down", "2026-03-02T16:00:00Z");
    world.settle();
    world.advance_to("2026-03-02T18:10:00Z");
    measure(&mut world, 30.0);
    say(&mut world, "founder", "go", "");
    say(&mut world, "ops", "go", "");
    assert!(waits(&world).iter().any(|on| on.contains("the decision call is put off")), "{:?}", waits(&world));
    assert_eq!(world.said("CallPutOff").len(), 1);
    world.resolve("down");
    world.complete_documents();
    world.advance_to("2026-03-02T20:00:00Z");
    world.says("over", "{program: beta, by: founder, says: lift, run: pull-back-1, note: over}");
    measure(&mut world, 30.0);
    assert_eq!((world.run("pull-back-1").phase, current(&world)), (RunPhase::Lifted, "pilot"));
    assert_eq!(world.said("CallBegan").len(), 1);
    assert!(waits(&world).iter().any(|on| on == "GO from founder, ops"), "{:?}", waits(&world));
    say(&mut world, "founder", "go", "");
    say(&mut world, "ops", "go", "");
    assert_eq!(current(&world), "public");
}

#[test]
fn a_stage_does_not_open_while_the_gate_that_passed_its_review_fails() {
    let mut world = in_the_call();
    say(&mut world, "founder", "go", "");
    world.advance_to("2026-03-02T18:30:00Z");
    measure(&mut world, 10.0);
    say(&mut world, "ops", "go", "");
    assert_eq!(current(&world), "pilot");
    assert!(
        waits(&world).iter().any(|on| on.contains("gate accept passed its reviews and fails now")),
        "{:?}",
        waits(&world)
    );
    world.advance_to("2026-03-02T18:40:00Z");
    measure(&mut world, 30.0);
    assert_eq!(current(&world), "public");
}

#[test]
fn a_call_that_looks_again_at_what_was_just_reviewed_is_no_second_pass() {
    let mut world = soft_launch();
    put(&mut world.desired.rollouts, "closed", &CALL.replace("passes: 1", "passes: 2"));
    world.settle();
    world.advance_to("2026-03-02T12:00:00Z");
    measure(&mut world, 30.0);
    world.advance_to("2026-03-02T18:00:01Z");
    measure(&mut world, 30.0);
    say(&mut world, "founder", "go", "");
    say(&mut world, "ops", "go", "");
    assert_eq!((world.memory.gates["accept"].passes_in_row, current(&world)), (1, "pilot"));
    world.advance_to("2026-03-03T12:00:00Z");
    measure(&mut world, 30.0);
    assert_eq!((world.memory.gates["accept"].passes_in_row, current(&world)), (2, "public"));
}

#[test]
fn a_go_counts_until_it_runs_out() {
    let mut world = in_the_call();
    say(&mut world, "founder", "go", ", until: '2026-03-02T18:30:00Z'");
    world.advance_to("2026-03-02T18:30:00Z");
    say(&mut world, "ops", "go", "");
    assert_eq!(current(&world), "pilot");
    assert!(waits(&world).iter().any(|on| on == "GO from founder"), "{:?}", waits(&world));
}
