//! Values on their way out of a result, the same Rust types from either database.
//!
//! Must not know: any statement.

use jiff::Timestamp;
use serde_json::Value;
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgRow, PgValueFormat, PgValueRef, Postgres};
use sqlx::sqlite::{Sqlite, SqliteRow, SqliteValueRef};
use sqlx::{Decode, Row as _, TypeInfo as _, ValueRef as _};
use uuid::Uuid;

use super::StoreError;

/// One row of a result.
pub struct Row(Repr);

enum Repr {
    Postgres(PgRow),
    Sqlite(SqliteRow),
}

impl From<PgRow> for Row {
    fn from(row: PgRow) -> Self {
        Self(Repr::Postgres(row))
    }
}

impl From<SqliteRow> for Row {
    fn from(row: SqliteRow) -> Self {
        Self(Repr::Sqlite(row))
    }
}

impl Row {
    /// The value of a column.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] when there is no such column, it holds another type, or it is NULL and `T` is no option.
    pub fn get<T: Column>(&self, column: &str) -> Result<T, StoreError> {
        let value = match &self.0 {
            Repr::Postgres(row) => {
                let raw = row.try_get_raw(column)?;
                if raw.is_null() { T::null() } else { Some(T::from_postgres(raw)) }
            }
            Repr::Sqlite(row) => {
                let raw = row.try_get_raw(column)?;
                if raw.is_null() { T::null() } else { Some(T::from_sqlite(raw)) }
            }
        };
        match value {
            Some(Ok(value)) => Ok(value),
            Some(Err(error)) => Err(StoreError::Invalid(format!("column `{column}`: {error}"))),
            None => Err(StoreError::Invalid(format!("column `{column}` is NULL"))),
        }
    }

    /// The names of the columns, in order.
    pub fn columns(&self) -> Vec<String> {
        use sqlx::Column as _;
        match &self.0 {
            Repr::Postgres(row) => row.columns().iter().map(|column| column.name().to_owned()).collect(),
            Repr::Sqlite(row) => row.columns().iter().map(|column| column.name().to_owned()).collect(),
        }
    }
}

