//! Decision calls, announcements, quiet days, and lines that are stopped.

use super::*;

pub(super) const CALL: &str = "{program: beta, stages: [{name: pilot, cohorts: [pavia]},
    {name: public, enter: {gates: [{name: accept, passes: 1}], signoffs: {from: [founder, ops], call: {at: '2026-03-02T18:00:00Z'}}}}]}";

/// A soft launch: at 18:00 UTC two people decide, on a gate that is reviewed then.
pub(super) fn soft_launch() -> World {
    let mut world = world();
    put(&mut world.desired.rollouts, "closed", CALL);
    let gate =
        "{program: beta, review: {cron: '0 12 * * *', from: +0d}, checks: [{name: in, prometheus: x, pass: '>= 25'}]}";
    put(&mut world.desired.gates, "accept", gate);
    world.desired.gate_order.push("accept".to_owned());
    world
}

pub(super) fn measure(world: &mut World, value: f64) {
    let now = world.now;
    world.readings.checks.insert(CheckRef::new("accept", "in"), Reading::value(value, now));
    world.settle();
}

pub(super) fn say(world: &mut World, by: &str, says: &str, rest: &str) {
    let name = format!("{by}-{says}-{}", world.now);
    world.says(&name, &format!("{{program: beta, by: {by}, says: {says}, rollout: closed, stage: public{rest}}}"));
    world.settle();
}

pub(super) fn current(world: &World) -> &str {
    world.memory.rollouts["closed"].current.as_deref().unwrap()
}

pub(super) fn waits(world: &World) -> Vec<String> {
    world.last.states["Rollout/closed"].waits.iter().map(|wait| wait.on.clone()).collect()
}

#[test]
fn what_was_said_before_the_call_counts_for_nothing_and_the_gate_is_measured_and_reviewed_at_it() {
    let mut world = soft_launch();
    world.settle();
    world.advance_to("2026-03-02T17:58:00Z");
    measure(&mut world, 30.0);
    say(&mut world, "founder", "go", "");
    say(&mut world, "ops", "go", "");
    assert_eq!(current(&world), "pilot");
    assert!(
        waits(&world).iter().any(|on| on.contains("the decision call of founder, ops begins at 2026-03-02T18:00:00Z"))
    );
    world.advance_to("2026-03-02T18:00:00Z");
    world.settle();
    let sealed = |world: &World| {
        world.sealed.iter().filter(|r| r.gate == "accept" && r.due_at == at("2026-03-02T18:00:00Z")).count()
    };
    assert_eq!(sealed(&world), 0, "the reading is from before the call");
    world.advance_to("2026-03-02T18:00:01Z");
    measure(&mut world, 26.0);
    assert_eq!(sealed(&world), 1);
    assert_eq!(world.sealed.last().unwrap().verdict.verdict, Verdict::Pass);
    assert!(waits(&world).iter().any(|on| on == "GO from founder, ops"), "{:?}", waits(&world));
    say(&mut world, "founder", "go", "");
    assert_eq!(current(&world), "pilot", "silence is not GO");
    say(&mut world, "ops", "go", "");
    assert_eq!(current(&world), "public");
    assert_eq!(world.said("CallBegan").len(), 1);
    assert_eq!(world.said("CallDecided"), ["stage public: GO by founder, ops; accept Pass"]);
}

#[test]
fn a_call_without_a_measurement_seals_what_is_known_after_five_minutes() {
    let mut world = soft_launch();
    world.settle();
    for (instant, sealed) in [("2026-03-02T18:00:00Z", 0), ("2026-03-02T18:04:59Z", 0), ("2026-03-02T18:05:00Z", 1)] {
        world.advance_to(instant);
        world.settle();
        // What there is, is from before the call.
        let old = Reading::value(30.0, at("2026-03-02T17:59:00Z"));
        world.readings.checks.insert(CheckRef::new("accept", "in"), old);
        world.settle();
        let count = world.sealed.iter().filter(|review| review.due_at == at("2026-03-02T18:00:00Z")).count();
        assert_eq!(count, sealed, "{instant}");
    }
}

