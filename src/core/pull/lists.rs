//! Two versions of a cohort's list: who comes, who goes, which mail that makes, and what makes it wait.
//!
//! Must not know: where a list lies, what of it is in the database already.

use std::io::{self, Read};

use serde::{Serialize, Serializer};

use super::{Change, SHOWN, fields::short, mask};
use crate::cohort::{
    Entry, ListRow, ReadAs, RowDigest, Severity, Survey, change_digest, hash_of_norm, row_difference, rows,
};
use crate::desired::ProgramDesired;
use crate::resources::{CohortSpec, Edge, Rate};

/// The share of a list that one change may revoke without a word, in per cent, when the program does not say.
pub const MASS_CHANGE_PERCENT: u8 = 20;
/// Warnings told of one list.
const MOST_WARNINGS: usize = 20;
/// How someone is named of whom only a keyed hash is known.
const HASHED: &str = "hash ";

/// What would change in the people of one cohort.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListChange {
    /// The cohort.
    pub cohort: String,
    /// Whether the cohort is new, gone, or has another list.
    pub change: Change,
    /// The file of its list, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// People on the list at the base.
    pub rows_before: u64,
    /// People on the list now.
    pub rows: u64,
    /// Who is new on it.
    pub added: u64,
    /// Who is gone from it: unused invites are revoked, who is in stays in.
    pub removed: u64,
    /// Of whom something else is said.
    pub changed: u64,
    /// The first twenty of each.
    pub first: Vec<PersonChange>,
    /// What is worth a look in it, by line.
    pub warnings: Vec<String>,
    /// How many more of these there are.
    #[serde(skip_serializing_if = "super::is_zero")]
    pub more_warnings: usize,
    /// How many may be in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity: Option<u64>,
    /// The stages that open the cohort.
    pub opens: Vec<Opening>,
    /// The messages that go out; none where no template is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mails: Option<Mails>,
    /// What it waits for.
    pub waits: Vec<Waits>,
    /// The digest that names the change from the one list to the other.
    pub change_digest: String,
}

/// One person of a change.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PersonChange {
    /// What happens.
    pub change: Change,
    /// The address; masked wherever it is written for others.
    #[serde(serialize_with = "masked_address")]
    pub address: String,
    /// The label.
    pub label: String,
    /// The role.
    pub role: String,
    /// The line, of the list's file now, or at the base for who is gone.
    pub line: u64,
}

impl std::fmt::Debug for PersonChange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PersonChange").field("change", &self.change).field("line", &self.line).finish_non_exhaustive()
    }
}

fn masked_address<S: Serializer>(address: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&for_others(address))
}

/// A person as others may see them: a keyed hash says nothing to whoever lacks the key.
pub(super) fn for_others(address: &str) -> String {
    if address.starts_with(HASHED) && !address.contains('@') { address.to_owned() } else { mask(address) }
}

/// A stage that opens a cohort.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Opening {
    /// The rollout.
    pub rollout: String,
    /// The stage.
    pub stage: String,
    /// Its window's beginning, as written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The same as an instant, where the program's first day is written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<jiff::Timestamp>,
}

/// Messages that go out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Mails {
    /// How many.
    pub count: u64,
    /// The template's name.
    pub template: String,
    /// Whether they leave; else they are written out for review.
    pub leaves: bool,
    /// The pace, where one is written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<String>,
    /// How long they take at that pace, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub takes_seconds: Option<u64>,
}

/// Why a list waits, and the digest that a person signs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Waits {
    /// Why.
    pub reasons: Vec<String>,
    /// What is acknowledged.
    pub digest: String,
    /// Whether it is the list, and not the change of it: then a word on the change covers it too.
    pub of_list: bool,
}

/// A list that was looked through, and can be read again.
pub struct ListBytes<'a> {
    /// Opens it.
    pub open: &'a dyn Fn() -> io::Result<Box<dyn Read + Send>>,
    /// How it is read.
    pub read_as: ReadAs,
    /// What was found in it.
    pub survey: Survey,
}

/// What two versions of a list differ in.
pub struct ListDifference {
    /// The version now; empty where there is none.
    pub now: Survey,
    /// The digest of the version at the base.
    pub digest_before: Option<String>,
    /// People at the base.
    pub rows_before: u64,
    /// Counts: added, removed, changed.
    pub counts: (u64, u64, u64),
    /// The first twenty of each.
    pub first: Vec<PersonChange>,
}

