//! Invites from being made to being used: every refusal, every race, on both databases.
#![allow(clippy::unwrap_used, reason = "tests")]

use futures_util::future::join_all;
use jiff::{SignedDuration, Timestamp};

use super::super::freezes::{Freeze, freeze, unfreeze};
use super::super::testing::on_each;
use super::super::{people, sessions};
use super::*;
use crate::keys::Key;

pub(super) fn keys() -> Keys {
    let [invite, pseudonym, credential, token] = [1, 2, 3, 4].map(|byte| Key::new([byte; 32]));
    Keys { invite, pseudonym, credential, token }
}

pub(super) fn noon() -> Timestamp {
    "2026-03-02T12:00:00Z".parse().unwrap()
}

pub(super) fn later(hours: i64) -> Timestamp {
    noon().checked_add(SignedDuration::from_hours(hours)).unwrap()
}

fn state(open: bool, capacity: Option<i64>) -> CohortState {
    let (program, cohort) = ("kruxt".to_owned(), "pavia".to_owned());
    CohortState { program, cohort, open, capacity, addresses: Default::default(), list_digest: None, rows: 0 }
}

pub(super) async fn cohort(store: &Store, open: bool, capacity: Option<i64>) {
    let mut tx = store.begin().await.unwrap();
    set_cohort(&mut tx, &state(open, capacity), "controller", noon()).await.unwrap();
    tx.commit().await.unwrap();
}

fn new(email: &str) -> NewInvite<'_> {
    NewInvite {
        program: "kruxt",
        cohort: "pavia",
        email,
        label: "creator-pavia",
        role: "creator",
        invited_by: "",
        locale: "it",
        note: "",
        source: Origin::Admin,
    }
}

pub(super) async fn make(store: &Store, email: &str) -> Made {
    let mut tx = store.begin().await.unwrap();
    let made = create(&mut tx, &keys(), &new(email), "token/t", noon()).await.unwrap();
    tx.commit().await.unwrap();
    made
}

/// Invites someone and renders the message; the code that stands in it.
pub(super) async fn invited(store: &Store, email: &str) -> (Uuid, String) {
    let id = make(store, email).await.invite().id;
    let mut tx = store.begin().await.unwrap();
    let code = render(&mut tx, &keys(), id, later(24), noon()).await.unwrap().unwrap().code.reveal();
    tx.commit().await.unwrap();
    (id, code)
}

pub(super) async fn enter(store: &Store, code: &str, email: &str, at: Timestamp) -> Result<Redeemed, Refusal> {
    match redeem(store, &keys(), code, email, "hash", at).await {
        Ok(redeemed) => Ok(redeemed),
        Err(RedeemError::Refused(refusal)) => Err(refusal),
        Err(RedeemError::Store(error)) => panic!("{error}"),
    }
}

pub(super) async fn take_back(store: &Store, id: Uuid, end_membership: bool) -> Revoked {
    let mut tx = store.begin().await.unwrap();
    let how = Revocation { reason: "removed from cohort", actor: "token/t", end_membership };
    let outcome = revoke(&mut tx, id, how, noon()).await.unwrap();
    tx.commit().await.unwrap();
    outcome
}

pub(super) async fn state_of(store: &Store, id: Uuid) -> State {
    get(store, id).await.unwrap().unwrap().state
}

