//! A code for several people: its own refusals, whom it lets in and whom not, on both databases.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::super::freezes::{Freeze, freeze, unfreeze};
use super::super::people;
use super::super::testing::on_each;
use super::tests::{cohort, enter, invited, keys, later, make, noon, state_of, take_back};
use super::*;

async fn shared(store: &Store, uses: i64) -> (Uuid, String) {
    let new = NewCode { program: "kruxt", cohort: "pavia", label: "", note: "booth", uses, expires_at: later(24) };
    let mut tx = store.begin().await.unwrap();
    let made = add_code(&mut tx, &keys(), new, "token/t", noon()).await.unwrap();
    tx.commit().await.unwrap();
    (made.id, made.code(&keys()).reveal())
}

#[tokio::test]
async fn a_code_for_several_refuses_in_its_own_words() {
    on_each(async |store| {
        cohort(&store, false, None).await;
        let (id, text) = shared(&store, 2).await;
        assert_eq!(enter(&store, &text, "a@example.com", noon()).await, Err(Refusal::CohortClosed));
        cohort(&store, true, None).await;
        let hold = Freeze {
            program: "kruxt".into(),
            cohort: "pavia".into(),
            holder: "run/1".into(),
            reason: "Sev-1".into(),
            since: noon(),
        };
        let mut tx = store.begin().await.unwrap();
        freeze(&mut tx, &hold).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(enter(&store, &text, "a@example.com", noon()).await, Err(Refusal::Frozen));
        let mut tx = store.begin().await.unwrap();
        unfreeze(&mut tx, "kruxt", "pavia", "run/1").await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(enter(&store, &text, "a@example.com", later(24)).await, Err(Refusal::Expired));
        assert_eq!(enter(&store, &text, "no address", noon()).await, Err(Refusal::Invalid));
        assert_eq!(code(&store, id).await.unwrap().unwrap().used, 0, "none of these counts");
        for email in ["a@example.com", "b@example.com"] {
            assert_eq!(enter(&store, &text.to_lowercase(), email, noon()).await.unwrap().cohort, "pavia");
        }
        assert_eq!(enter(&store, &text, "c@example.com", noon()).await, Err(Refusal::UsedUp));
        let (id, text) = shared(&store, 2).await;
        let mut tx = store.begin().await.unwrap();
        assert!(revoke_code(&mut tx, id, "posted online", "token/t", noon()).await.unwrap());
        assert!(!revoke_code(&mut tx, id, "posted online", "token/t", noon()).await.unwrap());
        tx.commit().await.unwrap();
        assert_eq!(enter(&store, &text, "c@example.com", noon()).await, Err(Refusal::Revoked));
        let kept = store.all("SELECT code_digest FROM invite_codes", args![]).await.unwrap();
        assert!(kept.iter().all(|row| !row.get::<String>("code_digest").unwrap().eq_ignore_ascii_case(&text)));
        let entries = store.all("SELECT CAST(detail AS text) AS detail FROM audit_log", args![]).await.unwrap();
        assert!(entries.iter().all(|row| !row.get::<String>("detail").unwrap().contains(&text)));
    })
    .await;
}

#[tokio::test]
async fn who_was_taken_back_or_erased_stays_out_whatever_code_they_bring() {
    on_each(async |store| {
        cohort(&store, true, None).await;
        let (_, text) = shared(&store, 10).await;
        let id = make(&store, "revoked@example.com").await.invite().id;
        take_back(&store, id, false).await;
        assert_eq!(enter(&store, &text, "Revoked@example.com", noon()).await, Err(Refusal::Invalid));
        let user = enter(&store, &text, "erased@example.com", noon()).await.unwrap().user_id;
        let mut tx = store.begin().await.unwrap();
        people::erase(&mut tx, &keys(), user, "asked", "token/t", noon()).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(enter(&store, &text, "erased@example.com", noon()).await, Err(Refusal::Invalid));
        // Someone who came in with it and was taken back does not come in with it again.
        let came = enter(&store, &text, "came@example.com", noon()).await.unwrap();
        let mut tx = store.begin().await.unwrap();
        let how = Revocation { reason: "left", actor: "token/t", end_membership: true };
        revoke(&mut tx, came.invite_id, how, noon()).await.unwrap();
        assert_eq!(join(&mut tx, &keys(), &text, came.user_id, noon()).await, Err(Refusal::Invalid.into()));
    })
    .await;
}

#[tokio::test]
async fn someone_with_an_invite_of_their_own_keeps_it_when_they_bring_a_code_for_several() {
    on_each(async |store| {
        cohort(&store, true, Some(2)).await;
        let (own, code_of_own) = invited(&store, "own@example.com").await;
        make(&store, "placed@example.com").await;
        let waits = make(&store, "waits@example.com").await.invite().id;
        let (id, text) = shared(&store, 10).await;
        assert_eq!(enter(&store, &text, "waits@example.com", noon()).await, Err(Refusal::NoPlace));
        assert_eq!(state_of(&store, waits).await, State::Waiting);
        let came = enter(&store, &text, "own@example.com", noon()).await.unwrap();
        assert_eq!((came.invite_id, state_of(&store, own).await), (own, State::Used));
        assert_eq!(enter(&store, &code_of_own, "own@example.com", noon()).await, Err(Refusal::Used));
        assert_eq!(enter(&store, &text, "own@example.com", noon()).await, Err(Refusal::Used));
        assert_eq!(code(&store, id).await.unwrap().unwrap().used, 1);
        // Someone with an account joins with it.
        cohort(&store, true, None).await;
        let register_freely =
            Registration { email: "free@example.com", password_hash: "h", code: None, invites_required: &|_| false };
        let user = register(&store, &keys(), register_freely, noon()).await.unwrap().user.id;
        assert_eq!(enter(&store, &text, "free@example.com", noon()).await, Err(Refusal::AccountExists));
        let mut tx = store.begin().await.unwrap();
        assert_eq!(join(&mut tx, &keys(), &text, user, noon()).await.unwrap().cohort, "pavia");
        tx.commit().await.unwrap();
        assert_eq!(code(&store, id).await.unwrap().unwrap().used, 2);
    })
    .await;
}
