//! What rollback steps keep in the database beside freezes: pauses of ingestion, effects that were done once, rehearsals.
//!
//! Must not know: what a step means, or why it came into force.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::Value;
use uuid::Uuid;

use super::{Row, Store, StoreError, Tx};
use crate::args;

/// A pause of ingestion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pause {
    /// Who holds it: `RUN/STEP`, or `hand:WHO`.
    pub holder: String,
    /// Why.
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
}

/// Pauses ingestion; says whether this holder's pause is new.
///
/// # Errors
/// The database's.
pub async fn pause(tx: &mut Tx, program: &str, pause: &Pause) -> Result<bool, StoreError> {
    let insert = "INSERT INTO ingestion_pauses (program, holder, reason, since) VALUES ($1, $2, $3, $4)
        ON CONFLICT (program, holder) DO NOTHING";
    let Pause { holder, reason, since } = pause;
    Ok(tx.execute(insert, args![program, holder, reason, *since]).await? > 0)
}

/// Lifts one holder's pause; says whether it was there.
///
/// # Errors
/// The database's.
pub async fn resume(tx: &mut Tx, program: &str, holder: &str) -> Result<bool, StoreError> {
    let delete = "DELETE FROM ingestion_pauses WHERE program = $1 AND holder = $2";
    Ok(tx.execute(delete, args![program, holder]).await? > 0)
}

/// The pauses of a program, oldest first.
///
/// # Errors
/// The database's.
pub async fn pauses(store: &Store, program: &str) -> Result<Vec<Pause>, StoreError> {
    let sql = "SELECT * FROM ingestion_pauses WHERE program = $1 ORDER BY since, holder";
    store.all(sql, args![program]).await?.iter().map(read_pause).collect()
}

/// The oldest pause of a program, if any, as the transaction that takes events in sees it.
///
/// # Errors
/// The database's.
pub async fn paused(tx: &mut Tx, program: &str) -> Result<Option<Pause>, StoreError> {
    let sql = "SELECT * FROM ingestion_pauses WHERE program = $1 ORDER BY since, holder LIMIT 1";
    tx.opt(sql, args![program]).await?.as_ref().map(read_pause).transpose()
}

/// Records an effect in the transaction that does it; says whether it is new. One that is not new must not be done.
///
/// # Errors
/// The database's.
pub async fn begin(tx: &mut Tx, program: &str, key: &str, detail: &Value, now: Timestamp) -> Result<bool, StoreError> {
    let insert = "INSERT INTO step_effects (program, effect_key, done_at, detail) VALUES ($1, $2, $3, $4)
        ON CONFLICT (program, effect_key) DO NOTHING";
    Ok(tx.execute(insert, args![program, key, now, detail]).await? > 0)
}

/// Writes down what an effect came to, in the transaction that does it.
///
/// # Errors
/// The database's.
pub async fn came_to(tx: &mut Tx, program: &str, key: &str, detail: &Value) -> Result<(), StoreError> {
    let update = "UPDATE step_effects SET detail = $3 WHERE program = $1 AND effect_key = $2";
    tx.execute(update, args![program, key, detail]).await?;
    Ok(())
}

/// When the datasets of a program were undone by steps, and what that came to, by effect key.
///
/// # Errors
/// The database's.
pub async fn undone(store: &Store, program: &str) -> Result<Vec<(String, Timestamp, Value)>, StoreError> {
    let sql = "SELECT effect_key, done_at, detail FROM step_effects
        WHERE program = $1 AND detail->>'undone' IS NOT NULL ORDER BY effect_key";
    let rows = store.all(sql, args![program]).await?;
    rows.iter().map(|row| Ok((row.get("effect_key")?, row.get("done_at")?, row.get("detail")?))).collect()
}

/// The effects of these runs that were done. Those of all runs there ever were are asked for by nobody.
///
/// # Errors
/// The database's.
pub async fn effects_of_runs(store: &Store, program: &str, runs: &[String]) -> Result<BTreeSet<String>, StoreError> {
    if runs.is_empty() {
        return Ok(BTreeSet::new());
    }
    let of = store.dialect().any(run_of(store), "$2");
    let sql = format!("SELECT effect_key FROM step_effects WHERE program = $1 AND {of}");
    store.all(&sql, args![program, runs]).await?.iter().map(|row| row.get("effect_key")).collect()
}

/// The effects of a run with what is known of them, in the order in which they were done.
///
/// # Errors
/// The database's.
pub async fn effects_of(
    store: &Store,
    program: &str,
    run: &str,
) -> Result<Vec<(String, Timestamp, Value)>, StoreError> {
    let sql = format!(
        "SELECT * FROM step_effects WHERE program = $1 AND {} = $2 ORDER BY done_at, effect_key",
        run_of(store)
    );
    let rows = store.all(&sql, args![program, run]).await?;
    rows.iter().map(|row| Ok((row.get::<String>("effect_key")?, row.get("done_at")?, row.get("detail")?))).collect()
}

/// The run that an effect key begins with.
fn run_of(store: &Store) -> &'static str {
    store.dialect().pick("split_part(effect_key, '/', 1)", "substr(effect_key, 1, instr(effect_key, '/') - 1)")
}

/// A plan that was gone through as a drill.
#[derive(Clone, Debug, PartialEq)]
pub struct Rehearsal {
    /// Its id.
    pub id: Uuid,
    /// The program.
    pub program: String,
    /// The plan.
    pub plan: String,
    /// The environment; empty when it has no name.
    pub environment: String,
    /// When.
    pub at: Timestamp,
    /// Who asked for it.
    pub by: String,
    /// Whether everything that a run needs was there.
    pub passed: bool,
    /// Each step, and what it would do.
    pub body: Value,
}

