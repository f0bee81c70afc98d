//! What can be wrong with a list, in words and by a short name. Texts never hold an address.
//!
//! Must not know: how a list is read, what becomes of one with problems.

use super::address::AddressFault;

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
    #[error("the line is not UTF-8 text (Latin-1 or Windows-1252, perhaps): save the file as UTF-8")]
    NotUtf8,
    /// Two bytes a character.
    #[error("the file is UTF-16 text: save it as UTF-8")]
    Utf16,
    /// A byte that no text has.
    #[error("the line holds a NUL byte")]
    Nul,
    /// Line ends of long ago.
    #[error("lines end with a carriage return alone: save the file with the line ends of Unix or Windows")]
    CarriageReturns,
    /// Columns that are not separated by commas.
    #[error("the columns are separated by {} here, where a list separates them by commas", if *found == '\t' { "tabs".to_owned() } else { format!("'{found}'") })]
    Separator {
        /// What separates them.
        found: char,
    },
    /// A quote without its end.
    #[error("a quoted field is opened here and never closed")]
    UnclosedQuote,
    /// Longer than 64 KiB.
    #[error("the line is longer than 64 KiB")]
    LineTooLong,
    /// A header without its one required column.
    #[error("the header has no email column")]
    NoEmailColumn,
    /// The same, of a list of keyed hashes.
    #[error("the header has no hash column, which a list of keyed hashes has in place of email")]
    NoHashColumn,
    /// An address or anything else where a keyed hash stands.
    #[error("not a keyed hash: KEY:HASH, as betagate invite hash writes it")]
    NotHash,
    /// A column that means nothing here.
    #[error("unknown column {name:?}; expected {first}, label, role, invited_by, locale or note{}", nearest.as_ref().map(|n| format!(" (did you mean {n}?)")).unwrap_or_default())]
    UnknownColumn {
        /// As written.
        name: String,
        /// `email`, or `hash` in a list of keyed hashes.
        first: &'static str,
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
    /// The same person in another cohort of the program.
    #[error("the same person is in cohort {cohort} ({place})")]
    AlsoIn {
        /// The other cohort.
        cohort: String,
        /// Where: `cohorts/lyon.csv:12`.
        place: String,
        /// Whether the program refuses it.
        refused: bool,
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
            Self::FewRows { .. }
            | Self::FewLabels { .. }
            | Self::FewOfRole { .. }
            | Self::Disposable { .. }
            | Self::AlsoIn { refused: false, .. } => Severity::Warning,
            _ => Severity::Error,
        }
    }

    /// A name for programs that does not change with the words.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::NotUtf8 => "not-utf-8",
            Self::Utf16 => "utf-16",
            Self::Nul => "nul",
            Self::CarriageReturns => "carriage-returns",
            Self::Separator { .. } => "separator",
            Self::UnclosedQuote => "unclosed-quote",
            Self::LineTooLong => "line-too-long",
            Self::NoEmailColumn | Self::NoHashColumn => "missing-column",
            Self::UnknownColumn { .. } => "unknown-column",
            Self::RepeatedColumn(_) => "repeated-column",
            Self::TooManyFields { .. } => "too-many-fields",
            Self::Address(_) => "malformed",
            Self::NotHash => "not-a-hash",
            Self::FieldTooLong(_) => "field-too-long",
            Self::ControlCharacter(_) => "control-character",
            Self::Duplicate { .. } => "duplicate",
            Self::AlsoIn { .. } => "in-another-cohort",
            Self::FewRows { .. } => "few-rows",
            Self::FewLabels { .. } => "few-labels",
            Self::FewOfRole { .. } => "few-of-role",
            Self::Disposable { .. } => "disposable",
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
