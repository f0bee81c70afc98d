//! A list as a stream of rows, in bounded memory: a million rows pass through here one at a time.
//!
//! Must not know: what other rows there are (duplicates are the survey's), where the bytes come from.

use std::borrow::Cow;
use std::io::{self, Read};

use sha2::{Digest, Sha256};
use xxhash_rust::xxh3::xxh3_128;

use super::address::{AddressRules, normalise_cow};
use super::columns::Columns;
use super::fault::{Fault, Problem};
use super::hashed::{Hashed, hashed};
use super::lines::{LineFault, Lines, fields};
use super::report::Needs;

/// The longest of each field, in characters; the address has bounds of its own.
const MAX_FIELD: usize = 200;
const MAX_NOTE: usize = 2000;

/// How the rows of a list are told from each other: part of what its digest is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadAs {
    /// Which spellings are one person.
    pub addresses: AddressRules,
    /// Keyed hashes stand in place of addresses.
    pub hashed: bool,
}

impl From<AddressRules> for ReadAs {
    fn from(addresses: AddressRules) -> Self {
        Self { addresses, hashed: false }
    }
}

/// How a list is read, and what is asked of it.
#[derive(Clone, Debug, Default)]
pub struct ListOptions {
    /// How its rows are told from each other.
    pub read_as: ReadAs,
    /// What the list must have; less is a warning.
    pub needs: Needs,
    /// Throw-away domains beside the built-in ones, normalised.
    pub disposable: Vec<String>,
}

/// One person of a list. Empty fields are empty texts.
#[derive(Clone, PartialEq, Eq)]
pub struct ListRow {
    /// The line it begins on, from 1.
    pub line: u64,
    /// The address as it was written: mail goes here. Empty in a list of keyed hashes.
    pub email: String,
    /// The address as it is compared, or `hash:` and its keyed hash.
    pub email_norm: String,
    /// The cohort label (seed 004).
    pub label: String,
    /// The role: its column, or the label's prefix (`creator-lyon` is a `creator`).
    pub role: String,
    /// Who asked for this person.
    pub invited_by: String,
    /// The language for mail.
    pub locale: String,
    /// Anything else.
    pub note: String,
}

/// Tells two versions of a list apart, row by row: which person, and what is said of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowDigest(pub [u8; 32]);

impl RowDigest {
    /// Whom the row is about: the first half.
    pub fn person(&self) -> [u8; 16] {
        let mut person = [0; 16];
        person.copy_from_slice(&self.0[..16]);
        person
    }

    /// Which of the [`super::BUCKETS`] it falls into.
    pub fn bucket(&self) -> u8 {
        self.0[0]
    }
}

/// A row as it passes by, borrowed from the line it stands on.
#[derive(Clone)]
pub(super) struct RowView<'a> {
    pub(super) line: u64,
    pub(super) email: &'a str,
    pub(super) email_norm: Cow<'a, str>,
    pub(super) label: &'a str,
    pub(super) role: &'a str,
    pub(super) invited_by: &'a str,
    pub(super) locale: &'a str,
    pub(super) note: &'a str,
    /// The id of the key of a keyed hash; else empty.
    pub(super) key: &'a str,
}

impl RowView<'_> {
    pub(super) fn digest(&self) -> RowDigest {
        // One buffer and one call: a million small updates would cost more than the hashing. What a row says is at most
        // a record long; the usual one fits.
        let email_norm = self.email_norm.as_ref();
        let email = if self.email == email_norm { "" } else { self.email };
        let mut said = Vec::with_capacity(256);
        for field in [email, email_norm, self.label, self.role, self.invited_by, self.locale, self.note] {
            said.extend_from_slice(&(field.len() as u32).to_be_bytes());
            said.extend_from_slice(field.as_bytes());
        }
        // Who someone is must not be forged by whoever chooses an address; what is said of them only has to tell two versions of one list
        // apart, whose author could write anything anyway.
        let mut digest = [0; 32];
        digest[..16].copy_from_slice(&Sha256::digest(email_norm)[..16]);
        digest[16..].copy_from_slice(&xxh3_128(&said).to_be_bytes());
        RowDigest(digest)
    }

    pub(super) fn domain(&self) -> &str {
        self.email_norm.rsplit_once('@').map_or("", |(_, domain)| domain)
    }

    pub(super) fn to_row(&self) -> ListRow {
        ListRow {
            line: self.line,
            email: self.email.to_owned(),
            email_norm: self.email_norm.clone().into_owned(),
            label: self.label.to_owned(),
            role: self.role.to_owned(),
            invited_by: self.invited_by.to_owned(),
            locale: self.locale.to_owned(),
            note: self.note.to_owned(),
        }
    }
}

