//! The soft launch of this project, one checklist in phases, on the virtual clock: three days before the invites go out, the last hour, the sending, the first hour,
//! every four hours, the decision call, and an hour, a day and a week after everyone may come (seed 004, and the follow-ups of seed 003). Who signs what and what
//! is measured is told; nothing is assumed but the readings that the story does not speak of. The timeline was written down before it was played.

use betagate::controller::build_snapshot;
use betagate::source::read_folder;
use betagate_core::decide::{CheckRef, Outcome, Verdict, Why};
use betagate_core::desired::Built;
use betagate_core::resources::{Says, SignoffSpec};
use betagate_core::simulate::{Assume, Entry, Happening, Setting, Simulation, simulate};
use jiff::Timestamp;

use crate::support::TestRepo;

const TOLD: [&str; 8] =
    ["PhaseBegan", "PhaseDone", "PhaseOverdue", "StageOpened", "CallBegan", "CallDecided", "RollbackStarted", "Paged"];

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// The program as it lies in `manifests/soft-launch`, whose invites go out on the 18th of May.
fn launch() -> Built {
    let repo = TestRepo::of_this_project();
    repo.replace("manifests/soft-launch/program.yaml", "# startsOn: 2026-05-18 ", "startsOn: 2026-05-18 ");
    build_snapshot(&read_folder(repo.path()).unwrap(), None, true).unwrap()
}

fn done(when: &str, by: &str, check: &str) -> Entry {
    let mut spec = SignoffSpec::bare("soft-launch", by, Says::Done);
    (spec.gate, spec.check) = (Some("soft-launch".to_owned()), Some(check.to_owned()));
    said(when, &format!("{check}-{by}"), spec)
}

fn word(when: &str, by: &str, says: Says, stage: &str) -> Entry {
    let mut spec = SignoffSpec::bare("soft-launch", by, says);
    (spec.rollout, spec.stage) = (Some("soft-launch".to_owned()), Some(stage.to_owned()));
    said(when, &format!("{stage}-{by}"), spec)
}

fn said(when: &str, name: &str, spec: SignoffSpec) -> Entry {
    Entry { at: at(when), what: Happening::Said { name: format!("{name}-{when}"), spec: Box::new(spec) } }
}

fn reads(when: &str, gate: &str, check: &str, value: Option<f64>) -> Entry {
    let outcome = match value {
        Some(value) => Outcome::Value { value, numerator: None, denominator: None, samples: None },
        None => Outcome::Unknown(Why::NoData),
    };
    Entry { at: at(when), what: Happening::Measured(CheckRef::new(gate, check), outcome) }
}

/// Everything that people sign before the invites go out.
fn before() -> Vec<Entry> {
    let mut told = vec![
        reads("2026-05-15T00:00:00Z", "soft-launch", "backup-production", Some(86_400.001)),
        reads("2026-05-15T06:00:00Z", "soft-launch", "backup-production", Some(86_400.0)),
        reads("2026-05-15T00:00:00Z", "soft-launch", "first-signup", Some(0.0)),
        reads("2026-05-15T00:00:00Z", "soft-launch", "call-decided", None),
        reads("2026-05-15T00:00:00Z", "soft-launch-acceptance", "testers-in", Some(24.0)),
        // Not one of those whose word counts.
        done("2026-05-15T08:00:00Z", "on-call", "mail-wording"),
    ];
    for (by, checks) in [
        ("operator", &["list-complete", "mail-account", "mail-test-send"][..]),
        ("product-lead", &["feedback-channel", "feedback-form"][..]),
        ("tech-lead", &["signup-prefilled", "signup-invalid-code", "signup-used-code", "signup-expired-code"][..]),
        ("on-call", &["monitor-is-watched", "status-page"][..]),
    ] {
        told.extend(checks.iter().map(|check| done("2026-05-15T09:00:00Z", by, check)));
    }
    told.push(done("2026-05-16T10:00:00Z", "product-lead", "mail-wording"));
    told.push(done("2026-05-18T08:00:00Z", "operator", "messages-reviewed"));
    told.push(word("2026-05-18T09:00:00Z", "operator", Says::Go, "fifty"));
    told
}

