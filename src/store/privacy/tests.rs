//! The flow of a request, its badge, the breaches and the figures.
#![allow(clippy::unwrap_used, reason = "tests")]

use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::{Badge, NewRequest, PrivacyError, Request, RequestKind, RequestState};
use crate::args;
use crate::core::cohort::AddressRules;
use crate::keys::{Key, Keys};
use crate::store::invites::{self, CohortState, NewInvite, Origin};
use crate::store::testing::on_each;
use crate::store::{Store, audit, events, people};

fn keys() -> Keys {
    let [invite, pseudonym, credential, token] = [1, 2, 3, 4].map(|byte| Key::new([byte; 32]));
    Keys { invite, pseudonym, credential, token }
}

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
    let request = super::submit(&mut tx, &new, "person/x", at).await.unwrap();
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
        let early = super::fulfil(&mut tx, &keys(), request.id, "ops", start()).await.unwrap_err();
        let to = RequestState::Fulfilled;
        assert_eq!(early, PrivacyError::WrongState { from: RequestState::Submitted, to });
        super::triage(&mut tx, request.id, "ops", start() + days(1)).await.unwrap();
        let done = super::fulfil(&mut tx, &keys(), request.id, "ops", start() + days(2)).await.unwrap();
        assert_eq!((done.state, done.contact.as_deref(), done.note.as_str()), (RequestState::Fulfilled, None, ""));
        assert!(super::triage(&mut tx, request.id, "ops", start()).await.is_err());
        let unknown = Uuid::now_v7();
        let error = super::triage(&mut tx, unknown, "ops", start()).await.unwrap_err();
        assert_eq!(error, PrivacyError::Unknown(unknown));
        tx.commit().await.unwrap();
        assert_eq!(super::get(&store, request.id).await.unwrap().unwrap(), done);
        let next = submit(&store, user, "g", RequestKind::Erase, start() + days(3)).await;
        assert_ne!(next.id, request.id);
        assert_eq!(super::of_person(&store, user).await.unwrap().len(), 2);
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
        assert!(super::submit(&mut tx, &nobody, "person/x", start()).await.is_err());
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
        let late = super::fulfil(&mut tx, &keys(), old.id, "ops", start() + days(33)).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(late.badge(start() + days(40)), Badge::ClosedLate);
        let figures = super::metrics(&store, "p", start() + days(60)).await.unwrap();
        assert_eq!(figures.len(), 2);
        assert_eq!((figures[0].gym_id.as_str(), figures[0].fulfilled, figures[0].closed_late), ("g1", 1, 1));
        assert_eq!((figures[1].gym_id.as_str(), figures[1].open, figures[1].breached), ("g2", 1, 1));
    })
    .await;
}

/// A cohort, with the rules by which it compares addresses.
async fn cohort(store: &Store, name: &str, ignore_plus: bool) {
    let state = CohortState {
        program: "p".into(),
        cohort: name.into(),
        open: true,
        capacity: None,
        addresses: AddressRules { ignore_dots: false, ignore_plus },
        list_digest: None,
        rows: 0,
    };
    let mut tx = store.begin().await.unwrap();
    invites::set_cohort(&mut tx, &state, "controller", start()).await.unwrap();
    tx.commit().await.unwrap();
}

async fn invite(store: &Store, cohort: &str, email: &str) -> Result<Uuid, invites::InviteError> {
    let new = NewInvite {
        program: "p",
        cohort,
        email,
        label: "creator-p",
        role: "",
        invited_by: "host@example.org",
        locale: "",
        note: "met at the gym",
        source: Origin::Admin,
    };
    let mut tx = store.begin().await.unwrap();
    let made = invites::create(&mut tx, &keys(), &new, "token/t", start()).await?;
    tx.commit().await.unwrap();
    Ok(made.invite().id)
}

/// Someone who came in with an invite to `plain`, did something, and has an unused invite to `plusless`.
async fn ann(store: &Store) -> Uuid {
    cohort(store, "plain", false).await;
    cohort(store, "plusless", true).await;
    let id = invite(store, "plain", "Ann+Gym@example.com").await.unwrap();
    invite(store, "plusless", "ann@example.com").await.unwrap();
    let mut tx = store.begin().await.unwrap();
    let until = start() + days(7);
    let code = invites::render(&mut tx, &keys(), id, until, start()).await.unwrap().unwrap().code.reveal();
    tx.commit().await.unwrap();
    let user = invites::redeem(store, &keys(), &code, "Ann+Gym@example.com", "hash", start()).await.unwrap().user_id;
    let did = serde_json::json!({ "id": Uuid::now_v7(), "user_id": user, "kind": "comment", "occurred_at": start() });
    let mut tx = store.begin().await.unwrap();
    let did = vec![serde_json::from_value(did).unwrap()];
    events::ingest(&mut tx, "p", &jiff::tz::TimeZone::UTC, start(), did).await.unwrap();
    tx.commit().await.unwrap();
    user
}

