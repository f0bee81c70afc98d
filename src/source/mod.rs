//! Where documents come from: a folder, a Git repository or a namespace of a cluster, as a Snapshot.
//!
//! A [`Source`] says when to look again ([`Source::next_change`]) and what is there ([`Source::snapshot`]); when looking
//! fails, the last good snapshot goes on and [`Source::state`] says what is wrong. For one look without a loop around it
//! there are [`read_folder`] and [`at`].
//!
//! Must not know: what the documents mean.

pub mod cluster;
mod error;
mod folder;
mod git;
mod git_fetch;
mod git_propose;
mod git_read;
pub mod hook;
mod select;
mod snapshot;
mod state;
mod wake;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use error::SourceError;
pub use folder::read as read_folder;
pub use git::GitSettings;
pub use git_fetch::{Credentials, ReadCredentials};
pub use git_propose::{Proposal, Proposed, Tag};
pub use git_read::{Change, at, changed_files, parted_from};
pub use select::is_document;
pub use snapshot::{Author, File, Revision, Snapshot};
pub use state::{Failure, SourceState};

use crate::clock::Clock;
use crate::cluster::Cluster;
use cluster::Watched;
use folder::Folder;
use git::Git;
use wake::Wake;

/// A watched folder is looked through this often all the same: not every file system tells.
const FOLDER_RESCAN: Duration = Duration::from_secs(30);
/// A folder that cannot be watched is looked through this often.
const FOLDER_POLL: Duration = Duration::from_secs(2);
/// A failing remote is asked again after this, twice as long each time up to [`SLOWEST`].
const FIRST_RETRY: Duration = Duration::from_secs(2);
const SLOWEST: Duration = Duration::from_secs(300);

/// A folder, a Git repository or a namespace of a cluster that is looked at again and again. Shared by reference; all calls may run at once.
pub struct Source {
    kind: Arc<Kind>,
    clock: Clock,
    wake: Arc<Wake>,
    usual: Duration,
    state: Mutex<SourceState>,
    last: Mutex<Option<Arc<Snapshot>>>,
}

enum Kind {
    Folder(Folder),
    Git(Git),
    Cluster(Watched),
}

impl Source {
    /// A folder, watched from now on. It need not be there yet.
    pub fn folder(path: impl Into<PathBuf>, clock: Clock) -> Self {
        let folder = Folder::new(path.into());
        let wake = Arc::new(Wake::new());
        let usual = if folder.watch(wake.clone()) { FOLDER_RESCAN } else { FOLDER_POLL };
        let place = folder.path().display().to_string();
        Self::new(Kind::Folder(folder), place, usual, wake, clock)
    }

    /// A branch of a Git repository.
    pub fn git(settings: GitSettings, clock: Clock) -> Self {
        let git = Git::new(settings);
        let (place, usual) = (git.place(), git.settings().poll);
        Self::new(Kind::Git(git), place, usual, Arc::new(Wake::new()), clock)
    }

    /// A namespace of a cluster, watched from now on.
    pub fn cluster(cluster: Arc<Cluster>, clock: Clock) -> Self {
        Self::of_cluster(cluster, clock, false)
    }

    /// The same, whose documents are brought from Git: there is nothing to read before [`Watched::lay`] says what Git brings beside them.
    pub fn cluster_from_git(cluster: Arc<Cluster>, clock: Clock) -> Self {
        Self::of_cluster(cluster, clock, true)
    }

    fn of_cluster(cluster: Arc<Cluster>, clock: Clock, from_git: bool) -> Self {
        let wake = Arc::new(Wake::new());
        let watched = Watched::start(cluster, wake.clone(), from_git);
        let place = watched.place();
        Self::new(Kind::Cluster(watched), place, cluster::RESCAN, wake, clock)
    }

    /// The folder whose files may be changed in place; none for a repository, which only a commit changes.
    pub fn editable(&self) -> Option<&std::path::Path> {
        match &*self.kind {
            Kind::Folder(folder) => Some(folder.path()),
            Kind::Git(_) | Kind::Cluster(_) => None,
        }
    }

