//! One program, once through the flow.

use betagate_core::decide::{BY_HAND, FreezeFact, decide};
use betagate_core::plan::{Action, plan};
use jiff::Timestamp;

use super::{Controller, ControllerError, remembered};
use crate::store::memory;

impl Controller {
    /// Reads back what is remembered of a program, once.
    pub(super) async fn remember(&mut self, name: &str) -> Result<(), ControllerError> {
        if self.programs.get(name).is_none_or(|state| state.documents.is_none()) {
            let documents = memory::load(&self.settings.store, name).await?;
            self.programs.entry(name.to_owned()).or_default().documents = Some(documents);
            self.remember_readings(name).await?;
        }
        Ok(())
    }

    /// Once through the flow. Says whether anything changed, and when to look again.
    pub(super) async fn pass_program(&mut self, name: &str) -> Result<(bool, Option<Timestamp>), ControllerError> {
        self.remember(name).await?;
        let documents = self.programs.get(name).and_then(|state| state.documents.clone()).unwrap_or_default();
        let remembered = remembered::read(name, &documents)?;
        let now = self.settings.clock.now();
        let Some(day0) = self.day0(name, &remembered, now) else { return Ok((false, None)) };
        self.record(name, day0).await?;
        let measured_again = self.measure(name, &remembered, day0).await?;
        self.collect(self.patient).await?;
        let readings = self.readings(name, &remembered).await?;
        let Some(built) = &self.built else { return Ok((false, None)) };
        let Some(program) = built.desired.programs.get(name) else { return Ok((false, None)) };
        let mut decision = decide(program, &built.desired.revision, &readings, &remembered, now);
        let workloads = self.wanted_workloads(program);
        let capacities = super::lists::capacities(&self.settings.store, program, day0, now).await?;
        let opened = decision.effective.cohorts.iter().filter(|(_, state)| state.opened_before);
        let opened: Vec<String> = opened.map(|(cohort, _)| cohort.clone()).collect();
        let lists = self.changed_lists(name, opened, &readings, day0).await?;
        let gone = self.gone_cohorts(name, &readings, day0).await?;
        let datasets = self.changed_datasets(name, &mut decision, &readings, day0).await?;
        self.tell_waiting_lists(name, &mut decision);
        self.tell_gone_cohorts(name, &mut decision);
        let (published, flags) = self.published(name, &decision).await?;
        let mut observed = self.observed(name, &readings, flags).await?;
        // A freeze by hand that was made since the readings is the next decision's: this one must not take it for undone.
        observed.freezes.retain(|(cohort, holder)| {
            let is_it = |known: &FreezeFact| known.cohort == *cohort && known.holder == *holder;
            !holder.starts_with(BY_HAND) || readings.freezes.iter().any(is_it)
        });
        observed.workloads.retain(|workload, _| workloads.contains_key(workload));
        observed.lists = self.list_deltas(name, &lists);
        observed.capacities = capacities;
        observed.datasets.clone_from(&datasets);
        let plan = plan(&decision.effective, &workloads, &observed);
        let differs = plan.actions.iter().any(|action| matches!(action, Action::SetFlag { .. }));
        let hash = self.hash_of(&decision.effective.flags);
        if let Some(state) = self.programs.get_mut(name) {
            state.published = (!differs).then_some((published, hash));
        }
        let changed = decision.memory != remembered || !decision.sealed.is_empty();
        let again = [decision.look_again_at, measured_again].into_iter().flatten().min();
        if changed || !plan.is_empty() || !decision.messages.is_empty() || self.must_tell(name, &decision) {
            self.commit(name, (decision, now), &plan).await?;
            self.tell_senders(name);
        }
        let undone = self.undo_datasets(name, &plan).await?;
        self.take_back(name, gone).await?;
        self.bring_in(name, lists).await?;
        let brought = self.bring_datasets_in(name, &datasets).await?;
        self.dispatch(name).await?;
        if let Some(state) = self.programs.get_mut(name) {
            state.plan = plan;
        }
        Ok((changed || undone || brought, again))
    }

    /// Whether the first decision of this controller, or a state that changed by the clock alone, is still to be written.
    fn must_tell(&self, name: &str, decision: &betagate_core::decide::Decision) -> bool {
        let last = self.programs.get(name).and_then(|state| state.decision.as_ref());
        last.is_none_or(|last| last.states != decision.states || last.verdicts != decision.verdicts)
    }

    /// Day 0 of a program: as declared, as remembered, or the Monday of the week in which it is first seen.
    fn day0(&self, name: &str, memory: &betagate_core::decide::Memory, now: Timestamp) -> Option<jiff::civil::Date> {
        let built = self.built.as_ref()?;
        let program = built.desired.programs.get(name)?;
        let readings = betagate_core::decide::Readings::default();
        program
            .program
            .spec
            .starts_on
            .or(memory.program.day0)
            .or_else(|| decide(program, &built.desired.revision, &readings, memory, now).memory.program.day0)
    }
}