/// A Rust type that a column can be read as.
pub trait Column: Sized {
    /// What NULL is read as; `None` when it cannot be.
    fn null() -> Option<Result<Self, BoxDynError>> {
        None
    }
    /// Reads a value of PostgreSQL that is not NULL.
    fn from_postgres(value: PgValueRef<'_>) -> Result<Self, BoxDynError>;
    /// Reads a value of SQLite that is not NULL.
    fn from_sqlite(value: SqliteValueRef<'_>) -> Result<Self, BoxDynError>;
}

impl<T: Column> Column for Option<T> {
    fn null() -> Option<Result<Self, BoxDynError>> {
        Some(Ok(None))
    }
    fn from_postgres(value: PgValueRef<'_>) -> Result<Self, BoxDynError> {
        T::from_postgres(value).map(Some)
    }
    fn from_sqlite(value: SqliteValueRef<'_>) -> Result<Self, BoxDynError> {
        T::from_sqlite(value).map(Some)
    }
}

fn type_name(value: &PgValueRef<'_>) -> String {
    value.type_info().name().to_owned()
}

impl Column for i64 {
    fn from_postgres(value: PgValueRef<'_>) -> Result<Self, BoxDynError> {
        match type_name(&value).as_str() {
            "INT2" => Ok(<i16 as Decode<'_, Postgres>>::decode(value)?.into()),
            "INT4" => Ok(<i32 as Decode<'_, Postgres>>::decode(value)?.into()),
            "INT8" => Decode::<'_, Postgres>::decode(value),
            // sum() over bigint
            "NUMERIC" => {
                let number = numeric(value)?;
                if number.fract() == 0.0 && number.abs() < 9.0e15 {
                    Ok(number as i64)
                } else {
                    Err("no integer".into())
                }
            }
            other => Err(format!("{other} is no integer").into()),
        }
    }
    fn from_sqlite(value: SqliteValueRef<'_>) -> Result<Self, BoxDynError> {
        match value.type_info().name() {
            "INTEGER" | "BOOLEAN" => Decode::<'_, Sqlite>::decode(value),
            other => Err(format!("{other} is no integer").into()),
        }
    }
}

impl Column for f64 {
    fn from_postgres(value: PgValueRef<'_>) -> Result<Self, BoxDynError> {
        match type_name(&value).as_str() {
            "FLOAT4" => Ok(<f32 as Decode<'_, Postgres>>::decode(value)?.into()),
            "FLOAT8" => Decode::<'_, Postgres>::decode(value),
            "NUMERIC" => numeric(value),
            _ => i64::from_postgres(value).map(|number| number as f64),
        }
    }
    fn from_sqlite(value: SqliteValueRef<'_>) -> Result<Self, BoxDynError> {
        match value.type_info().name() {
            "REAL" | "INTEGER" => Decode::<'_, Sqlite>::decode(value),
            other => Err(format!("{other} is no number").into()),
        }
    }
}

impl Column for bool {
    fn from_postgres(value: PgValueRef<'_>) -> Result<Self, BoxDynError> {
        match type_name(&value).as_str() {
            "BOOL" => Decode::<'_, Postgres>::decode(value),
            other => Err(format!("{other} is no boolean").into()),
        }
    }
    fn from_sqlite(value: SqliteValueRef<'_>) -> Result<Self, BoxDynError> {
        i64::from_sqlite(value).map(|number| number != 0)
    }
}

impl Column for String {
    fn from_postgres(value: PgValueRef<'_>) -> Result<Self, BoxDynError> {
        match type_name(&value).as_str() {
            "TEXT" | "VARCHAR" | "NAME" | "CHAR" | "UNKNOWN" => Decode::<'_, Postgres>::decode(value),
            other => Err(format!("{other} is no text").into()),
        }
    }
    fn from_sqlite(value: SqliteValueRef<'_>) -> Result<Self, BoxDynError> {
        Decode::<'_, Sqlite>::decode(value)
    }
}

impl Column for Vec<u8> {
    fn from_postgres(value: PgValueRef<'_>) -> Result<Self, BoxDynError> {
        Decode::<'_, Postgres>::decode(value)
    }
    fn from_sqlite(value: SqliteValueRef<'_>) -> Result<Self, BoxDynError> {
        Decode::<'_, Sqlite>::decode(value)
    }
}

impl Column for Timestamp {
    fn from_postgres(value: PgValueRef<'_>) -> Result<Self, BoxDynError> {
        match type_name(&value).as_str() {
            "TIMESTAMPTZ" => Ok(<jiff_sqlx::Timestamp as Decode<'_, Postgres>>::decode(value)?.to_jiff()),
            other => Err(format!("{other} is no instant").into()),
        }
    }
    fn from_sqlite(value: SqliteValueRef<'_>) -> Result<Self, BoxDynError> {
        Ok(Self::from_microsecond(i64::from_sqlite(value)?)?)
    }
}

impl Column for Value {
    fn from_postgres(value: PgValueRef<'_>) -> Result<Self, BoxDynError> {
        match type_name(&value).as_str() {
            "JSONB" | "JSON" => Decode::<'_, Postgres>::decode(value),
            other => Err(format!("{other} is no JSON").into()),
        }
    }
    fn from_sqlite(value: SqliteValueRef<'_>) -> Result<Self, BoxDynError> {
        Ok(serde_json::from_str(<&str as Decode<'_, Sqlite>>::decode(value)?)?)
    }
}

impl Column for Uuid {
    fn from_postgres(value: PgValueRef<'_>) -> Result<Self, BoxDynError> {
        match type_name(&value).as_str() {
            "UUID" => Decode::<'_, Postgres>::decode(value),
            other => Err(format!("{other} is no id").into()),
        }
    }
    fn from_sqlite(value: SqliteValueRef<'_>) -> Result<Self, BoxDynError> {
        Ok(Self::parse_str(<&str as Decode<'_, Sqlite>>::decode(value)?)?)
    }
}

/// A NUMERIC as a double. Its wire form: digits of base 10000, the weight of the first, a sign.
fn numeric(value: PgValueRef<'_>) -> Result<f64, BoxDynError> {
    if value.format() == PgValueFormat::Text {
        return Ok(value.as_str()?.parse()?);
    }
    let words: Vec<u16> =
        value.as_bytes()?.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
    let [_count, weight, sign, _scale, digits @ ..] = words.as_slice() else {
        return Err("a NUMERIC that is too short".into());
    };
    let weight = i32::from(*weight as i16);
    let size =
        digits.iter().zip(0_i32..).map(|(digit, place)| f64::from(*digit) * 10_000_f64.powi(weight - place)).sum();
    match sign {
        0x0000 => Ok(size),
        0x4000 => Ok(-size),
        _ => Ok(f64::NAN),
    }
}
