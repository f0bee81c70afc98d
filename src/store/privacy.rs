//! What people ask about their data: submit, triage, fulfil or reject; the compliance queue with its service levels.
//!
//! Each is an entry in the audit log, which names the request and the person by their random ids. Must not know: how a copy reaches the person. Seed 002: section 1 (flow, badges, metrics per gym), section 4 step 3 (intake is
//! never disabled), section 5 (breaches older than 7 days).

use std::str::FromStr;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::people::entry;
use super::{Row, Store, StoreError, Tx, audit};
use crate::args;

mod fulfil;
#[cfg(test)]
mod tests;

pub use fulfil::{KEPT_FOR, forget_copies, fulfil};

/// The time within which a request is closed: one month (GDPR, article 12(3)), counted as 30 days.
pub const SLA: SignedDuration = SignedDuration::from_hours(30 * 24);
/// A request closer to its due time than this is badged `due-soon`.
pub const DUE_SOON: SignedDuration = SignedDuration::from_hours(7 * 24);

macro_rules! names {
    ($(#[$doc:meta])* $type:ident: $($(#[$vdoc:meta])* $variant:ident = $name:literal),+ $(,)?) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum $type { $($(#[$vdoc])* #[serde(rename = $name)] $variant),+ }

        impl $type {
            /// Its name, in the API and in the database.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }
        }

        impl FromStr for $type {
            type Err = String;
            fn from_str(name: &str) -> Result<Self, String> {
                match name {
                    $($name => Ok(Self::$variant),)+
                    _ => Err(format!("`{name}` is none of {}", [$($name),+].join(", "))),
                }
            }
        }
    };
}

names! {
    /// What is asked for.
    RequestKind:
    /// A copy of one's data.
    Export = "export",
    /// The erasure of one's data.
    Erase = "erase",
}

names! {
    /// How far a request is.
    RequestState:
    /// Taken in.
    Submitted = "submitted",
    /// Someone looked at it.
    Triaged = "triaged",
    /// Done.
    Fulfilled = "fulfilled",
    /// Refused, with a reason.
    Rejected = "rejected",
}

names! {
    /// How a request stands against its service level.
    Badge:
    /// Enough time is left.
    Ok = "ok",
    /// Less than [`DUE_SOON`] is left.
    DueSoon = "due-soon",
    /// Open past its due time.
    Breached = "breached",
    /// Closed in time.
    Met = "met",
    /// Closed too late.
    ClosedLate = "closed-late",
}

/// A request as it comes in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRequest {
    /// The program; empty when the person is in none, and it could be any.
    pub program: String,
    /// The person, when known by an account.
    pub user_id: Option<Uuid>,
    /// Where to answer someone without an account. Blanked when an erasure is fulfilled.
    pub contact: Option<String>,
    /// The person's gym, when known.
    pub gym_id: Option<String>,
    /// What is asked for.
    pub kind: RequestKind,
    /// In the person's own words.
    pub note: String,
}

/// A request.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Request {
    /// Its id.
    pub id: Uuid,
    /// The program.
    pub program: String,
    /// The person, when known by an account.
    pub user_id: Option<Uuid>,
    /// Where to answer someone without an account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contact: Option<String>,
    /// The person's first cohort; empty when in none.
    pub cohort: String,
    /// The person's gym; empty when not known.
    pub gym_id: String,
    /// What is asked for.
    pub kind: RequestKind,
    /// How far it is.
    pub state: RequestState,
    /// In the person's own words.
    pub note: String,
    /// When it came in.
    pub submitted_at: Timestamp,
    /// When it must be closed.
    pub due_at: Timestamp,
    /// When someone looked at it.
    pub triaged_at: Option<Timestamp>,
    /// Who.
    pub triaged_by: Option<String>,
    /// When it was closed.
    pub closed_at: Option<Timestamp>,
    /// By whom.
    pub closed_by: Option<String>,
    /// Why it was rejected.
    pub reason: Option<String>,
    /// What fulfilling it gave: of an export the data itself, of an erasure how much was erased.
    pub result: Option<Value>,
}

