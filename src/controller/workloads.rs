//! The workloads of all programs, made so on this machine; their revisions are kept in the store, so that an earlier one can be gone back
//! to also after the machine was started anew.
//!
//! Must not know: how a process is run.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use betagate_core::desired::ProgramDesired;
use betagate_core::plan::RunningWorkload;
use betagate_core::resources::{Component, WorkloadSpec};
use jiff::SignedDuration;
use serde::Deserialize as _;

use super::{Controller, ControllerError};
use crate::apply::processes::{CommandLine, Listens, ProcessSpec, ProcessState, Ready, Supervisor};
use crate::store::workloads::{self, Revision};

/// The API process that always runs.
pub const BUILT_IN_API: &str = "betagate-api";
/// How long a process may take to end.
const STOP_GRACE: Duration = Duration::from_secs(10);
/// A revision whose process was ready for so long is one to go back to.
const PROVEN_AFTER: SignedDuration = SignedDuration::from_secs(30);

/// What the controller has told the store and the supervisor of revisions.
#[derive(Default)]
pub(super) struct KnownRevisions {
    /// Workloads whose earlier revisions the supervisor knows.
    told: BTreeSet<String>,
    /// The revision of each workload that was recorded last.
    wanted: BTreeMap<String, String>,
    proven: BTreeSet<(String, String)>,
}

impl Controller {
    pub(super) fn wanted_workloads(&self, program: &ProgramDesired) -> BTreeMap<String, RunningWorkload> {
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
        self.keep_revisions(&supervisor).await?;
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

    /// Tells the supervisor of the revisions of an earlier life, and the store of new ones and of those that stay up.
    async fn keep_revisions(&mut self, supervisor: &Supervisor) -> Result<(), ControllerError> {
        let (store, now) = (self.settings.store.clone(), self.settings.clock.now());
        let mut all: Vec<(String, String, WorkloadSpec)> = Vec::new();
        for (program, desired) in self.built.iter().flat_map(|built| &built.desired.programs) {
            let workloads = desired.workloads.iter().filter(|(_, workload)| workload.spec.suspend.is_none());
            all.extend(workloads.map(|(name, workload)| (program.clone(), name.clone(), workload.spec.clone())));
        }
        for (program, workload, spec) in all {
            if !self.revisions.told.contains(&workload) {
                let known = workloads::revisions(&store, &workload).await?;
                // One that an older version of this program wrote and this one can't read is no revision to go back to.
                let specs =
                    known.iter().filter_map(|known| Some((known, WorkloadSpec::deserialize(&known.spec).ok()?)));
                let specs: Vec<_> =
                    specs.map(|(known, spec)| (known.proven_at, self.process(&workload, &spec))).collect();
                let proven =
                    specs.iter().filter(|(at, _)| at.is_some()).max_by_key(|(at, _)| *at).map(|(_, spec)| spec.clone());
                supervisor.remember(specs.into_iter().map(|(_, spec)| spec).collect(), proven).await?;
                self.revisions.told.insert(workload.clone());
            }
            let revision = self.process(&workload, &spec).revision;
            if self.revisions.wanted.get(&workload) != Some(&revision) {
                let spec = serde_json::to_value(&spec).map_err(|error| ControllerError::Setup(error.to_string()))?;
                let (name, wanted_at, proven_at) = (workload.clone(), now, None);
                workloads::want(
                    &store,
                    &Revision { workload: name, revision: revision.clone(), program, spec, wanted_at, proven_at },
                )
                .await?;
                self.revisions.wanted.insert(workload, revision);
            }
        }
        for status in supervisor.observed() {
            let stays = status.state == ProcessState::Ready && now.duration_since(status.since) >= PROVEN_AFTER;
            let of_document = self.revisions.wanted.get(&status.workload) == Some(&status.revision);
            if stays && of_document && self.revisions.proven.insert((status.workload.clone(), status.revision.clone()))
            {
                workloads::prove(&store, &status.workload, &status.revision, now).await?;
            }
        }
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
