//! Looking at one list: is it sound, in whom does it differ from what is in the database, and must it wait for a person?
//!
//! Must not know: what is done with the answer.

use std::collections::BTreeMap;
use std::path::Path;

use betagate_core::cohort::{Outcome, Severity};
use betagate_core::desired::{ProgramDesired, Resource};
use betagate_core::plan::ListDelta;
use betagate_core::pull::MASS_CHANGE_PERCENT;
use betagate_core::resources::{CohortSpec, Edge, Suspend};
use jiff::{Timestamp, civil::Date};

use super::guard::{Guard, Reasons, Words, zone};
use super::options;
use super::place::{FoundList, lists_beside};
use crate::keys::Keys;
use crate::source::Snapshot;
use crate::store::cohort_lists::{self, Change, CohortList, ListError, Prepared, Shown};
use crate::store::{Store, StoreError, invites};

/// Warnings that a reason names one by one.
const NAMED_WARNINGS: usize = 3;

/// What a list is looked at with.
pub(in crate::controller) struct LookAt<'a> {
    pub store: &'a Store,
    pub keys: &'a Keys,
    pub snapshot: &'a Snapshot,
    pub data: &'a Path,
    pub program: &'a ProgramDesired,
    pub words: &'a Words<'a>,
    pub day0: Date,
    pub now: Timestamp,
}

/// What looking at a list came to.
pub(in crate::controller) enum Looked {
    /// It can be brought in.
    Ready { list: CohortList, prepared: Box<Prepared>, delta: ListDelta },
    /// It waits for a person's word.
    Waits { reason: String, delta: ListDelta },
    /// It can't be used.
    Broken(String),
}

impl LookAt<'_> {
    pub(in crate::controller) async fn list(
        &self,
        cohort: &Resource<CohortSpec>,
        found: FoundList,
    ) -> Result<Looked, StoreError> {
        let Self { store, keys, program, .. } = self;
        let list = CohortList { program: program.name().to_owned(), cohort: cohort.name.clone(), source: found.source };
        let beside = lists_beside(self.snapshot, program, &cohort.name, self.data);
        let options = options(program, &cohort.spec);
        match cohort_lists::prepare_beside(store, keys, &list, &options, &beside).await {
            Ok(prepared) => {
                let guard = guard(program, cohort, &prepared, self.words, (self.day0, self.now));
                let told =
                    guard.as_ref().map(|guard| format!("{} (acknowledge digest {})", guard.reason, guard.digest));
                let mut delta = delta(&prepared, guard);
                let left_alone = suspended(program, cohort, self.day0, self.now);
                // Whatever was acknowledged: what differs is shown, and not put right.
                let told = match left_alone.filter(|_| !prepared.delta.is_empty()) {
                    Some(reason) => {
                        delta.guard = Some(reason.clone());
                        Some(reason)
                    }
                    None => told,
                };
                Ok(match told {
                    Some(reason) => Looked::Waits { reason, delta },
                    None => Looked::Ready { list, prepared: Box::new(prepared), delta },
                })
            }
            Err(ListError::Broken(survey)) => {
                let first = survey.problems.iter().find(|problem| problem.fault.severity() == Severity::Error);
                let first = first.map(|problem| match problem.line {
                    Some(line) => format!("{}: {}", found.place.at(line), problem.fault),
                    None => format!("{}: {}", found.place.name(), problem.fault),
                });
                let first = first.unwrap_or_default();
                Ok(Looked::Broken(format!("its list is broken ({} problem(s)): {first}", survey.errors)))
            }
            Err(ListError::Store(error)) => Err(error),
            Err(error) => Ok(Looked::Broken(error.to_string())),
        }
    }
}

/// Why and until when a cohort, or all of its program, is left alone.
pub(super) fn suspended(
    program: &ProgramDesired,
    cohort: &Resource<CohortSpec>,
    day0: Date,
    now: Timestamp,
) -> Option<String> {
    suspension(program, cohort.spec.suspend.as_ref().or(program.program.spec.suspend.as_ref())?, day0, now)
}