/// Why a request was not taken on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrivacyError {
    /// There is no such request. Terminal.
    #[error("there is no privacy request {0}")]
    Unknown(Uuid),
    /// The flow is submit, triage, then fulfil or reject. Terminal.
    #[error("a request that is {} cannot become {}", .from.name(), .to.name())]
    WrongState {
        /// The state it is in.
        from: RequestState,
        /// The state it was to take.
        to: RequestState,
    },
    /// Something that has to be said was not. Terminal.
    #[error("{0}")]
    Incomplete(&'static str),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

const COLUMNS: &str =
    "id, program, user_id, contact, cohort, gym_id, kind, state, note, submitted_at, due_at, triaged_at,
    triaged_by, closed_at, closed_by, reason, result";

impl Request {
    /// How it stands against its service level.
    pub fn badge(&self, now: Timestamp) -> Badge {
        match self.closed_at {
            Some(closed) if closed <= self.due_at => Badge::Met,
            Some(_) => Badge::ClosedLate,
            None if now > self.due_at => Badge::Breached,
            None if self.due_at.duration_since(now) < DUE_SOON => Badge::DueSoon,
            None => Badge::Ok,
        }
    }

    fn read(row: &Row) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.get("id")?,
            program: row.get("program")?,
            user_id: row.get("user_id")?,
            contact: row.get("contact")?,
            cohort: row.get("cohort")?,
            gym_id: row.get("gym_id")?,
            kind: named(row, "kind")?,
            state: named(row, "state")?,
            note: row.get("note")?,
            submitted_at: row.get("submitted_at")?,
            due_at: row.get("due_at")?,
            triaged_at: row.get("triaged_at")?,
            triaged_by: row.get("triaged_by")?,
            closed_at: row.get("closed_at")?,
            closed_by: row.get("closed_by")?,
            reason: row.get("reason")?,
            result: row.get("result")?,
        })
    }
}

fn named<T: FromStr<Err = String>>(row: &Row, column: &str) -> Result<T, StoreError> {
    row.get::<String>(column)?.parse().map_err(StoreError::Invalid)
}

/// Takes a request in. Someone who asks again while the first request is open gets the first one.
///
/// # Errors
/// [`PrivacyError::Incomplete`] when there is neither a person nor a contact.
pub async fn submit(tx: &mut Tx, new: &NewRequest, by: &str, now: Timestamp) -> Result<Request, PrivacyError> {
    if new.user_id.is_none() && new.contact.is_none() {
        return Err(PrivacyError::Incomplete("a request needs an account or a contact"));
    }
    let cohort = match new.user_id {
        Some(user) => first_cohort(tx, &new.program, user).await?,
        None => String::new(),
    };
    let due_at = now.checked_add(SLA).unwrap_or(Timestamp::MAX);
    let insert = "INSERT INTO privacy_requests
        (id, program, user_id, contact, cohort, gym_id, kind, state, note, submitted_at, due_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, 'submitted', $8, $9, $10) ON CONFLICT DO NOTHING";
    let id = Uuid::now_v7();
    let gym = new.gym_id.as_deref().unwrap_or_default();
    let values =
        args![id, &new.program, new.user_id, &new.contact, cohort, gym, new.kind.name(), &new.note, now, due_at];
    if tx.execute(insert, values).await? == 1 {
        let made = find(tx, id).await?;
        record(tx, &made, by, "privacy.submitted", json!({}), now).await?;
        return Ok(made);
    }
    let sql = format!(
        "SELECT {COLUMNS} FROM privacy_requests
         WHERE program = $1 AND user_id = $2 AND kind = $3 AND state IN ('submitted', 'triaged')"
    );
    let row = tx.one(&sql, args![&new.program, new.user_id, new.kind.name()]).await?;
    Ok(Request::read(&row)?)
}

async fn first_cohort(tx: &mut Tx, program: &str, user: Uuid) -> Result<String, StoreError> {
    let sql =
        "SELECT cohort FROM cohort_members WHERE program = $1 AND user_id = $2 ORDER BY joined_at, cohort LIMIT 1";
    tx.opt(sql, args![program, user]).await?.map_or(Ok(String::new()), |row| row.get("cohort"))
}

async fn find(tx: &mut Tx, id: Uuid) -> Result<Request, PrivacyError> {
    let sql = format!("SELECT {COLUMNS} FROM privacy_requests WHERE id = $1");
    let row = tx.opt(&sql, args![id]).await?.ok_or(PrivacyError::Unknown(id))?;
    Ok(Request::read(&row)?)
}

/// One request, if there is one of that id.
pub async fn get(store: &Store, id: Uuid) -> Result<Option<Request>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM privacy_requests WHERE id = $1");
    store.opt(&sql, args![id]).await?.map(|row| Request::read(&row)).transpose()
}

/// Someone looked at it and takes it on.
///
/// # Errors
/// [`PrivacyError::WrongState`] unless it is submitted.
pub async fn triage(tx: &mut Tx, id: Uuid, by: &str, now: Timestamp) -> Result<Request, PrivacyError> {
    let sql = "UPDATE privacy_requests SET state = 'triaged', triaged_at = $2, triaged_by = $3
               WHERE id = $1 AND state = 'submitted'";
    if tx.execute(sql, args![id, now, by]).await? == 0 {
        let from = find(tx, id).await?.state;
        return Err(PrivacyError::WrongState { from, to: RequestState::Triaged });
    }
    let triaged = find(tx, id).await?;
    record(tx, &triaged, by, "privacy.triaged", json!({}), now).await?;
    Ok(triaged)
}

