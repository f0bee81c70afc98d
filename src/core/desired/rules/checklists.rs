//! Checklists: the phases of a gate, and checks that compare with what was before a stage.

use std::collections::BTreeSet;

use super::{Document, Rules};
use crate::resources::{AfterStage, Check, GateSpec, Kind, Unit};

impl Rules<'_> {
    pub(super) fn phases(&mut self, gate: &str, spec: &GateSpec) {
        let document = self.document(Kind::Gate, gate);
        let mut seen = BTreeSet::new();
        for (place, phase) in spec.phases.iter().enumerate() {
            let pointer = format!("/spec/phases/{place}");
            if !seen.insert(phase.name.as_str()) {
                let message = format!("there is already a phase '{}' in this gate", phase.name);
                self.problem(document, &format!("{pointer}/name"), message);
            }
            if phase.from.is_some() && phase.after.is_some() {
                self.problem(
                    document,
                    &format!("{pointer}/after"),
                    "a phase begins from a moment, or after a stage: give one of them",
                );
            }
            self.lasting(document, &format!("{pointer}/within"), phase.within);
            self.lasting(document, &format!("{pointer}/every"), phase.every);
            for (field, stage) in [("after", &phase.after), ("until", &phase.until)] {
                if let Some(stage) = stage {
                    self.stage_of(document, &format!("{pointer}/{field}"), stage);
                }
            }
            if let Some(undo) = &phase.undo {
                if undo.plan.is_none() && undo.how.is_none() {
                    self.problem(document, &format!("{pointer}/undo"), "undo needs plan or how");
                }
                if let Some(plan) = &undo.plan {
                    self.resource(document, &format!("{pointer}/undo/plan"), Kind::RollbackPlan, plan);
                }
            }
            if !spec.checks.iter().any(|check| check.phase.as_ref() == Some(&phase.name)) {
                self.warning(document, &pointer, format!("no check belongs to phase '{}'", phase.name));
            }
        }
        if spec.in_order && spec.phases.len() < 2 {
            self.problem(document, "/spec/inOrder", "an order needs two phases");
        }
    }

    fn stage_of(&mut self, document: Option<&Document>, pointer: &str, named: &AfterStage) {
        if self.resource(document, &format!("{pointer}/rollout"), Kind::Rollout, &named.rollout)
            && let Some(rollout) = self.program.rollouts.get(&named.rollout)
        {
            let stages = rollout.spec.stages.iter().map(|stage| stage.name.as_str());
            self.known(document, &format!("{pointer}/stage"), "stage in that rollout", &named.stage, stages);
        }
    }

    /// Whoever reads some phases of a gate names phases that it has.
    pub(super) fn phases_read(&mut self, document: Option<&Document>, pointer: &str, gate: &str, phases: &[String]) {
        let known = self.program.gates.get(gate).map(|gate| &gate.spec.phases);
        let Some(known) = known.filter(|_| !self.documents.doubtful(Kind::Gate, gate, "/spec/phases")) else { return };
        for (place, phase) in phases.iter().enumerate() {
            let names = known.iter().map(|phase| phase.name.as_str());
            self.known(document, &format!("{pointer}/phases/{place}"), "phase in that gate", phase, names);
        }
    }

    pub(super) fn in_phase(&mut self, gate: &str, check: &Check, pointer: &str) {
        let document = self.document(Kind::Gate, gate);
        let Some(phase) = &check.phase else { return };
        let phases = self.program.gates.get(gate).map(|gate| &gate.spec.phases);
        let known = phases.into_iter().flatten().map(|phase| phase.name.as_str());
        self.known(document, &format!("{pointer}/phase"), "phase in this gate", phase, known);
    }

    pub(super) fn versus(&mut self, gate: &str, check: &Check, pointer: &str) {
        let document = self.document(Kind::Gate, gate);
        if check.vs.is_none() {
            return;
        }
        let at = format!("{pointer}/vs");
        if !check.is_measured() {
            self.problem(document, &at, "only what is measured can be compared: kpi, sql, prometheus, http, job, fact");
        } else if self.program.rollouts.is_empty() {
            self.problem(document, &at, "the program has no rollout, so there is no stage to compare with");
        }
        if check.pass.as_ref().is_some_and(|pass| pass.unit == Unit::Seconds) {
            let message = "a comparison is a share of what was before: <= 150%, >= 0.9";
            self.problem(document, &format!("{pointer}/pass"), message);
        }
    }
}
