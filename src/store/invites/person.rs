//! Every invite of one person, however their address is spelt: found for a copy of their data, blanked when they are erased.
//!
//! Must not know: why somebody asks.

use std::collections::BTreeSet;

use jiff::Timestamp;
use uuid::Uuid;

use super::super::people::address_hash;
use super::super::{StoreError, Tx};
use super::cohorts::{lock_cohort, promote};
use super::making::spellings;
use super::{COLUMNS, Invite, invite};
use crate::args;
use crate::core::cohort::hash_norm;
use crate::keys::Keys;

/// An invite by the order in which everybody locks: program, cohort, id.
type Place = (String, String, Uuid);

/// An address as any cohort may compare it. None for what is no address.
pub(in crate::store) fn every_spelling(address: &str) -> BTreeSet<String> {
    spellings(address).into_iter().flatten().map(|(_, norm)| norm).collect()
}

/// The person's invites: those they used, and those that their addresses have by each cohort's own rules, in lists of keyed hashes too.
pub(in crate::store) async fn of_person(
    tx: &mut Tx,
    keys: &Keys,
    addresses: &[String],
    user_id: Option<Uuid>,
) -> Result<Vec<Invite>, StoreError> {
    let mut found = Vec::new();
    for (_, _, id) in places(tx, keys, addresses, user_id).await? {
        let row = tx.one(&format!("SELECT {COLUMNS} FROM beta_invites WHERE id = $1"), args![id]).await?;
        found.push(invite(&row)?);
    }
    Ok(found)
}

async fn places(
    tx: &mut Tx,
    keys: &Keys,
    addresses: &[String],
    user_id: Option<Uuid>,
) -> Result<BTreeSet<Place>, StoreError> {
    // What stands in a row exactly as it is compared without any rule is the person's in every cohort; a spelling that a rule made is theirs
    // only where that rule is in force: elsewhere it may be another person's.
    let by_address = "SELECT i.id, i.program, i.cohort FROM beta_invites i
        LEFT JOIN cohort_state c ON c.program = i.program AND c.cohort = i.cohort
        WHERE i.email_norm IN ($1, $2) AND ($3 OR (c.ignore_dots = $4 AND c.ignore_plus = $5))";
    let mut found = BTreeSet::new();
    let mut rows = Vec::new();
    let spelt: Vec<_> = addresses.iter().filter_map(|address| spellings(address).ok()).flatten().collect();
    for (rules, norm) in spelt {
        let (dots, plus) = (rules.ignore_dots, rules.ignore_plus);
        let hashed = hash_norm(&address_hash(keys, &norm));
        rows.extend(tx.all(by_address, args![norm, hashed, !dots && !plus, dots, plus]).await?);
    }
    if user_id.is_some() {
        rows.extend(tx.all("SELECT id, program, cohort FROM beta_invites WHERE used_by = $1", args![user_id]).await?);
    }
    for row in rows {
        found.insert((row.get("program")?, row.get("cohort")?, row.get("id")?));
    }
    Ok(found)
}

/// Blanks the person's invites; unused ones are taken back, and whoever waits gets the seats. Says how many there were.
pub(in crate::store) async fn blank(
    tx: &mut Tx,
    keys: &Keys,
    addresses: &[String],
    user_id: Option<Uuid>,
    now: Timestamp,
) -> Result<u64, StoreError> {
    let found = places(tx, keys, addresses, user_id).await?;
    let cohorts: BTreeSet<(String, String)> =
        found.iter().map(|(program, cohort, _)| (program.clone(), cohort.clone())).collect();
    for (program, cohort) in &cohorts {
        lock_cohort(tx, program, cohort).await?;
    }
    let id_text = tx.dialect().pick("CAST(id AS text)", "id");
    let sql = format!(
        "UPDATE beta_invites SET email = NULL, email_norm = 'erased:' || {id_text}, note = '', invited_by = '', label = '',
            row_digest = NULL, code_digest = NULL,
            revoked_at = CASE WHEN used_at IS NULL AND revoked_at IS NULL THEN $2 ELSE revoked_at END,
            revoke_reason = CASE WHEN used_at IS NULL AND revoked_at IS NULL THEN 'erased' ELSE revoke_reason END,
            state = CASE WHEN used_at IS NULL THEN 'revoked' ELSE state END
         WHERE id = $1"
    );
    let mut blanked = 0;
    for (_, _, id) in &found {
        blanked += tx.execute(&sql, args![*id, now]).await?;
    }
    for (program, cohort) in cohorts {
        promote(tx, &program, &cohort, now).await?;
    }
    Ok(blanked)
}