/// It was refused, and why.
///
/// # Errors
/// [`PrivacyError::WrongState`] unless it is triaged, [`PrivacyError::Incomplete`] without a reason.
pub async fn reject(tx: &mut Tx, id: Uuid, by: &str, reason: &str, now: Timestamp) -> Result<Request, PrivacyError> {
    if reason.trim().is_empty() {
        return Err(PrivacyError::Incomplete("a rejection needs a reason"));
    }
    let sql = "UPDATE privacy_requests SET state = 'rejected', closed_at = $2, closed_by = $3, reason = $4
               WHERE id = $1 AND state = 'triaged'";
    let rejected = close(tx, id, sql, args![id, now, by, reason], RequestState::Rejected).await?;
    // Why is in the request: it is in somebody's own words, and may name people.
    record(tx, &rejected, by, "privacy.rejected", json!({}), now).await?;
    Ok(rejected)
}

/// The audit entry of something that was done to a request.
async fn record(
    tx: &mut Tx,
    request: &Request,
    by: &str,
    action: &str,
    mut detail: Value,
    now: Timestamp,
) -> Result<(), StoreError> {
    detail["kind"] = json!(request.kind);
    audit::append(tx, entry(&request.program, by, action, format!("privacy-request/{}", request.id), detail, now))
        .await?;
    Ok(())
}

async fn close(
    tx: &mut Tx,
    id: Uuid,
    sql: &str,
    args: &[super::Arg],
    to: RequestState,
) -> Result<Request, PrivacyError> {
    if tx.execute(sql, args).await? == 0 {
        let from = find(tx, id).await?.state;
        return Err(PrivacyError::WrongState { from, to });
    }
    find(tx, id).await
}

/// The compliance queue: a program's open requests and those of people who are in none, most urgent first, at most `limit`.
pub async fn queue(store: &Store, program: &str, limit: i64) -> Result<Vec<Request>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM privacy_requests WHERE program IN ($1, '') AND state IN ('submitted', 'triaged')
         ORDER BY due_at, id LIMIT $2"
    );
    store.all(&sql, args![program, limit]).await?.iter().map(Request::read).collect()
}

/// The requests of one person in every program, newest first.
pub async fn of_person(store: &Store, user_id: Uuid) -> Result<Vec<Request>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM privacy_requests WHERE user_id = $1 ORDER BY submitted_at DESC, id");
    store.all(&sql, args![user_id]).await?.iter().map(Request::read).collect()
}

/// How many open requests are past their due time by more than `older_than` (seed 002, section 5: 7 days).
pub async fn breaches(
    store: &Store,
    program: &str,
    older_than: SignedDuration,
    now: Timestamp,
) -> Result<i64, StoreError> {
    let before = now.checked_sub(older_than).unwrap_or(Timestamp::MIN);
    let sql = "SELECT COUNT(*) AS n FROM compliance_queue WHERE program IN ($1, '') AND due_at < $2";
    store.one(sql, args![program, before]).await?.get("n")
}

/// The figures of the compliance queue, of one gym in one cohort.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Metrics {
    /// The gym; empty: not known.
    pub gym_id: String,
    /// The cohort; empty: none.
    pub cohort: String,
    /// Requests that came in.
    pub submitted: i64,
    /// Of these, open.
    pub open: i64,
    /// Of the open ones, past their due time.
    pub breached: i64,
    /// Done.
    pub fulfilled: i64,
    /// Refused.
    pub rejected: i64,
    /// Closed after their due time.
    pub closed_late: i64,
}

/// The figures of the compliance queue by gym and cohort, as of `now`.
pub async fn metrics(store: &Store, program: &str, now: Timestamp) -> Result<Vec<Metrics>, StoreError> {
    let sql = "SELECT gym_id, cohort, COUNT(*) AS submitted,
            COUNT(CASE WHEN closed_at IS NULL THEN 1 END) AS open,
            COUNT(CASE WHEN closed_at IS NULL AND due_at < $2 THEN 1 END) AS breached,
            COUNT(CASE WHEN state = 'fulfilled' THEN 1 END) AS fulfilled,
            COUNT(CASE WHEN state = 'rejected' THEN 1 END) AS rejected,
            COUNT(CASE WHEN closed_at > due_at THEN 1 END) AS closed_late
        FROM privacy_requests WHERE program IN ($1, '') GROUP BY gym_id, cohort ORDER BY gym_id, cohort";
    let rows = store.all(sql, args![program, now]).await?;
    rows.iter()
        .map(|row| {
            Ok(Metrics {
                gym_id: row.get("gym_id")?,
                cohort: row.get("cohort")?,
                submitted: row.get("submitted")?,
                open: row.get("open")?,
                breached: row.get("breached")?,
                fulfilled: row.get("fulfilled")?,
                rejected: row.get("rejected")?,
                closed_late: row.get("closed_late")?,
            })
        })
        .collect()
}
