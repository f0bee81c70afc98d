//! Rendering invites (for review, or by hand), and how far a message got. What really leaves is claimed in [`super::mails`].
//!
//! Must not know: templates, mail servers, pacing.

use jiff::Timestamp;
use uuid::Uuid;

use super::super::{StoreError, Tx, freezes};
use super::cohorts::hold_cohort;
use super::{COLUMNS, Invite, State, invite, locked};
use crate::args;
use crate::core::cohort::InviteCode;
use crate::keys::Keys;

/// An invite that was marked rendered, with the code for its message.
#[derive(Debug)]
pub struct Rendered {
    /// The invite.
    pub invite: Invite,
    /// For the message, and nowhere else.
    pub code: InviteCode,
}

/// Takes the next invites of an open, unfrozen cohort, in order, at most `limit`, and marks them rendered: their codes
/// work from now until `expires_at`. Empty when there is none, the cohort is closed, or it is frozen.
pub async fn take_to_render(
    tx: &mut Tx,
    keys: &Keys,
    (program, cohort): (&str, &str),
    limit: i64,
    expires_at: Timestamp,
    now: Timestamp,
) -> Result<Vec<Rendered>, StoreError> {
    let frozen = freezes::is_frozen(tx, program, cohort).await?;
    let open = hold_cohort(tx, program, cohort).await?.is_some_and(|state| state.open);
    if frozen || !open {
        return Ok(Vec::new());
    }
    let lock = tx.dialect().pick("FOR UPDATE SKIP LOCKED", "");
    // SQLite takes a partial index only when the query repeats its condition word for word.
    let sql = format!(
        "SELECT {COLUMNS} FROM beta_invites WHERE program = $1 AND cohort = $2 AND state = 'pending' AND email IS NOT NULL
            AND state IN ('waiting', 'pending') AND rendered_at IS NULL AND (state = 'waiting' OR email IS NOT NULL)
            AND mail_generation < generation
         ORDER BY position LIMIT $3 {lock}"
    );
    let mut taken = Vec::new();
    for row in tx.all(&sql, args![program, cohort, limit]).await? {
        taken.push(mark_rendered(tx, keys, invite(&row)?, expires_at, now).await?);
    }
    Ok(taken)
}

/// Marks one invite rendered, whatever the cohort's state: for a code that is handed over by a person, and for a
/// confirmation link. `None` when it no longer lets anyone in, or waits for a seat.
pub async fn render(
    tx: &mut Tx,
    keys: &Keys,
    id: Uuid,
    expires_at: Timestamp,
    now: Timestamp,
) -> Result<Option<Rendered>, StoreError> {
    match locked(tx, id).await? {
        Some(found) if found.state.is_active() && found.state != State::Waiting => {
            mark_rendered(tx, keys, found, expires_at, now).await.map(Some)
        }
        _ => Ok(None),
    }
}

pub(super) async fn mark_rendered(
    tx: &mut Tx,
    keys: &Keys,
    mut invite: Invite,
    expires_at: Timestamp,
    now: Timestamp,
) -> Result<Rendered, StoreError> {
    let code = invite.code(keys);
    // A resent invite has its expiry already; rendering never shortens one.
    let until = invite.expires_at.map_or(expires_at, |had| had.max(expires_at));
    tx.execute(
        "UPDATE beta_invites SET rendered_at = $2, code_digest = $3, expires_at = $4 WHERE id = $1",
        args![invite.id, now, code.digest(), until],
    )
    .await?;
    invite.rendered_at = Some(now);
    invite.expires_at = Some(until);
    Ok(Rendered { invite, code })
}

/// Marks an invite handed to a mail server, unless a newer generation has taken its place. Someone who was faster stays
/// opened or used. Says whether it was marked.
pub async fn mark_sent(tx: &mut Tx, id: Uuid, generation: u32, now: Timestamp) -> Result<bool, StoreError> {
    let sql = "UPDATE beta_invites SET sent_at = $3, state = CASE WHEN state = 'pending' THEN 'sent' ELSE state END
        WHERE id = $1 AND generation = $2";
    Ok(tx.execute(sql, args![id, generation, now]).await? > 0)
}

/// Marks that the page of a code was looked at. Consumes nothing: mail scanners open links too. Says whether it was new.
pub async fn mark_opened(tx: &mut Tx, code: &str, now: Timestamp) -> Result<bool, StoreError> {
    let Some(code) = InviteCode::parse(code) else { return Ok(false) };
    let sql = "UPDATE beta_invites SET opened_at = $2, state = 'opened'
        WHERE code_digest = $1 AND opened_at IS NULL AND state IN ('pending', 'sent')";
    Ok(tx.execute(sql, args![code.digest(), now]).await? > 0)
}