#[tokio::test]
async fn a_code_lets_its_own_person_in_once() {
    on_each(async |store| {
        cohort(&store, true, None).await;
        let (id, code) = invited(&store, "Ada@Example.com").await;
        assert_eq!(enter(&store, &code, "eve@example.com", noon()).await, Err(Refusal::Invalid));
        assert_eq!(enter(&store, "nonsense", "ada@example.com", noon()).await, Err(Refusal::Invalid));
        let redeemed = enter(&store, &code.to_lowercase(), " ADA@example.com", noon()).await.unwrap();
        assert_eq!((redeemed.invite_id, redeemed.cohort.as_str()), (id, "pavia"));
        assert_eq!(enter(&store, &code, "ada@example.com", noon()).await, Err(Refusal::Used));
        let invite = get(&store, id).await.unwrap().unwrap();
        assert_eq!((invite.state, invite.used_at, invite.used_by), (State::Used, Some(noon()), Some(redeemed.user_id)));
        assert_eq!(people::memberships(&store, redeemed.user_id).await.unwrap()[0].cohort, "pavia");
        let entries = store.all("SELECT action FROM audit_log ORDER BY seq", args![]).await.unwrap();
        let actions: Vec<String> = entries.iter().map(|row| row.get("action").unwrap()).collect();
        assert_eq!(actions, ["cohort.set", "invite.created", "invite.used"]);
        let all = store.all("SELECT CAST(detail AS text) AS detail, object FROM audit_log", args![]).await.unwrap();
        assert!(all.iter().all(|row| !row.get::<String>("detail").unwrap().contains('@')));
    })
    .await;
}

#[tokio::test]
async fn of_two_hundred_simultaneous_redemptions_one_succeeds() {
    on_each(async |store| {
        cohort(&store, true, Some(5)).await;
        let (_, code) = invited(&store, "ada@example.com").await;
        let tries = (0..200).map(|_| {
            let (store, code) = (store.clone(), code.clone());
            tokio::spawn(async move { enter(&store, &code, "ada@example.com", noon()).await })
        });
        let outcomes: Vec<_> = join_all(tries).await.into_iter().map(Result::unwrap).collect();
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
        assert!(outcomes.iter().all(|outcome| matches!(outcome, Ok(_) | Err(Refusal::Used))), "{outcomes:?}");
        assert_eq!(people::member_count(&store, "kruxt", "pavia").await.unwrap(), 1);
    })
    .await;
}

#[tokio::test]
async fn every_refusal_has_its_own_reason() {
    on_each(async |store| {
        cohort(&store, false, None).await;
        let (id, code) = invited(&store, "ada@example.com").await;
        assert_eq!(enter(&store, &code, "ada@example.com", noon()).await, Err(Refusal::CohortClosed));
        cohort(&store, true, None).await;
        assert_eq!(enter(&store, &code, "ada@example.com", later(24)).await, Err(Refusal::Expired));
        take_back(&store, id, false).await;
        assert_eq!(enter(&store, &code, "ada@example.com", noon()).await, Err(Refusal::Revoked));
        // Neither does registering without a code get round a revocation.
        let person =
            Registration { email: "ada@example.com", password_hash: "h", code: None, invites_required: &|_| false };
        let refused = register(&store, &keys(), person, noon()).await.unwrap_err();
        assert_eq!(refused, RedeemError::Refused(Refusal::AddressUnavailable));
        let refused_alike = refused;
        let refused =
            register(&store, &keys(), Registration { invites_required: &always_required, ..person }, noon()).await;
        assert_eq!(refused.unwrap_err(), RedeemError::Refused(Refusal::InviteRequired));
        let bob = Registration { email: "bob@example.com", ..person };
        assert!(register(&store, &keys(), bob, noon()).await.unwrap().redeemed.is_none());
        let again = register(&store, &keys(), bob, noon()).await.unwrap_err();
        assert_eq!(again, refused_alike, "one that was taken back and one that has an account");
        let (_, code) = invited(&store, "bob@example.com").await;
        assert_eq!(enter(&store, &code, "bob@example.com", noon()).await, Err(Refusal::AccountExists));
    })
    .await;
}

