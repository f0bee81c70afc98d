//! Where workloads are made so: on this machine as supervised processes, in a cluster as Deployments, or nowhere (they run by somebody else's doing).
//!
//! ```text
//!  controller ──(what should run)──► Target ──► Machine  ──► processes/ (supervised)
//!             ◄──(what runs)─────────       └─► Deployer ──► cluster/ (server-side apply, watches)
//! ```
//!
//! A target is given everything that should run, as often as anybody likes, and makes it so beside the passes; what runs is read back as values.
//! How a revision is named is the target's: the same document is another process on another machine.
//!
//! Must not know: why something should run, stages, holds, the database.

use std::collections::{BTreeMap, BTreeSet};

use betagate_core::resources::WorkloadSpec;
use jiff::Timestamp;

use super::cluster::Deployer;
use super::machine::Machine;
use super::processes::ProcessError;

/// A workload as it should run.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// Its name.
    pub workload: String,
    /// The revision that its settings are, as its target names it.
    pub revision: String,
    /// Its settings, with as many replicas as should run.
    pub spec: WorkloadSpec,
    /// Whether that is an earlier revision than its document's, gone back to.
    pub earlier: bool,
}

/// An earlier revision of a workload, as it was recorded.
#[derive(Clone, Debug, PartialEq)]
pub struct Earlier {
    /// Its settings.
    pub spec: WorkloadSpec,
    /// When it was seen to stay up.
    pub proven_at: Option<Timestamp>,
}

/// A process or a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// Its workload.
    pub workload: String,
    /// What tells it from all others of its workload, also later ones: the process's id, the pod's name. None while nothing was started.
    pub id: Option<String>,
    /// What it is called while it has no id.
    pub place: String,
    /// The revision it is of.
    pub revision: String,
    /// Where it stands.
    pub state: RunState,
    /// Since when it stands there.
    pub since: Timestamp,
}

/// Where a process or a pod stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunState {
    /// It is not ready yet, or no longer.
    Starting,
    /// It is ready.
    Ready,
    /// It was asked to end.
    Stopping,
}

/// What keeps a workload from running as it should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    /// In words.
    pub why: String,
    /// Whether it stays until somebody does something.
    pub stuck: bool,
}

/// Where workloads are made so.
#[derive(Clone)]
pub enum Target {
    /// Nowhere: API and workers are run by somebody else.
    Elsewhere,
    /// On this machine.
    Machine(Machine),
    /// In a namespace of a cluster.
    Cluster(Deployer),
}

impl Target {
    /// Whether anything is made so at all.
    pub fn makes_so(&self) -> bool {
        !matches!(self, Self::Elsewhere)
    }

    /// Whether what runs goes on without this process: then nothing may be taken for unwanted before it is known what is wanted.
    pub fn outlasts_us(&self) -> bool {
        matches!(self, Self::Cluster(_))
    }

    /// A controller begins: what an earlier one of this process wanted counts no more.
    pub fn begin(&self) {
        if let Self::Cluster(deployer) = self {
            deployer.begin();
        }
    }

    /// The settings as they are recorded, with what the installation adds to them.
    pub fn pinned(&self, spec: &WorkloadSpec) -> WorkloadSpec {
        match self {
            Self::Elsewhere | Self::Machine(_) => spec.clone(),
            Self::Cluster(deployer) => deployer.pinned(spec),
        }
    }

    /// The revision that settings are. How many replicas run is no part of it.
    pub fn revision(&self, workload: &str, spec: &WorkloadSpec) -> String {
        match self {
            Self::Elsewhere => String::new(),
            Self::Machine(machine) => machine.process(workload, spec).revision,
            Self::Cluster(deployer) => deployer.revision(workload, spec),
        }
    }

    /// Told once of the earlier revisions of a workload, oldest first.
    ///
    /// # Errors
    /// When the target has stopped.
    pub async fn remember(&self, workload: &str, earlier: &[Earlier]) -> Result<(), ProcessError> {
        match self {
            // A cluster keeps what runs by itself.
            Self::Elsewhere | Self::Cluster(_) => Ok(()),
            Self::Machine(machine) => machine.remember(workload, earlier).await,
        }
    }

    /// Wants exactly these workloads from now on, and those in `kept` left as they are where they run without us. One that can't run here is left
    /// out, with a word in the log.
    ///
    /// # Errors
    /// When the target has stopped.
    pub async fn make_so(&self, wanted: &[Wanted], kept: &BTreeSet<String>) -> Result<(), ProcessError> {
        match self {
            Self::Elsewhere => Ok(()),
            Self::Machine(machine) => machine.make_so(wanted).await,
            Self::Cluster(deployer) => {
                deployer.make_so(wanted, kept);
                Ok(())
            }
        }
    }

    /// Has those of a workload replaced that have one of these ids, the new one ready before the old one goes. `request` names what is asked for:
    /// it is carried out once.
    ///
    /// # Errors
    /// An unknown workload, or a target that has stopped.
    pub async fn replace(&self, workload: &str, ids: &BTreeSet<String>, request: &str) -> Result<(), ProcessError> {
        match self {
            Self::Elsewhere => Ok(()),
            Self::Machine(machine) => machine.replace(workload, ids, request).await,
            Self::Cluster(deployer) => {
                deployer.replace(workload, ids, request);
                Ok(())
            }
        }
    }

    /// What runs.
    pub fn observed(&self) -> Vec<Running> {
        match self {
            Self::Elsewhere => Vec::new(),
            Self::Machine(machine) => machine.observed(),
            Self::Cluster(deployer) => deployer.observed(),
        }
    }

    /// Where a workload answers as a whole, where that is known: on a cluster, its Service.
    pub fn address(&self, workload: &str) -> Option<String> {
        match self {
            Self::Elsewhere | Self::Machine(_) => None,
            Self::Cluster(deployer) => deployer.address(workload),
        }
    }

    /// What keeps workloads from being as they should, by name.
    pub fn obstacles(&self) -> BTreeMap<String, Obstacle> {
        match self {
            Self::Elsewhere | Self::Machine(_) => BTreeMap::new(),
            Self::Cluster(deployer) => deployer.obstacles(),
        }
    }
}
