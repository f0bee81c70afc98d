//! Phases of checklists, comparisons with what was before a stage, and whose approval counts.

use super::*;

fn checklist(world: &mut World, spec: &str) {
    put(&mut world.desired.gates, "list", spec);
    world.desired.gate_order = vec!["kpis".to_owned(), "list".to_owned()];
}

fn check(world: &World, name: &str) -> CheckState {
    world.last.verdicts["list"].checks.iter().find(|check| check.name == name).unwrap().state
}

fn list(world: &World) -> Verdict {
    world.last.verdicts["list"].verdict
}

fn done(world: &mut World, name: &str, check: &str) {
    world.says(name, &format!("{{program: beta, by: ops, says: done, gate: list, check: {check}}}"));
}

#[test]
fn a_phase_begins_at_its_moment_and_nothing_due_is_no_pass() {
    let mut world = world();
    checklist(
        &mut world,
        "{program: beta, phases: [{name: before, from: -3d}, {name: day, from: +0d}],
          checks: [{name: a, phase: before, signoff: {}}, {name: b, phase: day, signoff: {}}]}",
    );
    world.advance_to("2026-02-26T22:59:59Z");
    world.settle();
    assert_eq!((check(&world, "a"), list(&world)), (CheckState::NotDue, Verdict::Pending));
    world.advance_to("2026-02-26T23:00:00Z");
    world.settle();
    assert_eq!((check(&world, "a"), check(&world, "b")), (CheckState::Unknown, CheckState::NotDue));
    done(&mut world, "a", "a");
    world.settle();
    assert_eq!(list(&world), Verdict::Pass, "what is due is done");
    world.advance_to("2026-03-01T23:00:00Z");
    world.settle();
    assert_eq!((check(&world, "b"), list(&world)), (CheckState::Unknown, Verdict::Pending));
    assert!(world.last.states["Gate/list"].summary.contains("before 1 of 1, day 0 of 1"));
}

#[test]
fn phases_in_order_wait_for_each_other_and_say_how_they_are_taken_back() {
    let mut world = world();
    checklist(
        &mut world,
        "{program: beta, inOrder: true, phases: [{name: schema}, {name: seed, undo: {plan: pull-back, how: truncate the tables}}, {name: validate}],
          checks: [{name: v, phase: validate, signoff: {}}, {name: s, phase: schema, signoff: {}},
           {name: rows, phase: seed, prometheus: x, pass: '== 8'}]}",
    );
    world.settle();
    let states = |world: &World| ["s", "rows", "v"].map(|name| check(world, name));
    assert_eq!(states(&world), [CheckState::Unknown, CheckState::NotDue, CheckState::NotDue]);
    done(&mut world, "s", "s");
    world.readings.checks.insert(CheckRef::new("list", "rows"), Reading::value(7.0, world.now));
    world.settle();
    assert_eq!(states(&world), [CheckState::Met, CheckState::Missed, CheckState::NotDue]);
    let waits = &world.last.states["Gate/list"].waits;
    assert!(
        waits.iter().any(|wait| wait.from == "betagate rollback start pull-back; truncate the tables"),
        "{waits:?}"
    );
    world.readings.checks.insert(CheckRef::new("list", "rows"), Reading::value(8.0, world.now));
    world.settle();
    assert_eq!(states(&world), [CheckState::Met, CheckState::Met, CheckState::Unknown]);
    // One that has begun stays begun.
    world.readings.checks.insert(CheckRef::new("list", "rows"), Reading::value(9.0, world.now));
    world.settle();
    assert_eq!(states(&world), [CheckState::Met, CheckState::Missed, CheckState::Unknown]);
}

