//! What a list is worth before anything is sent: problems by line, counts, digests (seed 004, "Cohort CSV").
//!
//! Errors (malformed, duplicate, empty) stop a list; warnings (too few of something, throw-away domains) need an
//! acknowledgement. Texts never hold an address.

use std::collections::{BTreeMap, BTreeSet};

use super::buckets::Buckets;
use super::fault::{Fault, Problem, Severity};
use super::list::{ListRow, RowDigest, RowView};

/// How many problems of each severity are kept in full; all are counted.
const KEPT_PROBLEMS: u64 = 1000;
/// How many distinct labels are counted one by one.
pub(super) const KEPT_LABELS: usize = 10_000;
/// How many ids of keys are kept.
const KEPT_KEYS: usize = 10;
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
    /// The ids of the keys of a list of keyed hashes; a handful of them at most.
    pub keys: BTreeSet<String>,
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
        if !row.key.is_empty() && !self.keys.contains(row.key) && self.keys.len() < KEPT_KEYS {
            self.keys.insert(row.key.to_ascii_lowercase());
        }
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
        self.sort_problems();
    }

    /// By line; what is about the list as a whole comes last.
    fn sort_problems(&mut self) {
        self.problems.sort_by_key(|problem| problem.line.unwrap_or(u64::MAX));
    }

    /// Reports everyone who is also in another cohort's list, `at` saying where a line of that is.
    pub fn find_elsewhere(&mut self, other: &Self, cohort: &str, refused: bool, at: impl Fn(u64) -> String) {
        let mut others = other.people.iter().peekable();
        let mut both = Vec::new();
        for (digest, line) in &self.people {
            let person = digest.person();
            while others.next_if(|(other, _)| other.person() < person).is_some() {}
            if let Some((other, other_line)) = others.peek()
                && other.person() == person
            {
                both.push((u64::from(*line), u64::from(*other_line)));
            }
        }
        both.sort_unstable();
        for (line, other_line) in both {
            let (cohort, place) = (cohort.to_owned(), at(other_line));
            self.report(Problem::at(line, Fault::AlsoIn { cohort, place, refused }));
        }
        self.sort_problems();
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
