//! Carrying a prepared list out, in one transaction: rows in, rows out, the list's digest, one audit entry.

use jiff::Timestamp;
use serde_json::json;
use uuid::Uuid;

use super::super::invites::{REMOVED_FROM_LIST, lock_cohort, promote, reserve_positions};
use super::super::people::entry;
use super::super::{Dialect, Store, StoreError, Tx, audit, leadership};
use super::hashed::Known;
use super::write::{Load, write_rows};
use super::{CohortList, ListError, Prepared, Work};
use crate::args;
use crate::keys::Keys;

/// On whose behalf a list is brought in.
#[derive(Clone, Copy, Debug)]
pub struct Writer<'a> {
    /// For the audit log.
    pub actor: &'a str,
    /// The leader's epoch, when a leader does it; the transaction holds it still.
    pub epoch: Option<i64>,
}

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Brought {
    /// Rows added, or back on the list.
    pub added: u64,
    /// Rows of which other words are said now.
    pub changed: u64,
    /// Unused invites revoked.
    pub revoked: u64,
    /// People gone from the list who are in, and stay in.
    pub stay_in: u64,
    /// Who was let in from the waiting list, the list's own newcomers included.
    pub promoted: u64,
}

/// Brings a prepared list in.
///
/// # Errors
/// [`ListError::Stale`] when the list or the cohort has changed since [`super::prepare`]; reading errors; the database's
/// (a [`StoreError::Conflict`] when an invite was made beside it: prepare again).
pub async fn bring_in(
    store: &Store,
    keys: &Keys,
    list: &CohortList,
    prepared: &Prepared,
    writer: Writer<'_>,
    now: Timestamp,
) -> Result<Brought, ListError> {
    let delta = &prepared.delta;
    let mut brought = Brought { added: delta.added, changed: delta.changed, ..Brought::default() };
    if matches!(prepared.work, Work::Nothing) {
        return Ok(brought);
    }
    let places = i64::try_from(delta.added + delta.changed).unwrap_or(i64::MAX);
    // PostgreSQL: in a transaction of its own, so that people can come in while a long list is written.
    let reserved = match store.dialect() {
        Dialect::Postgres => {
            let mut tx = store.begin().await?;
            let reserved = reserve(&mut tx, list, places).await?;
            tx.commit().await?;
            Some(reserved)
        }
        Dialect::Sqlite => None,
    };
    let mut tx = store.begin().await?;
    if let Some(epoch) = writer.epoch {
        leadership::fence(&mut tx, epoch).await?;
    }
    one_at_a_time(&mut tx, list).await?;
    let (first_position, has_capacity) = match reserved {
        Some(reserved) => reserved,
        None => reserve(&mut tx, list, places).await?,
    };
    still_from(&mut tx, list, delta.from.as_deref()).await?;
    let load = Load { list, prepared, first_position, state: if has_capacity { "waiting" } else { "pending" }, now };
    match &prepared.work {
        Work::Nothing => {}
        Work::Everyone => write_rows(&mut tx, load, None, Known::default()).await?,
        Work::Some { lines, gone } => {
            // First who is gone: a list of hashes may name someone again whom the list before had by address.
            (brought.revoked, brought.stay_in) = remove(&mut tx, gone, now).await?;
            if !lines.is_empty() {
                let known = known_addresses(&mut tx, keys, list, prepared).await?;
                write_rows(&mut tx, load, Some(lines.clone()), known).await?;
            }
        }
    }
    remember(&mut tx, list, prepared, now).await?;
    let detail = json!({
        "digest": delta.digest, "list": delta.to, "rows": delta.rows, "added": brought.added, "changed": brought.changed,
        "revoked": brought.revoked, "stayIn": brought.stay_in, "erased": delta.erased,
    });
    let object = format!("cohort/{}", list.cohort);
    audit::append(&mut tx, entry(&list.program, writer.actor, "cohort.list", object, detail, now)).await?;
    if has_capacity {
        brought.promoted = promote(&mut tx, &list.program, &list.cohort, now).await?;
    }
    tx.commit().await?;
    Ok(brought)
}