#[test]
fn a_phase_that_begins_anew_asks_again_and_is_told_once_when_it_is_late() {
    let mut world = world();
    checklist(
        &mut world,
        "{program: beta, owner: ops, phases: [{name: watch, after: {rollout: closed, stage: pilot, by: 1h}, every: 4h, within: 30m}],
          checks: [{name: look, phase: watch, signoff: {}}]}",
    );
    // The pilot's window begins at 23:00 UTC on the first.
    world.advance_to("2026-03-01T23:00:00Z");
    world.settle();
    assert_eq!(check(&world, "look"), CheckState::NotDue);
    world.advance_to("2026-03-02T00:00:00Z");
    world.settle();
    assert_eq!(check(&world, "look"), CheckState::Unknown);
    world.advance_to("2026-03-02T00:10:00Z");
    done(&mut world, "first", "look");
    world.settle();
    assert_eq!(check(&world, "look"), CheckState::Met);
    assert!(world.last.look_again_at.unwrap() <= at("2026-03-02T04:00:00Z"));
    world.advance_to("2026-03-02T04:00:00Z");
    world.settle();
    assert_eq!(check(&world, "look"), CheckState::Unknown, "four hours later it is asked for again");
    let pages = |world: &World| world.messages.iter().filter(|message| message.effect_key.contains("/watch@")).count();
    assert_eq!(pages(&world), 0);
    for (instant, count) in [
        ("2026-03-02T04:29:59Z", 0),
        ("2026-03-02T04:30:00Z", 1),
        ("2026-03-02T05:00:00Z", 1),
        ("2026-03-02T08:30:00Z", 2),
    ] {
        world.advance_to(instant);
        world.settle();
        assert_eq!(pages(&world), count, "{instant}");
    }
    assert_eq!(world.said("PhaseOverdue").len(), 2);
}

#[test]
fn a_value_is_compared_with_the_last_one_from_before_the_stage() {
    let mut world = world();
    checklist(
        &mut world,
        "{program: beta, checks: [{name: errors, prometheus: x, vs: before-stage, pass: '<= 150%'}, {name: other, signoff: {}}]}",
    );
    let measure = |world: &mut World, value: f64| {
        let now = world.now;
        world.readings.checks.insert(CheckRef::new("list", "errors"), Reading::value(value, now));
        world.settle();
    };
    world.advance_to("2026-03-01T22:59:00Z");
    measure(&mut world, 0.02);
    assert_eq!(check(&world, "errors"), CheckState::NotDue);
    world.advance_to("2026-03-01T23:00:00Z");
    world.settle();
    for (value, state) in [(0.03, CheckState::Met), (0.030_001, CheckState::Missed), (0.0, CheckState::Met)] {
        measure(&mut world, value);
        assert_eq!(check(&world, "errors"), state, "{value}");
    }
    // Out of nothing: any value is more than half as much again.
    world.memory.gates.get_mut("list").unwrap().baselines.insert("errors".to_owned(), Reading::value(0.0, world.now));
    measure(&mut world, 0.0);
    assert_eq!(check(&world, "errors"), CheckState::Met);
    measure(&mut world, 0.001);
    assert_eq!(check(&world, "errors"), CheckState::Missed);
    // Memory is kept as JSON.
    serde_json::from_str::<GateVerdict>(&serde_json::to_string(&world.last.verdicts["list"]).unwrap()).unwrap();
}

#[test]
fn without_a_value_from_before_the_stage_a_comparison_is_unknown() {
    let mut world = world();
    checklist(
        &mut world,
        "{program: beta, checks: [{name: errors, prometheus: x, vs: before-stage, pass: '<= 150%'}]}",
    );
    world.advance_to("2026-03-01T23:00:00Z");
    world.settle();
    world.readings.checks.insert(CheckRef::new("list", "errors"), Reading::value(0.0, world.now));
    world.settle();
    assert_eq!((check(&world, "errors"), list(&world)), (CheckState::Unknown, Verdict::Pending));
}

const WAIVER: &str =
    "{program: beta, by: founder, says: waive, gate: kpis, check: booking, note: x, until: 2026-03-20}";

