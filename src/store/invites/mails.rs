//! The messages of invites: each is claimed in a transaction of its own just before it leaves, and settled after.
//!
//! A claim that is never settled (its sender died) is in doubt: [`doubt_claims`] makes it `uncertain`, and only a person's resending, which
//! raises the generation, sends it again. So no message leaves twice. Freeze, closing, revocation, expiry and blocked addresses are
//! read in the claiming transaction. Must not know: templates, mail servers, pacing.

use jiff::Timestamp;
use serde_json::json;
use uuid::Uuid;

use super::super::people::entry;
use super::super::states::words;
use super::super::{Row, Store, StoreError, Tx, audit, freezes};
use super::cohorts::hold_cohort;
use super::mail_blocks::{self, Block};
use super::sending::{Rendered, mark_rendered, mark_sent};
use super::{Invite, State, locked};
use crate::args;
use crate::keys::Keys;

words! {
    /// What became of the message of an invite.
    pub enum MailState {
        /// In a sender's hands.
        Sending = "sending",
        /// Taken by a mail server.
        Sent = "sent",
        /// The mail server said later.
        Waiting = "waiting",
        /// Perhaps sent; a person decides.
        Uncertain = "uncertain",
        /// Refused for good.
        Failed = "failed",
        /// Taken, and sent back.
        Bounced = "bounced",
        /// Not sent: the address wants none.
        Unsubscribed = "unsubscribed",
        /// Not sent: nobody needed it any more.
        Cancelled = "cancelled",
    }
}

/// An invite whose message is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// The invite.
    pub id: Uuid,
    /// The generation whose message it is.
    pub generation: u32,
    /// Its cohort.
    pub cohort: String,
    /// The receiving domain.
    pub domain: String,
    /// The language that its row asks for.
    pub locale: String,
    /// Whether it was tried before.
    pub again: bool,
}

/// What a sender says of itself in [`claim_mail`].
#[derive(Clone, Copy, Debug)]
pub struct Sender<'a> {
    /// Who it is.
    pub by: &'a str,
    /// What stands before the @ of the Message-ID.
    pub message_key: &'a str,
    /// How long the invite is good from now on, at least.
    pub expires_at: Timestamp,
}

/// What [`claim_mail`] came to.
#[derive(Debug)]
pub enum Claimed {
    /// It may leave now.
    Send {
        /// The invite and its code.
        rendered: Box<Rendered>,
        /// How often it has been claimed, this time included.
        attempts: i64,
    },
    /// The cohort is frozen or closed: later, perhaps. Nothing was written.
    Later,
    /// It was used, revoked, expired or sent, or a newer generation has taken its place: never.
    Overtaken,
    /// Its address gets no mail; that is written down.
    Blocked(Block),
}

