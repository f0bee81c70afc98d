//! Workloads in a namespace of a Kubernetes cluster.
//!
//! ```text
//!  what should run ──► build: Deployment · Service · PodDisruptionBudget · NetworkPolicy · Job     pure, one file an object
//!                         │
//!                         ▼
//!  live objects ──────► keeper: applies what differs, by server-side apply; takes away what is no longer wanted
//!     ▲                   │
//!     └──── watches ◄─────┴──► API server
//! ```
//!
//! - Only what is ours is touched: objects with our labels, and of those the fields that we own (field manager `betagate`). What another applies is
//!   told and left alone; what somebody edited by hand is put back.
//! - Nothing is written while everything is as it should be: each object carries the digest of what was applied.
//! - Everything happens beside the passes, in a task of its own: an API server that is away holds up no freeze.
//!
//! `commands` has nothing to do with that: what a check or a step runs once, as a Job.
//!
//! Must not know: stages, holds, the database.

mod build;
pub mod commands;
mod differs;
mod keeper;
mod observe;
mod seen;
mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use betagate_core::resources::WorkloadSpec;
use kube::Client;
use tokio::sync::Notify;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::workloads::{Obstacle, Running, Wanted};
use crate::cluster::Withheld;
use crate::keys::Keys;
use seen::Seen;

pub use build::{Described, Identity, Own, built};
pub use differs::covers;

/// The name under which fields are owned, and the value of the label that marks what is ours.
pub const MANAGER: &str = "betagate";
/// The label with the workload's name.
pub const WORKLOAD_LABEL: &str = "betagate.dev/workload";
/// The label of a migration's pods with the workload that waits for them.
const MIGRATES_LABEL: &str = "betagate.dev/migrates";
/// The label with the revision of what runs.
pub const REVISION_LABEL: &str = "betagate.dev/revision";

/// Which pods are a workload's, as a label selector.
pub fn selector(workload: &str) -> String {
    format!("app.kubernetes.io/managed-by={MANAGER},{WORKLOAD_LABEL}={workload}")
}

/// Whether a write may begin now.
pub type MayAct = Arc<dyn Fn() -> bool + Send + Sync>;

/// What is needed to deploy.
pub struct DeployerOptions {
    /// The client.
    pub client: Client,
    /// The namespace.
    pub namespace: String,
    /// What betagate's own workloads are given.
    pub own: Own,
    /// Secrets that no workload is given on its document's word.
    pub withheld: Withheld,
    /// Hides the content of Secrets in the digest by which its changes are seen.
    pub keys: Arc<Keys>,
    /// Whether this process leads.
    pub may_act: MayAct,
}

/// Keeps workloads deployed in a namespace; clones are the same one. It ends with the last of them; what it deployed stays.
#[derive(Clone)]
pub struct Deployer {
    shared: Arc<Shared>,
    _running: Arc<DropGuard>,
}

/// What the passes and the keeper share.
struct Shared {
    options: DeployerOptions,
    seen: Mutex<Seen>,
    orders: Mutex<Orders>,
    /// Something changed that the keeper must look at.
    changed: Notify,
}

/// What is asked for.
#[derive(Default)]
struct Orders {
    /// What should run; none before that is known.
    wanted: Option<Vec<Wanted>>,
    /// Workloads that are left as they are.
    kept: BTreeSet<String>,
    /// The newest replacement asked for, by workload.
    restarts: BTreeMap<String, String>,
    /// All that were asked for.
    asked: BTreeSet<String>,
    /// What is wrong, by workload.
    troubles: BTreeMap<String, Obstacle>,
}

impl Deployer {
    /// Begins to watch the namespace. Nothing is written before something is wanted.
    pub fn start(options: DeployerOptions) -> Self {
        let shared =
            Arc::new(Shared { options, seen: Mutex::default(), orders: Mutex::default(), changed: Notify::new() });
        let stop = CancellationToken::new();
        seen::follow(&shared, &stop);
        tokio::spawn(stop.clone().run_until_cancelled_owned(keeper::keep(shared.clone())));
        Self { shared, _running: Arc::new(stop.drop_guard()) }
    }

    /// Forgets what was wanted: whoever begins to lead says it anew.
    pub fn begin(&self) {
        let mut orders = self.shared.orders();
        (orders.wanted, orders.kept) = (None, BTreeSet::new());
    }

    /// The settings with everything in them that this installation adds, so that a revision means the same after an upgrade.
    pub fn pinned(&self, spec: &WorkloadSpec) -> WorkloadSpec {
        build::pinned(spec, &self.shared.options.own)
    }

    /// The revision that settings are.
    pub fn revision(&self, workload: &str, spec: &WorkloadSpec) -> String {
        build::revision(workload, &self.pinned(spec))
    }

    /// Wants exactly these from now on, `kept` left as they are.
    pub fn make_so(&self, wanted: &[Wanted], kept: &BTreeSet<String>) {
        let mut orders = self.shared.orders();
        if orders.wanted.as_deref() != Some(wanted) || orders.kept != *kept {
            orders.wanted = Some(wanted.to_vec());
            orders.kept.clone_from(kept);
            drop(orders);
            self.shared.changed.notify_one();
        }
    }

    /// Has pods replaced, if one of those with these names is still there.
    pub fn replace(&self, workload: &str, ids: &BTreeSet<String>, request: &str) {
        let of_those = |running: &Running| running.id.as_ref().is_some_and(|id| ids.contains(id));
        let still = self.observed().iter().any(|running| running.workload == workload && of_those(running));
        let mut orders = self.shared.orders();
        if still && orders.asked.insert(request.to_owned()) {
            orders.restarts.insert(workload.to_owned(), request.to_owned());
            drop(orders);
            self.shared.changed.notify_one();
        }
    }

    /// The pods.
    pub fn observed(&self) -> Vec<Running> {
        self.shared.seen().pods()
    }

    /// The address of a workload's Service: by number, as a cluster may have no names.
    pub fn address(&self, workload: &str) -> Option<String> {
        let seen = self.shared.seen();
        let service = &seen.object(build::Sort::Service, workload)?["spec"];
        let ip: std::net::IpAddr = service["clusterIP"].as_str()?.parse().ok()?;
        let port = u16::try_from(service["ports"][0]["port"].as_u64()?).ok()?;
        Some(format!("http://{}", std::net::SocketAddr::from((ip, port))))
    }

    /// What is wrong, by workload.
    pub fn obstacles(&self) -> BTreeMap<String, Obstacle> {
        let mut obstacles = self.shared.seen().obstacles();
        obstacles.extend(self.shared.orders().troubles.clone());
        obstacles
    }
}

impl Shared {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn orders(&self) -> MutexGuard<'_, Orders> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
