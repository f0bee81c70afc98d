//! What was measured, and the reviews that were sealed over it.
//!
//! Must not know: thresholds, or what a verdict means.

use jiff::Timestamp;
use serde_json::Value;

use super::{Row, Store, StoreError, Tx};
use crate::args;

/// A measurement of one check.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// The program.
    pub program: String,
    /// The gate.
    pub gate: String,
    /// The check of the gate.
    pub check: String,
    /// When it was measured.
    pub at: Timestamp,
    /// What was measured: numerator and denominator, or why it is unknown.
    pub body: Value,
}

/// A sealed review.
#[derive(Clone, Debug, PartialEq)]
pub struct Review {
    /// The program.
    pub program: String,
    /// The gate.
    pub gate: String,
    /// When it was due.
    pub due_at: Timestamp,
    /// When it was sealed.
    pub sealed_at: Timestamp,
    /// Its verdict.
    pub verdict: String,
    /// Its rows, and the rest.
    pub body: Value,
}

/// Appends measurements and forgets all but the newest `keep` of each check. One at an instant: the first counts.
pub async fn append(tx: &mut Tx, readings: &[Reading], keep: i64) -> Result<(), StoreError> {
    let insert = "INSERT INTO readings (program, gate, check_name, at, body) VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (program, gate, check_name, at) DO NOTHING";
    let forget = "DELETE FROM readings WHERE program = $1 AND gate = $2 AND check_name = $3 AND at < (
        SELECT at FROM readings WHERE program = $1 AND gate = $2 AND check_name = $3
        ORDER BY at DESC LIMIT 1 OFFSET $4)";
    for Reading { program, gate, check, at, body } in readings {
        tx.execute(insert, args![program, gate, check, *at, body]).await?;
        tx.execute(forget, args![program, gate, check, keep.max(1) - 1]).await?;
    }
    Ok(())
}

/// The newest measurement of every check of a program.
pub async fn latest(store: &Store, program: &str) -> Result<Vec<Reading>, StoreError> {
    let sql = "SELECT r.* FROM readings r WHERE r.program = $1 AND r.at = (
            SELECT max(n.at) FROM readings n
            WHERE n.program = r.program AND n.gate = r.gate AND n.check_name = r.check_name)
        ORDER BY r.gate, r.check_name";
    store.all(sql, args![program]).await?.iter().map(reading).collect()
}

/// The history of a check, newest first.
pub async fn history(
    store: &Store,
    program: &str,
    gate: &str,
    check: &str,
    limit: i64,
) -> Result<Vec<Reading>, StoreError> {
    let sql = "SELECT * FROM readings WHERE program = $1 AND gate = $2 AND check_name = $3 ORDER BY at DESC LIMIT $4";
    store.all(sql, args![program, gate, check, limit]).await?.iter().map(reading).collect()
}

/// Everything that is kept of a program's checks, or of one gate's, oldest first.
pub async fn of_program(store: &Store, program: &str, gate: Option<&str>) -> Result<Vec<Reading>, StoreError> {
    let sql = "SELECT * FROM readings WHERE program = $1 AND ($2 = '' OR gate = $2) ORDER BY at, gate, check_name";
    store.all(sql, args![program, gate.unwrap_or_default()]).await?.iter().map(reading).collect()
}

/// Seals a review; says whether it was new. One that was sealed stays as it is.
pub async fn seal(tx: &mut Tx, review: &Review) -> Result<bool, StoreError> {
    let Review { program, gate, due_at, sealed_at, verdict, body } = review;
    let insert = "INSERT INTO reviews (program, gate, due_at, sealed_at, verdict, body) VALUES ($1, $2, $3, $4, $5, $6)
        ON CONFLICT (program, gate, due_at) DO NOTHING";
    Ok(tx.execute(insert, args![program, gate, *due_at, *sealed_at, verdict, body]).await? > 0)
}

