//! Verdicts and reviews.

use super::*;

#[test]
fn a_verdict_is_pass_when_everything_due_is_met_and_pending_when_something_is_unknown() {
    let mut world = world();
    world.settle();
    assert_eq!(world.verdict(), Verdict::Pending);
    world.healthy();
    world.settle();
    assert_eq!(world.verdict(), Verdict::Pass);
    let retention = &world.last.verdicts["kpis"].checks[2];
    assert_eq!(retention.state, CheckState::NotDue);
}

#[test]
fn the_threshold_of_a_critical_check_is_exact() {
    let mut world = world();
    world.healthy();
    world.measure("sync", 950, 1000);
    world.settle();
    assert_eq!(world.verdict(), Verdict::Pass);
    world.measure("sync", 949, 1000);
    world.settle();
    assert_eq!(world.verdict(), Verdict::Fail);
    assert!(world.last.verdicts["kpis"].critical);
}

#[test]
fn one_miss_waits_for_its_mitigation_then_fails_without_rolling_back() {
    let mut world = world();
    world.healthy();
    world.measure("booking", 69, 100);
    world.settle();
    assert_eq!(world.verdict(), Verdict::Pending);
    world.advance(SignedDuration::from_hours(24));
    world.healthy();
    world.measure("booking", 69, 100);
    world.settle();
    assert_eq!(world.verdict(), Verdict::Fail);
    assert!(world.runs().is_empty());
    let word = "{program: beta, by: founder, says: accept-mitigation, gate: kpis, check: booking, note: by phone, until: 2026-03-20}";
    world.says("ok", word);
    world.settle();
    assert_eq!(world.verdict(), Verdict::Conditional);
}

#[test]
fn a_mitigation_that_was_accepted_before_the_miss_began_does_not_count() {
    let mut world = world();
    world.healthy();
    let word = "{program: beta, by: founder, says: accept-mitigation, gate: kpis, check: booking, note: early, until: 2026-03-20}";
    world.says("early", word);
    world.settle();
    world.advance(SignedDuration::from_mins(5));
    world.healthy();
    world.measure("booking", 10, 100);
    world.settle();
    assert_eq!(world.verdict(), Verdict::Pending);
}

#[test]
fn a_stale_reading_is_unknown_and_never_a_pass() {
    let mut world = world();
    world.healthy();
    world.settle();
    world.advance(SignedDuration::from_mins(16));
    world.settle();
    assert_eq!(world.verdict(), Verdict::Pending);
}

#[test]
fn the_fridays_of_seed_002_are_rows_and_the_first_gate_seals_on_the_13th() {
    let mut world = world();
    world.healthy();
    world.settle();
    world.advance_to("2026-03-06T16:00:00Z");
    world.healthy();
    world.settle();
    world.advance_to("2026-03-13T16:00:00Z");
    world.healthy();
    world.settle();
    let rows: Vec<_> = world.sealed.iter().map(|row| (row.due_at.to_string(), row.verdict.verdict)).collect();
    let expected =
        [("2026-03-06T16:00:00Z".to_owned(), Verdict::Pending), ("2026-03-13T16:00:00Z".to_owned(), Verdict::Pass)];
    assert_eq!(rows, expected);
    assert_eq!(world.memory.gates["kpis"].passes_in_row, 1);
}

#[test]
fn a_sealed_review_stays_when_late_data_moves_the_live_verdict() {
    let mut world = world();
    world.settle();
    world.advance_to("2026-03-13T16:00:00Z");
    world.healthy();
    world.settle();
    world.measure("booking", 1, 100);
    world.settle();
    assert_eq!(world.sealed.last().unwrap().verdict.verdict, Verdict::Pass);
    assert_eq!(world.verdict(), Verdict::Pending);
}
