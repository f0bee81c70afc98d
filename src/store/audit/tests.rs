//! The chain: linked, verified, and what changes show.
#![allow(clippy::unwrap_used, reason = "tests")]
use super::*;
use crate::store::testing::on_each;

fn entry(n: i64) -> Entry {
    Entry {
        at: Timestamp::from_microsecond(1_767_225_600_000_001 + n).unwrap(),
        program: "kruxt".into(),
        actor: "controller".into(),
        action: "cohort.applied".into(),
        object: format!("cohort/{n}"),
        detail: json!({"rows": n, "share": 0.25, "whole": 3.0, "huge": 1e17, "tiny": 1e-9, "z": {"b": null, "a": "ö\n"}}),
    }
}

async fn write(store: &Store, numbers: std::ops::Range<i64>) {
    let mut tx = store.begin().await.unwrap();
    for n in numbers {
        append(&mut tx, entry(n)).await.unwrap();
    }
    tx.commit().await.unwrap();
}

async fn problem(store: &Store) -> Option<(i64, Option<i64>, Fault)> {
    verify(store).await.unwrap().problem.map(|problem| (problem.link, problem.seq, problem.what))
}

#[tokio::test]
async fn entries_are_chained_in_batches_and_verify() {
    on_each(async |store| {
        assert_eq!(verify(&store).await.unwrap(), Verification { chained: 0, waiting: 0, problem: None });
        write(&store, 0..1_203).await;
        assert_eq!(verify(&store).await.unwrap().waiting, 1_203);
        assert_eq!(chain(&store).await.unwrap(), 1_203);
        assert_eq!(chain(&store).await.unwrap(), 0);
        write(&store, 0..3).await;
        chain(&store).await.unwrap();
        assert_eq!(verify(&store).await.unwrap(), Verification { chained: 1_206, waiting: 0, problem: None });
        let newest = list(&store, &Filter { limit: Some(2), ..Filter::default() }).await.unwrap();
        assert_eq!(newest.iter().map(|kept| kept.entry.object.as_str()).collect::<Vec<_>>(), ["cohort/2", "cohort/1"]);
        let filter = Filter { program: Some("kruxt".into()), object: Some("cohort/7".into()), ..Filter::default() };
        assert_eq!(list(&store, &filter).await.unwrap().len(), 1);
        let summary = store.one("SELECT * FROM audit_log_integrity_summary", args![]).await.unwrap();
        assert_eq!(summary.get::<i64>("chained").unwrap(), 1_206);
        assert!(summary.get::<bool>("intact").unwrap());
    })
    .await;
}

#[tokio::test]
async fn the_first_entry_that_does_not_fit_is_named() {
    on_each(async |store| {
        write(&store, 0..6).await;
        chain(&store).await.unwrap();
        store.execute("UPDATE audit_log SET actor = 'nobody' WHERE link IN (3, 5)", args![]).await.unwrap();
        let seq = store.one("SELECT seq FROM audit_log WHERE link = 3", args![]).await.unwrap().get("seq").unwrap();
        assert_eq!(problem(&store).await, Some((3, Some(seq), Fault::Changed)));
        store.execute("UPDATE audit_log SET actor = 'controller'", args![]).await.unwrap();
        assert_eq!(problem(&store).await, None);
        store.execute("DELETE FROM audit_log WHERE link = 6", args![]).await.unwrap();
        assert_eq!(problem(&store).await, Some((6, None, Fault::Missing)));
        let summary = store.one("SELECT * FROM audit_log_integrity_summary", args![]).await.unwrap();
        assert!(!summary.get::<bool>("intact").unwrap());
        store.execute("DELETE FROM audit_log WHERE link = 2", args![]).await.unwrap();
        assert_eq!(problem(&store).await, Some((2, None, Fault::Missing)));
    })
    .await;
}

#[tokio::test]
async fn an_entry_that_commits_late_is_linked_late() {
    on_each(async |store| {
        if store.dialect() == Dialect::Sqlite {
            return; // one writer: commit order is sequence order
        }
        let mut early = store.begin().await.unwrap();
        let first = append(&mut early, entry(1)).await.unwrap();
        write(&store, 2..4).await;
        assert_eq!(chain(&store).await.unwrap(), 2);
        early.commit().await.unwrap();
        assert_eq!(chain(&store).await.unwrap(), 1);
        assert_eq!(problem(&store).await, None);
        let late = store.one("SELECT link FROM audit_log WHERE seq = $1", args![first]).await.unwrap();
        assert_eq!(late.get::<i64>("link").unwrap(), 3);
    })
    .await;
}

#[tokio::test]
async fn an_entry_of_a_transaction_that_is_undone_is_not_there() {
    on_each(async |store| {
        let mut tx = store.begin().await.unwrap();
        append(&mut tx, entry(1)).await.unwrap();
        drop(tx);
        write(&store, 2..3).await;
        assert_eq!(chain(&store).await.unwrap(), 1);
        assert_eq!(problem(&store).await, None);
    })
    .await;
}
