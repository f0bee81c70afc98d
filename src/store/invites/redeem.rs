//! The door: one transaction reads the freeze, the cohort and the invite, makes the account and the membership, and
//! marks the invite used. Either all of it happens or none, and for one code it happens once.
//!
//! Must not know: HTTP, how a password is hashed, whether a flag says that invites are required (the caller reads it, in
//! the same transaction through [`register_in`] when it wants to).

use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use super::super::people::{self, User, entry};
use super::super::{Store, StoreError, Tx, audit, flags, freezes};
use super::cohorts::{CohortState, hold_cohort};
use super::making::of_address;
use super::{COLUMNS, Invite, InviteError, State, invite, locked, shared};
use crate::args;
use crate::core::cohort::{InviteCode, normalise};
use crate::keys::Keys;

/// Why someone is not let in. Each is told in its own clear words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No such code, or not this person's.
    #[error("this invite code is not valid for this address")]
    Invalid,
    /// Used before.
    #[error("this invite has already been used")]
    Used,
    /// Taken back.
    #[error("this invite has been withdrawn")]
    Revoked,
    /// Ran out.
    #[error("this invite has expired")]
    Expired,
    /// The beta is paused.
    #[error("sign-up is paused for the moment; your invite stays good")]
    Frozen,
    /// The cohort's stage is not open.
    #[error("sign-up for this group is not open")]
    CohortClosed,
    /// A code for several people has let in as many as it does.
    #[error("this code has let in everyone it is for")]
    UsedUp,
    /// Every seat is taken, and a code for several people keeps nobody a place.
    #[error("every place in this group is taken")]
    NoPlace,
    /// Every seat is taken, or the invite still waits for one.
    #[error("every place in this group is taken; you are on the waiting list")]
    Full,
    /// The address has an account: sign in, and join from there.
    #[error("there is an account for this address already; sign in to join with your invite")]
    AccountExists,
    /// No code, and one is needed.
    #[error("an invite is needed to register")]
    InviteRequired,
    /// No code, and none is needed: the address has an account, or was taken back. Which of both is nobody's business who has not shown that
    /// the address is theirs.
    #[error("nobody can register with this address: if it is yours, sign in, or ask those who run this")]
    AddressUnavailable,
}

impl Refusal {
    /// Every one of them.
    pub const ALL: [Self; 12] = [
        Self::Invalid,
        Self::Used,
        Self::Revoked,
        Self::Expired,
        Self::Frozen,
        Self::CohortClosed,
        Self::UsedUp,
        Self::NoPlace,
        Self::Full,
        Self::AccountExists,
        Self::InviteRequired,
        Self::AddressUnavailable,
    ];
}

/// A refusal, or the database's error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RedeemError {
    /// Not let in. Terminal until something else changes.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Someone at the door.
#[derive(Clone, Copy)]
pub struct Registration<'a> {
    /// The address.
    pub email: &'a str,
    /// The password, hashed by the caller.
    pub password_hash: &'a str,
    /// What was typed or the link carried.
    pub code: Option<&'a str>,
    /// Whether the definition of `system.invites_required` says that an invite is needed; asked with what is published in the database
    /// when the account is made, none when nothing is.
    pub invites_required: &'a (dyn Fn(Option<&Value>) -> bool + Sync),
}

/// The key of the flag that says whether an invite is needed.
const INVITES_REQUIRED: &str = "system.invites_required";

/// An invite is needed, whatever is published.
pub fn always_required(_: Option<&Value>) -> bool {
    true
}

/// A code that let someone in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redeemed {
    /// The invite.
    pub invite_id: Uuid,
    /// Who is in.
    pub user_id: Uuid,
    /// The program.
    pub program: String,
    /// The cohort.
    pub cohort: String,
}

/// A new account, and the cohort it was let into, if it had a code.
#[derive(Clone, Debug)]
pub struct Registered {
    /// The account.
    pub user: User,
    /// The invite that let it in.
    pub redeemed: Option<Redeemed>,
}

/// Registers with a code, in a transaction of its own: [`register`] for those who must have an invite.
///
/// # Errors
/// [`RedeemError::Refused`], or the database's.
pub async fn redeem(
    store: &Store,
    keys: &Keys,
    code: &str,
    email: &str,
    password_hash: &str,
    now: Timestamp,
) -> Result<Redeemed, RedeemError> {
    let person = Registration { email, password_hash, code: Some(code), invites_required: &always_required };
    register(store, keys, person, now).await?.redeemed.ok_or(RedeemError::Refused(Refusal::Invalid))
}

