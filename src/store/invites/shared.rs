//! Codes that let several people into a cohort: made, listed, taken back, and what stands in the way of the next one who brings one.
//!
//! Whoever comes in with one has an invite and a membership like everybody else; the code's row counts them, and is locked while it is counted.
//! Must not know: HTTP, how the code reaches people.

use jiff::Timestamp;
use serde_json::json;
use uuid::Uuid;

use super::super::people::{self, entry};
use super::super::{Row, Store, StoreError, Tx, audit, freezes};
use super::cohorts::{CohortState, lock_cohort, reserve_positions, seated};
use super::redeem::{RedeemError, Refusal, is_revoked};
use super::{COLUMNS, Invite, Origin, State, invite, locked};
use crate::args;
use crate::core::cohort::{InviteCode, normalise};
use crate::keys::Keys;

/// A code for several people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedCode {
    /// Its id, by which the audit log names it.
    pub id: Uuid,
    /// The program.
    pub program: String,
    /// The cohort it lets into.
    pub cohort: String,
    /// The label that those who come in with it get.
    pub label: String,
    /// What it is for.
    pub note: String,
    /// How many it lets in.
    pub uses: i64,
    /// How many it has let in.
    pub used: i64,
    /// Since when there is one.
    pub created_at: Timestamp,
    /// From when on it no longer works.
    pub expires_at: Timestamp,
    /// When it was taken back.
    pub revoked_at: Option<Timestamp>,
    /// Why.
    pub revoke_reason: Option<String>,
}

impl SharedCode {
    /// The code itself. Made anew each time; hand it over and keep it nowhere.
    pub fn code(&self, keys: &Keys) -> InviteCode {
        InviteCode::make(keys.invite.expose(), *self.id.as_bytes(), 1)
    }

    /// Why it lets nobody in now, whoever comes; `None` when it does.
    pub fn refusal(&self, now: Timestamp) -> Option<Refusal> {
        if self.revoked_at.is_some() {
            Some(Refusal::Revoked)
        } else if self.expires_at <= now {
            Some(Refusal::Expired)
        } else if self.used >= self.uses {
            Some(Refusal::UsedUp)
        } else {
            None
        }
    }

    fn object(&self) -> String {
        format!("invite-code/{}", self.id)
    }
}

/// A code to be made.
#[derive(Clone, Copy, Debug)]
pub struct NewCode<'a> {
    /// The program.
    pub program: &'a str,
    /// The cohort.
    pub cohort: &'a str,
    /// The label that those who come in with it get.
    pub label: &'a str,
    /// What it is for.
    pub note: &'a str,
    /// How many it lets in; at least one.
    pub uses: i64,
    /// From when on it no longer works.
    pub expires_at: Timestamp,
}

const CODE: &str =
    "SELECT id, program, cohort, label, note, uses, used, created_at, expires_at, revoked_at, revoke_reason
    FROM invite_codes";

/// Makes a code.
///
/// # Errors
/// [`StoreError::Invalid`] when it would let nobody in, or the database's.
pub async fn add_code(
    tx: &mut Tx,
    keys: &Keys,
    new: NewCode<'_>,
    actor: &str,
    now: Timestamp,
) -> Result<SharedCode, StoreError> {
    if new.uses < 1 {
        return Err(StoreError::Invalid("a code lets at least one person in".into()));
    }
    let made = SharedCode {
        id: Uuid::now_v7(),
        program: new.program.to_owned(),
        cohort: new.cohort.to_owned(),
        label: new.label.to_owned(),
        note: new.note.to_owned(),
        uses: new.uses,
        used: 0,
        created_at: now,
        expires_at: new.expires_at,
        revoked_at: None,
        revoke_reason: None,
    };
    let digest = made.code(keys).digest();
    tx.execute(
        "INSERT INTO invite_codes (id, program, cohort, label, note, uses, code_digest, created_at, created_by, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        args![
            made.id, new.program, new.cohort, new.label, new.note, new.uses, digest, now, actor, new.expires_at
        ],
    )
    .await?;
    let detail = json!({ "cohort": new.cohort, "uses": new.uses, "expiresAt": new.expires_at });
    audit::append(tx, entry(new.program, actor, "invite-code.created", made.object(), detail, now)).await?;
    Ok(made)
}