async fn fulfilled(store: &Store, user: Uuid, kind: RequestKind) -> Request {
    let request = submit(store, user, "g", kind, start()).await;
    let mut tx = store.begin().await.unwrap();
    super::triage(&mut tx, request.id, "ops", start()).await.unwrap();
    let done = super::fulfil(&mut tx, &keys(), request.id, "ops", start()).await.unwrap();
    tx.commit().await.unwrap();
    done
}

#[tokio::test]
async fn a_fulfilled_export_holds_what_is_kept_of_the_person_until_it_is_old() {
    on_each(async |store| {
        let user = ann(&store).await;
        let copy = fulfilled(&store, user, RequestKind::Export).await.result.unwrap();
        assert_eq!(copy["account"]["email"], "Ann+Gym@example.com");
        assert_eq!(copy["memberships"][0]["cohort"], "plain");
        assert_eq!(copy["invites"].as_array().unwrap().len(), 2, "also the one in the other cohort's spelling: {copy}");
        assert_eq!(
            (copy["events"][0]["kind"].as_str(), copy["events"][0]["program"].as_str()),
            (Some("comment"), Some("p"))
        );
        assert_eq!(copy["requests"][0]["note"], "please");
        assert!(!copy.to_string().contains("host@example.org"), "another person's address");
        let old = start() + days(31) - super::KEPT_FOR;
        assert_eq!(super::forget_copies(&store, start()).await.unwrap(), 0);
        assert_eq!(super::forget_copies(&store, old).await.unwrap(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_fulfilled_erasure_erases_the_person_in_every_spelling_and_nobody_else() {
    on_each(async |store| {
        let user = ann(&store).await;
        // Where what follows a + counts this is another person.
        let other = invite(&store, "plain", "ann@example.com").await.unwrap();
        let copy = fulfilled(&store, user, RequestKind::Export).await;
        fulfilled(&store, user, RequestKind::Erase).await;
        assert!(people::by_email(&store, "ann+gym@example.com").await.unwrap().is_none());
        let mut tx = store.begin().await.unwrap();
        assert!(events::of_person(&mut tx, user).await.unwrap().is_empty());
        drop(tx);
        assert_eq!(super::get(&store, copy.id).await.unwrap().unwrap().result, None, "the copy of before went too");
        let left = store.all("SELECT id, email FROM beta_invites WHERE email IS NOT NULL", args![]).await.unwrap();
        assert_eq!(left.iter().map(|row| row.get::<Uuid>("id").unwrap()).collect::<Vec<_>>(), [other]);
        for (cohort, email) in [("plain", "ann+gym@example.com"), ("plusless", "ann+again@example.com")] {
            assert_eq!(invite(&store, cohort, email).await.unwrap_err(), invites::InviteError::Erased, "{cohort}");
        }
    })
    .await;
}

#[tokio::test]
async fn every_decision_about_a_request_is_an_audit_entry_without_an_address() {
    on_each(async |store| {
        let user = ann(&store).await;
        let erased = fulfilled(&store, user, RequestKind::Erase).await;
        let other = submit(&store, Uuid::now_v7(), "g", RequestKind::Export, start()).await;
        let mut tx = store.begin().await.unwrap();
        super::triage(&mut tx, other.id, "ops", start()).await.unwrap();
        super::reject(&mut tx, other.id, "ops", "ann+gym@example.com asked twice", start()).await.unwrap();
        tx.commit().await.unwrap();
        let of = async |id: Uuid| {
            let object = Some(format!("privacy-request/{id}"));
            let kept = audit::list(&store, &audit::Filter { object, ..Default::default() }).await.unwrap();
            kept.into_iter().rev().map(|kept| (kept.entry.actor, kept.entry.action)).collect::<Vec<_>>()
        };
        let said = |all: [(&str, &str); 3]| all.map(|(by, what)| (by.to_owned(), what.to_owned()));
        let done = [("person/x", "privacy.submitted"), ("ops", "privacy.triaged"), ("ops", "privacy.fulfilled")];
        assert_eq!(of(erased.id).await, said(done));
        let done = [("person/x", "privacy.submitted"), ("ops", "privacy.triaged"), ("ops", "privacy.rejected")];
        assert_eq!(of(other.id).await, said(done));
        let all = audit::list(&store, &audit::Filter { limit: Some(1000), ..Default::default() }).await.unwrap();
        assert!(all.iter().all(|kept| !format!("{kept:?}").contains('@')), "{all:?}");
    })
    .await;
}
