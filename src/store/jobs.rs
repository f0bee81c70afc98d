//! The queue of jobs: enqueued, claimed for a while, kept alive by heartbeats, finished or tried again.
//!
//! Must not know: what a job does. Workers claim unfenced; a job must bear running twice.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use uuid::Uuid;

use super::outbox::after;
use super::states::words;
use super::{Row, Store, StoreError, Tx, backoff};
use crate::args;

words! {
    /// Where a job stands.
    pub enum State {
        /// To be run when its time comes.
        Waiting = "waiting",
        /// In a worker's hands.
        Running = "running",
        /// Finished.
        Done = "done",
        /// Given up.
        Failed = "failed",
    }
}

/// A job to enqueue.
#[derive(Clone, Debug, PartialEq)]
pub struct NewJob {
    /// The program it belongs to; empty when to none.
    pub program: String,
    /// What it is; workers claim by kind.
    pub kind: String,
    /// What makes it one job (a schedule's tick); the same key is enqueued once.
    pub unique_key: Option<String>,
    /// What the worker needs.
    pub payload: Value,
    /// Not before this instant.
    pub run_at: Timestamp,
    /// Given up after so many tries.
    pub max_attempts: i64,
}

/// A job as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// Its id.
    pub id: Uuid,
    /// What was enqueued.
    pub job: NewJob,
    /// Where it stands.
    pub state: State,
    /// How often it has been claimed.
    pub attempts: i64,
    /// Who claimed it last.
    pub claimed_by: Option<String>,
    /// When it was finished or given up.
    pub finished_at: Option<Timestamp>,
    /// What it gave.
    pub result: Option<Value>,
    /// Why the last try failed.
    pub last_error: Option<String>,
}

/// Enqueues a job, and gives its id and whether it is new.
pub async fn enqueue(tx: &mut Tx, job: &NewJob, now: Timestamp) -> Result<(Uuid, bool), StoreError> {
    let NewJob { program, kind, unique_key, payload, run_at, max_attempts } = job;
    let insert = "INSERT INTO jobs (id, program, kind, unique_key, payload, state, run_at, max_attempts, created_at)
        VALUES ($1, $2, $3, $4, $5, 'waiting', $6, $7, $8) ON CONFLICT (unique_key) DO NOTHING";
    let id = Uuid::now_v7();
    if tx.execute(insert, args![id, program, kind, unique_key, payload, *run_at, *max_attempts, now]).await? > 0 {
        return Ok((id, true));
    }
    let known = tx.one("SELECT id FROM jobs WHERE unique_key = $1", args![unique_key]).await?;
    Ok((known.get("id")?, false))
}

/// Claims due jobs, oldest first, skipping what others hold; a job whose worker went silent is claimed again, or given
/// up when it has had its tries.
pub async fn claim(
    store: &Store,
    kinds: &[&str],
    by: &str,
    limit: i64,
    lease: SignedDuration,
    now: Timestamp,
) -> Result<Vec<Job>, StoreError> {
    let mut tx = store.begin().await?;
    let any = tx.dialect().any("kind", "$1");
    let lost = format!(
        "UPDATE jobs SET state = 'failed', finished_at = $2, last_error = 'the worker vanished'
         WHERE state = 'running' AND lease_until <= $2 AND attempts >= max_attempts AND {any}"
    );
    tx.execute(&lost, args![kinds, now]).await?;
    let skip = tx.dialect().pick("FOR UPDATE SKIP LOCKED", "");
    let take = format!(
        "WITH due AS MATERIALIZED (
            SELECT id FROM jobs WHERE {any} AND run_at <= $2
              AND (state = 'waiting' OR (state = 'running' AND lease_until <= $2))
            ORDER BY run_at, id LIMIT $5 {skip})
         UPDATE jobs SET state = 'running', attempts = attempts + 1, claimed_by = $3, lease_until = $4
         WHERE id IN (SELECT id FROM due) RETURNING *"
    );
    let rows = tx.all(&take, args![kinds, now, by, after(now, lease)?, limit]).await?;
    let mut jobs: Vec<Job> = rows.iter().map(read).collect::<Result<_, _>>()?;
    tx.commit().await?;
    jobs.sort_by_key(|job| (job.job.run_at, job.id));
    Ok(jobs)
}

