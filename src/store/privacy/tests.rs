//! The flow of a request, its badge, the breaches and the figures.
#![allow(clippy::unwrap_used, reason = "tests")]

use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::{Badge, NewRequest, PrivacyError, Request, RequestKind, RequestState};
use crate::store::Store;
use crate::store::testing::on_each;

fn start() -> Timestamp {
    "2026-03-02T09:00:00Z".parse().unwrap()
}

fn days(n: i64) -> SignedDuration {
    SignedDuration::from_hours(24 * n)
}

async fn submit(store: &Store, user: Uuid, gym: &str, kind: RequestKind, at: Timestamp) -> Request {
    let new = NewRequest {
        program: "p".into(),
        user_id: Some(user),
        contact: Some("someone@example.com".into()),
        gym_id: Some(gym.into()),
        kind,
        note: "please".into(),
    };
    let mut tx = store.begin().await.unwrap();
    let request = super::submit(&mut tx, &new, at).await.unwrap();
    tx.commit().await.unwrap();
    request
}

#[tokio::test]
async fn a_request_is_submitted_triaged_and_fulfilled_in_this_order() {
    on_each(async |store| {
        let user = Uuid::now_v7();
        let request = submit(&store, user, "g", RequestKind::Erase, start()).await;
        let again = submit(&store, user, "g", RequestKind::Erase, start() + days(1)).await;
        assert_eq!(again.id, request.id, "one open request of a kind a person");
        let mut tx = store.begin().await.unwrap();
        let early = super::fulfil(&mut tx, request.id, "ops", None, start()).await.unwrap_err();
        let to = RequestState::Fulfilled;
        assert_eq!(early, PrivacyError::WrongState { from: RequestState::Submitted, to });
        super::triage(&mut tx, request.id, "ops", start() + days(1)).await.unwrap();
        let done = super::fulfil(&mut tx, request.id, "ops", None, start() + days(2)).await.unwrap();
        assert_eq!((done.state, done.contact.as_deref(), done.note.as_str()), (RequestState::Fulfilled, None, ""));
        assert!(super::triage(&mut tx, request.id, "ops", start()).await.is_err());
        let unknown = Uuid::now_v7();
        let error = super::triage(&mut tx, unknown, "ops", start()).await.unwrap_err();
        assert_eq!(error, PrivacyError::Unknown(unknown));
        tx.commit().await.unwrap();
        assert_eq!(super::get(&store, request.id).await.unwrap().unwrap(), done);
        let next = submit(&store, user, "g", RequestKind::Erase, start() + days(3)).await;
        assert_ne!(next.id, request.id);
        assert_eq!(super::of_person(&store, "p", user).await.unwrap().len(), 2);
    })
    .await;
}

#[tokio::test]
async fn a_rejection_needs_a_reason_and_a_request_someone_to_answer() {
    on_each(async |store| {
        let request = submit(&store, Uuid::now_v7(), "g", RequestKind::Export, start()).await;
        let mut tx = store.begin().await.unwrap();
        super::triage(&mut tx, request.id, "ops", start()).await.unwrap();
        assert!(super::reject(&mut tx, request.id, "ops", "  ", start()).await.is_err());
        let rejected = super::reject(&mut tx, request.id, "ops", "not this person's data", start()).await.unwrap();
        assert_eq!(rejected.state, RequestState::Rejected);
        let nobody = NewRequest {
            program: "p".into(),
            user_id: None,
            contact: None,
            gym_id: None,
            kind: RequestKind::Export,
            note: String::new(),
        };
        assert!(super::submit(&mut tx, &nobody, start()).await.is_err());
    })
    .await;
}

#[tokio::test]
async fn badges_breaches_and_figures_follow_the_clock() {
    on_each(async |store| {
        let old = submit(&store, Uuid::now_v7(), "g1", RequestKind::Export, start()).await;
        let young = submit(&store, Uuid::now_v7(), "g2", RequestKind::Erase, start() + days(20)).await;
        for (day, badge) in [(0, Badge::Ok), (24, Badge::DueSoon), (30, Badge::DueSoon), (31, Badge::Breached)] {
            assert_eq!(old.badge(start() + days(day)), badge, "day {day}");
        }
        for (day, count) in [(36, 0), (37, 0), (38, 1), (60, 2)] {
            assert_eq!(super::breaches(&store, "p", days(7), start() + days(day)).await.unwrap(), count, "day {day}");
        }
        let queue = super::queue(&store, "p", 10).await.unwrap();
        assert_eq!(queue.iter().map(|r| r.id).collect::<Vec<_>>(), [old.id, young.id]);
        let mut tx = store.begin().await.unwrap();
        super::triage(&mut tx, old.id, "ops", start()).await.unwrap();
        let late = super::fulfil(&mut tx, old.id, "ops", None, start() + days(33)).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(late.badge(start() + days(40)), Badge::ClosedLate);
        let figures = super::metrics(&store, "p", start() + days(60)).await.unwrap();
        assert_eq!(figures.len(), 2);
        assert_eq!((figures[0].gym_id.as_str(), figures[0].fulfilled, figures[0].closed_late), ("g1", 1, 1));
        assert_eq!((figures[1].gym_id.as_str(), figures[1].open, figures[1].breached), ("g2", 1, 1));
    })
    .await;
}
