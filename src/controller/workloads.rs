//! The workloads of all programs, made so on this machine; their revisions are kept in the store, so that an earlier one can be gone back
//! to also after the machine was started anew.
//!
//! Must not know: how a process is run.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use betagate_core::decide::{
    ProcessFact, Quarantined, RunMemory, StepMemory, WorkloadFact, WorkloadHold, quarantine, workload_holds,
};
use betagate_core::desired::ProgramDesired;
use betagate_core::plan::RunningWorkload;
use betagate_core::resources::{Component, WorkloadSpec};
use jiff::SignedDuration;
use serde::Deserialize as _;

use super::{Controller, ControllerError, remembered};
use crate::apply::processes::{CommandLine, Listens, ProcessSpec, ProcessState, Ready, Supervisor};
use crate::store::signoffs;
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
    /// The workloads of all programs as they are wanted.
    held: BTreeMap<String, Wanted>,
    /// Steps whose restart was asked for.
    restarted: BTreeSet<String>,
}

/// A workload as it is wanted, with the holds of the runs in force.
#[derive(Clone)]
struct Wanted {
    program: String,
    spec: ProcessSpec,
    /// The revision that its document describes.
    document: String,
    holders: BTreeSet<String>,
    previous: Option<String>,
    kept_back: Option<String>,
}

impl Controller {
    /// What of a program should run, as it was applied last.
    pub(super) fn wanted_workloads(&self, program: &ProgramDesired) -> BTreeMap<String, RunningWorkload> {
        if self.settings.supervisor.is_none() {
            return BTreeMap::new();
        }
        let own = self.revisions.held.iter().filter(|(_, wanted)| wanted.program == program.name());
        own.map(|(name, wanted)| {
            (name.clone(), RunningWorkload { revision: wanted.spec.revision.clone(), replicas: wanted.spec.replicas })
        })
        .collect()
    }

    /// What is known of a program's workloads.
    pub(super) fn workload_facts(&self, program: &str) -> BTreeMap<String, WorkloadFact> {
        let observed = self.settings.supervisor.as_ref().map(Supervisor::observed).unwrap_or_default();
        let own = self.revisions.held.iter().filter(|(_, wanted)| wanted.program == program);
        let facts = own.map(|(name, wanted)| {
            let running = observed.iter().filter(|process| process.workload == *name);
            let processes = running.filter_map(|process| {
                let (id, revision) = (process.pid?.to_string(), process.revision.clone());
                Some(ProcessFact { id, revision, ready: process.state == ProcessState::Ready })
            });
            let fact = WorkloadFact {
                document: wanted.document.clone(),
                revision: wanted.spec.revision.clone(),
                replicas: wanted.spec.replicas,
                holders: wanted.holders.clone(),
                previous: wanted.previous.clone(),
                kept_back: wanted.kept_back.clone(),
                processes: processes.collect(),
            };
            (name.clone(), fact)
        });
        facts.collect()
    }

    /// Makes the workloads of every program so, and the built-in API process with them.
    pub(super) async fn apply_workloads(&mut self) -> Result<(), ControllerError> {
        let Some(supervisor) = self.settings.supervisor.clone() else { return Ok(()) };
        self.keep_revisions(&supervisor).await?;
        let restarts = self.hold_workloads().await?;
        let moment = |when: &str, held: &BTreeMap<String, Wanted>| {
            let holders: Vec<&str> = held.values().flat_map(|one| one.holders.iter().map(String::as_str)).collect();
            format!(
                "workloads {} {}: {when}",
                holders.join(","),
                restarts.keys().cloned().collect::<Vec<_>>().join(",")
            )
        };
        self.faults.at(|| moment("before", &self.revisions.held)).await;
        let mut wanted = vec![self.own_process(BUILT_IN_API, "api", 1, BTreeMap::new())];
        wanted.extend(self.revisions.held.values().map(|wanted| wanted.spec.clone()));
        for spec in &wanted {
            if let Err(error) = spec.check() {
                tracing::warn!(workload = %spec.workload, error = %error, "a workload can't run on this machine");
            }
        }
        wanted.retain(|spec| spec.check().is_ok());
        supervisor.set_desired(wanted).await?;
        self.restart_workloads(&supervisor, &restarts).await;
        self.faults.at(|| moment("after", &self.revisions.held)).await;
        Ok(())
    }

