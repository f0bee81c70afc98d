//! Connections and transactions of either database behind one set of calls.
//!
//! Must not know: any table.

use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _};

use super::arg::{for_postgres, for_sqlite};
use super::place::Place;
use super::{Arg, Row, StoreError};

/// Most connections one process opens to PostgreSQL.
const POSTGRES_CONNECTIONS: u32 = 10;
/// Most readers one process opens on a SQLite file, beside its single writer.
const SQLITE_READERS: u32 = 4;
/// How long a call waits for a connection before it says that the database is not available.
const PATIENCE: Duration = Duration::from_secs(5);
/// What a server does about a client that vanished in the middle of a transaction (a machine that lost its power says no goodbye): within about half
/// a minute it ends the session, and its locks go. A statement that runs for long, a bulk load too, is not idle. What stands in the address of the
/// database under `options` wins; through a Unix socket the server takes the `tcp_` ones and does nothing with them.
const FOR_WHO_VANISHES: [(&str, &str); 5] = [
    ("idle_in_transaction_session_timeout", "30s"),
    ("tcp_keepalives_idle", "10s"),
    ("tcp_keepalives_interval", "5s"),
    ("tcp_keepalives_count", "4"),
    ("tcp_user_timeout", "30s"),
];
/// How long a write waits for its turn on SQLite: a bulk load may be before it.
const TURN: Duration = Duration::from_secs(30);

/// Which database a store speaks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// PostgreSQL 13 or later.
    Postgres,
    /// SQLite, built in.
    Sqlite,
}

impl Dialect {
    /// The condition that `column` is one of the list bound at `bind` (an [`Arg::Texts`], [`Arg::Ints`], [`Arg::Uuids`]).
    pub fn any(self, column: &str, bind: &str) -> String {
        match self {
            Self::Postgres => format!("{column} = ANY({bind})"),
            Self::Sqlite => format!("{column} IN (SELECT value FROM json_each({bind}))"),
        }
    }

    /// `postgres` or `sqlite` body, whichever this dialect runs.
    pub fn pick<T>(self, postgres: T, sqlite: T) -> T {
        match self {
            Self::Postgres => postgres,
            Self::Sqlite => sqlite,
        }
    }
}

/// The database. Cheap to clone; the pools are inside.
#[derive(Clone)]
pub struct Store(Arc<Pools>);

enum Pools {
    Postgres { pool: PgPool, schema: Option<String> },
    Sqlite { writer: SqlitePool, readers: SqlitePool },
}

impl std::fmt::Debug for Store {
    // Never the address: it may hold a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Store({:?})", self.dialect())
    }
}