/// Compares two versions of a list, at any length: 36 bytes for each row of both. Rows that can't be used count on neither side.
///
/// # Errors
/// When reading fails.
pub fn compare_list(before: Option<ListBytes<'_>>, now: Option<ListBytes<'_>>) -> io::Result<ListDifference> {
    let mut difference = ListDifference {
        digest_before: before.as_ref().map(|list| list.survey.digest_hex()),
        rows_before: before.as_ref().map_or(0, |list| list.survey.rows),
        now: Survey::default(),
        counts: (0, 0, 0),
        first: Vec::new(),
    };
    if difference.digest_before != now.as_ref().map(|list| list.survey.digest_hex()) {
        let digests = |list: &Option<ListBytes<'_>>| -> Vec<RowDigest> {
            list.iter().flat_map(|list| &list.survey.people).map(|(digest, _)| *digest).collect()
        };
        let found = row_difference(digests(&before), digests(&now));
        difference.counts = (found.added.len() as u64, found.removed.len() as u64, found.changed.len() as u64);
        for (change, whom, list) in [
            (Change::Added, &found.added, &now),
            (Change::Removed, &found.removed, &before),
            (Change::Changed, &found.changed, &now),
        ] {
            if let Some(list) = list {
                difference.first.extend(first_of(change, whom, list)?);
            }
        }
    }
    if let Some(now) = now {
        difference.now = Survey { people: Vec::new(), ..now.survey };
    }
    Ok(difference)
}

/// The first twenty of these people, by line.
fn first_of(change: Change, whom: &[[u8; 16]], list: &ListBytes<'_>) -> io::Result<Vec<PersonChange>> {
    let people = &list.survey.people;
    let line_of = |person: &[u8; 16]| {
        let at = people.binary_search_by_key(person, |(digest, _)| digest.person()).ok()?;
        Some(people[at].1)
    };
    let mut lines: Vec<u32> = whom.iter().filter_map(line_of).collect();
    if lines.len() > SHOWN {
        lines.select_nth_unstable(SHOWN);
        lines.truncate(SHOWN);
    }
    lines.sort_unstable();
    let mut first = Vec::with_capacity(lines.len());
    if lines.is_empty() {
        return Ok(first);
    }
    for entry in rows((list.open)()?, list.read_as).only_at(lines) {
        if let Entry::Row(row) = entry? {
            let (label, role) = (short(&row.label), short(&row.role));
            first.push(PersonChange { change, address: who(&row), label, role, line: row.line });
        }
    }
    Ok(first)
}

/// The address of a row, or the beginning of its keyed hash where only that is known.
fn who(row: &ListRow) -> String {
    match hash_of_norm(&row.email_norm) {
        Some(hash) if row.email.is_empty() => format!("{HASHED}{}…", data_encoding::HEXLOWER.encode(&hash[..6])),
        _ => row.email.clone(),
    }
}

impl ListChange {
    /// What a difference means for a cohort; none when its people stay the same. `locked` says since when the list is locked, if it is.
    pub fn new(
        cohort: &str,
        (before, after): (Option<&ProgramDesired>, Option<&ProgramDesired>),
        difference: ListDifference,
        locked: Option<jiff::Timestamp>,
    ) -> Option<Self> {
        let spec_in = |program: Option<&ProgramDesired>| {
            program.and_then(|program| program.cohorts.get(cohort)).map(|cohort| cohort.spec.clone())
        };
        let (old, new) = (spec_in(before), spec_in(after));
        let change = match (&old, &new) {
            (None, Some(_)) => Change::Added,
            (Some(_), None) => Change::Removed,
            _ => Change::Changed,
        };
        let (added, removed, changed) = difference.counts;
        if change == Change::Changed && added + removed + changed == 0 {
            return None;
        }
        let mut list = Self {
            cohort: cohort.to_owned(),
            change,
            file: new.as_ref().or(old.as_ref()).and_then(|spec| spec.members.csv.clone()),
            rows_before: difference.rows_before,
            rows: difference.now.rows,
            added,
            removed,
            changed,
            first: difference.first,
            warnings: Vec::new(),
            more_warnings: 0,
            capacity: new.as_ref().and_then(|spec| spec.capacity),
            opens: after.map(|program| openings(program, cohort)).unwrap_or_default(),
            mails: None,
            waits: Vec::new(),
            change_digest: change_digest(difference.digest_before.as_deref(), &difference.now.digest_hex()),
        };
        if let (Some(program), Some(spec)) = (after, &new) {
            list.mails = mails(program, spec, added);
            list.waits = waits(program, &difference.now, &list, locked);
            let warnings = difference.now.problems.iter();
            let warnings = warnings.filter(|problem| problem.fault.severity() == Severity::Warning);
            list.warnings = warnings.take(MOST_WARNINGS).map(ToString::to_string).collect();
            let all = usize::try_from(difference.now.warnings).unwrap_or(usize::MAX);
            list.more_warnings = all.saturating_sub(list.warnings.len());
        } else if let Some(program) = before
            && removed > 0
        {
            // The document is gone; its invites are guarded all the same.
            list.waits = waits(program, &Survey::default(), &list, None);
        }
        Some(list)
    }