/// Registers in a transaction of its own.
///
/// # Errors
/// [`RedeemError::Refused`], or the database's.
pub async fn register(
    store: &Store,
    keys: &Keys,
    person: Registration<'_>,
    now: Timestamp,
) -> Result<Registered, RedeemError> {
    let mut tx = store.begin().await?;
    let registered = register_in(&mut tx, keys, person, now).await?;
    tx.commit().await?;
    Ok(registered)
}

/// Registers: a code is redeemed; without one an account is made when none is needed and the address was not revoked.
/// After an error the transaction must be dropped.
///
/// # Errors
/// [`RedeemError::Refused`], or the database's.
pub async fn register_in(
    tx: &mut Tx,
    keys: &Keys,
    person: Registration<'_>,
    now: Timestamp,
) -> Result<Registered, RedeemError> {
    match person.code.map(str::trim).filter(|code| !code.is_empty()) {
        Some(code) => {
            let (invite, state) = admissible(tx, keys, code, person.email, now).await?;
            let user = make_account(tx, person, now).await?;
            let redeemed = let_in(tx, &invite, &state, user.id, now).await?;
            Ok(Registered { user, redeemed: Some(redeemed) })
        }
        None => {
            let published = flags::definition_in(tx, INVITES_REQUIRED).await?;
            if (person.invites_required)(published.as_ref()) {
                return Err(Refusal::InviteRequired.into());
            }
            if is_revoked(tx, None, person.email).await? {
                return Err(Refusal::AddressUnavailable.into());
            }
            let user = make_account(tx, person, now).await.map_err(|error| match error {
                RedeemError::Refused(Refusal::AccountExists) => Refusal::AddressUnavailable.into(),
                other => other,
            })?;
            let by = format!("person/{}", user.id);
            let detail = json!({ "invite": false });
            audit::append(tx, entry("", &by, "people.registered", by.clone(), detail, now)).await?;
            Ok(Registered { user, redeemed: None })
        }
    }
}

/// Redeems a code for someone who has an account: another cohort, or one who was out and is invited again.
///
/// # Errors
/// [`RedeemError::Refused`], or the database's.
pub async fn join(
    tx: &mut Tx,
    keys: &Keys,
    code: &str,
    user_id: Uuid,
    now: Timestamp,
) -> Result<Redeemed, RedeemError> {
    let sql = "SELECT email FROM users WHERE id = $1 AND erased_at IS NULL";
    let Some(row) = tx.opt(sql, args![user_id]).await? else { return Err(Refusal::Invalid.into()) };
    let email: String = row.get("email")?;
    let (invite, state) = admissible(tx, keys, code, &email, now).await?;
    let_in(tx, &invite, &state, user_id, now).await
}

/// The invites that would let an address in, once rendered: for someone who is on a list and comes without a code.
pub async fn open_invites(tx: &mut Tx, email: &str, now: Timestamp) -> Result<Vec<Invite>, StoreError> {
    let mut open = Vec::new();
    for id in of_address_or_none(tx, None, email).await? {
        let sql = format!("SELECT {COLUMNS} FROM beta_invites WHERE id = $1");
        if let Some(found) = tx.opt(&sql, args![id]).await?.as_ref().map(invite).transpose()? {
            let runs = found.expires_at.is_none_or(|until| until > now);
            if runs && found.state.is_active() && found.state != State::Waiting {
                open.push(found);
            }
        }
    }
    Ok(open)
}

async fn of_address_or_none(tx: &mut Tx, program: Option<&str>, email: &str) -> Result<Vec<Uuid>, StoreError> {
    match of_address(tx, program, email).await {
        Ok(ids) => Ok(ids),
        Err(InviteError::Store(error)) => Err(error),
        Err(_) => Ok(Vec::new()),
    }
}

