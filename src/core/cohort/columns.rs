//! Which column of a list is which: from its header, or by position when it has none.

use std::borrow::Cow;

use super::report::Fault;

/// The columns a list may name; `email` must be there.
const NAMES: [&str; 6] = ["email", "label", "role", "invited_by", "locale", "note"];

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
    pub(super) fn from_first(fields: &[Cow<'_, str>]) -> Option<Result<Self, Vec<Fault>>> {
        let known = |field: &str| NAMES.iter().position(|name| field.eq_ignore_ascii_case(name));
        let first_is_address = fields.first().is_some_and(|field| field.contains('@'));
        if first_is_address || !fields.iter().any(|field| known(field).is_some()) {
            return None;
        }
        let mut columns = Self { at: [None; 6], count: fields.len() };
        let mut faults = Vec::new();
        for (position, field) in fields.iter().enumerate() {
            match known(field) {
                Some(which) if columns.at[which].is_some() => {
                    faults.push(Fault::RepeatedColumn(NAMES[which].to_owned()))
                }
                Some(which) => columns.at[which] = Some(position),
                None => faults.push(unknown(field)),
            }
        }
        if columns.at[0].is_none() {
            faults.push(Fault::NoEmailColumn);
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

fn unknown(field: &str) -> Fault {
    let nearest = NAMES
        .iter()
        .map(|name| (strsim::damerau_levenshtein(&field.to_ascii_lowercase(), name), *name))
        .filter(|(distance, _)| *distance <= 3)
        .min();
    Fault::UnknownColumn { name: field.chars().take(40).collect(), nearest: nearest.map(|(_, name)| name.to_owned()) }
}
