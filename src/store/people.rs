//! People: accounts, memberships, and what is left of someone who was erased.
//!
//! Must not know: how a password is hashed, what a route answers. The audit log names people by id only.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::json;
use uuid::Uuid;

use super::audit::{self, Entry};
use super::{Row, Store, StoreError, Tx, invites, sessions};
use crate::args;
use crate::core::cohort::{AddressRules, normalise};
use crate::keys::Keys;

/// An account.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    /// Its id, by which everything else names the person.
    pub id: Uuid,
    /// The address as it was given; empty once erased.
    pub email: String,
    /// Whether the person may administer.
    pub is_admin: bool,
    /// Since when.
    pub created_at: Timestamp,
    /// When the person was erased.
    pub erased_at: Option<Timestamp>,
}

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User").field("id", &self.id).field("is_admin", &self.is_admin).finish_non_exhaustive()
    }
}

/// An account with what its password is checked against.
pub struct Login {
    /// The account.
    pub user: User,
    /// As the caller hashed it.
    pub password_hash: String,
}

/// Someone in a cohort.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// The cohort's program.
    pub program: String,
    /// The cohort.
    pub cohort: String,
    /// Who.
    pub user_id: Uuid,
    /// Since when.
    pub joined_at: Timestamp,
}

const USER: &str = "SELECT id, email, password_hash, is_admin, created_at, erased_at FROM users";

/// The address as accounts compare it: case, Unicode form and IDN evened out. `None`: not an address.
pub(super) fn account_address(email: &str) -> Option<String> {
    normalise(email, AddressRules::default()).ok()
}

/// Makes an account. `password_hash` is stored as given.
///
/// # Errors
/// [`StoreError::Conflict`] when the address has one already, [`StoreError::Invalid`] when it is no address.
pub async fn create(
    tx: &mut Tx,
    email: &str,
    password_hash: &str,
    is_admin: bool,
    now: Timestamp,
) -> Result<User, StoreError> {
    let email = email.trim();
    let email_norm = account_address(email).ok_or_else(|| StoreError::Invalid("not a mail address".into()))?;
    let id = Uuid::now_v7();
    // Not an error of the database, after which PostgreSQL would take no further statement.
    let made = tx
        .execute(
            "INSERT INTO users (id, email, email_norm, password_hash, is_admin, created_at)
             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (email_norm) DO NOTHING",
            args![id, email, email_norm, password_hash, is_admin, now],
        )
        .await?;
    if made == 0 {
        return Err(StoreError::Conflict("the address has an account".into()));
    }
    Ok(User { id, email: email.to_owned(), is_admin, created_at: now, erased_at: None })
}

/// The account of an address, for signing in.
pub async fn by_email(store: &Store, email: &str) -> Result<Option<Login>, StoreError> {
    let Some(email_norm) = account_address(email) else { return Ok(None) };
    let row = store.opt(&format!("{USER} WHERE email_norm = $1 AND erased_at IS NULL"), args![email_norm]).await?;
    row.map(|row| Ok(Login { user: user(&row)?, password_hash: row.get("password_hash")? })).transpose()
}

/// An account by its id.
pub async fn by_id(store: &Store, id: Uuid) -> Result<Option<User>, StoreError> {
    store.opt(&format!("{USER} WHERE id = $1"), args![id]).await?.map(|row| user(&row)).transpose()
}

/// Accounts after `after`, in the order they were made, at most `limit`.
pub async fn list(store: &Store, after: Option<Uuid>, limit: i64) -> Result<Vec<User>, StoreError> {
    let sql = format!("{USER} WHERE id > $1 ORDER BY id LIMIT $2");
    store.all(&sql, args![after.unwrap_or(Uuid::nil()), limit]).await?.iter().map(user).collect()
}

/// Whether anybody may administer yet.
pub async fn has_admin(store: &Store) -> Result<bool, StoreError> {
    Ok(store.opt("SELECT id FROM users WHERE is_admin AND erased_at IS NULL LIMIT 1", args![]).await?.is_some())
}

/// Makes someone an administrator, or no longer one.
///
/// # Errors
/// [`StoreError::Missing`] when there is no such account.
pub async fn set_admin(tx: &mut Tx, id: Uuid, is_admin: bool, actor: &str, now: Timestamp) -> Result<(), StoreError> {
    let sql = "UPDATE users SET is_admin = $2 WHERE id = $1 AND erased_at IS NULL";
    if tx.execute(sql, args![id, is_admin]).await? == 0 {
        return Err(StoreError::Missing("no such account".into()));
    }
    let entry = entry("", actor, "people.admin", format!("person/{id}"), json!({ "admin": is_admin }), now);
    audit::append(tx, entry).await?;
    Ok(())
}

/// Replaces the password's hash, and ends every session.
///
/// # Errors
/// [`StoreError::Missing`] when there is no such account.
pub async fn set_password(tx: &mut Tx, id: Uuid, password_hash: &str, now: Timestamp) -> Result<(), StoreError> {
    let sql = "UPDATE users SET password_hash = $2 WHERE id = $1 AND erased_at IS NULL";
    if tx.execute(sql, args![id, password_hash]).await? == 0 {
        return Err(StoreError::Missing("no such account".into()));
    }
    sessions::end_all(tx, id, now).await?;
    Ok(())
}

/// The cohorts a person is in.
pub async fn memberships(store: &Store, user_id: Uuid) -> Result<Vec<Membership>, StoreError> {
    let sql =
        "SELECT program, cohort, user_id, joined_at FROM cohort_members WHERE user_id = $1 ORDER BY program, cohort";
    store.all(sql, args![user_id]).await?.iter().map(membership).collect()
}