/// How a message that was claimed ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled<'a> {
    /// The mail server took it.
    Sent,
    /// It surely has not left and is tried again. `counts`: whether this was about its address (else about the server).
    Later {
        /// Why.
        why: &'a str,
        /// When.
        at: Timestamp,
        /// Whether the try counts.
        counts: bool,
    },
    /// It never leaves.
    Failed(&'a str),
    /// It may have left.
    Uncertain(&'a str),
}

/// The messages that are due in some cohorts: those to be tried again first, then each cohort's new ones in their order, at most `limit`
/// of each.
pub async fn due_mails(
    store: &Store,
    program: &str,
    cohorts: &[String],
    limit: i64,
    now: Timestamp,
) -> Result<Vec<Due>, StoreError> {
    let any = store.dialect().any("m.cohort", "$3");
    let again = format!(
        "SELECT m.invite_id AS id, m.generation, m.cohort, i.email_norm, i.locale
         FROM invite_mails m JOIN beta_invites i ON i.id = m.invite_id
         WHERE m.program = $1 AND m.state = 'waiting' AND m.next_at <= $2 AND {any} ORDER BY m.next_at LIMIT $4"
    );
    let rows = store.all(&again, args![program, now, cohorts, limit]).await?;
    let mut found: Vec<Due> = rows.iter().map(|row| due(row, true)).collect::<Result<_, _>>()?;
    for cohort in cohorts {
        // SQLite takes a partial index only when the query repeats its condition word for word.
        let fresh = "SELECT id, generation, cohort, email_norm, locale FROM beta_invites
            WHERE program = $1 AND cohort = $2 AND state = 'pending' AND mail_generation < generation AND email IS NOT NULL
            ORDER BY position LIMIT $3";
        for row in store.all(fresh, args![program, cohort, limit]).await? {
            found.push(due(&row, false)?);
        }
    }
    Ok(found)
}

/// When the next message of a program that has to wait is tried again.
pub async fn next_mail_at(store: &Store, program: &str, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
    let sql = "SELECT min(next_at) AS at FROM invite_mails WHERE program = $1 AND state = 'waiting' AND next_at > $2";
    store.one(sql, args![program, now]).await?.get("at")
}

fn due(row: &Row, again: bool) -> Result<Due, StoreError> {
    let address: String = row.get("email_norm")?;
    Ok(Due {
        id: row.get("id")?,
        generation: u32::try_from(row.get::<i64>("generation")?).unwrap_or(u32::MAX),
        cohort: row.get("cohort")?,
        domain: address.rsplit_once('@').map(|(_, domain)| domain.to_owned()).unwrap_or_default(),
        locale: row.get("locale")?,
        again,
    })
}

/// Claims one message, which leaves when this transaction is committed. Until it ends nobody can freeze the cohort or revoke the invite.
pub async fn claim_mail(
    tx: &mut Tx,
    keys: &Keys,
    due: &Due,
    sender: Sender<'_>,
    now: Timestamp,
) -> Result<Claimed, StoreError> {
    let (id, generation) = (due.id, due.generation);
    let Some(row) = tx.opt("SELECT program, cohort FROM beta_invites WHERE id = $1", args![id]).await? else {
        return Ok(Claimed::Overtaken);
    };
    let (program, cohort): (String, String) = (row.get("program")?, row.get("cohort")?);
    let frozen = freezes::is_frozen(tx, &program, &cohort).await?;
    let open = hold_cohort(tx, &program, &cohort).await?.is_some_and(|state| state.open);
    let Some(invite) = locked(tx, id).await? else { return Ok(Claimed::Overtaken) };
    let known = "SELECT state FROM invite_mails WHERE invite_id = $1 AND generation = $2";
    let known = tx.opt(known, args![id, generation]).await?.map(|row| row.get::<String>("state")).transpose()?;
    let mailable = match known.as_deref() {
        None => invite.state == State::Pending,
        Some("waiting") => matches!(invite.state, State::Pending | State::Opened),
        Some(_) => false,
    };
    let good = invite.expires_at.is_none_or(|until| until > now);
    let Some(email) = invite.email.clone().filter(|_| mailable && good && invite.generation == generation) else {
        cancel(tx, due, now).await?;
        return Ok(Claimed::Overtaken);
    };
    if frozen || !open {
        return Ok(Claimed::Later);
    }
    let block = mail_blocks::blocked(tx, keys, &program, &email).await?;
    if let Some(block) = block {
        note_blocked(tx, &invite, block, sender, now).await?;
        return Ok(Claimed::Blocked(block));
    }
    let attempts = write_claim(tx, &invite, MailState::Sending, &sender, now).await?;
    let rendered = Box::new(mark_rendered(tx, keys, invite, sender.expires_at, now).await?);
    Ok(Claimed::Send { rendered, attempts })
}

/// Writes down that an invite's message does not leave because of its address.
pub async fn note_blocked(
    tx: &mut Tx,
    invite: &Invite,
    block: Block,
    sender: Sender<'_>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let state = if block == Block::Bounced { MailState::Bounced } else { MailState::Unsubscribed };
    write_claim(tx, invite, state, &sender, now).await?;
    let detail = json!({ "generation": invite.generation, "why": block.as_str() });
    audit::append(tx, entry(&invite.program, "controller", "invite.not-sent", invite.object(), detail, now)).await?;
    Ok(())
}

async fn write_claim(
    tx: &mut Tx,
    invite: &Invite,
    state: MailState,
    sender: &Sender<'_>,
    now: Timestamp,
) -> Result<i64, StoreError> {
    let settled = (state != MailState::Sending).then_some(now);
    let claim = "INSERT INTO invite_mails (invite_id, generation, program, cohort, state, message_key, claimed_at, claimed_by, settled_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
        ON CONFLICT (invite_id, generation) DO UPDATE SET state = excluded.state, attempts = invite_mails.attempts + 1,
            claimed_at = excluded.claimed_at, claimed_by = excluded.claimed_by, settled_at = excluded.settled_at, next_at = NULL
        RETURNING attempts";
    let (id, generation, key, by) = (invite.id, invite.generation, sender.message_key, sender.by);
    let bound = args![id, generation, &invite.program, &invite.cohort, state.as_str(), key, now, by, settled];
    let attempts = tx.one(claim, bound).await?.get("attempts")?;
    tx.execute("UPDATE beta_invites SET mail_generation = $2 WHERE id = $1", args![id, generation]).await?;
    Ok(attempts)
}

/// A message that was to be tried again is not needed any more.
async fn cancel(tx: &mut Tx, due: &Due, now: Timestamp) -> Result<(), StoreError> {
    let sql = "UPDATE invite_mails SET state = 'cancelled', settled_at = $3, next_at = NULL
        WHERE invite_id = $1 AND generation = $2 AND state = 'waiting'";
    tx.execute(sql, args![due.id, due.generation, now]).await?;
    Ok(())
}

/// Writes down how a claimed message ended. Counts whoever says so, also after the claim was put in doubt: what has left has left, and what
/// was refused was refused. Says whether there was such a claim.
pub async fn settle_mail(
    tx: &mut Tx,
    id: Uuid,
    generation: u32,
    how: Settled<'_>,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let (state, why, next_at, back) = match how {
        Settled::Sent => (MailState::Sent, None, None, 0_i64),
        Settled::Later { why, at, counts } => (MailState::Waiting, Some(why), Some(at), i64::from(!counts)),
        Settled::Failed(why) => (MailState::Failed, Some(why), None, 0),
        Settled::Uncertain(why) => (MailState::Uncertain, Some(why), None, 0),
    };
    let settled = next_at.is_none().then_some(now);
    // The invite first: the order of locks that everyone keeps.
    let Some(invite) = locked(tx, id).await? else { return Ok(false) };
    let sql =
        "UPDATE invite_mails SET state = $3, last_error = $4, next_at = $5, settled_at = $6, attempts = attempts - $7
        WHERE invite_id = $1 AND generation = $2 AND state IN ('sending', 'uncertain')";
    let written = tx.execute(sql, args![id, generation, state.as_str(), why, next_at, settled, back]).await?;
    if written == 0 {
        return Ok(false);
    }
    let action = match how {
        Settled::Sent => {
            mark_sent(tx, id, generation, now).await?;
            "invite.sent"
        }
        // Trying again is nobody's decision: the log has the end of it.
        Settled::Later { .. } => return Ok(true),
        Settled::Failed(_) => "invite.not-sent",
        Settled::Uncertain(_) => "invite.uncertain",
    };
    let detail = json!({ "generation": generation, "why": why });
    audit::append(tx, entry(&invite.program, "controller", action, invite.object(), detail, now)).await?;
    Ok(true)
}