/// Sets aside places in the cohort's order; the first of them, and whether the cohort has a capacity.
async fn reserve(tx: &mut Tx, list: &CohortList, places: i64) -> Result<(i64, bool), StoreError> {
    let state = lock_cohort(tx, &list.program, &list.cohort).await?;
    let first = reserve_positions(tx, &list.program, &list.cohort, places).await?;
    Ok((first, state.capacity.is_some()))
}

/// For a list of keyed hashes: whose addresses are known by now. The cohort's row stays locked, so that none is filled in meanwhile.
async fn known_addresses(
    tx: &mut Tx,
    keys: &Keys,
    list: &CohortList,
    prepared: &Prepared,
) -> Result<Known, StoreError> {
    if !prepared.read_as.hashed {
        return Ok(Known::default());
    }
    lock_cohort(tx, &list.program, &list.cohort).await?;
    Known::load(tx, keys, list).await
}

/// Two lists of one cohort are never written at once.
pub(super) async fn one_at_a_time(tx: &mut Tx, list: &CohortList) -> Result<(), StoreError> {
    if tx.dialect() == Dialect::Postgres {
        let sql = "SELECT pg_advisory_xact_lock(7310578, hashtext(current_schema() || '/' || $1 || '/' || $2)) IS NULL AS locked";
        tx.one(sql, args![&list.program, &list.cohort]).await?;
    }
    Ok(())
}

pub(super) async fn still_from(tx: &mut Tx, list: &CohortList, from: Option<&str>) -> Result<(), ListError> {
    let sql = "SELECT list_digest FROM cohort_state WHERE program = $1 AND cohort = $2";
    let digest: Option<String> = tx.one(sql, args![&list.program, &list.cohort]).await?.get("list_digest")?;
    if digest.as_deref() == from { Ok(()) } else { Err(ListError::Stale) }
}

/// Takes rows off the list: unused invites that came from it are revoked, all others stay. How many of each.
async fn remove(tx: &mut Tx, gone: &[Uuid], now: Timestamp) -> Result<(u64, u64), StoreError> {
    let any = tx.dialect().any("id", "$1");
    let revoke = format!(
        "UPDATE beta_invites SET state = 'revoked', revoked_at = $2, revoke_reason = $3, row_digest = NULL
         WHERE {any} AND source = 'list' AND state IN ('waiting', 'pending', 'sent', 'opened', 'expired')"
    );
    let members = format!("SELECT count(*) AS members FROM beta_invites WHERE {any} AND state = 'used'");
    let forget = format!("UPDATE beta_invites SET row_digest = NULL WHERE {any} AND row_digest IS NOT NULL");
    let (mut revoked, mut stay_in) = (0, 0);
    for ids in gone.chunks(10_000) {
        let count = tx.execute(&revoke, args![ids.to_vec(), now, REMOVED_FROM_LIST]).await?;
        revoked += count;
        // A row is written once: only those that stay are looked at again.
        if count < ids.len() as u64 {
            let count: i64 = tx.one(&members, args![ids.to_vec()]).await?.get("members")?;
            stay_in += u64::try_from(count).unwrap_or(0);
            tx.execute(&forget, args![ids.to_vec()]).await?;
        }
    }
    Ok((revoked, stay_in))
}

/// How addresses are compared is the list's: it is that of the rows that were written from it.
async fn remember(tx: &mut Tx, list: &CohortList, prepared: &Prepared, now: Timestamp) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE cohort_state SET list_digest = $3, list_buckets = $4, rows = $5, updated_at = $6, list_change = $7,
            ignore_dots = $8, ignore_plus = $9
         WHERE program = $1 AND cohort = $2",
        args![
            &list.program,
            &list.cohort,
            &prepared.delta.to,
            prepared.buckets.to_bytes(),
            i64::try_from(prepared.delta.rows).unwrap_or(i64::MAX),
            now,
            &prepared.delta.digest,
            prepared.read_as.addresses.ignore_dots,
            prepared.read_as.addresses.ignore_plus
        ],
    )
    .await?;
    Ok(())
}
