//! Making invites one by one, sending them again, letting them run out.
//!
//! Must not know: lists, mail.

use jiff::Timestamp;
use serde_json::json;
use uuid::Uuid;

use super::super::people::entry;
use super::super::{StoreError, Tx, audit, push};
use super::cohorts::{lock_cohort, promote, reserve_positions, seated};
use super::hashed::find_hashed_in;
use super::sending::Rendered;
use super::{COLUMNS, Invite, Origin, State, invite, locked_with_cohort};
use crate::args;
use crate::core::cohort::{AddressFault, AddressRules, normalise};
use crate::keys::Keys;

/// Someone to invite outside a list.
#[derive(Clone, Debug)]
pub struct NewInvite<'a> {
    /// The program.
    pub program: &'a str,
    /// The cohort.
    pub cohort: &'a str,
    /// The address.
    pub email: &'a str,
    /// A label, as in a list.
    pub label: &'a str,
    /// A role, as in a list.
    pub role: &'a str,
    /// Who asks.
    pub invited_by: &'a str,
    /// The language for mail.
    pub locale: &'a str,
    /// Why this person.
    pub note: &'a str,
    /// A document or an administrator.
    pub source: Origin,
}

/// What [`create`] came to.
#[derive(Clone, Debug)]
pub enum Made {
    /// There was none.
    New(Invite),
    /// There was one that had run out or been taken back; it works again, with a new code.
    Again(Invite),
    /// A list of keyed hashes named the person, and now their address is known: nothing was sent to them before.
    Found(Invite),
    /// There is one that works or was used; nothing changed.
    Already(Invite),
}

impl Made {
    /// The invite, whichever it was.
    pub fn invite(&self) -> &Invite {
        let (Self::New(invite) | Self::Again(invite) | Self::Found(invite) | Self::Already(invite)) = self;
        invite
    }
}

