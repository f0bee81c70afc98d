//! The controller's lists: which of them changed, which wait and why, and bringing in those that wait for nobody.
//!
//! A list that waits is looked at again only when it, or what people said, has changed: a long one costs seconds.

use std::collections::BTreeMap;

use betagate_core::cohort::Outcome;
use betagate_core::decide::{Decision, Readings, Wait};
use betagate_core::desired::{ProgramDesired, Resource};
use betagate_core::plan::ListDelta;
use betagate_core::resources::CohortSpec;
use jiff::civil::Date;

use super::super::observe::signoff_fact;
use super::super::{Controller, ControllerError, commit::ACTOR};
use super::check::{Known, check};
use super::look::suspended;
use super::place::{find_list, read_as};
use super::{FoundList, LookAt, Looked, Words};
use crate::store::cohort_lists::{self, CohortList, ListError, Prepared, Writer};
use crate::store::signoffs;

/// A list that is ready to be brought in.
pub(in crate::controller) struct ReadyList {
    pub list: CohortList,
    pub prepared: Box<Prepared>,
    pub delta: ListDelta,
    /// What it was when it was looked at.
    pub seen: String,
}

/// A list that is not brought in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingList {
    /// Why.
    pub reason: String,
    /// What bringing it in would do; `None` when it can't be used as it is.
    pub delta: Option<ListDelta>,
    /// The list and the words that were looked at.
    seen: String,
}

impl WaitingList {
    /// As `validate --cohort` ends: 1 for a list that can't be used, 2 for one that waits for a word.
    fn outcome(&self) -> Outcome {
        if self.delta.is_some() { Outcome::NeedsAcknowledgement } else { Outcome::Broken }
    }
}

impl Controller {
    /// The lists of opened cohorts that differ from what is in the database. One that waits is remembered with its reason.
    pub(in crate::controller) async fn changed_lists(
        &mut self,
        name: &str,
        opened: Vec<String>,
        readings: &Readings,
        day0: Date,
    ) -> Result<Vec<ReadyList>, ControllerError> {
        let (Some(built), Some(snapshot)) = (&self.built, self.snapshot.clone()) else { return Ok(Vec::new()) };
        let Some(program) = built.desired.programs.get(name).cloned() else { return Ok(Vec::new()) };
        let said = readings.signoffs.iter().map(|word| (word.name.as_str(), &word.spec, word.verified)).collect();
        let now = self.settings.clock.now();
        let words = Words::new(&program, said, Some(day0), now);
        let mut ready = Vec::new();
        for cohort in opened {
            let Some(resource) = program.cohorts.get(&cohort) else { continue };
            let found = match find_list(&snapshot, resource, &self.settings.data) {
                Ok(found) => found,
                Err(reason) => {
                    // Nothing is lost meanwhile: what was brought in stays as it is.
                    self.list_waits(name, &cohort, Some(WaitingList { reason, delta: None, seen: String::new() }));
                    continue;
                }
            };
            let seen = seen(&program, resource, &found);
            let state = self.programs.entry(name.to_owned()).or_default();
            let waiting = state.waiting_lists.get(&cohort);
            let left_alone = suspended(&program, resource, day0, now).is_some();
            let heard = format!("{seen} {} {} {left_alone}", snapshot.revision.content, readings.signoffs.len());
            let same = waiting.map_or_else(|| state.lists.get(&cohort) == Some(&seen), |waiting| waiting.seen == heard);
            if same {
                continue;
            }
            let look = LookAt {
                store: &self.settings.store,
                keys: &self.settings.keys,
                snapshot: &snapshot,
                data: &self.settings.data,
                program: &program,
                words: &words,
                day0,
                now,
            };
            let waits = match look.list(resource, found).await? {
                Looked::Ready { list, prepared, delta } => {
                    ready.push(ReadyList { list, prepared, delta, seen });
                    None
                }
                Looked::Waits { reason, delta } => Some(WaitingList { reason, delta: Some(delta), seen: heard }),
                Looked::Broken(reason) => Some(WaitingList { reason, delta: None, seen: heard }),
            };
            self.list_waits(name, &cohort, waits);
        }
        Ok(ready)
    }

    fn list_waits(&mut self, name: &str, cohort: &str, waits: Option<WaitingList>) {
        let state = self.programs.entry(name.to_owned()).or_default();
        match waits {
            Some(waits) => {
                let reason = waits.reason.clone();
                let before = state.waiting_lists.insert(cohort.to_owned(), waits);
                if before.is_none_or(|before| before.reason != reason) {
                    tracing::warn!(program = name, cohort, %reason, "a list waits");
                }
            }
            None => drop(state.waiting_lists.remove(cohort)),
        }
    }

