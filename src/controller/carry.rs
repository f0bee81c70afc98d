//! One program, once through the flow; and the workloads of all programs, made so on this machine.

use std::collections::BTreeMap;
use std::time::Duration;

use betagate_core::decide::decide;
use betagate_core::desired::ProgramDesired;
use betagate_core::plan::{RunningWorkload, plan};
use betagate_core::resources::{Component, WorkloadSpec};
use jiff::Timestamp;

use super::{Controller, ControllerError, remembered};
use crate::apply::processes::{CommandLine, Listens, ProcessSpec, Ready};
use crate::store::memory;

/// The API process that always runs.
pub const BUILT_IN_API: &str = "betagate-api";
/// How long a process may take to end.
const STOP_GRACE: Duration = Duration::from_secs(10);

impl Controller {
    /// Once through the flow. Says whether anything changed, and when to look again.
    pub(super) async fn pass_program(&mut self, name: &str) -> Result<(bool, Option<Timestamp>), ControllerError> {
        if self.programs.get(name).is_none_or(|state| state.documents.is_none()) {
            let documents = memory::load(&self.settings.store, name).await?;
            self.programs.entry(name.to_owned()).or_default().documents = Some(documents);
            self.remember_readings(name).await?;
        }
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
        let decision = decide(program, &built.desired.revision, &readings, &remembered, now);
        let workloads = self.wanted_workloads(program);
        let opened = decision.effective.cohorts.iter().filter(|(_, state)| state.opened_before);
        let opened: Vec<String> = opened.map(|(cohort, _)| cohort.clone()).collect();
        let lists = self.changed_lists(name, opened, &readings, day0).await?;
        let mut observed = self.observed(name).await?;
        observed.workloads.retain(|workload, _| workloads.contains_key(workload));
        observed.lists = lists.iter().map(|ready| (ready.list.cohort.clone(), ready.delta.clone())).collect();
        observed.lists.retain(|_, delta| delta.added + delta.removed + delta.changed > 0);
        let plan = plan(&decision.effective, &workloads, &observed);
        let changed = decision.memory != remembered || !decision.sealed.is_empty();
        let again = [decision.look_again_at, measured_again].into_iter().flatten().min();
        if changed || !plan.is_empty() || !decision.messages.is_empty() || self.must_tell(name, &decision) {
            self.commit(name, decision, &plan).await?;
        }
        self.bring_in(name, lists).await?;
        self.dispatch(name).await?;
        if let Some(state) = self.programs.get_mut(name) {
            state.plan = plan;
        }
        Ok((changed, again))
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

    fn wanted_workloads(&self, program: &ProgramDesired) -> BTreeMap<String, RunningWorkload> {
        if self.settings.supervisor.is_none() {
            return BTreeMap::new();
        }
        let specs = program.workloads.iter().map(|(name, workload)| (name, self.process(name, &workload.spec)));
        specs
            .map(|(name, spec)| (name.clone(), RunningWorkload { revision: spec.revision, replicas: spec.replicas }))
            .collect()
    }

    /// Makes the workloads of every program so, and the built-in API process with them.
    pub(super) async fn apply_workloads(&mut self) -> Result<(), ControllerError> {
        let Some(supervisor) = self.settings.supervisor.clone() else { return Ok(()) };
        let mut wanted = vec![self.own_process(BUILT_IN_API, "api", 1, BTreeMap::new())];
        for program in self.built.iter().flat_map(|built| built.desired.programs.values()) {
            for (name, workload) in program.workloads.iter().filter(|(_, workload)| workload.spec.suspend.is_none()) {
                wanted.push(self.process(name, &workload.spec));
            }
        }
        for spec in &wanted {
            if let Err(error) = spec.check() {
                tracing::warn!(workload = %spec.workload, error = %error, "a workload can't run on this machine");
            }
        }
        wanted.retain(|spec| spec.check().is_ok());
        supervisor.set_desired(wanted).await?;
        Ok(())
    }

    /// Whether a workload's processes serve the API.
    pub(super) fn is_api(&self, workload: &str) -> bool {
        let programs = self.built.iter().flat_map(|built| built.desired.programs.values());
        workload == BUILT_IN_API
            || programs
                .filter_map(|program| program.workloads.get(workload))
                .any(|workload| workload.spec.component == Component::Api && workload.spec.command.is_none())
    }

    fn process(&self, name: &str, spec: &WorkloadSpec) -> ProcessSpec {
        let mut env = spec.env_strings();
        for (variable, secret) in &spec.secret_env {
            use secrecy::ExposeSecret as _;
            match super::secret_in(&self.settings.data, secret) {
                Ok(value) => drop(env.insert(variable.clone(), value.expose_secret().to_owned())),
                Err(error) => tracing::warn!(workload = name, %error, "a setting is left out"),
            }
        }
        let Some(command) = spec.command.clone() else {
            let part = if spec.component == Component::Api { "api" } else { "worker" };
            return self.own_process(name, part, spec.replicas, env);
        };
        let ready = match &spec.health {
            Some(health) => Ready::Http { path: health.path.clone(), port: None },
            None => Ready::Started,
        };
        let listens = match (spec.port, &spec.health) {
            (Some(port), _) => Listens::OwnPort(Some(port)),
            (None, Some(_)) => Listens::OwnPort(None),
            (None, None) => Listens::None,
        };
        let command = CommandLine::Command(command);
        let (workload, replicas) = (name.to_owned(), spec.replicas);
        ProcessSpec {
            workload,
            revision: String::new(),
            command,
            env,
            replicas,
            listens,
            ready,
            stop_grace: STOP_GRACE,
        }
        .with_digest()
    }

    /// A process of this binary, which finds the database and the data folder in its environment.
    fn own_process(&self, name: &str, part: &str, replicas: u32, mut env: BTreeMap<String, String>) -> ProcessSpec {
        use secrecy::ExposeSecret as _;
        env.insert("BETAGATE_DATABASE".to_owned(), self.settings.database_url.expose_secret().to_owned());
        env.insert("BETAGATE_DATA".to_owned(), self.settings.data.display().to_string());
        env.extend(self.settings.child_env.clone());
        let command = CommandLine::ThisBinary(vec![part.to_owned()]);
        let listens = if part == "api" { Listens::Shared } else { Listens::None };
        let workload = name.to_owned();
        ProcessSpec {
            workload,
            revision: String::new(),
            command,
            env,
            replicas,
            listens,
            ready: Ready::Report,
            stop_grace: STOP_GRACE,
        }
        .with_digest()
    }
}