/// Why an invite is not made or changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InviteError {
    /// The address can't be one.
    #[error("{0}")]
    Address(#[from] AddressFault),
    /// The person asked to be erased; no one brings them back.
    #[error("the person asked to be erased")]
    Erased,
    /// No such invite.
    #[error("no such invite")]
    Missing,
    /// The person is in, or the invite was taken back: there is nothing to send again.
    #[error("an invite that is {} can't be sent again", .0.as_str())]
    Settled(State),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Invites someone. Gives a seat when there is one, else a place in the waiting list.
///
/// # Errors
/// [`InviteError::Address`], [`InviteError::Erased`], or the database's.
pub async fn create(
    tx: &mut Tx,
    keys: &Keys,
    new: &NewInvite<'_>,
    actor: &str,
    now: Timestamp,
) -> Result<Made, InviteError> {
    let state = lock_cohort(tx, new.program, new.cohort).await?;
    let email_norm = normalise(new.email, state.addresses)?;
    // Someone whom a list of keyed hashes names already is invited once.
    let named = find_hashed_in(tx, keys, &state, new.email).await?;
    if super::super::people::is_suppressed(tx, keys, &email_norm).await? {
        return Err(InviteError::Erased);
    }
    let lock = tx.dialect().pick("FOR UPDATE", "");
    let sql =
        format!("SELECT {COLUMNS} FROM beta_invites WHERE email_norm = $1 AND program = $2 AND cohort = $3 {lock}");
    let found = tx.opt(&sql, args![&email_norm, new.program, new.cohort]).await?.as_ref().map(invite).transpose()?;
    if let Some(found) = &found
        && (found.state.is_active() || found.state == State::Used)
    {
        let is_named = found.state.is_active() && named == Some(found.id);
        return Ok(if is_named { Made::Found(found.clone()) } else { Made::Already(found.clone()) });
    }
    let free = match state.capacity {
        None => true,
        Some(capacity) => seated(tx, new.program, new.cohort).await? < capacity,
    };
    let seat = if free { State::Pending } else { State::Waiting };
    let position = reserve_positions(tx, new.program, new.cohort, 1).await?;
    let id = match &found {
        Some(found) => reinstate(tx, found.id, new, seat, position).await?,
        None => insert(tx, new, &email_norm, seat, position, now).await?,
    };
    let made = invite(&tx.one(&format!("SELECT {COLUMNS} FROM beta_invites WHERE id = $1"), args![id]).await?)?;
    push::word(tx).await?;
    let detail = json!({ "cohort": new.cohort, "state": seat.as_str(), "again": found.is_some() });
    audit::append(tx, entry(new.program, actor, "invite.created", made.object(), detail, now)).await?;
    Ok(if found.is_some() { Made::Again(made) } else { Made::New(made) })
}

async fn insert(
    tx: &mut Tx,
    new: &NewInvite<'_>,
    email_norm: &str,
    seat: State,
    position: i64,
    now: Timestamp,
) -> Result<Uuid, StoreError> {
    let id = Uuid::now_v7();
    tx.execute(
        "INSERT INTO beta_invites (id, program, cohort, email, email_norm, label, role, invited_by, locale, note, state,
            position, source, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
        args![
            id,
            new.program,
            new.cohort,
            new.email.trim(),
            email_norm,
            new.label,
            new.role,
            new.invited_by,
            new.locale,
            new.note,
            seat.as_str(),
            position,
            new.source.as_str(),
            now
        ],
    )
    .await?;
    Ok(id)
}

async fn reinstate(tx: &mut Tx, id: Uuid, new: &NewInvite<'_>, seat: State, position: i64) -> Result<Uuid, StoreError> {
    tx.execute(
        "UPDATE beta_invites SET state = $2, position = $3, source = $4, note = $5, generation = generation + 1,
            code_generation = generation + 1, code_digest = NULL, rendered_at = NULL, sent_at = NULL, opened_at = NULL, expires_at = NULL, revoked_at = NULL,
            revoke_reason = NULL, used_at = NULL, used_by = NULL
         WHERE id = $1",
        args![id, seat.as_str(), position, new.source.as_str(), new.note],
    )
    .await?;
    Ok(id)
}

/// Makes an invite's code work from now until `expires_at`, for a person who hands it over; its message still leaves, with the same code. The log
/// says who was shown it.
/// `None` when it lets nobody in, or waits for a seat.
pub async fn hand_over(
    tx: &mut Tx,
    keys: &Keys,
    id: Uuid,
    expires_at: Timestamp,
    actor: &str,
    now: Timestamp,
) -> Result<Option<Rendered>, StoreError> {
    let Some(mut found) = super::locked(tx, id).await?.filter(|found| found.state.is_active()) else { return Ok(None) };
    if found.state == State::Waiting {
        return Ok(None);
    }
    let code = found.code(keys);
    let until = found.expires_at.map_or(expires_at, |had| had.max(expires_at));
    let sql = "UPDATE beta_invites SET code_digest = $2, expires_at = $3 WHERE id = $1";
    tx.execute(sql, args![id, code.digest(), until]).await?;
    found.expires_at = Some(until);
    let detail = json!({ "expiresAt": until });
    audit::append(tx, entry(&found.program, actor, "invite.code-shown", found.object(), detail, now)).await?;
    Ok(Some(Rendered { invite: found, code }))
}

/// Raises the generation, so that the old code stops working, and lets the invite be rendered and sent again, good until
/// `expires_at`. An expired one needs a free seat and else waits; one that waits runs out only once it was sent.
///
/// # Errors
/// [`InviteError::Missing`], [`InviteError::Settled`] for a used or revoked one, or the database's.
pub async fn resend(
    tx: &mut Tx,
    id: Uuid,
    expires_at: Timestamp,
    actor: &str,
    now: Timestamp,
) -> Result<Invite, InviteError> {
    let (cohort, found) = locked_with_cohort(tx, id).await?.ok_or(InviteError::Missing)?;
    if matches!(found.state, State::Used | State::Revoked) || found.email.is_none() {
        return Err(InviteError::Settled(found.state));
    }
    let free = match (found.state, cohort.capacity) {
        (State::Waiting, _) => false,
        (State::Expired, Some(capacity)) => seated(tx, &found.program, &found.cohort).await? < capacity,
        _ => true,
    };
    let seat = if free { State::Pending } else { State::Waiting };
    tx.execute(
        "UPDATE beta_invites SET generation = generation + 1, code_generation = generation + 1, state = $2, expires_at = $3,
            code_digest = NULL, rendered_at = NULL WHERE id = $1",
        args![id, seat.as_str(), free.then_some(expires_at)],
    )
    .await?;
    push::word(tx).await?;
    let detail = json!({ "generation": found.generation + 1, "state": seat.as_str() });
    audit::append(tx, entry(&found.program, actor, "invite.resent", found.object(), detail, now)).await?;
    super::locked(tx, id).await?.ok_or(InviteError::Missing)
}

/// Lets an invite's message leave once more, for someone who has shown nothing but that they know its address. While its code is good it stays the
/// one that works, good until `expires_at` at least: else whoever knows the address could take the code away from its owner. One that ran out
/// gets a new code, as by [`resend`].
///
/// # Errors
/// As [`resend`].
pub async fn send_once_more(
    tx: &mut Tx,
    id: Uuid,
    expires_at: Timestamp,
    actor: &str,
    now: Timestamp,
) -> Result<Invite, InviteError> {
    let (_, found) = locked_with_cohort(tx, id).await?.ok_or(InviteError::Missing)?;
    let is_good = matches!(found.state, State::Pending | State::Sent | State::Opened)
        && found.email.is_some()
        && found.expires_at.is_some_and(|until| until > now);
    if !is_good {
        return resend(tx, id, expires_at, actor, now).await;
    }
    let until = found.expires_at.map_or(expires_at, |had| had.max(expires_at));
    tx.execute(
        "UPDATE beta_invites SET generation = generation + 1, state = 'pending', expires_at = $2, rendered_at = NULL
         WHERE id = $1",
        args![id, until],
    )
    .await?;
    push::word(tx).await?;
    let detail = json!({ "generation": found.generation + 1, "code": "the same" });
    audit::append(tx, entry(&found.program, actor, "invite.resent", found.object(), detail, now)).await?;
    super::locked(tx, id).await?.ok_or(InviteError::Missing)
}

/// An address as each set of rules compares it.
pub(super) fn spellings(email: &str) -> Result<[(AddressRules, String); 4], AddressFault> {
    let spelt = |ignore_dots, ignore_plus| {
        let rules = AddressRules { ignore_dots, ignore_plus };
        normalise(email, rules).map(|email_norm| (rules, email_norm))
    };
    Ok([spelt(false, false)?, spelt(false, true)?, spelt(true, false)?, spelt(true, true)?])
}

/// The invites of an address, compared by each cohort's own rules, in the order in which their cohorts are locked.
pub(super) async fn of_address(tx: &mut Tx, program: Option<&str>, email: &str) -> Result<Vec<Uuid>, InviteError> {
    let mut ids = Vec::new();
    for (rules, email_norm) in spellings(email)? {
        let rows = tx
            .all(
                "SELECT i.id, i.program, i.cohort FROM beta_invites i JOIN cohort_state c ON c.program = i.program AND c.cohort = i.cohort
                 WHERE i.email_norm = $1 AND (i.program = $2 OR $2 = '') AND c.ignore_dots = $3 AND c.ignore_plus = $4",
                args![email_norm, program.unwrap_or_default(), rules.ignore_dots, rules.ignore_plus],
            )
            .await?;
        for row in rows {
            ids.push((row.get::<String>("program")?, row.get::<String>("cohort")?, row.get("id")?));
        }
    }
    ids.sort();
    Ok(ids.into_iter().map(|(_, _, id)| id).collect())
}

/// Marks what ran out by `now`, at most `limit` at once, and lets waiting people in. A code stops working at its
/// `expires_at` whether or not this has run. Says how many.
pub async fn expire_due(tx: &mut Tx, now: Timestamp, limit: i64) -> Result<u64, StoreError> {
    let due = tx
        .all(
            "SELECT DISTINCT program, cohort FROM (SELECT program, cohort FROM beta_invites
                WHERE expires_at <= $1 AND state IN ('pending', 'sent', 'opened') ORDER BY expires_at LIMIT $2) AS due
             ORDER BY program, cohort",
            args![now, limit],
        )
        .await?;
    let mut expired = 0;
    for row in due {
        let (program, cohort): (String, String) = (row.get("program")?, row.get("cohort")?);
        lock_cohort(tx, &program, &cohort).await?;
        let sql = "UPDATE beta_invites SET state = 'expired' WHERE state IN ('pending', 'sent', 'opened') AND id IN (
            SELECT id FROM beta_invites WHERE expires_at <= $1 AND state IN ('pending', 'sent', 'opened')
                AND program = $2 AND cohort = $3 LIMIT $4)";
        let count = tx.execute(sql, args![now, &program, &cohort, limit]).await?;
        if count > 0 {
            let detail = json!({ "invites": count });
            let done = entry(&program, "controller", "invites.expired", format!("cohort/{cohort}"), detail, now);
            audit::append(tx, done).await?;
            promote(tx, &program, &cohort, now).await?;
        }
        expired += count;
    }
    Ok(expired)
}
