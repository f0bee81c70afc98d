//! The loop around the flow: wake up, go once through it, sleep until the earliest of the next event and what `decide` asks for.
//!
//! It is level-triggered: it never matters why it woke up. Must not know: the rules of the domain (those are `core`'s).

mod apart;
mod calendar;
mod carry;
mod commit;
mod dataset_files;
mod datasets;
mod dispatch;
mod faults;
mod from_git;
mod jobs;
mod lists;
mod measure;
mod observe;
mod preview;
mod program;
mod proofs;
mod pull;
mod record;
mod records;
mod rehearse;
mod remembered;
mod requests;
mod rest;
mod revision;
mod settle;
mod told;
mod workloads;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::RandomState;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use betagate_core::decide::{Reading, RunPhase};
use betagate_core::desired::{Built, error::Problem};
use futures_util::FutureExt as _;
use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::apply::cluster::Deployer;
use crate::apply::processes::{ProcessError, Program, Supervisor};
use crate::apply::workloads::Target;
use crate::clock::Clock;
use crate::keys::Keys;
use crate::signals::Signals;
use crate::source::{Snapshot, Source};
use crate::status::cluster::Teller;
use crate::store::push::Push;
use crate::store::{Store, StoreError, leadership};

use measure::MeasuredCheck;

pub use calendar::in_its_calendar;
pub use dispatch::{Sample, sample_letter};
pub use faults::Faults;
pub use from_git::GitToCluster;
pub use lists::{
    Acknowledgement, CheckedList, FoundList, Known, ListProblem, Place, check_list, find_list, survey_list,
};
pub use observe::REPORT_STALE_AFTER;
pub use preview::{Preview, preview};
pub use program::ProgramState;
pub use pull::{Side, pull};
pub use rehearse::REHEARSE;
pub use requests::{MEASURE_GATE, SEND_TEST, SET_FLAG, START_ROLLBACK, TRIGGER_SOURCE};
pub use revision::{build_snapshot, survey_snapshot};

/// A settling program is passed over at most so often before the rest gets its turn.
const MOST_PASSES: usize = 100;
const FEW_PASSES: usize = 3;
/// A program whose pass ended by a fault is looked at again after this.
const AFTER_A_FAULT: SignedDuration = SignedDuration::from_secs(30);
/// How long the loop sleeps at most, so that another process's words (a sign-off, an incident) are seen where the database can't tell of them.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// How long it sleeps while a rollback brings its steps into force: what API processes serve is read, not pushed.
const ROLLBACK_SLEEP: Duration = Duration::from_millis(50);

/// What ends a pass, or the controller.
#[derive(Debug, thiserror::Error)]
pub enum ControllerError {
    /// The database. Retryable while it is away.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A process could not be started.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// What was remembered does not read.
    #[error("the controller's memory of {0} does not read: {1}")]
    Memory(String, String),
    /// An invite that a document declares can't be made.
    #[error(transparent)]
    Invite(#[from] crate::store::invites::InviteError),
    /// A client could not be made.
    #[error("{0}")]
    Setup(String),
}

impl ControllerError {
    /// Whether trying again later can help.
    pub fn retryable(&self) -> bool {
        match self {
            Self::Store(error) => error.retryable() || matches!(error, StoreError::Conflict(_)),
            Self::Process(_) => true,
            Self::Invite(_) => true,
            Self::Memory(..) | Self::Setup(_) => false,
        }
    }