#[tokio::test]
async fn a_freeze_stops_redeeming_rendering_and_sending_and_costs_nobody_the_invite() {
    on_each(async |store| {
        cohort(&store, true, None).await;
        let (_, code) = invited(&store, "ada@example.com").await;
        make(&store, "bob@example.com").await;
        let mut tx = store.begin().await.unwrap();
        let held = Freeze {
            program: "kruxt".into(),
            cohort: String::new(),
            holder: "run/1".into(),
            reason: "Sev-1".into(),
            since: noon(),
        };
        freeze(&mut tx, &held).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(enter(&store, &code, "ada@example.com", noon()).await, Err(Refusal::Frozen));
        let mut tx = store.begin().await.unwrap();
        let pavia = ("kruxt", "pavia");
        assert!(take_to_render(&mut tx, &keys(), pavia, 10, later(24), noon()).await.unwrap().is_empty());
        unfreeze(&mut tx, "kruxt", "", "run/1").await.unwrap();
        tx.commit().await.unwrap();
        let mut tx = store.begin().await.unwrap();
        assert_eq!(take_to_render(&mut tx, &keys(), pavia, 10, later(24), noon()).await.unwrap().len(), 1);
        tx.commit().await.unwrap();
        assert!(enter(&store, &code, "ada@example.com", noon()).await.is_ok());
    })
    .await;
}

#[tokio::test]
async fn an_invite_goes_from_pending_to_sent_to_opened_to_used_and_the_funnel_counts_it() {
    on_each(async |store| {
        cohort(&store, true, None).await;
        let (id, code) = invited(&store, "ada@example.com").await;
        make(&store, "bob@example.com").await;
        let mut tx = store.begin().await.unwrap();
        assert!(!mark_sent(&mut tx, id, 7, noon()).await.unwrap());
        assert!(mark_sent(&mut tx, id, 1, noon()).await.unwrap());
        assert!(mark_opened(&mut tx, &code, noon()).await.unwrap());
        assert!(!mark_opened(&mut tx, &code, noon()).await.unwrap());
        tx.commit().await.unwrap();
        assert_eq!(state_of(&store, id).await, State::Opened);
        enter(&store, &code, "ada@example.com", noon()).await.unwrap();
        let counted = funnels(&store, "kruxt", "pavia", 0).await.unwrap();
        let wanted = Funnel {
            invited: 2,
            rendered: 1,
            sent: 1,
            opened: 1,
            used: 1,
            opened_of_sent: 1,
            used_of_sent: 1,
            pending: 1,
            ..Funnel::default()
        };
        assert_eq!(counted.total, wanted);
    })
    .await;
}

#[tokio::test]
async fn resending_extends_the_invite_and_ends_the_older_code() {
    on_each(async |store| {
        cohort(&store, true, None).await;
        let (id, old) = invited(&store, "ada@example.com").await;
        let mut tx = store.begin().await.unwrap();
        assert_eq!(expire_due(&mut tx, later(24), 100).await.unwrap(), 1);
        let again = resend(&mut tx, id, later(100), "token/t", later(25)).await.unwrap();
        assert_eq!((again.generation, again.state), (2, State::Pending));
        let rendered = render(&mut tx, &keys(), id, later(30), later(25)).await.unwrap().unwrap();
        tx.commit().await.unwrap();
        assert_eq!(enter(&store, &old, "ada@example.com", later(26)).await, Err(Refusal::Invalid));
        assert!(enter(&store, &rendered.code.reveal(), "ada@example.com", later(99)).await.is_ok());
        let mut tx = store.begin().await.unwrap();
        let settled = resend(&mut tx, id, later(100), "token/t", later(25)).await.unwrap_err();
        assert_eq!(settled, InviteError::Settled(State::Used));
    })
    .await;
}

#[tokio::test]
async fn the_waiting_list_moves_up_in_order_when_a_seat_is_free() {
    on_each(async |store| {
        cohort(&store, true, Some(2)).await;
        let mut ids = Vec::new();
        for email in ["a@example.com", "b@example.com", "c@example.com", "d@example.com", "e@example.com"] {
            ids.push(make(&store, email).await.invite().id);
        }
        assert_eq!(state_of(&store, ids[2]).await, State::Waiting);
        take_back(&store, ids[0], false).await;
        assert_eq!((state_of(&store, ids[2]).await, state_of(&store, ids[3]).await), (State::Pending, State::Waiting));
        cohort(&store, true, Some(3)).await;
        assert_eq!((state_of(&store, ids[3]).await, state_of(&store, ids[4]).await), (State::Pending, State::Waiting));
        cohort(&store, true, None).await;
        assert_eq!(state_of(&store, ids[4]).await, State::Pending);
    })
    .await;
}

