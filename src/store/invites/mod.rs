//! Invites: who was asked in, how far each got, and the one transaction in which a code lets a person in.
//!
//! Knows the table `beta_invites` and the states of its rows. Must not know: mail, HTTP, where a list comes from
//! ([`super::cohort_lists`] brings lists in). Codes are never kept, only made again ([`InviteCode`]); addresses and codes
//! stand in no error and no audit entry.
//!
//! Locks are taken in one order everywhere, so that nobody waits in a circle: the program's freeze, the cohort's row,
//! the rows of codes for several people, the
//! invites' rows.

mod bounces;
mod cohorts;
#[cfg(test)]
mod crowd_tests;
mod declared;
mod funnel;
mod hashed;
mod listing;
mod mail_blocks;
mod mail_views;
mod mails;
#[cfg(test)]
mod mails_tests;
mod making;
mod person;
mod redeem;
mod revoking;
mod sending;
mod shared;
#[cfg(test)]
mod shared_tests;
#[cfg(test)]
mod tests;

pub use bounces::{About, Returned, returned, unsubscribe};
pub use cohorts::{
    CohortState, capacity_in, close_all, cohort_state, cohorts, open_cohorts, open_programs, promote, set_cohort,
};
pub use declared::{declare, declared_before};
pub use funnel::{Arrival, Funnel, Funnels, arrival, funnels};
pub use hashed::find_hashed;
pub use listing::{Filter, list, locale_of};
pub use mail_blocks::{Block, block, blocked, forget_bounce};
pub use mail_views::{Pause, ReviewCount, all_pauses, mail_counts, mail_states, pauses, review_counts, set_pauses};
pub use mails::{
    Claimed, Due, MailState, Sender, Settled, claim_mail, claimed_since, doubt_claims, due_mails, next_mail_at,
    note_blocked, settle_mail,
};
pub use making::{InviteError, Made, NewInvite, create, expire_due, hand_over, resend, send_once_more};
pub use redeem::{
    RedeemError, Redeemed, Refusal, Registered, Registration, always_required, join, open_invites, redeem, register,
    register_in,
};
pub use revoking::{Revocation, Revoked, revoke, revoke_address, revoke_unused};
pub use sending::{Rendered, mark_opened, mark_sent, render, take_to_render};

pub use shared::{NewCode, SharedCode, add_code, code, codes, revoke_code};

pub(super) use cohorts::{lock_cohort, reserve_positions};
pub(super) use person::{blank, every_spelling, of_person};
pub(super) use shared::revoke_codes;

use jiff::Timestamp;
use uuid::Uuid;

use super::{Row, Store, StoreError, Tx};
use crate::args;
use crate::core::cohort::InviteCode;
use crate::keys::Keys;

/// Why a list's unused invite is revoked when its row goes; such an invite comes back with its row.
pub const REMOVED_FROM_LIST: &str = "removed from the list";

/// Why an invite is revoked when its own document, or its cohort's, is deleted; one that a document declared comes back with it.
pub const DOCUMENT_GONE: &str = "its document is gone";

/// How far an invite got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Over capacity.
    Waiting,
    /// Has a seat; not sent.
    Pending,
    /// Handed to a mail server.
    Sent,
    /// The person looked at the sign-up page.
    Opened,
    /// The person is in.
    Used,
    /// Ran out.
    Expired,
    /// Taken back.
    Revoked,
}

impl State {
    /// As it stands in the table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Pending => "pending",
            Self::Sent => "sent",
            Self::Opened => "opened",
            Self::Used => "used",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }

    /// All of them, in the order in which an invite goes through them.
    pub const ALL: [Self; 7] =
        [Self::Waiting, Self::Pending, Self::Sent, Self::Opened, Self::Used, Self::Expired, Self::Revoked];

    fn read(text: &str) -> Result<Self, StoreError> {
        let found = Self::ALL.into_iter().find(|state| state.as_str() == text);
        found.ok_or_else(|| StoreError::Invalid(format!("no state of an invite: {text}")))
    }

    /// Whether the invite can still let somebody in.
    pub fn is_active(self) -> bool {
        matches!(self, Self::Waiting | Self::Pending | Self::Sent | Self::Opened)
    }
}

/// Where an invite comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A row of a cohort's list.
    List,
    /// An `Invite` document.
    Resource,
    /// An administrator, over the API or the command line.
    Admin,
    /// A code for several people, when this one came in with it.
    Code,
}

impl Origin {
    /// As it stands in the table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Resource => "resource",
            Self::Admin => "admin",
            Self::Code => "code",
        }
    }
}

