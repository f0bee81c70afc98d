//! Taking invites back: one, all of an address, all that are unused of a cohort or a program.
//!
//! Must not know: why one is taken back.

use jiff::Timestamp;
use serde_json::json;
use uuid::Uuid;

use super::super::people::entry;
use super::super::{StoreError, Tx, audit, sessions};
use super::cohorts::promote;
use super::making::{InviteError, of_address};
use super::{State, locked_with_cohort, shared};
use crate::args;

/// How an invite is taken back.
#[derive(Clone, Copy, Debug)]
pub struct Revocation<'a> {
    /// Why.
    pub reason: &'a str,
    /// Who does it.
    pub actor: &'a str,
    /// Whether someone who is in goes out, with every session; else a used invite is left as it is.
    pub end_membership: bool,
}

/// What taking back an invite came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revoked {
    /// It was unused and lets nobody in any more.
    Unused,
    /// The person was in and is out.
    Member,
    /// The person is in and stays.
    StaysIn,
    /// It had been taken back before.
    Already,
}

/// Takes an invite back; a waiting one gets the free seat.
///
/// # Errors
/// [`InviteError::Missing`], or the database's.
pub async fn revoke(tx: &mut Tx, id: Uuid, how: Revocation<'_>, now: Timestamp) -> Result<Revoked, InviteError> {
    let (_, found) = locked_with_cohort(tx, id).await?.ok_or(InviteError::Missing)?;
    let outcome = match found.state {
        State::Revoked => return Ok(Revoked::Already),
        State::Used if !how.end_membership => return Ok(Revoked::StaysIn),
        State::Used => Revoked::Member,
        _ => Revoked::Unused,
    };
    tx.execute(
        "UPDATE beta_invites SET state = 'revoked', revoked_at = $2, revoke_reason = $3 WHERE id = $1",
        args![id, now, how.reason],
    )
    .await?;
    if let (Revoked::Member, Some(user_id)) = (outcome, found.used_by) {
        let sql = "DELETE FROM cohort_members WHERE program = $1 AND cohort = $2 AND user_id = $3";
        tx.execute(sql, args![&found.program, &found.cohort, user_id]).await?;
        sessions::end_all(tx, user_id, now).await?;
    }
    let detail = json!({ "reason": how.reason, "member": outcome == Revoked::Member });
    audit::append(tx, entry(&found.program, how.actor, "invite.revoked", found.object(), detail, now)).await?;
    promote(tx, &found.program, &found.cohort, now).await?;
    Ok(outcome)
}

/// Takes back every invite that an address has, in one program or in all (seed 000: `POST /v1/admin/invites/revoke`).
/// Says what became of each; nothing when there was none.
pub async fn revoke_address(
    tx: &mut Tx,
    program: Option<&str>,
    email: &str,
    how: Revocation<'_>,
    now: Timestamp,
) -> Result<Vec<(Uuid, Revoked)>, InviteError> {
    let mut outcomes = Vec::new();
    for id in of_address(tx, program, email).await? {
        outcomes.push((id, revoke(tx, id, how, now).await?));
    }
    Ok(outcomes)
}

/// Takes back every unused invite of a cohort, or of all of a program's, in one go (seed 000, "Rollback / safety
/// levers"), and the codes for several people. Nobody waiting is let in instead. Says how many invites.
pub async fn revoke_unused(
    tx: &mut Tx,
    program: &str,
    cohort: Option<&str>,
    how: Revocation<'_>,
    now: Timestamp,
) -> Result<u64, StoreError> {
    // Codes for several people first: whoever brings one locks it before an invite.
    let codes = shared::revoke_codes(tx, (program, cohort), how.reason, now).await?;
    let revoked = tx
        .execute(
            "UPDATE beta_invites SET state = 'revoked', revoked_at = $3, revoke_reason = $4
             WHERE program = $1 AND (cohort = $2 OR $2 = '') AND state IN ('waiting', 'pending', 'sent', 'opened')",
            args![program, cohort.unwrap_or_default(), now, how.reason],
        )
        .await?;
    if revoked + codes > 0 {
        let object = cohort.map_or_else(|| format!("program/{program}"), |cohort| format!("cohort/{cohort}"));
        let detail = json!({ "reason": how.reason, "invites": revoked, "codes": codes });
        audit::append(tx, entry(program, how.actor, "invites.revoked", object, detail, now)).await?;
    }
    Ok(revoked)
}
