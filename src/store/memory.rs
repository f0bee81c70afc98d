//! What `decide` remembers: JSON documents by kind and name, written only when they changed.
//!
//! Must not know: what a document says.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Store, StoreError, Tx};
use crate::args;

/// A remembered document.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// What it is (`run`, `gate`, `rollout`).
    pub kind: String,
    /// Whose it is.
    pub name: String,
    /// What it says.
    pub body: Value,
    /// How often it has been written; [`save`] uses it to notice another writer.
    pub version: i64,
}

/// Everything remembered of a program, by kind and name.
pub async fn load(store: &Store, program: &str) -> Result<Vec<Document>, StoreError> {
    let all = "SELECT kind, name, body, version FROM memory WHERE program = $1 ORDER BY kind, name";
    let rows = store.all(all, args![program]).await?;
    rows.iter()
        .map(|row| {
            Ok(Document {
                kind: row.get("kind")?,
                name: row.get("name")?,
                body: row.get("body")?,
                version: row.get("version")?,
            })
        })
        .collect()
}

/// The programs that anything is remembered of.
pub async fn programs(store: &Store) -> Result<Vec<String>, StoreError> {
    let rows = store.all("SELECT DISTINCT program FROM memory ORDER BY program", args![]).await?;
    rows.iter().map(|row| row.get("program")).collect()
}

/// Makes the memory of a program equal to `after`, where `before` is what was loaded: writes what changed, deletes what
/// is gone, leaves the rest alone. Gives the documents as they stand once the transaction commits.
///
/// # Errors
/// [`StoreError::Conflict`] when somebody else has written one of them since; nothing may be kept of it then.
pub async fn save(
    tx: &mut Tx,
    program: &str,
    before: &[Document],
    after: Vec<(String, String, Value)>,
) -> Result<Vec<Document>, StoreError> {
    let mut had: BTreeMap<(String, String), &Document> =
        before.iter().map(|document| ((document.kind.clone(), document.name.clone()), document)).collect();
    let mut saved = Vec::with_capacity(after.len());
    for (kind, name, body) in after {
        let version = match had.remove(&(kind.clone(), name.clone())) {
            Some(old) if old.body == body => old.version,
            old => put(tx, program, (&kind, &name), &body, old.map_or(0, |old| old.version)).await?,
        };
        saved.push(Document { kind, name, body, version });
    }
    for gone in had.into_values() {
        let delete = "DELETE FROM memory WHERE program = $1 AND kind = $2 AND name = $3 AND version = $4";
        let touched = tx.execute(delete, args![program, &gone.kind, &gone.name, gone.version]).await?;
        expect_one(touched, program, (&gone.kind, &gone.name))?;
    }
    Ok(saved)
}

/// Writes one document over its version `had` (0: it must be new) and gives its new version.
///
/// # Errors
/// [`StoreError::Conflict`] when it has another version.
pub async fn put(
    tx: &mut Tx,
    program: &str,
    (kind, name): (&str, &str),
    body: &Value,
    had: i64,
) -> Result<i64, StoreError> {
    let write = if had == 0 {
        "INSERT INTO memory (program, kind, name, body, version) VALUES ($1, $2, $3, $4, $5 + 1)
         ON CONFLICT (program, kind, name) DO NOTHING"
    } else {
        "UPDATE memory SET body = $4, version = version + 1
         WHERE program = $1 AND kind = $2 AND name = $3 AND version = $5"
    };
    let touched = tx.execute(write, args![program, kind, name, body, had]).await?;
    expect_one(touched, program, (kind, name))?;
    Ok(had + 1)
}

fn expect_one(touched: u64, program: &str, (kind, name): (&str, &str)) -> Result<(), StoreError> {
    if touched == 1 {
        return Ok(());
    }
    Err(StoreError::Conflict(format!("{kind}/{name} of {program} was written by another")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::super::testing::on_each;
    use super::*;
    use serde_json::json;

    fn doc(name: &str, n: i64) -> (String, String, Value) {
        ("gate".into(), name.into(), json!({"passes": n, "at": "2026-03-02"}))
    }

    #[tokio::test]
    async fn only_what_changed_is_written_and_what_is_gone_is_deleted() {
        on_each(async |store| {
            let mut tx = store.begin().await.unwrap();
            let first = save(&mut tx, "kruxt", &[], vec![doc("a", 1), doc("b", 1), doc("c", 1)]).await.unwrap();
            tx.commit().await.unwrap();
            assert_eq!(load(&store, "kruxt").await.unwrap(), first);
            let mut tx = store.begin().await.unwrap();
            let second = save(&mut tx, "kruxt", &first, vec![doc("a", 1), doc("b", 2), doc("d", 1)]).await.unwrap();
            tx.commit().await.unwrap();
            assert_eq!(load(&store, "kruxt").await.unwrap(), second);
            assert_eq!(second.iter().map(|document| document.version).collect::<Vec<_>>(), [1, 2, 1]);
            assert!(load(&store, "other").await.unwrap().is_empty());
            assert_eq!(programs(&store).await.unwrap(), ["kruxt"]);
        })
        .await;
    }

    #[tokio::test]
    async fn a_second_writer_is_noticed() {
        on_each(async |store| {
            let mut tx = store.begin().await.unwrap();
            let first = save(&mut tx, "kruxt", &[], vec![doc("a", 1)]).await.unwrap();
            save(&mut tx, "kruxt", &first, vec![doc("a", 2)]).await.unwrap();
            tx.commit().await.unwrap();
            for after in [vec![doc("a", 3)], vec![]] {
                let mut tx = store.begin().await.unwrap();
                assert!(matches!(save(&mut tx, "kruxt", &first, after).await, Err(StoreError::Conflict(_))));
            }
            let mut tx = store.begin().await.unwrap();
            assert!(matches!(save(&mut tx, "kruxt", &[], vec![doc("a", 3)]).await, Err(StoreError::Conflict(_))));
        })
        .await;
    }
}
