//! The supervisor: makes a desired set of processes so, and tells what it observes.
//!
//! One task owns all workloads. It wakes up when the desired set changes, when something becomes of a process, and at the next moment
//! that `roll` names; each time it carries out what that decides. Scaling, restarting and going back to an earlier revision
//! are changes of the desired set; the next [`Supervisor::set_desired`] has the last word on them.
//!
//! Must not know: why a process is wanted, or where its specification comes from.

use std::path::PathBuf;

use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::{oneshot, watch};

use super::keeper::State;
use super::roll::ProcessStatus;
use super::spec::ProcessSpec;
use super::{ProcessError, SharedListener, shim};
use crate::clock::Clock;

/// The program that has [`shim::run_if_asked`] at the head of its `main`.
#[derive(Clone, Debug)]
pub struct Program(pub(super) PathBuf);

impl Program {
    /// This very program, also after its file has been replaced.
    pub fn this() -> Self {
        Self(PathBuf::from(shim::THIS_PROGRAM))
    }

    /// The program at `path`.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }
}

/// What a supervisor works with.
#[derive(Clone, Debug)]
pub struct SupervisorOptions {
    /// The program of shims, and of [`CommandLine::ThisBinary`].
    pub program: Program,
    /// The socket of workloads that listen on the shared one.
    pub listener: Option<SharedListener>,
    /// The system's clock (also in a tour on a fast clock: processes live in real time), or a test's.
    pub clock: Clock,
}

/// A running supervisor; clones are the same one. When the last one is dropped, all processes are killed.
#[derive(Clone, Debug)]
pub struct Supervisor {
    orders: UnboundedSender<Order>,
    observed: watch::Receiver<Vec<ProcessStatus>>,
}

pub(super) type Reply<T> = oneshot::Sender<Result<T, ProcessError>>;

/// What a supervisor is asked for.
pub(super) enum Order {
    Desired(Vec<ProcessSpec>, Reply<()>),
    Scale(String, u32, Reply<()>),
    Restart(String, Option<u32>, Reply<()>),
    Revert(String, Option<String>, Reply<String>),
    Revisions(String, Reply<Vec<ProcessSpec>>),
    Remember(Vec<ProcessSpec>, Option<ProcessSpec>, Reply<()>),
    Shutdown(Reply<()>),
}

impl Supervisor {
    /// Starts a supervisor with nothing to do, on the current tokio runtime.
    pub fn start(options: SupervisorOptions) -> Self {
        let (orders, received) = unbounded_channel();
        let (events, happened) = unbounded_channel();
        let (observed, receiver) = watch::channel(Vec::new());
        tokio::spawn(State::new(options, events, observed).run(received, happened));
        Self { orders, observed: receiver }
    }

    /// Wants exactly these workloads from now on; those left out are stopped.
    ///
    /// # Errors
    /// [`ProcessError::BadSpec`] for the first spec that can't work: then nothing is changed.
    pub async fn set_desired(&self, specs: Vec<ProcessSpec>) -> Result<(), ProcessError> {
        self.ask(|reply| Order::Desired(specs, reply)).await
    }

    /// Wants `replicas` processes of a workload.
    ///
    /// # Errors
    /// An unknown workload, or more than one machine runs.
    pub async fn scale(&self, workload: &str, replicas: u32) -> Result<(), ProcessError> {
        self.ask(|reply| Order::Scale(workload.to_owned(), replicas, reply)).await
    }

    /// Replaces the processes of a workload (or of one replica of it), the new one ready before the old one goes.
    ///
    /// # Errors
    /// An unknown workload.
    pub async fn restart(&self, workload: &str, replica: Option<u32>) -> Result<(), ProcessError> {
        self.ask(|reply| Order::Restart(workload.to_owned(), replica, reply)).await
    }

    /// Goes back to a remembered revision of a workload, or to the one before; gives the revision now wanted.
    ///
    /// # Errors
    /// An unknown workload or revision.
    pub async fn revert(&self, workload: &str, revision: Option<&str>) -> Result<String, ProcessError> {
        self.ask(|reply| Order::Revert(workload.to_owned(), revision.map(str::to_owned), reply)).await
    }

    /// The remembered earlier specs of a workload, oldest first, and the wanted one last.
    ///
    /// # Errors
    /// An unknown workload.
    pub async fn revisions(&self, workload: &str) -> Result<Vec<ProcessSpec>, ProcessError> {
        self.ask(|reply| Order::Revisions(workload.to_owned(), reply)).await
    }

    /// Remembers specs of an earlier life (oldest first), so that they can be gone back to; `proven` is the last one of its workload that
    /// stayed up, which stands in while a newer one crashes again and again.
    ///
    /// # Errors
    /// When the supervisor has stopped.
    pub async fn remember(&self, earlier: Vec<ProcessSpec>, proven: Option<ProcessSpec>) -> Result<(), ProcessError> {
        self.ask(|reply| Order::Remember(earlier, proven, reply)).await
    }

    /// What is observed now, by workload and replica.
    pub fn observed(&self) -> Vec<ProcessStatus> {
        self.observed.borrow().clone()
    }

    /// Told of every change of what is observed.
    pub fn subscribe(&self) -> watch::Receiver<Vec<ProcessStatus>> {
        self.observed.clone()
    }

    /// Stops everything, each with its grace, and returns when nothing runs any more.
    pub async fn shutdown(&self) {
        // One that has stopped already has nothing running either.
        let _ = self.ask(Order::Shutdown).await;
    }

    async fn ask<T>(&self, order: impl FnOnce(Reply<T>) -> Order) -> Result<T, ProcessError> {
        let (reply, answer) = oneshot::channel();
        self.orders.send(order(reply)).map_err(|_| ProcessError::Stopped)?;
        answer.await.map_err(|_| ProcessError::Stopped)?
    }
}
