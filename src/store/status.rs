//! What is kept of resources: their status, the last document that was accepted, and how far sources have been read.
//!
//! Must not know: what a status or a document says.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::Value;

use super::{Row, Store, StoreError, Tx};
use crate::args;

/// A resource's status.
#[derive(Clone, Debug, PartialEq)]
pub struct ResourceStatus {
    /// The resource's kind.
    pub kind: String,
    /// Its name, unique by kind.
    pub name: String,
    /// The program it belongs to.
    pub program: String,
    /// Its conditions and the rest.
    pub status: Value,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// A document that was accepted.
#[derive(Clone, Debug, PartialEq)]
pub struct LastGood {
    /// The resource's kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// The program it belongs to.
    pub program: String,
    /// The source's revision it came from.
    pub revision: String,
    /// The document.
    pub body: Value,
    /// When it was accepted.
    pub accepted_at: Timestamp,
}

/// How far a source has been read.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceState {
    /// The source's name.
    pub name: String,
    /// The last good revision; none before the first.
    pub revision: Option<String>,
    /// What else there is to say: errors, when it was last reached.
    pub body: Value,
    /// When it was written.
    pub updated_at: Timestamp,
}

/// Writes a status when it differs from the one kept; says whether it did.
pub async fn put(tx: &mut Tx, status: &ResourceStatus) -> Result<bool, StoreError> {
    let ResourceStatus { kind, name, program, status, updated_at } = status;
    let upsert = "INSERT INTO resource_status (kind, name, program, status, updated_at) VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (kind, name) DO UPDATE SET program = excluded.program, status = excluded.status,
            updated_at = excluded.updated_at
        WHERE resource_status.status <> excluded.status OR resource_status.program <> excluded.program";
    Ok(tx.execute(upsert, args![kind, name, program, status, *updated_at]).await? > 0)
}

/// Forgets the status of a program's resource. One of that name that belongs to another program by now keeps its own.
pub async fn remove(tx: &mut Tx, program: &str, kind: &str, name: &str) -> Result<bool, StoreError> {
    let sql = "DELETE FROM resource_status WHERE kind = $1 AND name = $2 AND program = $3";
    Ok(tx.execute(sql, args![kind, name, program]).await? > 0)
}

/// The statuses of a program's resources, by kind and name.
pub async fn of_program(store: &Store, program: &str) -> Result<Vec<ResourceStatus>, StoreError> {
    let sql = "SELECT * FROM resource_status WHERE program = $1 ORDER BY kind, name";
    store.all(sql, args![program]).await?.iter().map(status).collect()
}

/// The programs of which a status or an accepted document is kept.
pub async fn programs(store: &Store) -> Result<Vec<String>, StoreError> {
    let sql = "SELECT program FROM last_good UNION SELECT program FROM resource_status ORDER BY program";
    store.all(sql, args![]).await?.iter().map(|row| row.get("program")).collect()
}

/// Forgets what is kept of a program that is gone: statuses and accepted documents.
pub async fn forget_program(tx: &mut Tx, program: &str) -> Result<(), StoreError> {
    tx.execute("DELETE FROM resource_status WHERE program = $1", args![program]).await?;
    tx.execute("DELETE FROM last_good WHERE program = $1", args![program]).await?;
    Ok(())
}

/// A resource's status.
pub async fn get(store: &Store, kind: &str, name: &str) -> Result<Option<ResourceStatus>, StoreError> {
    let sql = "SELECT * FROM resource_status WHERE kind = $1 AND name = $2";
    store.opt(sql, args![kind, name]).await?.as_ref().map(status).transpose()
}

/// The statuses of a kind, or of all kinds, by kind and name.
pub async fn list(store: &Store, kind: Option<&str>) -> Result<Vec<ResourceStatus>, StoreError> {
    let sql = "SELECT * FROM resource_status WHERE $1 = '' OR kind = $1 ORDER BY kind, name";
    store.all(sql, args![kind.unwrap_or_default()]).await?.iter().map(status).collect()
}

/// Keeps a document as the last accepted one.
pub async fn keep_good(tx: &mut Tx, good: &LastGood) -> Result<(), StoreError> {
    let LastGood { kind, name, program, revision, body, accepted_at } = good;
    let upsert = "INSERT INTO last_good (kind, name, program, revision, body, accepted_at)
        VALUES ($1, $2, $3, $4, $5, $6)
        ON CONFLICT (kind, name) DO UPDATE SET program = excluded.program, revision = excluded.revision,
            body = excluded.body, accepted_at = excluded.accepted_at";
    tx.execute(upsert, args![kind, name, program, revision, body, *accepted_at]).await?;
    Ok(())
}

/// Forgets the accepted documents of a program that are none of `kept`, by kind and name: their resources are gone. Says how many.
pub async fn keep_only(tx: &mut Tx, program: &str, kept: &BTreeSet<(String, String)>) -> Result<u64, StoreError> {
    let mut forgotten = 0;
    for row in tx.all("SELECT kind, name FROM last_good WHERE program = $1", args![program]).await? {
        let known: (String, String) = (row.get("kind")?, row.get("name")?);
        if !kept.contains(&known) {
            let sql = "DELETE FROM last_good WHERE kind = $1 AND name = $2 AND program = $3";
            forgotten += tx.execute(sql, args![&known.0, &known.1, program]).await?;
        }
    }
    Ok(forgotten)
}

/// The last accepted documents, by kind and name.
pub async fn all_good(store: &Store) -> Result<Vec<LastGood>, StoreError> {
    store.all("SELECT * FROM last_good ORDER BY kind, name", args![]).await?.iter().map(last_good).collect()
}

