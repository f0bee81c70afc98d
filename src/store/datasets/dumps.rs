//! Dumps: what stood in the tables of a dataset, kept before something takes it away, and put back.
//!
//! Must not know: when one is taken, or why one is put back.

use betagate_core::dataset::{ColumnKind, STATUSES, Shape};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{Hand, clear, insert};
use crate::args;
use crate::store::{Arg, Kind, Row, Store, StoreError, Tx};

/// So many dumps of a table are kept; older ones go.
const KEPT: i64 = 50;

/// A dump that is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Dump {
    /// Its id.
    pub id: Uuid,
    /// The dataset.
    pub dataset: String,
    /// When it was taken.
    pub taken_at: Timestamp,
    /// What was about to happen.
    pub reason: String,
    /// Whether an undo may put it back by itself: it is of what a file said, and not of what was being undone.
    pub put_back: bool,
    /// How many rows the table had.
    pub rows: i64,
}

/// What stood in the three tables: rows as JSON objects, instants as text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DumpBody {
    /// The table that is read.
    pub table: String,
    /// Its rows.
    pub library: Vec<Map<String, Value>>,
    /// Rows as their file had them.
    pub staging: Vec<Map<String, Value>>,
    /// What was done to each.
    pub audit: Vec<Map<String, Value>>,
}

