//! Which column of a list is which: from its header, or by position when it has none.

use std::borrow::Cow;

use super::address::{AddressRules, normalise};
use super::fault::Fault;
use super::hashed::hashed;

/// The columns a list may name; the first must be there.
const NAMES: [&str; 6] = ["email", "label", "role", "invited_by", "locale", "note"];
/// The first column of a list of keyed hashes.
const HASH: &str = "hash";
/// What else separates columns where commas do not.
const SEPARATORS: [char; 3] = [';', '\t', '|'];

/// Where each field stands, in the order of [`NAMES`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Columns {
    at: [Option<usize>; 6],
    count: usize,
}

impl Columns {
    /// `email,label,invited_by`, the form without a header (seed 004).
    pub(super) const HEADERLESS: Self = Self { at: [Some(0), Some(1), None, Some(2), None, None], count: 3 };

    /// Reads the first record. `None`: it is no header, but a row.
    pub(super) fn from_first(
        text: &str,
        (fields, is_whole): (&[Cow<'_, str>], bool),
        is_hashed: bool,
    ) -> Option<Result<Self, Vec<Fault>>> {
        let first = if is_hashed { HASH } else { NAMES[0] };
        let name = |which: usize| if which == 0 { first } else { NAMES[which] };
        let known = |field: &str| (0..NAMES.len()).find(|which| field.eq_ignore_ascii_case(name(*which)));
        if let Some(found) = separator(text) {
            return Some(Err(vec![Fault::Separator { found }]));
        }
        let is_row = fields.first().is_some_and(|field| field.contains('@') || (is_hashed && hashed(field).is_ok()));
        if is_row || !fields.iter().any(|field| known(field).is_some()) {
            return None;
        }
        if !is_whole {
            return Some(Err(vec![Fault::CarriageReturns]));
        }
        let mut columns = Self { at: [None; 6], count: fields.len() };
        let mut faults = Vec::new();
        for (position, field) in fields.iter().enumerate() {
            match known(field) {
                Some(which) if columns.at[which].is_some() => {
                    faults.push(Fault::RepeatedColumn(name(which).to_owned()))
                }
                Some(which) => columns.at[which] = Some(position),
                None => faults.push(unknown(field, first)),
            }
        }
        if columns.at[0].is_none() {
            faults.push(if is_hashed { Fault::NoHashColumn } else { Fault::NoEmailColumn });
        }
        Some(if faults.is_empty() { Ok(columns) } else { Err(faults) })
    }

    /// How many fields a record may have.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Whether the list has a role column; without one the role is the label's prefix.
    pub(super) fn has_role(&self) -> bool {
        self.at[2].is_some()
    }

    /// The fields in the order of [`NAMES`]; what is not there is empty.
    pub(super) fn pick<'a>(&self, fields: &'a [Cow<'_, str>]) -> [&'a str; 6] {
        self.at.map(|at| at.and_then(|at| fields.get(at)).map_or("", AsRef::as_ref))
    }

    /// A column's name by its place in [`Self::pick`].
    pub(super) fn name(which: usize) -> &'static str {
        NAMES[which]
    }
}

/// What separates the columns of a first line that has no comma.
fn separator(text: &str) -> Option<char> {
    let found = SEPARATORS.into_iter().find(|separator| text.contains(*separator));
    // An address may hold a bar, and stand there alone.
    found.filter(|_| !text.contains(',') && normalise(text, AddressRules::default()).is_err())
}

fn unknown(field: &str, first: &'static str) -> Fault {
    let nearest = std::iter::once(&first)
        .chain(&NAMES[1..])
        .map(|name| (strsim::damerau_levenshtein(&field.to_ascii_lowercase(), name), *name))
        .filter(|(distance, _)| *distance <= 3)
        .min();
    Fault::UnknownColumn {
        name: field.chars().take(40).collect(),
        first,
        nearest: nearest.map(|(_, name)| name.to_owned()),
    }
}
