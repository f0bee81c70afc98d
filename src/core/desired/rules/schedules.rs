//! Scheduled changes of flags: windows that begin before they end, and do not overlap.

use jiff::{Timestamp, civil::Date, tz::TimeZone};

use super::Rules;
use crate::desired::parse::Document;
use crate::resources::{Edge, FlagSpec, Moment, ScheduledChange};

/// A window as far as it is known before the program starts.
#[derive(Clone, Copy)]
struct Known {
    from: Option<End>,
    until: Option<End>,
}

/// One end of a window. Those that count from a day 0 which nobody wrote down compare only with each other.
#[derive(Clone, Copy)]
struct End {
    at: Timestamp,
    floats: bool,
}

impl End {
    fn certainly_before(self, other: Self) -> bool {
        self.floats == other.floats && self.at < other.at
    }
}

impl Known {
    /// Whether there certainly is an instant in both.
    fn certainly_overlaps(self, other: Self) -> bool {
        let begins_before_end = |from: Option<End>, until: Option<End>| match (from, until) {
            (Some(from), Some(until)) => from.certainly_before(until),
            _ => true,
        };
        begins_before_end(self.from, other.until) && begins_before_end(other.from, self.until)
    }
}

impl Rules<'_> {
    pub(super) fn schedule(&mut self, document: Option<&Document>, spec: &FlagSpec) {
        let program = &self.program.program.spec;
        // A zone that is none was said already.
        let zone = TimeZone::get(&program.time_zone).unwrap_or(TimeZone::UTC);
        let (day0, floating) = (program.starts_on.unwrap_or(Date::constant(2026, 1, 5)), program.starts_on.is_none());
        let end = |moment: Moment, edge: Edge| End {
            at: moment.resolve(day0, &zone, edge),
            floats: floating && matches!(moment, Moment::Relative(_)),
        };
        let mut known: Vec<(usize, Known)> = Vec::new();
        for (place, change) in spec.schedule.iter().enumerate() {
            let pointer = format!("/spec/schedule/{place}");
            self.scheduled(document, spec, change, &pointer);
            let window = Known {
                from: change.from.map(|from| end(from, Edge::Start)),
                until: change.until.map(|until| end(until, Edge::End)),
            };
            if let (Some(from), Some(until)) = (window.from, window.until)
                && from.floats == until.floats
                && until.at <= from.at
            {
                self.problem(document, &format!("{pointer}/until"), "the window ends before it begins");
                continue;
            }
            if let Some((other, _)) = known.iter().find(|(_, other)| other.certainly_overlaps(window)) {
                let message = format!("the window overlaps that of schedule[{other}]");
                let at = if change.from.is_some() { "from" } else { "until" };
                self.problem(document, &format!("{pointer}/{at}"), message);
            }
            known.push((place, window));
        }
    }

    fn scheduled(&mut self, document: Option<&Document>, spec: &FlagSpec, change: &ScheduledChange, pointer: &str) {
        if change.from.is_none() && change.until.is_none() {
            self.problem(document, pointer, "a scheduled change needs from or until");
        }
        if let Some(variant) = &change.variant {
            let variants = spec.variants.keys().map(String::as_str);
            let at = format!("{pointer}/variant");
            if !self.known(document, &at, "variant", variant, variants) {
                return;
            }
            let key = spec.key.as_deref().or(document.map(|document| document.name.as_str())).unwrap_or_default();
            let invariant = self.program.program.spec.invariants.iter().find(|invariant| invariant.flag == key);
            if invariant.is_some_and(|invariant| spec.variants.get(variant) != Some(&invariant.is)) {
                self.problem(document, &at, format!("the program's invariant for '{key}' forbids it"));
            }
        }
    }
}