/// The codes of a program and cohort, or of all, oldest first.
pub async fn codes(store: &Store, program: Option<&str>, cohort: Option<&str>) -> Result<Vec<SharedCode>, StoreError> {
    let sql = format!("{CODE} WHERE (program = $1 OR $1 = '') AND (cohort = $2 OR $2 = '') ORDER BY id");
    let bound = args![program.unwrap_or_default(), cohort.unwrap_or_default()];
    store.all(&sql, bound).await?.iter().map(read).collect()
}

/// A code by its id.
pub async fn code(store: &Store, id: Uuid) -> Result<Option<SharedCode>, StoreError> {
    store.opt(&format!("{CODE} WHERE id = $1"), args![id]).await?.as_ref().map(read).transpose()
}

/// Takes a code back; whoever came in with it stays in. Says whether it was there to be taken back.
pub async fn revoke_code(tx: &mut Tx, id: Uuid, reason: &str, actor: &str, now: Timestamp) -> Result<bool, StoreError> {
    let Some(found) = locked_code(tx, id).await?.filter(|code| code.revoked_at.is_none()) else { return Ok(false) };
    let sql = "UPDATE invite_codes SET revoked_at = $2, revoke_reason = $3 WHERE id = $1";
    tx.execute(sql, args![id, now, reason]).await?;
    let detail = json!({ "reason": reason, "used": found.used, "uses": found.uses });
    audit::append(tx, entry(&found.program, actor, "invite-code.revoked", found.object(), detail, now)).await?;
    Ok(true)
}

/// Takes back every code of a cohort, or of all of a program's, that still lets somebody in; says how many.
pub(in crate::store) async fn revoke_codes(
    tx: &mut Tx,
    (program, cohort): (&str, Option<&str>),
    reason: &str,
    now: Timestamp,
) -> Result<u64, StoreError> {
    tx.execute(
        "UPDATE invite_codes SET revoked_at = $3, revoke_reason = $4
         WHERE program = $1 AND (cohort = $2 OR $2 = '') AND revoked_at IS NULL AND used < uses",
        args![program, cohort.unwrap_or_default(), now, reason],
    )
    .await
}

/// The code for several people of a digest: which it is and where it lets in.
pub(super) async fn by_digest(tx: &mut Tx, digest: &str) -> Result<Option<SharedCode>, StoreError> {
    tx.opt(&format!("{CODE} WHERE code_digest = $1"), args![digest]).await?.as_ref().map(read).transpose()
}

/// Reads everything that decides whether a code lets an address in, locked, and takes one of its uses and a seat. Gives the person's invite,
/// with a seat and not yet used.
pub(super) async fn admit(
    tx: &mut Tx,
    keys: &Keys,
    (found, code): (SharedCode, &InviteCode),
    email: &str,
    now: Timestamp,
) -> Result<(Invite, CohortState), RedeemError> {
    let (program, cohort) = (found.program.as_str(), found.cohort.as_str());
    let frozen = freezes::is_frozen(tx, program, cohort).await?;
    let state = lock_cohort(tx, program, cohort).await?;
    let shared = locked_code(tx, found.id).await?.ok_or(Refusal::Invalid)?;
    if !shared.code(keys).matches(code) {
        return Err(Refusal::Invalid.into());
    }
    if let Some(refusal) = shared.refusal(now) {
        return Err(refusal.into());
    }
    if frozen {
        return Err(Refusal::Frozen.into());
    }
    if !state.open {
        return Err(Refusal::CohortClosed.into());
    }
    let email_norm = normalise(email, state.addresses).map_err(|_| Refusal::Invalid)?;
    // Whoever holds the code has not shown that the address is theirs: they are not told what became of it.
    let stays_out = people::is_suppressed(tx, keys, &email_norm).await? || is_revoked(tx, Some(program), email).await?;
    if stays_out {
        return Err(Refusal::Invalid.into());
    }
    let invite = seat(tx, &shared, &state, (email, &email_norm), now).await?;
    tx.execute("UPDATE invite_codes SET used = used + 1 WHERE id = $1", args![shared.id]).await?;
    Ok((invite, state))
}

