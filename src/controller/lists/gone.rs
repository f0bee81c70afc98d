//! Cohorts whose documents are gone: closed at once, and their unused invites taken back as soon as nothing stands in the way. Who is in stays in.
//!
//! That takes away the whole of a list, so it waits for a person like any other change that revokes many. Must not know: how invites are
//! taken back.

use std::collections::BTreeMap;

use betagate_core::cohort::{NO_LIST, change_digest};
use betagate_core::decide::{Decision, ObjectState, Readings, Wait};
use betagate_core::desired::ProgramDesired;
use betagate_core::plan::ListDelta;
use betagate_core::pull::MASS_CHANGE_PERCENT;
use jiff::{Timestamp, civil::Date};

use super::super::{Controller, ControllerError, commit::ACTOR};
use super::guard::{Guard, Reasons, Words};
use super::look::{program_suspended, said};
use crate::store::cohort_lists::{self, GoneCohort, ListError, Writer};
use crate::store::{Store, StoreError};

/// A cohort without a document, as it was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GoneList {
    gone: GoneCohort,
    /// What taking it back would do; `guard` says what it waits for.
    pub delta: ListDelta,
    /// The revision and the words that were looked at.
    heard: String,
}

/// Looks at a cohort without a document.
pub(in crate::controller) async fn look(
    store: &Store,
    (program, words): (&ProgramDesired, &Words<'_>),
    (cohort, list): (&str, Option<String>),
    (day0, now): (Date, Timestamp),
) -> Result<(GoneCohort, ListDelta), StoreError> {
    let gone = cohort_lists::look_at_gone(store, program.name(), cohort, list).await?;
    let change = change_digest(gone.list.as_deref(), NO_LIST);
    let percent = program.program.spec.mass_change_percent.unwrap_or(MASS_CHANGE_PERCENT);
    let mut reasons = Reasons::default();
    if gone.unused > 0 && percent < 100 {
        let many =
            if gone.unused == 1 { "1 unused invite".to_owned() } else { format!("{} unused invites", gone.unused) };
        reasons.of_change.push(format!("its document is gone, which would revoke {many}"));
    }
    let guard = reasons.heard(words, cohort, NO_LIST, &change);
    // Whatever was acknowledged: what differs is shown, and not put right.
    let left_alone = program_suspended(program, day0, now).filter(|_| gone.unused + gone.codes > 0);
    let delta = ListDelta {
        digest: change,
        removed: gone.unused,
        members_removed: gone.members,
        first: gone.first.iter().map(said).collect(),
        guard: left_alone.or(guard.map(|Guard { reason, .. }| reason)),
        ..ListDelta::default()
    };
    Ok((gone, delta))
}

impl Controller {
    /// Looks for cohorts in the database whose documents are gone, or are there again. Those that wait for nobody are given back.
    pub(in crate::controller) async fn gone_cohorts(
        &mut self,
        name: &str,
        readings: &Readings,
        day0: Date,
    ) -> Result<Vec<GoneCohort>, ControllerError> {
        let (Some(built), Some(snapshot)) = (&self.built, self.snapshot.clone()) else { return Ok(Vec::new()) };
        let Some(program) = built.desired.programs.get(name).cloned() else { return Ok(Vec::new()) };
        let (store, now) = (self.settings.store.clone(), self.settings.clock.now());
        let words = readings.signoffs.iter().map(|word| (word.name.as_str(), &word.spec, word.verified)).collect();
        let words = Words::new(&program, words, Some(day0), now);
        let left_alone = program_suspended(&program, day0, now).is_some();
        let heard = format!("{} {} {left_alone}", snapshot.revision.content, readings.signoffs.len());
        let state = self.programs.entry(name.to_owned()).or_default();
        let mut before = std::mem::take(&mut state.gone);
        state.waiting_lists.retain(|cohort, _| program.cohorts.contains_key(cohort));
        let (mut waiting, mut ready) = (BTreeMap::new(), Vec::new());
        let known = cohort_lists::known_cohorts(&store, name).await?;
        let untaken =
            known.iter().filter(|(cohort, _, taken_back)| !taken_back && !program.cohorts.contains_key(cohort));
        let untaken = (snapshot.revision.content.clone(), untaken.map(|(cohort, ..)| cohort.clone()).collect());
        if state.untaken != untaken {
            state.untaken = untaken;
            self.decided += 1;
        }
        for (cohort, list, taken_back) in known {
            match (program.cohorts.contains_key(&cohort), taken_back) {
                (true, true) => {
                    let writer = Writer { actor: ACTOR, epoch: Some(self.epoch) };
                    cohort_lists::is_back(&store, name, &cohort, writer, now).await?;
                }
                (true, false) | (false, true) => {}
                (false, false) => {
                    state.lists.remove(&cohort);
                    state.outcomes.remove(&cohort);
                    if let Some(same) = before.remove(&cohort).filter(|known| known.heard == heard) {
                        waiting.insert(cohort, same);
                        continue;
                    }
                    let (gone, delta) = look(&store, (&program, &words), (&cohort, list), (day0, now)).await?;
                    if let Some(reason) = &delta.guard {
                        tracing::warn!(program = name, cohort, %reason, "a cohort whose document is gone waits");
                        waiting.insert(cohort, GoneList { gone, delta, heard: heard.clone() });
                    } else {
                        ready.push(gone);
                    }
                }
            }
        }
        state.gone = waiting;
        Ok(ready)
    }

    /// Adds to the states of a program what cohorts without a document wait for.
    pub(in crate::controller) fn tell_gone_cohorts(&self, name: &str, decision: &mut Decision) {
        for (cohort, GoneList { delta, .. }) in self.programs.get(name).into_iter().flat_map(|state| &state.gone) {
            let on = delta.guard.clone().unwrap_or_default();
            let from = "its document, or a sign-off that acknowledges it".to_owned();
            let state = ObjectState {
                state: "Gone".to_owned(),
                summary: format!("its document is gone; {} unused invite(s) wait", delta.removed),
                needs_somebody: true,
                waits: vec![Wait { on: format!("{on} (acknowledge digest {})", delta.digest), from }],
            };
            decision.states.insert(format!("Cohort/{cohort}"), state);
        }
    }

    /// Takes back what the cohorts that wait for nobody still let in.
    pub(in crate::controller) async fn take_back(
        &mut self,
        name: &str,
        cohorts: Vec<GoneCohort>,
    ) -> Result<(), ControllerError> {
        for gone in cohorts {
            let writer = Writer { actor: ACTOR, epoch: Some(self.epoch) };
            let (store, now) = (&self.settings.store, self.settings.clock.now());
            match cohort_lists::take_back(store, name, &gone, writer, now).await {
                Ok(revoked) => {
                    tracing::info!(program = name, cohort = %gone.cohort, revoked, "took back a cohort whose document is gone");
                }
                Err(ListError::Store(error)) => return Err(error.into()),
                // Its list has changed since: the next pass looks again.
                Err(error) => tracing::warn!(program = name, cohort = %gone.cohort, error = %error, "looked at again"),
            }
        }
        Ok(())
    }
}
