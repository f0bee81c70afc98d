//! The tables of reference rows: what stands in them, rows that come in, are published, change and go. Each action on a row is one entry in the audit
//! table beside it, in the same transaction.
//!
//! Only tables of the fixed list in `core::dataset` are ever named in a statement. Must not know: files, why rows change.

mod dumps;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use betagate_core::dataset::{ColumnKind, DRAFT, LiveRow, PUBLISHED, Row as Wanted, Shape};
use jiff::Timestamp;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{Arg, Dialect, Row, Store, StoreError, Tx};
use crate::args;

pub use dumps::{Dump, DumpBody, dumps, keep_dump, newest_dump, put_back, read_body};

/// So many values are bound in one statement, far below both databases' limits.
const BOUND_AT_ONCE: usize = 6_000;

/// Whose rows they are, and who changes them.
#[derive(Clone, Copy, Debug)]
pub struct Hand<'a> {
    /// The table and those beside it.
    pub shape: &'static Shape,
    /// The program; empty by hand.
    pub program: &'a str,
    /// The dataset's name.
    pub dataset: &'a str,
    /// Who acts (`controller`, `cli`, a name).
    pub actor: &'a str,
    /// Now.
    pub now: Timestamp,
}

/// The rows of a table by status.
///
/// # Errors
/// The database's.
pub async fn counts(store: &Store, shape: &Shape) -> Result<BTreeMap<String, u64>, StoreError> {
    read_counts(&store.all(&count_sql(shape), args![]).await?)
}

/// The same, as a transaction sees it.
///
/// # Errors
/// The database's.
pub async fn counts_in(tx: &mut Tx, shape: &Shape) -> Result<BTreeMap<String, u64>, StoreError> {
    read_counts(&tx.all(&count_sql(shape), args![]).await?)
}

fn count_sql(shape: &Shape) -> String {
    format!("SELECT status, count(*) AS n FROM {} GROUP BY status", shape.table)
}

fn read_counts(rows: &[Row]) -> Result<BTreeMap<String, u64>, StoreError> {
    rows.iter().map(|row| Ok((row.get("status")?, row.get::<i64>("n")?.unsigned_abs()))).collect()
}

/// Lets nobody else change the table until the transaction ends: what is compared must still be so when it is changed. On SQLite nobody else can.
///
/// # Errors
/// The database's.
pub async fn lock(tx: &mut Tx, shape: &Shape) -> Result<(), StoreError> {
    if tx.dialect() == Dialect::Postgres {
        tx.execute(&format!("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE", shape.table), args![]).await?;
    }
    Ok(())
}

/// How often each action stands in the audit table.
///
/// # Errors
/// The database's.
pub async fn audited(store: &Store, shape: &Shape) -> Result<BTreeMap<String, u64>, StoreError> {
    let sql = format!("SELECT action AS status, count(*) AS n FROM {} GROUP BY action", shape.audit);
    read_counts(&store.all(&sql, args![]).await?)
}

/// How many rows the staging table has.
///
/// # Errors
/// The database's.
pub async fn staged_in(tx: &mut Tx, shape: &Shape) -> Result<u64, StoreError> {
    let sql = format!("SELECT count(*) AS n FROM {}", shape.staging);
    Ok(tx.one(&sql, args![]).await?.get::<i64>("n")?.unsigned_abs())
}

/// The rows as they stand, by key.
///
/// # Errors
/// The database's.
pub async fn live(store: &Store, shape: &Shape) -> Result<Vec<LiveRow>, StoreError> {
    store.all(&live_sql(shape), args![]).await?.iter().map(|row| read_live(row, shape)).collect()
}

/// The same, as a transaction sees it.
///
/// # Errors
/// The database's.
pub async fn live_in(tx: &mut Tx, shape: &Shape) -> Result<Vec<LiveRow>, StoreError> {
    tx.all(&live_sql(shape), args![]).await?.iter().map(|row| read_live(row, shape)).collect()
}

fn live_sql(shape: &Shape) -> String {
    let Shape { table, staging, key, .. } = shape;
    format!("SELECT l.*, s.digest AS staged FROM {table} l LEFT JOIN {staging} s ON s.{key} = l.{key} ORDER BY l.{key}")
}

fn read_live(row: &Row, shape: &Shape) -> Result<LiveRow, StoreError> {
    let mut values = Map::new();
    for column in shape.columns {
        let value = match column.kind {
            ColumnKind::Text => Value::String(row.get(column.name)?),
            ColumnKind::Texts => row.get(column.name)?,
        };
        values.insert(column.name.to_owned(), value);
    }
    Ok(LiveRow { key: row.get(shape.key)?, values, status: row.get("status")?, staged: row.get("staged")? })
}

/// Brings new rows in as drafts.
///
/// # Errors
/// The database's; [`StoreError::Conflict`] when a row is there already, or another says what only one may.
pub async fn import(tx: &mut Tx, hand: &Hand<'_>, rows: &[Wanted]) -> Result<(), StoreError> {
    stage(tx, hand, rows).await?;
    let shape = hand.shape;
    let names: Vec<&str> = shape.names().chain(["status", "created_at", "updated_at"]).collect();
    let filled = rows.iter().map(|row| {
        let mut filled = filled(row, shape);
        filled.extend([DRAFT.into(), hand.now.into(), hand.now.into()]);
        filled
    });
    insert(tx, shape.table, &names, filled.collect(), "").await?;
    record(tx, hand, "imported", rows.iter().map(|row| row.key.as_str())).await
}