/// One person's invite to one cohort.
#[derive(Clone, PartialEq, Eq)]
pub struct Invite {
    /// Its id, by which the audit log names it.
    pub id: Uuid,
    /// The program.
    pub program: String,
    /// The cohort it lets into.
    pub cohort: String,
    /// The address as it was given; `None` once the person was erased.
    pub email: Option<String>,
    /// The address as it is compared.
    pub(crate) email_norm: String,
    /// The label of its list row.
    pub label: String,
    /// The role.
    pub role: String,
    /// Who asked for this person.
    pub invited_by: String,
    /// The language for mail.
    pub locale: String,
    /// Anything else.
    pub note: String,
    /// How far it got.
    pub state: State,
    /// Counts up with each message; only the newest one's leaves.
    pub generation: u32,
    /// The generation from which the code that works is made.
    pub(crate) code_generation: u32,
    /// `list`, `resource`, `admin` or `code`.
    pub source: String,
    /// Since when there is a row.
    pub created_at: Timestamp,
    /// When its message was last rendered.
    pub rendered_at: Option<Timestamp>,
    /// When it was last handed to a mail server.
    pub sent_at: Option<Timestamp>,
    /// When its page was first looked at.
    pub opened_at: Option<Timestamp>,
    /// When the person came in.
    pub used_at: Option<Timestamp>,
    /// Who came in.
    pub used_by: Option<Uuid>,
    /// From when on it no longer works; `None` before it is rendered.
    pub expires_at: Option<Timestamp>,
    /// When it was taken back.
    pub revoked_at: Option<Timestamp>,
    /// Why.
    pub revoke_reason: Option<String>,
}

impl std::fmt::Debug for Invite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Invite")
            .field("id", &self.id)
            .field("cohort", &self.cohort)
            .field("state", &self.state)
            .field("generation", &self.generation)
            .finish_non_exhaustive()
    }
}

impl Invite {
    /// The code that works now. Made anew each time; hand it to the person and keep it nowhere.
    pub fn code(&self, keys: &Keys) -> InviteCode {
        InviteCode::make(keys.invite.expose(), *self.id.as_bytes(), self.code_generation)
    }

    /// How it is named in the audit log.
    fn object(&self) -> String {
        format!("invite/{}", self.id)
    }
}

const COLUMNS: &str =
    "id, program, cohort, email, email_norm, label, role, invited_by, locale, note, state, generation, code_generation,
    source, created_at, rendered_at, sent_at, opened_at, used_at, used_by, expires_at, revoked_at, revoke_reason";

/// An invite by its id.
pub async fn get(store: &Store, id: Uuid) -> Result<Option<Invite>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM beta_invites WHERE id = $1");
    store.opt(&sql, args![id]).await?.as_ref().map(invite).transpose()
}

/// The cohort that an invite is for.
pub async fn cohort_of(tx: &mut Tx, id: Uuid) -> Result<Option<String>, StoreError> {
    let row = tx.opt("SELECT cohort FROM beta_invites WHERE id = $1", args![id]).await?;
    row.map(|row| row.get("cohort")).transpose()
}

/// Reads an invite and keeps others from changing it until the transaction ends.
async fn locked(tx: &mut Tx, id: Uuid) -> Result<Option<Invite>, StoreError> {
    let lock = tx.dialect().pick("FOR UPDATE", "");
    let sql = format!("SELECT {COLUMNS} FROM beta_invites WHERE id = $1 {lock}");
    tx.opt(&sql, args![id]).await?.as_ref().map(invite).transpose()
}

/// Reads the invite, locks its cohort and then itself: the order that everyone keeps.
async fn locked_with_cohort(tx: &mut Tx, id: Uuid) -> Result<Option<(CohortState, Invite)>, StoreError> {
    let Some(row) = tx.opt("SELECT program, cohort FROM beta_invites WHERE id = $1", args![id]).await? else {
        return Ok(None);
    };
    let (program, cohort): (String, String) = (row.get("program")?, row.get("cohort")?);
    let state = lock_cohort(tx, &program, &cohort).await?;
    Ok(locked(tx, id).await?.map(|invite| (state, invite)))
}

fn invite(row: &Row) -> Result<Invite, StoreError> {
    Ok(Invite {
        id: row.get("id")?,
        program: row.get("program")?,
        cohort: row.get("cohort")?,
        email: row.get("email")?,
        email_norm: row.get("email_norm")?,
        label: row.get("label")?,
        role: row.get("role")?,
        invited_by: row.get("invited_by")?,
        locale: row.get("locale")?,
        note: row.get("note")?,
        state: State::read(&row.get::<String>("state")?)?,
        generation: u32::try_from(row.get::<i64>("generation")?).unwrap_or(u32::MAX),
        code_generation: u32::try_from(row.get::<i64>("code_generation")?).unwrap_or(u32::MAX),
        source: row.get("source")?,
        created_at: row.get("created_at")?,
        rendered_at: row.get("rendered_at")?,
        sent_at: row.get("sent_at")?,
        opened_at: row.get("opened_at")?,
        used_at: row.get("used_at")?,
        used_by: row.get("used_by")?,
        expires_at: row.get("expires_at")?,
        revoked_at: row.get("revoked_at")?,
        revoke_reason: row.get("revoke_reason")?,
    })
}
