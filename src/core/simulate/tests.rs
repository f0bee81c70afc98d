#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot be set up has failed")]

use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::*;
use crate::desired::{Origin, Resource};

fn resource<S: DeserializeOwned>(name: &str, spec: &str) -> Resource<S> {
    let origin = Origin { file: Arc::from("test.yaml"), line: 1 };
    Resource { name: name.to_owned(), spec: serde_saphyr::from_str(spec).expect("a valid spec"), origin }
}

fn at(text: &str) -> Timestamp {
    text.parse().expect("an instant")
}

/// Seed 002 in small: a weekly gate with its board's columns, two stages, the seven steps.
fn program() -> ProgramDesired {
    let mut program = ProgramDesired::new(resource(
        "beta",
        "{timeZone: Europe/Rome, startsOn: 2026-03-02, people: {founder: {}, ops: {}}, alwaysOnline: [privacy],
          owners: [{area: rollback-execution, owner: founder, backup: ops}], channels: {ops: {email: [ops@example.com]}}}",
    ));
    program.cohorts.insert("pavia".into(), resource("pavia", "{program: beta, members: {csv: pavia.csv}}"));
    program.gates.insert(
        "kpis".into(),
        resource(
            "kpis",
            "{program: beta, owner: founder, review: {cron: '0 17 * * FRI', from: +11d}, conditional: {missed: 1}, checks: [
              {name: sync, column: Sync Success, kpi: sync_success_rate, pass: '>= 95%', critical: true},
              {name: booking, column: Booking Completion, kpi: class_booking_completion, pass: '>= 70%'},
              {name: sev1, column: Sev-1 Count, incidents: {severity: sev-1, within: 7d}, pass: '== 0'}]}",
        ),
    );
    program.gate_order = vec!["kpis".into()];
    program.rollouts.insert(
        "closed".into(),
        resource(
            "closed",
            "{program: beta, stages: [{name: pilot, window: {from: +0d, until: +6d}, cohorts: [pavia]},
              {name: wide, window: {from: +14d, until: +30d}, cohorts: [pavia],
               enter: {gates: [{name: kpis, passes: 2}], signoffs: {from: [founder, ops]}}}]}",
        ),
    );
    program.plans.insert(
        "pull-back".into(),
        resource(
            "pull-back",
            "{program: beta, when: [{incident: {severity: sev-1, activeFor: 30m}}, {gate: {name: kpis, critical: true}}],
              steps: [{freezeInvites: {cohorts: all}}, {keepOnline: [privacy]}, {publishNote: {to: [ops], template: note, within: 30m}},
               {captureRootCause: {owner: founder}}, {holdReviews: {untilStableFor: 48h, severity: sev-1}}]}",
        ),
    );
    program
}

fn rows(rows: &[[&str; 5]]) -> Vec<Vec<String>> {
    rows.iter().map(|row| row.iter().map(|cell| (*cell).to_owned()).collect()).collect()
}

fn titles() -> Vec<String> {
    ["Week Of", "Booking Completion", "Sync Success", "Sev-1 Count", "Gate Status"].map(str::to_owned).to_vec()
}

fn play(board_rows: &[[&str; 5]], assume: Assume) -> Simulation {
    let program = program();
    let (history, _) = board(&program, "kpis", &titles(), &rows(board_rows)).unwrap();
    let setting = Setting { from: at("2026-03-02T00:00:00Z"), until: at("2026-04-12T00:00:00Z"), assume };
    simulate(&program, &Revision::default(), history, setting).unwrap()
}

fn verdicts(played: &Simulation) -> Vec<String> {
    let day = |review: &SealedReview| review.due_at.to_zoned(jiff::tz::TimeZone::UTC).date();
    played.reviews.iter().map(|review| format!("{} {}", day(review), review.verdict.verdict)).collect()
}

fn when(played: &Simulation, reason: &str) -> Vec<String> {
    let found = played.timeline.iter().filter(|line| line.reason == reason);
    found.map(|line| format!("{} {}: {}", line.at, line.object, line.message)).collect()
}

#[test]
fn two_passes_and_every_go_open_the_next_stage() {
    let good = [["2026-03-13", "80%", "97%", "0", ""], ["2026-03-20", "75%", "96.5%", "0", ""]];
    let played = play(&good, Assume { signed: true, ..Assume::default() });
    assert_eq!(verdicts(&played)[..3], ["2026-03-06 Pending", "2026-03-13 Pass", "2026-03-20 Pass"]);
    let opened = when(&played, "StageOpened");
    assert_eq!(opened.len(), 2, "{opened:?}");
    assert!(opened[1].starts_with("2026-03-20T16:00:00Z Rollout/closed"), "{opened:?}");
    // Silence is not GO.
    assert_eq!(when(&play(&good, Assume::default()), "StageOpened").len(), 1);
}