/// Writes a note on a gate's newest review; says whether there is one.
///
/// # Errors
/// The database's.
pub async fn note(tx: &mut Tx, program: &str, gate: &str, note: &str) -> Result<bool, StoreError> {
    let newest = "SELECT due_at, body FROM reviews WHERE program = $1 AND gate = $2 ORDER BY due_at DESC LIMIT 1";
    let Some(row) = tx.opt(newest, args![program, gate]).await? else { return Ok(false) };
    let (due_at, mut body): (Timestamp, Value) = (row.get("due_at")?, row.get("body")?);
    body["note"] = Value::from(note);
    let write = "UPDATE reviews SET body = $4 WHERE program = $1 AND gate = $2 AND due_at = $3";
    Ok(tx.execute(write, args![program, gate, due_at, body]).await? > 0)
}

/// A program's reviews, newest first, of one gate or of all.
pub async fn reviews(store: &Store, program: &str, gate: Option<&str>, limit: i64) -> Result<Vec<Review>, StoreError> {
    let sql = "SELECT * FROM reviews WHERE program = $1 AND ($2 = '' OR gate = $2) ORDER BY due_at DESC, gate LIMIT $3";
    let rows = store.all(sql, args![program, gate.unwrap_or_default(), limit]).await?;
    rows.iter()
        .map(|row| {
            Ok(Review {
                program: row.get("program")?,
                gate: row.get("gate")?,
                due_at: row.get("due_at")?,
                sealed_at: row.get("sealed_at")?,
                verdict: row.get("verdict")?,
                body: row.get("body")?,
            })
        })
        .collect()
}

fn reading(row: &Row) -> Result<Reading, StoreError> {
    Ok(Reading {
        program: row.get("program")?,
        gate: row.get("gate")?,
        check: row.get("check_name")?,
        at: row.get("at")?,
        body: row.get("body")?,
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

    fn reading(check: &str, second: i64) -> Reading {
        Reading {
            program: "kruxt".into(),
            gate: "weekly".into(),
            check: check.into(),
            at: at(second),
            body: json!({"numerator": second, "denominator": 100}),
        }
    }

    #[tokio::test]
    async fn history_is_bounded_and_the_newest_is_known() {
        on_each(async |store| {
            let mut tx = store.begin().await.unwrap();
            for second in 1..=5 {
                append(&mut tx, &[reading("sync", second), reading("crash", second)], 3).await.unwrap();
            }
            append(&mut tx, &[Reading { body: json!("again"), ..reading("sync", 5) }], 3).await.unwrap();
            tx.commit().await.unwrap();
            let history = history(&store, "kruxt", "weekly", "sync", 10).await.unwrap();
            assert_eq!(history, [reading("sync", 5), reading("sync", 4), reading("sync", 3)]);
            assert_eq!(latest(&store, "kruxt").await.unwrap(), [reading("crash", 5), reading("sync", 5)]);
            assert!(latest(&store, "other").await.unwrap().is_empty());
            let kept = of_program(&store, "kruxt", None).await.unwrap();
            assert_eq!((kept.len(), &kept[0], &kept[5]), (6, &reading("crash", 3), &reading("sync", 5)));
            assert_eq!(of_program(&store, "kruxt", Some("other")).await.unwrap(), []);
        })
        .await;
    }

    #[tokio::test]
    async fn a_sealed_review_stays_as_it_is() {
        on_each(async |store| {
            let review = Review {
                program: "kruxt".into(),
                gate: "weekly".into(),
                due_at: at(10),
                sealed_at: at(11),
                verdict: "Pass".into(),
                body: json!({"rows": []}),
            };
            let mut tx = store.begin().await.unwrap();
            assert!(seal(&mut tx, &review).await.unwrap());
            assert!(!seal(&mut tx, &Review { verdict: "Fail".into(), ..review.clone() }).await.unwrap());
            let next = Review { due_at: at(20), ..review.clone() };
            assert!(seal(&mut tx, &next).await.unwrap());
            tx.commit().await.unwrap();
            assert_eq!(reviews(&store, "kruxt", Some("weekly"), 5).await.unwrap(), [next, review]);
            assert_eq!(reviews(&store, "kruxt", None, 1).await.unwrap().len(), 1);
        })
        .await;
    }
}
