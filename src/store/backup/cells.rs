//! One value of a backup, in the form SQLite keeps it, and how it becomes a value of a column.
//!
//! Must not know: files, tables.

use data_encoding::HEXLOWER;
use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::store::{Arg, Kind, StoreError};

/// A value as SQLite keeps it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cell {
    Null,
    Int(i64),
    Real(f64),
    Text(String),
    Blob(Vec<u8>),
}

/// What a column wants: a PostgreSQL type, or whatever comes (SQLite).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Want {
    As(Kind),
    Texts,
    Any,
}

impl Want {
    /// By the name of a PostgreSQL type (`pg_type.typname`).
    pub(super) fn of_postgres(type_name: &str) -> Result<Self, StoreError> {
        Ok(Self::As(match type_name {
            "int2" | "int4" | "int8" => Kind::Int,
            "float4" | "float8" => Kind::Float,
            "bool" => Kind::Bool,
            "text" | "varchar" => Kind::Text,
            "bytea" => Kind::Bytes,
            "timestamptz" => Kind::Instant,
            "json" | "jsonb" => Kind::Json,
            "uuid" => Kind::Uuid,
            "_text" => return Ok(Self::Texts),
            other => return Err(StoreError::Invalid(format!("a column of type {other} cannot be backed up"))),
        }))
    }

    /// The expression that reads a PostgreSQL column in the form SQLite would keep.
    pub(super) fn read_expression(self, column: &str) -> String {
        match self {
            Self::As(Kind::Int) => format!("{column}::int8"),
            Self::As(Kind::Float) => format!("{column}::float8"),
            Self::As(Kind::Bool) => format!("{column}::int::int8"),
            Self::As(Kind::Instant) => format!("(extract(epoch FROM {column}) * 1000000)::int8"),
            Self::As(Kind::Json | Kind::Uuid) => format!("{column}::text"),
            Self::Texts => format!("to_jsonb({column})::text"),
            Self::As(Kind::Text | Kind::Bytes) | Self::Any => column.to_owned(),
        }
    }
}

impl Cell {
    /// The line form: numbers and text as they are, bytes as `{"x": "hex"}`.
    pub(super) fn to_json(&self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Int(value) => json!(value),
            Self::Real(value) => json!(value),
            Self::Text(value) => json!(value),
            Self::Blob(value) => json!({"x": HEXLOWER.encode(value)}),
        }
    }

    /// Back from the line form.
    pub(super) fn from_json(value: Value) -> Result<Self, StoreError> {
        let broken = || StoreError::Invalid("a value in the backup cannot be read".into());
        Ok(match value {
            Value::Null => Self::Null,
            Value::String(text) => Self::Text(text),
            Value::Number(number) => match number.as_i64() {
                Some(whole) => Self::Int(whole),
                None => Self::Real(number.as_f64().ok_or_else(broken)?),
            },
            Value::Object(bytes) => {
                let hex = bytes.get("x").and_then(Value::as_str).ok_or_else(broken)?;
                Self::Blob(HEXLOWER.decode(hex.as_bytes()).map_err(|_| broken())?)
            }
            Value::Bool(_) | Value::Array(_) => return Err(broken()),
        })
    }

    /// The value to bind for a column.
    pub(super) fn to_arg(&self, want: Want) -> Result<Arg, StoreError> {
        let broken = || StoreError::Invalid("a value in the backup does not fit its column".into());
        Ok(match (self, want) {
            (Self::Null, Want::As(kind)) => Arg::Null(kind),
            (Self::Null, Want::Texts | Want::Any) => Arg::Null(Kind::Text),
            (Self::Int(value), Want::Any | Want::As(Kind::Int)) => Arg::Int(*value),
            (Self::Int(value), Want::As(Kind::Bool)) => Arg::Bool(*value != 0),
            (Self::Int(value), Want::As(Kind::Float)) => Arg::Float(*value as f64),
            (Self::Int(value), Want::As(Kind::Instant)) => {
                Arg::Instant(Timestamp::from_microsecond(*value).map_err(|_| broken())?)
            }
            (Self::Real(value), Want::Any | Want::As(Kind::Float)) => Arg::Float(*value),
            (Self::Text(value), Want::Any | Want::As(Kind::Text)) => Arg::Text(value.clone()),
            (Self::Text(value), Want::As(Kind::Json)) => Arg::Json(serde_json::from_str(value).map_err(|_| broken())?),
            (Self::Text(value), Want::As(Kind::Uuid)) => Arg::Uuid(Uuid::parse_str(value).map_err(|_| broken())?),
            (Self::Text(value), Want::Texts) => Arg::Texts(serde_json::from_str(value).map_err(|_| broken())?),
            (Self::Blob(value), Want::Any | Want::As(Kind::Bytes)) => Arg::Bytes(value.clone()),
            _ => return Err(broken()),
        })
    }
}
