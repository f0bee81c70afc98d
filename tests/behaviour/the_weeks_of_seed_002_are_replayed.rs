//! Pass, Conditional, Fail without a critical check, Fail on a critical one, a Sev-1 of more than 30 minutes and the way back: this project's own program on
//! seed 002's dates, played by `simulate`. Each timeline was written down before it was played.

use betagate::controller::build_snapshot;
use betagate::source::read_folder;
use betagate_core::decide::IncidentFact;
use betagate_core::desired::Built;
use betagate_core::resources::SignoffSpec;
use betagate_core::simulate::{Assume, Entry, Happening, Setting, Simulation, board, simulate};
use jiff::{SignedDuration, Timestamp};

use crate::support::TestRepo;

const TITLES: [&str; 10] = [
    "Week Of",
    "Cohort",
    "Repeat Rate",
    "Feed Interactions/Active",
    "Booking Completion",
    "Chain Survival",
    "Staff WAU Rate",
    "Sync Success",
    "Sev-1 Count",
    "Gate Status",
];
/// What is told of a timeline: what opens, what is pulled back, what leaves, what is lifted.
const TOLD: [&str; 9] = [
    "StageOpened",
    "RollbackStarted",
    "StepInForce",
    "NoteSent",
    "DocumentWritten",
    "ReviewsReopened",
    "StepLifted",
    "Lifted",
    "Paged",
];
const PILOT: &str = "2026-03-01T23:00:00Z StageOpened stage pilot is open";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn kruxt() -> Built {
    let repo = TestRepo::of_this_project();
    build_snapshot(&read_folder(repo.path()).unwrap(), None, true).unwrap()
}

/// A week of the board, in which only these differ from a good one.
fn week(date: &str, differs: &[(&str, &str)]) -> Vec<String> {
    let good = [date, "Pavia", "50.0%", "3.5", "75.0%", "45.0%", "65.0%", "97.0%", "0", ""];
    let cell = |(title, usual): (&&str, &str)| {
        let other = differs.iter().find(|(named, _)| named == title);
        other.map_or(usual, |(_, value)| *value).to_owned()
    };
    TITLES.iter().zip(good).map(cell).collect()
}

fn played(weeks: &[Vec<String>], more: Vec<Entry>, until: &str) -> Simulation {
    let built = kruxt();
    let program = &built.desired.programs["kruxt"];
    let titles: Vec<String> = TITLES.map(str::to_owned).to_vec();
    let (mut history, _) = board(program, "weekly-kpis", &titles, weeks).unwrap();
    history.extend(more);
    let assume = Assume { signed: true, met: true, cause_within: Some(SignedDuration::from_hours(24)) };
    // Midnight in Rome.
    let setting = Setting { from: at("2026-03-01T23:00:00Z"), until: at(until), assume };
    simulate(program, &built.desired.revision, history, setting).unwrap()
}

fn timeline(played: &Simulation) -> Vec<String> {
    let told = played.timeline.iter().filter(|line| TOLD.contains(&line.reason.as_str()));
    told.map(|line| format!("{} {} {}", line.at, line.reason, line.message)).collect()
}

/// The reviews of a gate: the day in Rome, the verdict, and when it was sealed.
fn reviews(played: &Simulation, gate: &str) -> Vec<String> {
    let rome = jiff::tz::TimeZone::get("Europe/Rome").unwrap();
    let own = played.reviews.iter().filter(|review| review.gate == gate);
    own.map(|review| {
        let due = review.due_at.to_zoned(rome.clone()).strftime("%F %H:%M");
        format!("{due} {} at {}", review.verdict.verdict, review.sealed_at)
    })
    .collect()
}

fn says(moment: &str, spec: &str) -> Entry {
    let spec: SignoffSpec = serde_json::from_str(spec).unwrap();
    Entry { at: at(moment), what: Happening::Said { name: format!("said-{moment}"), spec: Box::new(spec) } }
}

fn incident(started_at: &str, resolved_at: &str) -> [Entry; 2] {
    let fact = |resolved: Option<Timestamp>| IncidentFact {
        name: "sync-outage".to_owned(),
        severity: "sev-1".to_owned(),
        category: None,
        title: "Sync is down".to_owned(),
        started_at: at(started_at),
        resolved_at: resolved,
        acknowledged_at: None,
    };
    let resolved = at(resolved_at);
    [
        Entry { at: at(started_at), what: Happening::Incident(fact(None)) },
        Entry { at: resolved, what: Happening::Incident(fact(Some(resolved))) },
    ]
}