#[tokio::test]
async fn capacity_holds_when_everyone_comes_at_once() {
    on_each(async |store| {
        cohort(&store, true, None).await;
        let mut codes = Vec::new();
        for n in 0..20 {
            let email = format!("t{n}@example.com");
            codes.push((invited(&store, &email).await.1, email));
        }
        cohort(&store, true, Some(7)).await;
        let tries = codes.into_iter().map(|(code, email)| {
            let store = store.clone();
            tokio::spawn(async move { enter(&store, &code, &email, noon()).await })
        });
        let outcomes: Vec<_> = join_all(tries).await.into_iter().map(Result::unwrap).collect();
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 7);
        assert!(outcomes.iter().all(|outcome| matches!(outcome, Ok(_) | Err(Refusal::Full))));
    })
    .await;
}

#[tokio::test]
async fn revoking_a_member_ends_membership_and_sessions_only_when_asked() {
    on_each(async |store| {
        cohort(&store, true, None).await;
        let (id, code) = invited(&store, "ada@example.com").await;
        let user_id = enter(&store, &code, "ada@example.com", noon()).await.unwrap().user_id;
        let mut tx = store.begin().await.unwrap();
        let tokens = sessions::start(&mut tx, user_id, Default::default(), noon()).await.unwrap();
        tx.commit().await.unwrap();
        let access = secrecy::ExposeSecret::expose_secret(&tokens.access).to_owned();
        assert_eq!(take_back(&store, id, false).await, Revoked::StaysIn);
        assert!(sessions::authenticate(&store, &access, noon()).await.unwrap().is_some());
        let mut tx = store.begin().await.unwrap();
        let how = Revocation { reason: "left", actor: "token/t", end_membership: true };
        let outcomes = revoke_address(&mut tx, None, "ADA@example.com", how, noon()).await.unwrap();
        assert_eq!(outcomes, [(id, Revoked::Member)]);
        tx.commit().await.unwrap();
        assert!(sessions::authenticate(&store, &access, noon()).await.unwrap().is_none());
        assert!(people::memberships(&store, user_id).await.unwrap().is_empty());
        // Invited again, the person comes back with the same account and a new code.
        assert!(matches!(make(&store, "ada@example.com").await, Made::Again(_)));
        let (_, fresh) = invited(&store, "ada@example.com").await;
        assert_ne!(fresh, code);
        let mut tx = store.begin().await.unwrap();
        assert_eq!(join(&mut tx, &keys(), &fresh, user_id, noon()).await.unwrap().user_id, user_id);
    })
    .await;
}

#[tokio::test]
async fn invites_are_listed_by_page_and_filter() {
    on_each(async |store| {
        cohort(&store, true, None).await;
        let mut ids = Vec::new();
        for n in 0..5 {
            ids.push(make(&store, &format!("t{n}@example.com")).await.invite().id);
        }
        take_back(&store, ids[1], false).await;
        let filter = Filter { program: Some("kruxt".into()), active_only: true, limit: 2, ..Filter::default() };
        let first: Vec<Uuid> = list(&store, &filter).await.unwrap().iter().map(|invite| invite.id).collect();
        assert_eq!(first, [ids[0], ids[2]]);
        let next = Filter { after: Some(first[1]), limit: 10, ..filter };
        assert_eq!(list(&store, &next).await.unwrap().len(), 2);
        let one = Filter { email: Some("T3@Example.com".into()), limit: 10, ..Filter::default() };
        assert_eq!(list(&store, &one).await.unwrap()[0].id, ids[3]);
        let revoked = Filter { state: Some(State::Revoked), limit: 10, ..Filter::default() };
        assert_eq!(list(&store, &revoked).await.unwrap()[0].id, ids[1]);
        assert!(matches!(make(&store, "T3@example.com").await, Made::Already(_)));
    })
    .await;
}

