//! Reads a backup, batch by batch: a SQLite file, or an archive of JSON lines.
//!
//! Must not know: where the rows go.

use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _};
use tokio::fs::File;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader, Lines};

use super::cells::Cell;
use super::file_error;
use super::tables::quote;
use super::write::{MARK, sqlite_cell};
use crate::store::{Row, StoreError};

/// Some rows of a table.
pub(super) struct Batch {
    pub(super) table: String,
    pub(super) columns: Vec<String>,
    pub(super) rows: Vec<Vec<Cell>>,
    /// Whether this is the first batch of the table.
    pub(super) first: bool,
}

/// A backup that is being read.
pub(super) enum Source {
    Sqlite(SqliteSource),
    Archive(Box<Archive>),
}

pub(super) struct SqliteSource {
    connection: SqliteConnection,
    /// The tables left to read, the next one last.
    left: Vec<String>,
    /// The table being read, its columns, and the last `rowid` read.
    current: Option<(String, Vec<String>, i64)>,
}

pub(super) struct Archive {
    path: PathBuf,
    lines: Lines<BufReader<File>>,
    migrations: Vec<i64>,
    current: Option<(String, Vec<String>)>,
    /// Whether the current table has been given yet.
    given: bool,
    rows: u64,
    ended: bool,
    /// Of every byte so far, and of every one before the last line.
    digest: Sha256,
    before: Sha256,
}

fn broken(what: &str) -> StoreError {
    StoreError::Invalid(format!("the backup cannot be read: {what}"))
}

impl Source {
    /// Opens a backup of either form, by its first bytes.
    pub(super) async fn open(path: &Path) -> Result<Self, StoreError> {
        let mut file = File::open(path).await.map_err(|error| file_error(path, &error))?;
        let mut head = [0_u8; 16];
        let known = file.read_exact(&mut head).await.is_ok();
        if known && &head == b"SQLite format 3\0" {
            let options = SqliteConnectOptions::new().filename(path).read_only(true).immutable(true);
            let mut connection = options.connect().await?;
            let found: String = sqlx::query_scalar("PRAGMA integrity_check(1)").fetch_one(&mut connection).await?;
            if found != "ok" {
                return Err(broken("the file is damaged"));
            }
            return Ok(Self::Sqlite(SqliteSource { connection, left: Vec::new(), current: None }));
        }
        let file = File::open(path).await.map_err(|error| file_error(path, &error))?;
        let mut archive = Archive {
            path: path.to_owned(),
            lines: BufReader::new(file).lines(),
            migrations: Vec::new(),
            current: None,
            given: false,
            rows: 0,
            ended: false,
            digest: Sha256::new(),
            before: Sha256::new(),
        };
        archive.header().await?;
        Ok(Self::Archive(Box::new(archive)))
    }

    /// The migrations the backed up database had.
    pub(super) async fn migrations(&mut self) -> Result<Vec<i64>, StoreError> {
        match self {
            Self::Archive(archive) => Ok(archive.migrations.clone()),
            Self::Sqlite(source) => {
                let sql = "SELECT version FROM schema_migrations ORDER BY version";
                let rows = sqlx::query(sql).fetch_all(&mut source.connection).await?;
                rows.into_iter().map(|found| Row::from(found).get("version")).collect()
            }
        }
    }

    /// Starts; a SQLite file is read in this order of tables, an archive in its own.
    pub(super) async fn begin(&mut self, order: &[&str]) -> Result<(), StoreError> {
        let Self::Sqlite(source) = self else { return Ok(()) };
        let sql = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'";
        let rows = sqlx::query(sql).fetch_all(&mut source.connection).await?;
        let has: Vec<String> = rows.into_iter().map(|found| Row::from(found).get("name")).collect::<Result<_, _>>()?;
        source.left =
            order.iter().rev().filter(|name| has.iter().any(|has| has == *name)).map(ToString::to_string).collect();
        Ok(())
    }

    /// The next rows, at most `limit`; none at the end.
    pub(super) async fn next(&mut self, limit: usize) -> Result<Option<Batch>, StoreError> {
        match self {
            Self::Sqlite(source) => source.next(limit).await,
            Self::Archive(archive) => archive.next(limit).await,
        }
    }
}