/// Says that the worker is still at it; the lease runs anew.
///
/// # Errors
/// [`StoreError::Missing`] when the job is not this worker's any more; it should stop.
pub async fn heartbeat(
    store: &Store,
    id: Uuid,
    by: &str,
    lease: SignedDuration,
    now: Timestamp,
) -> Result<(), StoreError> {
    let alive = "UPDATE jobs SET lease_until = $3 WHERE id = $1 AND claimed_by = $2 AND state = 'running'";
    expect(store.execute(alive, args![id, by, after(now, lease)?]).await?, id)
}

/// Records a job's end, in the transaction of its last effect.
///
/// # Errors
/// [`StoreError::Missing`] when the job is not this worker's any more.
pub async fn finish(tx: &mut Tx, id: Uuid, by: &str, result: &Value, now: Timestamp) -> Result<(), StoreError> {
    let done = "UPDATE jobs SET state = 'done', result = $3, finished_at = $4, lease_until = NULL, last_error = NULL
        WHERE id = $1 AND claimed_by = $2 AND state = 'running'";
    expect(tx.execute(done, args![id, by, result, now]).await?, id)
}

/// Records that a try failed: tried again after [`backoff`], or given up (`terminal`, or all tries had). Gives the state.
///
/// # Errors
/// [`StoreError::Missing`] when the job is not this worker's any more.
pub async fn fail(tx: &mut Tx, job: &Job, error: &str, terminal: bool, now: Timestamp) -> Result<State, StoreError> {
    let over = terminal || job.attempts >= job.job.max_attempts;
    let state = if over { State::Failed } else { State::Waiting };
    let run_at = if over { job.job.run_at } else { after(now, backoff(job.attempts, job.id))? };
    let update = "UPDATE jobs SET state = $3, run_at = $4, finished_at = $5, last_error = $6, lease_until = NULL
        WHERE id = $1 AND claimed_by = $2 AND state = 'running'";
    let bound = args![job.id, &job.claimed_by, state.as_str(), run_at, over.then_some(now), error];
    expect(tx.execute(update, bound).await?, job.id)?;
    Ok(state)
}

/// A job.
pub async fn get(store: &Store, id: Uuid) -> Result<Option<Job>, StoreError> {
    store.opt("SELECT * FROM jobs WHERE id = $1", args![id]).await?.as_ref().map(read).transpose()
}

/// When a job of this kind last finished well, for checks that ask for it.
pub async fn last_success(store: &Store, program: &str, kind: &str) -> Result<Option<Timestamp>, StoreError> {
    let sql = "SELECT max(finished_at) AS at FROM jobs WHERE program = $1 AND kind = $2 AND state = 'done'";
    store.one(sql, args![program, kind]).await?.get("at")
}

/// The newest jobs of a program, of any state.
pub async fn list(store: &Store, program: &str, limit: i64) -> Result<Vec<Job>, StoreError> {
    let sql = "SELECT * FROM jobs WHERE program = $1 ORDER BY created_at DESC, id DESC LIMIT $2";
    store.all(sql, args![program, limit]).await?.iter().map(read).collect()
}

/// Deletes jobs that ended before `before`; says how many.
pub async fn prune(tx: &mut Tx, before: Timestamp) -> Result<u64, StoreError> {
    tx.execute("DELETE FROM jobs WHERE finished_at < $1", args![before]).await
}

fn expect(touched: u64, id: Uuid) -> Result<(), StoreError> {
    if touched == 1 { Ok(()) } else { Err(StoreError::Missing(format!("job {id} is not in these hands"))) }
}