#[tokio::test]
async fn an_invite_that_waits_and_is_sent_again_runs_out_only_once_it_has_a_seat() {
    on_each(async |store| {
        cohort(&store, true, Some(1)).await;
        let (first, _) = invited(&store, "a@example.com").await;
        let waits = make(&store, "b@example.com").await.invite().id;
        let mut tx = store.begin().await.unwrap();
        let again = resend(&mut tx, waits, later(1), "token/t", noon()).await.unwrap();
        assert_eq!((again.state, again.expires_at), (State::Waiting, None));
        tx.commit().await.unwrap();
        // Long after: the seat is free, and the message still has to be written.
        take_back(&store, first, false).await;
        let mut tx = store.begin().await.unwrap();
        assert_eq!(expire_due(&mut tx, later(48), 100).await.unwrap(), 0);
        tx.commit().await.unwrap();
        assert_eq!(state_of(&store, waits).await, State::Pending);
        let mut tx = store.begin().await.unwrap();
        let (place, until) = (("kruxt", "pavia"), later(72));
        let due = take_to_render(&mut tx, &keys(), place, 10, until, later(48)).await.unwrap();
        assert_eq!(due.iter().map(|due| due.invite.id).collect::<Vec<_>>(), [waits]);
    })
    .await;
}

#[tokio::test]
async fn someone_who_was_erased_is_named_nowhere_and_not_invited_again() {
    on_each(async |store| {
        cohort(&store, true, None).await;
        let (id, code) = invited(&store, "ada@example.com").await;
        let user_id = enter(&store, &code, "ada@example.com", noon()).await.unwrap().user_id;
        let mut tx = store.begin().await.unwrap();
        assert!(people::erase(&mut tx, &keys(), user_id, "asked", "token/t", noon()).await.unwrap());
        assert!(!people::erase(&mut tx, &keys(), user_id, "asked", "token/t", noon()).await.unwrap());
        tx.commit().await.unwrap();
        for table in ["users", "cohort_members", "beta_invites"] {
            let sql = format!("SELECT email_norm FROM {table}");
            let left: String = store.one(&sql, args![]).await.unwrap().get("email_norm").unwrap();
            assert!(left.starts_with("erased:"), "{table}");
        }
        let invite = get(&store, id).await.unwrap().unwrap();
        assert_eq!((invite.state, invite.email), (State::Used, None));
        assert!(people::by_email(&store, "ada@example.com").await.unwrap().is_none());
        let mut tx = store.begin().await.unwrap();
        let refused = create(&mut tx, &keys(), &new("Ada@example.com"), "token/t", noon()).await.unwrap_err();
        assert_eq!(refused, InviteError::Erased);
    })
    .await;
}

#[tokio::test]
async fn unused_invites_are_taken_back_together() {
    on_each(async |store| {
        cohort(&store, true, Some(2)).await;
        let (used, code) = invited(&store, "a@example.com").await;
        enter(&store, &code, "a@example.com", noon()).await.unwrap();
        make(&store, "b@example.com").await;
        make(&store, "c@example.com").await;
        let mut tx = store.begin().await.unwrap();
        let how = Revocation { reason: "rollback", actor: "controller", end_membership: false };
        assert_eq!(revoke_unused(&mut tx, "kruxt", None, how, noon()).await.unwrap(), 2);
        tx.commit().await.unwrap();
        assert_eq!(state_of(&store, used).await, State::Used);
        let mut tx = store.begin().await.unwrap();
        assert!(open_invites(&mut tx, "b@example.com", noon()).await.unwrap().is_empty());
    })
    .await;
}
