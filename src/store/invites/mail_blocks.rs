//! Addresses that get no invite mail: they do not exist, or they asked for none. Kept as keyed hashes.
//!
//! Must not know: how a person asked, how a bounce was told.

use jiff::Timestamp;

use super::super::states::words;
use super::super::{StoreError, Tx, people};
use crate::args;
use crate::keys::Keys;

words! {
    /// Why an address gets no mail.
    pub enum Block {
        /// It does not exist; in no program.
        Bounced = "bounced",
        /// Its owner called a message unwanted.
        Complaint = "complaint",
        /// Its owner asked for none.
        Unsubscribed = "unsubscribed",
    }
}

/// The key of an address, whatever its case.
fn key(keys: &Keys, email: &str) -> Vec<u8> {
    let address = people::account_address(email).unwrap_or_else(|| email.trim().to_lowercase());
    keys.pseudonym.hash(format!("mail/{address}").as_bytes()).to_vec()
}

/// Whether an address gets no mail of a program, and why; its owner's word before the post's.
pub async fn blocked(tx: &mut Tx, keys: &Keys, program: &str, email: &str) -> Result<Option<Block>, StoreError> {
    let sql = "SELECT reason FROM mail_blocks WHERE address_key = $1 AND (program = $2 OR program = '') ORDER BY program DESC LIMIT 1";
    let row = tx.opt(sql, args![key(keys, email), program]).await?;
    row.map(|row| row.get::<String>("reason")?.parse()).transpose()
}

/// Lets an address get no more mail of a program, or, when it does not exist, of any. Says whether that is new.
pub async fn block(
    tx: &mut Tx,
    keys: &Keys,
    (program, email): (&str, &str),
    why: Block,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let program = if why == Block::Bounced { "" } else { program };
    let sql = "INSERT INTO mail_blocks (program, address_key, reason, since) VALUES ($1, $2, $3, $4)
        ON CONFLICT (program, address_key) DO NOTHING";
    Ok(tx.execute(sql, args![program, key(keys, email), why.as_str(), now]).await? > 0)
}

/// Forgets, on a person's word, that an address bounced. What its owner asked for stays. Says whether there was something to forget.
pub async fn forget_bounce(tx: &mut Tx, keys: &Keys, email: &str) -> Result<bool, StoreError> {
    let sql = "DELETE FROM mail_blocks WHERE program = '' AND address_key = $1 AND reason = 'bounced'";
    Ok(tx.execute(sql, args![key(keys, email)]).await? > 0)
}
