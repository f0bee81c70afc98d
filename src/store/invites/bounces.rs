//! What comes back: messages that bounced or were complained of, and people who want no more of them.
//!
//! Must not know: who told so, or how.

use jiff::Timestamp;
use serde_json::json;
use uuid::Uuid;

use super::super::people::entry;
use super::super::{StoreError, Tx, audit};
use super::mail_blocks::{Block, block};
use super::mails::MailState;
use super::making::of_address;
use super::{InviteError, locked};
use crate::args;
use crate::keys::Keys;

/// What came back about a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Returned {
    /// It did not arrive; `permanent`: because there is no such mailbox.
    Bounce {
        /// Whether every later message would come back too.
        permanent: bool,
    },
    /// It was called unwanted.
    Complaint,
}

/// Which messages are meant.
#[derive(Clone, Copy, Debug)]
pub enum About<'a> {
    /// The one with this before the @ of its Message-ID.
    Message(&'a str),
    /// The newest one of every invite that this address has.
    Recipient(&'a str),
}

/// Writes down what came back. Says how many messages that was about; of what is not known here, none.
///
/// # Errors
/// [`InviteError::Address`] for a recipient that is no address, or the database's.
pub async fn returned(
    tx: &mut Tx,
    keys: &Keys,
    about: About<'_>,
    what: Returned,
    actor: &str,
    now: Timestamp,
) -> Result<u64, InviteError> {
    let mut messages: Vec<(Uuid, i64)> = Vec::new();
    match about {
        About::Message(key) => {
            let sql = "SELECT invite_id, generation FROM invite_mails WHERE message_key = $1";
            for row in tx.all(sql, args![key]).await? {
                messages.push((row.get("invite_id").map_err(InviteError::from)?, row.get("generation")?));
            }
        }
        About::Recipient(email) => {
            for id in of_address(tx, None, email).await? {
                let sql = "SELECT max(generation) AS newest FROM invite_mails WHERE invite_id = $1";
                if let Some(newest) = tx.one(sql, args![id]).await?.get::<Option<i64>>("newest")? {
                    messages.push((id, newest));
                }
            }
        }
    }
    let mut known = 0;
    for (id, generation) in messages {
        known += u64::from(one_returned(tx, keys, (id, generation), what, actor, now).await?);
    }
    Ok(known)
}

async fn one_returned(
    tx: &mut Tx,
    keys: &Keys,
    (id, generation): (Uuid, i64),
    what: Returned,
    actor: &str,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let Some(invite) = locked(tx, id).await? else { return Ok(false) };
    if let Returned::Bounce { .. } = what {
        let sql = "UPDATE invite_mails SET state = $3, settled_at = $4, next_at = NULL, last_error = 'it came back'
            WHERE invite_id = $1 AND generation = $2";
        tx.execute(sql, args![id, generation, MailState::Bounced.as_str(), now]).await?;
    }
    let why = match what {
        Returned::Bounce { permanent: true } => Some(Block::Bounced),
        Returned::Bounce { permanent: false } => None,
        Returned::Complaint => Some(Block::Complaint),
    };
    if let (Some(why), Some(email)) = (why, &invite.email) {
        block(tx, keys, (&invite.program, email), why, now).await?;
    }
    let (action, permanent) = match what {
        Returned::Bounce { permanent } => ("invite.bounced", permanent),
        Returned::Complaint => ("invite.complained", true),
    };
    let detail = json!({ "generation": generation, "blocked": permanent });
    audit::append(tx, entry(&invite.program, actor, action, invite.object(), detail, now)).await?;
    Ok(true)
}

/// The address of this invite gets no more mail of its program. The invite itself stays good. Says whether there is such an invite.
pub async fn unsubscribe(tx: &mut Tx, keys: &Keys, id: Uuid, now: Timestamp) -> Result<bool, StoreError> {
    let Some(invite) = locked(tx, id).await? else { return Ok(false) };
    // Someone who was erased gets none anyway.
    if let Some(email) = &invite.email
        && block(tx, keys, (&invite.program, email), Block::Unsubscribed, now).await?
    {
        let done = entry(&invite.program, "recipient", "mail.unsubscribed", invite.object(), json!({}), now);
        audit::append(tx, done).await?;
    }
    Ok(true)
}
