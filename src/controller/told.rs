//! What is to be said of every resource of a cluster: gathered when something was decided or seen, and given to whoever writes statuses.
//!
//! Must not know: how a status is written.

use std::collections::{BTreeMap, BTreeSet};

use betagate_core::decide::{Decision, RunMemory};
use betagate_core::desired::settle::Standing;
use betagate_core::resources::Kind;
use serde_json::{Value, json};

use super::commit::ACTOR;
use super::{Controller, ControllerError};
use crate::apply::cluster::selector;
use crate::apply::workloads::RunState;
use crate::source::cluster::{Key, Seen};
use crate::status::cluster::{FINALIZER, Told, Wanted, Wish};
use crate::store::{invites, leadership};

impl Controller {
    /// Has the statuses of resources say what is so now. Costs nothing where nothing was decided and nothing seen since.
    pub(super) fn tell_cluster(&mut self) {
        let (Some(teller), Some(watched)) = (&self.teller, self.settings.source.watched()) else { return };
        let moment = (self.decided, watched.version(), self.git.as_ref().map_or(0, |git| git.version));
        if self.wished == Some(moment) {
            return;
        }
        self.wished = Some(moment);
        let said_elsewhere = self.programs.values().flat_map(|state| state.said_elsewhere.clone()).collect();
        let mut wish = Wish { records: self.records(watched), said_elsewhere, ..Wish::default() };
        let states: BTreeMap<&str, _> =
            self.decisions().flat_map(|it| &it.states).map(|(key, it)| (key.as_str(), it)).collect();
        let observed = self.target.observed();
        let (counts, mut running) = (self.target.makes_so(), BTreeMap::<&str, u32>::new());
        for one in observed.iter().filter(|one| one.state != RunState::Stopping) {
            *running.entry(&one.workload).or_default() += 1;
        }
        let resources = watched.resources();
        teller.keep(&resources);
        for (key, seen) in resources {
            if seen.taken_over {
                wish.taken_over.insert(key.clone());
            }
            // Of a program that was not gone through yet nobody knows what is to be shown.
            let known = self.programs.get(&seen.program).is_some_and(|state| state.records.is_some());
            if seen.recorded.is_some() && known && !wish.records.contains_key(&key) {
                wish.withdrawn.insert(key.clone());
            }
            if let Some(mut wanted) = self.wanted(&key, &seen) {
                if key.kind == Kind::Workload {
                    wanted.replicas = running.get(key.name.as_str()).copied().or(Some(0)).filter(|_| counts);
                    wanted.selector = counts.then(|| selector(&key.name));
                }
                if let Some(state) = states.get(format!("{}/{}", key.kind, key.name).as_str()) {
                    wanted.state = Some(state.state.clone());
                    wanted.summary = Some(state.summary.clone());
                }
                let ours = seen.marks.as_ref().is_some_and(|marks| marks.ours);
                wanted.applied = self.git.as_ref().and_then(|git| git.told_of(&key, ours));
                // Of ten thousand resources nearly all say it already. What a run holds is added below.
                if key.kind == Kind::Rollback || !teller.says(&key, &wanted, &seen) {
                    wish.resources.insert(key, wanted);
                }
            }
        }
        for (program, state) in &self.programs {
            for (id, run) in state.decision.iter().flat_map(|decision| &decision.memory.runs) {
                let key = Key { kind: Kind::Rollback, name: id.clone() };
                if let Some(wanted) = wish.resources.get_mut(&key) {
                    wanted.holds = holds(run);
                    wanted.decided = true;
                }
                if run.in_force() {
                    wish.runs.insert(id.clone(), spec(program, run));
                }
            }
        }
        teller.wish(wish);
    }

    /// Tells what a decision did to resources, as events.
    pub(super) fn tell_events(&self, decision: &Decision) {
        let (Some(teller), Some(watched)) = (&self.teller, self.settings.source.watched()) else { return };
        for event in &decision.events {
            let Some((kind, name)) = event.object.split_once('/') else { continue };
            let Ok(kind) = kind.parse() else { continue };
            // A run has no resource yet when it begins: its plan has one.
            let run = decision.memory.runs.get(name).filter(|_| kind == Kind::Rollback);
            let of_plan = || {
                run.and_then(|run| {
                    Some((Kind::RollbackPlan, watched.resource(Kind::RollbackPlan, &run.plan)?, run.plan.clone()))
                })
            };
            let own = watched.resource(kind, name).map(|seen| (kind, seen, name.to_owned()));
            if let Some((kind, seen, name)) = own.or_else(of_plan) {
                let key = Key { kind, name };
                teller.tell(Told { key, uid: seen.uid.clone(), reason: event.reason.clone() });
            }
        }
    }