type Columns = Vec<(&'static str, Kind)>;

/// The columns of the table, its staging table and its audit table.
fn columns(shape: &Shape) -> [(&'static str, Columns); 3] {
    let kind = |kind| match kind {
        ColumnKind::Text => Kind::Text,
        ColumnKind::Texts => Kind::Json,
    };
    let own = || std::iter::once((shape.key, Kind::Text)).chain(shape.columns.iter().map(|c| (c.name, kind(c.kind))));
    let library = own().chain([("status", Kind::Text), ("created_at", Kind::Instant), ("updated_at", Kind::Instant)]);
    let staging = own().chain([("dataset", Kind::Text), ("digest", Kind::Text), ("staged_at", Kind::Instant)]);
    let audit = [("id", Kind::Uuid), (shape.key, Kind::Text), ("action", Kind::Text), ("dataset", Kind::Text)];
    let audit = audit.into_iter().chain([("actor", Kind::Text), ("at", Kind::Instant)]);
    [(shape.table, library.collect()), (shape.staging, staging.collect()), (shape.audit, audit.collect())]
}

/// What stands in the tables now.
///
/// # Errors
/// The database's.
pub async fn read_body(tx: &mut Tx, shape: &Shape) -> Result<DumpBody, StoreError> {
    let mut parts = Vec::new();
    for (table, columns) in columns(shape) {
        let first = columns.first().map_or(shape.key, |(name, _)| name);
        let rows = tx.all(&format!("SELECT * FROM {table} ORDER BY {first}"), args![]).await?;
        let rows = rows.iter().map(|row| columns.iter().map(|column| cell(row, *column)).collect());
        parts.push(rows.collect::<Result<Vec<Map<String, Value>>, StoreError>>()?);
    }
    let [library, staging, audit] = <[_; 3]>::try_from(parts).unwrap_or_default();
    Ok(DumpBody { table: shape.table.to_owned(), library, staging, audit })
}

fn cell(row: &Row, (name, kind): (&'static str, Kind)) -> Result<(String, Value), StoreError> {
    let value = match kind {
        Kind::Json => row.get(name)?,
        Kind::Instant => Value::String(row.get::<Timestamp>(name)?.to_string()),
        Kind::Uuid => Value::String(row.get::<Uuid>(name)?.to_string()),
        _ => Value::String(row.get(name)?),
    };
    Ok((name.to_owned(), value))
}

/// Keeps what stands in the tables now, where there is anything; `put_back` says whether an undo may put it back by itself.
///
/// # Errors
/// The database's.
pub async fn keep_dump(tx: &mut Tx, hand: &Hand<'_>, reason: &str, put_back: bool) -> Result<Option<Dump>, StoreError> {
    let body = read_body(tx, hand.shape).await?;
    if body.library.is_empty() && body.staging.is_empty() && body.audit.is_empty() {
        return Ok(None);
    }
    let rows = i64::try_from(body.library.len()).unwrap_or(i64::MAX);
    let (id, dataset) = (Uuid::now_v7(), hand.dataset.to_owned());
    let dump = Dump { id, dataset, taken_at: hand.now, reason: reason.to_owned(), put_back, rows };
    let body = serde_json::to_value(&body).map_err(|error| StoreError::Invalid(error.to_string()))?;
    let insert = "INSERT INTO dataset_dumps (id, table_name, program, dataset, taken_at, reason, put_back, rows, body)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
    let Hand { shape, program, dataset, now, .. } = hand;
    tx.execute(insert, args![id, shape.table, *program, *dataset, *now, reason, put_back, rows, body]).await?;
    let older = "DELETE FROM dataset_dumps WHERE table_name = $1 AND id NOT IN
        (SELECT id FROM dataset_dumps WHERE table_name = $1 ORDER BY taken_at DESC, id DESC LIMIT $2)";
    tx.execute(older, args![shape.table, KEPT]).await?;
    Ok(Some(dump))
}

/// The newest dump; with `to_put_back`, of those that an undo may put back by itself.
///
/// # Errors
/// The database's.
pub async fn newest_dump(
    tx: &mut Tx,
    shape: &Shape,
    to_put_back: bool,
) -> Result<Option<(Dump, DumpBody)>, StoreError> {
    let sql = "SELECT * FROM dataset_dumps WHERE table_name = $1 AND (put_back OR NOT $2)
        ORDER BY taken_at DESC, id DESC LIMIT 1";
    let Some(row) = tx.opt(sql, args![shape.table, to_put_back]).await? else { return Ok(None) };
    let body = serde_json::from_value(row.get("body")?);
    let body = body.map_err(|error| StoreError::Invalid(format!("a dump does not read: {error}")))?;
    Ok(Some((read(&row)?, body)))
}

/// The dumps of a table, newest first.
///
/// # Errors
/// The database's.
pub async fn dumps(store: &Store, shape: &Shape) -> Result<Vec<Dump>, StoreError> {
    let sql = "SELECT id, dataset, taken_at, reason, put_back, rows FROM dataset_dumps WHERE table_name = $1
        ORDER BY taken_at DESC, id DESC";
    store.all(sql, args![shape.table]).await?.iter().map(read).collect()
}

fn read(row: &Row) -> Result<Dump, StoreError> {
    Ok(Dump {
        id: row.get("id")?,
        dataset: row.get("dataset")?,
        taken_at: row.get("taken_at")?,
        reason: row.get("reason")?,
        put_back: row.get("put_back")?,
        rows: row.get("rows")?,
    })
}

/// Makes the three tables hold what a dump holds, and nothing else.
///
/// # Errors
/// The database's; [`StoreError::Invalid`] when the dump is of another table, or has values that do not fit.
pub async fn put_back(tx: &mut Tx, shape: &Shape, body: &DumpBody) -> Result<(), StoreError> {
    if body.table != shape.table {
        return Err(StoreError::Invalid(format!("the dump is of table {}, and not of {}", body.table, shape.table)));
    }
    clear(tx, shape).await?;
    for ((table, columns), rows) in columns(shape).into_iter().zip([&body.library, &body.staging, &body.audit]) {
        let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
        let bound = rows.iter().map(|row| bind(table, row, &columns)).collect::<Result<Vec<_>, _>>()?;
        insert(tx, table, &names, bound, "").await?;
    }
    Ok(())
}

fn bind(table: &str, row: &Map<String, Value>, columns: &Columns) -> Result<Vec<Arg>, StoreError> {
    if let Some(strange) = row.keys().find(|name| !columns.iter().any(|(known, _)| known == name)) {
        return Err(StoreError::Invalid(format!("the dump has a column '{strange}' that table {table} has not")));
    }
    let bound = columns.iter().map(|(name, kind)| {
        let value = &row.get(*name).cloned().unwrap_or_default();
        let text = value.as_str();
        let bound = match kind {
            Kind::Json => value.is_array().then(|| Arg::Json(value.clone())),
            Kind::Instant => text.and_then(|text| text.parse().ok()).map(Arg::Instant),
            Kind::Uuid => text.and_then(|text| text.parse().ok()).map(Arg::Uuid),
            _ => text.map(Arg::from).filter(|_| *name != "status" || STATUSES.contains(&text.unwrap_or_default())),
        };
        bound.ok_or_else(|| StoreError::Invalid(format!("the dump has a row of {table} whose '{name}' does not fit")))
    });
    bound.collect()
}