impl Store {
    /// Connects to `sqlite:PATH` (made when missing) or `postgres://…`; `?schema=NAME` puts everything into that
    /// schema, which [`Store::migrate`] makes. Does not migrate. Connections that break are opened again as needed.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when nothing answers, [`StoreError::Invalid`] when the address cannot be read.
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        match url.split_once(':').map(|(scheme, _)| scheme) {
            Some("postgres" | "postgresql") => open_postgres(url).await,
            Some("sqlite") => open_sqlite(url).await,
            _ => Err(StoreError::Invalid("a database address starts with `sqlite:` or `postgres://`".into())),
        }
    }

    /// Which database this is.
    pub fn dialect(&self) -> Dialect {
        match &*self.0 {
            Pools::Postgres { .. } => Dialect::Postgres,
            Pools::Sqlite { .. } => Dialect::Sqlite,
        }
    }

    /// The PostgreSQL schema named in the address.
    pub(super) fn schema(&self) -> Option<&str> {
        match &*self.0 {
            Pools::Postgres { schema, .. } => schema.as_deref(),
            Pools::Sqlite { .. } => None,
        }
    }

    /// The pool, where a function has a body of its own for PostgreSQL.
    pub(super) fn postgres(&self) -> Option<&PgPool> {
        match &*self.0 {
            Pools::Postgres { pool, .. } => Some(pool),
            Pools::Sqlite { .. } => None,
        }
    }

    /// The writing pool of one connection, where a function has a body of its own for SQLite.
    pub(super) fn sqlite(&self) -> Option<&SqlitePool> {
        match &*self.0 {
            Pools::Postgres { .. } => None,
            Pools::Sqlite { writer, .. } => Some(writer),
        }
    }

    /// The file of a SQLite database.
    pub(super) fn sqlite_file(&self) -> Option<std::path::PathBuf> {
        self.sqlite().map(|pool| pool.connect_options().get_filename().to_owned())
    }

    /// Begins a transaction that may write; it is rolled back when dropped. On SQLite it waits here for its turn
    /// (`BEGIN IMMEDIATE`), so whoever holds one must not begin another.
    pub async fn begin(&self) -> Result<Tx, StoreError> {
        Ok(Tx(match &*self.0 {
            Pools::Postgres { pool, .. } => Open::Postgres(pool.begin().await?),
            Pools::Sqlite { writer, .. } => Open::Sqlite(writer.begin_with("BEGIN IMMEDIATE").await?),
        }))
    }

    /// Begins a transaction that sees the database as it is now, whatever others write meanwhile, and only reads.
    pub(super) async fn snapshot(&self) -> Result<Tx, StoreError> {
        Ok(Tx(match &*self.0 {
            Pools::Postgres { pool, .. } => {
                Open::Postgres(pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?)
            }
            Pools::Sqlite { readers, .. } => Open::Sqlite(readers.begin().await?),
        }))
    }

    /// Reads all rows, outside any transaction.
    pub async fn all(&self, sql: &str, args: &[Arg]) -> Result<Vec<Row>, StoreError> {
        match &*self.0 {
            Pools::Postgres { pool, .. } => postgres_all(pool, sql, args).await,
            Pools::Sqlite { readers, .. } => sqlite_all(readers, sql, args).await,
        }
    }

    /// Reads at most one row.
    pub async fn opt(&self, sql: &str, args: &[Arg]) -> Result<Option<Row>, StoreError> {
        Ok(self.all(sql, args).await?.into_iter().next())
    }

    /// Reads a row that must be there.
    ///
    /// # Errors
    /// [`StoreError::Missing`] when it is not.
    pub async fn one(&self, sql: &str, args: &[Arg]) -> Result<Row, StoreError> {
        self.opt(sql, args).await?.ok_or_else(|| StoreError::Missing("no row".into()))
    }

    /// Runs one writing statement in a transaction of its own and says how many rows it touched.
    pub async fn execute(&self, sql: &str, args: &[Arg]) -> Result<u64, StoreError> {
        let mut tx = self.begin().await?;
        let touched = tx.execute(sql, args).await?;
        tx.commit().await?;
        Ok(touched)
    }

    /// Closes all connections, waiting for those in use.
    pub async fn close(&self) {
        match &*self.0 {
            Pools::Postgres { pool, .. } => pool.close().await,
            Pools::Sqlite { writer, readers } => {
                readers.close().await;
                writer.close().await;
            }
        }
    }
}

/// A transaction that may write; rolled back when dropped. After an error, drop it: PostgreSQL accepts nothing more.
pub struct Tx(Open);

