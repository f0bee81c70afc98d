//! Ingest: once by id, on the day of the program's zone, all or nothing.
#![allow(clippy::unwrap_used, reason = "tests")]

use jiff::Timestamp;
use jiff::tz::TimeZone;
use uuid::Uuid;

use super::{Event, EventKind, IngestError, Ingested, Staff, day_of, ingest};
use crate::args;
use crate::store::Store;
use crate::store::testing::on_each;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn event(user_id: Uuid, kind: EventKind, occurred_at: &str) -> Event {
    let ok = (kind == EventKind::SyncJob).then_some(true);
    Event {
        id: Uuid::now_v7(),
        user_id,
        gym_id: None,
        kind,
        occurred_at: at(occurred_at),
        ok,
        connected: None,
        data: None,
    }
}

async fn take(store: &Store, events: Vec<Event>) -> Result<Ingested, IngestError> {
    let zone = TimeZone::get("Europe/Rome").unwrap();
    let mut tx = store.begin().await.unwrap();
    let done = ingest(&mut tx, "p", &zone, at("2026-03-20T12:00:00Z"), events).await?;
    tx.commit().await.unwrap();
    Ok(done)
}

#[tokio::test]
async fn the_same_event_counts_once_however_often_it_comes() {
    on_each(async |store| {
        let user = Uuid::now_v7();
        let one = event(user, EventKind::WorkoutLogged, "2026-03-03T10:00:00Z");
        let two = event(user, EventKind::WorkoutLogged, "2026-03-03T11:00:00Z");
        let first = take(&store, vec![one.clone(), one.clone(), two.clone()]).await.unwrap();
        assert_eq!(first, Ingested { accepted: 2, duplicates: 1 });
        let again = take(&store, vec![two, one]).await.unwrap();
        assert_eq!(again, Ingested { accepted: 0, duplicates: 2 });
        let row = store.one("SELECT logs, active FROM person_days", args![]).await.unwrap();
        assert_eq!((row.get::<i64>("logs").unwrap(), row.get::<i64>("active").unwrap()), (2, 2));
    })
    .await;
}

#[tokio::test]
async fn two_senders_of_the_same_events_at_the_same_time_count_them_once() {
    on_each(async |store| {
        let users: Vec<Uuid> = (0..5).map(|_| Uuid::now_v7()).collect();
        let events: Vec<Event> =
            (0..300).map(|n| event(users[n % 5], EventKind::Reaction, "2026-03-03T10:00:00Z")).collect();
        let reversed: Vec<Event> = events.iter().rev().cloned().collect();
        let (a, b) = tokio::join!(take(&store, events), take(&store, reversed));
        assert_eq!(a.unwrap().accepted + b.unwrap().accepted, 300);
        let row = store.one("SELECT CAST(SUM(reactions) AS bigint) AS n FROM person_days", args![]).await.unwrap();
        assert_eq!(row.get::<i64>("n").unwrap(), 300);
    })
    .await;
}

#[tokio::test]
async fn a_late_event_lands_on_the_day_it_occurred_in_the_program_s_zone() {
    on_each(async |store| {
        let user = Uuid::now_v7();
        take(&store, vec![event(user, EventKind::Comment, "2026-03-18T10:00:00Z")]).await.unwrap();
        // The evening in London is the next day in Rome.
        take(&store, vec![event(user, EventKind::Comment, "2026-03-02T23:15:00Z")]).await.unwrap();
        let rows = store.all("SELECT day FROM person_days ORDER BY day", args![]).await.unwrap();
        let days: Vec<i64> = rows.iter().map(|row| row.get("day").unwrap()).collect();
        assert_eq!(
            days,
            [day_of(at("2026-03-03T12:00:00Z"), &TimeZone::UTC), day_of(at("2026-03-18T12:00:00Z"), &TimeZone::UTC)]
        );
    })
    .await;
}

