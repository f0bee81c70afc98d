//! The outbox: one effect a key, claims that end, freezes that stop, doubt that stays.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::super::testing::on_each;
use super::*;
use serde_json::json;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_767_225_600 + second).unwrap()
}

fn intent(kind: &str, key: &str) -> Intent {
    Intent {
        program: "kruxt".into(),
        cohort: (kind == "invite").then(|| "pavia".into()),
        kind: kind.into(),
        effect_key: key.into(),
        payload: json!({"to": "x"}),
        once: kind == "invite",
        not_before: at(0),
        deadline: Some(at(1_800)),
        epoch: None,
    }
}

async fn put_one(store: &Store, intent: &Intent) -> (Uuid, bool) {
    let mut tx = store.begin().await.unwrap();
    let put = put(&mut tx, intent, at(0)).await.unwrap();
    tx.commit().await.unwrap();
    put
}

async fn take(store: &Store, by: &str, now: Timestamp) -> Vec<Message> {
    let mut tx = store.begin().await.unwrap();
    let ask = Claim { kinds: &["invite", "note"], by, limit: 10, lease: SignedDuration::from_secs(60) };
    let claimed = claim(&mut tx, &ask, now).await.unwrap();
    tx.commit().await.unwrap();
    claimed
}

async fn state_of(store: &Store, key: &str) -> State {
    by_key(store, key).await.unwrap().unwrap().state
}

