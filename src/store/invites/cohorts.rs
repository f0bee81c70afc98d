//! What the controller made of each cohort: open or not, how many seats, how its addresses are compared.
//!
//! Must not know: lists' rows, stages.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::json;

use super::super::people::entry;
use super::super::{Row, Store, StoreError, Tx, audit, push};
use crate::args;
use crate::core::cohort::AddressRules;

/// A cohort as the database has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CohortState {
    /// The program.
    pub program: String,
    /// The cohort.
    pub cohort: String,
    /// Whether a stage lists it: codes work only then.
    pub open: bool,
    /// How many seats; `None` for no bound.
    pub capacity: Option<i64>,
    /// Which spellings of an address are one person.
    pub addresses: AddressRules,
    /// The digest of the list its rows are from.
    pub list_digest: Option<String>,
    /// How many rows that list has.
    pub rows: i64,
}

const COLUMNS: &str = "program, cohort, open, capacity, ignore_dots, ignore_plus, list_digest, rows";
/// An invite in one of these holds a seat.
const SEATED: &str = "('pending', 'sent', 'opened', 'used')";

/// Makes a cohort open or closed, with so many seats; lets waiting people in when there is room. Says whether anything
/// changed, and how many were let in.
pub async fn set_cohort(
    tx: &mut Tx,
    wanted: &CohortState,
    actor: &str,
    now: Timestamp,
) -> Result<(bool, u64), StoreError> {
    let CohortState { program, cohort, open, capacity, addresses, .. } = wanted;
    let had = lock_cohort(tx, program, cohort).await?;
    // How addresses are compared is the list's, once there is one: it comes with it.
    let addresses = if had.list_digest.is_some() { had.addresses } else { *addresses };
    let same = had.open == *open && had.capacity == *capacity && had.addresses == addresses;
    if same {
        return Ok((false, 0));
    }
    tx.execute(
        "UPDATE cohort_state SET open = $3, capacity = $4, ignore_dots = $5, ignore_plus = $6, updated_at = $7
         WHERE program = $1 AND cohort = $2",
        args![program, cohort, *open, *capacity, addresses.ignore_dots, addresses.ignore_plus, now],
    )
    .await?;
    let detail = json!({ "open": open, "capacity": capacity });
    audit::append(tx, entry(program, actor, "cohort.set", format!("cohort/{cohort}"), detail, now)).await?;
    let promoted = promote(tx, program, cohort, now).await?;
    Ok((true, promoted))
}

/// The cohort's state; `None` when the controller has made nothing of it yet, or took it back because its document is gone.
pub async fn cohort_state(store: &Store, program: &str, cohort: &str) -> Result<Option<CohortState>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM cohort_state WHERE program = $1 AND cohort = $2 AND gone_at IS NULL");
    store.opt(&sql, args![program, cohort]).await?.as_ref().map(read).transpose()
}

/// A cohort's capacity as a transaction sees it; none when it is not known, or has none.
pub async fn capacity_in(tx: &mut Tx, program: &str, cohort: &str) -> Result<Option<i64>, StoreError> {
    let sql = "SELECT capacity FROM cohort_state WHERE program = $1 AND cohort = $2 AND gone_at IS NULL";
    Ok(tx.opt(sql, args![program, cohort]).await?.map(|row| row.get("capacity")).transpose()?.flatten())
}

/// Every cohort of a program that has a document, or whose invites still wait to be taken back.
pub async fn cohorts(store: &Store, program: &str) -> Result<Vec<CohortState>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM cohort_state WHERE program = $1 AND gone_at IS NULL ORDER BY cohort");
    store.all(&sql, args![program]).await?.iter().map(read).collect()
}

/// How the addresses of each cohort of a program are compared.
pub(super) async fn address_rules(tx: &mut Tx, program: &str) -> Result<BTreeMap<String, AddressRules>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM cohort_state WHERE program = $1");
    let rows = tx.all(&sql, args![program]).await?;
    rows.iter().map(|row| read(row).map(|state| (state.cohort, state.addresses))).collect()
}

/// The names of a program's open cohorts.
pub async fn open_cohorts(store: &Store, program: &str) -> Result<Vec<String>, StoreError> {
    let open = cohorts(store, program).await?.into_iter().filter(|state| state.open);
    Ok(open.map(|state| state.cohort).collect())
}

/// The programs that have an open cohort.
pub async fn open_programs(store: &Store) -> Result<Vec<String>, StoreError> {
    let sql = "SELECT DISTINCT program FROM cohort_state WHERE open = $1 ORDER BY program";
    store.all(sql, args![true]).await?.iter().map(|row| row.get("program")).collect()
}

