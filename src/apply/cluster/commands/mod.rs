//! A command of a check or a step as a Kubernetes Job: begun once under its key, followed to its end, taken away.
//!
//! | module | what it knows |
//! |---|---|
//! | `allowed` | under which account, with which Secrets |
//! | `build` | the Job |
//! | `judge` | how it stands |
//!
//! - A Job has a name that follows from what it is for. A controller that dies between making it and telling how it ended leaves it running; the next one
//!   finds it under that name, and nothing runs twice at the same time.
//! - What it wrote is asked of its log, and only where a number is wanted. A pod's termination message would need one right less, and is no way: the
//!   runtime fills it from the output of a container that *failed* alone, so that commands would have to write to a file that no machine outside a cluster
//!   has.
//! - It is looked at rather than watched: a command that runs is seldom, and at rest nothing is asked.
//! - All of it happens beside the passes: an API server that is away holds up no freeze.
//!
//! Must not know: what a command is for, what its exit code means, the database.

mod allowed;
mod build;
mod judge;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::{DeleteParams, ListParams, LogParams, Patch, PatchParams, PostParams, Preconditions};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};

pub(super) use allowed::is_name;
pub use build::{Order, Purpose};

use super::MANAGER;
use crate::apply::processes::Ended;
use crate::cluster::Cluster;
use build::{Built, CONTAINER, ENDED, KIND_LABEL, STARTING, WELL, built};
use judge::{Stand, judge, refusal};

/// So many checks run at once; a step waits for none of them.
const CHECKS_AT_ONCE: usize = 8;
/// How often a Job is looked at: soon at first, then less.
const LOOKS: [Duration; 2] = [Duration::from_millis(250), Duration::from_secs(1)];
/// From so many looks on.
const SOON: u32 = 20;
/// How long the API server may be away beyond the time of the command.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a pass waits for an answer.
const GLANCE: Duration = Duration::from_secs(5);
/// How many of the last lines of its log are read: fewer where they are too many bytes, as the server then leaves out the end.
const LINES: [i64; 3] = [50, 10, 2];
/// The most of its log that is read at once.
const MOST_BYTES: usize = 64 << 10;

/// Why a command has not run to its end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotRun {
    /// This process may not write for now.
    #[error("another controller leads")]
    NotLeading,
    /// The API server does not answer, or asks to be left alone for a moment.
    #[error("the API server does not take it for now: {0}")]
    Away(String),
    /// What it names is not allowed.
    #[error("{0}")]
    NotAllowed(String),
    /// The API server refuses it.
    #[error("the API server refuses it: {0}")]
    Refused(String),
    /// Somebody else's Job has its name.
    #[error("there is a Job {0} that is not betagate's: it is left alone")]
    Foreign(String),
    /// The one before has not ended yet.
    #[error("Job {0} is still being taken away")]
    Ending(String),
    /// It does not start.
    #[error("Job {job} does not start: {why}")]
    NotStarted {
        /// The Job.
        job: String,
        /// Why.
        why: String,
    },
    /// It ended without its command having ended.
    #[error("Job {job} was broken off: {why}")]
    Broken {
        /// The Job.
        job: String,
        /// Why.
        why: String,
    },
    /// What it wrote can't be read.
    #[error("the log of Job {job} can't be read: {why}")]
    NoLog {
        /// The Job.
        job: String,
        /// Why.
        why: String,
    },
}

impl NotRun {
    fn not_allowed(why: &str) -> Self {
        Self::NotAllowed(why.to_owned())
    }
}

/// Where commands run as Jobs; clones are the same one.
#[derive(Clone)]
pub struct Commands {
    cluster: Arc<Cluster>,
    checks: Arc<Semaphore>,
}

impl std::fmt::Debug for Commands {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Commands").field(&self.cluster.namespace()).finish()
    }
}

/// A Job that was begun.
#[derive(Debug)]
pub struct Begun {
    job: String,
    purpose: Purpose,
    deadline: Duration,
    _one: Option<tokio::sync::OwnedSemaphorePermit>,
}

/// A Job that needs no more following, and what came of it: how its command ended, with the pod whose log has its output.
struct Followed {
    uid: Option<String>,
    ended: Result<(Ended, Option<String>), NotRun>,
}

/// What was seen of a Job.
struct Look {
    uid: Option<String>,
    stand: Stand,
}

impl Commands {
    /// In the namespace of a cluster.
    pub fn new(cluster: Arc<Cluster>) -> Self {
        Self { cluster, checks: Arc::new(Semaphore::new(CHECKS_AT_ONCE)) }
    }

    /// Whether an order may run at all; nothing is begun. A pass waits for it, so it is asked for a moment only.
    ///
    /// # Errors
    /// Why it may not.
    pub async fn may_run(&self, order: &Order) -> Result<(), NotRun> {
        let asked = tokio::time::timeout(GLANCE, allowed::allowed(&self.cluster, order)).await;
        asked.map_err(|_| NotRun::Away("it does not answer".to_owned()))?.map(drop)
    }