/// The last accepted document of one resource.
pub async fn good(store: &Store, kind: &str, name: &str) -> Result<Option<LastGood>, StoreError> {
    let sql = "SELECT * FROM last_good WHERE kind = $1 AND name = $2";
    store.opt(sql, args![kind, name]).await?.as_ref().map(last_good).transpose()
}

/// The same, as a transaction sees it.
pub async fn good_in(tx: &mut Tx, kind: &str, name: &str) -> Result<Option<LastGood>, StoreError> {
    let sql = "SELECT * FROM last_good WHERE kind = $1 AND name = $2";
    tx.opt(sql, args![kind, name]).await?.as_ref().map(last_good).transpose()
}

fn last_good(row: &Row) -> Result<LastGood, StoreError> {
    Ok(LastGood {
        kind: row.get("kind")?,
        name: row.get("name")?,
        program: row.get("program")?,
        revision: row.get("revision")?,
        body: row.get("body")?,
        accepted_at: row.get("accepted_at")?,
    })
}

/// Records how far a source has been read.
pub async fn put_source(tx: &mut Tx, source: &SourceState) -> Result<(), StoreError> {
    let SourceState { name, revision, body, updated_at } = source;
    let upsert = "INSERT INTO source_state (name, revision, body, updated_at) VALUES ($1, $2, $3, $4)
        ON CONFLICT (name) DO UPDATE SET revision = excluded.revision, body = excluded.body,
            updated_at = excluded.updated_at";
    tx.execute(upsert, args![name, revision, body, *updated_at]).await?;
    Ok(())
}

/// Forgets a source that is one no more.
pub async fn forget_source(tx: &mut Tx, name: &str) -> Result<(), StoreError> {
    tx.execute("DELETE FROM source_state WHERE name = $1", args![name]).await?;
    Ok(())
}

/// How far each source has been read, by name.
pub async fn sources(store: &Store) -> Result<Vec<SourceState>, StoreError> {
    let rows = store.all("SELECT * FROM source_state ORDER BY name", args![]).await?;
    rows.iter()
        .map(|row| {
            Ok(SourceState {
                name: row.get("name")?,
                revision: row.get("revision")?,
                body: row.get("body")?,
                updated_at: row.get("updated_at")?,
            })
        })
        .collect()
}

fn status(row: &Row) -> Result<ResourceStatus, StoreError> {
    Ok(ResourceStatus {
        kind: row.get("kind")?,
        name: row.get("name")?,
        program: row.get("program")?,
        status: row.get("status")?,
        updated_at: row.get("updated_at")?,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::super::testing::on_each;
    use super::*;
    use serde_json::json;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[tokio::test]
    async fn a_status_is_written_only_when_it_differs() {
        on_each(async |store| {
            let mut one = ResourceStatus {
                kind: "Gate".into(),
                name: "weekly".into(),
                program: "kruxt".into(),
                status: json!({"verdict": "Pass", "rows": [1, 2]}),
                updated_at: at(1),
            };
            let mut tx = store.begin().await.unwrap();
            assert!(put(&mut tx, &one).await.unwrap());
            assert!(!put(&mut tx, &ResourceStatus { updated_at: at(2), ..one.clone() }).await.unwrap());
            tx.commit().await.unwrap();
            assert_eq!(get(&store, "Gate", "weekly").await.unwrap(), Some(one.clone()));
            one.status = json!({"verdict": "Fail"});
            let mut tx = store.begin().await.unwrap();
            assert!(put(&mut tx, &one).await.unwrap());
            tx.commit().await.unwrap();
            assert_eq!(list(&store, None).await.unwrap(), [one]);
            assert!(list(&store, Some("Flag")).await.unwrap().is_empty());
            let mut tx = store.begin().await.unwrap();
            assert!(!remove(&mut tx, "another", "Gate", "weekly").await.unwrap(), "it is another program's");
            assert!(remove(&mut tx, "kruxt", "Gate", "weekly").await.unwrap());
        })
        .await;
    }

    #[tokio::test]
    async fn the_last_good_document_and_the_sources_state_are_replaced_whole() {
        on_each(async |store| {
            for (revision, n) in [("a", 1), ("b", 2)] {
                let good = LastGood {
                    kind: "Cohort".into(),
                    name: "pavia".into(),
                    program: "kruxt".into(),
                    revision: revision.into(),
                    body: json!({"spec": {"n": n}}),
                    accepted_at: at(n),
                };
                let source = SourceState {
                    name: "default".into(),
                    revision: Some(revision.into()),
                    body: json!({"reached": n}),
                    updated_at: at(n),
                };
                let mut tx = store.begin().await.unwrap();
                keep_good(&mut tx, &good).await.unwrap();
                put_source(&mut tx, &source).await.unwrap();
                tx.commit().await.unwrap();
                assert_eq!(all_good(&store).await.unwrap(), [good]);
                assert_eq!(sources(&store).await.unwrap(), [source]);
            }
            let mut tx = store.begin().await.unwrap();
            let same = BTreeSet::from([("Cohort".to_owned(), "pavia".to_owned())]);
            assert_eq!(keep_only(&mut tx, "kruxt", &same).await.unwrap(), 0);
            assert_eq!(keep_only(&mut tx, "another", &BTreeSet::new()).await.unwrap(), 0);
            assert_eq!(keep_only(&mut tx, "kruxt", &BTreeSet::new()).await.unwrap(), 1);
        })
        .await;
    }
}
