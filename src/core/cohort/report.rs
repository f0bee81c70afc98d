//! What a list is worth before anything is sent: problems by line, counts, digests (seed 004, "Cohort CSV").
//!
//! Errors (malformed, duplicate, empty) stop a list; warnings (too few of something, throw-away domains) need an
//! acknowledgement. Texts never hold an address.

use std::collections::BTreeMap;

use super::address::AddressFault;
use super::buckets::Buckets;
use super::list::{ListRow, RowDigest, RowView};

/// How many problems of each severity are kept in full; all are counted.
const KEPT_PROBLEMS: u64 = 1000;
/// How many distinct labels are counted one by one.
pub(super) const KEPT_LABELS: usize = 10_000;
/// How many rows are shown of a list.
pub(super) const SHOWN: usize = 20;

/// The least a list must have; `None` or a missing role asks for nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Rows.
    pub rows: Option<u64>,
    /// Distinct labels.
    pub labels: Option<u64>,
    /// Rows of each role.
    pub roles: BTreeMap<String, u64>,
}

impl Needs {
    /// What seed 004 asks for: 50 rows, 3 labels, 5 creators, 20 listeners.
    pub fn soft_launch() -> Self {
        let roles = [("creator".to_owned(), 5), ("listener".to_owned(), 20)].into();
        Self { rows: Some(50), labels: Some(3), roles }
    }
}

/// Whether a problem stops the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Needs an acknowledgement.
    Warning,
    /// Stops the list.
    Error,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The list has no row.
    #[error("the list is empty")]
    Empty,
    /// Not text.
    #[error("the line is not UTF-8 text")]
    NotUtf8,
    /// A quote without its end.
    #[error("a quoted field is opened here and never closed")]
    UnclosedQuote,
    /// Longer than 64 KiB.
    #[error("the line is longer than 64 KiB")]
    LineTooLong,
    /// A header without its one required column.
    #[error("the header has no email column")]
    NoEmailColumn,
    /// A column that means nothing here.
    #[error("unknown column {name:?}; expected email, label, role, invited_by, locale or note{}", nearest.as_ref().map(|n| format!(" (did you mean {n}?)")).unwrap_or_default())]
    UnknownColumn {
        /// As written.
        name: String,
        /// The known one that looks like it.
        nearest: Option<String>,
    },
    /// The same column twice.
    #[error("the column {0} is there twice")]
    RepeatedColumn(String),
    /// More fields than columns.
    #[error("{found} fields where {expected} are expected; a field that holds a comma is written in quotes")]
    TooManyFields {
        /// In the record.
        found: usize,
        /// By the header, or 3.
        expected: usize,
    },
    /// No usable address.
    #[error("{0}")]
    Address(AddressFault),
    /// Longer than 200 characters (a note: 2000).
    #[error("the field {0} is too long")]
    FieldTooLong(&'static str),
    /// A character that doesn't print.
    #[error("the field {0} holds a control character")]
    ControlCharacter(&'static str),
    /// The same person again.
    #[error("the same address as on line {first}")]
    Duplicate {
        /// Where it stood first.
        first: u64,
    },
    /// Fewer rows than asked for.
    #[error("{found} rows, where {needed} are asked for")]
    FewRows {
        /// There.
        found: u64,
        /// Asked for.
        needed: u64,
    },
    /// Fewer labels than asked for.
    #[error("{found} distinct labels, where {needed} are asked for")]
    FewLabels {
        /// There.
        found: u64,
        /// Asked for.
        needed: u64,
    },
    /// Fewer of a role than asked for.
    #[error("{found} of role {role}, where {needed} are asked for")]
    FewOfRole {
        /// Which.
        role: String,
        /// There.
        found: u64,
        /// Asked for.
        needed: u64,
    },
    /// A throw-away mail service.
    #[error("{domain} is a throw-away mail service")]
    Disposable {
        /// Which.
        domain: String,
    },
}

impl Fault {
    /// Whether it stops the list.
    pub fn severity(&self) -> Severity {
        match self {
            Self::FewRows { .. } | Self::FewLabels { .. } | Self::FewOfRole { .. } | Self::Disposable { .. } => {
                Severity::Warning
            }
            _ => Severity::Error,
        }
    }
}

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The line, from 1; `None` when it is about the list as a whole.
    pub line: Option<u64>,
    /// What is wrong.
    pub fault: Fault,
}

impl Problem {
    pub(super) fn at(line: u64, fault: Fault) -> Self {
        Self { line: Some(line), fault }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line}: {}", self.fault),
            None => write!(f, "{}", self.fault),
        }
    }
}

