//! Readings from a database: one statement that answers one number, or one row of `numerator` and `denominator`.
//!
//! Must not know: which check asked. The statement comes from a repository that many may write to, so it is bounded: a connection
//! of its own that can only read, a time limit, one row; betagate's own store only through its `checks` views ([`super::guard`]).

use std::str::FromStr as _;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, Column as _, ConnectOptions as _, Connection as _, Row as _, TypeInfo as _, ValueRef as _};
use url::Url;

use super::guard::{self, Guard};
use super::{Reading, Why, ratio, source_error};

/// How often SQLite looks at the clock: every so many steps of its virtual machine, some tens of microseconds.
const STEPS_BETWEEN_LOOKS: i32 = 1000;

/// A database that checks may read.
#[derive(Clone)]
pub struct Database {
    name: String,
    address: SecretString,
    own: bool,
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Database({})", self.name)
    }
}

impl Database {
    /// A database of the product's, by its address (`postgres://…` or `sqlite:PATH`); its user should have no right to write.
    pub fn product(name: &str, address: SecretString) -> Self {
        Self { name: name.to_owned(), address, own: false }
    }

    /// betagate's own store, as the source `betagate`: only the views of its `checks` schema can be read.
    pub fn own(address: SecretString) -> Self {
        Self { name: "betagate".to_owned(), address, own: true }
    }

    /// The source's name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// Runs a query and reads what it answers. It is over, or ended by the database, after `deadline`.
///
/// No row, or NULL, or 0 below the line, is no data; an error, a second row or anything that is no number is a source error.
pub async fn measure(database: &Database, query: &str, deadline: Duration, at: Timestamp) -> Reading {
    // The database ends the statement itself; this is for one that no longer answers at all.
    let asked = tokio::time::timeout(deadline + Duration::from_secs(2), ask(database, query, deadline)).await;
    match asked.unwrap_or_else(|_| Err(format!("no answer within {deadline:?}"))) {
        Ok(row) => read(&row, at).unwrap_or_else(|why| source_error(&database.name, &why, at)),
        Err(why) => source_error(&database.name, &why, at),
    }
}

/// One row's columns by name; `None` when there is no row.
type Answer = Option<Map<String, Value>>;

async fn ask(database: &Database, query: &str, deadline: Duration) -> Result<Answer, String> {
    let address = database.address.expose_secret();
    if address.starts_with("sqlite:") {
        ask_sqlite(database.own, address, query, deadline).await
    } else {
        ask_postgres(database.own, address, query, deadline).await
    }
}

fn read(row: &Answer, at: Timestamp) -> Result<Reading, String> {
    let Some(row) = row else { return Ok(Reading::unknown(Why::NoData, at)) };
    if let (Some(numerator), Some(denominator)) = (row.get("numerator"), row.get("denominator")) {
        let (Some(numerator), Some(denominator)) = (number(numerator)?, number(denominator)?) else {
            return Ok(Reading::unknown(Why::NoData, at));
        };
        return Ok(ratio(numerator, denominator, at));
    }
    if row.len() != 1 {
        let names: Vec<&str> = row.keys().map(String::as_str).collect();
        return Err(format!(
            "the query answers the columns {}; it must answer one, or numerator and denominator",
            names.join(", ")
        ));
    }
    let value = row.values().next().map_or(Ok(None), number)?;
    Ok(value.map_or_else(|| Reading::unknown(Why::NoData, at), |value| Reading::value(value, at)))
}

fn number(value: &Value) -> Result<Option<f64>, String> {
    match value {
        Value::Null => Ok(None),
        Value::Bool(yes) => Ok(Some(f64::from(u8::from(*yes)))),
        Value::Number(number) => Ok(number.as_f64()),
        // PostgreSQL's JSON has no NaN: it writes the word.
        Value::String(text) if text == "NaN" => Ok(None),
        _ => Err("the query answers something that is no number".into()),
    }
}

// ---- PostgreSQL ------------------------------------------------------------------------------------------------------------------

async fn ask_postgres(own: bool, address: &str, query: &str, deadline: Duration) -> Result<Answer, String> {
    let (address, schema) = without_schema(address)?;
    let options = PgConnectOptions::from_str(&address).map_err(|_| "its address cannot be read".to_owned())?;
    let options = options.application_name("betagate checks");
    let connecting = tokio::time::timeout(deadline, options.connect());
    let mut connection = connecting.await.map_err(|_| format!("no connection within {deadline:?}"))?.map_err(said)?;
    let answer = postgres_row(own, &mut connection, schema.as_deref(), query, deadline).await;
    // The answer counts, not how the connection ends.
    drop(connection.close().await);
    answer
}

async fn postgres_row(
    own: bool,
    connection: &mut PgConnection,
    schema: Option<&str>,
    query: &str,
    deadline: Duration,
) -> Result<Answer, String> {
    let path = match (own, schema) {
        (true, Some(schema)) => format!("{schema}_checks, {schema}"),
        (true, None) => "checks, public".to_owned(),
        (false, Some(schema)) => schema.to_owned(),
        (false, None) => String::new(),
    };
    let path = if path.is_empty() { String::new() } else { format!("SET search_path = {path};") };
    let settings = format!(
        "SET default_transaction_read_only = on; SET standard_conforming_strings = on; SET statement_timeout = {}; {path}",
        deadline.as_millis().max(1)
    );
    sqlx::raw_sql(AssertSqlSafe(settings)).execute(&mut *connection).await.map_err(said)?;
    let query = if own {
        let schema = schema.unwrap_or("public");
        let checks = if schema == "public" { "checks".to_owned() } else { format!("{schema}_checks") };
        let sql = "SELECT c.relname AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                   WHERE n.nspname <> $1 AND c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
                   UNION SELECT nspname FROM pg_namespace WHERE nspname <> $1";
        let rows = sqlx::query(sql).bind(&checks).fetch_all(&mut *connection).await.map_err(said)?;
        let names = rows.iter().map(|row| row.try_get::<String, _>("name")).collect::<Result<_, _>>().map_err(said)?;
        Guard::new(names, Some(checks)).allow(query)?
    } else {
        guard::one_select(query)?
    };
    let mut tx = connection.begin().await.map_err(said)?;
    // As a subquery no statement can be anything but a question; the line break ends a comment that the query may end with.
    let sql = format!("SELECT row_to_json(answer)::text AS answer FROM (\n{query}\n) AS answer LIMIT 2");
    let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut *tx).await.map_err(said)?;
    if rows.len() > 1 {
        return Err("the query answers more than one row".into());
    }
    let Some(row) = rows.first() else { return Ok(None) };
    let text: String = row.try_get("answer").map_err(said)?;
    serde_json::from_str(&text).map(Some).map_err(|_| "the answer cannot be read".into())
}