    /// The namespace that is watched, where the documents are resources.
    pub fn watched(&self) -> Option<&Watched> {
        match &*self.kind {
            Kind::Cluster(watched) => Some(watched),
            Kind::Folder(_) | Kind::Git(_) => None,
        }
    }

    fn new(kind: Kind, place: String, usual: Duration, wake: Arc<Wake>, clock: Clock) -> Self {
        let state = Mutex::new(SourceState::new(place));
        Self { kind: Arc::new(kind), clock, wake, usual, state, last: Mutex::default() }
    }

    /// Waits until there is a reason to take a new snapshot: a file changed, [`Source::trigger`] was called, or it is time
    /// to ask again. May be dropped and called again without losing anything. Follow it with [`Source::snapshot`].
    pub async fn next_change(&self) {
        self.wake.next(self.usual).await;
    }

    /// Ends [`Source::next_change`] now (a webhook, `betagate apply`).
    pub fn trigger(&self) {
        self.wake.mark();
    }

    /// Looks, and gives what is there. If looking fails: the last good snapshot, or after a restart what was fetched before
    /// it; [`Source::state`] then has the failure. The same snapshot (by [`Arc::ptr_eq`]) if a repository has not moved.
    ///
    /// # Errors
    /// Any [`SourceError`], if there has never been a good snapshot.
    pub async fn snapshot(&self) -> Result<Arc<Snapshot>, SourceError> {
        let (kind, before) = (self.kind.clone(), self.last_good());
        let looked = self.blocking(move || match &*kind {
            Kind::Folder(folder) => folder.read().map(Arc::new),
            Kind::Git(git) => git.read(before.as_ref()),
            Kind::Cluster(watched) => watched.read().map(Arc::new),
        });
        let now = self.clock.now();
        match looked.await {
            Ok(snapshot) => {
                *lock(&self.last) = Some(snapshot.clone());
                lock(&self.state).worked(self.clock.now(), &snapshot.revision);
                self.wake.due_in(self.usual);
                self.tell_failing_watches(now);
                Ok(snapshot)
            }
            Err(error) => {
                tracing::warn!(error = %error, "the source cannot be read");
                let attempts = {
                    let mut state = lock(&self.state);
                    state.failed(now, &error);
                    state.failure.as_ref().map_or(1, |failure| failure.attempts)
                };
                self.wake.due_in(self.retry_after(attempts));
                self.fall_back().await.ok_or(error)
            }
        }
    }

    /// Proposes a change where the documents live: a commit on a branch of its own.
    ///
    /// # Errors
    /// [`SourceError::NotInGit`] where they are in no repository, [`SourceError::Settings`] where there is nothing to propose; else what keeps it from being written.
    pub async fn propose(&self, proposal: Proposal) -> Result<Proposed, SourceError> {
        let kind = self.kind.clone();
        let proposed = self.blocking(move || match &*kind {
            Kind::Folder(_) => Err(SourceError::NotInGit("folder", "proposed")),
            Kind::Git(git) => git.propose(&proposal),
            Kind::Cluster(_) => Err(SourceError::NotInGit("cluster", "proposed")),
        });
        proposed.await
    }

    /// Makes a tag where the documents live. One of its name that is there must mean the same commit.
    ///
    /// # Errors
    /// [`SourceError::NotInGit`] where they are in no repository, [`SourceError::Taken`] where the name means another commit; else what keeps it from being
    /// written.
    pub async fn tag(&self, tag: Tag) -> Result<Proposed, SourceError> {
        let kind = self.kind.clone();
        let made = self.blocking(move || match &*kind {
            Kind::Folder(_) => Err(SourceError::NotInGit("folder", "tagged")),
            Kind::Git(git) => git.tag(&tag),
            Kind::Cluster(_) => Err(SourceError::NotInGit("cluster", "tagged")),
        });
        made.await
    }

    /// The last good snapshot, without looking.
    pub fn last_good(&self) -> Option<Arc<Snapshot>> {
        lock(&self.last).clone()
    }

    /// How the source is doing.
    pub fn state(&self) -> SourceState {
        lock(&self.state).clone()
    }