enum Open {
    Postgres(sqlx::Transaction<'static, sqlx::Postgres>),
    Sqlite(sqlx::Transaction<'static, sqlx::Sqlite>),
}

impl Tx {
    /// Which database this is.
    pub fn dialect(&self) -> Dialect {
        match &self.0 {
            Open::Postgres(_) => Dialect::Postgres,
            Open::Sqlite(_) => Dialect::Sqlite,
        }
    }

    /// Runs a statement and says how many rows it touched.
    pub async fn execute(&mut self, sql: &str, args: &[Arg]) -> Result<u64, StoreError> {
        Ok(match &mut self.0 {
            Open::Postgres(tx) => {
                tx.execute(sqlx::query_with(AssertSqlSafe(sql), for_postgres(args)?)).await?.rows_affected()
            }
            Open::Sqlite(tx) => {
                tx.execute(sqlx::query_with(AssertSqlSafe(sql), for_sqlite(args)?)).await?.rows_affected()
            }
        })
    }

    /// Reads all rows (also those of `… RETURNING`).
    pub async fn all(&mut self, sql: &str, args: &[Arg]) -> Result<Vec<Row>, StoreError> {
        match &mut self.0 {
            Open::Postgres(tx) => postgres_all(&mut **tx, sql, args).await,
            Open::Sqlite(tx) => sqlite_all(&mut **tx, sql, args).await,
        }
    }

    /// Reads at most one row.
    pub async fn opt(&mut self, sql: &str, args: &[Arg]) -> Result<Option<Row>, StoreError> {
        Ok(self.all(sql, args).await?.into_iter().next())
    }

    /// Reads a row that must be there.
    ///
    /// # Errors
    /// [`StoreError::Missing`] when it is not.
    pub async fn one(&mut self, sql: &str, args: &[Arg]) -> Result<Row, StoreError> {
        self.opt(sql, args).await?.ok_or_else(|| StoreError::Missing("no row".into()))
    }

    /// Runs several statements without arguments (migrations).
    pub(super) async fn script(&mut self, sql: &str) -> Result<(), StoreError> {
        match &mut self.0 {
            Open::Postgres(tx) => sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut **tx).await.map(|_| ())?,
            Open::Sqlite(tx) => sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut **tx).await.map(|_| ())?,
        }
        Ok(())
    }

    /// The connection, where a function has a body of its own for PostgreSQL (`COPY`).
    pub(super) fn postgres(&mut self) -> Option<&mut sqlx::PgConnection> {
        match &mut self.0 {
            Open::Postgres(tx) => Some(tx),
            Open::Sqlite(_) => None,
        }
    }

    /// The connection, where a function has a body of its own for SQLite.
    pub(super) fn sqlite(&mut self) -> Option<&mut sqlx::SqliteConnection> {
        match &mut self.0 {
            Open::Postgres(_) => None,
            Open::Sqlite(tx) => Some(tx),
        }
    }

    /// Makes it so; and, where this is part of a request that may be repeated, that the request was carried out.
    pub async fn commit(mut self) -> Result<(), StoreError> {
        super::repeated::carried_out(&mut self).await?;
        match self.0 {
            Open::Postgres(tx) => tx.commit().await?,
            Open::Sqlite(tx) => tx.commit().await?,
        }
        Ok(())
    }

    /// Undoes it now instead of when dropped.
    pub async fn rollback(self) -> Result<(), StoreError> {
        match self.0 {
            Open::Postgres(tx) => tx.rollback().await?,
            Open::Sqlite(tx) => tx.rollback().await?,
        }
        Ok(())
    }
}

async fn postgres_all<'c, E>(executor: E, sql: &str, args: &[Arg]) -> Result<Vec<Row>, StoreError>
where
    E: sqlx::Executor<'c, Database = sqlx::Postgres>,
{
    let rows = sqlx::query_with(AssertSqlSafe(sql), for_postgres(args)?).fetch_all(executor).await?;
    Ok(rows.into_iter().map(Row::from).collect())
}

async fn sqlite_all<'c, E>(executor: E, sql: &str, args: &[Arg]) -> Result<Vec<Row>, StoreError>
where
    E: sqlx::Executor<'c, Database = sqlx::Sqlite>,
{
    let rows = sqlx::query_with(AssertSqlSafe(sql), for_sqlite(args)?).fetch_all(executor).await?;
    Ok(rows.into_iter().map(Row::from).collect())
}