/// The programs that a person is in; none once erased.
pub async fn programs(store: &Store, user_id: Uuid) -> Result<Vec<String>, StoreError> {
    let sql = "SELECT DISTINCT m.program FROM cohort_members m JOIN users u ON u.id = m.user_id
        WHERE m.user_id = $1 AND u.erased_at IS NULL ORDER BY m.program";
    store.all(sql, args![user_id]).await?.iter().map(|row| row.get("program")).collect()
}

/// How many people are in a cohort.
pub async fn member_count(store: &Store, program: &str, cohort: &str) -> Result<i64, StoreError> {
    let sql = "SELECT count(*) AS people FROM cohort_members WHERE program = $1 AND cohort = $2";
    store.one(sql, args![program, cohort]).await?.get("people")
}

/// The addresses by which a person is known: the account's, and those with which they came in.
pub(super) async fn addresses(tx: &mut Tx, id: Uuid) -> Result<Vec<String>, StoreError> {
    let sql = "SELECT email AS address FROM users WHERE id = $1 AND erased_at IS NULL
        UNION SELECT email_norm FROM cohort_members WHERE user_id = $1
        UNION SELECT COALESCE(email, email_norm) FROM beta_invites WHERE used_by = $1";
    tx.all(sql, args![id]).await?.iter().map(|row| row.get("address")).collect()
}

/// Takes a person's name out of everything, and leaves keyed entries so that no list brings the person back, however it spells the address.
/// The account and used invites stay as blank rows: counts and the audit chain still add up. Says whether there was an account.
pub async fn erase(
    tx: &mut Tx,
    keys: &Keys,
    id: Uuid,
    reason: &str,
    actor: &str,
    now: Timestamp,
) -> Result<bool, StoreError> {
    if tx.opt("SELECT id FROM users WHERE id = $1 AND erased_at IS NULL", args![id]).await?.is_none() {
        return Ok(false);
    }
    let addresses = addresses(tx, id).await?;
    let blanked = forget(tx, keys, &addresses, Some(id), reason, now).await?;
    let name = format!("erased:{id}");
    tx.execute("UPDATE cohort_members SET email_norm = $2 WHERE user_id = $1", args![id, &name]).await?;
    tx.execute(
        "UPDATE users SET email = '', email_norm = $2, password_hash = '', is_admin = $3, erased_at = $4 WHERE id = $1",
        args![id, &name, false, now],
    )
    .await?;
    sessions::end_all(tx, id, now).await?;
    let detail = json!({ "invites": blanked });
    audit::append(tx, entry("", actor, "people.erased", format!("person/{id}"), detail, now)).await?;
    Ok(true)
}

/// Erases an invited address that has no account: the invite is revoked and blank, and no list brings it back.
pub async fn erase_address(
    tx: &mut Tx,
    keys: &Keys,
    email: &str,
    reason: &str,
    actor: &str,
    now: Timestamp,
) -> Result<u64, StoreError> {
    let blanked = forget(tx, keys, &[email.to_owned()], None, reason, now).await?;
    let detail = json!({ "invites": blanked });
    audit::append(tx, entry("", actor, "people.erased", "person/uninvited".to_owned(), detail, now)).await?;
    Ok(blanked)
}

/// Remembers addresses as erased ones, in every spelling under which a cohort may compare them, and blanks their invites.
async fn forget(
    tx: &mut Tx,
    keys: &Keys,
    addresses: &[String],
    id: Option<Uuid>,
    reason: &str,
    now: Timestamp,
) -> Result<u64, StoreError> {
    let spelt: BTreeSet<String> = addresses.iter().flat_map(|address| invites::every_spelling(address)).collect();
    for address in &spelt {
        suppress(tx, keys, address, reason, now).await?;
    }
    invites::blank(tx, keys, addresses, id, now).await
}

/// Whether an address belongs to someone who was erased.
pub async fn is_suppressed(tx: &mut Tx, keys: &Keys, email_norm: &str) -> Result<bool, StoreError> {
    let key = suppression_key(keys, email_norm);
    Ok(tx.opt("SELECT reason FROM suppressions WHERE address_key = $1", args![key]).await?.is_some())
}

/// What stands for an address where no address may stand: on the list of those who were erased, and in cohort lists of keyed hashes. The
/// same in both, so that such a list can't bring an erased person back either.
pub fn address_hash(keys: &Keys, email_norm: &str) -> [u8; 32] {
    keys.pseudonym.hash(email_norm.as_bytes())
}

/// Under which key an erased address is remembered.
pub(super) fn suppression_key(keys: &Keys, email_norm: &str) -> Vec<u8> {
    address_hash(keys, email_norm).to_vec()
}

async fn suppress(tx: &mut Tx, keys: &Keys, email_norm: &str, reason: &str, now: Timestamp) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO suppressions (address_key, reason, created_at) VALUES ($1, $2, $3) ON CONFLICT (address_key) DO NOTHING",
        args![suppression_key(keys, email_norm), reason, now],
    )
    .await?;
    Ok(())
}

/// An entry for the audit log.
pub(super) fn entry(
    program: &str,
    actor: &str,
    action: &str,
    object: String,
    detail: serde_json::Value,
    at: Timestamp,
) -> Entry {
    Entry { at, program: program.to_owned(), actor: actor.to_owned(), action: action.to_owned(), object, detail }
}

fn user(row: &Row) -> Result<User, StoreError> {
    Ok(User {
        id: row.get("id")?,
        email: row.get("email")?,
        is_admin: row.get("is_admin")?,
        created_at: row.get("created_at")?,
        erased_at: row.get("erased_at")?,
    })
}

fn membership(row: &Row) -> Result<Membership, StoreError> {
    Ok(Membership {
        program: row.get("program")?,
        cohort: row.get("cohort")?,
        user_id: row.get("user_id")?,
        joined_at: row.get("joined_at")?,
    })
}
