//! The workloads of all programs: how each is wanted under the holds of the runs in force, and what is known of it. Their revisions are kept in the
//! store, so that an earlier one can be gone back to also after the machine was started anew.
//!
//! Must not know: whether they run as processes or as pods (that is `apply`'s).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use betagate_core::decide::{
    self, Memory, ProcessFact, Quarantined, RunMemory, StageVersion, StepMemory, WorkloadFact, WorkloadHold,
    quarantine, stage_versions, workload_holds,
};
use betagate_core::desired::ProgramDesired;
use betagate_core::plan::RunningWorkload;
use betagate_core::resources::{Component, WorkloadSpec, WorkloadVersion};
use jiff::SignedDuration;
use jiff::civil::Date;
use serde::Deserialize as _;

use super::observe::signoff_fact;
use super::{Controller, ControllerError, Settings, remembered};
use crate::apply::machine::{BUILT_IN_API, Machine, Own};
use crate::apply::workloads::{self as target, Earlier, RunState, Target};
use crate::secrets::secret_in;
use crate::store::signoffs;
use crate::store::workloads::{self, Revision};

/// A revision of which one was ready for so long is one to go back to.
const PROVEN_AFTER: SignedDuration = SignedDuration::from_secs(30);

/// What the controller has told the store and the target of revisions.
#[derive(Default)]
pub(super) struct KnownRevisions {
    /// Workloads whose earlier revisions the target knows.
    told: BTreeSet<String>,
    /// The revision of each workload that was recorded last.
    wanted: BTreeMap<String, String>,
    proven: BTreeSet<(String, String)>,
    /// The workloads of all programs as they are wanted.
    held: BTreeMap<String, Wanted>,
}

/// A workload as it is wanted, with the holds of the runs in force.
#[derive(Clone)]
struct Wanted {
    program: String,
    /// What a stage makes of its document.
    version: Option<WorkloadVersion>,
    run: target::Wanted,
    /// The revision that its document describes.
    document: String,
    holders: BTreeSet<String>,
    previous: Option<String>,
    kept_back: Option<String>,
}

/// The workloads of a program as its documents and stages describe them, and what is remembered of it.
struct DescribedWorkloads {
    program: String,
    specs: Vec<(String, WorkloadSpec)>,
    versions: BTreeMap<String, StageVersion>,
    memory: Memory,
}

/// Where the workloads of these settings run.
pub(super) fn target(settings: &Settings) -> Target {
    if let Some(deployer) = settings.deployer.clone() {
        deployer.begin();
        return Target::Cluster(deployer);
    }
    let Some(supervisor) = settings.supervisor.clone() else { return Target::Elsewhere };
    let data = settings.data.clone();
    let own = Own {
        database: settings.database_url.clone(),
        data: settings.data.clone(),
        env: settings.child_env.clone(),
        secret: Arc::new(move |name| secret_in(&data, name)),
    };
    Target::Machine(Machine::new(supervisor, own))
}

impl Controller {
    /// What of a program should run, as it was applied last.
    pub(super) fn wanted_workloads(&self, program: &ProgramDesired) -> BTreeMap<String, RunningWorkload> {
        if !self.target.makes_so() {
            return BTreeMap::new();
        }
        let own = self.revisions.held.iter().filter(|(_, wanted)| wanted.program == program.name());
        own.map(|(name, wanted)| {
            let (revision, replicas) = (wanted.run.revision.clone(), wanted.run.spec.replicas);
            (name.clone(), RunningWorkload { revision, replicas })
        })
        .collect()
    }