    /// Begins a command, or finds the Job of the same key that was begun before.
    ///
    /// # Errors
    /// See [`NotRun`].
    pub async fn begin(&self, order: &Order) -> Result<Begun, NotRun> {
        let one = match order.purpose {
            Purpose::Check => self.checks.clone().acquire_owned().await.ok(),
            Purpose::Step => None,
        };
        let terms = allowed::allowed(&self.cluster, order).await?;
        let Built { name, body } = built(order, &terms.image, &terms.account);
        let job: Job = serde_json::from_value(body).map_err(|error| NotRun::Refused(error.to_string()))?;
        let begun = Begun { job: name.clone(), purpose: order.purpose, deadline: order.deadline, _one: one };
        // Once more, where an old one was in the way.
        for _ in 0..2 {
            self.may_act()?;
            let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
            match self.jobs().create(&params, &job).await {
                Ok(_) => {
                    tracing::info!(job = %name, about = %order.about, "a command was begun");
                    return Ok(begun);
                }
                Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => {}
                Err(error) => return Err(away(&error)),
            }
            match self.found(&name, order.purpose).await? {
                true => return Ok(begun),
                false => continue,
            }
        }
        Err(NotRun::Ending(name))
    }

    /// Whether the Job of that name is the one to be followed; one that answers for nothing any more is taken away.
    async fn found(&self, name: &str, purpose: Purpose) -> Result<bool, NotRun> {
        let Some(live) = self.jobs().get_opt(name).await.map_err(|error| away(&error))? else { return Ok(false) };
        let labels = live.metadata.labels.clone().unwrap_or_default();
        let labelled = |label: &str, value: &str| labels.get(label).is_some_and(|known| known == value);
        if !(labelled("app.kubernetes.io/managed-by", MANAGER) && labelled(KIND_LABEL, purpose.word())) {
            return Err(NotRun::Foreign(name.to_owned()));
        }
        if live.metadata.deletion_timestamp.is_some() {
            return Err(NotRun::Ending(name.to_owned()));
        }
        if purpose == Purpose::Step {
            return Ok(true);
        }
        let ended = |job: &Job| {
            job.status.as_ref().is_some_and(|status| {
                status
                    .conditions
                    .iter()
                    .flatten()
                    .any(|one| matches!(one.type_.as_str(), "Complete" | "Failed") && one.status == "True")
            })
        };
        if ended(&live) {
            self.take_away(name, live.metadata.uid, purpose).await;
            return Ok(false);
        }
        Ok(true)
    }

    /// Follows a Job to its end, and takes it away: but for that of a step that ended well, which is proof of it. `output` says whether what it wrote is
    /// wanted.
    ///
    /// # Errors
    /// See [`NotRun`].
    pub async fn end(&self, begun: Begun, output: bool) -> Result<Ended, NotRun> {
        let Followed { uid, ended } = self.follow(&begun).await?;
        let ended = match ended {
            Ok((Ended::Code(0, _), pod)) if output => self.log(&begun.job, pod).await.map(|said| Ended::Code(0, said)),
            other => other.map(|(ended, _)| ended),
        };
        if begun.purpose == Purpose::Step && matches!(ended, Ok(Ended::Code(0, _))) {
            self.keep_as_proof(&begun.job, uid).await;
        } else {
            self.take_away(&begun.job, uid, begun.purpose).await;
        }
        ended
    }

    /// Writes down in a Job that its command ended well: nothing that goes on beside it says otherwise any more.
    async fn keep_as_proof(&self, name: &str, uid: Option<String>) {
        if self.may_act().is_err() {
            return;
        }
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        let said_so = Patch::Merge(json!({ "metadata": { "uid": uid, "annotations": { ENDED: WELL } } }));
        if let Err(error) = self.jobs().patch(name, &params, &said_so).await {
            tracing::warn!(job = name, error = %said(&error), "that its command ended well could not be written down");
        }
    }

    /// Looks at a Job until it needs no more; an error where nothing is known of it any more, so that it is left alone.
    async fn follow(&self, begun: &Begun) -> Result<Followed, NotRun> {
        let (since, mut running, mut looks) = (Instant::now(), None, 0_u32);
        loop {
            match self.look(&begun.job).await {
                Ok(None) => {
                    return Err(NotRun::Broken { job: begun.job.clone(), why: "somebody took it away".to_owned() });
                }
                Ok(Some(Look { uid, stand })) => {
                    if matches!(stand, Stand::Running) {
                        running.get_or_insert_with(Instant::now);
                    }
                    let running = running.is_some_and(|since| since.elapsed() > begun.deadline);
                    if let Some(ended) = over(&begun.job, stand, (running, since.elapsed() > STARTING)) {
                        return Ok(Followed { uid, ended });
                    }
                }
                Err(error) if since.elapsed() > begun.deadline + STARTING + PATIENCE => return Err(error),
                Err(_) => {}
            }
            looks = looks.saturating_add(1);
            sleep(LOOKS[usize::from(looks > SOON)]).await;
        }
    }