/// Finds the invite of a code and reads everything that decides, locked: the freeze, the cohort, the invite.
async fn admissible(
    tx: &mut Tx,
    keys: &Keys,
    code: &str,
    email: &str,
    now: Timestamp,
) -> Result<(Invite, CohortState), RedeemError> {
    let code = InviteCode::parse(code).ok_or(Refusal::Invalid)?;
    let digest = code.digest();
    let sql = "SELECT id, program, cohort FROM beta_invites WHERE code_digest = $1";
    let Some(row) = tx.opt(sql, args![&digest]).await? else {
        let shared = shared::by_digest(tx, &digest).await?.ok_or(Refusal::Invalid)?;
        return shared::admit(tx, keys, (shared, &code), email, now).await;
    };
    let (program, cohort): (String, String) = (row.get("program")?, row.get("cohort")?);
    let frozen = freezes::is_frozen(tx, &program, &cohort).await?;
    let state = hold_cohort(tx, &program, &cohort).await?.ok_or(Refusal::CohortClosed)?;
    let invite = locked(tx, row.get("id")?).await?.ok_or(Refusal::Invalid)?;
    let is_theirs = normalise(email, state.addresses).is_ok_and(|email| email == invite.email_norm);
    // Read again under the lock: a resending may have come between.
    if !invite.code(keys).matches(&code) || !is_theirs {
        return Err(Refusal::Invalid.into());
    }
    match invite.state {
        State::Revoked => return Err(Refusal::Revoked.into()),
        State::Used => return Err(Refusal::Used.into()),
        State::Expired => return Err(Refusal::Expired.into()),
        _ if invite.expires_at.is_some_and(|until| until <= now) => return Err(Refusal::Expired.into()),
        _ if frozen => return Err(Refusal::Frozen.into()),
        _ if !state.open => return Err(Refusal::CohortClosed.into()),
        State::Waiting => return Err(Refusal::Full.into()),
        State::Pending | State::Sent | State::Opened => {}
    }
    if let Some(capacity) = state.capacity {
        let sql = "SELECT count(*) AS people FROM cohort_members WHERE program = $1 AND cohort = $2";
        if tx.one(sql, args![&program, &cohort]).await?.get::<i64>("people")? >= capacity {
            return Err(Refusal::Full.into());
        }
    }
    Ok((invite, state))
}

async fn make_account(tx: &mut Tx, person: Registration<'_>, now: Timestamp) -> Result<User, RedeemError> {
    people::create(tx, person.email, person.password_hash, false, now).await.map_err(|error| match error {
        StoreError::Conflict(_) => Refusal::AccountExists.into(),
        StoreError::Invalid(_) => Refusal::Invalid.into(),
        other => RedeemError::Store(other),
    })
}

async fn let_in(
    tx: &mut Tx,
    invite: &Invite,
    state: &CohortState,
    user_id: Uuid,
    now: Timestamp,
) -> Result<Redeemed, RedeemError> {
    let used = tx
        .execute(
            "UPDATE beta_invites SET state = 'used', used_at = $2, used_by = $3
             WHERE id = $1 AND state IN ('pending', 'sent', 'opened') AND used_at IS NULL",
            args![invite.id, now, user_id],
        )
        .await?;
    if used == 0 {
        return Err(Refusal::Used.into());
    }
    tx.execute(
        "INSERT INTO cohort_members (program, cohort, user_id, email_norm, joined_at) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (program, cohort, user_id) DO NOTHING",
        args![&state.program, &state.cohort, user_id, &invite.email_norm, now],
    )
    .await?;
    let by = format!("person/{user_id}");
    let detail = json!({ "cohort": state.cohort, "generation": invite.generation });
    audit::append(tx, entry(&state.program, &by, "invite.used", invite.object(), detail, now)).await?;
    Ok(Redeemed { invite_id: invite.id, user_id, program: state.program.clone(), cohort: state.cohort.clone() })
}

/// Whether the address was taken back somewhere, in one program or in any (seed 000: removed from a cohort), and has no
/// invite that works.
pub(super) async fn is_revoked(tx: &mut Tx, program: Option<&str>, email: &str) -> Result<bool, StoreError> {
    let (mut revoked, mut active) = (false, false);
    for id in of_address_or_none(tx, program, email).await? {
        let row = tx.one("SELECT state FROM beta_invites WHERE id = $1", args![id]).await?;
        let state = State::read(&row.get::<String>("state")?)?;
        revoked |= state == State::Revoked;
        active |= state.is_active();
    }
    Ok(revoked && !active)
}