    /// Whether another controller has taken the lead.
    pub fn fenced(&self) -> bool {
        matches!(self, Self::Store(StoreError::Fenced { .. }))
    }
}

/// What a controller works with.
#[derive(Clone)]
pub struct Settings {
    /// The database.
    pub store: Store,
    /// Its address, for `sql` checks on betagate's own views.
    pub database_url: SecretString,
    /// The time.
    pub clock: Clock,
    /// Where documents come from.
    pub source: Arc<Source>,
    /// The repository that the resources are brought from, where the documents come from a cluster.
    pub git: Option<GitToCluster>,
    /// The data folder: cause documents, secrets.
    pub data: PathBuf,
    /// The keys.
    pub keys: Arc<Keys>,
    /// Which environment this is.
    pub environment: Option<String>,
    /// The supervisor of local processes, on one machine.
    pub supervisor: Option<Supervisor>,
    /// What keeps workloads deployed in a namespace of a cluster.
    pub deployer: Option<Deployer>,
    /// The program with the shim under which the commands of checks and steps run; none where they can't.
    pub jobs: Option<Program>,
    /// Where always-online routes are probed (`http://127.0.0.1:8080`), when there is a server.
    pub probe: Option<String>,
    /// Who this controller is, for the record of leadership.
    pub holder: String,
    /// What betagate's own processes find in their environment beside the database and the data folder.
    pub child_env: BTreeMap<String, String>,
}

/// The controller of one machine, or the leader of a cluster.
pub struct Controller {
    settings: Settings,
    /// Where workloads run.
    target: Target,
    signals: Signals,
    epoch: i64,
    snapshot: Option<Arc<Snapshot>>,
    built: Option<Built>,
    /// The snapshot that `built` is of: a newer one may have been refused.
    built_from: Option<Arc<Snapshot>>,
    /// What of a cluster counts.
    ledger: Option<settle::Ledger>,
    /// The programs of a cluster, as they were surveyed.
    apart: apart::Apart,
    /// Writes the statuses of resources, on a cluster.
    teller: Option<Teller>,
    /// What the resources are brought from.
    git: Option<from_git::FromGit>,
    /// The source changed while what is in force waited for Git.
    owed: bool,
    /// Rises with every decision that was written.
    decided: u64,
    /// Programs that are deleted with their cohorts, and were closed.
    closed_with: BTreeSet<String>,
    /// What the statuses were last gathered from.
    wished: Option<(u64, u64, u64)>,
    post: Arc<dispatch::Post>,
    /// Where commands of checks and steps run.
    workplace: Arc<jobs::Workplace>,
    problems: Vec<Problem>,
    programs: BTreeMap<String, ProgramState>,
    /// Measurements under way, and of what.
    in_flight: JoinSet<(MeasuredCheck, Reading)>,
    asked: BTreeSet<MeasuredCheck>,
    /// Whether a pass waits for its measurements.
    patient: bool,
    revisions: workloads::KnownRevisions,
    /// Tells what was decided from what was decided before.
    hashing: RandomState,
    /// The moments at which a test may stop it.
    faults: Arc<Faults>,
    /// Wakes the loop: an outbox receipt, a request through the API of the same process.
    pub wake: Arc<Notify>,
}

impl Controller {
    /// Takes the lead: from now on, writes of an earlier controller are refused.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn new(settings: Settings) -> Result<Self, ControllerError> {
        let epoch = leadership::take(&settings.store, &settings.holder, settings.clock.now()).await?;
        let mut tx = settings.store.begin().await?;
        leadership::fence(&mut tx, epoch).await?;
        for kinds in dispatch::KINDS {
            crate::store::outbox::take_over(&mut tx, kinds).await?;
        }
        crate::store::invites::doubt_claims(&mut tx, settings.clock.now()).await?;
        tx.commit().await?;
        let signals = Signals::new(settings.store.clone(), crate::signals::DEADLINE).map_err(ControllerError::Setup)?;
        let (wake, faults) = (Arc::new(Notify::new()), Arc::<Faults>::default());
        let workplace = Arc::new(jobs::Workplace::new(&settings));
        let git = from_git::FromGit::start(&settings, epoch, &wake).await?;
        Ok(Self {
            post: dispatch::Post::new(&settings, epoch, (wake.clone(), faults.clone()), workplace.clone()),
            workplace,
            faults,
            target: workloads::target(&settings),
            signals,
            epoch,
            snapshot: None,
            built: None,
            built_from: None,
            ledger: None,
            apart: apart::Apart::default(),
            teller: Teller::start(settings.source.clone(), settings.clock.clone(), &settings.holder),
            git,
            owed: false,
            decided: 0,
            closed_with: BTreeSet::new(),
            wished: None,
            problems: Vec::new(),
            programs: BTreeMap::new(),
            in_flight: JoinSet::new(),
            asked: BTreeSet::new(),
            patient: false,
            revisions: workloads::KnownRevisions::default(),
            hashing: RandomState::new(),
            wake,
            settings,
        })
    }

    /// The moments at which a test may stop this controller.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// What is wrong with the newest revision, if it could not be taken.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// The revision that is in force.
    pub fn revision(&self) -> Option<&betagate_core::desired::Revision> {
        self.built.as_ref().map(|built| &built.desired.revision)
    }

    /// What is worth saying about the revision that is in force.
    pub fn warnings(&self) -> &[Problem] {
        self.built.as_ref().map_or(&[], |built| &built.warnings)
    }

    /// The programs, as they were decided last.
    pub fn programs(&self) -> &BTreeMap<String, ProgramState> {
        &self.programs
    }

    /// Looks at the source, measures what is due, and goes through the flow until nothing changes any more. Says when to look again.
    ///
    /// # Errors
    /// When the database is away, or another controller has taken the lead.
    pub async fn pass(&mut self) -> Result<Option<Timestamp>, ControllerError> {
        self.patient = true;
        let wake = self.look(true).await;
        self.patient = false;
        wake
    }