#[tokio::test]
async fn the_same_effect_is_put_once_and_claimed_once() {
    on_each(async |store| {
        let (id, fresh) = put_one(&store, &intent("note", "run/1/founder")).await;
        assert!(fresh);
        assert_eq!(put_one(&store, &intent("note", "run/1/founder")).await, (id, false));
        assert_eq!(next_at(&store, &["note"]).await.unwrap(), Some(at(0)));
        assert!(take(&store, "a", at(-1)).await.is_empty());
        let claimed = take(&store, "a", at(0)).await;
        assert_eq!((claimed.len(), claimed[0].attempts), (1, 1));
        assert!(take(&store, "b", at(1)).await.is_empty());
        assert_eq!(next_at(&store, &["note"]).await.unwrap(), Some(at(60)), "when its sender has vanished");
        assert_eq!(next_at(&store, &["page"]).await.unwrap(), None);
        let mut tx = store.begin().await.unwrap();
        succeed(&mut tx, id, &json!({"queued": "as 42"}), at(2)).await.unwrap();
        assert!(matches!(succeed(&mut tx, id, &json!({}), at(2)).await, Err(StoreError::Missing(_))));
        tx.commit().await.unwrap();
        let message = by_key(&store, "run/1/founder").await.unwrap().unwrap();
        assert_eq!((message.state, message.done_at), (State::Done, Some(at(2))));
        assert_eq!(message.receipt, Some(json!({"queued": "as 42"})));
        assert_eq!(counts(&store, "kruxt").await.unwrap(), [("note".into(), State::Done, 1)]);
        assert_eq!(by_prefix(&store, "run/1/").await.unwrap().len(), 1);
        assert!(by_prefix(&store, "run/2/").await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test]
async fn after_a_crash_a_note_goes_again_and_an_invite_is_uncertain() {
    on_each(async |store| {
        put_one(&store, &intent("note", "n")).await;
        let (invite, _) = put_one(&store, &intent("invite", "i")).await;
        assert_eq!(take(&store, "a", at(0)).await.len(), 2);
        assert!(take(&store, "b", at(59)).await.is_empty());
        let again = take(&store, "b", at(60)).await;
        assert_eq!(again.iter().map(|message| message.intent.effect_key.as_str()).collect::<Vec<_>>(), ["n"]);
        assert_eq!(again[0].attempts, 2);
        assert_eq!(state_of(&store, "i").await, State::Uncertain);
        assert_eq!(list(&store, "kruxt", &[State::Uncertain], 10).await.unwrap().len(), 1);
        let mut tx = store.begin().await.unwrap();
        retry(&mut tx, invite, at(70)).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(take(&store, "c", at(71)).await.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_failed_try_comes_back_in_time_and_only_its_holder_may_say_so() {
    on_each(async |store| {
        let (id, _) = put_one(&store, &intent("note", "n")).await;
        take(&store, "a", at(0)).await;
        let mut tx = store.begin().await.unwrap();
        assert!(fail(&mut tx, id, "b", "no", Some(at(30)), at(1)).await.is_err());
        fail(&mut tx, id, "a", "refused", Some(at(30)), at(1)).await.unwrap();
        tx.commit().await.unwrap();
        assert!(take(&store, "a", at(29)).await.is_empty());
        assert_eq!(take(&store, "a", at(30)).await.len(), 1);
        let mut tx = store.begin().await.unwrap();
        fail(&mut tx, id, "a", "no such host", None, at(31)).await.unwrap();
        tx.commit().await.unwrap();
        let message = by_key(&store, "n").await.unwrap().unwrap();
        assert_eq!((message.state, message.last_error.as_deref()), (State::Failed, Some("no such host")));
    })
    .await;
}

#[tokio::test]
async fn what_a_freeze_stops_is_not_claimed_and_goes_on_afterwards() {
    on_each(async |store| {
        put_one(&store, &intent("invite", "i")).await;
        put_one(&store, &intent("note", "n")).await;
        let hold = freezes::Freeze {
            program: "kruxt".into(),
            cohort: "pavia".into(),
            holder: "run/freezeInvites".into(),
            reason: "Sev-1".into(),
            since: at(0),
        };
        let mut tx = store.begin().await.unwrap();
        freezes::freeze(&mut tx, &hold).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(take(&store, "a", at(1)).await.len(), 1);
        assert_eq!(state_of(&store, "i").await, State::Waiting);
        let mut tx = store.begin().await.unwrap();
        freezes::unfreeze(&mut tx, "kruxt", "pavia", "run/freezeInvites").await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(take(&store, "a", at(2)).await.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_message_that_waits_can_be_withdrawn_and_one_in_doubt_stays() {
    on_each(async |store| {
        put_one(&store, &intent("note", "n")).await;
        let (invite, _) = put_one(&store, &intent("invite", "i")).await;
        let mut tx = store.begin().await.unwrap();
        assert!(cancel(&mut tx, "n", at(1)).await.unwrap());
        tx.commit().await.unwrap();
        assert_eq!(take(&store, "a", at(1)).await.len(), 1);
        let mut tx = store.begin().await.unwrap();
        assert!(!cancel(&mut tx, "i", at(1)).await.unwrap());
        doubt(&mut tx, invite, "connection reset after DATA").await.unwrap();
        tx.commit().await.unwrap();
        assert!(take(&store, "a", at(500)).await.is_empty());
        assert_eq!(state_of(&store, "i").await, State::Uncertain);
    })
    .await;
}

#[tokio::test]
async fn many_senders_never_claim_the_same_message() {
    on_each(async |store| {
        for n in 0..40 {
            put_one(&store, &intent("note", &format!("n/{n}"))).await;
        }
        let senders = (0..4).map(|sender| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut mine = Vec::new();
                loop {
                    let mut tx = store.begin().await.unwrap();
                    let by = format!("s{sender}");
                    let ask = Claim { kinds: &["note"], by: &by, limit: 3, lease: SignedDuration::from_secs(60) };
                    let claimed = claim(&mut tx, &ask, at(1)).await.unwrap();
                    tx.commit().await.unwrap();
                    if claimed.is_empty() {
                        return mine;
                    }
                    mine.extend(claimed.into_iter().map(|message| message.id));
                }
            })
        });
        let mut all = Vec::new();
        for sender in senders.collect::<Vec<_>>() {
            all.extend(sender.await.unwrap());
        }
        assert_eq!(all.len(), 40);
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 40);
    })
    .await;
}

#[tokio::test]
async fn a_successor_takes_over_what_its_predecessor_had_in_hand() {
    on_each(async |store| {
        put_one(&store, &intent("note", "run/1/founder")).await;
        put_one(&store, &Intent { once: true, ..intent("note", "run/1/bank") }).await;
        put_one(&store, &intent("invite", "invite/1/1")).await;
        assert_eq!(take(&store, "first", at(0)).await.len(), 3);
        let mut tx = store.begin().await.unwrap();
        take_over(&mut tx, &["note"]).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(state_of(&store, "run/1/bank").await, State::Uncertain, "nobody knows whether it left");
        let again: Vec<String> = take(&store, "second", at(1)).await.into_iter().map(|m| m.intent.effect_key).collect();
        assert_eq!(again, ["run/1/founder"], "another's kind is left in its hands");
    })
    .await;
}

#[tokio::test]
async fn a_message_that_waits_for_a_way_out_goes_soon_however_often_it_waited() {
    on_each(async |store| {
        put_one(&store, &intent("note", "n")).await;
        for round in 0..20 {
            let claimed = take(&store, "a", at(10 * round)).await;
            assert_eq!(claimed[0].attempts, 1, "what was not tried is not counted");
            let mut tx = store.begin().await.unwrap();
            let back = postpone(&mut tx, claimed[0].id, "b", "away", at(10 * round + 8)).await;
            assert!(matches!(back, Err(StoreError::Missing(_))), "it is in the hands of another");
            postpone(&mut tx, claimed[0].id, "a", "away", at(10 * round + 8)).await.unwrap();
            tx.commit().await.unwrap();
            assert!(take(&store, "a", at(10 * round + 7)).await.is_empty());
        }
        let waiting = by_key(&store, "n").await.unwrap().unwrap();
        assert_eq!((waiting.state, waiting.attempts, waiting.last_error.as_deref()), (State::Waiting, 0, Some("away")));
    })
    .await;
}
