//! Everyone at the door at once: a code is used once, a code for ten lets ten in, and no more come in than there are places, on both databases.
#![allow(clippy::unwrap_used, reason = "tests")]

use futures_util::future::join_all;

use super::super::people;
use super::super::testing::on_each;
use super::tests::{cohort, enter, invited, keys, later, make, noon, state_of, take_back};
use super::*;

/// Redeems; who is told that the database has no time comes again, as a person would.
async fn enter_patiently(store: &Store, code: &str, email: &str) -> Result<Redeemed, Refusal> {
    loop {
        match redeem(store, &keys(), code, email, "hash", noon()).await {
            Ok(redeemed) => return Ok(redeemed),
            Err(RedeemError::Refused(refusal)) => return Err(refusal),
            Err(RedeemError::Store(StoreError::Unavailable(_))) => tokio::task::yield_now().await,
            Err(RedeemError::Store(error)) => panic!("{error}"),
        }
    }
}

/// Everyone redeems at once, each their code with their address.
async fn all_at_once(store: &Store, people: Vec<(String, String)>) -> Vec<Result<Redeemed, Refusal>> {
    let start = std::sync::Arc::new(tokio::sync::Barrier::new(people.len()));
    let tries = people.into_iter().map(|(code, email)| {
        let (store, start) = (store.clone(), start.clone());
        tokio::spawn(async move {
            start.wait().await;
            enter_patiently(&store, &code, &email).await
        })
    });
    join_all(tries).await.into_iter().map(Result::unwrap).collect()
}

fn in_all(outcomes: &[Result<Redeemed, Refusal>]) -> usize {
    outcomes.iter().filter(|outcome| outcome.is_ok()).count()
}

