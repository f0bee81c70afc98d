//! What is to be done about one object, given what Git says and what is there. Pure.
//!
//! Must not know: how anything is written, or when somebody's suspension ends (that is in the orders).

use std::collections::BTreeMap;

use serde_json::Value;

use super::compare::holds;
use super::{Drift, Object, Orders, Trouble};
use crate::source::cluster::{APPLIED, Key, Marks, Seen};

/// Put back so often, and changed again each time: that is another tool, and no hand.
const MOST_PUT_BACK: u32 = 3;

/// What to do.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Verdict {
    /// It is as it should be, or nothing is to be done about it.
    Fine,
    /// Something about it is to be found out first.
    Wait,
    /// It is to be applied; `drift`: somebody changed what was applied.
    Apply {
        /// Whether it had been applied as it is.
        drift: bool,
    },
    /// It is left alone.
    Leave(Trouble),
}

/// What is remembered of an object from one time to the next.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// What our own write left behind: what the API server made of it is not fought.
    settled: Option<Settled>,
    /// Why it was left alone, with the moment to which that belongs.
    left: Option<(Moment, Trouble)>,
    /// How often this version of its document was put back.
    put_back: u32,
    version: String,
}

/// What tells that neither the document nor the resource changed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Moment {
    wanted: String,
    live: Option<(String, u64)>,
}

#[derive(Debug, PartialEq, Eq)]
struct Settled {
    digest: String,
    generation: Option<i64>,
    owned: u64,
}

impl Known {
    /// It was applied, and this came of it.
    pub(super) fn applied(&mut self, object: &Object, drift: bool, generation: Option<i64>, owned: u64) {
        let before = if self.version == object.digest { self.put_back } else { 0 };
        self.version.clone_from(&object.digest);
        self.put_back = before + u32::from(drift);
        self.left = None;
        self.settled = Some(Settled { digest: object.digest.clone(), generation, owned });
    }

    /// It was not applied, and is not tried again until something changes.
    pub(super) fn leave(&mut self, object: &Object, seen: Option<&Seen>, trouble: Trouble) {
        self.left = Some((moment(object, seen), trouble));
    }
}

fn moment(object: &Object, seen: Option<&Seen>) -> Moment {
    let live = seen.map(|seen| (seen.digest().to_owned(), seen.marks.as_ref().map_or(0, |marks| marks.owners)));
    Moment { wanted: object.digest.clone(), live }
}

/// What to do about an object. `program` is the resource of its program.
pub(super) fn judge(
    object: &Object,
    seen: Option<&Seen>,
    program: Option<&Seen>,
    known: &mut Known,
    orders: &Orders,
) -> Verdict {
    let marks = seen.and_then(|seen| seen.marks.as_deref());
    let current = marks.is_some_and(|marks| marks.applied.as_deref() == Some(&object.digest));
    let program_key = Key { kind: betagate_core::resources::Kind::Program, name: object.program.clone() };
    for (key, marks) in [(&object.key, marks), (&program_key, program.and_then(|seen| seen.marks.as_deref()))] {
        match suspended(key, marks, orders) {
            Suspension::Unknown => return Verdict::Wait,
            Suspension::ByHand(words) => return Verdict::Leave(Trouble::Suspended(words)),
            // Git says so itself: nothing is put back, but a newer commit may say something else.
            Suspension::ByGit if current => return Verdict::Fine,
            Suspension::ByGit | Suspension::None => {}
        }
    }
    let (Some(seen), Some(marks)) = (seen, marks) else { return left(object, None, known).unwrap_or(APPLY_NEW) };
    if seen.deleting {
        return Verdict::Leave(Trouble::Deleting);
    }
    if !current {
        return left(object, Some(seen), known).unwrap_or(APPLY_NEW);
    }
    let settled = Settled { digest: object.digest.clone(), generation: seen.generation, owned: marks.owned };
    let as_we_left_it = known.settled.as_ref() == Some(&settled);
    let owns_all =
        known.settled.as_ref().is_none_or(|before| before.digest != object.digest || before.owned == marks.owned);
    let described = marks.ours && texts_hold(marks, &object.body["metadata"]);
    let spec = || holds(&seen.document()["spec"], &object.body["spec"]);
    if as_we_left_it || (described && owns_all && spec()) {
        known.settled = Some(settled);
        known.left = None;
        return Verdict::Fine;
    }
    if let Some(verdict) = left(object, Some(seen), known) {
        return verdict;
    }
    if orders.drift == Drift::Show {
        return Verdict::Leave(Trouble::Drifted);
    }
    if known.version == object.digest && known.put_back >= MOST_PUT_BACK {
        return Verdict::Leave(Trouble::Fought(known.put_back));
    }
    Verdict::Apply { drift: true }
}

const APPLY_NEW: Verdict = Verdict::Apply { drift: false };

/// What it was left alone for, while nothing has changed since.
fn left(object: &Object, seen: Option<&Seen>, known: &Known) -> Option<Verdict> {
    let (at, trouble) = known.left.as_ref()?;
    (*at == moment(object, seen)).then(|| Verdict::Leave(trouble.clone()))
}

enum Suspension {
    None,
    Unknown,
    ByHand(String),
    ByGit,
}

fn suspended(key: &Key, marks: Option<&Marks>, orders: &Orders) -> Suspension {
    let Some((marks, said)) = marks.and_then(|marks| Some((marks, marks.suspend.as_ref()?))) else {
        return Suspension::None;
    };
    match orders.suspended.get(key) {
        Some((judged, Some(words))) if judged == said => match marks.suspended_by_git {
            true => Suspension::ByGit,
            false => Suspension::ByHand(words.clone()),
        },
        Some((judged, None)) if judged == said => Suspension::None,
        _ => Suspension::Unknown,
    }
}

/// Whether nothing is to be pruned of a resource for now.
pub(super) fn prune_waits(key: &Key, seen: &Seen, program: Option<&Seen>, orders: &Orders) -> Option<Trouble> {
    let program_key = Key { kind: betagate_core::resources::Kind::Program, name: seen.program.clone() };
    for (key, seen) in [(key, Some(seen)), (&program_key, program)] {
        match suspended(key, seen.and_then(|seen| seen.marks.as_deref()), orders) {
            Suspension::Unknown => return Some(Trouble::Suspended("its suspension is looked at".to_owned())),
            Suspension::ByHand(words) => return Some(Trouble::Suspended(words)),
            Suspension::ByGit | Suspension::None => {}
        }
    }
    None
}

/// Whether labels and annotations are as Git says.
fn texts_hold(marks: &Marks, wanted: &Value) -> bool {
    let hold = |live: &BTreeMap<String, String>, wanted: &Value| {
        let mut wanted = wanted.as_object().into_iter().flatten();
        wanted.all(|(name, text)| name == APPLIED || live.get(name).map(String::as_str) == text.as_str())
    };
    hold(&marks.labels, &wanted["labels"]) && hold(&marks.annotations, &wanted["annotations"])
}