impl SqliteSource {
    async fn next(&mut self, limit: usize) -> Result<Option<Batch>, StoreError> {
        let first = self.current.is_none();
        let (table, columns, after) = match self.current.take() {
            Some(current) => current,
            None => {
                let Some(table) = self.left.pop() else { return Ok(None) };
                let sql = "SELECT name FROM pragma_table_info($1) ORDER BY cid";
                let rows = sqlx::query(sql).bind(&table).fetch_all(&mut self.connection).await?;
                let columns = rows.into_iter().map(|found| Row::from(found).get("name")).collect::<Result<_, _>>()?;
                (table, columns, i64::MIN)
            }
        };
        let names: Vec<String> = columns.iter().map(|column| quote(column)).collect();
        let sql = format!(
            "SELECT {}, rowid FROM {} WHERE rowid > $1 ORDER BY rowid LIMIT $2",
            names.join(", "),
            quote(&table)
        );
        let bound = i64::try_from(limit).unwrap_or(i64::MAX);
        let found = sqlx::query(AssertSqlSafe(sql)).bind(after).bind(bound).fetch_all(&mut self.connection).await?;
        let mut rows = Vec::with_capacity(found.len());
        let mut last = after;
        for found in &found {
            rows.push((0..columns.len()).map(|n| sqlite_cell(found, n)).collect::<Result<Vec<_>, _>>()?);
            if let Cell::Int(rowid) = sqlite_cell(found, columns.len())? {
                last = rowid;
            }
        }
        if rows.len() == limit {
            self.current = Some((table.clone(), columns.clone(), last));
        }
        Ok(Some(Batch { table, columns, rows, first }))
    }
}

impl Archive {
    async fn line(&mut self) -> Result<Option<Value>, StoreError> {
        let line = self.lines.next_line().await.map_err(|error| file_error(&self.path, &error))?;
        let Some(line) = line else { return Ok(None) };
        self.before = self.digest.clone();
        self.digest.update(line.as_bytes());
        self.digest.update(b"\n");
        serde_json::from_str(&line).map(Some).map_err(|_| broken("a line is no JSON"))
    }

    async fn header(&mut self) -> Result<(), StoreError> {
        let head = self.line().await.ok().flatten().ok_or_else(|| broken("it has no header"))?;
        if head["betagate"] != MARK {
            return Err(broken("it has no header"));
        }
        self.migrations = head["migrations"].as_array().into_iter().flatten().filter_map(Value::as_i64).collect();
        Ok(())
    }

    async fn next(&mut self, limit: usize) -> Result<Option<Batch>, StoreError> {
        let mut rows = Vec::new();
        while rows.len() < limit && !self.ended {
            let line = self.line().await?.ok_or_else(|| broken("it is cut off"))?;
            match line {
                Value::Array(cells) => {
                    rows.push(cells.into_iter().map(Cell::from_json).collect::<Result<Vec<_>, _>>()?);
                    self.rows += 1;
                }
                Value::Object(head) => {
                    if let Some(end) = head.get("end") {
                        self.ended = true;
                        if end.as_u64() != Some(self.rows) {
                            return Err(broken("rows are missing"));
                        }
                        let digest = HEXLOWER.encode(&self.before.clone().finalize());
                        if head.get("sha256").and_then(Value::as_str) != Some(digest.as_str()) {
                            return Err(broken("its checksum is another: it was changed since it was written"));
                        }
                        break;
                    }
                    let done = self.batch(std::mem::take(&mut rows));
                    self.start(&head)?;
                    if let Some(done) = done {
                        return Ok(Some(done));
                    }
                }
                _ => return Err(broken("a line is neither row nor table")),
            }
        }
        Ok(self.batch(rows))
    }

    fn start(&mut self, head: &serde_json::Map<String, Value>) -> Result<(), StoreError> {
        let table = head.get("table").and_then(Value::as_str).ok_or_else(|| broken("a table has no name"))?;
        let columns = head.get("columns").and_then(Value::as_array).ok_or_else(|| broken("a table has no columns"))?;
        let columns = columns.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        self.current = Some((table.to_owned(), columns));
        self.given = false;
        Ok(())
    }

    /// The rows as a batch of the current table; none when there is nothing to give.
    fn batch(&mut self, rows: Vec<Vec<Cell>>) -> Option<Batch> {
        let (table, columns) = self.current.clone()?;
        let first = !std::mem::replace(&mut self.given, true);
        (first || !rows.is_empty()).then_some(Batch { table, columns, rows, first })
    }
}
