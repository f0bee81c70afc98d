//! Incidents, sign-offs and workloads.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Rules, is_variable, token};
use crate::resources::{Component, Kind, Says, SignoffSpec, check_title};

impl Rules<'_> {
    pub(super) fn records(&mut self) {
        for (name, incident) in &self.program.incidents {
            if incident.spec.resolved_at.is_some_and(|resolved| resolved < incident.spec.started_at) {
                self.problem(
                    self.document(Kind::Incident, name),
                    "/spec/resolvedAt",
                    "it is resolved before it started",
                );
            }
            if let Err(message) = check_title(incident.spec.title.trim()) {
                self.problem(self.document(Kind::Incident, name), "/spec/title", message);
            }
            if incident.spec.acknowledged_at.is_some_and(|acknowledged| acknowledged < incident.spec.started_at) {
                let document = self.document(Kind::Incident, name);
                self.problem(document, "/spec/acknowledgedAt", "it is acknowledged before it started");
            }
        }
        for (name, signoff) in &self.program.signoffs {
            self.signoff(name, &signoff.spec);
        }
        self.workloads();
        self.done();
        self.datasets();
    }

    fn signoff(&mut self, name: &str, spec: &SignoffSpec) {
        let document = self.document(Kind::Signoff, name);
        self.person(document, "/spec/by", &spec.by);
        let wanted: &[(&str, bool)] = match spec.says {
            Says::Done => &[("gate", spec.gate.is_none()), ("check", spec.check.is_none())],
            Says::Waive | Says::AcceptMitigation => &[
                ("gate", spec.gate.is_none()),
                ("check", spec.check.is_none()),
                ("note", spec.note.as_deref().is_none_or(|note| note.trim().is_empty())),
                ("until", spec.until.is_none()),
            ],
            Says::Go | Says::NoGo => &[("rollout", spec.rollout.is_none()), ("stage", spec.stage.is_none())],
            Says::Lift => &[("run", spec.run.is_none())],
            Says::Acknowledge => &[("object", spec.object.is_none()), ("digest", spec.digest.is_none())],
        };
        let says = serde_json::to_value(spec.says).unwrap_or_default();
        for (field, _) in wanted.iter().filter(|(_, missing)| *missing) {
            self.problem(
                document,
                "/spec/says",
                format!("a sign-off that says {} names {field}", says.as_str().unwrap_or_default()),
            );
        }
        if let Some(gate) = &spec.gate
            && self.resource(document, "/spec/gate", Kind::Gate, gate)
            && let (Some(check), Some(gate)) = (&spec.check, self.program.gates.get(gate))
            && !self.documents.doubtful(Kind::Gate, &gate.name, "/spec/checks/*/name")
        {
            self.known(
                document,
                "/spec/check",
                "check in that gate",
                check,
                gate.spec.checks.iter().map(|check| check.name.as_str()),
            );
        }
        let has_call = || {
            let stages = self.program.rollouts.get(spec.rollout.as_deref()?)?.spec.stages.iter();
            let mut stages = stages.filter(|stage| Some(&stage.name) == spec.stage.as_ref());
            stages.next()?.enter.as_ref()?.signoffs.as_ref()?.call
        };
        if spec.says == Says::NoGo && has_call().is_some() {
            for (field, what) in spec.no_go_lacks(true) {
                self.problem(document, "/spec/says", format!("a no-go in a decision call names {field}, {what}"));
            }
        }
        if let Some(rollout) = &spec.rollout
            && self.resource(document, "/spec/rollout", Kind::Rollout, rollout)
            && let (Some(stage), Some(rollout)) = (&spec.stage, self.program.rollouts.get(rollout))
            && !self.documents.doubtful(Kind::Rollout, &rollout.name, "/spec/stages/*/name")
        {
            self.known(
                document,
                "/spec/stage",
                "stage in that rollout",
                stage,
                rollout.spec.stages.iter().map(|stage| stage.name.as_str()),
            );
        }
    }

    /// A `done` for something that is measured, or by somebody whose word is not asked for, changes nothing.
    fn done(&mut self) {
        for (name, signoff) in self.program.signoffs.iter().filter(|(_, signoff)| signoff.spec.says == Says::Done) {
            let spec = &signoff.spec;
            let gate = spec.gate.as_ref().and_then(|gate| self.program.gates.get(gate));
            let check =
                gate.and_then(|gate| gate.spec.checks.iter().find(|check| Some(&check.name) == spec.check.as_ref()));
            let Some(check) = check else { continue };
            if self.documents.doubtful(
                Kind::Gate,
                spec.gate.as_deref().unwrap_or_default(),
                "/spec/checks/*/signoff/from/*",
            ) {
                continue;
            }
            let document = self.document(Kind::Signoff, name);
            match &check.signoff {
                None => {
                    let message = format!("check '{}' is measured, so a word changes nothing", check.name);
                    self.warning(document, "/spec/check", message);
                }
                Some(asked) if !asked.from.is_empty() && !asked.from.contains(&spec.by) => {
                    let message = format!("check '{}' asks for the word of {}", check.name, asked.from.join(" or "));
                    self.warning(document, "/spec/by", message);
                }
                Some(_) => {}
            }
        }
    }

    fn workloads(&mut self) {
        let mut ports: BTreeMap<u16, &str> = BTreeMap::new();
        for (name, workload) in &self.program.workloads {
            let document = self.document(Kind::Workload, name);
            let spec = &workload.spec;
            let own = spec.image.is_none() && spec.command.is_none();
            if own && spec.component == Component::Web {
                self.problem(document, "/spec/component", "a web workload needs an image or a command");
            }
            if spec.command.as_ref().is_some_and(Vec::is_empty) {
                self.problem(document, "/spec/command", "the command is empty");
            }
            if spec.migrate.as_ref().is_some_and(Vec::is_empty) {
                self.problem(document, "/spec/migrate", "the command is empty");
            }
            for (field, variable) in
                spec.env.keys().map(|name| ("env", name)).chain(spec.secret_env.keys().map(|name| ("secretEnv", name)))
            {
                let place = format!("/spec/{field}/{}", token(variable));
                if !is_variable(variable) {
                    let message = format!("'{variable}' is no name for an environment variable");
                    self.problems.extend(document.map(|document| document.problem_at_key(&place, message)));
                } else if field == "secretEnv" && spec.env.contains_key(variable) {
                    let message = format!("'{variable}' stands in env too");
                    self.problems.extend(document.map(|document| document.problem_at_key(&place, message)));
                }
            }
            if spec.health.as_ref().is_some_and(|health| !health.path.starts_with('/')) {
                self.problem(document, "/spec/health/path", "a path starts with /");
            }
            for (variable, value) in &spec.env {
                if matches!(value, Value::Object(_) | Value::Array(_) | Value::Null) {
                    self.problem(
                        document,
                        &format!("/spec/env/{}", token(variable)),
                        "a setting is a string, a number or a boolean",
                    );
                }
            }
            if let Some(port) = spec.port.filter(|_| !self.documents.given(Kind::Workload, name)) {
                let other = ports.entry(port).or_insert(name);
                if other != name {
                    self.problem(document, "/spec/port", format!("workload '{other}' has port {port} already"));
                }
            }
        }
    }
}
