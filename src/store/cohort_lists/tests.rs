//! Lists brought in, changed, taken back; and how long a million rows take.
#![allow(clippy::unwrap_used, reason = "tests")]

use jiff::{SignedDuration, Timestamp};

use super::super::Store;
use super::super::invites::{self, Filter, Invite, NewInvite, Origin, Revocation, State};
use super::super::{people, testing::on_each};
use super::*;
use crate::args;
use crate::core::cohort::ListOptions;
use crate::keys::{Key, Keys};

const WRITER: Writer<'static> = Writer { actor: "controller", epoch: None };

fn keys() -> Keys {
    let [invite, pseudonym, credential, token] = [1, 2, 3, 4].map(|byte| Key::new([byte; 32]));
    Keys { invite, pseudonym, credential, token }
}

fn noon() -> Timestamp {
    "2026-03-02T12:00:00Z".parse().unwrap()
}

fn pavia(text: &str) -> CohortList {
    let source = ListSource::Bytes(text.as_bytes().into());
    CohortList { program: "kruxt".into(), cohort: "pavia".into(), source }
}

async fn look(store: &Store, text: &str) -> Prepared {
    prepare(store, &keys(), &pavia(text), &ListOptions::default()).await.unwrap()
}

async fn bring(store: &Store, text: &str) -> (ListDelta, Brought) {
    let prepared = look(store, text).await;
    let brought = bring_in(store, &keys(), &pavia(text), &prepared, WRITER, noon()).await.unwrap();
    (prepared.delta, brought)
}

async fn rows(store: &Store) -> Vec<Invite> {
    invites::list(store, &Filter { limit: 1000, ..Filter::default() }).await.unwrap()
}

async fn of(store: &Store, email: &str) -> Invite {
    let filter = Filter { email: Some(email.into()), limit: 1, ..Filter::default() };
    invites::list(store, &filter).await.unwrap().remove(0)
}

async fn open(store: &Store, capacity: Option<i64>) {
    let (program, cohort) = ("kruxt".into(), "pavia".into());
    let wanted = invites::CohortState {
        program,
        cohort,
        open: true,
        capacity,
        addresses: Default::default(),
        list_digest: None,
        rows: 0,
    };
    let mut tx = store.begin().await.unwrap();
    invites::set_cohort(&mut tx, &wanted, "controller", noon()).await.unwrap();
    tx.commit().await.unwrap();
}

async fn enter(store: &Store, email: &str) {
    let later = noon().checked_add(SignedDuration::from_hours(1)).unwrap();
    let mut tx = store.begin().await.unwrap();
    let code = invites::render(&mut tx, &keys(), of(store, email).await.id, later, noon()).await.unwrap().unwrap().code;
    tx.commit().await.unwrap();
    invites::redeem(store, &keys(), &code.reveal(), email, "hash", noon()).await.unwrap();
}