    /// Which part of the list at the base goes, from 0 to 1.
    pub fn share_removed(&self) -> f64 {
        #[allow(clippy::cast_precision_loss, reason = "counts of people")]
        let share = |part: u64, whole: u64| if whole == 0 { 0.0 } else { part as f64 / whole as f64 };
        share(self.removed, self.rows_before)
    }
}

/// The stages of a program that open a cohort, in order.
pub fn openings(program: &ProgramDesired, cohort: &str) -> Vec<Opening> {
    let spec = &program.program.spec;
    let zone = jiff::tz::TimeZone::get(&spec.time_zone).unwrap_or(jiff::tz::TimeZone::UTC);
    let mut found = Vec::new();
    for (rollout, resource) in &program.rollouts {
        // A cohort that later stages list again is open already: the first one counts.
        let first = resource.spec.stages.iter().find(|stage| stage.cohorts.iter().any(|name| name == cohort));
        if let Some(stage) = first {
            let from = stage.window.as_ref().and_then(|window| window.from);
            let at = from.zip(spec.starts_on).map(|(from, day0)| from.resolve(day0, &zone, Edge::Start));
            let (rollout, stage) = (rollout.clone(), stage.name.clone());
            found.push(Opening { rollout, stage, from: from.map(|from| from.to_string()), at });
        }
    }
    found
}

fn mails(program: &ProgramDesired, spec: &CohortSpec, count: u64) -> Option<Mails> {
    let rules = spec.invites.as_ref().filter(|_| count > 0 && !spec.members.hashed)?;
    let leaves = program.program.spec.mail.as_ref().is_some_and(|mail| mail.send);
    Some(Mails {
        count,
        template: rules.template.clone(),
        leaves,
        rate: rules.rate.map(|rate| rate.to_string()),
        takes_seconds: rules.rate.map(|rate| takes(count, rate)),
    })
}

fn takes(count: u64, rate: Rate) -> u64 {
    count.saturating_mul(u64::from(rate.seconds)) / u64::from(rate.count.max(1))
}

fn waits(program: &ProgramDesired, now: &Survey, list: &ListChange, locked: Option<jiff::Timestamp>) -> Vec<Waits> {
    let mut waits = Vec::new();
    if list.added + list.removed + list.changed == 0 {
        return waits;
    }
    if now.warnings > 0 && now.errors == 0 {
        let reason = format!("{} of its list", super::count(now.warnings, "warning"));
        waits.push(Waits { reasons: vec![reason], digest: now.digest_hex(), of_list: true });
    }
    let mut reasons = Vec::new();
    let percent = program.program.spec.mass_change_percent.unwrap_or(MASS_CHANGE_PERCENT);
    if list.share_removed() * 100.0 > f64::from(percent) {
        let share = list.share_removed() * 100.0;
        reasons.push(format!("it revokes {share:.0} % of the list, more than {percent} %"));
    }
    if let Some(at) = locked {
        reasons.push(format!("the list is locked since {at}"));
    }
    if !reasons.is_empty() {
        waits.push(Waits { reasons, digest: list.change_digest.clone(), of_list: false });
    }
    waits
}