async fn open_postgres(url: &str) -> Result<Store, StoreError> {
    let (url, schema) = without_schema(url)?;
    let mut options = PgConnectOptions::from_str(&url)?.application_name("betagate");
    let said = options.get_options().unwrap_or_default().to_owned();
    options = options.options(FOR_WHO_VANISHES.into_iter().filter(|(name, _)| !said.contains(name)));
    if let Some(schema) = &schema {
        options = options.options([("search_path", schema)]);
    }
    // The pool would try again for as long as its patience lasts; whoever opens wants to know at once.
    options.connect().await?.close().await?;
    let pool = PgPoolOptions::new()
        .max_connections(POSTGRES_CONNECTIONS)
        .acquire_timeout(PATIENCE)
        .idle_timeout(Duration::from_secs(300))
        // A connection keeps room for the largest message it ever had: all flags at once, a hundred times what is usual.
        .after_release(|connection, _| {
            connection.shrink_buffers();
            Box::pin(async { Ok(true) })
        })
        .connect_lazy_with(options);
    Ok(Store(Arc::new(Pools::Postgres { pool, schema })))
}

/// Takes our own `schema` parameter out of a PostgreSQL address.
fn without_schema(url: &str) -> Result<(String, Option<String>), StoreError> {
    let mut parsed =
        url::Url::parse(url).map_err(|_| StoreError::Invalid("the database address cannot be read".into()))?;
    let Some(schema) = parsed.query_pairs().find(|(key, _)| key == "schema").map(|(_, value)| value.into_owned())
    else {
        return Ok((url.to_owned(), None));
    };
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if schema.is_empty() || schema.starts_with(|c: char| c.is_ascii_digit()) || !schema.chars().all(plain) {
        return Err(StoreError::Invalid("a schema is named with lower-case letters, digits and `_`".into()));
    }
    let rest: Vec<(String, String)> = parsed
        .query_pairs()
        .filter(|(key, _)| key != "schema")
        .map(|(k, v)| (k.into_owned(), v.into_owned()))
        .collect();
    parsed.set_query(None);
    if !rest.is_empty() {
        parsed.query_pairs_mut().extend_pairs(rest);
    }
    Ok((parsed.into(), Some(schema)))
}

async fn open_sqlite(url: &str) -> Result<Store, StoreError> {
    let path = url.trim_start_matches("sqlite:").trim_start_matches("//").split('?').next().unwrap_or_default();
    if path.is_empty() || path == ":memory:" {
        return Err(StoreError::Invalid("a SQLite address names a file: `sqlite:PATH`".into()));
    }
    make_private(std::path::Path::new(path))?;
    let options = SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        // A receipt that is lost in a power cut would send a message twice.
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(TURN);
    let place = Arc::new(Place::of(std::path::Path::new(path)));
    let (for_writer, for_readers) = (place.clone(), place);
    let writer = SqlitePoolOptions::new()
        .before_acquire(move |_, known| {
            let there = for_writer.is_of(known.age);
            Box::pin(async move { Ok(there) })
        })
        .max_connections(1)
        .acquire_timeout(TURN)
        .idle_timeout(None)
        .max_lifetime(None)
        .connect_with(options.clone())
        .await?;
    let readers = SqlitePoolOptions::new()
        .before_acquire(move |_, known| {
            let there = for_readers.is_of(known.age);
            Box::pin(async move { Ok(there) })
        })
        .max_connections(SQLITE_READERS)
        .acquire_timeout(PATIENCE)
        .idle_timeout(Duration::from_secs(60))
        .max_lifetime(None)
        .connect_lazy_with(options.pragma("query_only", "ON").pragma("cache_size", "-1024"));
    Ok(Store(Arc::new(Pools::Sqlite { writer, readers })))
}

/// Makes the file when it is missing, readable by its owner only; SQLite gives its companions the same rights.
fn make_private(path: &std::path::Path) -> Result<(), StoreError> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = std::fs::OpenOptions::new();
    let made = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
    made.map(drop).map_err(|error| StoreError::Invalid(format!("{}: {error}", path.display())))
}
