//! Standing for the lead: waits for the Lease, renews it, gives it back.
//!
//! While it cannot be renewed this process writes nothing to the cluster, but goes on with what lies in the database: there the epoch decides,
//! and a protection does not wait for an API server. Must not know: what a leader does.

use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Api;
use kube::api::{ObjectMeta, PostParams};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::Cluster;
use super::lease::{DURATION, Decision, EVERY, Observed, RENEW_DEADLINE, evaluate};
use crate::clock::Clock;

/// How long one question to the API server may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// One who would lead.
pub struct Campaign {
    cluster: Arc<Cluster>,
    leases: Api<Lease>,
    name: String,
    me: String,
    clock: Clock,
    lease: Option<Lease>,
    observed: Option<Observed>,
    /// The API server did not answer since it was seen: whoever holds it could not renew it either, and has the time for it once more.
    blind: bool,
}

/// Why a lease was not got or kept this time.
enum Missed {
    /// Another holds it, or got there first.
    Other,
    /// The API server does not answer as it should.
    Away(String),
}

impl Campaign {
    /// Stands for the lead that the Lease `name` in the cluster's namespace gives, under a name that no other process has.
    pub fn new(cluster: Arc<Cluster>, name: impl Into<String>, me: impl Into<String>, clock: Clock) -> Self {
        let leases = Api::namespaced(cluster.client().clone(), cluster.namespace());
        Self { cluster, leases, name: name.into(), me: me.into(), clock, lease: None, observed: None, blind: false }
    }

