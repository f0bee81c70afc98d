//! A namespace of a Kubernetes cluster as a source: its resources of `betagate.dev` are the documents, ConfigMaps that say so bring the
//! files beside them (lists, templates).
//!
//! Knows how resources are watched and what they were seen to be. Must not know what they mean, nor write anything: a status is `status`'s.

mod files;
mod held;
mod marks;
mod openfeature;
mod shared;
mod watch;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use betagate_core::resources::Kind;
use tokio::task::JoinSet;

pub use held::{Key, Seen, digest};
pub use marks::{APPLIED, FILE, FROM_GIT, FROM_GIT_LABEL, GIT_MANAGER, Marks};
pub use openfeature::feature_flags;

use super::wake::Wake;
use super::{File, Revision, Snapshot, SourceError};
use crate::cluster::Cluster;
use held::Held;

/// ConfigMaps with this label bring files; its value is the folder: `cohorts`, `templates`, or another kind's plural.
pub const FILES_LABEL: &str = "betagate.dev/files";
/// The value of that label for cause documents, which people complete: they belong to no revision.
pub const CAUSES: &str = "causes";
/// Resources with this label are written by the controller for people to see what came in elsewhere, which its value says. They are no documents, unless
/// somebody else changed what they say: then that counts.
pub const RECORDED_LABEL: &str = "betagate.dev/recorded";
/// What the controller recorded in such a resource, as [`digest`] says it.
pub const RECORDED_ANNOTATION: &str = "betagate.dev/recorded-as";
/// The field manager of such resources.
pub const RECORD_MANAGER: &str = "betagate-record";

/// A sign-off with this label was applied by somebody who carries the word of others, such as a tool that applies from Git; its value says what.
pub const CARRIED_LABEL: &str = "betagate.dev/carried";
/// How the field managers of the controller begin.
const OWN_MANAGERS: &str = "betagate";

/// Resources are pushed: nothing has to be looked for, only what a push did not tell.
pub(super) const RESCAN: Duration = Duration::from_secs(300);

/// A watched namespace. The watches end with it.
pub struct Watched {
    cluster: Arc<Cluster>,
    held: Arc<Held>,
    _watches: JoinSet<()>,
}

impl Watched {
    /// Begins to watch; what comes in wakes the source.
    pub(super) fn start(cluster: Arc<Cluster>, wake: Arc<Wake>, from_git: bool) -> Self {
        let held = Arc::new(Held::new(wake, from_git));
        let mut watches = JoinSet::new();
        for kind in Kind::ALL {
            watches.spawn(watch::kind(cluster.clone(), *kind, held.clone()));
        }
        watches.spawn(watch::files(cluster.clone(), held.clone()));
        Self { cluster, held, _watches: watches }
    }

    /// The cluster.
    pub fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    /// What is there, as documents; before all of it was seen once, why not.
    pub(super) fn read(&self) -> Result<Snapshot, SourceError> {
        self.held.snapshot()
    }

    /// Whether all of it was seen once: before that, nothing is known to be absent.
    pub fn is_complete(&self) -> bool {
        self.held.is_complete()
    }

    /// What is wrong with the watches; what was seen goes on meanwhile.
    pub(super) fn failure(&self) -> Option<SourceError> {
        self.held.failure()
    }

    pub(super) fn place(&self) -> String {
        format!("namespace {}", self.cluster.namespace())
    }

    /// Rises with everything that is seen, statuses included.
    pub fn version(&self) -> u64 {
        self.held.version()
    }

    /// The resources, as they were seen last.
    pub fn resources(&self) -> Vec<(Key, Arc<Seen>)> {
        self.held.resources()
    }

    /// One resource, as it was seen last.
    pub fn resource(&self, kind: Kind, name: &str) -> Option<Arc<Seen>> {
        self.held.resource(&Key { kind, name: name.to_owned() })
    }

    /// Says what Git brings beside the resources: files by the paths at which the resources name them, and the revision that they are of. Is news to
    /// whoever waits for a change, unless it is what was said before.
    pub fn lay(&self, files: BTreeMap<String, File>, revision: Option<Revision>) {
        self.held.lay(files, revision);
    }

    /// A cause document, by the names of its ConfigMap and its file, as it was seen last.
    pub fn cause_document(&self, map: &str, file: &str) -> Option<Arc<[u8]>> {
        self.held.file(map, &format!("{CAUSES}/{file}"))
    }

    /// Takes in what a write answered, so that the next look does not find the state before it.
    pub fn wrote(&self, kind: Kind, object: kube::api::DynamicObject) {
        self.held.wrote(kind, object);
    }
}
