//! Messages of invites from due to settled, on both databases.
#![allow(clippy::unwrap_used, reason = "tests")]

use jiff::{SignedDuration, Timestamp};

use super::super::freezes::{Freeze, freeze, unfreeze};
use super::super::testing::on_each;
use super::*;
use crate::keys::Key;

fn keys() -> Keys {
    let [invite, pseudonym, credential, token] = [1, 2, 3, 4].map(|byte| Key::new([byte; 32]));
    Keys { invite, pseudonym, credential, token }
}

fn at(minutes: i64) -> Timestamp {
    let noon: Timestamp = "2026-03-02T12:00:00Z".parse().unwrap();
    noon.checked_add(SignedDuration::from_mins(minutes)).unwrap()
}

async fn open(store: &Store, open: bool) {
    let (program, cohort) = ("kruxt".to_owned(), "pavia".to_owned());
    let wanted = CohortState {
        program,
        cohort,
        open,
        capacity: None,
        addresses: Default::default(),
        list_digest: None,
        rows: 0,
    };
    let mut tx = store.begin().await.unwrap();
    set_cohort(&mut tx, &wanted, "controller", at(0)).await.unwrap();
    tx.commit().await.unwrap();
}

async fn invited(store: &Store, email: &str) -> Uuid {
    let new = NewInvite {
        program: "kruxt",
        cohort: "pavia",
        email,
        label: "",
        role: "",
        invited_by: "",
        locale: "it",
        note: "",
        source: Origin::Admin,
    };
    let mut tx = store.begin().await.unwrap();
    let made = create(&mut tx, &keys(), &new, "token/t", at(0)).await.unwrap();
    tx.commit().await.unwrap();
    made.invite().id
}

async fn due(store: &Store, now: Timestamp) -> Vec<Due> {
    due_mails(store, "kruxt", &["pavia".to_owned()], 10, now).await.unwrap()
}

async fn claim(store: &Store, due: &Due, now: Timestamp) -> Claimed {
    let key = format!("{}/{}", due.id, due.generation);
    let sender = Sender { by: "s", message_key: &key, expires_at: at(60 * 24) };
    let mut tx = store.begin().await.unwrap();
    let claimed = claim_mail(&mut tx, &keys(), due, sender, now).await.unwrap();
    tx.commit().await.unwrap();
    claimed
}

async fn settle(store: &Store, due: &Due, how: Settled<'_>, now: Timestamp) -> bool {
    let mut tx = store.begin().await.unwrap();
    let settled = settle_mail(&mut tx, due.id, due.generation, how, now).await.unwrap();
    tx.commit().await.unwrap();
    settled
}

async fn resent(store: &Store, id: Uuid, now: Timestamp) {
    let mut tx = store.begin().await.unwrap();
    resend(&mut tx, id, at(60 * 24), "person/p", now).await.unwrap();
    tx.commit().await.unwrap();
}

async fn state(store: &Store, id: Uuid) -> Option<MailState> {
    mail_states(store, vec![id]).await.unwrap().get(&id).copied()
}

