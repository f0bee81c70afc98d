//! Where the commands of `job` checks run: in the folder of the documents, or, when they are in Git, in a copy of the revision that is in force.
//!
//! Must not know: what a job is for.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Controller;
use crate::signals::Jobs;
use crate::source::Snapshot;

/// Copies of revisions lie in this folder of the data folder, each in a folder of its own.
pub(super) const COPIES: &str = "jobs";
/// So much of a revision's digest names its copy.
const NAME: usize = 20;

impl Controller {
    /// Where jobs run; `None` where they can't.
    pub(super) async fn jobs(&self) -> Option<Jobs> {
        let program = self.settings.jobs.clone()?;
        let data = self.settings.data.clone();
        if let Some(folder) = self.settings.source.editable() {
            return Some(Jobs { program, folder: folder.to_owned(), data });
        }
        let snapshot = self.built_from.clone()?;
        let copies = data.join(COPIES);
        match tokio::task::spawn_blocking(move || copy(&copies, &snapshot)).await {
            Ok(Ok(folder)) => Some(Jobs { program, folder, data }),
            Ok(Err(error)) => {
                tracing::warn!(error = %error.kind(), "the revision can't be copied for its jobs");
                None
            }
            Err(_) => None,
        }
    }
}

/// The copy of a revision, made now where there is none yet; those of other revisions go, the one before aside, whose jobs may still run.
pub(super) fn copy(copies: &Path, snapshot: &Arc<Snapshot>) -> io::Result<PathBuf> {
    let name: String = snapshot.revision.content.chars().take(NAME).collect();
    let folder = copies.join(&name);
    if folder.is_dir() {
        return Ok(folder);
    }
    let begun = copies.join(format!("{name}.new"));
    let _ = std::fs::remove_dir_all(&begun);
    for (path, file) in &snapshot.files {
        let place = begun.join(path);
        std::fs::create_dir_all(place.parent().unwrap_or(&begun))?;
        let mut content = file.open().map_err(|error| io::Error::other(error.to_string()))?;
        io::copy(&mut content, &mut std::fs::File::create(&place)?)?;
    }
    // Lists may hold addresses.
    private(&begun)?;
    let mut older: Vec<_> = std::fs::read_dir(copies)?.flatten().filter(|entry| entry.path() != begun).collect();
    older.sort_by_key(|entry| entry.metadata().and_then(|metadata| metadata.modified()).ok());
    older.pop();
    older.iter().for_each(|entry| drop(std::fs::remove_dir_all(entry.path())));
    std::fs::rename(&begun, &folder)?;
    Ok(folder)
}

fn private(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700))
}
