//! What is wanted, resolved: each program with everything that belongs to it. Built only by [`super::build`], so it holds no dangling name.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::resources::{
    CohortSpec, DatasetSpec, FlagSpec, GateSpec, IncidentSpec, InviteSpec, ProgramSpec, RollbackPlanSpec, RolloutSpec,
    SignoffSpec, WorkloadSpec,
};

/// One revision of the documents.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Desired {
    /// Which revision.
    pub revision: Revision,
    /// Programs, by name. Shared: what holds on to one, or takes it over from an earlier revision, need not copy it.
    pub programs: BTreeMap<String, Arc<ProgramDesired>>,
}

/// Which revision of the source, and who made it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Revision {
    /// A commit, or the digest of a folder.
    pub id: String,
    /// Its author's address, where there is one.
    pub author: Option<String>,
    /// Whether the author is proven by a signature.
    pub verified: bool,
    /// When it was made.
    pub at: Option<Timestamp>,
}

/// A resource with its name and where it was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Resource<S> {
    /// `metadata.name`.
    pub name: String,
    /// `spec`.
    pub spec: S,
    /// Where.
    pub origin: Origin,
}

/// The place of a document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The file, from the root of the source.
    pub file: Arc<str>,
    /// The line its document starts on, from 1.
    pub line: u32,
}

/// Resources of one kind, by name.
pub type ByName<S> = BTreeMap<String, Resource<S>>;

/// One program with everything that belongs to it.
#[derive(Clone, Debug, PartialEq)]
pub struct ProgramDesired {
    /// The program itself.
    pub program: Resource<ProgramSpec>,
    /// Cohorts by name.
    pub cohorts: ByName<CohortSpec>,
    /// Invites by name.
    pub invites: ByName<InviteSpec>,
    /// Flags by *key*.
    pub flags: ByName<FlagSpec>,
    /// Gates by name.
    pub gates: ByName<GateSpec>,
    /// Rollouts by name.
    pub rollouts: ByName<RolloutSpec>,
    /// Rollback plans by name.
    pub plans: ByName<RollbackPlanSpec>,
    /// Declared incidents by name.
    pub incidents: ByName<IncidentSpec>,
    /// Declared sign-offs by name.
    pub signoffs: ByName<SignoffSpec>,
    /// Workloads by name.
    pub workloads: ByName<WorkloadSpec>,
    /// Datasets by name.
    pub datasets: ByName<DatasetSpec>,
    /// Gates in the order in which they seal: one that reads another comes after it.
    pub gate_order: Vec<String>,
    /// A digest of all that is wanted; incidents, invites and words aside, which change nothing that is wanted.
    pub content: String,
}

impl ProgramDesired {
    /// A program to which nothing belongs yet.
    pub fn new(program: Resource<ProgramSpec>) -> Self {
        Self {
            program,
            cohorts: BTreeMap::new(),
            invites: BTreeMap::new(),
            flags: BTreeMap::new(),
            gates: BTreeMap::new(),
            rollouts: BTreeMap::new(),
            plans: BTreeMap::new(),
            incidents: BTreeMap::new(),
            signoffs: BTreeMap::new(),
            workloads: BTreeMap::new(),
            datasets: BTreeMap::new(),
            gate_order: Vec::new(),
            content: String::new(),
        }
    }

    /// The commands that its checks and its plans' steps run.
    pub fn commands(&self) -> impl Iterator<Item = &[String]> {
        let checks = self.gates.values().flat_map(|gate| &gate.spec.checks);
        let checks = checks.filter_map(|check| check.job.as_ref()).map(|job| job.command.as_slice());
        let steps = self.plans.values().flat_map(|plan| &plan.spec.steps);
        checks.chain(steps.filter_map(|step| step.run_job.as_ref()).map(|job| job.command.as_slice()))
    }

    /// The digest of all that is wanted of it, for [`ProgramDesired::content`].
    pub(super) fn digest(&self) -> String {
        fn specs<S: Serialize>(all: &ByName<S>) -> Vec<(&String, &S)> {
            all.iter().map(|(name, resource)| (name, &resource.spec)).collect()
        }
        let wanted = serde_json::json!([
            self.program.spec,
            specs(&self.cohorts),
            specs(&self.flags),
            specs(&self.gates),
            specs(&self.rollouts),
            specs(&self.plans),
            specs(&self.workloads),
            specs(&self.datasets)
        ]);
        data_encoding::HEXLOWER.encode(&Sha256::digest(wanted.to_string().as_bytes()))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.program.name
    }
}
