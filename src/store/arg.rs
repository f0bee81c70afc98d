//! Values on their way into a statement, bound with each database's native type.
//!
//! Must not know: any statement.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use serde_json::Value;
use sqlx::Arguments as _;
use sqlx::postgres::PgArguments;
use sqlx::sqlite::SqliteArguments;
use uuid::Uuid;

use super::StoreError;

/// The type of a NULL; PostgreSQL wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `bigint` / INTEGER
    Int,
    /// `double precision` / REAL
    Float,
    /// `text`
    Text,
    /// `boolean` / INTEGER
    Bool,
    /// `bytea` / BLOB
    Bytes,
    /// `timestamptz` / INTEGER microseconds since 1970
    Instant,
    /// `jsonb` / TEXT
    Json,
    /// `uuid` / TEXT
    Uuid,
}

/// One bound value. On PostgreSQL it is bound natively; on SQLite instants are microseconds, JSON and ids are text,
/// and the list kinds are JSON arrays (see [`Dialect::any`](super::Dialect::any)).
#[derive(Clone, Debug, PartialEq)]
pub enum Arg {
    /// NULL of a type.
    Null(Kind),
    /// A 64-bit integer.
    Int(i64),
    /// A double.
    Float(f64),
    /// Text.
    Text(String),
    /// A boolean.
    Bool(bool),
    /// Bytes.
    Bytes(Vec<u8>),
    /// An instant; kept in whole microseconds.
    Instant(Timestamp),
    /// A JSON document.
    Json(Value),
    /// An id.
    Uuid(Uuid),
    /// A list of texts.
    Texts(Vec<String>),
    /// A list of integers.
    Ints(Vec<i64>),
    /// A list of ids.
    Uuids(Vec<Uuid>),
}

/// Builds the `&[Arg]` of a statement: `args![program, cohort, now]`.
#[macro_export]
macro_rules! args {
    () => { &[] as &[$crate::store::Arg] };
    ($($value:expr),+ $(,)?) => { &[$($crate::store::Arg::from($value)),+] as &[$crate::store::Arg] };
}

/// What has a kind, so that `None` of it can be bound.
trait Kinded {
    const KIND: Kind;
}

macro_rules! from {
    ($($type:ty, $kind:ident, $value:ident => $arg:expr;)+) => { $(
        impl Kinded for $type { const KIND: Kind = Kind::$kind; }
        impl From<$type> for Arg { fn from($value: $type) -> Self { $arg } }
    )+ };
}

from! {
    i64, Int, value => Self::Int(value);
    i32, Int, value => Self::Int(value.into());
    u32, Int, value => Self::Int(value.into());
    f64, Float, value => Self::Float(value);
    String, Text, value => Self::Text(value);
    &str, Text, value => Self::Text(value.to_owned());
    &String, Text, value => Self::Text(value.clone());
    bool, Bool, value => Self::Bool(value);
    Vec<u8>, Bytes, value => Self::Bytes(value);
    &[u8], Bytes, value => Self::Bytes(value.to_vec());
    &Vec<u8>, Bytes, value => Self::Bytes(value.clone());
    Timestamp, Instant, value => Self::Instant(value);
    &Timestamp, Instant, value => Self::Instant(*value);
    Value, Json, value => Self::Json(value);
    &Value, Json, value => Self::Json(value.clone());
    Uuid, Uuid, value => Self::Uuid(value);
    &Uuid, Uuid, value => Self::Uuid(*value);
}

impl<T: Kinded> From<Option<T>> for Arg
where
    Self: From<T>,
{
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null(T::KIND), Self::from)
    }
}

impl<T: Kinded + Clone> From<&Option<T>> for Arg
where
    Self: From<T>,
{
    fn from(value: &Option<T>) -> Self {
        value.clone().into()
    }
}

impl From<Vec<String>> for Arg {
    fn from(value: Vec<String>) -> Self {
        Self::Texts(value)
    }
}

impl From<&[String]> for Arg {
    fn from(value: &[String]) -> Self {
        Self::Texts(value.to_vec())
    }
}

impl From<&Vec<String>> for Arg {
    fn from(value: &Vec<String>) -> Self {
        Self::Texts(value.clone())
    }
}

impl From<&[&str]> for Arg {
    fn from(value: &[&str]) -> Self {
        Self::Texts(value.iter().map(ToString::to_string).collect())
    }
}

