//! Product events: what people did, kept once by id, and the per-day rollups that the KPIs are counted from.
//!
//! Must not know: what a KPI is. Civil time ends here: an event's day is computed in the program's zone at ingest, and the
//! calendar (when each day begins) is kept as rows, so that no SQL ever needs a zone.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::{Arg, StoreError, Tx};
use crate::args;

mod calendar;
mod staff;
#[cfg(test)]
mod tests;

pub use calendar::{date_of, day_number, day_of, set_first_day, start_of_day};
pub use staff::{Staff, put_staff, staff};

use calendar::keep_calendar;

/// How far ahead of the receiver's clock an event may lie: the clocks of phones are wrong, but not by days.
const AHEAD: SignedDuration = SignedDuration::from_hours(24);
/// Rows written by one statement; with ten columns far below either database's limit of binds.
const CHUNK: usize = 200;

/// What happened. Every kind but [`SyncJob`](EventKind::SyncJob), [`ChainDay`](EventKind::ChainDay) and
/// [`StaffActive`](EventKind::StaffActive) makes the person active on that day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// A workout was logged.
    WorkoutLogged,
    /// A reaction in the feed.
    Reaction,
    /// A comment in the feed.
    Comment,
    /// A class booking was tried.
    BookingAttempted,
    /// A class booking was made.
    BookingMade,
    /// The person went on a class's waiting list.
    WaitlistJoined,
    /// The person checked in at a gym.
    CheckIn,
    /// The application was opened.
    AppOpened,
    /// The product says that the person's chain was kept on this day (a rest day, for instance).
    ChainDay,
    /// A sync job ended; see [`Event::ok`] and [`Event::connected`].
    SyncJob,
    /// A member of a gym's staff worked with the product.
    StaffActive,
}

impl EventKind {
    /// Every kind, as events name it.
    pub const ALL: [(&'static str, Self); 11] = [
        ("workout_logged", Self::WorkoutLogged),
        ("reaction", Self::Reaction),
        ("comment", Self::Comment),
        ("booking_attempted", Self::BookingAttempted),
        ("booking_made", Self::BookingMade),
        ("waitlist_joined", Self::WaitlistJoined),
        ("check_in", Self::CheckIn),
        ("app_opened", Self::AppOpened),
        ("chain_day", Self::ChainDay),
        ("sync_job", Self::SyncJob),
        ("staff_active", Self::StaffActive),
    ];

    /// Its name in events and in the database.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }

    /// Whether such an event is something the person did (seed 002's "active users").
    pub fn makes_active(self) -> bool {
        !matches!(self, Self::SyncJob | Self::ChainDay | Self::StaffActive)
    }
}

impl FromStr for EventKind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|(known, _)| *known == name);
        found.map(|(_, kind)| *kind).ok_or_else(|| {
            let known: Vec<&str> = Self::ALL.iter().map(|(known, _)| *known).collect();
            format!("no event kind `{name}`; there are {}", known.join(", "))
        })
    }
}

/// One event, as it comes in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// Chosen by the sender; the same id is kept once, the first one wins.
    pub id: Uuid,
    /// The person (or the member of staff).
    pub user_id: Uuid,
    /// The gym it happened at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gym_id: Option<String>,
    /// What happened.
    pub kind: EventKind,
    /// When.
    pub occurred_at: Timestamp,
    /// Whether a sync job succeeded; required for `sync_job`, and for nothing else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ok: Option<bool>,
    /// Whether the person's connection worked when the sync job ran; true when left out. Only for `sync_job`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connected: Option<bool>,
    /// Anything else the product wants to keep with it; an object of at most 8 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<serde_json::Map<String, Value>>,
}

/// What [`ingest`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Ingested {
    /// Events kept now.
    pub accepted: u64,
    /// Events whose id was there already, or twice in the batch.
    pub duplicates: u64,
}