async fn shared(store: &Store, uses: i64) -> (Uuid, String) {
    let new =
        NewCode { program: "kruxt", cohort: "pavia", label: "listener-fair", note: "", uses, expires_at: later(24) };
    let mut tx = store.begin().await.unwrap();
    let made = add_code(&mut tx, &keys(), new, "token/t", noon()).await.unwrap();
    tx.commit().await.unwrap();
    (made.id, made.code(&keys()).reveal())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_a_thousand_simultaneous_redemptions_of_one_code_one_succeeds() {
    on_each(async |store| {
        cohort(&store, true, Some(5)).await;
        let (id, code) = invited(&store, "ada@example.com").await;
        let outcomes = all_at_once(&store, vec![(code, "ada@example.com".to_owned()); 1000]).await;
        assert_eq!(in_all(&outcomes), 1);
        assert!(outcomes.iter().all(|outcome| matches!(outcome, Ok(_) | Err(Refusal::Used))));
        assert_eq!(people::member_count(&store, "kruxt", "pavia").await.unwrap(), 1);
        assert_eq!(state_of(&store, id).await, State::Used);
        let entries = store.all("SELECT action FROM audit_log WHERE action = 'invite.used'", args![]).await.unwrap();
        assert_eq!(entries.len(), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_code_for_ten_lets_in_ten_of_two_hundred_who_come_at_once() {
    on_each(async |store| {
        cohort(&store, true, Some(50)).await;
        let (id, text) = shared(&store, 10).await;
        let crowd = (0..200).map(|n| (text.clone(), format!("t{n}@example.com"))).collect();
        let outcomes = all_at_once(&store, crowd).await;
        assert_eq!(in_all(&outcomes), 10);
        assert!(outcomes.iter().all(|outcome| matches!(outcome, Ok(_) | Err(Refusal::UsedUp))), "{outcomes:?}");
        assert_eq!(code(&store, id).await.unwrap().unwrap().used, 10);
        assert_eq!(people::member_count(&store, "kruxt", "pavia").await.unwrap(), 10);
        let filter = Filter { state: Some(State::Used), limit: 1000, ..Filter::default() };
        let rows = list(&store, &filter).await.unwrap();
        assert!(rows.len() == 10 && rows.iter().all(|row| row.source == "code" && row.label == "listener-fair"));
        assert_eq!(store.all("SELECT id FROM users", args![]).await.unwrap().len(), 10, "nobody else has an account");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_code_for_many_fills_the_places_there_are_beside_those_who_have_one() {
    on_each(async |store| {
        cohort(&store, true, Some(7)).await;
        let (_, own) = invited(&store, "own@example.com").await;
        let (id, text) = shared(&store, 100).await;
        let crowd = (0..60).map(|n| (text.clone(), format!("t{n}@example.com")));
        let outcomes = all_at_once(&store, crowd.chain([(own, "own@example.com".to_owned())]).collect()).await;
        assert!(outcomes.last().unwrap().is_ok(), "a place that was given is kept");
        assert_eq!(in_all(&outcomes), 7);
        assert!(outcomes.iter().all(|outcome| matches!(outcome, Ok(_) | Err(Refusal::NoPlace))), "{outcomes:?}");
        assert_eq!(code(&store, id).await.unwrap().unwrap().used, 6);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_a_hundred_invited_at_once_to_five_places_five_are_invited_and_the_rest_wait_in_order() {
    on_each(async |store| {
        cohort(&store, true, Some(5)).await;
        let made = (0..100).map(|n| {
            let store = store.clone();
            tokio::spawn(async move { make(&store, &format!("t{n}@example.com")).await.invite().id })
        });
        let made: Vec<Uuid> = join_all(made).await.into_iter().map(Result::unwrap).collect();
        let in_order = "SELECT id, state FROM beta_invites ORDER BY position";
        let order = async || -> Vec<(Uuid, String)> {
            let rows = store.all(in_order, args![]).await.unwrap();
            rows.iter().map(|row| (row.get("id").unwrap(), row.get("state").unwrap())).collect()
        };
        let states = async || -> Vec<String> { order().await.into_iter().map(|(_, state)| state).collect() };
        let with = |first: &[&str]| -> Vec<String> {
            let mut all = vec!["waiting".to_owned(); 100];
            all.iter_mut().zip(first).for_each(|(state, wanted)| *state = (*wanted).to_owned());
            all
        };
        assert_eq!((made.len(), states().await), (100, with(&["pending"; 5])));
        let ids: Vec<Uuid> = order().await.into_iter().map(|(id, _)| id).collect();
        // A code of one who waits, had it been made, says so; those with a place come in.
        let mut codes = Vec::new();
        for id in &ids {
            let mut tx = store.begin().await.unwrap();
            let invite = get(&store, *id).await.unwrap().unwrap();
            let digest = invite.code(&keys()).digest();
            let sql = "UPDATE beta_invites SET code_digest = $2, expires_at = $3 WHERE id = $1";
            tx.execute(sql, args![*id, digest, later(24)]).await.unwrap();
            tx.commit().await.unwrap();
            codes.push((invite.code(&keys()).reveal(), invite.email.unwrap()));
        }
        let outcomes = all_at_once(&store, codes).await;
        assert_eq!(in_all(&outcomes), 5);
        assert!(outcomes[..5].iter().all(Result::is_ok) && outcomes[5..].iter().all(|o| *o == Err(Refusal::Full)));
        // A place that is free again goes to the first who waits: one was taken back, one ran out, one was added.
        let mut tx = store.begin().await.unwrap();
        let how = Revocation { reason: "left", actor: "token/t", end_membership: true };
        revoke(&mut tx, ids[2], how, noon()).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(states().await, with(&["used", "used", "revoked", "used", "used", "pending"]));
        let mut tx = store.begin().await.unwrap();
        assert_eq!(expire_due(&mut tx, later(24), 100).await.unwrap(), 1);
        tx.commit().await.unwrap();
        assert_eq!(states().await, with(&["used", "used", "revoked", "used", "used", "expired", "pending"]));
        cohort(&store, true, Some(7)).await;
        let wanted = ["used", "used", "revoked", "used", "used", "expired", "pending", "pending", "pending"];
        assert_eq!(states().await, with(&wanted));
        take_back(&store, ids[50], false).await;
        assert_eq!(state_of(&store, ids[9]).await, State::Waiting, "who waited and was taken back frees no place");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_a_hundred_different_invites_at_five_places_five_come_in() {
    on_each(async |store| {
        cohort(&store, true, None).await;
        let mut crowd = Vec::new();
        for n in 0..100 {
            let email = format!("t{n}@example.com");
            crowd.push((invited(&store, &email).await.1, email));
        }
        cohort(&store, true, Some(5)).await;
        let outcomes = all_at_once(&store, crowd).await;
        assert_eq!(in_all(&outcomes), 5);
        assert!(outcomes.iter().all(|outcome| matches!(outcome, Ok(_) | Err(Refusal::Full))), "{outcomes:?}");
        assert_eq!(people::member_count(&store, "kruxt", "pavia").await.unwrap(), 5);
    })
    .await;
}

/// Two codes of one cohort, own invites, revoking and running out, all at once: nothing waits in a circle, and places add up.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whatever_comes_at_once_ends_and_adds_up() {
    on_each(async |store| {
        cohort(&store, true, Some(30)).await;
        let ((one, first), (other, second)) = (shared(&store, 12).await, shared(&store, 12).await);
        let mut crowd: Vec<_> = (0..40)
            .map(|n| (if n % 2 == 0 { first.clone() } else { second.clone() }, format!("t{n}@example.com")))
            .collect();
        for n in 0..10 {
            let email = format!("own{n}@example.com");
            crowd.push((invited(&store, &email).await.1, email));
        }
        let taking_back = {
            let store = store.clone();
            tokio::spawn(async move {
                let mut tx = store.begin().await.unwrap();
                let how = Revocation { reason: "pulled back", actor: "token/t", end_membership: false };
                revoke_unused(&mut tx, "kruxt", Some("pavia"), how, noon()).await.unwrap();
                expire_due(&mut tx, later(48), 100).await.unwrap();
                tx.commit().await.unwrap();
            })
        };
        let outcomes = all_at_once(&store, crowd).await;
        taking_back.await.unwrap();
        let members = people::member_count(&store, "kruxt", "pavia").await.unwrap();
        assert_eq!(in_all(&outcomes), usize::try_from(members).unwrap());
        let used = async |id| code(&store, id).await.unwrap().unwrap().used;
        let own = outcomes[40..].iter().filter(|outcome| outcome.is_ok()).count();
        assert_eq!(used(one).await + used(other).await, members - i64::try_from(own).unwrap());
        let late = enter(&store, &first, "late@example.com", noon()).await;
        assert!(matches!(late, Err(Refusal::Revoked | Refusal::UsedUp)), "{late:?}");
    })
    .await;
}