/// The person's invite to the cohort, with a seat: the one there is, or a new one.
async fn seat(
    tx: &mut Tx,
    shared: &SharedCode,
    state: &CohortState,
    (email, email_norm): (&str, &str),
    now: Timestamp,
) -> Result<Invite, RedeemError> {
    let (program, cohort) = (&shared.program, &shared.cohort);
    let lock = tx.dialect().pick("FOR UPDATE", "");
    let sql =
        format!("SELECT {COLUMNS} FROM beta_invites WHERE email_norm = $1 AND program = $2 AND cohort = $3 {lock}");
    let had = tx.opt(&sql, args![email_norm, program, cohort]).await?.as_ref().map(invite).transpose()?;
    let seated_already = match had.as_ref().map(|invite| invite.state) {
        Some(State::Used) => return Err(Refusal::Used.into()),
        Some(State::Revoked) => return Err(Refusal::Invalid.into()),
        Some(State::Pending | State::Sent | State::Opened) => true,
        Some(State::Waiting | State::Expired) | None => false,
    };
    if let Some(capacity) = state.capacity.filter(|_| !seated_already)
        && seated(tx, program, cohort).await? >= capacity
    {
        return Err(Refusal::NoPlace.into());
    }
    let id = match &had {
        Some(had) => {
            let sql = "UPDATE beta_invites SET state = 'pending', shared_code = $2 WHERE id = $1";
            tx.execute(sql, args![had.id, shared.id]).await?;
            had.id
        }
        None => insert(tx, shared, (email, email_norm), now).await?,
    };
    locked(tx, id).await?.ok_or(RedeemError::Refused(Refusal::Invalid))
}

async fn insert(
    tx: &mut Tx,
    shared: &SharedCode,
    (email, email_norm): (&str, &str),
    now: Timestamp,
) -> Result<Uuid, StoreError> {
    let SharedCode { program, cohort, label, .. } = shared;
    let (id, position) = (Uuid::now_v7(), reserve_positions(tx, program, cohort, 1).await?);
    let (email, by, source) = (email.trim(), shared.object(), Origin::Code.as_str());
    tx.execute(
        "INSERT INTO beta_invites (id, program, cohort, email, email_norm, label, invited_by, state, position, source,
            shared_code, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, 'pending', $8, $9, $10, $11)",
        args![id, program, cohort, email, email_norm, label, by, position, source, shared.id, now],
    )
    .await?;
    Ok(id)
}

async fn locked_code(tx: &mut Tx, id: Uuid) -> Result<Option<SharedCode>, StoreError> {
    let lock = tx.dialect().pick("FOR UPDATE", "");
    tx.opt(&format!("{CODE} WHERE id = $1 {lock}"), args![id]).await?.as_ref().map(read).transpose()
}

fn read(row: &Row) -> Result<SharedCode, StoreError> {
    Ok(SharedCode {
        id: row.get("id")?,
        program: row.get("program")?,
        cohort: row.get("cohort")?,
        label: row.get("label")?,
        note: row.get("note")?,
        uses: row.get("uses")?,
        used: row.get("used")?,
        created_at: row.get("created_at")?,
        expires_at: row.get("expires_at")?,
        revoked_at: row.get("revoked_at")?,
        revoke_reason: row.get("revoke_reason")?,
    })
}