    /// Waits until this process leads. May be dropped at any moment.
    pub async fn win(&mut self) {
        let mut said = None;
        loop {
            match self.once().await {
                Ok(()) => return,
                Err(Missed::Other) => {
                    let holder = self.observed.as_ref().map(|lease| lease.holder.clone());
                    if said != holder {
                        tracing::info!(lease = %self.name, holder = holder.as_deref().unwrap_or_default(), "another leads; waiting");
                        said = holder;
                    }
                }
                Err(Missed::Away(error)) => tracing::warn!(lease = %self.name, %error, "the lease can't be read"),
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    /// Keeps the lead in a task of its own, so that a long pass does not lose it.
    pub fn keep(self) -> Leading {
        let stop = CancellationToken::new();
        let task = tokio::spawn(self.keeping(stop.clone()));
        Leading { stop, task }
    }

    /// Renews until another has the lease, or it is given back.
    async fn keeping(mut self, stop: CancellationToken) -> Self {
        loop {
            tokio::select! {
                () = stop.cancelled() => {
                    self.cluster.let_act(None);
                    self.give_back().await;
                    return self;
                }
                () = tokio::time::sleep(EVERY) => {}
            }
            match self.once().await {
                Ok(()) => {}
                Err(Missed::Other) if self.is_ours() => {}
                // Somebody deleted it: whoever is first makes it anew.
                Err(Missed::Other) if self.observed.is_none() => self.cluster.let_act(None),
                Err(Missed::Other) => {
                    self.cluster.let_act(None);
                    tracing::warn!(lease = %self.name, "another leads now");
                    return self;
                }
                Err(Missed::Away(error)) => {
                    let acts = self.cluster.may_act();
                    tracing::warn!(lease = %self.name, %error, acts, "the lease can't be renewed");
                }
            }
        }
    }

    /// Whether it was ours when it was last seen.
    fn is_ours(&self) -> bool {
        self.observed.as_ref().is_some_and(|lease| lease.holder == self.me)
    }

    /// One look at the lease, and one attempt to make or keep it ours.
    async fn once(&mut self) -> Result<(), Missed> {
        if !self.is_ours() {
            self.look().await?;
        }
        let begun = Instant::now();
        let written = match evaluate(self.observed.as_ref(), begun, &self.me) {
            Decision::Wait(_) => return Err(Missed::Other),
            Decision::Create => {
                let lease = self.written(None);
                patiently(self.leases.create(&PostParams::default(), &lease)).await
            }
            Decision::Take | Decision::Renew => {
                let lease = self.written(self.lease.as_ref());
                patiently(self.leases.replace(&self.name, &PostParams::default(), &lease)).await
            }
        };
        match written {
            Ok(lease) => {
                self.saw(Some(lease));
                self.cluster.let_act(Some(begun + RENEW_DEADLINE));
                Ok(())
            }
            // Somebody wrote it since it was read, or took it away: it is looked at anew.
            Err(Some(404 | 409)) => {
                self.look().await?;
                Err(Missed::Other)
            }
            Err(code) => Err(Missed::Away(away(code))),
        }
    }

    async fn look(&mut self) -> Result<(), Missed> {
        match patiently(self.leases.get_opt(&self.name)).await {
            Ok(found) => self.saw(found),
            Err(code) => {
                self.blind = true;
                return Err(Missed::Away(away(code)));
            }
        }
        Ok(())
    }

    /// A lease that was not written since keeps the moment at which it was first seen.
    fn saw(&mut self, lease: Option<Lease>) {
        let version = |lease: &Option<Lease>| lease.as_ref().and_then(|it| it.metadata.resource_version.clone());
        let anew = std::mem::take(&mut self.blind) || self.observed.is_none() || lease.is_none();
        if anew || version(&lease) != version(&self.lease) {
            let spec = lease.as_ref().map(|lease| lease.spec.clone().unwrap_or_default());
            self.observed = spec.map(|spec| Observed {
                holder: spec.holder_identity.unwrap_or_default(),
                duration: spec
                    .lease_duration_seconds
                    .and_then(|seconds| u64::try_from(seconds).ok())
                    .map_or(DURATION, Duration::from_secs),
                since: Instant::now(),
            });
        }
        self.lease = lease;
    }

    /// The lease as ours.
    fn written(&self, before: Option<&Lease>) -> Lease {
        let now = Some(MicroTime(self.clock.now()));
        let spec = before.and_then(|lease| lease.spec.clone()).unwrap_or_default();
        let renewed = spec.holder_identity.as_deref() == Some(&self.me);
        let spec = LeaseSpec {
            acquire_time: if renewed { spec.acquire_time } else { now.clone() },
            holder_identity: Some(self.me.clone()),
            lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
            lease_transitions: Some(spec.lease_transitions.unwrap_or_default() + i32::from(!renewed)),
            renew_time: now,
            ..spec
        };
        let named = || ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() };
        Lease { metadata: before.map_or_else(named, |lease| lease.metadata.clone()), spec: Some(spec) }
    }

    /// Whoever waits need not wait until it has run out.
    async fn give_back(&mut self) {
        if !self.is_ours() {
            return;
        }
        let mut lease = self.written(self.lease.as_ref());
        if let Some(spec) = &mut lease.spec {
            spec.holder_identity = Some(String::new());
            spec.lease_duration_seconds = Some(1);
        }
        let given = patiently(self.leases.replace(&self.name, &PostParams::default(), &lease)).await;
        match given {
            Ok(lease) => self.saw(Some(lease)),
            Err(code) => tracing::warn!(lease = %self.name, error = %away(code), "the lease runs out by itself"),
        }
    }
}

/// A lead that is being kept.
pub struct Leading {
    stop: CancellationToken,
    task: JoinHandle<Campaign>,
}

impl Leading {
    /// Waits until another leads, and gives the campaign to stand again.
    pub async fn lost(&mut self) -> Option<Campaign> {
        (&mut self.task).await.ok()
    }

    /// Gives the lead back.
    pub async fn end(self) -> Option<Campaign> {
        self.stop.cancel();
        self.task.await.ok()
    }
}

/// What was asked, or the code of the refusal; none when there was no answer at all.
async fn patiently<T>(asked: impl Future<Output = kube::Result<T>>) -> Result<T, Option<u16>> {
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(kube::Error::Api(status))) => Err(Some(status.code)),
        Ok(Err(_)) | Err(_) => Err(None),
    }
}

fn away(code: Option<u16>) -> String {
    code.map_or_else(|| "the API server does not answer".to_owned(), |code| format!("the API server answers {code}"))
}