    /// The snapshot of an older revision: of the repository, or of the one whose work tree the folder is.
    ///
    /// # Errors
    /// [`SourceError::NoRevision`], [`SourceError::Git`].
    pub async fn at(&self, revision: &str) -> Result<Arc<Snapshot>, SourceError> {
        let (kind, revision) = (self.kind.clone(), revision.to_owned());
        self.blocking(move || match &*kind {
            Kind::Folder(folder) => {
                at(folder.path(), &revision, &folder::within_repository(folder.path())?).map(Arc::new)
            }
            Kind::Git(git) => git.at(&revision),
            Kind::Cluster(_) => Err(SourceError::NoRevision(revision)),
        })
        .await
    }

    /// The files of a revision that are named from elsewhere, of whatever kind, by their paths in the documents' folder: a name is a file's, or a
    /// folder's, for all that is in it. A name that leads nowhere is passed over. None of a folder, where everything lies in its place, and of a cluster, which has no other files.
    ///
    /// # Errors
    /// [`SourceError::NoRevision`], [`SourceError::Git`].
    pub async fn named(&self, revision: &str, names: BTreeSet<String>) -> Result<BTreeMap<String, File>, SourceError> {
        let (kind, revision) = (self.kind.clone(), revision.to_owned());
        self.blocking(move || match &*kind {
            Kind::Folder(_) | Kind::Cluster(_) => Ok(BTreeMap::new()),
            Kind::Git(git) => git.named(&revision, &names),
        })
        .await
    }

    /// The files that differ between two revisions, by path within the repository.
    ///
    /// # Errors
    /// [`SourceError::NoRevision`], [`SourceError::Git`].
    pub async fn changed_files(&self, from: &str, to: &str) -> Result<BTreeMap<String, Change>, SourceError> {
        let (kind, from, to) = (self.kind.clone(), from.to_owned(), to.to_owned());
        self.blocking(move || match &*kind {
            Kind::Folder(folder) => {
                changed_files(folder.path(), &from, &to, &folder::within_repository(folder.path())?)
            }
            Kind::Git(git) => changed_files(git.cache(), &from, &to, &git.settings().path),
            Kind::Cluster(_) => Err(SourceError::NoRevision(from)),
        })
        .await
    }

    /// What was seen goes on while a watch fails, and the state says so.
    fn tell_failing_watches(&self, now: jiff::Timestamp) {
        if let Some(error) = self.watched().and_then(Watched::failure) {
            lock(&self.state).failed(now, &error);
            self.wake.due_in(FIRST_RETRY * 5);
        }
    }

    async fn fall_back(&self) -> Option<Arc<Snapshot>> {
        if let Some(good) = self.last_good() {
            return Some(good);
        }
        let kind = self.kind.clone();
        let held = self.blocking(move || match &*kind {
            Kind::Folder(_) | Kind::Cluster(_) => Ok(None),
            Kind::Git(git) => Ok(git.held()),
        });
        let held = held.await.ok().flatten()?;
        *lock(&self.last) = Some(held.clone());
        lock(&self.state).revision = Some(held.revision.clone());
        Some(held)
    }

    /// Twice as long each time, a fifth more or less so that many do not come at once.
    fn retry_after(&self, attempts: u32) -> Duration {
        let doubled = FIRST_RETRY.saturating_mul(1 << attempts.saturating_sub(1).min(10));
        let longest = if matches!(*self.kind, Kind::Git(_)) { SLOWEST } else { self.usual };
        doubled.min(longest).mul_f64(0.8 + 0.4 * rand::random::<f64>())
    }

    /// Runs what may block on a thread of its own, and no longer than a fetch may take.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, SourceError> + Send + 'static,
    ) -> Result<T, SourceError> {
        let allowed = match &*self.kind {
            Kind::Git(git) => git.settings().timeout + Duration::from_secs(5),
            Kind::Folder(_) | Kind::Cluster(_) => SLOWEST,
        };
        match tokio::time::timeout(allowed, tokio::task::spawn_blocking(work)).await {
            Ok(Ok(done)) => done,
            Ok(Err(_)) => Err(SourceError::Git("reading the source was broken off".to_owned())),
            Err(_) => Err(SourceError::TimedOut(allowed.as_secs())),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
