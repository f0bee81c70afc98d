//! Bringing a cohort's list into `beta_invites`, at any length: what differs is found by digests, shown, then carried out.
//!
//! Knows how two versions of a list are compared and what becomes of the rows. Must not know where lists lie in a
//! source, who acknowledged a warning, or mail.
//!
//! A list whose digest is the one in the database costs one reading of its file. Else the sums of its 256 buckets tell
//! which rows of the database to read; only people who differ are looked at again. A first list is copied straight in.

mod carry;
mod gone;
mod hashed;
#[cfg(test)]
mod long_tests;
mod prepare;
#[cfg(test)]
mod tests;
mod write;

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;

use uuid::Uuid;

pub use carry::{Brought, Writer, bring_in};
pub use gone::{GoneCohort, is_back, known_cohorts, look_at_gone, take_back};
pub use prepare::{prepare, prepare_beside};

use super::{Store, StoreError};
use crate::args;
use crate::core::cohort::{Buckets, ListOptions, ReadAs, RowDigest, Survey, hash_of_norm, survey};

/// People shown of a change.
const SHOWN: usize = 20;

/// Where a list's bytes are; they are read more than once.
#[derive(Clone)]
pub enum ListSource {
    /// A file.
    File(PathBuf),
    /// In memory: a Git blob, a secret, inline members written out as CSV.
    Bytes(Arc<[u8]>),
}

impl ListSource {
    /// Its bytes, from the start.
    ///
    /// # Errors
    /// When the file can't be opened.
    pub fn open(&self) -> io::Result<Box<dyn Read + Send>> {
        Ok(match self {
            Self::File(path) => Box::new(File::open(path)?),
            Self::Bytes(bytes) => Box::new(io::Cursor::new(Arc::clone(bytes))),
        })
    }
}

/// Which list, of which cohort.
#[derive(Clone)]
pub struct CohortList {
    /// The program.
    pub program: String,
    /// The cohort.
    pub cohort: String,
    /// Its bytes.
    pub source: ListSource,
}

/// Another cohort's list, whose people are looked for in a list.
#[derive(Clone)]
pub struct Beside {
    /// The other cohort.
    pub cohort: String,
    /// Its bytes.
    pub source: ListSource,
    /// How its rows are told from each other.
    pub read_as: ReadAs,
    /// Whether someone in both is refused, and not only warned of.
    pub refused: bool,
    /// Where a line of it is, in words.
    pub at: Arc<dyn Fn(u64) -> String + Send + Sync>,
}

/// Checks a list, and who of it is in the lists beside it. One that can't be read is passed over: whoever checks that one is told. Blocking.
///
/// # Errors
/// When the list can't be read; what is wrong with it is in the survey.
pub fn survey_beside(source: &ListSource, options: &ListOptions, beside: &[Beside]) -> io::Result<Survey> {
    let mut found = survey(source.open()?, options)?;
    for other in beside {
        let options = ListOptions { read_as: other.read_as, ..ListOptions::default() };
        if let Ok(read) = other.source.open().and_then(|input| survey(input, &options)) {
            found.find_elsewhere(&read, &other.cohort, other.refused, |line| (other.at)(line));
        }
    }
    Ok(found)
}

/// The list that a cohort's rows are from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListInForce {
    /// Its digest.
    pub digest: String,
    /// The digest of the change by which it came in, where that is known.
    pub change: Option<String>,
}

/// The list that a cohort's rows are from; `None` before the first.
///
/// # Errors
/// The database's.
pub async fn in_force(store: &Store, program: &str, cohort: &str) -> Result<Option<ListInForce>, StoreError> {
    let sql = "SELECT list_digest, list_change FROM cohort_state
        WHERE program = $1 AND cohort = $2 AND list_digest IS NOT NULL";
    let Some(row) = store.opt(sql, args![program, cohort]).await? else { return Ok(None) };
    Ok(Some(ListInForce { digest: row.get("list_digest")?, change: row.get("list_change")? }))
}

/// What happens to a person of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Is invited.
    Added,
    /// The unused invite is revoked; someone who is in stays in.
    Removed,
    /// Other words are said of the same person.
    Changed,
}