    /// Whether a cohort's invites exist, so that its deletion has something to take back.
    fn has_invites(&self, key: &Key, seen: &Seen) -> bool {
        let decision = self.programs.get(&seen.program).and_then(|state| state.decision.as_ref());
        let cohort = decision.and_then(|decision| decision.effective.cohorts.get(&key.name));
        key.kind == Kind::Cohort && cohort.is_some_and(|cohort| cohort.opened_before)
    }

    /// Whether nothing stands in the way of a deletion: what the cohort made is taken back, or its program goes with it and lets nobody in any more.
    fn may_go(&self, key: &Key, seen: &Seen) -> bool {
        if key.kind != Kind::Cohort || self.closed_with.contains(&seen.program) {
            return true;
        }
        let wanted = self.built.as_ref().and_then(|built| built.desired.programs.get(&seen.program));
        let (Some(wanted), Some(state)) = (wanted, self.programs.get(&seen.program)) else { return false };
        let (revision, untaken) = &state.untaken;
        let current = self.snapshot.as_ref().is_some_and(|snapshot| snapshot.revision.content == *revision);
        current && !wanted.cohorts.contains_key(&key.name) && !untaken.contains(&key.name)
    }

    /// Closes what is left of programs that are deleted with their cohorts (a namespace that ends): nobody comes in any more, and the
    /// cohorts may go.
    pub(super) async fn close_with_programs(&mut self) -> Result<(), ControllerError> {
        let Some(watched) = self.settings.source.watched() else { return Ok(()) };
        if self.wished.is_some_and(|(decided, version, _)| (decided, version) == (self.decided, watched.version())) {
            return Ok(());
        }
        let ours = |seen: &Seen| seen.deleting && seen.finalizers.iter().any(|one| one == FINALIZER);
        let going: BTreeSet<String> = watched
            .resources()
            .into_iter()
            .filter(|(key, seen)| key.kind == Kind::Cohort && ours(seen))
            .map(|(_, seen)| seen.program.clone())
            .filter(|program| watched.resource(Kind::Program, program).is_none_or(|program| program.deleting))
            .collect();
        for program in &going {
            if self.closed_with.contains(program) {
                continue;
            }
            let now = self.settings.clock.now();
            let mut tx = self.settings.store.begin().await?;
            leadership::fence(&mut tx, self.epoch).await?;
            invites::close_all(&mut tx, program, ACTOR, now).await?;
            tx.commit().await?;
            self.decided += 1;
        }
        self.closed_with = going;
        Ok(())
    }

    fn decisions(&self) -> impl Iterator<Item = &Decision> {
        self.programs.values().filter_map(|state| state.decision.as_ref())
    }

    /// What is to be said of a resource; nothing of one that the controller has not judged as it is now.
    fn wanted(&self, key: &Key, seen: &Seen) -> Option<Wanted> {
        if key.kind == Kind::Rollback || seen.deleting {
            let waits = seen.deleting.then(|| !self.may_go(key, seen));
            let deleting = seen.deleting;
            return Some(Wanted { generation: seen.generation, deleting, waits, ..Wanted::default() });
        }
        if seen.recorded.is_some() {
            let standing = Some(Standing::Accepted);
            return Some(Wanted { generation: seen.generation, standing, decided: true, ..Wanted::default() });
        }
        let (standing, decided) = self.ledger.as_ref()?.judged(&key.path(), seen.digest())?;
        let decided = decided && self.programs.values().any(|state| state.decision.is_some());
        let waits = self.has_invites(key, seen).then_some(true);
        let standing = Some(standing.clone());
        Some(Wanted { generation: seen.generation, standing, decided, waits, ..Wanted::default() })
    }
}

/// The steps that hold something, as people count them.
fn holds(run: &RunMemory) -> Vec<String> {
    let holding = run.steps.iter().enumerate().filter(|(_, step)| step.holds());
    holding.map(|(place, step)| format!("{} {}", place + 1, step.step.name())).collect()
}

fn spec(program: &str, run: &RunMemory) -> Value {
    let first = run.episodes.first();
    json!({
        "program": program,
        "plan": run.plan,
        "episode": first.map(|episode| episode.number),
        "reason": first.map(|episode| episode.reason.clone()),
        "startedAt": run.started_at,
        "steps": run.steps.iter().map(|step| &step.step).collect::<Vec<_>>(),
    })
}
