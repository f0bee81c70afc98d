//! Where the commands of checks and steps run: in the folder of the documents, or, when they are in Git, in a copy of the revision that is in force: its
//! documents and what they name, and what of the same revision the commands themselves name. Where the documents are resources of a cluster they run as Jobs
//! there, never beside the controller's keys: whoever may write a gate would have them.
//!
//! A copy is made where nobody looks, used only when it is whole, and goes with the last command that runs in it. Must not know: what a command is for.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tempfile::TempDir;

use super::{Controller, Settings};
use crate::apply::cluster::commands::Commands;
use crate::apply::processes::Program;
use crate::signals::Jobs;
use crate::signals::job::Place;
use crate::source::{File, Snapshot, Source};

/// Copies of revisions lie in this folder of the data folder, each in a folder of its own.
const COPIES: &str = "jobs";
/// So much of a revision's id begins the name of its copy.
const NAME: usize = 12;

/// Where commands run, now and after the next commit.
pub(super) struct Workplace {
    program: Option<Program>,
    source: Arc<Source>,
    /// Where they run as Jobs.
    cluster: Option<Commands>,
    data: PathBuf,
    in_force: Mutex<Option<InForce>>,
    /// The newest copy and the id of its revision; held while one is made, so that there is one of each.
    copy: tokio::sync::Mutex<Option<(String, Arc<TempDir>)>>,
}

/// A revision, and the words of its commands.
#[derive(Clone)]
struct InForce {
    snapshot: Arc<Snapshot>,
    words: BTreeSet<String>,
}

impl Workplace {
    pub(super) fn new(settings: &Settings) -> Self {
        let (program, data) = (settings.jobs.clone(), settings.data.clone());
        let source = settings.source.clone();
        let cluster = source.watched().map(|watched| Commands::new(watched.cluster().clone()));
        Self { program, source, cluster, data, in_force: Mutex::default(), copy: Default::default() }
    }

    /// A revision came into force, whose commands have these words.
    pub(super) fn in_force(&self, snapshot: &Arc<Snapshot>, words: BTreeSet<String>) {
        let now = InForce { snapshot: snapshot.clone(), words };
        *self.in_force.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
    }

    /// Where commands run now, or why they can't. What it answers is held while a command runs.
    pub(super) async fn jobs(&self) -> Result<Jobs, String> {
        if let Some(commands) = &self.cluster {
            return Ok(Jobs::Cluster(commands.clone()));
        }
        self.here().await.map(Jobs::Here)
    }

    /// Where they run on this machine.
    async fn here(&self) -> Result<Place, String> {
        let program = self.program.clone().ok_or("this controller starts no commands")?;
        let data = self.data.clone();
        if let Some(folder) = self.source.editable() {
            return Ok(Place { program, folder: folder.to_owned(), copy: None, data });
        }
        let now = self.in_force.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let copy = self.copied(now.ok_or("there is no revision yet")?).await?;
        Ok(Place { program, folder: copy.path().to_owned(), copy: Some(copy), data })
    }

    async fn copied(&self, InForce { snapshot, words }: InForce) -> Result<Arc<TempDir>, String> {
        let mut newest = self.copy.lock().await;
        let id = snapshot.revision.id.clone();
        if let Some((_, copy)) = newest.as_ref().filter(|(of, _)| *of == id) {
            return Ok(copy.clone());
        }
        let named = self.source.named(&id, words).await.map_err(|error| error.to_string())?;
        let (copies, first) = (self.data.join(COPIES), newest.is_none());
        let name: String = id.chars().take(NAME).collect();
        let made = tokio::task::spawn_blocking(move || {
            if first {
                // What an earlier controller left: its commands ended with it.
                let _ = std::fs::remove_dir_all(&copies);
            }
            private(&copies)?;
            let own = std::fs::Permissions::from_mode(0o700);
            let copy = tempfile::Builder::new().prefix(&format!("{name}-")).permissions(own).tempdir_in(&copies)?;
            write(copy.path(), &snapshot.files)?;
            write(copy.path(), &named)?;
            io::Result::Ok(copy)
        });
        let failed = |why: String| format!("the revision can't be copied: {why}");
        let made = made.await.map_err(|_| failed("it was broken off".to_owned()))?;
        let copy = Arc::new(made.map_err(|error| failed(error.kind().to_string()))?);
        *newest = Some((id, copy.clone()));
        Ok(copy)
    }
}

/// A folder that only its owner may look into: lists may hold addresses.
fn private(folder: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

fn write(folder: &Path, files: &BTreeMap<String, File>) -> io::Result<()> {
    for (path, file) in files {
        let place = folder.join(path);
        private(place.parent().unwrap_or(folder))?;
        let mode = if file.is_executable() { 0o700 } else { 0o600 };
        let mut content = file.open().map_err(|error| io::Error::other(error.to_string()))?;
        let mut copy = std::fs::File::options().write(true).create(true).truncate(true).mode(mode).open(&place)?;
        io::copy(&mut content, &mut copy)?;
    }
    Ok(())
}

impl Controller {
    /// Where jobs run; `None` where they can't.
    pub(super) async fn jobs(&self) -> Option<Jobs> {
        let place = self.workplace.jobs().await;
        place.inspect_err(|why| tracing::warn!(why, "checks can run no commands")).ok()
    }
}

#[cfg(test)]
#[path = "jobs_tests.rs"]
mod tests;