#[test]
fn a_no_go_blocks_with_its_note_until_the_next_call_where_everybody_speaks_anew() {
    let mut world = soft_launch();
    world.settle();
    world.advance_to("2026-03-02T18:00:00Z");
    measure(&mut world, 30.0);
    say(&mut world, "founder", "go", "");
    say(&mut world, "ops", "no-go", ", note: mend the upload, until: '2026-03-04T18:00:00Z'");
    assert_eq!(current(&world), "pilot");
    let said = "NO-GO from ops: mend the upload, until 2026-03-04T18:00:00Z";
    assert!(waits(&world).iter().any(|on| on == said), "{:?}", waits(&world));
    assert_eq!(
        world.said("CallDecided"),
        ["stage public: NO-GO by ops: mend the upload; next call at 2026-03-04T18:00:00Z"]
    );
    world.advance_to("2026-03-04T17:59:59Z");
    measure(&mut world, 30.0);
    assert!(waits(&world).iter().any(|on| on == said));
    world.advance_to("2026-03-04T18:00:00Z");
    measure(&mut world, 30.0);
    assert!(waits(&world).iter().any(|on| on == "GO from founder, ops"), "the first GO is spent: {:?}", waits(&world));
    assert_eq!(world.said("CallBegan").len(), 2);
    say(&mut world, "founder", "go", "");
    say(&mut world, "ops", "go", "");
    assert_eq!(current(&world), "public");
}

#[test]
fn a_no_go_that_was_taken_back_spends_nobodys_word() {
    let mut world = soft_launch();
    // Nothing else lets it open: the gate is not reviewed well.
    world.settle();
    world.advance_to("2026-03-02T18:00:00Z");
    measure(&mut world, 1.0);
    say(&mut world, "founder", "go", "");
    say(&mut world, "ops", "no-go", ", note: x, until: '2026-03-03T18:00:00Z'");
    world.advance_to("2026-03-02T18:10:00Z");
    say(&mut world, "ops", "go", "");
    world.advance_to("2026-03-03T18:00:00Z");
    measure(&mut world, 30.0);
    assert!(!waits(&world).iter().any(|on| on.starts_with("GO from")), "{:?}", waits(&world));
}

#[test]
fn no_stage_opens_on_a_quiet_day_of_the_programs_zone() {
    let mut world = world();
    world.desired.program.spec.quiet_days = vec!["SUN".parse().unwrap(), "2026-03-02/2026-03-03".parse().unwrap()];
    world.advance_to("2026-03-01T23:00:00Z");
    world.settle();
    let said = &world.last.states["Rollout/closed"].waits;
    assert_eq!(
        said.iter().map(|wait| wait.on.as_str()).collect::<Vec<_>>(),
        ["today is a quiet day; quiet days end at 2026-03-03T23:00:00Z"]
    );
    assert_eq!(world.last.look_again_at.unwrap(), at("2026-03-03T23:00:00Z"));
    for (instant, open) in [("2026-03-03T22:59:59Z", false), ("2026-03-03T23:00:00Z", true)] {
        world.advance_to(instant);
        world.settle();
        assert_eq!(world.memory.rollouts["closed"].current.is_some(), open, "{instant}");
    }
}

#[test]
fn a_stopped_line_opens_nothing_and_delays_no_protection() {
    let mut world = world();
    let stop = StopFact { everywhere: true, reason: "region outage".into(), by: "ops".into(), since: world.now };
    world.readings.stops.push(stop);
    world.healthy();
    world.settle();
    assert_eq!(world.memory.rollouts["closed"].current, None);
    assert_eq!(world.last.states["Program/beta"].state, "Stopped");
    let wait = &world.last.states["Rollout/closed"].waits[0];
    assert!(wait.on.contains("stopped for every program") && wait.from.contains("betagate resume --all"), "{wait:?}");
    world.measure("sync", 1, 100);
    world.settle();
    assert_eq!(world.runs(), ["pull-back-1"]);
    world.readings.stops.clear();
}

fn announced(announce: &str) -> World {
    let mut world = world();
    let spec = format!(
        "{{program: beta, stages: [{{name: pilot, window: {{from: 2026-03-04, until: 2026-03-06}}, cohorts: [pavia], announce: [{announce}]}}]}}"
    );
    put(&mut world.desired.rollouts, "closed", &spec);
    world.desired.program.spec.feedback_url = Some("https://example.com/feedback".to_owned());
    world
}

