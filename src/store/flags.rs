//! Flag snapshots, and who serves which of them.
//!
//! Must not know: what a flag means.

use jiff::Timestamp;
use serde_json::Value;
use uuid::Uuid;

use super::push::CHANNEL;
use super::{Dialect, Row, Store, StoreError, Tx};
use crate::args;

/// Snapshots kept behind the newest.
const KEPT: i64 = 50;

/// What API processes serve.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// Rises by one with every change.
    pub revision: i64,
    /// Names the content.
    pub digest: String,
    /// Definitions, with what holds and stages make of them.
    pub body: Value,
    /// The holds in it.
    pub holds: Value,
    /// The source's revision it was made from.
    pub source_revision: String,
    /// When it was published.
    pub created_at: Timestamp,
}

/// What an API process says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Made anew with every start.
    pub id: Uuid,
    /// The workload it belongs to.
    pub workload: String,
    /// Its process id on its machine.
    pub pid: i64,
    /// Its pod's name, on a cluster: there every process has the same id.
    pub pod: Option<String>,
    /// When it started.
    pub started_at: Timestamp,
    /// When it last said so.
    pub reported_at: Timestamp,
    /// The flag revision it serves; 0 while none.
    pub flag_revision: i64,
}

impl Process {
    /// One that starts now and serves nothing yet.
    pub fn starting(workload: &str, pid: i64, pod: Option<String>, now: Timestamp) -> Self {
        let (id, workload) = (Uuid::now_v7(), workload.to_owned());
        Self { id, workload, pid, pod, started_at: now, reported_at: now, flag_revision: 0 }
    }
}

/// Publishes a snapshot and tells whoever listens once the transaction commits. When the newest has the same digest
/// nothing is written. Gives the revision to be served.
pub async fn publish(
    tx: &mut Tx,
    body: Value,
    holds: &Value,
    digest: &str,
    source_revision: &str,
    now: Timestamp,
) -> Result<i64, StoreError> {
    let newest = "SELECT revision, digest FROM flag_snapshots ORDER BY revision DESC LIMIT 1";
    let newest = tx.opt(newest, args![]).await?;
    let revision = match &newest {
        Some(row) if row.get::<String>("digest")? == digest => return row.get("revision"),
        Some(row) => row.get::<i64>("revision")? + 1,
        None => 1,
    };
    let insert = "INSERT INTO flag_snapshots (revision, digest, body, holds, source_revision, created_at)
        VALUES ($1, $2, $3, $4, $5, $6)";
    tx.execute(insert, args![revision, digest, body, holds, source_revision, now]).await?;
    tx.execute("DELETE FROM flag_snapshots WHERE revision < $1", args![revision - KEPT]).await?;
    if tx.dialect() == Dialect::Postgres {
        tx.one("SELECT pg_notify($1, $2) IS NULL AS told", args![CHANNEL, "flags"]).await?;
    }
    Ok(revision)
}

/// The run that holds a flag, when one does.
pub fn held_by<'a>(snapshot: &'a Snapshot, key: &str) -> Option<&'a str> {
    snapshot.body["flags"][key]["hold"]["run"].as_str()
}

/// The snapshot to be served; none before the first.
pub async fn newest(store: &Store) -> Result<Option<Snapshot>, StoreError> {
    let sql = "SELECT * FROM flag_snapshots ORDER BY revision DESC LIMIT 1";
    store.opt(sql, args![]).await?.as_ref().map(snapshot).transpose()
}

/// The newest snapshot, as a transaction sees it.
pub async fn newest_in(tx: &mut Tx) -> Result<Option<Snapshot>, StoreError> {
    let sql = "SELECT * FROM flag_snapshots ORDER BY revision DESC LIMIT 1";
    tx.opt(sql, args![]).await?.as_ref().map(snapshot).transpose()
}

/// The published definition of one flag, as this transaction sees it.
pub async fn definition_in(tx: &mut Tx, key: &str) -> Result<Option<Value>, StoreError> {
    let sql = "SELECT body FROM flag_snapshots ORDER BY revision DESC LIMIT 1";
    let Some(row) = tx.opt(sql, args![]).await? else { return Ok(None) };
    let mut body: Value = row.get("body")?;
    Ok(body["flags"].get_mut(key).map(Value::take))
}

/// The revision of the snapshot to be served; 0 before the first.
pub async fn newest_revision(store: &Store) -> Result<i64, StoreError> {
    let sql = "SELECT coalesce(max(revision), 0) AS revision FROM flag_snapshots";
    store.one(sql, args![]).await?.get("revision")
}

