//! Supervised processes of one machine: the process tree of `up`.
//!
//! ```text
//!  up ── Supervisor ──(control socket)──► shim ──► the process itself ──► whatever it starts
//!   │ owns the listening socket             │ parent-death signal            │ same process group
//!   └──────────── handed down as standard input ───────────────►             │
//!                                           └── takes all of it along when `up` is gone ◄┘
//! ```
//!
//! - [`Supervisor`] makes a desired set of [`ProcessSpec`]s so: starts, replaces one at a time (the new one is ready before the old
//!   one goes), restarts with backoff, stops with grace.
//! - [`shim`] is the staying parent of each process. It notices the end of `up` by two means (its control socket closes; the
//!   kernel's process handle of `up` becomes readable), neither bound to a thread, and both work after a SIGKILL.
//! - [`listener`] binds the one listening socket and takes it up again in a child; [`graceful`] is a child's side of being replaced,
//!   [`connection`] one client's.
//! - [`Once`] is a command that runs to its end under a shim, once.
//! - [`folder`] is the data folder's lock and `server.json`.
//!
//! Must not know: resources, the database, or why a process is wanted.

mod backoff;
mod child;
mod connection;
mod control;
mod error;
pub mod folder;
pub mod graceful;
mod keeper;
pub mod listener;
mod once;
mod output;
mod probe;
mod roll;
pub mod shim;
mod spec;
mod supervisor;
mod wishes;

pub use error::ProcessError;
pub use folder::{FolderLock, ServerFile};
pub use graceful::{announce_ready, serve};
pub use listener::{SharedListener, listener_from_stdin};
pub use once::{Ended, NOT_STARTED, Once};
pub use roll::{Exit, ProcessState, ProcessStatus};
pub use spec::{CommandLine, Listens, ProcessSpec, Ready};
pub use supervisor::{Program, Supervisor, SupervisorOptions};