fn with_author(author: &str) -> World {
    let mut world = world();
    let spec = &mut world.desired.program.spec;
    spec.people.get_mut("founder").unwrap().git = vec!["ana@example.com".to_owned()];
    world.author = Some(author.to_owned());
    world.desired.content = "one".to_owned();
    world.healthy();
    world.measure("booking", 1, 100);
    world.settle();
    world
}

#[test]
fn nobody_waives_or_accepts_a_mitigation_for_a_change_of_their_own() {
    let booking = |world: &World| world.last.verdicts["kpis"].checks[1].clone();
    let mut own = with_author("Ana@example.com");
    own.says("own", WAIVER);
    own.settle();
    assert_eq!(booking(&own).state, CheckState::Missed);
    assert!(booking(&own).detail.contains("the waiver by founder does not count: founder authored the change"));
    let mitigation = WAIVER.replace("waive", "accept-mitigation");
    own.says("own-mitigation", &mitigation);
    own.settle();
    assert_eq!(booking(&own).state, CheckState::Missed);
    own.says("other", &mitigation.replace("founder", "ops"));
    own.settle();
    assert_eq!(booking(&own).state, CheckState::Mitigated);
    let mut others = with_author("ben@example.com");
    others.says("own", WAIVER);
    others.settle();
    assert_eq!(booking(&others).state, CheckState::Waived);
}

#[test]
fn the_author_is_whoever_made_the_change_under_which_the_miss_began() {
    let mut world = with_author("ana@example.com");
    // A later change by somebody else does not make the miss theirs.
    world.author = Some("ben@example.com".to_owned());
    world.desired.content = "two".to_owned();
    world.says("own", WAIVER);
    world.settle();
    assert_eq!(world.last.verdicts["kpis"].checks[1].state, CheckState::Missed);
    // A commit that brings nothing but words is no change.
    let mut words = with_author("ben@example.com");
    words.author = Some("ana@example.com".to_owned());
    words.says("own", WAIVER);
    words.settle();
    assert_eq!(words.last.verdicts["kpis"].checks[1].state, CheckState::Waived);
}

#[test]
fn a_waiver_runs_out_at_its_instant() {
    let mut world = with_author("ben@example.com");
    world.says("w", &WAIVER.replace("2026-03-20", "2026-03-02T09:00:00Z"));
    for (instant, state) in [("2026-03-02T08:59:59Z", CheckState::Waived), ("2026-03-02T09:00:00Z", CheckState::Missed)]
    {
        world.advance_to(instant);
        world.healthy();
        world.measure("booking", 1, 100);
        world.settle();
        assert_eq!(world.last.verdicts["kpis"].checks[1].state, state, "{instant}");
    }
}

#[test]
fn a_phase_is_over_when_a_later_stage_opens_and_nothing_of_it_is_asked_for_any_more() {
    let mut world = world();
    checklist(
        &mut world,
        "{program: beta, phases: [{name: before, until: {rollout: closed, stage: pilot, by: 1h}}, {name: after, after: {rollout: closed, stage: pilot}}],
          checks: [{name: a, phase: before, prometheus: x, pass: '== 0'}, {name: b, phase: after, signoff: {}}]}",
    );
    let measure = |world: &mut World, value: f64| {
        let now = world.now;
        world.readings.checks.insert(CheckRef::new("list", "a"), Reading::value(value, now));
        world.settle();
    };
    world.advance_to("2026-03-01T22:00:00Z");
    measure(&mut world, 0.0);
    assert_eq!((check(&world, "a"), list(&world)), (CheckState::Met, Verdict::Pass));
    world.advance_to("2026-03-01T23:00:00Z");
    measure(&mut world, 0.0);
    world.advance_to("2026-03-01T23:59:59Z");
    measure(&mut world, 7.0);
    assert_eq!(check(&world, "a"), CheckState::Missed, "the beta has invites now, the phase is not over yet");
    assert_eq!(world.last.look_again_at.unwrap(), at("2026-03-02T00:00:00Z"));
    world.advance_to("2026-03-02T00:00:00Z");
    world.settle();
    assert_eq!(check(&world, "a"), CheckState::NotDue);
    done(&mut world, "b", "b");
    world.settle();
    assert_eq!(list(&world), Verdict::Pass, "what is over is not asked for");
    let over = &world.last.verdicts["list"].phases[0];
    assert_eq!(
        (over.over, over.words().as_str()),
        (Some(at("2026-03-02T00:00:00Z")), "over since 2026-03-02T00:00:00Z")
    );
}