    async fn look(&self, name: &str) -> Result<Option<Look>, NotRun> {
        let Some(job) = self.jobs().get_opt(name).await.map_err(|error| away(&error))? else { return Ok(None) };
        let uid = job.metadata.uid.clone();
        let id = uid.clone().unwrap_or_default();
        let own = ListParams::default().labels(&format!("batch.kubernetes.io/controller-uid={id}"));
        let pods = self.pods().list(&own).await.map_err(|error| away(&error))?;
        let pods: Vec<Value> = pods.items.iter().map(plain).collect();
        let refused = if pods.is_empty() { self.refused(name, &id).await } else { None };
        Ok(Some(Look { uid, stand: judge(&plain(&job), &pods, refused.as_deref()) }))
    }

    /// Why it got no pod: a quota, an admission policy. The Job itself does not say so.
    async fn refused(&self, name: &str, uid: &str) -> Option<String> {
        let api: Api<Event> = Api::namespaced(self.cluster.client().clone(), self.cluster.namespace());
        let about = ListParams::default().fields(&format!("regarding.uid={uid},reason=FailedCreate"));
        let events = api.list(&about).await.ok()?;
        let note = events.items.into_iter().filter_map(|event| event.note).next_back()?;
        Some(refusal(&note, name))
    }

    async fn log(&self, job: &str, pod: Option<String>) -> Result<String, NotRun> {
        let lost = |why: String| NotRun::NoLog { job: job.to_owned(), why };
        let pod = pod.ok_or_else(|| lost("its pod is gone".to_owned()))?;
        for lines in LINES {
            let params = LogParams {
                container: Some(CONTAINER.to_owned()),
                tail_lines: Some(lines),
                limit_bytes: i64::try_from(MOST_BYTES).ok(),
                ..LogParams::default()
            };
            match self.pods().logs(&pod, &params).await {
                Ok(log) if log.len() < MOST_BYTES => return Ok(log),
                // It was cut, perhaps in the middle of a character.
                Ok(_) | Err(kube::Error::FromUtf8(_)) => {}
                // The API server's words may be the node's.
                Err(error) => return Err(lost(said(&error))),
            }
        }
        Err(lost("its last lines are longer than 64 KiB, or no text".to_owned()))
    }

    /// Takes a Job away with its pod. One that can't be now goes by itself a while after its end. A step's stays until its pod is gone: none is begun beside it.
    async fn take_away(&self, name: &str, uid: Option<String>, purpose: Purpose) {
        if self.may_act().is_err() {
            return;
        }
        let params = match purpose {
            Purpose::Check => DeleteParams::background(),
            Purpose::Step => DeleteParams::foreground(),
        };
        let params = DeleteParams { preconditions: Some(Preconditions { uid, resource_version: None }), ..params };
        match self.jobs().delete(name, &params).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
            Err(error) => tracing::warn!(job = name, error = %said(&error), "a Job could not be taken away"),
        }
    }

    fn jobs(&self) -> Api<Job> {
        Api::namespaced(self.cluster.client().clone(), self.cluster.namespace())
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.cluster.client().clone(), self.cluster.namespace())
    }

    fn may_act(&self) -> Result<(), NotRun> {
        if self.cluster.may_act() { Ok(()) } else { Err(NotRun::NotLeading) }
    }
}

/// What came of a Job that stands so; nothing while it goes on. It may have run for as long as it may, or not have begun in time.
fn over(job: &str, stand: Stand, (ran_out, too_late): (bool, bool)) -> Option<Result<(Ended, Option<String>), NotRun>> {
    let job = job.to_owned();
    match stand {
        Stand::Ended(ended, pod) => Some(Ok((ended, pod))),
        Stand::Broken(why) => Some(Err(NotRun::Broken { job, why })),
        Stand::Stuck(why) => Some(Err(NotRun::NotStarted { job, why })),
        Stand::Waiting(why) => too_late.then_some(Err(NotRun::NotStarted { job, why })),
        Stand::Running => ran_out.then_some(Ok((Ended::TimedOut, None))),
    }
}

fn plain<K: serde::Serialize>(object: &K) -> Value {
    serde_json::to_value(object).unwrap_or_default()
}

fn said(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}

fn away(error: &kube::Error) -> NotRun {
    match error {
        kube::Error::Api(status) if !matches!(status.code, 409 | 429 | 500..) => {
            NotRun::Refused(status.message.clone())
        }
        other => NotRun::Away(said(other)),
    }
}