#[test]
fn a_miss_that_nobody_mitigates_fails_its_review_and_rolls_nothing_back() {
    let played = play(&[["2026-03-13", "60%", "97%", "0", "Conditional"]], Assume::default());
    assert_eq!(verdicts(&played)[1], "2026-03-13 Fail");
    assert_eq!(when(&played, "StepInForce"), Vec::<String>::new());
}

#[test]
fn a_critical_miss_rolls_back_in_order_and_reviews_go_on_after_two_stable_days() {
    let board_rows = [["2026-03-13", "80%", "94%", "0", "Fail"], ["2026-03-27", "80%", "97%", "0", "Pass"]];
    let assume = Assume { cause_within: Some(SignedDuration::from_hours(24)), ..Assume::default() };
    let played = play(&board_rows, assume);
    let steps = when(&played, "StepInForce");
    assert_eq!(steps.len(), 5, "{steps:?}");
    assert!(steps.iter().all(|step| step.starts_with("2026-03-13T15:59:00Z")), "{steps:?}");
    let of = |date: &str| verdicts(&played).into_iter().find(|row| row.starts_with(date)).unwrap();
    assert_eq!(of("2026-03-20"), "2026-03-20 Held");
    assert_eq!(of("2026-04-03"), "2026-04-03 Pass");
    assert!(!when(&played, "NoteSent").is_empty());
}

#[test]
fn a_threshold_that_changes_changes_what_would_have_happened() {
    let board_rows = [["2026-03-13", "80%", "94%", "0", ""], ["2026-03-20", "80%", "94%", "0", ""]];
    let (history, _) = board(&program(), "kpis", &titles(), &rows(&board_rows)).unwrap();
    let mut milder = program();
    let gate = milder.gates.get_mut("kpis").unwrap();
    gate.spec.checks[0].pass = Some(">= 90%".parse().unwrap());
    let setting =
        Setting { from: at("2026-03-02T00:00:00Z"), until: at("2026-04-01T00:00:00Z"), assume: Assume::default() };
    let played = simulate(&milder, &Revision::default(), history, setting).unwrap();
    assert_eq!(verdicts(&played)[1..3], ["2026-03-13 Pass", "2026-03-20 Pass"]);
    assert_eq!(when(&played, "StepInForce"), Vec::<String>::new());
}

#[test]
fn a_boards_sev_1s_count_in_its_review_and_start_no_rollback() {
    let played =
        play(&[["2026-03-13", "80%", "97%", "2", ""], ["2026-03-27", "80%", "97%", "0", ""]], Assume::default());
    assert_eq!(verdicts(&played)[1], "2026-03-13 Fail");
    assert_eq!(when(&played, "StepInForce"), Vec::<String>::new());
}

#[test]
fn an_incident_of_more_than_30_minutes_starts_the_plan_at_its_moment() {
    let program = program();
    let incident = |resolved_at| {
        Happening::Incident(IncidentFact {
            name: "down".into(),
            severity: "sev-1".into(),
            category: None,
            title: "Down".into(),
            started_at: at("2026-03-10T09:00:00Z"),
            resolved_at,
            acknowledged_at: None,
        })
    };
    let end = at("2026-03-10T11:00:00Z");
    let history = vec![
        Entry { at: end, what: incident(Some(end)) },
        Entry { at: at("2026-03-10T09:00:00Z"), what: incident(None) },
    ];
    let setting =
        Setting { from: at("2026-03-02T00:00:00Z"), until: at("2026-03-12T00:00:00Z"), assume: Assume::default() };
    let played = simulate(&program, &Revision::default(), history, setting).unwrap();
    assert!(when(&played, "StepInForce")[0].starts_with("2026-03-10T09:30:00.000001Z"));
}

#[test]
fn everything_that_is_wrong_with_a_board_is_said_at_once() {
    let mut titles = titles();
    titles[2] = "Sync Sucess".to_owned();
    let wrong = board(
        &program(),
        "kpis",
        &titles,
        &rows(&[["13 March", "", "", "", ""], ["2026-03-13", "0.8", "", "many", ""]]),
    );
    let said: Vec<String> = wrong.unwrap_err().iter().map(ToString::to_string).collect();
    assert_eq!(
        said,
        [
            "line 1, Sync Sucess: gate kpis has no such column; did you mean 'Sync Success'?",
            "line 2, Week Of: '13 March' is no date, such as 2026-03-13",
            "line 3, Booking Completion: '0.8' is no value, such as 45.2%, 3 or -",
            "line 3, Sev-1 Count: 'many' is no value, such as 45.2%, 3 or -",
        ]
    );
}

#[test]
fn ten_years_of_a_program_are_played_through() {
    let assume = Assume { met: true, signed: true, cause_within: Some(SignedDuration::from_hours(1)) };
    let setting = Setting { from: at("2026-03-02T00:00:00Z"), until: at("2036-03-02T00:00:00Z"), assume };
    let played = simulate(&program(), &Revision::default(), Vec::new(), setting).unwrap();
    assert!(played.reviews.len() > 500, "{}", played.reviews.len());
    assert!(played.passes < 20_000, "{} passes", played.passes);
}