/// Why a batch was not taken. Nothing of it is kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IngestError {
    /// An event does not make sense. Terminal: the sender must mend it.
    #[error("event {index}: {why}")]
    Bad {
        /// Its place in the batch, from 0.
        index: usize,
        /// What is wrong with it.
        why: String,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Takes a batch of events of one program: keeps the new ones and brings the rollups up, all in the caller's transaction.
/// Idempotent by event id; late events land on the day on which they occurred.
///
/// # Errors
/// [`IngestError::Bad`] names the first event that does not make sense; then nothing may be committed.
pub async fn ingest(
    tx: &mut Tx,
    program: &str,
    zone: &TimeZone,
    received_at: Timestamp,
    events: Vec<Event>,
) -> Result<Ingested, IngestError> {
    for (index, event) in events.iter().enumerate() {
        event.check(received_at).map_err(|why| IngestError::Bad { index, why })?;
    }
    let sent = events.len() as u64;
    // By id: the first of a kind wins, and two batches lock in the same order.
    let mut by_id = BTreeMap::new();
    for event in events {
        by_id.entry(event.id).or_insert(event);
    }
    let events: Vec<(i64, Event)> = by_id.into_values().map(|event| (day_of(event.occurred_at, zone), event)).collect();
    let days = events.iter().map(|(day, _)| *day).chain([day_of(received_at, zone)]);
    keep_calendar(tx, program, zone, days).await?;
    let fresh = insert(tx, program, received_at, &events).await?;
    let accepted: Vec<&(i64, Event)> = events.iter().filter(|(_, event)| fresh.contains(&event.id)).collect();
    roll_up(tx, program, &accepted).await?;
    Ok(Ingested { accepted: accepted.len() as u64, duplicates: sent - accepted.len() as u64 })
}

impl Event {
    fn check(&self, received_at: Timestamp) -> Result<(), String> {
        if self.occurred_at > received_at.checked_add(AHEAD).unwrap_or(Timestamp::MAX) {
            return Err("occurred_at is more than a day in the future".into());
        }
        if self.occurred_at < Timestamp::UNIX_EPOCH {
            return Err("occurred_at is before 1970".into());
        }
        if self.gym_id.as_ref().is_some_and(|gym| gym.is_empty() || gym.len() > 200) {
            return Err("gym_id has 1 to 200 bytes".into());
        }
        let sync = self.kind == EventKind::SyncJob;
        if sync && self.ok.is_none() {
            return Err("a sync_job needs ok: true or false".into());
        }
        if !sync && (self.ok.is_some() || self.connected.is_some()) {
            return Err(format!("ok and connected belong to sync_job, not to {}", self.kind.name()));
        }
        if self.kind == EventKind::StaffActive && self.gym_id.is_none() {
            return Err("staff_active needs a gym_id".into());
        }
        if self.data.as_ref().is_some_and(|data| Value::from(data.clone()).to_string().len() > 8192) {
            return Err("data is larger than 8 KiB".into());
        }
        Ok(())
    }

    fn body(&self) -> Value {
        let mut body = self.data.clone().unwrap_or_default();
        if let Some(ok) = self.ok {
            body.insert("ok".into(), ok.into());
            body.insert("connected".into(), self.connected.unwrap_or(true).into());
        }
        body.into()
    }
}

/// `($1, $2, …), (…)` for so many rows and columns.
fn places(rows: usize, columns: usize) -> String {
    let row = |r: usize| {
        let binds: Vec<String> = (1..=columns).map(|c| format!("${}", r * columns + c)).collect();
        format!("({})", binds.join(", "))
    };
    (0..rows).map(row).collect::<Vec<_>>().join(", ")
}

/// Keeps the events whose ids are new and says which these are.
async fn insert(
    tx: &mut Tx,
    program: &str,
    received_at: Timestamp,
    events: &[(i64, Event)],
) -> Result<BTreeSet<Uuid>, StoreError> {
    let mut fresh = BTreeSet::new();
    for chunk in events.chunks(CHUNK) {
        let mut args: Vec<Arg> = Vec::with_capacity(chunk.len() * 9);
        for (day, event) in chunk {
            args.extend([program.into(), event.id.into(), event.user_id.into(), (&event.gym_id).into()]);
            args.extend([event.kind.name().into(), (*day).into(), event.occurred_at.into(), received_at.into()]);
            args.push(event.body().into());
        }
        let sql = format!(
            "INSERT INTO product_events (program, id, user_id, gym_id, kind, day, occurred_at, received_at, data)
             VALUES {} ON CONFLICT (program, id) DO NOTHING RETURNING id",
            places(chunk.len(), 9)
        );
        for row in tx.all(&sql, &args).await? {
            fresh.insert(row.get("id")?);
        }
    }
    Ok(fresh)
}

/// The counting columns of `person_days`, in the order of [`person_counts`].
const PERSON_COUNTS: [&str; 10] = [
    "active",
    "logs",
    "reactions",
    "comments",
    "booking_attempts",
    "bookings",
    "waitlists",
    "checkins",
    "chain_days",
    "staff",
];
/// The counting columns of `sync_days`.
const SYNC_COUNTS: [&str; 3] = ["ok", "total", "unconnected"];

fn person_counts(kind: EventKind) -> [i64; 10] {
    let column = match kind {
        EventKind::WorkoutLogged => "logs",
        EventKind::Reaction => "reactions",
        EventKind::Comment => "comments",
        EventKind::BookingAttempted => "booking_attempts",
        EventKind::BookingMade => "bookings",
        EventKind::WaitlistJoined => "waitlists",
        EventKind::CheckIn => "checkins",
        EventKind::ChainDay => "chain_days",
        EventKind::StaffActive => "staff",
        EventKind::AppOpened | EventKind::SyncJob => "",
    };
    let active = if kind.makes_active() { "active" } else { "" };
    PERSON_COUNTS.map(|name| i64::from(name == column || name == active))
}

fn add<const N: usize>(sum: &mut [i64; N], more: [i64; N]) {
    for (sum, more) in sum.iter_mut().zip(more) {
        *sum += more;
    }
}

async fn roll_up(tx: &mut Tx, program: &str, events: &[&(i64, Event)]) -> Result<(), StoreError> {
    // Sorted, so that two transactions never wait for each other's rows in a ring.
    let mut persons: BTreeMap<(Uuid, &str, i64), [i64; 10]> = BTreeMap::new();
    let mut syncs: BTreeMap<(Uuid, i64), [i64; 3]> = BTreeMap::new();
    for (day, event) in events {
        if event.kind == EventKind::SyncJob {
            let (ok, connected) = (event.ok.unwrap_or(false), event.connected.unwrap_or(true));
            let counts = [connected && ok, connected, !connected].map(i64::from);
            add(syncs.entry((event.user_id, *day)).or_default(), counts);
        } else {
            let gym = event.gym_id.as_deref().unwrap_or_default();
            add(persons.entry((event.user_id, gym, *day)).or_default(), person_counts(event.kind));
        }
    }
    let persons: Vec<Vec<Arg>> = persons
        .into_iter()
        .map(|((user, gym, day), counts)| row([program.into(), user.into(), gym.into(), day.into()], counts))
        .collect();
    add_up(tx, "person_days", &["program", "user_id", "gym_id", "day"], &PERSON_COUNTS, &persons).await?;
    let syncs: Vec<Vec<Arg>> =
        syncs.into_iter().map(|((user, day), counts)| row([program.into(), user.into(), day.into()], counts)).collect();
    add_up(tx, "sync_days", &["program", "user_id", "day"], &SYNC_COUNTS, &syncs).await
}

fn row<const K: usize, const N: usize>(key: [Arg; K], counts: [i64; N]) -> Vec<Arg> {
    key.into_iter().chain(counts.map(Arg::Int)).collect()
}

/// Adds counts to the rows of a rollup, making those that are missing.
async fn add_up(tx: &mut Tx, table: &str, key: &[&str], counts: &[&str], rows: &[Vec<Arg>]) -> Result<(), StoreError> {
    let columns: Vec<&str> = key.iter().chain(counts).copied().collect();
    let sums: Vec<String> = counts.iter().map(|c| format!("{c} = {table}.{c} + excluded.{c}")).collect();
    for chunk in rows.chunks(CHUNK) {
        let sql = format!(
            "INSERT INTO {table} ({}) VALUES {} ON CONFLICT ({}) DO UPDATE SET {}",
            columns.join(", "),
            places(chunk.len(), columns.len()),
            key.join(", "),
            sums.join(", ")
        );
        tx.execute(&sql, &chunk.concat()).await?;
    }
    Ok(())
}

/// A person's events in every program, oldest first, as they go into a copy of their data.
pub async fn of_person(tx: &mut Tx, user_id: Uuid) -> Result<Vec<Value>, StoreError> {
    let sql = format!(
        "SELECT program, id, gym_id, kind, occurred_at, data FROM product_events
         WHERE {OF_PERSON} ORDER BY occurred_at, program, id"
    );
    let rows = tx.all(&sql, args![user_id]).await?;
    rows.iter()
        .map(|row| {
            Ok(serde_json::json!({
                "program": row.get::<String>("program")?,
                "id": row.get::<Uuid>("id")?,
                "gym_id": row.get::<Option<String>>("gym_id")?,
                "kind": row.get::<String>("kind")?,
                "occurred_at": row.get::<Timestamp>("occurred_at")?.to_string(),
                "data": row.get::<Value>("data")?,
            }))
        })
        .collect()
}

/// A person's events, found by the index that begins with the program: each program that has events has a calendar.
const OF_PERSON: &str = "program IN (SELECT program FROM program_calendar) AND user_id = $1";

/// Erases the events of one person in every program and says how many there were. The counts of the rollups stay: they hold
/// a random id that leads to nobody once the account is gone, and a verdict that was sealed on them can still be explained.
pub async fn erase_person(tx: &mut Tx, user_id: Uuid) -> Result<u64, StoreError> {
    tx.execute("DELETE FROM gym_staff WHERE user_id = $1", args![user_id]).await?;
    tx.execute(&format!("DELETE FROM product_events WHERE {OF_PERSON}"), args![user_id]).await
}