#[tokio::test]
async fn a_list_becomes_rows_and_the_same_list_again_does_nothing() {
    on_each(async |store| {
        let text = "email,label,locale\nAda@Example.com,creator-pavia,it\nbob@example.com,listener-pavia,\n";
        let (delta, brought) = bring(&store, text).await;
        assert_eq!((delta.added, delta.removed, delta.rows_before, delta.first.len()), (2, 0, 0, 2));
        assert_eq!(brought.added, 2);
        let found = rows(&store).await;
        assert_eq!((found[0].email.as_deref(), found[0].role.as_str()), (Some("Ada@Example.com"), "creator"));
        assert_eq!(
            (found[0].state, found[0].locale.as_str(), found[0].source.as_str()),
            (State::Pending, "it", "list")
        );
        assert_eq!(found[0].created_at, noon());
        let (again, nothing) = bring(&store, text).await;
        assert!(again.is_empty() && again.from == Some(again.to.clone()) && nothing == Brought::default());
        let entries = store.all("SELECT seq FROM audit_log", args![]).await.unwrap();
        assert_eq!(entries.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_changed_list_adds_revokes_and_rewords_and_leaves_everyone_else_alone() {
    on_each(async |store| {
        let before: Vec<String> = (0..300).map(|n| format!("t{n}@example.com,listener-{n}")).collect();
        bring(&store, &before.join("\n")).await;
        let mut after = before.clone();
        after[5] = "t5@example.com,creator-5".to_owned();
        after.remove(7);
        after.push("new@example.com,listener-x".to_owned());
        let prepared = look(&store, &after.join("\n")).await;
        let delta = &prepared.delta;
        assert_eq!((delta.added, delta.changed, delta.removed, delta.removed_members), (1, 1, 1, 0));
        assert!((delta.share_removed() - 1.0 / 300.0).abs() < 1e-9);
        let shown: Vec<_> = delta.first.iter().map(|one| (one.change, one.email.as_str())).collect();
        let wanted = [
            (Change::Changed, "t5@example.com"),
            (Change::Added, "new@example.com"),
            (Change::Removed, "t7@example.com"),
        ];
        assert_eq!(shown, wanted);
        let brought = bring_in(&store, &keys(), &pavia(&after.join("\n")), &prepared, WRITER, noon()).await.unwrap();
        assert_eq!(brought, Brought { added: 1, changed: 1, revoked: 1, ..Brought::default() });
        assert_eq!(of(&store, "t5@example.com").await.label, "creator-5");
        assert_eq!(of(&store, "t7@example.com").await.state, State::Revoked);
        assert_eq!(rows(&store).await.iter().filter(|one| one.state == State::Pending).count(), 300);
    })
    .await;
}

#[tokio::test]
async fn whatever_part_of_a_list_goes_the_rest_of_it_stays() {
    on_each(async |store| {
        // From a change in one bucket to one in nearly all of the 256.
        let mut rest: Vec<String> = (0..400).map(|n| format!("t{n}@example.com,x\n")).collect();
        bring(&store, &rest.concat()).await;
        for gone in [1, 15, 20, 40, 80, 160] {
            rest.truncate(rest.len() - gone);
            let (delta, brought) = bring(&store, &rest.concat()).await;
            assert_eq!((delta.removed, delta.added, delta.changed, brought.revoked), (gone as u64, 0, 0, gone as u64));
            let active = rows(&store).await.iter().filter(|one| one.state.is_active()).count();
            assert_eq!(active, rest.len(), "after {gone} went");
        }
    })
    .await;
}

#[tokio::test]
async fn a_row_that_comes_back_has_a_new_code_unless_a_person_took_the_invite_back() {
    on_each(async |store| {
        bring(&store, "a@example.com,x\nb@example.com,x\nc@example.com,x\n").await;
        let mut tx = store.begin().await.unwrap();
        let how = Revocation { reason: "asked to leave", actor: "token/t", end_membership: true };
        invites::revoke_address(&mut tx, Some("kruxt"), "b@example.com", how, noon()).await.unwrap();
        tx.commit().await.unwrap();
        bring(&store, "c@example.com,x\n").await;
        let (delta, _) = bring(&store, "a@example.com,x\nb@example.com,x\nc@example.com,x\n").await;
        assert_eq!(delta.added, 2);
        let (a, b) = (of(&store, "a@example.com").await, of(&store, "b@example.com").await);
        assert_eq!((a.state, a.generation, a.revoked_at), (State::Pending, 2, None));
        assert_eq!((b.state, b.generation, b.revoke_reason.as_deref()), (State::Revoked, 1, Some("asked to leave")));
        assert_eq!(of(&store, "c@example.com").await.generation, 1);
    })
    .await;
}

#[tokio::test]
async fn someone_who_is_in_stays_in_when_the_row_goes() {
    on_each(async |store| {
        open(&store, None).await;
        bring(&store, "a@example.com,x\nb@example.com,x\n").await;
        enter(&store, "a@example.com").await;
        let (delta, brought) = bring(&store, "b@example.com,x\n").await;
        assert_eq!((delta.removed, delta.removed_members, delta.first[0].is_member), (1, 1, true));
        assert_eq!((brought.revoked, brought.stay_in), (0, 1));
        assert_eq!(of(&store, "a@example.com").await.state, State::Used);
        assert_eq!(people::member_count(&store, "kruxt", "pavia").await.unwrap(), 1);
        // Back on the list, and off again: still in.
        bring(&store, "a@example.com,y\nb@example.com,x\n").await;
        let used = of(&store, "a@example.com").await;
        assert_eq!((used.state, used.generation, used.label.as_str()), (State::Used, 1, "y"));
    })
    .await;
}

#[tokio::test]
async fn beyond_capacity_the_rows_of_a_list_wait_in_its_order() {
    on_each(async |store| {
        open(&store, Some(2)).await;
        let (_, brought) = bring(&store, "d@example.com,x\nc@example.com,x\nb@example.com,x\na@example.com,x\n").await;
        assert_eq!(brought.promoted, 2);
        let waiting: Vec<_> = rows(&store).await.into_iter().filter(|one| one.state == State::Waiting).collect();
        assert_eq!(
            waiting.iter().filter_map(|one| one.email.as_deref()).collect::<Vec<_>>(),
            ["b@example.com", "a@example.com"]
        );
        let (_, brought) = bring(&store, "c@example.com,x\nb@example.com,x\na@example.com,x\n").await;
        assert_eq!((brought.revoked, brought.promoted), (1, 1));
        assert_eq!(of(&store, "b@example.com").await.state, State::Pending);
        assert_eq!(of(&store, "a@example.com").await.state, State::Waiting);
    })
    .await;
}

#[tokio::test]
async fn an_invite_made_by_hand_is_adopted_by_the_list_and_survives_it() {
    on_each(async |store| {
        let by_hand = NewInvite {
            program: "kruxt",
            cohort: "pavia",
            email: "a@example.com",
            label: "",
            role: "",
            invited_by: "",
            locale: "",
            note: "",
            source: Origin::Admin,
        };
        let mut tx = store.begin().await.unwrap();
        invites::create(&mut tx, &keys(), &by_hand, "token/t", noon()).await.unwrap();
        tx.commit().await.unwrap();
        let (delta, _) = bring(&store, "a@example.com,x\nb@example.com,x\n").await;
        assert_eq!(delta.added, 2);
        let found = of(&store, "a@example.com").await;
        assert_eq!((found.label.as_str(), found.state, rows(&store).await.len()), ("x", State::Pending, 2));
        let (_, brought) = bring(&store, "b@example.com,x\n").await;
        assert_eq!(brought.revoked, 0);
        assert_eq!(of(&store, "a@example.com").await.state, State::Pending);
    })
    .await;
}

#[tokio::test]
async fn no_list_brings_back_someone_who_was_erased() {
    on_each(async |store| {
        open(&store, None).await;
        bring(&store, "a@example.com,x\nb@example.com,x\n").await;
        enter(&store, "a@example.com").await;
        let user = people::by_email(&store, "a@example.com").await.unwrap().unwrap().user;
        let mut tx = store.begin().await.unwrap();
        people::erase(&mut tx, &keys(), user.id, "asked", "token/t", noon()).await.unwrap();
        tx.commit().await.unwrap();
        let (delta, _) = bring(&store, "a@example.com,y\nb@example.com,x\nc@example.com,x\n").await;
        assert_eq!((delta.added, delta.erased, delta.changed), (1, 1, 0));
        assert_eq!(rows(&store).await.len(), 3);
        assert!(rows(&store).await.iter().all(|one| one.email.as_deref() != Some("a@example.com")));
    })
    .await;
}

#[tokio::test]
async fn a_stale_delta_is_refused_and_a_broken_list_changes_nothing() {
    on_each(async |store| {
        let (one, two) = ("a@example.com,x\n", "b@example.com,x\n");
        let first = look(&store, one).await;
        bring(&store, two).await;
        let stale = bring_in(&store, &keys(), &pavia(one), &first, WRITER, noon()).await.unwrap_err();
        assert!(matches!(stale, ListError::Stale));
        let looked = look(&store, one).await;
        let other = bring_in(&store, &keys(), &pavia("c@example.com,x\n"), &looked, WRITER, noon()).await.unwrap_err();
        assert!(matches!(other, ListError::Stale), "{other}");
        assert_ne!(first.delta.digest, looked.delta.digest);
        let fenced = Writer { actor: "controller", epoch: Some(99) };
        let refused = bring_in(&store, &keys(), &pavia(one), &looked, fenced, noon()).await.unwrap_err();
        assert!(matches!(refused, ListError::Store(StoreError::Fenced { .. })));
        let broken = prepare(&store, &keys(), &pavia("nonsense\n"), &ListOptions::default()).await;
        assert!(matches!(broken, Err(ListError::Broken(survey)) if survey.errors == 1));
        assert_eq!(rows(&store).await.len(), 1);
        assert_eq!(of(&store, "b@example.com").await.state, State::Pending);
    })
    .await;
}

#[tokio::test]
async fn thousands_of_rows_change_at_once_and_another_cohort_is_untouched() {
    on_each(async |store| {
        let text = |from: u32, to: u32, label: &str| -> String {
            (from..to).map(|n| format!("t{n}@example.com,{label}\n")).collect()
        };
        let lyon = CohortList { cohort: "lyon".into(), ..pavia(&text(0, 50, "x")) };
        let prepared = prepare(&store, &keys(), &lyon, &ListOptions::default()).await.unwrap();
        bring_in(&store, &keys(), &lyon, &prepared, WRITER, noon()).await.unwrap();
        bring(&store, &text(0, 3000, "x")).await;
        let (delta, brought) = bring(&store, &text(1000, 4200, "y")).await;
        assert_eq!((delta.added, delta.changed, delta.removed), (1200, 2000, 1000));
        assert_eq!(brought.revoked, 1000);
        let sql = "SELECT count(*) AS n FROM beta_invites WHERE cohort = $1 AND state = 'pending' AND label = $2";
        let count = async |cohort: &str, label: &str| {
            store.one(sql, args![cohort, label]).await.unwrap().get::<i64>("n").unwrap()
        };
        assert_eq!((count("pavia", "y").await, count("pavia", "x").await, count("lyon", "x").await), (3200, 0, 50));
    })
    .await;
}
