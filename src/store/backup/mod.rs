//! Backup to one file, and restore from one, into either database.
//!
//! Must not know: what a table means, beyond what [`restore`] has to put right.
//!
//! A backup of SQLite is a SQLite file (`VACUUM INTO`); one of PostgreSQL is an archive of JSON lines: a header, then
//! for every table a line that names it and its columns, then one line a row. [`restore`] reads either into either.
//! Values are kept as SQLite keeps them (instants in microseconds, ids and JSON as text), which loses nothing.

mod cells;
mod read;
mod tables;
mod write;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde_json::json;

use self::cells::Cell;
use self::read::Source;
use self::tables::Table;
use super::{Arg, Dialect, Store, StoreError, Tx, audit, migrate};
use crate::args;

/// Bound values in one inserting statement; SQLite takes 32,766.
const BOUND_AT_ONCE: usize = 8_000;
/// Rows held in memory at once.
const ROWS_AT_ONCE: usize = 500;

/// What a backup holds, or a restore brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// Tables.
    pub tables: u64,
    /// Rows.
    pub rows: u64,
}

/// What [`restore`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// What it brought.
    pub extent: Extent,
    /// The epoch from here on; every controller of before is fenced.
    pub epoch: i64,
    /// Messages that may have left after the backup and must not leave twice; they wait for a person.
    pub uncertain: u64,
    /// What recomputing the audit log's chain found, as it was brought.
    pub chain: audit::Verification,
}

/// Writes everything to one new file, readable by its owner only, as it stood at one instant: a SQLite file from
/// SQLite, an archive from PostgreSQL. Nobody has to wait for it.
///
/// # Errors
/// [`StoreError::Conflict`] when there is such a file already.
pub async fn backup(store: &Store, path: &Path) -> Result<Extent, StoreError> {
    match store.dialect() {
        Dialect::Postgres => export(store, path).await,
        Dialect::Sqlite => in_place(path, async |part: &Path| write::vacuum(store, part).await).await,
    }
}

/// Writes everything to one new archive of JSON lines, from either database.
///
/// # Errors
/// [`StoreError::Conflict`] when there is such a file already.
pub async fn export(store: &Store, path: &Path) -> Result<Extent, StoreError> {
    in_place(path, async |part: &Path| write::archive(store, part).await).await
}

/// Writes beside `path` and renames, so that half a backup never has the name of a whole one.
async fn in_place(path: &Path, write: impl AsyncFn(&Path) -> Result<Extent, StoreError>) -> Result<Extent, StoreError> {
    if path.exists() {
        return Err(StoreError::Conflict(format!("{} is there already", path.display())));
    }
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    let written = write(&part).await;
    let renamed = match &written {
        Ok(_) => std::fs::rename(&part, path).map_err(|error| file_error(path, &error)),
        Err(_) => std::fs::remove_file(&part).or(Ok(())),
    };
    let extent = written?;
    renamed?;
    Ok(extent)
}

/// Brings a backup into a fresh, migrated database, all of it or nothing, raises the epoch above any that was, and puts
/// what may have happened since the backup in doubt: unsent messages that must not leave twice become `uncertain`.
///
/// # Errors
/// [`StoreError::Conflict`] when the database is in use already, [`StoreError::Newer`] when the backup is newer than
/// this binary, [`StoreError::Invalid`] when the file is no backup or is broken.
pub async fn restore(store: &Store, path: &Path, actor: &str, now: Timestamp) -> Result<Restored, StoreError> {
    let mut source = Source::open(path).await?;
    refuse_newer(&source.migrations().await?)?;
    let mut tx = store.begin().await?;
    let tables = tables::all(&mut tx).await?;
    refuse_used(&mut tx).await?;
    let epoch_here = epoch(&mut tx).await?;
    if tx.dialect() == Dialect::Sqlite {
        tx.execute("PRAGMA defer_foreign_keys = ON", args![]).await?;
    }
    for table in tables.iter().rev() {
        tx.execute(&format!("DELETE FROM {}", table.quoted()), args![]).await?;
    }
    let extent = copy(&mut source, &mut tx, &tables).await?;
    tables::reset_sequences(&mut tx, &tables).await?;
    let epoch = epoch_here.max(epoch(&mut tx).await?) + 1;
    let uncertain = put_in_doubt(&mut tx, epoch, now).await?;
    let entry = audit::Entry {
        at: now,
        program: String::new(),
        actor: actor.to_owned(),
        action: "backup.restored".into(),
        object: "database".into(),
        detail: json!({"tables": extent.tables, "rows": extent.rows, "epoch": epoch, "uncertain": uncertain}),
    };
    audit::append(&mut tx, entry).await?;
    tx.commit().await?;
    let chain = audit::verify(store).await?;
    Ok(Restored { extent, epoch, uncertain, chain })
}

/// Some migrations are one database's only, so what counts is whether this binary has it for either.
fn refuse_newer(has: &[i64]) -> Result<(), StoreError> {
    match has.iter().filter(|version| !migrate::is_known(**version)).max() {
        Some(found) => Err(StoreError::Newer { found: *found, known: migrate::newest() }),
        None => Ok(()),
    }
}

