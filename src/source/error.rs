//! What can go wrong while documents are fetched, sorted by what a caller can do about it.
//!
//! Must not know: secrets. Messages carry no password, token or user part of an address.

/// An error of a source. [`SourceError::retryable`] says whether the same call may work later without a change of settings.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// The remote refuses the credentials, or wants some and has none. Retryable: secrets are rotated on the other side too.
    #[error("the Git remote refuses the credentials: {0}")]
    Credentials(String),
    /// The remote does not answer. Retryable.
    #[error("the Git remote cannot be reached: {0}")]
    Unreachable(String),
    /// The remote answers, but the repository is not there (moved, deleted, or hidden from these credentials). Retryable.
    #[error("the Git repository is not there: {0}")]
    Vanished(String),
    /// The branch is not in the remote. Retryable.
    #[error("the Git repository has no branch `{0}`")]
    NoBranch(String),
    /// There is no such commit, tag or branch. Terminal for this call.
    #[error("no revision `{0}` in the Git repository")]
    NoRevision(String),
    /// The folder, or the path within the repository, is not there. Retryable.
    #[error("there is no folder `{0}`")]
    NoFolder(String),
    /// No such file in the snapshot. Terminal for this snapshot.
    #[error("there is no file `{0}`")]
    NoFile(String),
    /// A document is too large to be one. Terminal for this revision.
    #[error("`{file}` is too large for a document: {size} bytes, at most {most}")]
    TooLarge {
        /// The file.
        file: String,
        /// Its size in bytes.
        size: u64,
        /// The most it may have.
        most: u64,
    },
    /// The file changed between the snapshot and its reading. Retryable: take a new snapshot.
    #[error("`{0}` changed while it was read")]
    Changed(String),
    /// The file is in a repository that did not answer since this process started. Retryable.
    #[error("`{0}` is in Git, which did not answer so far")]
    Away(String),
    /// A file or folder could not be read. Retryable.
    #[error("`{file}` cannot be read: {reason}")]
    Io {
        /// The file or folder.
        file: String,
        /// The system's reason.
        reason: String,
    },
    /// Git itself is not content (a damaged cache, a full disk, …). Retryable.
    #[error("Git: {0}")]
    Git(String),
    /// The cluster does not tell what is there. Retryable.
    #[error("the cluster: {0}")]
    Cluster(String),
    /// It took too long. Retryable.
    #[error("the Git remote did not finish within {0} s")]
    TimedOut(u64),
    /// A tag of that name is another commit's already, and stays where it is. Terminal.
    #[error("there is a tag {0} already, and it means another commit")]
    Taken(String),
    /// The documents are in no repository: in a folder, a cluster. Terminal.
    #[error("the documents are in a {0}: nothing can be {1}")]
    NotInGit(&'static str, &'static str),
    /// The settings make no sense. Terminal until they change.
    #[error("{0}")]
    Settings(String),
}

impl SourceError {
    /// Whether the same call may succeed later without anybody changing the settings.
    pub fn retryable(&self) -> bool {
        let terminal = matches!(
            self,
            Self::NoRevision(_)
                | Self::NoFile(_)
                | Self::TooLarge { .. }
                | Self::Taken(_)
                | Self::NotInGit(..)
                | Self::Settings(_)
        );
        !terminal
    }

    /// A file error, by its system reason.
    pub(super) fn io(file: impl Into<String>, error: &std::io::Error) -> Self {
        Self::Io { file: file.into(), reason: error.kind().to_string() }
    }
}
