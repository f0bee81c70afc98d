//! Cohort lists: checked, compared, guarded, then brought in by digest. A million rows never pass through `plan`.

mod check;
mod guard;
mod place;

use betagate_core::cohort::{AddressRules, ListOptions, Needs, Outcome};
use betagate_core::decide::{Decision, Readings, Wait};
use betagate_core::desired::{ProgramDesired, Resource};
use betagate_core::plan::ListDelta;
use betagate_core::pull::MASS_CHANGE_PERCENT;
use betagate_core::resources::{CohortSpec, Edge};
use jiff::{Timestamp, civil::Date};

pub use check::{Acknowledgement, CheckedList, ListProblem, check_list, survey_list};
pub use place::{FoundList, Place, find_list};

use super::{Controller, ControllerError, commit::ACTOR};
use guard::{Guard, Reasons, Words, zone};
pub(super) use place::lists_beside;
use place::read_as;

use crate::store::cohort_lists::{self, Change, CohortList, ListError, Prepared, Writer};

/// Warnings that a reason names one by one.
const NAMED_WARNINGS: usize = 3;

/// A list that is ready to be brought in, or waits.
pub(super) struct ReadyList {
    pub list: CohortList,
    pub prepared: Prepared,
    pub delta: ListDelta,
    /// The digest of the file, as the snapshot has it.
    pub file: String,
}

impl Controller {
    /// The lists of opened cohorts that differ from what is in the database. One that is broken waits, with the reason.
    pub(super) async fn changed_lists(
        &mut self,
        name: &str,
        opened: Vec<String>,
        readings: &Readings,
        day0: Date,
    ) -> Result<Vec<ReadyList>, ControllerError> {
        let (Some(built), Some(snapshot)) = (&self.built, self.snapshot.clone()) else { return Ok(Vec::new()) };
        let Some(program) = built.desired.programs.get(name).cloned() else { return Ok(Vec::new()) };
        let mut ready = Vec::new();
        for cohort in opened {
            let Some(resource) = program.cohorts.get(&cohort) else { continue };
            let FoundList { source, digest: file, .. } = match find_list(&snapshot, resource, &self.settings.data) {
                Ok(found) => found,
                Err(reason) => {
                    self.list_waits(name, &cohort, Some(reason));
                    continue;
                }
            };
            let state = self.programs.entry(name.to_owned()).or_default();
            let known = state.lists.get(&cohort) == Some(&file);
            if known && !state.list_waits.contains_key(&cohort) {
                continue;
            }
            let list = CohortList { program: name.to_owned(), cohort: cohort.clone(), source };
            let options = options(&program, &resource.spec);
            let beside = lists_beside(&snapshot, &program, &cohort, &self.settings.data);
            let (store, keys) = (&self.settings.store, &self.settings.keys);
            match cohort_lists::prepare_beside(store, keys, &list, &options, &beside).await {
                Ok(prepared) => {
                    let now = self.settings.clock.now();
                    let said = readings.signoffs.iter().map(|word| (word.name.as_str(), &word.spec, word.verified));
                    let words = Words::new(&program, said.collect(), Some(day0), now);
                    let guard = guard(&program, resource, &prepared, &words, (day0, now));
                    let told =
                        guard.as_ref().map(|guard| format!("{} (acknowledge digest {})", guard.reason, guard.digest));
                    self.list_waits(name, &cohort, told);
                    let delta = delta(&prepared, guard);
                    ready.push(ReadyList { list, prepared, delta, file });
                }
                Err(ListError::Broken(survey)) => {
                    let first = survey.problems.first().map(ToString::to_string).unwrap_or_default();
                    let reason = format!("its list is broken ({} problem(s)): {first}", survey.errors);
                    self.list_waits(name, &cohort, Some(reason));
                }
                Err(ListError::Store(error)) => return Err(error.into()),
                Err(error) => self.list_waits(name, &cohort, Some(error.to_string())),
            }
        }
        Ok(ready)
    }

    fn list_waits(&mut self, name: &str, cohort: &str, reason: Option<String>) {
        let state = self.programs.entry(name.to_owned()).or_default();
        match reason {
            Some(reason) => {
                if state.list_waits.insert(cohort.to_owned(), reason.clone()).as_ref() != Some(&reason) {
                    tracing::warn!(program = name, cohort, %reason, "a list waits");
                }
            }
            None => drop(state.list_waits.remove(cohort)),
        }
    }

    /// Adds to the states of cohorts that their lists wait, and for what.
    pub(super) fn tell_waiting_lists(&self, name: &str, decision: &mut Decision) {
        for (cohort, reason) in self.programs.get(name).iter().flat_map(|state| &state.list_waits) {
            if let Some(state) = decision.states.get_mut(&format!("Cohort/{cohort}")) {
                state.summary = format!("{}; its list waits", state.summary);
                let from = "the list, or a sign-off that acknowledges it".to_owned();
                state.waits.push(Wait { on: reason.clone(), from });
            }
        }
    }

    /// Brings the lists in that wait for nobody.
    pub(super) async fn bring_in(&mut self, name: &str, lists: Vec<ReadyList>) -> Result<(), ControllerError> {
        for ready in lists.into_iter().filter(|ready| ready.delta.guard.is_none()) {
            let writer = Writer { actor: ACTOR, epoch: Some(self.epoch) };
            let now = self.settings.clock.now();
            let (store, keys) = (&self.settings.store, &self.settings.keys);
            match cohort_lists::bring_in(store, keys, &ready.list, &ready.prepared, writer, now).await {
                Ok(brought) => {
                    if brought != cohort_lists::Brought::default() {
                        let (added, revoked) = (brought.added, brought.revoked);
                        tracing::info!(program = name, cohort = %ready.list.cohort, added, revoked, "brought a list in");
                    }
                    let state = self.programs.entry(name.to_owned()).or_default();
                    state.lists.insert(ready.list.cohort, ready.file);
                }
                Err(ListError::Store(error)) => return Err(error.into()),
                Err(error) => self.list_waits(name, &ready.list.cohort, Some(error.to_string())),
            }
        }
        Ok(())
    }
}

/// Which spellings of an address are one person, in a program.
pub(super) fn address_rules(program: Option<&ProgramDesired>) -> AddressRules {
    let rules = program.and_then(|program| program.program.spec.addresses.clone()).unwrap_or_default();
    AddressRules { ignore_dots: rules.ignore_dots, ignore_plus: rules.ignore_plus }
}

/// How a cohort's list is read and what it must have.
pub(super) fn options(program: &ProgramDesired, spec: &CohortSpec) -> ListOptions {
    let require = &spec.require;
    let needs = Needs { rows: require.rows, labels: require.labels, roles: require.roles.clone() };
    ListOptions { read_as: read_as(program, spec), needs, disposable: Vec::new() }
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
            reasons.of_change.push(format!("the list is locked since {locked_at}"));
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
    let first = delta.first.iter().map(|shown| {
        let sign = match shown.change {
            Change::Added => '+',
            Change::Removed => '-',
            Change::Changed => '~',
        };
        let label = if shown.label.is_empty() { String::new() } else { format!(" ({})", shown.label) };
        format!("{sign} {}{label}", shown.email)
    });
    ListDelta {
        digest,
        added: delta.added,
        removed: delta.removed,
        changed: delta.changed,
        members_removed: delta.removed_members,
        total: delta.rows,
        first: first.collect(),
        guard,
    }
}
