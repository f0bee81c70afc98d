//! Rollback plans: triggers and steps. A plan that would touch what must stay online is refused here, when it is written.

use super::{ROUTE_GROUPS, Rules};
use crate::decide::BREAK_GLASS;
use crate::resources::{Action, Kind, RollbackPlanSpec, Step};

impl Rules<'_> {
    pub(super) fn plans(&mut self) {
        for (name, plan) in &self.program.plans {
            if name.starts_with(BREAK_GLASS) {
                let document = self.document(Kind::RollbackPlan, name);
                let message =
                    format!("names that begin with '{BREAK_GLASS}' are those of runs that were begun by hand");
                self.problem(document, "/metadata/name", message);
            }
            self.triggers(name, &plan.spec);
            for (place, step) in plan.spec.steps.iter().enumerate() {
                self.step(name, step, &format!("/spec/steps/{place}"));
            }
        }
    }

    fn triggers(&mut self, name: &str, plan: &RollbackPlanSpec) {
        let document = self.document(Kind::RollbackPlan, name);
        for (place, trigger) in plan.when.iter().enumerate() {
            let pointer = format!("/spec/when/{place}");
            if trigger.incident.is_some() == trigger.gate.is_some() {
                self.problem(document, &pointer, "a trigger is exactly one of incident, gate");
            }
            if let Some(gate) = &trigger.gate {
                self.resource(document, &format!("{pointer}/gate/name"), Kind::Gate, &gate.name);
                let has = self
                    .program
                    .gates
                    .get(&gate.name)
                    .is_none_or(|gate| gate.spec.checks.iter().any(|check| check.critical));
                if gate.critical && !has && !self.documents.doubtful(Kind::Gate, &gate.name, "/spec/checks/*/critical")
                {
                    self.problem(
                        document,
                        &format!("{pointer}/gate/critical"),
                        format!("gate '{}' has no critical check", gate.name),
                    );
                }
            }
            if let Some(incident) = &trigger.incident {
                self.severity(document, &format!("{pointer}/incident/severity"), &incident.severity);
            }
        }
    }

    fn step(&mut self, plan: &str, step: &Step, pointer: &str) {
        let document = self.document(Kind::RollbackPlan, plan);
        if step.actions().count() != 1 {
            self.problem(document, pointer, "a step is exactly one action");
        }
        match step.action() {
            Some(Action::FreezeInvites(freeze)) => {
                self.cohorts_of(document, &format!("{pointer}/freezeInvites/cohorts"), &freeze.cohorts);
            }
            Some(Action::DisableFlags(disable)) => {
                for (place, key) in disable.keys.iter().enumerate() {
                    self.disabled_flag(plan, key, &format!("{pointer}/disableFlags/keys/{place}"));
                }
            }
            Some(Action::KeepOnline(groups)) => {
                for (place, group) in groups.iter().enumerate() {
                    self.known(
                        document,
                        &format!("{pointer}/keepOnline/{place}"),
                        "route group",
                        group,
                        ROUTE_GROUPS.iter().copied(),
                    );
                }
            }
            Some(Action::RouteToFallback(route)) => {
                let routed = self
                    .program
                    .flags
                    .values()
                    .filter(|flag| flag.spec.risk >= route.risk && flag.spec.fallback.is_some());
                if routed.count() == 0 && !self.documents.any_doubtful(Kind::Flag, &["/spec/risk", "/spec/fallback"]) {
                    let message = format!("no flag of risk {:?} or more has a fallback", route.risk).to_lowercase();
                    self.problem(document, &format!("{pointer}/routeToFallback/risk"), message);
                }
                self.fallbacks_stay_clear(plan, route.risk, &format!("{pointer}/routeToFallback"));
            }
            Some(Action::PublishNote(note)) => {
                let channels: Vec<&str> = self.program.program.spec.channels.keys().map(String::as_str).collect();
                let doubted = self.doubted("/spec/channels");
                for (place, channel) in note.to.iter().enumerate().filter(|_| !doubted) {
                    self.known(
                        document,
                        &format!("{pointer}/publishNote/to/{place}"),
                        "channel",
                        channel,
                        channels.iter().copied(),
                    );
                }
                self.template(document, &format!("{pointer}/publishNote/template"), &note.template);
            }
            Some(Action::CaptureRootCause(capture)) => {
                self.person(document, &format!("{pointer}/captureRootCause/owner"), &capture.owner)
            }
            Some(Action::HoldReviews(hold)) => {
                self.severity(document, &format!("{pointer}/holdReviews/severity"), &hold.severity);
            }
            Some(other) => self.further_step(plan, other, pointer),
            None => {}
        }
    }

    fn disabled_flag(&mut self, plan: &str, key: &str, pointer: &str) {
        let document = self.document(Kind::RollbackPlan, plan);
        if !self.resource(document, pointer, Kind::Flag, key) {
            return;
        }
        let Some(flag) = self.program.flags.get(key) else { return };
        if ["/spec/safeVariant", "/spec/variants"].iter().any(|it| self.documents.doubtful(Kind::Flag, &flag.name, it))
        {
            return;
        }
        let Some(safe) = &flag.spec.safe_variant else {
            self.problem(document, pointer, format!("flag '{key}' has no safeVariant, so it cannot be disabled"));
            return;
        };
        let invariant = self.program.program.spec.invariants.iter().find(|invariant| invariant.flag == key);
        if invariant.is_some_and(|invariant| flag.spec.variants.get(safe) != Some(&invariant.is)) {
            self.problem(
                document,
                pointer,
                format!("the program's invariant for '{key}' forbids its safe variant '{safe}'"),
            );
        }
    }

    /// A fallback that lies on an always-online group's path would take that group's place.
    fn fallbacks_stay_clear(&mut self, plan: &str, risk: crate::resources::Risk, pointer: &str) {
        let document = self.document(Kind::RollbackPlan, plan);
        for (key, flag) in self.program.flags.iter().filter(|(_, flag)| flag.spec.risk >= risk) {
            let Some(path) = &flag.spec.fallback else { continue };
            let first = path.split('/').find(|part| !matches!(*part, "" | "api" | "v1")).unwrap_or_default();
            if self.program.program.spec.always_online.iter().any(|group| group == first) {
                let message = format!(
                    "it would route flag '{key}' to '{path}', which belongs to the always-online group '{first}'"
                );
                self.problem(document, pointer, message);
            }
        }
    }
}