impl From<Vec<i64>> for Arg {
    fn from(value: Vec<i64>) -> Self {
        Self::Ints(value)
    }
}

impl From<Vec<Uuid>> for Arg {
    fn from(value: Vec<Uuid>) -> Self {
        Self::Uuids(value)
    }
}

impl From<&Arg> for Arg {
    fn from(value: &Arg) -> Self {
        value.clone()
    }
}

/// Whether it has the character NUL anywhere.
fn has_nul(arg: &Arg) -> bool {
    fn in_json(value: &Value) -> bool {
        match value {
            Value::String(text) => text.contains('\0'),
            Value::Array(all) => all.iter().any(in_json),
            Value::Object(fields) => fields.iter().any(|(key, value)| key.contains('\0') || in_json(value)),
            Value::Null | Value::Bool(_) | Value::Number(_) => false,
        }
    }
    match arg {
        Arg::Text(text) => text.contains('\0'),
        Arg::Texts(texts) => texts.iter().any(|text| text.contains('\0')),
        Arg::Json(value) => in_json(value),
        _ => false,
    }
}

fn without_nul(args: &[Arg]) -> Result<(), StoreError> {
    if args.iter().any(has_nul) { Err(StoreError::Nul) } else { Ok(()) }
}

fn whole_micros(at: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(at.as_microsecond()).unwrap_or(at)
}

fn unbindable(error: sqlx::error::BoxDynError) -> StoreError {
    StoreError::Invalid(format!("a value cannot be bound: {error}"))
}

/// The arguments as PostgreSQL takes them.
pub(super) fn for_postgres(args: &[Arg]) -> Result<PgArguments, StoreError> {
    without_nul(args)?;
    let mut bound = PgArguments::default();
    bound.reserve(args.len(), 0);
    for arg in args {
        match arg {
            Arg::Null(Kind::Int) => bound.add(None::<i64>),
            Arg::Null(Kind::Float) => bound.add(None::<f64>),
            Arg::Null(Kind::Text) => bound.add(None::<String>),
            Arg::Null(Kind::Bool) => bound.add(None::<bool>),
            Arg::Null(Kind::Bytes) => bound.add(None::<Vec<u8>>),
            Arg::Null(Kind::Instant) => bound.add(None::<jiff_sqlx::Timestamp>),
            Arg::Null(Kind::Json) => bound.add(None::<Value>),
            Arg::Null(Kind::Uuid) => bound.add(None::<Uuid>),
            Arg::Int(value) => bound.add(*value),
            Arg::Float(value) => bound.add(*value),
            Arg::Text(value) => bound.add(value.as_str()),
            Arg::Bool(value) => bound.add(*value),
            Arg::Bytes(value) => bound.add(value.as_slice()),
            Arg::Instant(value) => bound.add(whole_micros(*value).to_sqlx()),
            Arg::Json(value) => bound.add(value),
            Arg::Uuid(value) => bound.add(*value),
            Arg::Texts(value) => bound.add(value.as_slice()),
            Arg::Ints(value) => bound.add(value.as_slice()),
            Arg::Uuids(value) => bound.add(value.as_slice()),
        }
        .map_err(unbindable)?;
    }
    Ok(bound)
}

/// The arguments as SQLite takes them.
pub(super) fn for_sqlite(args: &[Arg]) -> Result<SqliteArguments, StoreError> {
    without_nul(args)?;
    let mut bound = SqliteArguments::default();
    for arg in args {
        match arg {
            Arg::Null(_) => bound.add(None::<i64>),
            Arg::Int(value) => bound.add(*value),
            Arg::Float(value) => bound.add(*value),
            Arg::Text(value) => bound.add(value.clone()),
            Arg::Bool(value) => bound.add(*value),
            Arg::Bytes(value) => bound.add(value.clone()),
            Arg::Instant(value) => bound.add(value.as_microsecond()),
            Arg::Json(value) => bound.add(value.to_string()),
            Arg::Uuid(value) => bound.add(value.to_string()),
            Arg::Texts(value) => bound.add(Value::from(value.clone()).to_string()),
            Arg::Ints(value) => bound.add(Value::from(value.clone()).to_string()),
            Arg::Uuids(value) => bound.add(Value::from_iter(value.iter().map(ToString::to_string)).to_string()),
        }
        .map_err(unbindable)?;
    }
    Ok(bound)
}