#[tokio::test]
async fn one_bad_event_names_itself_and_nothing_of_its_batch_is_kept() {
    on_each(async |store| {
        let user = Uuid::now_v7();
        let good = event(user, EventKind::CheckIn, "2026-03-03T10:00:00Z");
        let future = event(user, EventKind::CheckIn, "2026-03-22T10:00:00Z");
        let error = take(&store, vec![good.clone(), future]).await.unwrap_err();
        assert_eq!(error.to_string(), "event 1: occurred_at is more than a day in the future");
        let mut job = event(user, EventKind::SyncJob, "2026-03-03T10:00:00Z");
        job.ok = None;
        assert!(take(&store, vec![good.clone(), job]).await.is_err());
        let mut odd = good.clone();
        odd.ok = Some(true);
        assert!(take(&store, vec![good, odd]).await.is_err());
        let staff = event(user, EventKind::StaffActive, "2026-03-03T10:00:00Z");
        assert!(take(&store, vec![staff]).await.is_err());
        assert!(store.all("SELECT id FROM product_events", args![]).await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test]
async fn jobs_of_unconnected_users_are_kept_apart() {
    on_each(async |store| {
        let user = Uuid::now_v7();
        let job = |ok, connected| {
            let mut job = event(user, EventKind::SyncJob, "2026-03-03T10:00:00Z");
            (job.ok, job.connected) = (Some(ok), connected);
            job
        };
        let jobs = vec![job(true, None), job(false, Some(true)), job(false, Some(false)), job(true, Some(false))];
        take(&store, jobs).await.unwrap();
        let row = store.one("SELECT ok, total, unconnected FROM sync_days", args![]).await.unwrap();
        let counts = ["ok", "total", "unconnected"].map(|name| row.get::<i64>(name).unwrap());
        assert_eq!(counts, [1, 2, 2]);
        assert!(store.all("SELECT day FROM person_days", args![]).await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test]
async fn erasing_a_person_takes_the_events_and_leaves_the_counts() {
    on_each(async |store| {
        let user = Uuid::now_v7();
        take(&store, vec![event(user, EventKind::Comment, "2026-03-18T10:00:00Z")]).await.unwrap();
        let mut tx = store.begin().await.unwrap();
        assert_eq!(super::of_person(&mut tx, user).await.unwrap().len(), 1);
        assert_eq!(super::erase_person(&mut tx, user).await.unwrap(), 1);
        assert!(super::of_person(&mut tx, user).await.unwrap().is_empty());
        tx.commit().await.unwrap();
        assert_eq!(store.all("SELECT day FROM person_days", args![]).await.unwrap().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn the_roster_is_kept_by_gym_and_person() {
    on_each(async |store| {
        let mut one =
            Staff { gym_id: "g".into(), user_id: Uuid::now_v7(), cohort: String::new(), since_day: 5, until_day: None };
        for until in [None, Some(9)] {
            one.until_day = until;
            let mut tx = store.begin().await.unwrap();
            super::put_staff(&mut tx, "p", std::slice::from_ref(&one)).await.unwrap();
            tx.commit().await.unwrap();
        }
        assert_eq!(super::staff(&store, "p").await.unwrap(), [one]);
    })
    .await;
}

#[test]
fn an_event_is_read_as_it_is_sent() {
    let text = r#"{"id":"0198c0de-0000-7000-8000-000000000001","user_id":"0198c0de-0000-7000-8000-000000000002",
        "kind":"sync_job","occurred_at":"2026-03-02T08:00:00Z","ok":false}"#;
    let event: Event = serde_json::from_str(text).unwrap();
    assert_eq!((event.kind, event.ok, event.connected), (EventKind::SyncJob, Some(false), None));
    assert!(serde_json::from_str::<Event>(&text.replace("\"ok\"", "\"okay\"")).is_err());
    assert!("login".parse::<EventKind>().unwrap_err().contains("workout_logged"));
    for (name, kind) in EventKind::ALL {
        assert_eq!(serde_json::to_value(kind).unwrap(), name);
    }
}
