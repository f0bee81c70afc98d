//! The revisions of workloads: what each was made of, and whether it stayed up.
//!
//! Must not know: how a process is run.

use jiff::Timestamp;
use serde_json::Value;

use super::{Row, Store, StoreError};
use crate::args;

/// Revisions kept of one workload.
const KEPT: i64 = 10;

/// A revision of a workload.
#[derive(Clone, Debug, PartialEq)]
pub struct Revision {
    /// The workload's name.
    pub workload: String,
    /// The revision's.
    pub revision: String,
    /// The workload's program.
    pub program: String,
    /// The workload's document, without the values of secrets.
    pub spec: Value,
    /// When it was last wanted for the first time.
    pub wanted_at: Timestamp,
    /// When it was seen to stay up.
    pub proven_at: Option<Timestamp>,
}

/// Records that a revision is wanted from now on, and forgets the oldest ones; the newest that stayed up is never forgotten.
///
/// # Errors
/// The database's.
pub async fn want(store: &Store, revision: &Revision) -> Result<(), StoreError> {
    let mut tx = store.begin().await?;
    let upsert =
        "INSERT INTO workload_revisions (workload, revision, program, spec, wanted_at) VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (workload, revision) DO UPDATE SET wanted_at = excluded.wanted_at";
    let Revision { workload, revision, program, spec, wanted_at, .. } = revision;
    tx.execute(upsert, args![workload, revision, program, spec, *wanted_at]).await?;
    let forget = "DELETE FROM workload_revisions WHERE workload = $1 AND revision NOT IN (
            SELECT revision FROM workload_revisions WHERE workload = $1 ORDER BY wanted_at DESC LIMIT $2)
        AND revision NOT IN (
            SELECT revision FROM workload_revisions WHERE workload = $1 AND proven_at IS NOT NULL ORDER BY proven_at DESC LIMIT 1)";
    tx.execute(forget, args![workload, KEPT]).await?;
    tx.commit().await
}

/// Records that a revision stayed up.
///
/// # Errors
/// The database's.
pub async fn prove(store: &Store, workload: &str, revision: &str, now: Timestamp) -> Result<(), StoreError> {
    let sql = "UPDATE workload_revisions SET proven_at = $3 WHERE workload = $1 AND revision = $2";
    store.execute(sql, args![workload, revision, now]).await?;
    Ok(())
}

/// The revisions of a workload, oldest first.
///
/// # Errors
/// The database's.
pub async fn revisions(store: &Store, workload: &str) -> Result<Vec<Revision>, StoreError> {
    let sql = "SELECT * FROM workload_revisions WHERE workload = $1 ORDER BY wanted_at, revision";
    store.all(sql, args![workload]).await?.iter().map(read).collect()
}

fn read(row: &Row) -> Result<Revision, StoreError> {
    Ok(Revision {
        workload: row.get("workload")?,
        revision: row.get("revision")?,
        program: row.get("program")?,
        spec: row.get("spec")?,
        wanted_at: row.get("wanted_at")?,
        proven_at: row.get("proven_at")?,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use serde_json::json;

    use super::super::testing::on_each;
    use super::*;

    #[tokio::test]
    async fn the_newest_revisions_are_kept_and_the_last_that_stayed_up_with_them() {
        on_each(async |store| {
            let at = |second| Timestamp::from_second(second).unwrap();
            let revision = |n: i64| Revision {
                workload: "api".into(),
                revision: format!("r{n}"),
                program: "p".into(),
                spec: json!({ "n": n }),
                wanted_at: at(n),
                proven_at: None,
            };
            want(&store, &revision(0)).await.unwrap();
            prove(&store, "api", "r0", at(0)).await.unwrap();
            for n in 1..20 {
                want(&store, &revision(n)).await.unwrap();
            }
            let kept = revisions(&store, "api").await.unwrap();
            assert_eq!(kept.len(), 11);
            assert_eq!((kept[0].revision.as_str(), kept[0].proven_at), ("r0", Some(at(0))));
            assert_eq!(kept[1].revision, "r10");
            // Going back to one makes it the newest.
            want(&store, &Revision { wanted_at: at(30), ..revision(12) }).await.unwrap();
            assert_eq!(revisions(&store, "api").await.unwrap().last().unwrap().revision, "r12");
        })
        .await;
    }
}
