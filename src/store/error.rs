//! What can go wrong in the store, sorted by what a caller can do about it.
//!
//! Must not know: the statements that failed. Messages carry no bound values and no connection string.

use sqlx::error::ErrorKind;

/// An error of the store. [`StoreError::retryable`] says whether the same call may work later.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The database cannot be reached, is overloaded, or undid the transaction for another's sake. Retryable.
    #[error("the database is not available: {0}")]
    Unavailable(String),
    /// The database was migrated by a newer binary. Terminal: this binary must not touch it.
    #[error("the database is from a newer betagate: it has migration {found}, this one knows up to {known}")]
    Newer {
        /// The newest migration in the database that the binary lacks.
        found: i64,
        /// The newest migration the binary has.
        known: i64,
    },
    /// A unique key, a reference or an optimistic version stood in the way. Terminal for this attempt; read again.
    #[error("conflict: {0}")]
    Conflict(String),
    /// A row that had to be there is not.
    #[error("not found: {0}")]
    Missing(String),
    /// Another controller has taken the lead since. Terminal for the holder of the old epoch.
    #[error("fenced: epoch {held} is held, the database is at epoch {current}")]
    Fenced {
        /// The epoch the caller holds.
        held: i64,
        /// The epoch in the database.
        current: i64,
    },
    /// A text has the character NUL, which PostgreSQL keeps nowhere: it is refused in front of either database. Terminal.
    #[error("a text can't hold the character NUL")]
    Nul,
    /// The address, a value or a column does not fit what was asked for. Terminal.
    #[error("{0}")]
    Invalid(String),
    /// The database refused the statement. Terminal.
    #[error("database error: {0}")]
    Database(String),
}

impl StoreError {
    /// Whether the same call may succeed later without anybody changing anything.
    pub fn retryable(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::RowNotFound => Self::Missing("no row".into()),
            sqlx::Error::ColumnNotFound(name) => Self::Invalid(format!("no column `{name}` in the result")),
            sqlx::Error::Io(io) => Self::Unavailable(io.kind().to_string()),
            sqlx::Error::PoolTimedOut => Self::Unavailable("no connection in time".into()),
            sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => Self::Unavailable("connection closed".into()),
            sqlx::Error::Tls(_) => Self::Unavailable("the TLS handshake failed".into()),
            sqlx::Error::Protocol(text) => Self::Unavailable(text),
            sqlx::Error::Configuration(_) => Self::Invalid("the database address cannot be read".into()),
            sqlx::Error::Database(error) => from_database(error.as_ref()),
            other => Self::Database(other.to_string()),
        }
    }
}

/// Sorts what the database itself says, by SQLSTATE on PostgreSQL and by result code on SQLite.
fn from_database(error: &dyn sqlx::error::DatabaseError) -> StoreError {
    let code = error.code().unwrap_or_default().into_owned();
    let message = error.message().to_owned();
    match error.kind() {
        ErrorKind::UniqueViolation | ErrorKind::ForeignKeyViolation => StoreError::Conflict(message),
        _ if is_cannot_open(&code) => StoreError::Unavailable("its file can't be opened: moved, or deleted?".into()),
        _ if passes(&code) => StoreError::Unavailable(message),
        _ => StoreError::Database(message),
    }
}

/// Whether a code names a state that passes: connection lost, server starting or stopping, full, deadlock, busy.
fn passes(code: &str) -> bool {
    if code.len() == 5 {
        // 25P03: the transaction lay idle for too long, and the server ended it.
        let by_class = ["08", "53", "57P"].iter().any(|class| code.starts_with(class));
        return by_class || matches!(code, "25P03" | "40001" | "40P01" | "55P03");
    }
    // SQLite: the low byte of an extended code is BUSY (5), LOCKED (6), IOERR (10) or FULL (13), or the file was moved (READONLY_DBMOVED).
    code.parse::<u32>().is_ok_and(|code| matches!(code & 0xff, 5 | 6 | 10 | 13) || code == 1032)
}

/// SQLite's CANTOPEN: there is no file, or it is not to be had.
fn is_cannot_open(code: &str) -> bool {
    code.len() < 5 && code.parse::<u32>().is_ok_and(|code| code & 0xff == 14)
}