    /// What is known of a program's workloads.
    pub(super) fn workload_facts(&self, program: &str) -> BTreeMap<String, WorkloadFact> {
        let (observed, obstacles) = (self.target.observed(), self.target.obstacles());
        let own = self.revisions.held.iter().filter(|(_, wanted)| wanted.program == program);
        let facts = own.map(|(name, wanted)| {
            let running = observed.iter().filter(|running| running.workload == *name);
            let processes = running.filter_map(|running| {
                let (id, revision) = (running.id.clone()?, running.revision.clone());
                Some(ProcessFact { id, revision, ready: running.state == RunState::Ready })
            });
            let fact = WorkloadFact {
                document: wanted.document.clone(),
                revision: wanted.run.revision.clone(),
                replicas: wanted.run.spec.replicas,
                holders: wanted.holders.clone(),
                previous: wanted.previous.clone(),
                kept_back: wanted.kept_back.clone(),
                trouble: obstacles.get(name).map(|one| one.why.clone()),
                stuck: obstacles.get(name).is_some_and(|one| one.stuck),
                processes: processes.collect(),
            };
            (name.clone(), fact)
        });
        facts.collect()
    }

    /// The same, without those that do not yet run as the stages that are open would have them: what is ready of those is another version.
    pub(super) fn current_workload_facts(
        &self,
        program: &ProgramDesired,
        memory: &Memory,
    ) -> BTreeMap<String, WorkloadFact> {
        let versions = stage_versions(program, &memory.rollouts);
        let mut facts = self.workload_facts(program.name());
        facts.retain(|name, _| {
            let held = self.revisions.held.get(name).and_then(|wanted| wanted.version.as_ref());
            held == versions.get(name).map(|of_stage| &of_stage.version)
        });
        facts
    }

    /// Makes the workloads of every program so.
    pub(super) async fn apply_workloads(&mut self) -> Result<(), ControllerError> {
        if !self.target.makes_so() {
            return Ok(());
        }
        if self.target.outlasts_us() && self.built.is_none() {
            return Ok(());
        }
        let described = self.described_workloads().await?;
        self.keep_revisions(&described).await?;
        let restarts = self.hold_workloads(&described).await?;
        let moment = |when: &str, held: &BTreeMap<String, Wanted>| {
            let holders: Vec<&str> = held.values().flat_map(|one| one.holders.iter().map(String::as_str)).collect();
            format!(
                "workloads {} {}: {when}",
                holders.join(","),
                restarts.keys().cloned().collect::<Vec<_>>().join(",")
            )
        };
        self.faults.at(|| moment("before", &self.revisions.held)).await;
        let wanted: Vec<_> = self.revisions.held.values().map(|wanted| wanted.run.clone()).collect();
        self.target.make_so(&wanted, &self.suspended_workloads()).await?;
        self.restart_workloads(&restarts).await;
        self.faults.at(|| moment("after", &self.revisions.held)).await;
        Ok(())
    }

    fn suspended_workloads(&self) -> BTreeSet<String> {
        let programs = self.built.iter().flat_map(|built| built.desired.programs.values());
        let all = programs.flat_map(|program| &program.workloads);
        all.filter(|(_, workload)| workload.spec.suspend.is_some()).map(|(name, _)| name.clone()).collect()
    }

    /// The workloads of all programs, in the versions that stages gave them, and what is remembered of each program.
    async fn described_workloads(&mut self) -> Result<Vec<DescribedWorkloads>, ControllerError> {
        let programs = self.built.iter().flat_map(|built| &built.desired.programs);
        let programs: Vec<String> = programs.map(|(name, _)| name.clone()).collect();
        let mut all = Vec::new();
        for program in programs {
            // A new controller holds what was held before it has decided anything.
            self.remember(&program).await?;
            let Some(desired) = self.built.as_ref().and_then(|built| built.desired.programs.get(&program)) else {
                continue;
            };
            let documents =
                self.programs.get(&program).and_then(|state| state.documents.as_deref()).unwrap_or_default();
            let memory = remembered::read(&program, documents)?;
            let versions = stage_versions(desired, &memory.rollouts);
            let specs = desired.workloads.iter().filter(|(_, workload)| workload.spec.suspend.is_none());
            let specs = specs.map(|(name, workload)| {
                let version = versions.get(name).map(|of_stage| of_stage.version.over(&workload.spec));
                (name.clone(), version.unwrap_or_else(|| workload.spec.clone()))
            });
            let specs = specs.collect();
            all.push(DescribedWorkloads { program, specs, versions, memory });
        }
        Ok(all)
    }