/// The beta's day, to the GO at 18:12.
fn day() -> Vec<Entry> {
    let mut told = vec![
        done("2026-05-18T09:10:00Z", "operator", "delivered"),
        reads("2026-05-18T09:20:00Z", "soft-launch", "first-signup", Some(1.0)),
        done("2026-05-18T09:40:00Z", "operator", "first-hello"),
        done("2026-05-18T13:20:00Z", "on-call", "watch-issues"),
        done("2026-05-18T17:10:00Z", "operator", "watch-issues"),
        reads("2026-05-18T17:50:00Z", "soft-launch-acceptance", "testers-in", Some(25.0)),
        // Before the call it counts for nothing.
        word("2026-05-18T17:55:00Z", "tech-lead", Says::Go, "public"),
        done("2026-05-18T18:05:00Z", "product-lead", "call-voices"),
        done("2026-05-18T18:05:00Z", "product-lead", "call-rows"),
        word("2026-05-18T18:10:00Z", "product-lead", Says::Go, "public"),
        word("2026-05-18T18:11:00Z", "on-call", Says::Go, "public"),
        word("2026-05-18T18:12:00Z", "tech-lead", Says::Go, "public"),
        reads("2026-05-18T18:12:01Z", "soft-launch", "call-decided", Some(1.0)),
    ];
    told.push(done("2026-05-18T20:30:00Z", "product-lead", "call-take-aways"));
    told
}

/// The week after.
fn week() -> Vec<Entry> {
    [
        ("2026-05-19T20:00:00Z", "operator", "day-after-walkthrough"),
        ("2026-05-19T21:00:00Z", "product-lead", "day-after-told"),
        ("2026-05-25T19:00:00Z", "product-lead", "week-after-feedback"),
        ("2026-05-26T10:00:00Z", "tech-lead", "week-after-lessons"),
    ]
    .map(|(when, by, check)| done(when, by, check))
    .to_vec()
}

fn played(history: Vec<Entry>, until: &str) -> Simulation {
    let built = launch();
    let assume = Assume { signed: false, met: true, cause_within: None };
    let setting = Setting { from: at("2026-05-14T12:00:00Z"), until: at(until), assume };
    simulate(&built.desired.programs["soft-launch"], &built.desired.revision, history, setting).unwrap()
}

fn timeline(played: &Simulation) -> Vec<String> {
    let told = played.timeline.iter().filter(|line| TOLD.contains(&line.reason.as_str()));
    told.map(|line| format!("{} {} {}", line.at, line.reason, line.message)).collect()
}

#[test]
fn every_phase_begins_is_done_and_is_over_at_its_time() {
    let history = [before(), day(), week()].concat();
    let played = played(history, "2026-05-27T00:00:00Z");
    let wanted = [
        "2026-05-15T00:00:00Z PhaseBegan phase t-72h: 6 of 19 done, due by 2026-05-18T00:00:00Z",
        "2026-05-16T10:00:00Z PhaseDone phase t-72h: all 19 done",
        "2026-05-18T00:00:00Z PhaseBegan phase d-day: 8 of 9 done",
        "2026-05-18T08:00:00Z PhaseDone phase d-day: all 9 done",
        "2026-05-18T09:00:00Z StageOpened stage fifty is open",
        "2026-05-18T09:00:00Z PhaseBegan phase send: 2 of 3 done, due by 2026-05-18T10:00:00Z",
        "2026-05-18T09:00:00Z PhaseBegan phase hour-1: 1 of 3 done, due by 2026-05-18T10:00:00Z",
        "2026-05-18T09:10:00Z PhaseDone phase send: all 3 done",
        "2026-05-18T09:40:00Z PhaseDone phase hour-1: all 3 done",
        "2026-05-18T13:00:00Z PhaseBegan phase every-4h: 2 of 3 done, due by 2026-05-18T14:00:00Z",
        "2026-05-18T13:20:00Z PhaseDone phase every-4h: all 3 done",
        "2026-05-18T17:00:00Z PhaseBegan phase every-4h: 2 of 3 done, due by 2026-05-18T18:00:00Z",
        "2026-05-18T17:10:00Z PhaseDone phase every-4h: all 3 done",
        "2026-05-18T18:00:00Z PhaseBegan phase decision: 1 of 5 done, due by 2026-05-18T20:00:00Z",
        "2026-05-18T18:00:00Z CallBegan the call about stage public began; it needs the words of tech-lead, product-lead, on-call",
        "2026-05-18T18:12:00Z CallDecided stage public: GO by tech-lead, product-lead, on-call; soft-launch-acceptance Pass",
        "2026-05-18T18:12:00Z StageOpened stage public is open",
        "2026-05-18T19:12:00Z PhaseBegan phase after-1h: 3 of 3 done, due by 2026-05-18T20:12:00Z",
        "2026-05-18T19:12:00Z PhaseDone phase after-1h: all 3 done",
        "2026-05-18T20:00:00Z PhaseOverdue gate soft-launch: phase decision was due by 2026-05-18T20:00:00Z; to be done: call-take-aways",
        "2026-05-18T20:00:00Z Paged tech-lead: gate soft-launch: phase decision was due by 2026-05-18T20:00:00Z; to be done: call-take-aways",
        "2026-05-18T20:30:00Z PhaseDone phase decision: all 5 done",
        "2026-05-19T18:12:00Z PhaseBegan phase after-24h: 1 of 3 done, due by 2026-05-20T06:12:00Z",
        "2026-05-19T21:00:00Z PhaseDone phase after-24h: all 3 done",
        "2026-05-25T18:12:00Z PhaseBegan phase after-1w: 1 of 3 done, due by 2026-05-27T18:12:00Z",
        "2026-05-26T10:00:00Z PhaseDone phase after-1w: all 3 done",
    ];
    let told = timeline(&played);
    assert_eq!(told, wanted, "{told:#?}");
    let sealed = |gate: &str| {
        let at_the_call = |review: &&betagate_core::decide::SealedReview| {
            review.gate == gate && review.due_at == at("2026-05-18T18:00:00Z")
        };
        played.reviews.iter().find(at_the_call).map(|review| review.verdict.verdict)
    };
    assert_eq!(sealed("soft-launch-acceptance"), Some(Verdict::Pass));
    assert_eq!(sealed("soft-launch-monitor"), Some(Verdict::Pass), "the last look is sealed with the call");
    let checklist = &played.states["Gate/soft-launch"];
    assert_eq!(checklist.state, "Pass");
    assert!(
        checklist.summary.contains("send 3 of 3")
            && checklist.summary.contains("after-1w 3 of 3")
            && !checklist.summary.contains("t-72h"),
        "{}",
        checklist.summary
    );
}

