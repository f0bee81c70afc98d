//! A Git repository as a source: a branch and a path of a remote, kept in a bare repository of our own.
//!
//! Must not know: who is waiting for a change (that is `wake`), or what the files mean.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, TryLockError};
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::git_fetch::{Credentials, Fetch, ReadCredentials, without_user};
use super::git_propose::{self, Proposal, Proposed, Tag};
use super::git_read::{clean, resolve, snapshot};
use super::snapshot::{File, Snapshot};
use super::{SourceError, git_read};

/// Where a Git source is and how it is fetched.
#[derive(Clone)]
pub struct GitSettings {
    /// `https://…`, `ssh://…`, `git@host:path`, `file://…` or a path.
    pub url: String,
    /// The branch; the remote's default one when left out.
    pub branch: Option<String>,
    /// The folder within the repository, `""` for all of it.
    pub path: String,
    /// Under this folder, a bare repository is kept for each address.
    pub cache: PathBuf,
    /// How often the remote is asked.
    pub poll: Duration,
    /// How long one fetch may take.
    pub timeout: Duration,
    /// Read anew before each fetch.
    pub credentials: ReadCredentials,
}

impl GitSettings {
    /// A repository without credentials, asked every minute, with two minutes for a fetch.
    pub fn new(url: impl Into<String>, cache: impl Into<PathBuf>) -> Self {
        Self {
            url: url.into(),
            branch: None,
            path: String::new(),
            cache: cache.into(),
            poll: Duration::from_secs(60),
            timeout: Duration::from_secs(120),
            credentials: Arc::new(|| Ok(Credentials::None)),
        }
    }
}

/// A Git source, with its cache.
pub(super) struct Git {
    settings: GitSettings,
    cache: PathBuf,
    /// Held while a fetch runs: one that hangs past its time must not be joined by others.
    running: Mutex<()>,
}

impl Git {
    pub(super) fn new(settings: GitSettings) -> Self {
        let mut name = data_encoding::HEXLOWER.encode(&Sha256::digest(&settings.url));
        name.truncate(16);
        let cache = settings.cache.join(format!("{name}.git"));
        Self { settings, cache, running: Mutex::new(()) }
    }

    pub(super) fn settings(&self) -> &GitSettings {
        &self.settings
    }

    /// The bare repository.
    pub(super) fn cache(&self) -> &Path {
        &self.cache
    }

    /// Address, branch and path, without secrets.
    pub(super) fn place(&self) -> String {
        let GitSettings { url, branch, path, .. } = &self.settings;
        let mut place = without_user(url);
        if let Some(branch) = branch {
            place.push_str(&format!(" ({branch})"));
        }
        if !path.is_empty() {
            place.push_str(&format!(" {path}"));
        }
        place
    }

    /// Fetches the branch and reads its tip; the same snapshot again if the tip has not moved. Blocking.
    pub(super) fn read(&self, before: Option<&Arc<Snapshot>>) -> Result<Arc<Snapshot>, SourceError> {
        let _running = match self.running.try_lock() {
            Ok(running) => running,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Err(SourceError::TimedOut(self.settings.timeout.as_secs())),
        };
        clean(&self.settings.path)?;
        let credentials = (self.settings.credentials)()?;
        let fetch = self.fetch(&credentials);
        let tip = fetch.run()?;
        if let Some(before) = before.filter(|before| before.revision.id == tip.to_string()) {
            return Ok(before.clone());
        }
        self.of(&tip.to_string(), before.map(AsRef::as_ref))
    }

    fn fetch<'a>(&'a self, credentials: &'a Credentials) -> Fetch<'a> {
        Fetch {
            url: &self.settings.url,
            branch: self.settings.branch.as_deref(),
            cache: &self.cache,
            credentials,
            timeout: self.settings.timeout,
        }
    }

    /// Writes a proposal to a branch of the remote. Blocking.
    pub(super) fn propose(&self, proposal: &Proposal) -> Result<Proposed, SourceError> {
        let _running = self.running.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        clean(&self.settings.path)?;
        let credentials = (self.settings.credentials)()?;
        let fetch = self.fetch(&credentials);
        let tip = fetch.run()?;
        let commit = fetch.push(&proposal.branch, || {
            let cache = git2::Repository::open_bare(&self.cache).map_err(git_read::git)?;
            git_propose::commit(&cache, tip, &self.settings.path, proposal)
        })?;
        Ok(Proposed { branch: proposal.branch.clone(), commit: commit.to_string() })
    }

    /// Makes a tag at the remote. One of its name that is there already must mean the same commit. Blocking.
    pub(super) fn tag(&self, tag: &Tag) -> Result<Proposed, SourceError> {
        let _running = self.running.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let credentials = (self.settings.credentials)()?;
        let fetch = self.fetch(&credentials);
        fetch.run()?;
        let cache = git2::Repository::open_bare(&self.cache).map_err(git_read::git)?;
        let commit = resolve(&cache, &tag.revision)?.id();
        let there = fetch.push_tag(&tag.name, || git_propose::tag(&cache, tag))?;
        if there.is_some_and(|there| there != commit) {
            return Err(SourceError::Taken(tag.name.clone()));
        }
        Ok(Proposed { branch: tag.name.clone(), commit: commit.to_string() })
    }

    /// What was fetched last, for a start while the remote is away. Blocking.
    pub(super) fn held(&self) -> Option<Arc<Snapshot>> {
        let branch =
            self.settings.branch.as_ref().map_or_else(|| "HEAD".to_owned(), |branch| format!("refs/heads/{branch}"));
        self.of(&branch, None).ok()
    }

    /// The snapshot of a revision that has been fetched. Blocking.
    pub(super) fn at(&self, revision: &str) -> Result<Arc<Snapshot>, SourceError> {
        self.of(revision, None)
    }

    /// What of a revision that has been fetched is named from elsewhere. Blocking.
    pub(super) fn named(
        &self,
        revision: &str,
        names: &BTreeSet<String>,
    ) -> Result<BTreeMap<String, File>, SourceError> {
        let cache = git2::Repository::open_bare(&self.cache).map_err(git_read::git)?;
        git_read::named(&cache, &resolve(&cache, revision)?, &self.settings.path, names)
    }

    fn of(&self, revision: &str, before: Option<&Snapshot>) -> Result<Arc<Snapshot>, SourceError> {
        let cache = git2::Repository::open_bare(&self.cache).map_err(git_read::git)?;
        let commit = resolve(&cache, revision)?;
        snapshot(&cache, &commit, &self.settings.path, before).map(Arc::new)
    }
}

#[cfg(test)]
#[path = "git_tests.rs"]
pub(super) mod tests;