impl ListRow {
    /// The row's digest: half of it from the normalised address alone, half from all that is said.
    pub fn digest(&self) -> RowDigest {
        let view = RowView {
            line: self.line,
            email: &self.email,
            email_norm: Cow::Borrowed(&self.email_norm),
            label: &self.label,
            role: &self.role,
            invited_by: &self.invited_by,
            locale: &self.locale,
            note: &self.note,
            key: "",
        };
        view.digest()
    }

    /// The domain of the normalised address.
    pub fn domain(&self) -> &str {
        self.email_norm.rsplit_once('@').map_or("", |(_, domain)| domain)
    }
}

/// Rows hold addresses; what is printed for debugging does not.
impl std::fmt::Debug for ListRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ListRow")
            .field("line", &self.line)
            .field("label", &self.label)
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

/// What stands in a list at some line.
#[derive(Clone, Debug)]
pub enum Entry {
    /// A person.
    Row(ListRow),
    /// Something that can't be one.
    Problem(Problem),
}

/// What stands at a line, borrowed.
pub(super) enum Found<'a> {
    Row(RowView<'a>),
    Problem(Problem),
}

/// Reads a list from its first byte to its last, entry by entry.
///
/// Each item is an error only when reading itself fails; what is wrong with the list comes as [`Entry::Problem`].
pub fn rows<R: Read>(input: R, read_as: impl Into<ReadAs>) -> Rows<R> {
    Rows::continued(input, 1, None, read_as.into())
}

/// The header can't be read.
pub(super) struct NoColumns;

/// The iterator of [`rows`].
pub struct Rows<R> {
    lines: Lines<R>,
    columns: Option<Columns>,
    read_as: ReadAs,
    wanted: Option<std::iter::Peekable<std::vec::IntoIter<u32>>>,
    pending: Vec<Problem>,
    ended: bool,
}

impl<R: Read> Iterator for Rows<R> {
    type Item = io::Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(problem) = self.pending.pop() {
                return Some(Ok(Entry::Problem(problem)));
            }
            if self.ended {
                return None;
            }
            let step = self.step(|found| match found {
                Found::Row(row) => Entry::Row(row.to_row()),
                Found::Problem(problem) => Entry::Problem(problem),
            });
            match step {
                Ok(Some(entry)) => return Some(Ok(entry)),
                Ok(None) => {}
                Err(error) => {
                    self.ended = true;
                    return Some(Err(error));
                }
            }
        }
    }
}

impl<R: Read> Rows<R> {
    /// What follows on from line `first`, whose columns are known from before, if they are.
    pub(super) fn continued(input: R, first: u64, columns: Option<Columns>, read_as: ReadAs) -> Self {
        let lines = Lines::from_line(input, first);
        Rows { lines, columns, read_as, wanted: None, pending: Vec::new(), ended: false }
    }

    /// Only what stands on these lines, which come in ascending order; the rest is skipped unread.
    #[must_use]
    pub fn only_at(mut self, lines: Vec<u32>) -> Self {
        self.wanted = Some(lines.into_iter().peekable());
        self
    }