    /// Works out how each workload is wanted under the holds of the runs in force, and which are to be replaced, by step.
    async fn hold_workloads(
        &mut self,
        described: &[DescribedWorkloads],
    ) -> Result<BTreeMap<String, (String, BTreeSet<String>)>, ControllerError> {
        let (mut held, mut restarts) = (BTreeMap::new(), BTreeMap::new());
        for DescribedWorkloads { program, specs, versions, memory } in described {
            let (holds, bad) = (workload_holds(&memory.runs), quarantine(&memory.runs));
            for (name, hold) in &holds {
                restarts.extend(hold.restarts.iter().map(|(step, ids)| (step.clone(), (name.clone(), ids.clone()))));
            }
            for (name, spec) in specs {
                let hold = holds.get(name).cloned().unwrap_or_default();
                let mut wanted = self.wanted_as_held(program, (name, spec), &hold, bad.get(name), memory).await?;
                wanted.version = versions.get(name).map(|of_stage| of_stage.version.clone());
                held.insert(name.clone(), wanted);
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
        memory: &Memory,
    ) -> Result<Wanted, ControllerError> {
        let document = self.target.revision(name, spec);
        let mut wanted = Wanted {
            program: program.to_owned(),
            version: None,
            run: target::Wanted {
                workload: name.to_owned(),
                revision: document.clone(),
                spec: spec.clone(),
                earlier: false,
            },
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
            && !self.released(program, (name, &document), quarantined, memory.program.day0).await?
        {
            target = Some(quarantined.target.clone());
            let short: String = document.chars().take(8).collect();
            wanted.kept_back = Some(format!(
                "revision {short} of its document is in quarantine since {}: commit another one, or \
                 betagate signoff acknowledge --object Workload/{name} --digest {document}",
                quarantined.run
            ));
        }
        if target.is_some() || memory.runs.values().any(reverts) {
            let known = workloads::revisions(&self.settings.store, name).await?;
            let others = known.iter().filter(|one| one.revision != document && one.proven_at.is_some());
            let others = others.filter(|one| bad.is_none_or(|bad| !bad.contains_key(&one.revision)));
            wanted.previous = others.max_by_key(|one| one.proven_at).map(|one| one.revision.clone());
            if let Some(target) = target {
                let found = known.iter().find(|one| one.revision == target);
                let found = found.and_then(|one| WorkloadSpec::deserialize(&one.spec).ok());
                match found {
                    Some(earlier) => {
                        let earlier = WorkloadSpec { replicas: spec.replicas, ..earlier };
                        wanted.run.revision = self.target.revision(name, &earlier);
                        (wanted.run.spec, wanted.run.earlier) = (earlier, true);
                    }
                    // What is held can't be had: the step says so, and the document's goes on. So many as another step holds still run.
                    None => wanted.holders = hold.without_revision(),
                }
            }
        }
        if let Some(replicas) = hold.replicas {
            wanted.run.spec.replicas = replicas;
        }
        Ok(wanted)
    }

    /// Whether a person has said that a revision in quarantine may run again.
    async fn released(
        &self,
        program: &str,
        (name, revision): (&str, &str),
        quarantined: &Quarantined,
        day0: Option<Date>,
    ) -> Result<bool, ControllerError> {
        let Some(desired) = self.built.as_ref().and_then(|built| built.desired.programs.get(program)) else {
            return Ok(false);
        };
        let words = signoffs::list(&self.settings.store, program).await?;
        let words: Vec<_> = words.into_iter().filter_map(signoff_fact).collect();
        let now = self.settings.clock.now();
        let day0 = desired.program.spec.starts_on.or(day0);
        Ok(decide::released(desired, &words, (name, revision), quarantined, (day0, now)))
    }

    /// Asks for the replacement of those that a step wants replaced.
    async fn restart_workloads(&mut self, restarts: &BTreeMap<String, (String, BTreeSet<String>)>) {
        for (step, (workload, before)) in restarts {
            // A step that came into force anew asks for others.
            let ids: Vec<&str> = before.iter().map(String::as_str).collect();
            let request = format!("{step}-{:016x}", xxhash_rust::xxh3::xxh3_64(ids.join(" ").as_bytes()));
            if let Err(error) = self.target.replace(workload, before, &request).await {
                tracing::warn!(workload = %workload, error = %error, "a workload can't be restarted");
            }
        }
    }

    /// Tells the target of the revisions of an earlier life, and the store of new ones and of those that stay up.
    async fn keep_revisions(&mut self, described: &[DescribedWorkloads]) -> Result<(), ControllerError> {
        let (store, now) = (self.settings.store.clone(), self.settings.clock.now());
        // Before the next one is wanted: passes may be a minute apart, and the one before may have stayed up since the last.
        for status in self.target.observed() {
            let stays = status.state == RunState::Ready && now.duration_since(status.since) >= PROVEN_AFTER;
            let of_document = self.revisions.wanted.get(&status.workload) == Some(&status.revision);
            if stays && of_document && self.revisions.proven.insert((status.workload.clone(), status.revision.clone()))
            {
                workloads::prove(&store, &status.workload, &status.revision, now).await?;
            }
        }
        let all = described
            .iter()
            .flat_map(|one| one.specs.iter().map(|(name, spec)| (one.program.clone(), name.clone(), spec.clone())));
        for (program, workload, spec) in all {
            if !self.revisions.told.contains(&workload) {
                let known = workloads::revisions(&store, &workload).await?;
                // One that an older version of this program wrote and this one can't read is no revision to go back to.
                let earlier = known.iter().filter_map(|known| {
                    Some(Earlier { spec: WorkloadSpec::deserialize(&known.spec).ok()?, proven_at: known.proven_at })
                });
                self.target.remember(&workload, &earlier.collect::<Vec<_>>()).await?;
                self.revisions.told.insert(workload.clone());
            }
            let revision = self.target.revision(&workload, &spec);
            if self.revisions.wanted.get(&workload) != Some(&revision) {
                let spec = serde_json::to_value(self.target.pinned(&spec))
                    .map_err(|error| ControllerError::Setup(error.to_string()))?;
                let (name, wanted_at, proven_at) = (workload.clone(), now, None);
                workloads::want(
                    &store,
                    &Revision { workload: name, revision: revision.clone(), program, spec, wanted_at, proven_at },
                )
                .await?;
                self.revisions.wanted.insert(workload, revision);
            }
        }
        Ok(())
    }

    /// Where what must stay online is probed: as was said, or where betagate's own API is deployed by this controller, the program's before another's.
    pub(super) fn probed_at(&self, program: &str) -> Option<String> {
        let programs = self.built.iter().flat_map(|built| &built.desired.programs);
        let (own, others): (Vec<_>, Vec<_>) = programs.partition(|(name, _)| name.as_str() == program);
        let workloads = own.into_iter().chain(others).flat_map(|(_, program)| program.workloads.keys());
        let deployed =
            || workloads.into_iter().filter(|name| self.is_api(name)).find_map(|name| self.target.address(name));
        self.settings.probe.clone().or_else(deployed)
    }

    /// Whether a workload's processes serve the API.
    pub(super) fn is_api(&self, workload: &str) -> bool {
        let programs = self.built.iter().flat_map(|built| built.desired.programs.values());
        workload == BUILT_IN_API
            || programs
                .filter_map(|program| program.workloads.get(workload))
                .any(|workload| workload.spec.component == Component::Api && workload.spec.command.is_none())
    }
}
