//! What can go wrong with processes of one machine, and whether trying again can help.
//!
//! Must not know: how an error is shown.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// An error of the process room. Messages name the thing and what to do, and hold no secret.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// Something else listens on the address already.
    #[error("port {} on {} is in use by another program; stop it, or give another port with --listen", .0.port(), .0.ip())]
    PortInUse(SocketAddr),
    /// The address can't be listened on (no right to, or no such address here).
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// Standard input of this process is no listening socket: it was not started by `up`.
    #[error("standard input is not a listening socket; this process is meant to be started by `betagate up`")]
    NoListener,
    /// Another `up` holds the data folder.
    #[error("the data folder {} is in use by {holder}; stop it first, or give another folder with --data", .folder.display())]
    FolderHeld {
        /// The data folder.
        folder: PathBuf,
        /// Who holds it, in words (its process id, and since when).
        holder: String,
    },
    /// A file of the data folder can't be read or written.
    #[error("{}: {source}", .path.display())]
    Folder {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A specification that can't work, found before anything is started.
    #[error("workload {workload}: {problem}")]
    BadSpec {
        /// The workload's name.
        workload: String,
        /// What is wrong with it.
        problem: String,
    },
    /// An operation names a workload that is not supervised.
    #[error("no workload named {0} runs here")]
    UnknownWorkload(String),
    /// A revision to go back to is not among those remembered.
    #[error("workload {workload} has no earlier revision {wanted}")]
    UnknownRevision {
        /// The workload's name.
        workload: String,
        /// The revision asked for, or "at all".
        wanted: String,
    },
    /// The supervisor has stopped.
    #[error("the supervisor has stopped")]
    Stopped,
}

impl ProcessError {
    /// Whether the same call can succeed later with nothing changed here.
    pub fn retryable(&self) -> bool {
        matches!(self, Self::PortInUse(_) | Self::FolderHeld { .. })
    }
}