/// The seven steps at one moment, with what leaves.
fn seven_steps(moment: &str, trigger: &str) -> Vec<String> {
    let told = [
        format!("RollbackStarted {trigger}"),
        "StepInForce step 1 freezeInvites".to_owned(),
        "StepInForce step 2 disableFlags".to_owned(),
        "StepInForce step 3 keepOnline".to_owned(),
        "StepInForce step 4 routeToFallback".to_owned(),
        "StepInForce step 5 publishNote".to_owned(),
        "NoteSent to support, from template incident-note".to_owned(),
        "NoteSent to gym-operators, from template incident-note".to_owned(),
        "StepInForce step 6 captureRootCause".to_owned(),
        "DocumentWritten the cause of closed-beta-1, for founder".to_owned(),
        "StepInForce step 7 holdReviews".to_owned(),
    ];
    told.iter().map(|told| format!("{moment} {told}")).collect()
}

/// The six other holds, in reverse order.
fn lifted(moment: &str) -> Vec<String> {
    let steps = [
        "6 captureRootCause",
        "5 publishNote",
        "4 routeToFallback",
        "3 keepOnline",
        "2 disableFlags",
        "1 freezeInvites",
    ];
    let steps = steps.iter().map(|step| format!("{moment} StepLifted step {step}"));
    steps.chain([format!("{moment} Lifted every hold is lifted")]).collect()
}

#[test]
fn two_passes_and_every_go_open_the_expansion_on_its_last_friday() {
    let played = played(&[week("2026-03-13", &[]), week("2026-03-20", &[])], Vec::new(), "2026-03-22T00:00:00Z");
    assert_eq!(timeline(&played), [PILOT, "2026-03-20T16:00:00Z StageOpened stage us-eu is open"]);
    let expected = [
        "2026-03-06 17:00 Pending at 2026-03-06T16:00:00Z",
        "2026-03-13 17:00 Pass at 2026-03-13T16:00:00Z",
        "2026-03-20 17:00 Pass at 2026-03-20T16:00:00Z",
    ];
    assert_eq!(reviews(&played, "weekly-kpis"), expected);
}

#[test]
fn one_miss_with_an_accepted_mitigation_is_conditional_and_counts() {
    let weeks = [week("2026-03-13", &[("Booking Completion", "65.0%")]), week("2026-03-20", &[])];
    let accepted = r#"{"program":"kruxt","by":"founder","says":"accept-mitigation","gate":"weekly-kpis","check":"booking-completion",
        "note":"desk staff book by phone","until":"2026-03-19"}"#;
    let played = played(&weeks, vec![says("2026-03-13T17:30:00Z", accepted)], "2026-03-22T00:00:00Z");
    assert_eq!(timeline(&played), [PILOT, "2026-03-20T16:00:00Z StageOpened stage us-eu is open"]);
    let expected = [
        "2026-03-06 17:00 Pending at 2026-03-06T16:00:00Z",
        "2026-03-13 17:00 Conditional at 2026-03-13T17:30:00Z",
        "2026-03-20 17:00 Pass at 2026-03-20T16:00:00Z",
    ];
    assert_eq!(reviews(&played, "weekly-kpis"), expected);
}

#[test]
fn two_misses_fail_and_hold_the_rollout_without_a_rollback_and_the_row_begins_anew() {
    let weeks = [
        week("2026-03-13", &[("Booking Completion", "60.0%"), ("Repeat Rate", "40.0%")]),
        week("2026-03-20", &[]),
        week("2026-03-27", &[]),
    ];
    let played = played(&weeks, Vec::new(), "2026-03-28T00:00:00Z");
    // The window ended on the 20th: overdue, and everybody says GO.
    assert_eq!(timeline(&played), [PILOT, "2026-03-27T16:00:00Z StageOpened stage us-eu is open"]);
    let expected = [
        "2026-03-06 17:00 Pending at 2026-03-06T16:00:00Z",
        "2026-03-13 17:00 Fail at 2026-03-13T16:00:00Z",
        "2026-03-20 17:00 Pass at 2026-03-20T16:00:00Z",
        "2026-03-27 17:00 Pass at 2026-03-27T16:00:00Z",
    ];
    assert_eq!(reviews(&played, "weekly-kpis"), expected);
}

