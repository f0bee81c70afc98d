//! The way back of a run that a Sev-1 started: exactly 48 stable hours after it was over, counted anew after every breach, and stopped while
//! data is missing; then the review, and the other holds in reverse order.

use betagate::store::{audit, freezes, incidents};
use betagate_core::decide::{RunMemory, RunPhase, StepState, Verdict};
use betagate_core::resources::{Moment, Says, SignoffSpec};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use uuid::Uuid;

use super::a_program_runs_from_yaml_to_an_ordered_rollback_and_back::{
    Done, busy_days, kruxt, reviews, send, syncs, the_pilot_opens_and_45_of_60_come_in, two_weeks_and_the_first_gate,
};
use super::a_rollback_is_carried_on_by_the_next_controller::{phase, sev1};
use crate::support::beta::Beta;
use crate::support::{databases, lift};

const RUN: &str = "closed-beta-1";

fn run(beta: &Beta) -> &RunMemory {
    &beta.controller.programs()["kruxt"].decision.as_ref().unwrap().memory.runs[RUN]
}

async fn resolve(beta: &Beta, name: &str) {
    let mut tx = beta.store.begin().await.unwrap();
    assert!(incidents::close(&mut tx, "kruxt", name, beta.clock.now()).await.unwrap());
    tx.commit().await.unwrap();
}

fn lifted(beta: &Beta) -> Vec<usize> {
    let steps = run(beta).steps.iter().enumerate();
    steps.filter(|(_, step)| step.state == StepState::Lifted).map(|(place, _)| place + 1).collect()
}

async fn accept_the_sev_1(beta: &Beta) {
    let spec = SignoffSpec {
        gate: Some("weekly-kpis".to_owned()),
        check: Some("sev-1".to_owned()),
        note: Some("an alert watches the key now".to_owned()),
        until: Some(Moment::Instant(beta.clock.now().checked_add(SignedDuration::from_hours(240)).unwrap())),
        ..SignoffSpec::bare("kruxt", "founder", Says::AcceptMitigation)
    };
    lift::record(&beta.store, "accepted", &spec, beta.clock.now()).await;
}

/// A good week up to the 20th of March, as the re-opened review will count it.
async fn a_good_week(beta: &Beta, users: &[Uuid]) {
    let mut good = busy_days(users, 12..=18);
    good.extend(busy_days(users, 12..=18).into_iter().filter(|event| event.kind == "reaction"));
    good.extend(syncs(users, 17, 990, 1000));
    good.extend((0..7).map(|n| Done { user: Uuid::from_u128(0xabc0 + n), kind: "staff_active", day: 16, ok: true }));
    send(beta, &good).await;
}