async fn refuse_used(tx: &mut Tx) -> Result<(), StoreError> {
    let used = "SELECT 1 AS used WHERE EXISTS (SELECT 1 FROM audit_log) OR EXISTS (SELECT 1 FROM outbox)
        OR EXISTS (SELECT 1 FROM memory) OR EXISTS (SELECT 1 FROM flag_snapshots)";
    match tx.opt(used, args![]).await? {
        Some(_) => Err(StoreError::Conflict("the database is in use already; restore into a fresh one".into())),
        None => Ok(()),
    }
}

/// The epoch; 0 when the row is not there.
async fn epoch(tx: &mut Tx) -> Result<i64, StoreError> {
    tx.opt("SELECT epoch FROM leadership WHERE id = 1", args![]).await?.map_or(Ok(0), |row| row.get("epoch"))
}

async fn put_in_doubt(tx: &mut Tx, epoch: i64, now: Timestamp) -> Result<u64, StoreError> {
    let lead = "INSERT INTO leadership (id, epoch, holder, renewed_at) VALUES (1, $1, '', $2)
        ON CONFLICT (id) DO UPDATE SET epoch = excluded.epoch, holder = '', renewed_at = excluded.renewed_at";
    tx.execute(lead, args![epoch, now]).await?;
    let doubt = "UPDATE outbox SET state = 'uncertain', lease_until = NULL,
            last_error = 'restored from a backup: it may have left since'
        WHERE once AND state IN ('waiting', 'claimed')";
    let uncertain = tx.execute(doubt, args![]).await? + doubt_invites(tx, now).await?;
    let again = "UPDATE outbox SET state = 'waiting', lease_until = NULL WHERE state = 'claimed'";
    tx.execute(again, args![]).await?;
    tx.execute("UPDATE jobs SET state = 'waiting', lease_until = NULL WHERE state = 'running'", args![]).await?;
    tx.execute("DELETE FROM api_processes", args![]).await?;
    Ok(uncertain)
}

/// In a program that has sent invites, every one that had not left may have left since.
async fn doubt_invites(tx: &mut Tx, now: Timestamp) -> Result<u64, StoreError> {
    let doubt = "UPDATE invite_mails SET state = 'uncertain', settled_at = $1, next_at = NULL,
            last_error = 'restored from a backup: it may have left since'
        WHERE state IN ('sending', 'waiting')";
    let mut uncertain = tx.execute(doubt, args![now]).await?;
    let id = tx.dialect().pick("CAST(i.id AS text)", "i.id");
    let unsent = "i.state = 'pending' AND i.mail_generation < i.generation AND i.email IS NOT NULL
        AND EXISTS (SELECT 1 FROM invite_mails m WHERE m.program = i.program)";
    let take = format!(
        "INSERT INTO invite_mails (invite_id, generation, program, cohort, state, attempts, message_key, claimed_at, claimed_by,
            settled_at, last_error)
         SELECT i.id, i.generation, i.program, i.cohort, 'uncertain', 0, 'restored/' || {id} || '/' || i.generation, $1, '', $1,
            'restored from a backup: it may have left since' FROM beta_invites i WHERE {unsent}"
    );
    uncertain += tx.execute(&take, args![now]).await?;
    let mark = format!("UPDATE beta_invites AS i SET mail_generation = generation WHERE {unsent}");
    tx.execute(&mark, args![]).await?;
    Ok(uncertain)
}

/// Copies every row, in batches.
async fn copy(source: &mut Source, tx: &mut Tx, tables: &[Table]) -> Result<Extent, StoreError> {
    let by_name: HashMap<&str, &Table> = tables.iter().map(|table| (table.name.as_str(), table)).collect();
    let order: Vec<&str> = tables.iter().map(|table| table.name.as_str()).collect();
    source.begin(&order).await?;
    let mut extent = Extent::default();
    while let Some(batch) = source.next(ROWS_AT_ONCE).await? {
        let unknown =
            || StoreError::Invalid(format!("the backup has a table `{}` that is not known here", batch.table));
        let table = by_name.get(batch.table.as_str()).ok_or_else(unknown)?;
        extent.tables += u64::from(batch.first);
        extent.rows += batch.rows.len() as u64;
        insert(tx, table, &batch.columns, &batch.rows).await?;
    }
    Ok(extent)
}

async fn insert(tx: &mut Tx, table: &Table, columns: &[String], rows: &[Vec<Cell>]) -> Result<(), StoreError> {
    let types = table.types_of(columns)?;
    let names: Vec<String> = columns.iter().map(|column| tables::quote(column)).collect();
    for rows in rows.chunks((BOUND_AT_ONCE / columns.len().max(1)).max(1)) {
        let mut bound: Vec<Arg> = Vec::with_capacity(rows.len() * columns.len());
        let mut values = Vec::with_capacity(rows.len());
        for row in rows {
            if row.len() != columns.len() {
                return Err(StoreError::Invalid(format!("a row of `{}` has a wrong number of values", table.name)));
            }
            let from = bound.len() + 1;
            for (cell, kind) in row.iter().zip(&types) {
                bound.push(cell.to_arg(*kind)?);
            }
            let binds: Vec<String> = (from..=bound.len()).map(|n| format!("${n}")).collect();
            values.push(format!("({})", binds.join(", ")));
        }
        let sql = format!("INSERT INTO {} ({}) VALUES {}", table.quoted(), names.join(", "), values.join(", "));
        tx.execute(&sql, &bound).await?;
    }
    Ok(())
}

fn file_error(path: &Path, error: &std::io::Error) -> StoreError {
    StoreError::Invalid(format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests;
