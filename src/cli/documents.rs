//! Where the documents of a controller come from, as its words say: a folder, or a Git repository.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use betagate_core::desired::{Built, error::Problem};
use clap::Args;

use super::CliError;
use crate::clock::Clock;
use crate::controller::build_snapshot;
use crate::secrets::git_token;
use crate::source::{Credentials, GitSettings, Snapshot, Source, at, parted_from, read_folder};

/// A folder, or a branch of a repository.
#[derive(Args)]
pub struct From {
    /// The folder with manifests/, cohorts/ and flags/; it is watched.
    #[arg(default_value = ".")]
    pub dir: PathBuf,
    /// Follows a Git repository instead of the folder. Over HTTPS, the secret git-token opens it.
    #[arg(long, value_name = "URL")]
    pub git: Option<String>,
    /// The branch to follow; the remote's default one when left out.
    #[arg(long, requires = "git")]
    pub branch: Option<String>,
    /// The folder within the repository.
    #[arg(long, requires = "git", default_value = "")]
    pub path: String,
}

impl From {
    /// The source; a repository is kept in the data folder.
    pub fn source(&self, data: &Path, clock: Clock) -> Source {
        let Some(url) = &self.git else { return Source::folder(self.dir.clone(), clock) };
        let mut settings = GitSettings::new(url.clone(), data.join("git"));
        settings.branch.clone_from(&self.branch);
        settings.path.clone_from(&self.path);
        let data = data.to_owned();
        // Read anew each time, so that a rotated token is taken up without a restart.
        settings.credentials = Arc::new(move || {
            Ok(match git_token(&data) {
                Ok(token) => Credentials::Token { user: None, token },
                Err(_) => Credentials::None,
            })
        });
        Source::git(settings, clock)
    }
}

/// What a folder is compared with: a Git revision as it was where the folder's own commits parted from it.
///
/// # Errors
/// When there is no such revision, or it can't be read.
pub(super) fn documents_at(dir: &Path, base: &str, prefix: &str) -> Result<Snapshot, CliError> {
    let parted = parted_from(dir, base).map_err(CliError::failed)?;
    at(dir, parted.as_deref().unwrap_or(base), prefix).map_err(CliError::failed)
}

/// The documents of a snapshot as commands read them.
///
/// # Errors
/// All that is wrong with them.
pub(super) fn built(snapshot: &Snapshot, environment: Option<&str>) -> Result<Built, Vec<Problem>> {
    build_snapshot(snapshot, environment, std::env::var("PROM_URL").is_ok())
}

/// The files of a folder that holds documents.
///
/// # Errors
/// When it can't be read, or has none: a command that looked into the wrong folder must not say that all is well.
pub(super) fn documents_in(dir: &Path) -> Result<Snapshot, CliError> {
    let snapshot = read_folder(dir).map_err(CliError::failed)?;
    if snapshot.documents().next().is_none() {
        let where_to = "name the folder that has manifests/, cohorts/ and flags/";
        return Err(CliError::Failed(format!("there are no documents (*.yaml) in {}: {where_to}", dir.display())));
    }
    Ok(snapshot)
}