/// Records a rehearsal.
///
/// # Errors
/// The database's.
pub async fn rehearsed(tx: &mut Tx, rehearsal: &Rehearsal) -> Result<(), StoreError> {
    let Rehearsal { id, program, plan, environment, at, by, passed, body } = rehearsal;
    let insert = "INSERT INTO rehearsals (id, program, plan, environment, at, by_person, passed, body)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (id) DO NOTHING";
    tx.execute(insert, args![*id, program, plan, environment, *at, by, *passed, body]).await?;
    Ok(())
}

/// The newest rehearsal of a plan (of any, when none is named) in an environment that passed.
///
/// # Errors
/// The database's.
pub async fn last_rehearsal(
    store: &Store,
    program: &str,
    plan: Option<&str>,
    environment: &str,
) -> Result<Option<Rehearsal>, StoreError> {
    let sql = "SELECT * FROM rehearsals WHERE program = $1 AND (plan = $2 OR $2 = '') AND environment = $3 AND passed
        ORDER BY at DESC LIMIT 1";
    let row = store.opt(sql, args![program, plan.unwrap_or_default(), environment]).await?;
    row.as_ref().map(read_rehearsal).transpose()
}

fn read_pause(row: &Row) -> Result<Pause, StoreError> {
    Ok(Pause { holder: row.get("holder")?, reason: row.get("reason")?, since: row.get("since")? })
}

fn read_rehearsal(row: &Row) -> Result<Rehearsal, StoreError> {
    Ok(Rehearsal {
        id: row.get("id")?,
        program: row.get("program")?,
        plan: row.get("plan")?,
        environment: row.get("environment")?,
        at: row.get("at")?,
        by: row.get("by_person")?,
        passed: row.get("passed")?,
        body: row.get("body")?,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use serde_json::json;

    use super::super::testing::on_each;
    use super::*;

    #[tokio::test]
    async fn a_program_is_paused_until_its_last_holder_lets_go() {
        on_each(async |store| {
            let at = Timestamp::UNIX_EPOCH;
            let by = |holder: &str| Pause { holder: holder.into(), reason: "bad data".into(), since: at };
            let mut tx = store.begin().await.unwrap();
            assert!(pause(&mut tx, "kruxt", &by("run-1/2")).await.unwrap());
            assert!(!pause(&mut tx, "kruxt", &by("run-1/2")).await.unwrap());
            pause(&mut tx, "kruxt", &by("hand:ana")).await.unwrap();
            assert!(paused(&mut tx, "other").await.unwrap().is_none());
            assert!(resume(&mut tx, "kruxt", "run-1/2").await.unwrap());
            assert_eq!(paused(&mut tx, "kruxt").await.unwrap(), Some(by("hand:ana")));
            tx.commit().await.unwrap();
            assert_eq!(pauses(&store, "kruxt").await.unwrap(), [by("hand:ana")]);
        })
        .await;
    }

    #[tokio::test]
    async fn an_effect_is_begun_once_and_one_that_was_rolled_back_was_not_done() {
        on_each(async |store| {
            let at = Timestamp::UNIX_EPOCH;
            let mut tx = store.begin().await.unwrap();
            assert!(begin(&mut tx, "kruxt", "run-1/3/*", &json!({ "invites": 4 }), at).await.unwrap());
            drop(tx);
            let mut tx = store.begin().await.unwrap();
            assert!(begin(&mut tx, "kruxt", "run-1/3/*", &json!({ "invites": 4 }), at).await.unwrap());
            assert!(!begin(&mut tx, "kruxt", "run-1/3/*", &json!({}), at).await.unwrap());
            begin(&mut tx, "kruxt", "run-10/3/*", &json!({}), at).await.unwrap();
            tx.commit().await.unwrap();
            let runs = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
            for (names, done) in [(&[][..], 0), (&["run-1"][..], 1), (&["run"][..], 0)] {
                let found = effects_of_runs(&store, "kruxt", &runs(names)).await.unwrap();
                assert_eq!(found.len(), done, "{names:?}: {found:?}");
            }
            let of_run = effects_of(&store, "kruxt", "run-1").await.unwrap();
            assert_eq!(of_run, [("run-1/3/*".to_owned(), at, json!({ "invites": 4 }))]);
        })
        .await;
    }

    #[tokio::test]
    async fn the_newest_rehearsal_that_passed_counts_in_its_own_environment() {
        on_each(async |store| {
            let at = |second| Timestamp::from_second(second).unwrap();
            let mut tx = store.begin().await.unwrap();
            for (second, environment, passed) in [(1, "", true), (2, "", true), (3, "", false), (4, "staging", true)] {
                let rehearsal = Rehearsal {
                    id: Uuid::now_v7(),
                    program: "kruxt".into(),
                    plan: "closed-beta".into(),
                    environment: environment.into(),
                    at: at(second),
                    by: "founder".into(),
                    passed,
                    body: json!([]),
                };
                rehearsed(&mut tx, &rehearsal).await.unwrap();
            }
            tx.commit().await.unwrap();
            let last = |plan: Option<&'static str>, environment: &'static str| {
                let store = store.clone();
                async move { last_rehearsal(&store, "kruxt", plan, environment).await.unwrap().map(|one| one.at) }
            };
            assert_eq!(last(Some("closed-beta"), "").await, Some(at(2)));
            assert_eq!(last(None, "staging").await, Some(at(4)));
            assert_eq!(last(Some("other"), "").await, None);
        })
        .await;
    }
}