#[tokio::test]
async fn a_message_is_claimed_once_and_a_vanished_sender_leaves_it_in_doubt_until_a_person_resends_it() {
    on_each(async |store| {
        open(&store, true).await;
        let (ada, bob) = (invited(&store, "ada@example.com").await, invited(&store, "bob@example.org").await);
        let all = due(&store, at(0)).await;
        assert_eq!(all.iter().map(|due| due.id).collect::<Vec<_>>(), [ada, bob]);
        assert_eq!((all[1].domain.as_str(), all[1].locale.as_str(), all[1].again), ("example.org", "it", false));
        assert!(matches!(claim(&store, &all[0], at(0)).await, Claimed::Send { attempts: 1, .. }));
        assert!(matches!(claim(&store, &all[0], at(0)).await, Claimed::Overtaken), "it is in somebody's hands");
        assert_eq!(due(&store, at(0)).await.len(), 1);
        let mut tx = store.begin().await.unwrap();
        assert_eq!(doubt_claims(&mut tx, at(1)).await.unwrap(), 1);
        tx.commit().await.unwrap();
        assert_eq!((state(&store, ada).await, state(&store, bob).await), (Some(MailState::Uncertain), None));
        assert!(due(&store, at(60)).await.iter().all(|due| due.id == bob), "never by itself");
        resent(&store, ada, at(2)).await;
        assert_eq!(state(&store, ada).await, None);
        let again = due(&store, at(2)).await.into_iter().find(|due| due.id == ada).unwrap();
        assert_eq!(again.generation, 2);
        assert!(matches!(claim(&store, &again, at(2)).await, Claimed::Send { .. }));
        assert!(settle(&store, &again, Settled::Sent, at(3)).await);
        assert!(!settle(&store, &again, Settled::Failed("twice"), at(3)).await);
        assert_eq!(state(&store, ada).await, Some(MailState::Sent));
        let sent = get(&store, ada).await.unwrap().unwrap();
        assert_eq!((sent.state, sent.sent_at), (State::Sent, Some(at(3))));
        // The first sender was only slow: what has left has left, and is not the newest any more.
        assert!(settle(&store, &all[0], Settled::Sent, at(4)).await);
        assert_eq!(get(&store, ada).await.unwrap().unwrap().sent_at, Some(at(3)));
        let counts = mail_counts(&store, Some("kruxt")).await.unwrap();
        assert_eq!(counts, [("kruxt".to_owned(), "pavia".to_owned(), MailState::Sent, 1)]);
    })
    .await;
}

#[tokio::test]
async fn a_throttled_message_comes_back_in_its_time_unless_nobody_needs_it_any_more() {
    on_each(async |store| {
        open(&store, true).await;
        let (ada, bob) = (invited(&store, "ada@example.com").await, invited(&store, "bob@example.com").await);
        for one in due(&store, at(0)).await {
            claim(&store, &one, at(0)).await;
            settle(&store, &one, Settled::Later { why: "451", at: at(5), counts: true }, at(0)).await;
        }
        assert_eq!(state(&store, ada).await, Some(MailState::Waiting));
        assert!(due(&store, at(4)).await.is_empty());
        assert_eq!(next_mail_at(&store, "kruxt", at(4)).await.unwrap(), Some(at(5)));
        // What is due and still there (of a closed cohort, say) is no reason to look again.
        assert_eq!(next_mail_at(&store, "kruxt", at(5)).await.unwrap(), None);
        let mut tx = store.begin().await.unwrap();
        let how = Revocation { reason: "asked", actor: "person/p", end_membership: false };
        revoke(&mut tx, bob, how, at(4)).await.unwrap();
        tx.commit().await.unwrap();
        let again = due(&store, at(5)).await;
        assert!(again.len() == 2 && again.iter().all(|due| due.again));
        assert!(matches!(claim(&store, &again[0], at(5)).await, Claimed::Send { attempts: 2, .. }));
        assert!(matches!(claim(&store, &again[1], at(5)).await, Claimed::Overtaken));
        assert_eq!(state(&store, bob).await, Some(MailState::Cancelled));
        settle(&store, &again[0], Settled::Later { why: "away", at: at(6), counts: false }, at(5)).await;
        let third = due(&store, at(6)).await;
        assert!(
            matches!(claim(&store, &third[0], at(6)).await, Claimed::Send { attempts: 2, .. }),
            "that was not its fault"
        );
        settle(&store, &third[0], Settled::Failed("550"), at(6)).await;
        assert_eq!(state(&store, ada).await, Some(MailState::Failed));
        assert!(due(&store, at(600)).await.is_empty());
        // Expired before it could leave.
        let eve = invited(&store, "eve@example.com").await;
        resent(&store, eve, at(7)).await;
        let late = due(&store, at(8)).await;
        assert!(matches!(claim(&store, &late[0], at(60 * 25)).await, Claimed::Overtaken));
        assert_eq!(state(&store, eve).await, None);
    })
    .await;
}