fn notes(world: &World) -> Vec<(String, BTreeMap<String, String>)> {
    let note = |message: &Message| match &message.what {
        MessageKind::Note { template, variables, .. } => Some((template.clone(), variables.clone())),
        _ => None,
    };
    world.messages.iter().filter_map(note).collect()
}

#[test]
fn announcements_leave_once_before_at_and_after_what_they_are_about() {
    let mut world = announced(
        "{event: window, at: -24h, to: [ops], template: soon}, {to: [ops], template: open}, {at: +1h, to: [ops], template: later}",
    );
    let sent = |world: &World| notes(world).iter().map(|(template, _)| template.clone()).collect::<Vec<_>>();
    world.settle();
    for (instant, wanted) in [
        ("2026-03-02T22:59:59Z", &[][..]),
        ("2026-03-02T23:00:00Z", &["soon"][..]),
        ("2026-03-03T22:59:59Z", &["soon"][..]),
        ("2026-03-03T23:00:00Z", &["soon", "open"][..]),
        ("2026-03-03T23:59:59Z", &["soon", "open"][..]),
        ("2026-03-04T00:00:00Z", &["soon", "open", "later"][..]),
        ("2026-03-05T00:00:00Z", &["soon", "open", "later"][..]),
    ] {
        world.advance_to(instant);
        world.settle();
        assert_eq!(sent(&world), wanted, "{instant}");
    }
    let soon = &notes(&world)[0].1;
    for (name, value) in [
        ("stage", "pilot"),
        ("cohort", "pavia"),
        ("opens", "2026-03-04 00:00 CET"),
        ("closes", "2026-03-07 00:00 CET"),
        ("feedback_url", "https://example.com/feedback"),
    ] {
        assert_eq!(soon[name], value, "{name}");
    }
    assert!(world.by_effect().values().all(|count| *count == 1), "{:?}", world.by_effect());
}

#[test]
fn nobody_is_told_that_a_stage_will_open_while_it_will_not_or_when_it_is_too_late() {
    let mut world = announced("{event: window, at: -24h, to: [ops], template: soon}");
    world.incident("i", "2026-03-02T22:00:00Z");
    world.advance_to("2026-03-02T23:00:00Z");
    world.settle();
    assert!(!world.runs().is_empty());
    assert!(notes(&world).iter().all(|(template, _)| template != "soon"), "a rollback is in force");
    world.advance_to("2026-03-03T23:00:00Z");
    world.settle();
    assert_eq!(world.said("AnnouncementMissed").len(), 1);
    assert!(notes(&world).iter().all(|(template, _)| template != "soon"));
}

#[test]
fn an_overdue_stage_and_a_no_go_are_told_of() {
    let mut world = announced("{event: overdue, to: [ops], template: late}, {event: noGo, to: [ops], template: no}");
    world.desired.program.spec.quiet_days = vec!["2026-03-01/2026-04-01".parse().unwrap()];
    world.settle();
    world.advance_to("2026-03-04T08:00:00Z");
    world.says("n", "{program: beta, by: ops, says: no-go, rollout: closed, stage: pilot, note: not yet}");
    world.settle();
    assert_eq!((notes(&world)[0].0.as_str(), notes(&world)[0].1["reason"].as_str()), ("no", "not yet"));
    world.advance_to("2026-03-06T23:00:00Z");
    world.settle();
    assert_eq!(notes(&world).len(), 2);
    assert_eq!(notes(&world)[1].0, "late");
}

