//! Backups: there and back, from either database into either, whole or not at all.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::store::testing::on_each;
use crate::store::{flags, freezes, invites, leadership, memory, outbox, tokens};

fn at(second: i64) -> Timestamp {
    Timestamp::from_microsecond(1_767_225_600_000_001 + second * 1_000_000).unwrap()
}

fn message(key: &str, once: bool) -> outbox::Intent {
    outbox::Intent {
        program: "kruxt".into(),
        cohort: once.then(|| "pavia".into()),
        kind: if once { "invite" } else { "note" }.into(),
        effect_key: key.into(),
        payload: json!({"share": 0.5, "text": "ä\u{1F600}"}),
        once,
        not_before: at(0),
        deadline: None,
        epoch: Some(3),
    }
}

/// Something in every kind of column.
async fn fill(store: &Store) {
    leadership::take(store, "a", at(0)).await.unwrap();
    leadership::take(store, "a", at(0)).await.unwrap();
    let mut tx = store.begin().await.unwrap();
    for n in 0..1_100 {
        let entry = audit::Entry {
            at: at(n),
            program: "kruxt".into(),
            actor: "controller".into(),
            action: "test".into(),
            object: format!("o/{n}"),
            detail: json!({"n": n, "x": 1e17, "y": 2.5, "z": 3.0}),
        };
        audit::append(&mut tx, entry).await.unwrap();
    }
    outbox::put(&mut tx, &message("i", true), at(0)).await.unwrap();
    outbox::put(&mut tx, &message("n", false), at(0)).await.unwrap();
    memory::put(&mut tx, "kruxt", ("gate", "weekly"), &json!({"b": 1, "a": [null]}), 0).await.unwrap();
    tokens::create(&mut tx, "admin", &[0, 1, 255], &["admin".into()], at(0)).await.unwrap();
    flags::publish(&mut tx, json!({"flags": {}}), &json!({}), "d", "abc", at(0)).await.unwrap();
    let hold = freezes::Freeze {
        program: "kruxt".into(),
        cohort: String::new(),
        holder: "hand:founder".into(),
        reason: "drill".into(),
        since: at(0),
    };
    freezes::freeze(&mut tx, &hold).await.unwrap();
    let invite = "INSERT INTO beta_invites (id, program, cohort, email, email_norm, state, position, source, created_at, mail_generation)
        VALUES ($1, 'kruxt', 'pavia', $2, $2, 'pending', $3, 'list', $4, $5)";
    let mail =
        "INSERT INTO invite_mails (invite_id, generation, program, cohort, state, message_key, claimed_at, claimed_by)
        VALUES ($1, 1, 'kruxt', 'pavia', $2, $3, $4, 's')";
    for (number, state) in [(1, "sent"), (2, "sending"), (3, "waiting"), (4, "")] {
        let id = uuid::Uuid::from_u128(number);
        let taken_up = i64::from(!state.is_empty());
        let address = format!("p{number}@example.com");
        let bound = args![id, address, i64::try_from(number).unwrap(), at(0), taken_up];
        tx.execute(invite, bound).await.unwrap();
        if taken_up == 1 {
            tx.execute(mail, args![id, state, format!("k{number}"), at(0)]).await.unwrap();
        }
    }
    tx.commit().await.unwrap();
    audit::chain(store).await.unwrap();
}

async fn check(store: &Store, restored: &Restored) {
    assert_eq!((restored.epoch, restored.uncertain), (3, 4));
    let counts = invites::mail_counts(store, Some("kruxt")).await.unwrap();
    let counts: Vec<_> = counts.into_iter().map(|(_, _, state, count)| (state, count)).collect();
    assert_eq!(counts, [(invites::MailState::Sent, 1), (invites::MailState::Uncertain, 3)]);
    assert!(invites::due_mails(store, "kruxt", &["pavia".into()], 9, at(99)).await.unwrap().is_empty());
    assert_eq!(leadership::current(store).await.unwrap().epoch, 3);
    let verified = audit::verify(store).await.unwrap();
    assert_eq!((verified.chained, verified.waiting, verified.problem), (1_100, 1, None));
    assert_eq!(audit::chain(store).await.unwrap(), 1);
    assert_eq!(audit::verify(store).await.unwrap().problem, None);
    let invite = outbox::by_key(store, "i").await.unwrap().unwrap();
    assert_eq!((invite.state, invite.intent.payload), (outbox::State::Uncertain, message("i", true).payload));
    assert_eq!(outbox::by_key(store, "n").await.unwrap().unwrap().state, outbox::State::Waiting);
    let kept = memory::load(store, "kruxt").await.unwrap();
    assert_eq!((kept[0].version, &kept[0].body), (1, &json!({"b": 1, "a": [null]})));
    assert_eq!(tokens::by_digest(store, &[0, 1, 255]).await.unwrap().unwrap().created_at, at(0));
    assert_eq!(flags::newest(store).await.unwrap().unwrap().digest, "d");
    assert_eq!(freezes::list(store, Some("kruxt")).await.unwrap()[0].since, at(0));
}

#[tokio::test]
async fn a_backup_of_either_database_is_restored_into_either() {
    on_each(async |from| {
        fill(&from).await;
        let folder = tempfile::tempdir().unwrap();
        let (own, portable) = (folder.path().join("own"), folder.path().join("portable"));
        let extent = backup(&from, &own).await.unwrap();
        assert_eq!(export(&from, &portable).await.unwrap(), extent);
        assert_eq!(std::fs::metadata(&own).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(backup(&from, &own).await, Err(StoreError::Conflict(_))));
        for file in [&own, &portable] {
            on_each(async |into| {
                let restored = restore(&into, file, "person/1", at(9)).await.unwrap();
                assert_eq!(restored.extent, extent);
                assert_eq!(restored.chain.problem, None);
                check(&into, &restored).await;
                let again = restore(&into, file, "person/1", at(9)).await;
                assert!(matches!(again, Err(StoreError::Conflict(_))), "{again:?}");
            })
            .await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_broken_backup_brings_nothing() {
    on_each(async |store| {
        fill(&store).await;
        let folder = tempfile::tempdir().unwrap();
        let whole = folder.path().join("whole");
        export(&store, &whole).await.unwrap();
        let text = std::fs::read_to_string(&whole).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let cut = lines[..lines.len() - 3].join("\n");
        let missing = [&lines[..20], &lines[21..]].concat().join("\n");
        let newer = text.replacen("[1,", "[1,99999,", 1);
        let changed = text.replacen("kruxt", "kruxx", 1);
        assert_ne!(changed, text);
        let file = folder.path().join("broken");
        let broken = [cut, missing, changed, "hello".into(), String::new()].map(|body| (body, false));
        for (body, is_newer) in broken.into_iter().chain([(newer, true)]) {
            std::fs::write(&file, body).unwrap();
            on_each(async |into| {
                let refused = restore(&into, &file, "person/1", at(9)).await.unwrap_err();
                let newer = matches!(refused, StoreError::Newer { found: 99_999, .. });
                assert!(newer == is_newer && (newer || matches!(refused, StoreError::Invalid(_))), "{refused:?}");
                assert!(memory::load(&into, "kruxt").await.unwrap().is_empty());
                assert_eq!(leadership::current(&into).await.unwrap().epoch, 0);
            })
            .await;
        }
    })
    .await;
}
