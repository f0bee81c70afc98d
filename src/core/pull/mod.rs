//! What a pull request would do, as facts: people who come and go, mail that leaves, documents that change, and whose word that needs. As
//! fields for programs, as Markdown for forges, as text for terminals.
//!
//! Knows how two revisions of a program differ. Must not know: what is live, where lists lie, a forge.
//!
//! A pull request may be public: nothing that leaves here by [`markdown`] or by serialising holds an address, only its mask.

mod asks;
mod documents;
mod fields;
mod foreign;
mod lists;
mod markdown;
mod mask;
mod text;

use serde::Serialize;

use crate::desired::{ProgramDesired, error::Problem};
use crate::resources::Kind;

pub use asks::{Ask, AskKind};
pub use documents::{DocumentChange, Note, RowsChange, compare_documents};
pub use fields::FieldChange;
pub use lists::{
    ListBytes, ListChange, ListDifference, MASS_CHANGE_PERCENT, Mails, Opening, PersonChange, Waits, compare_list,
    openings,
};
pub use markdown::markdown;
pub use mask::{mask, masked};
pub use text::text;

/// People shown of each list.
pub const SHOWN: usize = 20;

/// What became of a document, a person or a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Change {
    /// It is new.
    Added,
    /// Something else is said of it.
    Changed,
    /// It is gone.
    Removed,
}

impl Change {
    /// The sign before its line.
    pub const fn sign(self) -> char {
        match self {
            Self::Added => '+',
            Self::Changed => '~',
            Self::Removed => '-',
        }
    }
}

/// How a pull request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Standing {
    /// Nothing would be applied: a document or a list is broken.
    Broken,
    /// Something in it waits for a person's acknowledgement.
    Waits,
    /// It can go in.
    Ready,
}

/// What a pull request would do.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Pull {
    /// The revision it is compared with, short.
    pub base: String,
    /// Its own, short.
    pub head: String,
    /// What is wrong with its documents and lists; then nothing of it is applied, and `programs` is empty.
    pub problems: Vec<Problem>,
    /// How many documents of the base are broken; then everything reads as new.
    #[serde(skip_serializing_if = "is_zero")]
    pub base_problems: usize,
    /// What would change, program by program; programs that stay as they are are left out.
    pub programs: Vec<ProgramPull>,
}

/// What would change in one program.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProgramPull {
    /// Its name.
    pub program: String,
    /// Whether it is new, gone, or changed.
    pub change: Change,
    /// Lists of people.
    pub lists: Vec<ListChange>,
    /// Invites that documents declare outside lists: one mail each.
    #[serde(skip_serializing_if = "is_nothing")]
    pub invites: u64,
    /// Documents of every kind.
    pub documents: Vec<DocumentChange>,
    /// Message templates, by file.
    pub templates: Vec<TemplateChange>,
    /// Whose word it needs.
    pub asks: Vec<Ask>,
}

/// A message template that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TemplateChange {
    /// Its file.
    pub file: String,
    /// How.
    pub change: Change,
    /// What is sent with it: `Cohort/pavia`, `RollbackPlan/closed-beta`.
    pub used_by: Vec<String>,
}

impl ProgramPull {
    /// What would change in one program; none when nothing does.
    pub fn new(
        (before, after): (Option<&ProgramDesired>, Option<&ProgramDesired>),
        lists: Vec<ListChange>,
        templates: Vec<TemplateChange>,
        rows: &[RowsChange],
    ) -> Option<Self> {
        let program = after.or(before)?.name().to_owned();
        let mut documents = compare_documents(before, after);
        rows.iter().for_each(|rows| documents::tell_rows(&mut documents, after, rows));
        if lists.is_empty() && templates.is_empty() && documents.is_empty() {
            return None;
        }
        let change = match (before, after) {
            (None, _) => Change::Added,
            (_, None) => Change::Removed,
            _ => Change::Changed,
        };
        let asks = asks::asks(before, after, &lists);
        let declared = after.iter().flat_map(|after| after.invites.values()).filter(|invite| {
            let had = before.is_some_and(|before| before.invites.contains_key(&invite.name));
            !had && invite.spec.revoked.is_none()
        });
        let invites = declared.count() as u64;
        Some(Self { program, change, lists, invites, documents, templates, asks })
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_nothing(count: &u64) -> bool {
    *count == 0
}

impl Pull {
    /// How it stands.
    pub fn standing(&self) -> Standing {
        if self.problems.iter().any(Problem::is_error) {
            Standing::Broken
        } else if self.asks().any(Ask::blocks) {
            Standing::Waits
        } else {
            Standing::Ready
        }
    }

    /// Whether it changes nothing that betagate reads.
    pub fn is_empty(&self) -> bool {
        self.programs.is_empty() && self.problems.is_empty()
    }

    /// Everything that needs somebody's word.
    pub fn asks(&self) -> impl Iterator<Item = &Ask> {
        self.programs.iter().flat_map(|program| &program.asks)
    }

    /// All of it in a line, for a commit status.
    pub fn headline(&self) -> String {
        let errors = self.problems.iter().filter(|problem| problem.is_error()).count();
        if errors > 0 {
            return format!("{} to mend: nothing of this would be applied", count(errors as u64, "problem"));
        }
        let lists = || self.programs.iter().flat_map(|program| &program.lists);
        let documents = || self.programs.iter().flat_map(|program| &program.documents);
        let sum = |pick: fn(&ListChange) -> u64| lists().map(pick).sum::<u64>();
        let mails = lists().filter_map(|list| list.mails.as_ref()).map(|mails| mails.count).sum::<u64>()
            + self.programs.iter().map(|program| program.invites).sum::<u64>();
        let mut parts = Vec::new();
        let mut put = |number: u64, text: String| {
            if number > 0 {
                parts.push(text);
            }
        };
        let (added, removed, changed) = (sum(|list| list.added), sum(|list| list.removed), sum(|list| list.changed));
        put(added, format!("+{}", people(added)));
        put(removed, format!("-{}", people(removed)));
        put(changed, format!("~{}", people(changed)));
        put(mails, count(mails, "mail"));
        let flags = documents().filter(|document| document.kind == Kind::Flag).count() as u64;
        put(flags, count(flags, "flag"));
        let others = documents().filter(|document| document.kind != Kind::Flag).count() as u64;
        put(others, count(others, if flags > 0 { "other document" } else { "document" }));
        let templates = self.programs.iter().map(|program| program.templates.len() as u64).sum();
        put(templates, count(templates, "template"));
        let said = if parts.is_empty() { "nothing changes".to_owned() } else { parts.join(", ") };
        match self.asks().filter(|ask| ask.blocks()).count() as u64 {
            0 => said,
            asked => format!("waits for {}: {said}", count(asked, "acknowledgement")),
        }
    }
}

/// A number and what it counts.
fn count(number: u64, what: &str) -> String {
    format!("{} {what}{}", grouped(number), if number == 1 { "" } else { "s" })
}

fn people(number: u64) -> String {
    format!("{} {}", grouped(number), if number == 1 { "person" } else { "people" })
}

/// A number with its thousands apart: a million rows is easily misread.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests;