/// What a check of a list came to, with the command line's exit codes (seed 004).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing to say.
    Clean,
    /// It can't be used.
    Broken,
    /// It can be used once its warnings are acknowledged.
    NeedsAcknowledgement,
}

impl Outcome {
    /// 0, 1 or 2.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Clean => 0,
            Self::Broken => 1,
            Self::NeedsAcknowledgement => 2,
        }
    }
}

/// People in the order of their digests, and of their lines.
fn order((digest, line): &(RowDigest, u32)) -> (u128, u32) {
    (u128::from_be_bytes(digest.person()), *line)
}

/// A list summed up, without its rows.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    /// SHA-256 of how it is read and of every byte of it: the same digest is the same list.
    pub digest: [u8; 32],
    /// People in it.
    pub rows: u64,
    /// How many of each label; beyond 10,000 labels the rest is not counted one by one.
    pub labels: BTreeMap<String, u64>,
    /// How many of each role.
    pub roles: BTreeMap<String, u64>,
    /// How many errors there are.
    pub errors: u64,
    /// How many warnings there are.
    pub warnings: u64,
    /// The first thousand of each, by line.
    pub problems: Vec<Problem>,
    /// The first twenty rows.
    pub first: Vec<ListRow>,
    /// The sums by which a later version is compared.
    pub buckets: Buckets,
    /// Everyone, sorted by digest, with the line each stands on.
    pub people: Vec<(RowDigest, u32)>,
}

impl Survey {
    /// What the check came to.
    pub fn outcome(&self) -> Outcome {
        match (self.errors, self.warnings) {
            (0, 0) => Outcome::Clean,
            (0, _) => Outcome::NeedsAcknowledgement,
            _ => Outcome::Broken,
        }
    }

    /// The digest as text.
    pub fn digest_hex(&self) -> String {
        data_encoding::HEXLOWER.encode(&self.digest)
    }

    pub(super) fn report(&mut self, problem: Problem) {
        let count = match problem.fault.severity() {
            Severity::Error => &mut self.errors,
            Severity::Warning => &mut self.warnings,
        };
        *count += 1;
        if *count <= KEPT_PROBLEMS {
            self.problems.push(problem);
        }
    }

    pub(super) fn count(&mut self, row: &RowView<'_>) {
        let digest = row.digest();
        self.rows += 1;
        self.buckets.add(digest);
        self.people.push((digest, u32::try_from(row.line).unwrap_or(u32::MAX)));
        for (counts, name) in [(&mut self.labels, row.label), (&mut self.roles, row.role)] {
            if let Some(count) = counts.get_mut(name) {
                *count += 1;
            } else if !name.is_empty() && counts.len() < KEPT_LABELS {
                counts.insert(name.to_owned(), 1);
            }
        }
        if self.first.len() < SHOWN {
            self.first.push(row.to_row());
        }
    }

    /// Sorts a part, beside others.
    pub(super) fn sort(&mut self) {
        self.people.sort_unstable_by_key(order);
    }

    /// Reports everyone who is there again, and takes the repeats out.
    pub(super) fn find_duplicates(&mut self) {
        // Parts are sorted already, which a stable sort makes use of.
        self.people.sort_by_key(order);
        let mut duplicates = Vec::new();
        let mut first: Option<([u8; 16], u32)> = None;
        self.people.retain(|(digest, line)| match first {
            Some((person, first_line)) if person == digest.person() => {
                duplicates.push((u64::from(*line), u64::from(first_line)));
                false
            }
            _ => {
                first = Some((digest.person(), *line));
                true
            }
        });
        duplicates.sort_unstable();
        self.rows -= duplicates.len() as u64;
        for (line, first) in duplicates {
            self.report(Problem::at(line, Fault::Duplicate { first }));
        }
        self.problems.sort_by_key(|problem| problem.line);
    }

    pub(super) fn weigh(&mut self, needs: &Needs) {
        let mut found = Vec::new();
        if self.rows == 0 && self.errors == 0 {
            found.push(Fault::Empty);
        }
        if let Some(needed) = needs.rows.filter(|needed| self.rows < *needed) {
            found.push(Fault::FewRows { found: self.rows, needed });
        }
        let labels = self.labels.len() as u64;
        if let Some(needed) = needs.labels.filter(|needed| labels < *needed) {
            found.push(Fault::FewLabels { found: labels, needed });
        }
        for (role, needed) in &needs.roles {
            let there = self.roles.get(role).copied().unwrap_or(0);
            if there < *needed {
                found.push(Fault::FewOfRole { role: role.clone(), found: there, needed: *needed });
            }
        }
        for fault in found {
            self.report(Problem { line: None, fault });
        }
    }
}
