//! Workloads on this machine: which process a document describes.
//!
//! Must not know: how a process is started and watched (that is `processes`'), why one should run.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use betagate_core::resources::{Component, WorkloadSpec};
use secrecy::{ExposeSecret as _, SecretString};

use super::processes::{CommandLine, Listens, ProcessError, ProcessSpec, ProcessState, Ready, Supervisor};
use super::workloads::{Earlier, RunState, Running, Wanted};

/// The API process that always runs.
pub const BUILT_IN_API: &str = "betagate-api";
/// How long a process may take to end.
const STOP_GRACE: Duration = Duration::from_secs(10);

/// The value of a secret, by its name.
pub type SecretOf = Arc<dyn Fn(&str) -> Result<SecretString, String> + Send + Sync>;

/// This machine.
#[derive(Clone)]
pub struct Machine {
    supervisor: Supervisor,
    own: Arc<Own>,
    /// Requests for a replacement that were handed on.
    replaced: Arc<Mutex<BTreeSet<String>>>,
}

/// What betagate's own processes find in their environment, and where secrets come from.
pub struct Own {
    /// The database's address.
    pub database: SecretString,
    /// The data folder.
    pub data: PathBuf,
    /// More variables.
    pub env: BTreeMap<String, String>,
    /// The values of secrets.
    pub secret: SecretOf,
}

impl Machine {
    /// The machine whose processes this supervisor looks after.
    pub fn new(supervisor: Supervisor, own: Own) -> Self {
        Self { supervisor, own: Arc::new(own), replaced: Arc::default() }
    }

    /// Wants exactly these from now on, and the API process that always runs.
    pub(super) async fn make_so(&self, wanted: &[Wanted]) -> Result<(), ProcessError> {
        let mut env = BTreeMap::new();
        let runs = self.own("api", &mut env);
        let mut specs = vec![supervised(BUILT_IN_API, 1, env, runs)];
        specs.extend(wanted.iter().map(|wanted| self.process(&wanted.workload, &wanted.spec)));
        for spec in &specs {
            if let Err(error) = spec.check() {
                tracing::warn!(workload = %spec.workload, error = %error, "a workload can't run on this machine");
            }
        }
        specs.retain(|spec| spec.check().is_ok());
        self.supervisor.set_desired(specs).await
    }

    pub(super) async fn remember(&self, workload: &str, earlier: &[Earlier]) -> Result<(), ProcessError> {
        let specs: Vec<_> = earlier.iter().map(|one| (one.proven_at, self.process(workload, &one.spec))).collect();
        let proven = specs.iter().filter(|(at, _)| at.is_some()).max_by_key(|(at, _)| *at);
        let proven = proven.map(|(_, spec)| spec.clone());
        self.supervisor.remember(specs.into_iter().map(|(_, spec)| spec).collect(), proven).await
    }

    pub(super) async fn replace(
        &self,
        workload: &str,
        ids: &BTreeSet<String>,
        request: &str,
    ) -> Result<(), ProcessError> {
        let of_those = |running: &Running| running.id.as_ref().is_some_and(|id| ids.contains(id));
        let still = self.observed().iter().any(|running| running.workload == workload && of_those(running));
        let requests = || self.replaced.lock().unwrap_or_else(PoisonError::into_inner);
        if !still || !requests().insert(request.to_owned()) {
            return Ok(());
        }
        let asked = self.supervisor.restart(workload, None).await;
        if asked.is_err() {
            requests().remove(request);
        }
        asked
    }

    pub(super) fn observed(&self) -> Vec<Running> {
        let running = self.supervisor.observed().into_iter().map(|process| Running {
            id: process.pid.map(|pid| pid.to_string()),
            place: process.replica.to_string(),
            state: match process.state {
                ProcessState::Ready => RunState::Ready,
                ProcessState::Stopping => RunState::Stopping,
                _ => RunState::Starting,
            },
            workload: process.workload,
            revision: process.revision,
            since: process.since,
        });
        running.collect()
    }

    /// The process that a document describes.
    pub(super) fn process(&self, name: &str, spec: &WorkloadSpec) -> ProcessSpec {
        let mut env = spec.env_strings();
        for (variable, secret) in &spec.secret_env {
            match (self.own.secret)(secret) {
                Ok(value) => drop(env.insert(variable.clone(), value.expose_secret().to_owned())),
                Err(error) => tracing::warn!(workload = name, %error, "a setting is left out"),
            }
        }
        let runs = match (&spec.command, spec.component) {
            (Some(command), _) => anothers(spec, command),
            (None, Component::Api) => self.own("api", &mut env),
            (None, _) => self.own("worker", &mut env),
        };
        supervised(name, spec.replicas, env, runs)
    }

    /// A process of this binary, which finds the database and the data folder in its environment.
    fn own(&self, part: &str, env: &mut BTreeMap<String, String>) -> Runs {
        env.insert("BETAGATE_DATABASE".to_owned(), self.own.database.expose_secret().to_owned());
        env.insert("BETAGATE_DATA".to_owned(), self.own.data.display().to_string());
        env.extend(self.own.env.clone());
        let listens = if part == "api" { Listens::Shared } else { Listens::None };
        (CommandLine::ThisBinary(vec![part.to_owned()]), listens, Ready::Report)
    }
}

/// What is run, where it listens, and what tells that it is ready.
type Runs = (CommandLine, Listens, Ready);

fn supervised(
    name: &str,
    replicas: u32,
    env: BTreeMap<String, String>,
    (command, listens, ready): Runs,
) -> ProcessSpec {
    let (workload, revision) = (name.to_owned(), String::new());
    ProcessSpec { workload, revision, command, env, replicas, listens, ready, stop_grace: STOP_GRACE }.with_digest()
}

/// A process of another program: it listens where its document says, and is ready when it answers there.
fn anothers(spec: &WorkloadSpec, command: &[String]) -> Runs {
    let ready = match &spec.health {
        Some(health) => Ready::Http { path: health.path.clone(), port: None },
        None => Ready::Started,
    };
    let listens = match (spec.port, &spec.health) {
        (None, None) => Listens::None,
        (port, _) => Listens::OwnPort(port),
    };
    (CommandLine::Command(command.to_vec()), listens, ready)
}