    /// Shows every entry to `see`, without keeping any. Gives the columns, for what follows; an error when a header can't be read and nothing
    /// that follows means anything.
    pub(super) fn each(mut self, mut see: impl FnMut(Found<'_>)) -> io::Result<Result<Option<Columns>, NoColumns>> {
        while !self.ended {
            self.step(&mut see)?;
        }
        let readable = self.pending.is_empty();
        self.pending.into_iter().rev().for_each(|problem| see(Found::Problem(problem)));
        Ok(if readable { Ok(self.columns) } else { Err(NoColumns) })
    }

    fn step<T>(&mut self, see: impl FnOnce(Found<'_>) -> T) -> io::Result<Option<T>> {
        let Some((line, text)) = self.lines.next()? else {
            self.ended = true;
            return Ok(None);
        };
        if let (Some(wanted), Some(_)) = (&mut self.wanted, &self.columns)
            && wanted.next_if(|at| u64::from(*at) == line).is_none()
        {
            self.ended = wanted.peek().is_none();
            return Ok(None);
        }
        let text = match text {
            Ok(text) => text,
            // Two bytes a character: no further line means anything either.
            Err(LineFault::Utf16) => {
                self.pending = vec![Problem::at(line, Fault::Utf16)];
                self.ended = true;
                return Ok(None);
            }
            Err(fault) => return Ok(Some(see(Found::Problem(Problem::at(line, unreadable(fault)))))),
        };
        let mut parts: Vec<Cow<'_, str>> = Vec::with_capacity(6);
        let whole = fields(text, &mut parts);
        let columns = match self.columns {
            Some(columns) => columns,
            None => match Columns::from_first(text, (&parts, whole), self.read_as.hashed) {
                None => {
                    self.columns = Some(Columns::HEADERLESS);
                    if self.wanted.as_mut().is_some_and(|wanted| wanted.next_if(|at| u64::from(*at) == line).is_none())
                    {
                        return Ok(None);
                    }
                    Columns::HEADERLESS
                }
                Some(Ok(columns)) => {
                    self.columns = Some(columns);
                    return Ok(None);
                }
                Some(Err(faults)) => {
                    // Without knowing the columns no further row means anything.
                    self.pending = faults.into_iter().rev().map(|fault| Problem::at(line, fault)).collect();
                    self.ended = true;
                    return Ok(None);
                }
            },
        };
        if !whole {
            return Ok(Some(see(Found::Problem(Problem::at(line, Fault::CarriageReturns)))));
        }
        Ok(Some(see(match row(line, &parts, columns, self.read_as) {
            Ok(row) => Found::Row(row),
            Err(fault) => Found::Problem(Problem::at(line, cause(text, fault))),
        })))
    }
}

fn unreadable(fault: LineFault) -> Fault {
    match fault {
        LineFault::Unclosed => Fault::UnclosedQuote,
        LineFault::TooLong => Fault::LineTooLong,
        LineFault::NotUtf8 => Fault::NotUtf8,
        LineFault::Utf16 => Fault::Utf16,
    }
}

/// What lies behind a fault, where the line shows it.
fn cause(text: &str, fault: Fault) -> Fault {
    if text.contains('\0') { Fault::Nul } else { fault }
}

fn row<'a>(line: u64, parts: &'a [Cow<'_, str>], columns: Columns, read_as: ReadAs) -> Result<RowView<'a>, Fault> {
    if parts.len() > columns.count() && parts[columns.count()..].iter().any(|part| !part.is_empty()) {
        return Err(Fault::TooManyFields { found: parts.len(), expected: columns.count() });
    }
    let picked = columns.pick(parts);
    let (email, email_norm, key) = if read_as.hashed {
        let Hashed { key, norm } = hashed(picked[0])?;
        ("", Cow::Owned(norm), key)
    } else {
        (picked[0], normalise_cow(picked[0], read_as.addresses).map_err(Fault::Address)?, "")
    };
    for (which, field) in picked.iter().enumerate().skip(1) {
        let is_note = which == 5;
        if field.len() > if is_note { MAX_NOTE } else { MAX_FIELD } {
            return Err(Fault::FieldTooLong(Columns::name(which)));
        }
        if has_control(field, is_note) {
            return Err(Fault::ControlCharacter(Columns::name(which)));
        }
    }
    let [_, label, role, invited_by, locale, note] = picked;
    let role = if columns.has_role() && !role.is_empty() { role } else { prefix(label) };
    Ok(RowView { line, email, email_norm, label, role, invited_by, locale, note, key })
}

fn has_control(field: &str, is_note: bool) -> bool {
    if field.bytes().all(|byte| (b' '..0x7f).contains(&byte)) {
        return false;
    }
    field.chars().any(|c| c.is_control() && !(is_note && matches!(c, '\n' | '\r' | '\t')))
}

/// The role a label stands for: what comes before its first hyphen.
fn prefix(label: &str) -> &str {
    label.split_once('-').map_or(label, |(prefix, _)| prefix)
}
