//! Lists of keyed hashes meeting rows that have an address: who came in since, who was invited by hand, and everyone of a cohort whose list
//! held addresses before. Such a row is the person's, and stays one row.
//!
//! Must not know: how a row is written.

use std::collections::HashMap;

use uuid::Uuid;

use super::super::people::address_hash;
use super::super::{StoreError, Tx};
use super::CohortList;
use crate::args;
use crate::core::cohort::{ListRow, hash_norm};
use crate::keys::Keys;

/// Rows read at once.
const PAGE: i64 = 20_000;

/// Addresses of a cohort, as they were given and as they are compared, by what stands for them in a list of keyed hashes.
#[derive(Default)]
pub(super) struct Known(HashMap<String, (String, String)>);

impl Known {
    /// Reads them. The cohort's row must be locked, so that nobody's address is filled in meanwhile.
    pub(super) async fn load(tx: &mut Tx, keys: &Keys, list: &CohortList) -> Result<Self, StoreError> {
        let sql = "SELECT id, email, email_norm FROM beta_invites
            WHERE program = $1 AND cohort = $2 AND id > $3 AND email IS NOT NULL ORDER BY id LIMIT $4";
        let (mut known, mut after) = (HashMap::new(), Uuid::nil());
        loop {
            let page = tx.all(sql, args![&list.program, &list.cohort, after, PAGE]).await?;
            for row in &page {
                after = row.get("id")?;
                let (email, norm): (String, String) = (row.get("email")?, row.get("email_norm")?);
                known.insert(hash_norm(&address_hash(keys, &norm)), (email, norm));
            }
            if (page.len() as i64) < PAGE {
                return Ok(Self(known));
            }
        }
    }

    /// Gives a row the address that is known of its person.
    pub(super) fn fill_in(&self, row: &mut ListRow) {
        if let Some((email, norm)) = self.0.get(&row.email_norm) {
            row.email.clone_from(email);
            row.email_norm.clone_from(norm);
        }
    }
}