/// The holds (`RUN/STEP`) that are in a snapshot; empty when it is gone.
pub async fn holds(store: &Store, revision: i64) -> Result<Vec<String>, StoreError> {
    let sql = "SELECT holds FROM flag_snapshots WHERE revision = $1";
    let Some(row) = store.opt(sql, args![revision]).await? else { return Ok(Vec::new()) };
    let holds: Value = row.get("holds")?;
    Ok(holds.as_array().into_iter().flatten().filter_map(|hold| hold.as_str().map(str::to_owned)).collect())
}

/// Records what a process says of itself (every 5 s, and when it serves another revision).
pub async fn report_process(store: &Store, process: &Process) -> Result<(), StoreError> {
    let upsert = "INSERT INTO api_processes (id, workload, pid, started_at, reported_at, flag_revision, pod)
        VALUES ($1, $2, $3, $4, $5, $6, $7)
        ON CONFLICT (id) DO UPDATE SET reported_at = excluded.reported_at, flag_revision = excluded.flag_revision";
    let Process { id, workload, pid, pod, started_at, reported_at, flag_revision } = process;
    store.execute(upsert, args![id, workload, *pid, *started_at, *reported_at, *flag_revision, pod]).await?;
    Ok(())
}

/// The processes that said something at or after `since`, by workload and age.
pub async fn processes(store: &Store, since: Timestamp) -> Result<Vec<Process>, StoreError> {
    let sql = "SELECT * FROM api_processes WHERE reported_at >= $1 ORDER BY workload, started_at, id";
    store.all(sql, args![since]).await?.iter().map(process).collect()
}

/// Forgets a process that has ended.
pub async fn forget_process(store: &Store, id: Uuid) -> Result<(), StoreError> {
    store.execute("DELETE FROM api_processes WHERE id = $1", args![id]).await?;
    Ok(())
}

/// Forgets the processes that have been silent since before `before`; says how many.
pub async fn forget_silent(store: &Store, before: Timestamp) -> Result<u64, StoreError> {
    store.execute("DELETE FROM api_processes WHERE reported_at < $1", args![before]).await
}

fn snapshot(row: &Row) -> Result<Snapshot, StoreError> {
    Ok(Snapshot {
        revision: row.get("revision")?,
        digest: row.get("digest")?,
        body: row.get("body")?,
        holds: row.get("holds")?,
        source_revision: row.get("source_revision")?,
        created_at: row.get("created_at")?,
    })
}

fn process(row: &Row) -> Result<Process, StoreError> {
    Ok(Process {
        id: row.get("id")?,
        workload: row.get("workload")?,
        pid: row.get("pid")?,
        pod: row.get("pod")?,
        started_at: row.get("started_at")?,
        reported_at: row.get("reported_at")?,
        flag_revision: row.get("flag_revision")?,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::super::testing::on_each;
    use super::*;
    use serde_json::json;

    async fn publish_one(store: &Store, digest: &str) -> i64 {
        let mut tx = store.begin().await.unwrap();
        let body = json!({"flags": {"zeta": {"state": "ENABLED"}, "alpha": {}}});
        let revision = publish(&mut tx, body, &json!({}), digest, "abc123", Timestamp::UNIX_EPOCH).await.unwrap();
        tx.commit().await.unwrap();
        revision
    }

    #[tokio::test]
    async fn the_same_digest_is_the_same_revision() {
        on_each(async |store| {
            assert_eq!(newest(&store).await.unwrap(), None);
            assert_eq!(publish_one(&store, "a").await, 1);
            assert_eq!(publish_one(&store, "a").await, 1);
            assert_eq!(publish_one(&store, "b").await, 2);
            assert_eq!(publish_one(&store, "a").await, 3);
            assert_eq!(newest(&store).await.unwrap().unwrap().digest, "a");
            for n in 0..60 {
                publish_one(&store, &n.to_string()).await;
            }
            let kept = store.one("SELECT count(*) AS n FROM flag_snapshots", args![]).await.unwrap();
            assert_eq!(kept.get::<i64>("n").unwrap(), KEPT + 1);
        })
        .await;
    }

    #[tokio::test]
    async fn processes_report_what_they_serve_and_are_forgotten() {
        on_each(async |store| {
            let at = |second| Timestamp::from_second(second).unwrap();
            let mut one = Process::starting("api", 41, Some("api-6d".into()), at(0));
            (one.reported_at, one.flag_revision) = (at(1), 1);
            report_process(&store, &one).await.unwrap();
            (one.reported_at, one.flag_revision) = (at(6), 2);
            report_process(&store, &one).await.unwrap();
            assert_eq!(processes(&store, at(6)).await.unwrap(), [one.clone()]);
            assert!(processes(&store, at(7)).await.unwrap().is_empty());
            assert_eq!(forget_silent(&store, at(6)).await.unwrap(), 0);
            forget_process(&store, one.id).await.unwrap();
            assert!(processes(&store, at(0)).await.unwrap().is_empty());
        })
        .await;
    }
}