#[test]
fn a_critical_miss_pulls_back_at_once_and_two_stable_days_lead_back() {
    let weeks = [week("2026-03-13", &[("Sync Success", "94.9%")]), week("2026-03-20", &[])];
    let played = played(&weeks, Vec::new(), "2026-03-24T00:00:00Z");
    let mut expected = vec![PILOT.to_owned()];
    expected.extend(seven_steps("2026-03-13T15:59:00Z", "gate weekly-kpis is Fail: critical: sync-success missed"));
    expected.push("2026-03-22T15:59:00Z ReviewsReopened stable for 2d".to_owned());
    expected.extend(lifted("2026-03-22T15:59:00Z"));
    assert_eq!(timeline(&played), expected);
    let expected = [
        "2026-03-06 17:00 Pending at 2026-03-06T16:00:00Z",
        "2026-03-13 17:00 Held at 2026-03-13T16:00:00Z",
        "2026-03-20 17:00 Held at 2026-03-20T16:00:00Z",
        "2026-03-22 16:59 Pass at 2026-03-22T15:59:00Z",
    ];
    assert_eq!(reviews(&played, "weekly-kpis"), expected);
}

#[test]
fn exactly_the_threshold_is_met() {
    let weeks = [week("2026-03-13", &[("Sync Success", "95.0%"), ("Booking Completion", "70.0%")])];
    let played = played(&weeks, Vec::new(), "2026-03-14T00:00:00Z");
    assert_eq!(timeline(&played), [PILOT]);
    assert_eq!(reviews(&played, "weekly-kpis")[1], "2026-03-13 17:00 Pass at 2026-03-13T16:00:00Z");
}

#[test]
fn a_sev_1_of_more_than_thirty_minutes_pulls_back_and_48_stable_hours_and_a_mitigated_review_lead_back() {
    let accepted = r#"{"program":"kruxt","by":"founder","says":"accept-mitigation","gate":"weekly-kpis","check":"sev-1",
        "note":"the token is renewed a week earlier now","until":"2026-03-19"}"#;
    let mut more = incident("2026-03-10T09:00:00Z", "2026-03-10T10:15:00Z").to_vec();
    more.push(says("2026-03-12T12:00:00Z", accepted));
    let weeks = [week("2026-03-06", &[]), week("2026-03-13", &[]), week("2026-03-20", &[])];
    let played = played(&weeks, more, "2026-03-22T00:00:00Z");
    let mut expected = vec![PILOT.to_owned()];
    expected.extend(seven_steps("2026-03-10T09:30:00.000001Z", "sev-1 'Sync is down' open since 2026-03-10T09:00:00Z"));
    expected.push("2026-03-12T10:15:00Z ReviewsReopened stable for 2d".to_owned());
    expected.extend(lifted("2026-03-12T12:00:00Z"));
    // The Sev-1 is on the board for a week; what the owner accepted covers the 13th.
    expected.push("2026-03-20T16:00:00Z StageOpened stage us-eu is open".to_owned());
    assert_eq!(timeline(&played), expected);
    let expected = [
        "2026-03-06 17:00 Pending at 2026-03-06T16:00:00Z",
        "2026-03-12 11:15 Conditional at 2026-03-12T12:00:00Z",
        "2026-03-13 17:00 Conditional at 2026-03-13T16:00:00Z",
        "2026-03-20 17:00 Pass at 2026-03-20T16:00:00Z",
    ];
    assert_eq!(reviews(&played, "weekly-kpis"), expected);
    assert_eq!(played.states["Rollout/closed-beta"].state, "Done");
}

#[test]
fn a_sev_1_of_exactly_thirty_minutes_pulls_nothing_back() {
    let more = incident("2026-03-10T09:00:00Z", "2026-03-10T09:30:00Z").to_vec();
    let played = played(&[], more, "2026-03-12T00:00:00Z");
    assert_eq!(timeline(&played), [PILOT]);
}
