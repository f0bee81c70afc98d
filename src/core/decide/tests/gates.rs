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

#[test]
fn what_nobody_looks_after_counts_after_its_time_and_until_somebody_does() {
    for (within, once_late) in [("", CheckState::Met), (", within: 7d", CheckState::Missed)] {
        let mut world = world();
        let spec = format!(
            "{{program: beta, checks: [{{name: lying, incidents: {{severity: sev-1, unacknowledgedFor: 1h{within}}}, pass: '== 0'}}]}}"
        );
        put(&mut world.desired.gates, "reports", &spec);
        world.desired.gate_order.push("reports".to_owned());
        world.desired.plans.clear();
        world.incident("i", "2026-03-02T08:00:00Z");
        let state = |world: &World| world.last.verdicts["reports"].checks[0].state;
        world.settle();
        assert!(world.last.look_again_at.unwrap() <= at("2026-03-02T09:00:00.000001Z"));
        for (instant, wanted) in
            [("2026-03-02T09:00:00Z", CheckState::Met), ("2026-03-02T09:00:01Z", CheckState::Missed)]
        {
            world.advance_to(instant);
            world.settle();
            assert_eq!(state(&world), wanted, "{instant}");
        }
        world.readings.incidents[0].acknowledged_at = Some(world.now);
        world.settle();
        assert_eq!(state(&world), once_late, "{within}");
    }
}

/// The instants between which the value of a critical check that has lasted so long changes the verdict.
#[test]
fn a_critical_miss_counts_from_the_very_end_of_its_for_and_a_review_waits_for_none() {
    let mut world = world();
    world.desired.gates.get_mut("kpis").unwrap().spec.checks[0].lasting = Some("10m".parse().unwrap());
    world.healthy();
    world.measure("sync", 94, 100);
    world.settle();
    for (instant, verdict) in [("2026-03-02T08:09:59Z", Verdict::Pending), ("2026-03-02T08:10:00Z", Verdict::Fail)] {
        world.advance_to(instant);
        world.healthy();
        world.measure("sync", 94, 100);
        world.settle();
        assert_eq!(world.verdict(), verdict, "{instant}");
    }
}

#[test]
fn samples_and_ages_are_enough_exactly_at_their_bounds() {
    let mut world = world();
    world.desired.gates.get_mut("kpis").unwrap().spec.checks[1].min_samples = Some(100);
    let booking = |world: &World| world.last.verdicts["kpis"].checks[1].clone();
    for (of, state) in [(99, CheckState::Unknown), (100, CheckState::Met)] {
        world.healthy();
        world.measure("booking", of, of);
        world.settle();
        assert_eq!(booking(&world).state, state, "{of}");
    }
    for (minutes, state) in [(15, CheckState::Met), (1, CheckState::Unknown)] {
        world.advance(SignedDuration::from_mins(minutes));
        world.settle();
        assert_eq!(booking(&world).state, state, "{}", world.now);
    }
    assert_eq!(booking(&world).detail, "stale");
}

#[test]
fn an_unknown_that_may_be_missing_is_left_out_and_the_verdict_says_so() {
    let mut world = world();
    world.desired.gates.get_mut("kpis").unwrap().spec.checks[1].missing = crate::resources::Missing::Ignore;
    world.measure("sync", 96, 100);
    for why in [Why::NoData, Why::Terminated, Why::SourceError("prom: gone".to_owned())] {
        world.readings.checks.insert(CheckRef::new("kpis", "booking"), Reading::unknown(why, world.now));
        world.settle();
        let verdict = &world.last.verdicts["kpis"];
        assert_eq!(
            (verdict.verdict, verdict.reason.as_str()),
            (Verdict::Pass, "everything mandatory is met; left out, unknown: booking")
        );
    }
}

#[test]
fn a_review_keeps_its_hour_when_the_clocks_change_in_the_programs_zone() {
    let mut world = world();
    world.settle();
    for friday in ["2026-03-27T16:00:00Z", "2026-04-03T15:00:00Z"] {
        world.advance_to(friday);
        world.healthy();
        world.settle();
        assert_eq!(world.sealed.last().unwrap().due_at, at(friday), "17:00 in Rome");
    }
}