/// As the successor of every earlier sender: what was in its hands may have left. Says how many messages that are.
pub async fn doubt_claims(tx: &mut Tx, now: Timestamp) -> Result<u64, StoreError> {
    let rows = tx
        .all(
            "UPDATE invite_mails SET state = 'uncertain', settled_at = $1, last_error = 'the sender vanished before it had a receipt'
             WHERE state = 'sending' RETURNING program, invite_id, generation",
            args![now],
        )
        .await?;
    for row in &rows {
        let (program, id): (String, Uuid) = (row.get("program")?, row.get("invite_id")?);
        let detail = json!({ "generation": row.get::<i64>("generation")?, "why": "the sender vanished before it had a receipt" });
        let doubted = entry(&program, "controller", "invite.uncertain", format!("invite/{id}"), detail, now);
        audit::append(tx, doubted).await?;
    }
    Ok(rows.len() as u64)
}

/// When messages were claimed since an instant, for which cohort and domain, oldest first: what pacing has to go on after a restart.
pub async fn claimed_since(
    store: &Store,
    program: &str,
    since: Timestamp,
    limit: i64,
) -> Result<Vec<(Timestamp, String, String)>, StoreError> {
    let sql =
        "SELECT m.claimed_at, m.cohort, i.email_norm FROM invite_mails m JOIN beta_invites i ON i.id = m.invite_id
        WHERE m.program = $1 AND m.claimed_at > $2 ORDER BY m.claimed_at DESC LIMIT $3";
    let rows = store.all(sql, args![program, since, limit]).await?;
    let read = |row: &Row| {
        let address: String = row.get("email_norm")?;
        let domain = address.rsplit_once('@').map(|(_, domain)| domain.to_owned()).unwrap_or_default();
        Ok((row.get("claimed_at")?, row.get("cohort")?, domain))
    };
    rows.iter().rev().map(read).collect()
}
