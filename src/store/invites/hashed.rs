//! People of whom only a keyed hash is known until they come: their rows are found, and their addresses filled in.
//!
//! Must not know: who made the hashes, why somebody asks.

use uuid::Uuid;

use super::super::people::{address_hash, is_suppressed};
use super::super::{StoreError, Tx};
use super::cohorts::lock_cohort;
use crate::args;
use crate::core::cohort::{AddressRules, hash_norm, normalise};
use crate::keys::Keys;

/// Finds the invites that lists of keyed hashes have for an address, compared by each cohort's own rules, and fills the address in: from then
/// on they are found by it like any other, mail can go to them, and the person can come in. Nothing is found for an address that is none, or
/// that was erased. Call it before looking for an address's invites; the ids that it gives are those that it filled in now.
pub async fn find_hashed(tx: &mut Tx, keys: &Keys, email: &str) -> Result<Vec<Uuid>, StoreError> {
    let mut found = Vec::new();
    for (ignore_dots, ignore_plus) in [(false, false), (false, true), (true, false), (true, true)] {
        let Ok(norm) = normalise(email, AddressRules { ignore_dots, ignore_plus }) else { return Ok(Vec::new()) };
        let hash = hash_norm(&address_hash(keys, &norm));
        let sql = "SELECT i.id, i.program, i.cohort FROM beta_invites i
            JOIN cohort_state c ON c.program = i.program AND c.cohort = i.cohort
            WHERE i.email_norm = $1 AND c.ignore_dots = $2 AND c.ignore_plus = $3";
        for row in tx.all(sql, args![&hash, ignore_dots, ignore_plus]).await? {
            let (program, cohort): (String, String) = (row.get("program")?, row.get("cohort")?);
            found.push((program, cohort, row.get::<Uuid>("id")?, hash.clone(), norm.clone()));
        }
    }
    // In the order in which everyone locks cohorts.
    found.sort();
    let mut filled = Vec::new();
    for (program, cohort, id, hash, norm) in found {
        lock_cohort(tx, &program, &cohort).await?;
        if !is_suppressed(tx, keys, &norm).await? && fill_in(tx, id, (&hash, email.trim(), &norm)).await? {
            filled.push(id);
        }
    }
    Ok(filled)
}

/// Someone who was invited by hand as well has a row with the address already: that one counts.
async fn fill_in(tx: &mut Tx, id: Uuid, (hash, email, norm): (&str, &str, &str)) -> Result<bool, StoreError> {
    let sql = "UPDATE beta_invites SET email = $3, email_norm = $4 WHERE id = $1 AND email_norm = $2 AND NOT EXISTS (
        SELECT 1 FROM beta_invites o WHERE o.email_norm = $4 AND o.program = beta_invites.program AND o.cohort = beta_invites.cohort)";
    Ok(tx.execute(sql, args![id, hash, email, norm]).await? > 0)
}