#[test]
fn an_announcement_stays_the_same_one_wherever_it_stands_in_the_list() {
    let announce = |world: &mut World, list: &str| world.desired.rollouts = announced(list).desired.rollouts;
    let sent = |world: &World| {
        let note = |message: &Message| match &message.what {
            MessageKind::Note { template, channel, .. } => Some(format!("{template} to {channel}")),
            _ => None,
        };
        world.messages.iter().filter_map(note).collect::<Vec<_>>()
    };
    let (open, later) = ("{to: [ops], template: open}", "{at: +1h, to: [ops], template: later}");
    let mut world = announced(&format!("{open}, {later}"));
    world.settle();
    world.advance_to("2026-03-03T23:00:00Z");
    world.settle();
    assert_eq!(sent(&world), ["open to ops"]);
    // One is put before them, and one after the other: only those are new.
    announce(&mut world, &format!("{{to: [ops], template: more}}, {later}, {open}, {{to: [users], template: open}}"));
    world.settle();
    assert_eq!(sent(&world), ["open to ops", "more to ops", "open to users"]);
    // One is taken away: the one behind it is not lost. Two that are alike leave both.
    announce(&mut world, &format!("{later}, {later}"));
    world.settle();
    world.advance_to("2026-03-04T00:00:00Z");
    world.settle();
    assert_eq!(sent(&world)[3..], ["later to ops", "later to ops"]);
    world.advance_to("2026-03-05T00:00:00Z");
    world.settle();
    assert_eq!(sent(&world).len(), 5);
    assert!(world.by_effect().values().all(|count| *count == 1), "{:?}", world.by_effect());
}

#[test]
fn a_call_that_waits_for_voices_and_a_stage_that_is_late_need_somebody() {
    let needs = |world: &World| world.last.states["Rollout/closed"].needs_somebody;
    let mut world = soft_launch();
    world.settle();
    assert!(!needs(&world), "time alone is nobody's business");
    world.advance_to("2026-03-02T18:00:00Z");
    measure(&mut world, 1.0);
    assert!(needs(&world), "the gate keeps it closed too, and the call waits for its voices all the same");
    say(&mut world, "founder", "go", "");
    say(&mut world, "ops", "go", "");
    assert!(!needs(&world), "everybody has spoken; the gate keeps it closed");

    let mut world = super::world();
    world.desired.program.spec.quiet_days = vec!["2026-03-01/2026-04-01".parse().unwrap()];
    world.advance_to("2026-03-08T22:59:59Z");
    world.settle();
    assert!(!needs(&world), "its window has not ended");
    world.advance_to("2026-03-08T23:00:00Z");
    world.settle();
    assert!(needs(&world), "overdue, whatever else it waits for: {}", world.last.states["Rollout/closed"].summary);
}

#[test]
fn a_gate_needs_somebody_when_it_failed_or_waits_for_its_mitigation() {
    let mut world = soft_launch();
    let needs = |world: &World| world.last.states["Gate/kpis"].needs_somebody;
    world.healthy();
    world.settle();
    assert!(!needs(&world));
    world.measure("booking", 10, 100);
    world.settle();
    assert!(needs(&world) && world.last.verdicts["kpis"].waits_for_mitigation);
    world.measure("sync", 1, 100);
    world.settle();
    assert!(needs(&world) && !world.last.verdicts["kpis"].waits_for_mitigation);
}

#[test]
fn a_tag_is_asked_for_once_at_its_time_of_day_and_not_while_the_line_is_stopped() {
    let mut world = world();
    let spec = "{program: beta, stages: [{name: pilot, cohorts: [pavia], tag: {name: v1, at: '09:00'}}]}";
    put(&mut world.desired.rollouts, "closed", spec);
    // 09:00 in Rome is 08:00 UTC, which it is just now: the next one is tomorrow's.
    world.settle();
    let tags = |world: &World| {
        let tag = |message: &&Message| matches!(message.what, MessageKind::Tag { .. });
        world.messages.iter().filter(tag).map(|message| message.effect_key.clone()).collect::<Vec<_>>()
    };
    assert!(world.last.states["Rollout/closed"].summary.ends_with("; tag v1 at 2026-03-03T08:00:00Z"));
    assert_eq!(world.last.look_again_at.unwrap(), at("2026-03-03T08:00:00Z"));
    let stop = StopFact { everywhere: false, reason: "x".into(), by: "ops".into(), since: world.now };
    world.readings.stops.push(stop);
    world.advance_to("2026-03-03T08:00:00Z");
    world.settle();
    assert!(tags(&world).is_empty());
    world.readings.stops.clear();
    world.settle();
    world.advance_to("2026-03-04T08:00:00Z");
    world.settle();
    assert_eq!(tags(&world), ["beta/rollout/closed/pilot/tag/v1"]);
}