/// Takes our own `schema` parameter out of an address, as [`crate::store::Store::open`] does.
fn without_schema(address: &str) -> Result<(String, Option<String>), String> {
    let mut url = Url::parse(address).map_err(|_| "its address cannot be read".to_owned())?;
    let pairs: Vec<(String, String)> = url.query_pairs().map(|(k, v)| (k.into_owned(), v.into_owned())).collect();
    let Some((_, schema)) = pairs.iter().find(|(key, _)| key == "schema") else {
        return Ok((address.to_owned(), None));
    };
    if !schema.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_') {
        return Err("a schema is named with lower-case letters, digits and `_`".into());
    }
    url.set_query(None);
    let rest: Vec<_> = pairs.iter().filter(|(key, _)| key != "schema").collect();
    if !rest.is_empty() {
        url.query_pairs_mut().extend_pairs(rest);
    }
    Ok((url.into(), Some(schema.clone())))
}

// ---- SQLite ----------------------------------------------------------------------------------------------------------------------

async fn ask_sqlite(own: bool, address: &str, query: &str, deadline: Duration) -> Result<Answer, String> {
    let path = address.trim_start_matches("sqlite:").trim_start_matches("//").split('?').next().unwrap_or_default();
    let mut connection = SqliteConnectOptions::new()
        .filename(path)
        .read_only(true)
        .busy_timeout(deadline)
        .pragma("query_only", "ON")
        .connect()
        .await
        .map_err(said)?;
    let answer = sqlite_row(own, &mut connection, query, deadline).await;
    drop(connection.close().await);
    answer
}

async fn sqlite_row(
    own: bool,
    connection: &mut SqliteConnection,
    query: &str,
    deadline: Duration,
) -> Result<Answer, String> {
    let sql =
        "SELECT name FROM sqlite_schema WHERE type IN ('table', 'view') AND name NOT LIKE 'checks\\_%' ESCAPE '\\'";
    let rows = sqlx::query(sql).fetch_all(&mut *connection).await.map_err(said)?;
    let query = if own {
        let names = rows.iter().map(|row| row.try_get::<String, _>("name")).collect::<Result<_, _>>().map_err(said)?;
        Guard::new(names, None).allow(query)?
    } else {
        guard::one_select(query)?
    };
    let end = Instant::now() + deadline;
    let mut handle = connection.lock_handle().await.map_err(said)?;
    handle.set_progress_handler(STEPS_BETWEEN_LOOKS, move || Instant::now() < end);
    drop(handle);
    let sql = format!("SELECT * FROM (\n{query}\n) LIMIT 2");
    let asked = sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut *connection).await;
    let rows = match asked {
        Err(_) if Instant::now() >= end => return Err(format!("no answer within {deadline:?}")),
        other => other.map_err(said)?,
    };
    if rows.len() > 1 {
        return Err("the query answers more than one row".into());
    }
    rows.first().map(sqlite_columns).transpose()
}

fn sqlite_columns(row: &SqliteRow) -> Result<Map<String, Value>, String> {
    let mut columns = Map::new();
    for (n, column) in row.columns().iter().enumerate() {
        let raw = row.try_get_raw(n).map_err(said)?;
        let value = match raw.type_info().name() {
            _ if raw.is_null() => Value::Null,
            "INTEGER" | "BOOLEAN" => row.try_get::<i64, _>(n).map_err(said)?.into(),
            "REAL" => row.try_get::<f64, _>(n).map_err(said)?.into(),
            _ => Value::String("text".into()),
        };
        columns.insert(column.name().to_owned(), value);
    }
    Ok(columns)
}

/// What the driver says, without anything that could hold an address.
fn said(error: sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(error) => match error.code().as_deref() {
            // query_canceled, by statement_timeout.
            Some("57014") => "the query took too long and was ended".into(),
            _ => error.message().to_owned(),
        },
        sqlx::Error::Io(io) => format!("cannot connect ({})", io.kind()),
        sqlx::Error::Tls(_) => "the TLS handshake failed".into(),
        sqlx::Error::Configuration(_) => "its address cannot be read".into(),
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => "the answer cannot be read".into(),
        _ => "the database cannot be asked".into(),
    }
}

#[cfg(test)]
mod tests;