    /// Works out how each workload is wanted under the holds of the runs in force, and which are to be replaced, by step.
    async fn hold_workloads(&mut self) -> Result<BTreeMap<String, (String, BTreeSet<String>)>, ControllerError> {
        let programs: Vec<String> =
            self.built.iter().flat_map(|built| built.desired.programs.keys().cloned()).collect();
        let (mut held, mut restarts) = (BTreeMap::new(), BTreeMap::new());
        for program in programs {
            // A new controller holds what was held before it has decided anything.
            self.remember(&program).await?;
            let documents =
                self.programs.get(&program).and_then(|state| state.documents.as_deref()).unwrap_or_default();
            let runs = remembered::runs(&program, documents)?;
            let (holds, bad) = (workload_holds(&runs), quarantine(&runs));
            for (name, hold) in &holds {
                restarts.extend(hold.restarts.iter().map(|(step, ids)| (step.clone(), (name.clone(), ids.clone()))));
            }
            let specs = self.built.as_ref().and_then(|built| built.desired.programs.get(&program));
            let specs = specs.into_iter().flat_map(|desired| &desired.workloads);
            let specs: Vec<_> = specs.map(|(name, workload)| (name.clone(), workload.spec.clone())).collect();
            for (name, spec) in specs.into_iter().filter(|(_, spec)| spec.suspend.is_none()) {
                let hold = holds.get(&name).cloned().unwrap_or_default();
                let wanted = self.wanted_as_held(&program, (&name, &spec), &hold, bad.get(&name), &runs).await?;
                held.insert(name, wanted);
            }
        }
        self.revisions.held = held;
        Ok(restarts)
    }

    async fn wanted_as_held(
        &self,
        program: &str,
        (name, spec): (&str, &WorkloadSpec),
        hold: &WorkloadHold,
        bad: Option<&BTreeMap<String, Quarantined>>,
        runs: &BTreeMap<String, RunMemory>,
    ) -> Result<Wanted, ControllerError> {
        let own = self.process(name, spec);
        let document = own.revision.clone();
        let mut wanted = Wanted {
            program: program.to_owned(),
            spec: own,
            document: document.clone(),
            holders: hold.holders.clone(),
            previous: None,
            kept_back: None,
        };
        let reverts = |run: &RunMemory| {
            let of_this = |one: &StepMemory| one.step.revert_workload.as_ref().is_some_and(|r| r.workload == name);
            run.in_force() && run.steps.iter().any(|one| of_this(one) && one.target.is_none())
        };
        let mut target = hold.revision.clone();
        let quarantined = bad.and_then(|bad| bad.get(&document));
        if let Some(quarantined) = quarantined.filter(|_| target.is_none())
            && !self.released(program, name, &document).await?
        {
            target = Some(quarantined.target.clone());
            let short: String = document.chars().take(8).collect();
            wanted.kept_back = Some(format!(
                "revision {short} of its document is in quarantine since {}: commit another one, or \
                 betagate signoff acknowledge --object Workload/{name} --digest {document}",
                quarantined.run
            ));
        }
        if target.is_some() || runs.values().any(reverts) {
            let known = workloads::revisions(&self.settings.store, name).await?;
            let others = known.iter().filter(|one| one.revision != document && one.proven_at.is_some());
            let others = others.filter(|one| bad.is_none_or(|bad| !bad.contains_key(&one.revision)));
            wanted.previous = others.max_by_key(|one| one.proven_at).map(|one| one.revision.clone());
            if let Some(target) = target {
                let found = known.iter().find(|one| one.revision == target);
                let found = found.and_then(|one| WorkloadSpec::deserialize(&one.spec).ok());
                match found {
                    Some(earlier) => {
                        wanted.spec = self.process(name, &WorkloadSpec { replicas: spec.replicas, ..earlier });
                    }
                    // What is held can't be had: the step says so, and the document's goes on.
                    None => wanted.holders.clear(),
                }
            }
        }
        if let Some(replicas) = hold.replicas {
            wanted.spec.replicas = replicas;
        }
        Ok(wanted)
    }

    /// Whether a person has said that a revision may run again.
    async fn released(&self, program: &str, name: &str, revision: &str) -> Result<bool, ControllerError> {
        let words = signoffs::list(&self.settings.store, program).await?;
        let object = format!("Workload/{name}");
        Ok(words.iter().any(|word| {
            word.says == "acknowledge"
                && word.object.as_deref() == Some(object.as_str())
                && word.digest.as_deref() == Some(revision)
        }))
    }

    /// Asks once for the replacement of processes that a step wants replaced.
    async fn restart_workloads(
        &mut self,
        supervisor: &Supervisor,
        restarts: &BTreeMap<String, (String, BTreeSet<String>)>,
    ) {
        self.revisions.restarted.retain(|step| restarts.contains_key(step));
        for (step, (workload, before)) in restarts {
            let runs_still = supervisor.observed().into_iter().any(|process| {
                process.workload == *workload && process.pid.is_some_and(|pid| before.contains(&pid.to_string()))
            });
            if !runs_still || !self.revisions.restarted.insert(step.clone()) {
                continue;
            }
            if let Err(error) = supervisor.restart(workload, None).await {
                tracing::warn!(workload = %workload, error = %error, "a workload can't be restarted");
                self.revisions.restarted.remove(step);
            }
        }
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
