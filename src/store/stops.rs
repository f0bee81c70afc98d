//! Lines that people stopped: of one program, or of all.
//!
//! Must not know: what goes along a line.

use jiff::Timestamp;

use super::{Row, Store, StoreError, Tx};
use crate::args;

/// A line that is stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    /// The program; none for all.
    pub program: Option<String>,
    /// Why.
    pub reason: String,
    /// Who stopped it.
    pub by: String,
    /// When.
    pub since: Timestamp,
}

/// Stops a line; says whether it went on until now. The first reason stands.
pub async fn stop(tx: &mut Tx, stop: &Stop) -> Result<bool, StoreError> {
    let insert = "INSERT INTO stops (program, reason, by_person, since) VALUES ($1, $2, $3, $4)
        ON CONFLICT (program) DO NOTHING";
    let program = stop.program.as_deref().unwrap_or_default();
    Ok(tx.execute(insert, args![program, &stop.reason, &stop.by, stop.since]).await? > 0)
}

/// Lets a line go on; says whether it was stopped.
pub async fn resume(tx: &mut Tx, program: Option<&str>) -> Result<bool, StoreError> {
    Ok(tx.execute("DELETE FROM stops WHERE program = $1", args![program.unwrap_or_default()]).await? > 0)
}

/// What stops the line of a program: its own stop, and that of all.
pub async fn standing(store: &Store, program: &str) -> Result<Vec<Stop>, StoreError> {
    let sql = "SELECT * FROM stops WHERE program IN ('', $1) ORDER BY program";
    store.all(sql, args![program]).await?.iter().map(read).collect()
}

fn read(row: &Row) -> Result<Stop, StoreError> {
    let program: String = row.get("program")?;
    Ok(Stop {
        program: (!program.is_empty()).then_some(program),
        reason: row.get("reason")?,
        by: row.get("by_person")?,
        since: row.get("since")?,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::super::testing::on_each;
    use super::*;

    #[tokio::test]
    async fn a_line_is_stopped_once_and_all_lines_at_once() {
        on_each(async |store| {
            let stopped = |program: Option<&str>| Stop {
                program: program.map(str::to_owned),
                reason: "a hunch".into(),
                by: "ana".into(),
                since: Timestamp::UNIX_EPOCH,
            };
            let mut tx = store.begin().await.unwrap();
            assert!(stop(&mut tx, &stopped(Some("kruxt"))).await.unwrap());
            assert!(!stop(&mut tx, &Stop { reason: "another".into(), ..stopped(Some("kruxt")) }).await.unwrap());
            assert!(stop(&mut tx, &stopped(None)).await.unwrap());
            tx.commit().await.unwrap();
            assert_eq!(standing(&store, "kruxt").await.unwrap(), [stopped(None), stopped(Some("kruxt"))]);
            assert_eq!(standing(&store, "other").await.unwrap(), [stopped(None)]);
            let mut tx = store.begin().await.unwrap();
            assert!(resume(&mut tx, None).await.unwrap());
            assert!(!resume(&mut tx, None).await.unwrap());
            tx.commit().await.unwrap();
            assert_eq!(standing(&store, "other").await.unwrap(), []);
            assert_eq!(standing(&store, "kruxt").await.unwrap().len(), 1);
        })
        .await;
    }
}