    /// What bringing in each list would do, those that wait included.
    pub(in crate::controller) fn list_deltas(&self, name: &str, ready: &[ReadyList]) -> BTreeMap<String, ListDelta> {
        let waiting = self.programs.get(name).into_iter().flat_map(|state| &state.waiting_lists);
        let waiting = waiting.filter_map(|(cohort, waits)| Some((cohort.clone(), waits.delta.clone()?)));
        let gone = self.programs.get(name).into_iter().flat_map(|state| &state.gone);
        let gone = gone.map(|(cohort, gone)| (cohort.clone(), gone.delta.clone()));
        let ready = ready.iter().map(|ready| (ready.list.cohort.clone(), ready.delta.clone()));
        let all = waiting.chain(gone).chain(ready).filter(|(_, delta)| delta.added + delta.removed + delta.changed > 0);
        all.collect()
    }

    /// Adds to the states of cohorts that their lists wait, and for what.
    pub(in crate::controller) fn tell_waiting_lists(&self, name: &str, decision: &mut Decision) {
        for (cohort, waits) in self.programs.get(name).into_iter().flat_map(|state| &state.waiting_lists) {
            if let Some(state) = decision.states.get_mut(&format!("Cohort/{cohort}")) {
                state.summary = format!("{}; its list waits", state.summary);
                let from = "the list, or a sign-off that acknowledges it".to_owned();
                state.waits.push(Wait { on: waits.reason.clone(), from });
                state.needs_somebody = true;
            }
        }
    }

    /// Brings the lists in that wait for nobody.
    pub(in crate::controller) async fn bring_in(
        &mut self,
        name: &str,
        lists: Vec<ReadyList>,
    ) -> Result<(), ControllerError> {
        for ready in lists {
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
                    state.lists.insert(ready.list.cohort, ready.seen);
                }
                Err(ListError::Store(error)) => return Err(error.into()),
                Err(error) => {
                    let waits = WaitingList { reason: error.to_string(), delta: None, seen: String::new() };
                    self.list_waits(name, &ready.list.cohort, Some(waits));
                }
            }
        }
        Ok(())
    }

    /// What the check of each of these cohorts' lists comes to, as `validate --cohort` would say, words that were recorded heard too. A list
    /// that is not to be had is left out.
    pub(in crate::controller) async fn list_outcomes(
        &mut self,
        name: &str,
        cohorts: Vec<String>,
    ) -> Result<BTreeMap<String, Outcome>, ControllerError> {
        let mut outcomes = BTreeMap::new();
        let (Some(built), Some(snapshot)) = (&self.built, self.snapshot.clone()) else { return Ok(outcomes) };
        let Some(program) = built.desired.programs.get(name).filter(|_| !cohorts.is_empty()).cloned() else {
            return Ok(outcomes);
        };
        let said: Vec<_> =
            signoffs::list(&self.settings.store, name).await?.into_iter().filter_map(signoff_fact).collect();
        let seen = format!("{} {}", snapshot.revision.content, said.len());
        let mut unknown = Vec::new();
        for cohort in cohorts {
            let state = self.programs.entry(name.to_owned()).or_default();
            if let Some(waits) = state.waiting_lists.get(&cohort) {
                outcomes.insert(cohort, waits.outcome());
                continue;
            }
            if let Some((_, outcome)) = state.outcomes.get(&cohort).filter(|(known, _)| *known == seen) {
                outcomes.insert(cohort, *outcome);
                continue;
            }
            let known = Known::of_record(&self.settings.store, name, &cohort).await?;
            unknown.push((cohort, known));
        }
        if unknown.is_empty() {
            return Ok(outcomes);
        }
        let (data, now) = (self.settings.data.clone(), self.settings.clock.now());
        let checked = tokio::task::spawn_blocking(move || {
            let said = said.iter().map(|word| (word.name.as_str(), &word.spec, word.verified)).collect();
            let words = Words::new(&program, said, program.program.spec.starts_on, now);
            let outcome = |(cohort, known): (String, Known)| {
                let checked = check(&snapshot, (&program, &cohort), &known, &data, &words).ok()?;
                Some((cohort, checked.outcome()))
            };
            unknown.into_iter().filter_map(outcome).collect::<Vec<_>>()
        });
        let state = self.programs.entry(name.to_owned()).or_default();
        for (cohort, outcome) in checked.await.unwrap_or_default() {
            state.outcomes.insert(cohort.clone(), (seen.clone(), outcome));
            outcomes.insert(cohort, outcome);
        }
        Ok(outcomes)
    }
}

/// What a list is for the controller: its bytes and how they are read.
fn seen(program: &ProgramDesired, cohort: &Resource<CohortSpec>, found: &FoundList) -> String {
    let read_as = read_as(program, &cohort.spec);
    let flags = [read_as.addresses.ignore_dots, read_as.addresses.ignore_plus, read_as.hashed].map(u8::from);
    format!("{} {flags:?}", found.digest)
}
