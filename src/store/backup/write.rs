//! Writes a backup: a SQLite file, or an archive of JSON lines.
//!
//! Must not know: what a table means.

use std::path::Path;

use data_encoding::HEXLOWER;
use futures_util::TryStreamExt as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Connection as _, Row as _, TypeInfo as _, ValueRef as _};
use tokio::fs::{File, OpenOptions};
use tokio::io::{AsyncWriteExt as _, BufWriter};

use super::cells::{Cell, Want};
use super::tables::{self, Table};
use super::{Extent, file_error};
use crate::args;
use crate::store::{Column as _, Dialect, Store, StoreError, Tx};

/// The first line's `betagate` field.
pub(super) const MARK: &str = "backup-1";

async fn create(path: &Path) -> Result<File, StoreError> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(path).await.map_err(|error| file_error(path, &error))
}

/// A SQLite file with everything in it.
pub(super) async fn vacuum(store: &Store, path: &Path) -> Result<Extent, StoreError> {
    // Made by us first, for its rights; `VACUUM INTO` fills an empty file.
    drop(create(path).await?);
    let pool = store.sqlite().ok_or_else(|| StoreError::Invalid("not a SQLite database".into()))?;
    // A reader of its own, taken out of the pool: it has to be allowed to write, elsewhere.
    let mut connection = pool.acquire().await?.detach();
    let filled = async {
        sqlx::query("PRAGMA query_only = OFF").execute(&mut connection).await?;
        sqlx::query("VACUUM INTO $1").bind(path.display().to_string()).execute(&mut connection).await
    }
    .await;
    connection.close().await?;
    filled?;
    let mut tx = store.snapshot().await?;
    let mut extent = Extent::default();
    for table in tables::all(&mut tx).await? {
        let count = format!("SELECT count(*) AS n FROM {}", table.quoted());
        extent.tables += 1;
        extent.rows += tx.one(&count, args![]).await?.get::<i64>("n")?.unsigned_abs();
    }
    Ok(extent)
}

/// An archive with everything in it.
pub(super) async fn archive(store: &Store, path: &Path) -> Result<Extent, StoreError> {
    let migrations: Vec<i64> = store.migrations().await?.iter().map(|applied| applied.version).collect();
    let mut out = Lines { path, file: BufWriter::new(create(path).await?), digest: Sha256::new() };
    out.line(&json!({"betagate": MARK, "migrations": migrations})).await?;
    let mut extent = Extent::default();
    let mut tx = store.snapshot().await?;
    for table in tables::all(&mut tx).await? {
        let columns: Vec<&str> = table.columns.iter().map(|(name, _)| name.as_str()).collect();
        out.line(&json!({"table": table.name, "columns": columns})).await?;
        extent.tables += 1;
        extent.rows += rows(&mut tx, &table, &mut out).await?;
    }
    let digest = HEXLOWER.encode(&out.digest.clone().finalize());
    out.line(&json!({"end": extent.rows, "sha256": digest})).await?;
    out.finish().await?;
    Ok(extent)
}

/// Writes a table's rows as they stream in; says how many.
async fn rows(tx: &mut Tx, table: &Table, out: &mut Lines<'_>) -> Result<u64, StoreError> {
    let expressions: Vec<String> =
        table.columns.iter().map(|(name, want)| want.read_expression(&tables::quote(name))).collect();
    let sql = format!("SELECT {} FROM {}", expressions.join(", "), table.quoted());
    let mut count = 0;
    match tx.dialect() {
        Dialect::Postgres => {
            let Some(connection) = tx.postgres() else { return Ok(0) };
            let mut stream = sqlx::query(AssertSqlSafe(sql)).fetch(connection);
            while let Some(row) = stream.try_next().await? {
                out.row(table.columns.iter().enumerate().map(|(n, (_, want))| postgres_cell(&row, n, *want))).await?;
                count += 1;
            }
        }
        Dialect::Sqlite => {
            let Some(connection) = tx.sqlite() else { return Ok(0) };
            let mut stream = sqlx::query(AssertSqlSafe(sql)).fetch(connection);
            while let Some(row) = stream.try_next().await? {
                out.row((0..table.columns.len()).map(|n| sqlite_cell(&row, n))).await?;
                count += 1;
            }
        }
    }
    Ok(count)
}

fn postgres_cell(row: &sqlx::postgres::PgRow, n: usize, want: Want) -> Result<Cell, StoreError> {
    use crate::store::Kind;
    let raw = row.try_get_raw(n)?;
    if raw.is_null() {
        return Ok(Cell::Null);
    }
    let cell = match want {
        Want::As(Kind::Int | Kind::Bool | Kind::Instant) => i64::from_postgres(raw).map(Cell::Int),
        Want::As(Kind::Float) => f64::from_postgres(raw).map(Cell::Real),
        Want::As(Kind::Bytes) => Vec::<u8>::from_postgres(raw).map(Cell::Blob),
        Want::As(Kind::Text | Kind::Json | Kind::Uuid) | Want::Texts | Want::Any => {
            String::from_postgres(raw).map(Cell::Text)
        }
    };
    cell.map_err(|error| StoreError::Invalid(error.to_string()))
}

/// A value of SQLite as it is kept.
pub(super) fn sqlite_cell(row: &SqliteRow, n: usize) -> Result<Cell, StoreError> {
    let raw = row.try_get_raw(n)?;
    if raw.is_null() {
        // Asked first: the type of a NULL is the column's.
        return Ok(Cell::Null);
    }
    let cell = match raw.type_info().name() {
        "INTEGER" | "BOOLEAN" => i64::from_sqlite(raw).map(Cell::Int),
        "REAL" => f64::from_sqlite(raw).map(Cell::Real),
        "BLOB" => Vec::<u8>::from_sqlite(raw).map(Cell::Blob),
        _ => String::from_sqlite(raw).map(Cell::Text),
    };
    cell.map_err(|error| StoreError::Invalid(error.to_string()))
}

struct Lines<'a> {
    path: &'a Path,
    file: BufWriter<File>,
    /// Of every byte so far.
    digest: Sha256,
}

impl Lines<'_> {
    async fn line(&mut self, value: &Value) -> Result<(), StoreError> {
        let mut text = value.to_string();
        text.push('\n');
        self.digest.update(text.as_bytes());
        self.file.write_all(text.as_bytes()).await.map_err(|error| file_error(self.path, &error))
    }

    async fn row(&mut self, cells: impl Iterator<Item = Result<Cell, StoreError>>) -> Result<(), StoreError> {
        let cells: Vec<Value> = cells.map(|cell| Ok(cell?.to_json())).collect::<Result<_, StoreError>>()?;
        self.line(&Value::from(cells)).await
    }

    async fn finish(mut self) -> Result<(), StoreError> {
        let finished = async {
            self.file.flush().await?;
            self.file.get_ref().sync_all().await
        };
        finished.await.map_err(|error| file_error(self.path, &error))
    }
}