#[test]
fn some_phases_of_a_gate_are_read_as_if_it_had_no_others() {
    let mut world = world();
    checklist(
        &mut world,
        "{program: beta, phases: [{name: one}, {name: two}, {name: three, from: +5d}],
          checks: [{name: a, phase: one, signoff: {}}, {name: b, phase: two, signoff: {}}, {name: c, phase: three, signoff: {}}]}",
    );
    let readers =
        "{program: beta, checks: [{name: first, gate: {name: list, phases: [one]}}, {name: both, gate: {name: list, phases: [one, two]}},
         {name: last, gate: {name: list, phases: [one, three]}}, {name: whole, gate: {name: list}}]}";
    put(&mut world.desired.gates, "reader", readers);
    world.desired.gate_order.push("reader".to_owned());
    let read = |world: &World| {
        let checks = &world.last.verdicts["reader"].checks;
        checks.iter().map(|check| check.state == CheckState::Met).collect::<Vec<_>>()
    };
    world.settle();
    assert_eq!(read(&world), [false; 4]);
    done(&mut world, "a", "a");
    world.settle();
    assert_eq!(read(&world), [true, false, false, false]);
    done(&mut world, "b", "b");
    world.settle();
    assert_eq!(read(&world), [true, true, false, true], "a phase that has not begun is not done");
    let last = &world.last.verdicts["reader"].checks[2].detail;
    assert!(last.contains("list (one, three) is Pending"), "{last}");
}

#[test]
fn late_data_is_judged_as_a_verdict_judges_it() {
    let check = |text: &str| serde_saphyr::from_str::<crate::resources::Check>(text).unwrap();
    let sealed = |reading: Reading| CheckResult {
        name: "a".to_owned(),
        state: CheckState::Met,
        pass: None,
        critical: false,
        reading: Some(reading),
        detail: String::new(),
        phase: None,
        phase_since: None,
    };
    let now = at("2026-03-13T16:00:00Z");
    let read = |check: &crate::resources::Check, then: &CheckResult, n: i64, d: i64| {
        read_again(check, then, Reading::ratio(n, d, now)).map(|(state, _)| state)
    };
    let then = sealed(Reading::ratio(9, 10, now));
    let plain = check("{name: a, kpi: sync_success_rate, pass: '>= 90%', minSamples: 5}");
    for (n, d, state) in [
        (9, 10, CheckState::Met),
        (8, 10, CheckState::Missed),
        (4, 4, CheckState::Unknown),
        (0, 0, CheckState::Unknown),
    ] {
        assert_eq!(read(&plain, &then, n, d), Some(state), "{n} of {d}");
    }
    // Sealed as a share of what it was before the stage: 0.5 of 1.0.
    let compared = check("{name: a, kpi: sync_success_rate, vs: before-stage, pass: '<= 50%'}");
    let outcome = Outcome::Value { value: 0.5, numerator: Some(0.5), denominator: Some(1.0), samples: Some(10) };
    let then = sealed(Reading { outcome, ..Reading::value(0.0, now) });
    assert_eq!(read(&compared, &then, 5, 10), Some(CheckState::Met));
    assert_eq!(read(&compared, &then, 6, 10), Some(CheckState::Missed));
    assert_eq!(read(&compared, &sealed(Reading::unknown(Why::NoData, now)), 6, 10), None);
}