/// The cohorts that have another number of places than their documents say: what they have, and what they should have. One that is left alone is
/// left out.
pub(in crate::controller) async fn capacities(
    store: &Store,
    program: &ProgramDesired,
    day0: Date,
    now: Timestamp,
) -> Result<BTreeMap<String, (Option<i64>, Option<i64>)>, StoreError> {
    let mut found = BTreeMap::new();
    for known in invites::cohorts(store, program.name()).await? {
        let Some(cohort) = program.cohorts.get(&known.cohort) else { continue };
        let wanted = cohort.spec.capacity.and_then(|capacity| i64::try_from(capacity).ok());
        if wanted != known.capacity && suspended(program, cohort, day0, now).is_none() {
            found.insert(known.cohort, (known.capacity, wanted));
        }
    }
    Ok(found)
}

/// Why and until when all of a program is left alone.
pub(in crate::controller) fn program_suspended(program: &ProgramDesired, day0: Date, now: Timestamp) -> Option<String> {
    suspension(program, program.program.spec.suspend.as_ref()?, day0, now)
}

fn suspension(program: &ProgramDesired, suspend: &Suspend, day0: Date, now: Timestamp) -> Option<String> {
    let until = suspend.until.resolve(day0, &zone(program), Edge::End);
    (now < until).then(|| format!("suspended until {until} by {}: {}", suspend.by, suspend.reason))
}

/// Why a list waits for a person: warnings, a change after its lock, a change that revokes too many.
fn guard(
    program: &ProgramDesired,
    cohort: &Resource<CohortSpec>,
    prepared: &Prepared,
    words: &Words<'_>,
    (day0, now): (Date, Timestamp),
) -> Option<Guard> {
    let mut reasons = Reasons::default();
    let delta = &prepared.delta;
    if prepared.survey.outcome() == Outcome::NeedsAcknowledgement && !delta.is_empty() {
        let problems = prepared.survey.problems.iter();
        let mut warned: Vec<_> = problems.take(NAMED_WARNINGS).map(ToString::to_string).collect();
        let more = prepared.survey.warnings.saturating_sub(warned.len() as u64);
        warned.extend((more > 0).then(|| format!("and {more} more")));
        reasons.of_list.push(format!("warnings need an acknowledgement: {}", warned.join("; ")));
    }
    if let Some(lock) = cohort.spec.lock_list {
        let locked_at = lock.resolve(day0, &zone(program), Edge::Start);
        if now >= locked_at && delta.from.is_some() && !delta.is_empty() {
            reasons.of_change.push(format!("the list is locked since {locked_at:.0}"));
        }
    }
    let percent = program.program.spec.mass_change_percent.unwrap_or(MASS_CHANGE_PERCENT);
    if delta.share_removed() * 100.0 > f64::from(percent) {
        reasons.of_change.push(format!("it would revoke more than {percent} % of the list"));
    }
    reasons.heard(words, &cohort.name, &delta.to, &delta.digest)
}

fn delta(prepared: &Prepared, guard: Option<Guard>) -> ListDelta {
    let delta = &prepared.delta;
    let (guard, digest) = match guard {
        Some(Guard { reason, digest }) => (Some(reason), digest),
        None => (None, delta.digest.clone()),
    };
    ListDelta {
        digest,
        added: delta.added,
        removed: delta.removed,
        changed: delta.changed,
        members_removed: delta.removed_members,
        total: delta.rows,
        first: delta.first.iter().map(said).collect(),
        guard,
    }
}

/// One person of a change, as a plan says it.
pub(super) fn said(shown: &Shown) -> String {
    let sign = match shown.change {
        Change::Added => '+',
        Change::Removed => '-',
        Change::Changed => '~',
    };
    let label = if shown.label.is_empty() { String::new() } else { format!(" ({})", shown.label) };
    format!("{sign} {}{label}", shown.email)
}
