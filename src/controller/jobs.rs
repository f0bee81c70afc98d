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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::clock::Clock;
    use crate::source::Source;

    #[tokio::test]
    async fn a_revision_is_copied_once_for_its_jobs_and_older_copies_go() {
        let documents = tempfile::tempdir().unwrap();
        let data = tempfile::tempdir().unwrap();
        let copies = data.path().join(COPIES);
        let source = Source::folder(documents.path(), Clock::manual(jiff::Timestamp::UNIX_EPOCH));
        let mut folders = Vec::new();
        for round in 0..4 {
            std::fs::create_dir_all(documents.path().join("manifests/jobs")).unwrap();
            std::fs::write(documents.path().join("manifests/jobs/age.sh"), format!("echo {round}\n")).unwrap();
            let snapshot = source.snapshot().await.unwrap();
            let folder = copy(&copies, &snapshot).unwrap();
            assert_eq!(copy(&copies, &snapshot).unwrap(), folder);
            let script = std::fs::read_to_string(folder.join("manifests/jobs/age.sh")).unwrap();
            assert_eq!(script, format!("echo {round}\n"));
            assert_eq!(std::fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
            folders.push(folder);
        }
        let there: Vec<bool> = folders.iter().map(|folder| folder.exists()).collect();
        assert_eq!(there, [false, false, true, true], "the one before stays for jobs that still run");
    }
}