fn read(row: &Row) -> Result<Job, StoreError> {
    Ok(Job {
        id: row.get("id")?,
        job: NewJob {
            program: row.get("program")?,
            kind: row.get("kind")?,
            unique_key: row.get("unique_key")?,
            payload: row.get("payload")?,
            run_at: row.get("run_at")?,
            max_attempts: row.get("max_attempts")?,
        },
        state: row.get::<String>("state")?.parse()?,
        attempts: row.get("attempts")?,
        claimed_by: row.get("claimed_by")?,
        finished_at: row.get("finished_at")?,
        result: row.get("result")?,
        last_error: row.get("last_error")?,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::super::testing::on_each;
    use super::*;
    use serde_json::json;

    const LEASE: SignedDuration = SignedDuration::from_secs(60);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_767_225_600 + second).unwrap()
    }

    async fn add(store: &Store, key: &str) -> (Uuid, bool) {
        let job = NewJob {
            program: "kruxt".into(),
            kind: "sync_dispatcher".into(),
            unique_key: Some(key.into()),
            payload: json!({}),
            run_at: at(0),
            max_attempts: 2,
        };
        let mut tx = store.begin().await.unwrap();
        let added = enqueue(&mut tx, &job, at(0)).await.unwrap();
        tx.commit().await.unwrap();
        added
    }

    async fn take(store: &Store, by: &str, second: i64) -> Vec<Job> {
        claim(store, &["sync_dispatcher"], by, 5, LEASE, at(second)).await.unwrap()
    }

    #[tokio::test]
    async fn a_job_runs_once_and_its_success_is_known() {
        on_each(async |store| {
            let (id, fresh) = add(&store, "tick-1").await;
            assert!(fresh);
            assert_eq!(add(&store, "tick-1").await, (id, false));
            assert!(take(&store, "a", -1).await.is_empty());
            assert_eq!(take(&store, "a", 1).await.len(), 1);
            assert!(take(&store, "b", 2).await.is_empty());
            heartbeat(&store, id, "a", LEASE, at(50)).await.unwrap();
            assert!(take(&store, "b", 100).await.is_empty());
            let mut tx = store.begin().await.unwrap();
            finish(&mut tx, id, "a", &json!({"sent": 3}), at(101)).await.unwrap();
            tx.commit().await.unwrap();
            assert_eq!(last_success(&store, "kruxt", "sync_dispatcher").await.unwrap(), Some(at(101)));
            assert_eq!(get(&store, id).await.unwrap().unwrap().state, State::Done);
            assert_eq!(list(&store, "kruxt", 5).await.unwrap().len(), 1);
            let mut tx = store.begin().await.unwrap();
            assert_eq!(prune(&mut tx, at(102)).await.unwrap(), 1);
        })
        .await;
    }

    #[tokio::test]
    async fn a_failed_job_is_tried_again_later_and_then_given_up() {
        on_each(async |store| {
            let (id, _) = add(&store, "tick-1").await;
            let job = take(&store, "a", 0).await.remove(0);
            let mut tx = store.begin().await.unwrap();
            assert_eq!(fail(&mut tx, &job, "boom", false, at(1)).await.unwrap(), State::Waiting);
            tx.commit().await.unwrap();
            assert!(take(&store, "a", 2).await.is_empty());
            let job = take(&store, "a", 10).await.remove(0);
            let mut tx = store.begin().await.unwrap();
            assert_eq!(fail(&mut tx, &job, "boom", false, at(11)).await.unwrap(), State::Failed);
            tx.commit().await.unwrap();
            assert_eq!(get(&store, id).await.unwrap().unwrap().last_error.as_deref(), Some("boom"));
        })
        .await;
    }

    #[tokio::test]
    async fn a_silent_workers_job_is_taken_over_and_the_old_worker_is_told() {
        on_each(async |store| {
            let (id, _) = add(&store, "tick-1").await;
            take(&store, "a", 0).await;
            assert_eq!(take(&store, "b", 60).await.len(), 1);
            assert!(matches!(heartbeat(&store, id, "a", LEASE, at(61)).await, Err(StoreError::Missing(_))));
            let mut tx = store.begin().await.unwrap();
            assert!(finish(&mut tx, id, "a", &json!({}), at(61)).await.is_err());
            drop(tx);
            assert!(take(&store, "c", 120).await.is_empty());
            assert_eq!(get(&store, id).await.unwrap().unwrap().state, State::Failed);
        })
        .await;
    }
}