#[test]
fn the_invites_wait_for_every_item_of_the_days_before_and_of_the_last_hour() {
    for left_out in ["mail-wording", "messages-reviewed", "signup-expired-code", "duty-rota", "restore-drill", "sentry"]
    {
        let mut history = before();
        let about = |entry: &Entry| match &entry.what {
            Happening::Said { spec, .. } => spec.check.as_deref() == Some(left_out),
            _ => false,
        };
        history.retain(|entry| !about(entry));
        if matches!(left_out, "duty-rota" | "restore-drill" | "sentry") {
            history.push(reads("2026-05-15T00:00:00Z", "soft-launch", left_out, None));
        }
        let played = played(history, "2026-05-18T16:00:00Z");
        assert!(!timeline(&played).iter().any(|line| line.contains("StageOpened")), "{left_out}");
        let rollout = &played.states["Rollout/soft-launch"];
        let waits: Vec<&str> = rollout.waits.iter().map(|wait| wait.on.as_str()).collect();
        assert!(
            waits.len() == 1 && waits[0].contains("soft-launch (t-72h, d-day)") && waits[0].contains(left_out),
            "{waits:?}"
        );
        let whole: Vec<&str> = played.states["Gate/soft-launch"].waits.iter().map(|wait| wait.on.as_str()).collect();
        assert!(whole.iter().any(|on| on.contains(left_out)), "{whole:?}");
    }
}

#[test]
fn an_item_that_is_not_signed_again_after_four_hours_is_paged_and_the_monitor_pulls_the_launch_back() {
    let mut history = [before(), day()].concat();
    let again = |entry: &Entry| match &entry.what {
        Happening::Said { spec, .. } => {
            spec.check.as_deref() == Some("watch-issues") && entry.at > at("2026-05-18T17:00:00Z")
        }
        _ => false,
    };
    history.retain(|entry| !again(entry));
    // A minute after everyone may come the API is not well.
    history.push(reads("2026-05-18T18:13:00Z", "soft-launch-monitor", "api-health", Some(0.0)));
    let played = played(history, "2026-05-18T19:00:00Z");
    let told = timeline(&played);
    let has = |start: &str| told.iter().any(|line| line.starts_with(start));
    assert!(has("2026-05-18T18:00:00Z PhaseOverdue gate soft-launch: phase every-4h"), "{told:#?}");
    assert!(has("2026-05-18T18:00:00Z Paged tech-lead: gate soft-launch: phase every-4h"), "{told:#?}");
    assert!(has("2026-05-18T18:13:00Z RollbackStarted"), "{told:#?}");
    let waits = &played.states["Gate/soft-launch"].waits;
    let undo = waits.iter().find(|wait| wait.on.contains("can be taken back")).unwrap();
    assert!(undo.from.contains("betagate rollback start soft-launch"), "{waits:?}");
}

#[test]
fn a_checklist_says_how_far_it_is() {
    let played = played(before(), "2026-05-16T00:00:00Z");
    assert_eq!(played.states["Gate/soft-launch"].state, "Pending");
    assert!(played.states["Gate/soft-launch"].summary.contains("t-72h 18 of 19, 8 phase(s) to come"));
}
