//! People of whom only a keyed hash is known until they come: their rows are found, and their addresses filled in.
//!
//! Must not know: who made the hashes, why somebody asks.

use uuid::Uuid;

use super::super::people::{address_hash, is_suppressed};
use super::super::{StoreError, Tx};
use super::cohorts::{CohortState, lock_cohort};
use crate::args;
use crate::core::cohort::{AddressRules, hash_norm, normalise};
use crate::keys::Keys;

/// Finds the invites that lists of keyed hashes have for an address, compared by each cohort's own rules, and fills the address in: from then
/// on they are found by it like any other ([`super::open_invites`]), and the person can come in. No message leaves by itself: whoever found it
/// renders a code ([`super::render`]) and mails that. Nothing is found for what is no address, or for one that was erased. The ids that it gives are
/// those that it filled in now.
///
/// Call it before any of those cohorts is locked.
pub async fn find_hashed(tx: &mut Tx, keys: &Keys, email: &str) -> Result<Vec<Uuid>, StoreError> {
    let mut found = Vec::new();
    for (ignore_dots, ignore_plus) in [(false, false), (false, true), (true, false), (true, true)] {
        let Ok(norm) = normalise(email, AddressRules { ignore_dots, ignore_plus }) else { return Ok(Vec::new()) };
        let sql = "SELECT i.program, i.cohort FROM beta_invites i
            JOIN cohort_state c ON c.program = i.program AND c.cohort = i.cohort
            WHERE i.email_norm = $1 AND c.ignore_dots = $2 AND c.ignore_plus = $3";
        for row in tx.all(sql, args![hash_norm(&address_hash(keys, &norm)), ignore_dots, ignore_plus]).await? {
            found.push((row.get::<String>("program")?, row.get::<String>("cohort")?));
        }
    }
    // In the order in which everyone locks cohorts.
    found.sort();
    let mut filled = Vec::new();
    for (program, cohort) in found {
        let state = lock_cohort(tx, &program, &cohort).await?;
        filled.extend(find_hashed_in(tx, keys, &state, email).await?);
    }
    Ok(filled)
}

/// The same in one cohort, which is locked. Someone who was invited by hand as well has a row with the address already: that one counts.
pub(super) async fn find_hashed_in(
    tx: &mut Tx,
    keys: &Keys,
    state: &CohortState,
    email: &str,
) -> Result<Option<Uuid>, StoreError> {
    let Ok(norm) = normalise(email, state.addresses) else { return Ok(None) };
    if is_suppressed(tx, keys, &norm).await? {
        return Ok(None);
    }
    // Taken for mailed: what a list of hashes names waits for the person to ask.
    let sql = "UPDATE beta_invites SET email = $4, email_norm = $5, mail_generation = generation
        WHERE email_norm = $1 AND program = $2 AND cohort = $3 AND NOT EXISTS (
            SELECT 1 FROM beta_invites o WHERE o.email_norm = $5 AND o.program = $2 AND o.cohort = $3)
        RETURNING id";
    let hash = hash_norm(&address_hash(keys, &norm));
    let row = tx.opt(sql, args![hash, &state.program, &state.cohort, email.trim(), norm]).await?;
    row.map(|row| row.get("id")).transpose()
}
