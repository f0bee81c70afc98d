//! Brings a database up to what this binary knows: numbered, embedded, forward only.
//!
//! Must not know: what a migration does.

use std::collections::BTreeMap;

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

use super::{Dialect, Store, StoreError, Tx};
use crate::args;
use crate::clock::Clock;

struct Migration {
    version: i64,
    name: &'static str,
    sql: &'static str,
}

include!(concat!(env!("OUT_DIR"), "/migrations.rs"));

impl Migration {
    fn checksum(&self) -> String {
        HEXLOWER.encode(&Sha256::digest(self.sql.as_bytes()))
    }
}

/// What [`Store::migrate`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migrated {
    /// The migrations applied now (`NNN_name`), in order; empty when there was nothing to do.
    pub applied: Vec<String>,
    /// The newest migration the database has.
    pub version: i64,
}

/// A migration that a database has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Its number.
    pub version: i64,
    /// Its name, without the number.
    pub name: String,
    /// When.
    pub applied_at: jiff::Timestamp,
}

const HISTORY: [&str; 2] = [
    "CREATE TABLE IF NOT EXISTS schema_migrations (
        version bigint PRIMARY KEY, name text NOT NULL, checksum text NOT NULL, applied_at timestamptz NOT NULL)",
    "CREATE TABLE IF NOT EXISTS schema_migrations (
        version INTEGER PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL, applied_at INTEGER NOT NULL) STRICT",
];

impl Store {
    /// Applies every migration the database lacks, all in one transaction, by number.
    ///
    /// # Errors
    /// [`StoreError::Newer`] when the database has a migration this binary does not know,
    /// [`StoreError::Invalid`] when one was changed after it had been applied.
    pub async fn migrate(&self) -> Result<Migrated, StoreError> {
        let known = known(self.dialect());
        let mut tx = self.begin().await?;
        prepare(&mut tx, self.schema()).await?;
        let had = history(&mut tx).await?;
        refuse_strangers(known, &had)?;
        let now = Clock::system().now();
        let mut applied = Vec::new();
        for migration in known.iter().filter(|migration| !had.contains_key(&migration.version)) {
            let label = format!("{:03}_{}", migration.version, migration.name);
            tx.script(migration.sql).await.map_err(|error| match error {
                StoreError::Database(text) => StoreError::Database(format!("migration {label}: {text}")),
                other => other,
            })?;
            tx.execute(
                "INSERT INTO schema_migrations (version, name, checksum, applied_at) VALUES ($1, $2, $3, $4)",
                args![migration.version, migration.name, migration.checksum(), now],
            )
            .await?;
            applied.push(label);
        }
        tx.commit().await?;
        Ok(Migrated { applied, version: known.last().map_or(0, |migration| migration.version) })
    }

    /// The migrations the database has, by number; none when it was never migrated.
    pub async fn migrations(&self) -> Result<Vec<Applied>, StoreError> {
        let exists = match self.dialect() {
            Dialect::Postgres => "SELECT 1 AS one WHERE to_regclass('schema_migrations') IS NOT NULL",
            Dialect::Sqlite => "SELECT 1 AS one FROM sqlite_schema WHERE name = 'schema_migrations'",
        };
        if self.opt(exists, args![]).await?.is_none() {
            return Ok(Vec::new());
        }
        let rows =
            self.all("SELECT version, name, applied_at FROM schema_migrations ORDER BY version", args![]).await?;
        rows.iter()
            .map(|row| {
                Ok(Applied { version: row.get("version")?, name: row.get("name")?, applied_at: row.get("applied_at")? })
            })
            .collect()
    }

    /// Whether the database has exactly what this binary knows.
    ///
    /// # Errors
    /// [`StoreError::Newer`] when it has more.
    pub async fn is_current(&self) -> Result<bool, StoreError> {
        let known = known(self.dialect());
        let had: Vec<i64> = self.migrations().await?.iter().map(|applied| applied.version).collect();
        refuse_unknown(known, had.iter().copied())?;
        Ok(known.len() == had.len())
    }
}

fn known(dialect: Dialect) -> &'static [Migration] {
    dialect.pick(POSTGRES, SQLITE)
}

/// Whether this binary has a migration of that number, for either database.
pub(super) fn is_known(version: i64) -> bool {
    POSTGRES.iter().chain(SQLITE).any(|migration| migration.version == version)
}

/// The newest migration this binary has, for either database.
pub(super) fn newest() -> i64 {
    POSTGRES.iter().chain(SQLITE).map(|migration| migration.version).max().unwrap_or(0)
}

/// Makes the schema and the history table, and keeps other processes from migrating at the same time.
async fn prepare(tx: &mut Tx, schema: Option<&str>) -> Result<(), StoreError> {
    if tx.dialect() == Dialect::Postgres {
        tx.execute("SELECT pg_advisory_xact_lock(7310576)", args![]).await?;
    }
    if let Some(schema) = schema {
        // The name is plain: see `without_schema`.
        tx.execute(&format!("CREATE SCHEMA IF NOT EXISTS {schema}"), args![]).await?;
    }
    let [postgres, sqlite] = HISTORY;
    let table = tx.dialect().pick(postgres, sqlite);
    tx.execute(table, args![]).await?;
    Ok(())
}

async fn history(tx: &mut Tx) -> Result<BTreeMap<i64, String>, StoreError> {
    let rows = tx.all("SELECT version, checksum FROM schema_migrations", args![]).await?;
    rows.iter().map(|row| Ok((row.get("version")?, row.get("checksum")?))).collect()
}

fn refuse_unknown(known: &[Migration], had: impl Iterator<Item = i64>) -> Result<(), StoreError> {
    let newest = known.last().map_or(0, |migration| migration.version);
    match had.filter(|version| !known.iter().any(|migration| migration.version == *version)).max() {
        Some(found) => Err(StoreError::Newer { found, known: newest }),
        None => Ok(()),
    }
}

fn refuse_strangers(known: &[Migration], had: &BTreeMap<i64, String>) -> Result<(), StoreError> {
    refuse_unknown(known, had.keys().copied())?;
    let changed = known
        .iter()
        .find(|migration| had.get(&migration.version).is_some_and(|checksum| *checksum != migration.checksum()));
    match changed {
        Some(migration) => Err(StoreError::Invalid(format!(
            "migration {:03}_{} was changed after it had been applied",
            migration.version, migration.name
        ))),
        None => Ok(()),
    }
}