    fn rolling_back(&self) -> bool {
        let runs = self
            .programs
            .values()
            .filter_map(|state| state.decision.as_ref())
            .flat_map(|decision| decision.memory.runs.values());
        runs.into_iter().any(|run| run.phase == RunPhase::Running)
    }

    /// As [`Controller::pass`], but waits for no measurement.
    async fn look(&mut self, at_source: bool) -> Result<Option<Timestamp>, ControllerError> {
        self.follow_git().await?;
        self.owed |= at_source;
        if self.owed && !self.waits_for_git() {
            self.owed = false;
            // A document that no check foresaw stops nothing: the last good revision goes on.
            let taken = AssertUnwindSafe(self.take_revision()).catch_unwind().await;
            taken.unwrap_or_else(|_| {
                tracing::error!(
                    "the source could not be taken in by a fault of betagate; the last good revision goes on"
                );
                Ok(())
            })?;
        }
        let passed = self.go_through().await;
        if passed.as_ref().is_err_and(ControllerError::retryable) {
            // Nobody knows how far it came: what is recorded is read again.
            self.programs.clear();
        }
        passed
    }

    /// Goes through the flow with the revision that was taken last.
    async fn go_through(&mut self) -> Result<Option<Timestamp>, ControllerError> {
        self.carry_out_requests().await?;
        // First: what is served does not wait until a program has settled.
        self.apply_workloads().await?;
        let mut wake: Option<Timestamp> = None;
        let names: Vec<String> = self.built.iter().flat_map(|built| built.desired.programs.keys().cloned()).collect();
        for name in names {
            let mut again = None;
            // On a fast clock something is always due: the other programs must get their turn.
            let most = if self.settings.clock.is_demo() { FEW_PASSES } else { MOST_PASSES };
            for _ in 0..most {
                // One program's fault is no other's, and no end of the controller.
                let passed = AssertUnwindSafe(self.pass_program(&name)).catch_unwind().await;
                let (changed, at) = match passed {
                    Ok(Err(error)) if error.retryable() || error.fenced() => return Err(error),
                    Ok(Ok(passed)) => passed,
                    faulty => {
                        let error =
                            faulty.ok().and_then(Result::err).map_or_else(String::new, |error| error.to_string());
                        tracing::error!(program = %name, error, "a pass ended by a fault of betagate; it is tried again");
                        (false, self.settings.clock.now().checked_add(AFTER_A_FAULT).ok())
                    }
                };
                again = at;
                if !changed {
                    break;
                }
            }
            wake = [wake, again].into_iter().flatten().min();
        }
        self.close_with_programs().await?;
        self.tell_cluster();
        self.faults.at(|| "chain: before".to_owned()).await;
        crate::store::audit::chain(&self.settings.store).await?;
        Ok(wake)
    }

    /// Runs until `stop`, and shows itself to `seen` after every pass: every error is logged and tried again with a growing pause; the last good state goes on.
    ///
    /// # Errors
    /// When another controller has taken the lead, or what is remembered does not read.
    pub async fn run(
        &mut self,
        stop: impl Future<Output = ()>,
        mut seen: impl FnMut(&Self),
    ) -> Result<(), ControllerError> {
        tokio::pin!(stop);
        let senders = dispatch::Senders::start(self.post.clone());
        let mut failures = 0_u32;
        let mut source_changed = true;
        let mut words = Push::of_words(self.settings.store.clone(), self.longest());
        words.listen().await;
        loop {
            let before = self.moment().await;
            let passed = self.look(source_changed || failures > 0).await;
            source_changed = false;
            let pause = match passed {
                Ok(wake) => {
                    failures = 0;
                    seen(self);
                    wake
                }
                Err(error) if error.retryable() => {
                    tracing::warn!(error = %error, "the pass failed; it is tried again");
                    failures = failures.saturating_add(1);
                    None
                }
                Err(error) => return Err(error),
            };
            let source = self.settings.source.clone();
            let (clock, wake) = (self.settings.clock.clone(), self.wake.clone());
            let usual = if self.rolling_back() { ROLLBACK_SLEEP } else { LONGEST_SLEEP };
            let longest = usual.saturating_mul(1 << failures.min(5));
            tokio::select! {
                () = &mut stop => {
                    senders.end().await;
                    return Ok(());
                }
                () = source.next_change(), if failures == 0 => source_changed = true,
                () = wake.notified(), if failures == 0 => {}
                () = words.wait(), if failures == 0 => {}
                () = self.rest(longest, before.as_ref()) => {}
                () = clock.sleep_until(pause.unwrap_or(Timestamp::MAX)), if pause.is_some() => {}
            }
        }
    }
}