/// Makes rows say what their file says; what they are (draft, published) stays.
///
/// # Errors
/// The database's; [`StoreError::Conflict`] when another row says what only one may.
pub async fn update(tx: &mut Tx, hand: &Hand<'_>, rows: &[Wanted]) -> Result<(), StoreError> {
    stage(tx, hand, rows).await?;
    let shape = hand.shape;
    // Two rows may have changed names with each other: each gives its own up before any takes another.
    let keys: Vec<String> = rows.iter().map(|row| row.key.clone()).collect();
    for column in shape.columns.iter().filter(|column| column.unique) {
        let theirs = tx.dialect().any(shape.key, "$2");
        let sql = format!("UPDATE {} SET {} = $1 || {} WHERE {theirs}", shape.table, column.name, shape.key);
        tx.execute(&sql, args![Uuid::now_v7().to_string(), keys.clone()]).await?;
    }
    let set: Vec<String> = shape.columns.iter().zip(2..).map(|(column, n)| format!("{} = ${n}", column.name)).collect();
    let last = shape.columns.len() + 2;
    let sql = format!("UPDATE {} SET {}, updated_at = ${last} WHERE {} = $1", shape.table, set.join(", "), shape.key);
    for row in rows {
        let mut bound = filled(row, shape);
        bound.push(hand.now.into());
        tx.execute(&sql, &bound).await?;
    }
    record(tx, hand, "updated", rows.iter().map(|row| row.key.as_str())).await
}

/// Publishes drafts; those that are published already, or are not there, are left alone. Gives the keys.
///
/// # Errors
/// The database's.
pub async fn publish(tx: &mut Tx, hand: &Hand<'_>, keys: &[String]) -> Result<Vec<String>, StoreError> {
    let shape = hand.shape;
    let theirs = tx.dialect().any(shape.key, "$3");
    let sql = format!(
        "UPDATE {} SET status = $1, updated_at = $2 WHERE {theirs} AND status <> $1 RETURNING {}",
        shape.table, shape.key
    );
    let rows = tx.all(&sql, args![PUBLISHED, hand.now, keys.to_vec()]).await?;
    let mut done: Vec<String> = rows.iter().map(|row| row.get(shape.key)).collect::<Result<_, _>>()?;
    done.sort();
    record(tx, hand, "published", done.iter().map(String::as_str)).await?;
    Ok(done)
}

/// Takes rows away that a dataset brought.
///
/// # Errors
/// The database's.
pub async fn remove(tx: &mut Tx, hand: &Hand<'_>, keys: &[String]) -> Result<(), StoreError> {
    let shape = hand.shape;
    let theirs = tx.dialect().any(shape.key, "$1");
    for table in [shape.table, shape.staging] {
        tx.execute(&format!("DELETE FROM {table} WHERE {theirs}"), args![keys.to_vec()]).await?;
    }
    record(tx, hand, "removed", keys.iter().map(String::as_str)).await
}

/// Empties the table and the two beside it.
///
/// # Errors
/// The database's.
pub async fn clear(tx: &mut Tx, shape: &Shape) -> Result<(), StoreError> {
    for table in [shape.table, shape.staging, shape.audit] {
        tx.execute(&format!("DELETE FROM {table}"), args![]).await?;
    }
    Ok(())
}

/// Rows as their file has them, with the digest of each.
async fn stage(tx: &mut Tx, hand: &Hand<'_>, rows: &[Wanted]) -> Result<(), StoreError> {
    let shape = hand.shape;
    let names: Vec<&str> = shape.names().chain(["dataset", "digest", "staged_at"]).collect();
    let taken = names.iter().skip(1).map(|name| format!("{name} = excluded.{name}")).collect::<Vec<_>>().join(", ");
    let staged = rows.iter().map(|row| {
        let mut filled = filled(row, shape);
        filled.extend([hand.dataset.into(), row.digest().into(), hand.now.into()]);
        filled
    });
    let again = format!("ON CONFLICT ({}) DO UPDATE SET {taken}", shape.key);
    insert(tx, shape.staging, &names, staged.collect(), &again).await
}

/// The key and the columns of a row, bound.
fn filled(row: &Wanted, shape: &Shape) -> Vec<Arg> {
    let mut bound = vec![Arg::from(&row.key)];
    bound.extend(shape.columns.iter().map(|column| {
        let value = &row.values[column.name];
        match column.kind {
            ColumnKind::Text => value.as_str().unwrap_or_default().into(),
            ColumnKind::Texts => value.into(),
        }
    }));
    bound
}

/// One entry for each row.
async fn record<'k>(
    tx: &mut Tx,
    hand: &Hand<'_>,
    action: &str,
    keys: impl Iterator<Item = &'k str>,
) -> Result<(), StoreError> {
    let names = ["id", hand.shape.key, "action", "dataset", "actor", "at"];
    let entries = keys.map(|key| {
        vec![Uuid::now_v7().into(), key.into(), action.into(), hand.dataset.into(), hand.actor.into(), hand.now.into()]
    });
    insert(tx, hand.shape.audit, &names, entries.collect(), "").await
}

/// Inserts rows, many with each statement.
async fn insert(
    tx: &mut Tx,
    table: &str,
    names: &[&str],
    rows: Vec<Vec<Arg>>,
    conflict: &str,
) -> Result<(), StoreError> {
    for chunk in rows.chunks((BOUND_AT_ONCE / names.len()).max(1)) {
        let row = |first: usize| (0..names.len()).map(|n| format!("${}", first + n)).collect::<Vec<_>>().join(", ");
        let values: Vec<String> = (0..chunk.len()).map(|place| format!("({})", row(place * names.len() + 1))).collect();
        let sql = format!("INSERT INTO {table} ({}) VALUES {} {conflict}", names.join(", "), values.join(", "));
        tx.execute(&sql, &chunk.concat()).await?;
    }
    Ok(())
}