/// One person in whom two versions of a list differ.
#[derive(Clone, PartialEq, Eq)]
pub struct Shown {
    /// What happens.
    pub change: Change,
    /// The address as it was given; the beginning of its hash, where only that is known.
    pub email: String,
    /// The label.
    pub label: String,
    /// Whether the person is removed from the list and in already.
    pub is_member: bool,
}

impl std::fmt::Debug for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shown").field("change", &self.change).field("label", &self.label).finish_non_exhaustive()
    }
}

/// What bringing a list in would do: all that a plan needs to know of it, whatever its length.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListDelta {
    /// Names the change from the one list to the other (`core::cohort::change_digest`); [`bring_in`] refuses when either has moved on.
    pub digest: String,
    /// The digest of the list that the rows are from now; `None` before the first.
    pub from: Option<String>,
    /// The digest of the list.
    pub to: String,
    /// How many people the list in the database has.
    pub rows_before: u64,
    /// How many people the list has.
    pub rows: u64,
    /// How many are invited.
    pub added: u64,
    /// How many are gone from the list.
    pub removed: u64,
    /// How many of those are in, and stay in: a warning.
    pub removed_members: u64,
    /// Of how many something else is said.
    pub changed: u64,
    /// How many of those who would have been added were erased: they are passed over.
    pub erased: u64,
    /// The first twenty: by line, then who is gone.
    pub first: Vec<Shown>,
}

impl ListDelta {
    /// Whether there is nothing to do for any row.
    pub fn is_empty(&self) -> bool {
        self.added == 0 && self.removed == 0 && self.changed == 0
    }

    /// Which part of the list in the database would go, from 0 to 1 (the guard against mass changes).
    pub fn share_removed(&self) -> f64 {
        if self.rows_before == 0 { 0.0 } else { self.removed as f64 / self.rows_before as f64 }
    }
}

/// A checked list and what bringing it in would do; hand it to [`bring_in`], now or after an acknowledgement.
pub struct Prepared {
    /// Counts, problems, outcome. Its `people` have been taken out.
    pub survey: Survey,
    /// What would happen.
    pub delta: ListDelta,
    work: Work,
    buckets: Buckets,
    read_as: ReadAs,
}

/// How someone is named of whom only a keyed hash is known.
fn named(email: &str, email_norm: &str) -> String {
    match hash_of_norm(email_norm) {
        Some(hash) if email.is_empty() => format!("hash {}…", data_encoding::HEXLOWER.encode(&hash[..6])),
        _ => email.to_owned(),
    }
}

/// The rows that have to be written.
enum Work {
    /// The digest is the same.
    Nothing,
    /// The cohort has no row yet, and nobody was ever erased.
    Everyone,
    /// Who stands on these lines, and so, is added or changed (ascending); these rows go.
    Some { lines: Vec<(u32, RowDigest)>, gone: Vec<Uuid> },
}

/// Why a list is not brought in.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// The file can't be read.
    #[error("the list can't be read: {0}")]
    Read(#[from] io::Error),
    /// The list has errors; they are in the survey.
    #[error("the list has {} error(s)", .0.errors)]
    Broken(Box<Survey>),
    /// Its keyed hashes are another key's.
    #[error("its hashes are of key {}, and this installation's is {ours}: make them here with betagate invite hash", .theirs.join(", "))]
    OtherKey {
        /// The ids of the keys of the list.
        theirs: Vec<String>,
        /// The id of ours.
        ours: String,
    },
    /// The list, or the rows in the database, are no longer what the delta was made from: prepare it again.
    #[error("the list or the cohort has changed since it was looked at")]
    Stale,
    /// The work behind the reading was cut off.
    #[error("reading the list was interrupted")]
    Interrupted,
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ListError {
    /// Whether the same call may work later without anybody changing anything.
    pub fn retryable(&self) -> bool {
        match self {
            Self::Store(error) => error.retryable(),
            Self::Interrupted => true,
            Self::Read(_) | Self::Broken(_) | Self::OtherKey { .. } | Self::Stale => false,
        }
    }
}