/// Closes every cohort of a program; says how many were open.
pub async fn close_all(tx: &mut Tx, program: &str, actor: &str, now: Timestamp) -> Result<u64, StoreError> {
    let sql = "UPDATE cohort_state SET open = $2, updated_at = $3 WHERE program = $1 AND open = $4";
    let closed = tx.execute(sql, args![program, false, now, true]).await?;
    if closed > 0 {
        let (object, detail) = (format!("program/{program}"), json!({ "closed": closed }));
        audit::append(tx, entry(program, actor, "cohorts.closed", object, detail, now)).await?;
    }
    Ok(closed)
}

/// Gives free seats to those who wait, in order; says to how many.
pub async fn promote(tx: &mut Tx, program: &str, cohort: &str, now: Timestamp) -> Result<u64, StoreError> {
    let state = lock_cohort(tx, program, cohort).await?;
    let free = match state.capacity {
        None => i64::MAX,
        Some(capacity) => capacity - seated(tx, program, cohort).await?,
    };
    if free <= 0 {
        return Ok(0);
    }
    // SQLite takes a partial index only when the query repeats its condition word for word.
    let promoted = tx
        .execute(
            "UPDATE beta_invites SET state = 'pending' WHERE state = 'waiting' AND id IN (
                SELECT id FROM beta_invites WHERE program = $1 AND cohort = $2 AND state = 'waiting'
                    AND state IN ('waiting', 'pending') AND rendered_at IS NULL AND (state = 'waiting' OR email IS NOT NULL)
                ORDER BY position LIMIT $3)",
            args![program, cohort, free],
        )
        .await?;
    if promoted > 0 {
        push::word(tx).await?;
        let detail = json!({ "invites": promoted });
        let done = entry(program, "controller", "invites.promoted", format!("cohort/{cohort}"), detail, now);
        audit::append(tx, done).await?;
    }
    Ok(promoted)
}

/// How many seats are taken.
pub(super) async fn seated(tx: &mut Tx, program: &str, cohort: &str) -> Result<i64, StoreError> {
    let sql =
        format!("SELECT count(*) AS seats FROM beta_invites WHERE program = $1 AND cohort = $2 AND state IN {SEATED}");
    tx.one(&sql, args![program, cohort]).await?.get("seats")
}

/// Reads the cohort's row, made when missing, and keeps others from changing it until the transaction ends.
pub(in crate::store) async fn lock_cohort(tx: &mut Tx, program: &str, cohort: &str) -> Result<CohortState, StoreError> {
    let lock = tx.dialect().pick("FOR UPDATE", "");
    let sql = format!("SELECT {COLUMNS} FROM cohort_state WHERE program = $1 AND cohort = $2 {lock}");
    if let Some(row) = tx.opt(&sql, args![program, cohort]).await? {
        return read(&row);
    }
    tx.execute(
        "INSERT INTO cohort_state (program, cohort, updated_at) VALUES ($1, $2, $3) ON CONFLICT (program, cohort) DO NOTHING",
        args![program, cohort, Timestamp::UNIX_EPOCH],
    )
    .await?;
    read(&tx.one(&sql, args![program, cohort]).await?)
}

/// Reads the cohort's row so that it stays as it is until the transaction ends; others may read it likewise, unless
/// there is a capacity, which is counted by one at a time.
pub(super) async fn hold_cohort(tx: &mut Tx, program: &str, cohort: &str) -> Result<Option<CohortState>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM cohort_state WHERE program = $1 AND cohort = $2");
    let Some(row) = tx.opt(&sql, args![program, cohort]).await? else { return Ok(None) };
    let lock = match (read(&row)?.capacity, tx.dialect().pick(true, false)) {
        (_, false) => "",
        (None, true) => "FOR SHARE",
        (Some(_), true) => "FOR UPDATE",
    };
    tx.opt(&format!("{sql} {lock}"), args![program, cohort]).await?.as_ref().map(read).transpose()
}

/// Sets aside `count` places in the cohort's order and gives the first.
pub(in crate::store) async fn reserve_positions(
    tx: &mut Tx,
    program: &str,
    cohort: &str,
    count: i64,
) -> Result<i64, StoreError> {
    let sql = "UPDATE cohort_state SET next_position = next_position + $3 WHERE program = $1 AND cohort = $2
        RETURNING next_position - $3 AS first";
    tx.one(sql, args![program, cohort, count]).await?.get("first")
}

fn read(row: &Row) -> Result<CohortState, StoreError> {
    Ok(CohortState {
        program: row.get("program")?,
        cohort: row.get("cohort")?,
        open: row.get("open")?,
        capacity: row.get("capacity")?,
        addresses: AddressRules { ignore_dots: row.get("ignore_dots")?, ignore_plus: row.get("ignore_plus")? },
        list_digest: row.get("list_digest")?,
        rows: row.get("rows")?,
    })
}