/// The run of a Sev-1 that has been open for 31 minutes, its documents complete, and the Sev-1 over at the instant that is given back.
async fn a_sev_1_that_is_over(beta: &mut Beta) -> Timestamp {
    beta.at("2026-03-17T09:00:00Z");
    sev1(beta, "down", "2026-03-17T08:29:00Z").await;
    beta.until("every step in force", |controller| {
        let decision = controller.programs()["kruxt"].decision.as_ref().unwrap();
        decision.memory.runs.get(RUN).is_some_and(|run| run.phase == RunPhase::Holding)
    })
    .await;
    lift::complete_all(beta).await;
    beta.at("2026-03-17T10:00:00Z");
    resolve(beta, "down").await;
    beta.pass().await;
    assert!(run(beta).steps.iter().all(|step| step.state == StepState::Verified));
    beta.clock.now()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_way_back_of_a_sev_1_takes_48_stable_hours() {
    for db in databases() {
        let mut beta = Beta::start(&db, kruxt(), "2026-03-02T08:00:00Z").await;
        let users = the_pilot_opens_and_45_of_60_come_in(&mut beta).await;
        two_weeks_and_the_first_gate(&mut beta, &users).await;
        let over = a_sev_1_that_is_over(&mut beta).await;

        // A breach, though nobody looked while it was there: the hours count anew from its end.
        beta.clock.set(over.checked_add(SignedDuration::from_hours(40)).unwrap());
        sev1(&beta, "again", &beta.clock.now().to_string()).await;
        beta.clock.advance(SignedDuration::from_mins(10));
        resolve(&beta, "again").await;
        let calm_since = beta.clock.now();
        for (hours, seconds) in [(8, 0), (24, 0), (47, 3599)] {
            let after = SignedDuration::from_hours(hours) + SignedDuration::from_secs(seconds);
            beta.clock.set(calm_since.checked_add(after).unwrap());
            beta.pass().await;
            assert_eq!(lifted(&beta), [0; 0], "{hours} h on {}", db.name);
            if hours == 24 {
                a_good_week(&beta, &users).await;
            }
        }
        beta.clock.advance(SignedDuration::from_secs(1));
        beta.pass().await;
        assert_eq!(lifted(&beta), [7], "at 48 hours the hold on reviews is lifted, and nothing else, on {}", db.name);
        assert_eq!(freezes::list(&beta.store, Some("kruxt")).await.unwrap().len(), 1);

        // Two Sev-1 this week: one miss, which its owner may accept.
        beta.clock.advance(SignedDuration::from_mins(6));
        beta.pass().await;
        assert_eq!(phase(&beta.controller, RUN), Some(RunPhase::Holding));
        accept_the_sev_1(&beta).await;
        beta.until("the lift", |controller| phase(controller, RUN) == Some(RunPhase::Lifted)).await;
        assert_eq!(run(&beta).lift_reason.as_deref(), Some("the re-opened review passed"));
        let last = reviews(&beta).await.pop().unwrap();
        assert_eq!(last.verdict.verdict, Verdict::Conditional);
        assert_eq!(sev_1_of_the_last_row(&beta), "2");
        assert_eq!(order_of_lifting(&beta).await, ['6', '5', '4', '3', '2', '1']);
        assert!(freezes::list(&beta.store, Some("kruxt")).await.unwrap().is_empty());
        let member = beta.invitations()[0].0.clone();
        assert_eq!(beta.flag("ml_recommendations_enabled", &member).await["value"], true);
        beta.store.close().await;
    }
}

fn sev_1_of_the_last_row(beta: &Beta) -> String {
    let data = beta.data.display().to_string();
    let board = ["board", "--program", "kruxt", "--format", "json", "--data", &data, "--database", &beta.url];
    let rows: Value = serde_json::from_str(&crate::support::Betagate::new(board).run().expect_code(0).stdout).unwrap();
    rows.as_array().unwrap().last().unwrap()["Sev-1 Count"].as_str().unwrap().to_owned()
}

async fn order_of_lifting(beta: &Beta) -> Vec<char> {
    let filter = audit::Filter { object: Some(format!("Rollback/{RUN}")), ..audit::Filter::default() };
    let mut log = audit::list(&beta.store, &filter).await.unwrap();
    log.retain(|kept| kept.entry.action == "StepLifted");
    log.sort_by_key(|kept| kept.seq);
    log.iter().filter_map(|kept| kept.entry.detail.to_string().chars().find(char::is_ascii_digit)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn week_4_retention_and_the_sev_1_count_of_the_board_are_those_of_the_events() {
    for db in databases() {
        let mut beta = Beta::start(&db, kruxt(), "2026-03-02T08:00:00Z").await;
        let users = the_pilot_opens_and_45_of_60_come_in(&mut beta).await;
        let mut events = two_weeks_and_the_first_gate(&mut beta, &users).await;
        // Week 4 after joining is days 28 to 34: a third of those who were active in week 0 come back.
        beta.at("2026-04-06T12:00:00Z");
        let back: Vec<Uuid> = users.iter().copied().step_by(3).collect();
        let mut more = busy_days(&back, 28..=34);
        more.extend(syncs(&users, 33, 970, 1000));
        beta.at("2026-04-07T12:00:00Z");
        send(&beta, &more.iter().filter(|event| event.day <= 36).cloned().collect::<Vec<_>>()).await;
        events.extend(more);
        // Short ones that start no run: two in the week of the review, one before it.
        for (name, from, to) in [
            ("old", "2026-04-02T09:00:00Z", "2026-04-02T09:10:00Z"),
            ("one", "2026-04-06T09:00:00Z", "2026-04-06T09:10:00Z"),
            ("two", "2026-04-07T09:00:00Z", "2026-04-07T09:10:00Z"),
        ] {
            sev1(&beta, name, from).await;
            let mut tx = beta.store.begin().await.unwrap();
            assert!(incidents::close(&mut tx, "kruxt", name, to.parse().unwrap()).await.unwrap());
            tx.commit().await.unwrap();
        }
        beta.at("2026-04-10T15:00:00Z");
        beta.pass().await;
        let data = beta.data.display().to_string();
        let board = ["board", "--program", "kruxt", "--format", "json", "--data", &data, "--database", &beta.url];
        let rows: Value =
            serde_json::from_str(&crate::support::Betagate::new(board).run().expect_code(0).stdout).unwrap();
        let row =
            rows.as_array().unwrap().iter().find(|row| row["Week Of"] == "2026-04-10").expect("a row of that Friday");
        let active_in = |days: std::ops::RangeInclusive<i64>| {
            let own = events
                .iter()
                .filter(|event| days.contains(&event.day) && !matches!(event.kind, "sync_job" | "staff_active"));
            own.map(|event| event.user).collect::<std::collections::BTreeSet<_>>()
        };
        let (week_0, week_4) = (active_in(0..=6), active_in(28..=34));
        let share = 100.0 * week_4.intersection(&week_0).count() as f64 / week_0.len() as f64;
        assert_eq!(row["W4 Retention"], json!(format!("{share:.1}%")), "{row}");
        assert_eq!(row["Sev-1 Count"], "2", "{row}");
        beta.store.close().await;
    }
}