#[tokio::test]
async fn a_freeze_a_closed_cohort_and_a_blocked_address_are_seen_by_the_claim() {
    on_each(async |store| {
        open(&store, true).await;
        let ada = invited(&store, "Ada@example.com").await;
        let one = due(&store, at(0)).await.remove(0);
        let (program, cohort, holder) = ("kruxt".to_owned(), String::new(), "run/1".to_owned());
        let held = Freeze { program, cohort, holder, reason: "Sev-1".into(), since: at(0) };
        let mut tx = store.begin().await.unwrap();
        freeze(&mut tx, &held).await.unwrap();
        tx.commit().await.unwrap();
        assert!(matches!(claim(&store, &one, at(0)).await, Claimed::Later));
        let mut tx = store.begin().await.unwrap();
        unfreeze(&mut tx, "kruxt", "", "run/1").await.unwrap();
        tx.commit().await.unwrap();
        open(&store, false).await;
        assert!(matches!(claim(&store, &one, at(0)).await, Claimed::Later));
        open(&store, true).await;
        assert_eq!(due(&store, at(0)).await, std::slice::from_ref(&one), "waiting costs nobody the place in line");
        let mut tx = store.begin().await.unwrap();
        assert!(block(&mut tx, &keys(), ("coach", "ada@example.com"), Block::Unsubscribed, at(0)).await.unwrap());
        assert_eq!(blocked(&mut tx, &keys(), "kruxt", "ada@example.com").await.unwrap(), None, "another program's");
        assert!(block(&mut tx, &keys(), ("kruxt", "ada@EXAMPLE.com"), Block::Unsubscribed, at(0)).await.unwrap());
        assert!(!block(&mut tx, &keys(), ("kruxt", "ada@example.com"), Block::Unsubscribed, at(1)).await.unwrap());
        tx.commit().await.unwrap();
        assert!(matches!(claim(&store, &one, at(0)).await, Claimed::Blocked(Block::Unsubscribed)));
        assert_eq!(state(&store, ada).await, Some(MailState::Unsubscribed));
        assert!(due(&store, at(1)).await.is_empty());
        let bob = invited(&store, "bob@example.com").await;
        let mut tx = store.begin().await.unwrap();
        block(&mut tx, &keys(), ("coach", "bob@example.com"), Block::Bounced, at(0)).await.unwrap();
        tx.commit().await.unwrap();
        let gone = due(&store, at(2)).await.remove(0);
        assert!(matches!(claim(&store, &gone, at(2)).await, Claimed::Blocked(Block::Bounced)), "in no program");
        let mut tx = store.begin().await.unwrap();
        assert!(forget_bounce(&mut tx, &keys(), "bob@example.com").await.unwrap());
        assert!(!forget_bounce(&mut tx, &keys(), "ada@example.com").await.unwrap());
        tx.commit().await.unwrap();
        resent(&store, bob, at(3)).await;
        assert!(matches!(claim(&store, &due(&store, at(3)).await[0], at(3)).await, Claimed::Send { .. }));
    })
    .await;
}

#[tokio::test]
async fn why_invites_wait_is_kept_with_the_moment_it_began_and_forgotten_when_it_is_over() {
    on_each(async |store| {
        let pause = |cohort: &str, reason: &str, since: i64| {
            let (cohort, reason) = (cohort.to_owned(), reason.to_owned());
            Pause { cohort, reason, since: at(since), until: Some(at(since + 1)) }
        };
        let write = async |wanted: &[Pause]| {
            let mut tx = store.begin().await.unwrap();
            set_pauses(&mut tx, "kruxt", wanted).await.unwrap();
            tx.commit().await.unwrap();
            pauses(&store, "kruxt").await.unwrap()
        };
        write(&[pause("", "away", 0), pause("pavia", "no template", 0)]).await;
        let kept = write(&[pause("", "away", 5)]).await;
        assert_eq!(kept, [Pause { since: at(0), ..pause("", "away", 5) }]);
        assert_eq!(write(&[pause("", "refused", 7)]).await[0].since, at(7));
        assert!(write(&[]).await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn pacing_finds_what_left_lately() {
    on_each(async |store| {
        open(&store, true).await;
        for (minute, email) in [(1, "ada@example.com"), (2, "bob@example.org"), (3, "eve@example.net")] {
            invited(&store, email).await;
            let one = due(&store, at(minute)).await.remove(0);
            claim(&store, &one, at(minute)).await;
        }
        let lately = claimed_since(&store, "kruxt", at(1), 10).await.unwrap();
        let wanted = [(at(2), "example.org"), (at(3), "example.net")];
        assert_eq!(lately.iter().map(|(at, _, domain)| (*at, domain.as_str())).collect::<Vec<_>>(), wanted);
    })
    .await;
}
