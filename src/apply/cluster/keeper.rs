//! The task that keeps what is wanted deployed: it wakes up when something else is wanted or something changed in the cluster, and sleeps otherwise.
//!
//! Must not know: what an object says, how one is written.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kube::Api;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
use serde_json::Value;

use super::build::{APPLIED, Described, Identity, MIGRATED, RESTART, Sort, built, greedy, job_name, secrets_of};
use super::observe::condition;
use super::seen::{self, Secret};
use super::write::{Trouble, others};
use super::{Shared, WORKLOAD_LABEL};
use crate::apply::workloads::{Obstacle, Wanted};

/// The pause after a first failure; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// What the keeper remembers from one time to the next.
#[derive(Default)]
struct Kept {
    /// The generations that our own writes left behind, by object and digest of what was written.
    settled: BTreeMap<Written, i64>,
    /// What another applies too, and what it applied then: it is not asked for again before that is something else.
    contested: BTreeMap<Written, (Value, Trouble)>,
    /// The ids of the `Workload` resources.
    owners: BTreeMap<String, String>,
    /// The Secrets that are watched: those that workloads name.
    secrets: seen::Secrets,
    failures: u32,
}

/// An object, and the digest of what was written to it.
type Written = (Sort, String, String);

/// Keeps what is wanted deployed, for good.
pub(super) async fn keep(shared: Arc<Shared>) {
    let mut kept = Kept::default();
    loop {
        let again = shared.once(&mut kept).await;
        kept.failures = if again.is_none() { 0 } else { kept.failures.saturating_add(1) };
        let pause = FIRST_PAUSE.saturating_mul(1 << kept.failures.saturating_sub(1).min(6));
        tokio::select! {
            () = shared.changed.notified() => {}
            () = tokio::time::sleep(pause.min(again.unwrap_or_default())), if again.is_some() => {}
        }
    }
}

impl Shared {
    /// Once through everything. Says how long at most until it is to be tried again without anything having changed; nothing where nothing is left to try.
    async fn once(self: &Arc<Self>, kept: &mut Kept) -> Option<Duration> {
        let (wanted, left) = {
            let orders = self.orders();
            let wanted = orders.wanted.clone()?;
            (wanted, orders.kept.clone())
        };
        let named = wanted.iter().flat_map(|one| secrets_of(&one.spec, &self.options.own)).collect();
        seen::follow_secrets(self, &named, &mut kept.secrets);
        if !self.seen().complete(kept.secrets.keys()) {
            return None;
        }
        let mut names: BTreeSet<(Sort, String)> = BTreeSet::new();
        let (mut troubles, mut again) = (BTreeMap::new(), None);
        let sooner = |again: Option<Duration>, one: Option<Duration>| again.into_iter().chain(one).min();
        for one in &wanted {
            if let Err(trouble) = self.workload(one, &mut names, kept).await {
                let obstacle = Obstacle { why: trouble.to_string(), stuck: trouble.stuck() };
                let known = self.orders().troubles.get(&one.workload) == Some(&obstacle);
                match &trouble {
                    _ if known => {}
                    Trouble::Migration { stuck: false, .. } => {
                        tracing::info!(workload = %one.workload, %trouble, "a workload waits for its migration");
                    }
                    _ => tracing::warn!(workload = %one.workload, %trouble, "a workload is not as it should be"),
                }
                again = sooner(again, trouble.tried_again_within());
                troubles.insert(one.workload.clone(), obstacle);
            }
        }
        for (sort, name, live) in self.surplus(&names, &left) {
            if let Err(error) = self.remove(sort, &name, &live).await {
                tracing::warn!(kind = sort.kind(), name, %error, "what is no longer wanted could not be taken away");
                again = sooner(again, error.tried_again_within());
            }
        }
        self.orders().troubles = troubles;
        again
    }

    /// Makes the objects of one workload so; `names` learns of all of them, whatever becomes of them.
    async fn workload(
        &self,
        wanted: &Wanted,
        names: &mut BTreeSet<(Sort, String)>,
        kept: &mut Kept,
    ) -> Result<(), Trouble> {
        let own = &self.options.own;
        // Before anything can go wrong: what is not known to be its would be taken for surplus.
        names.extend(built(wanted, own, &Identity::default()).into_iter().map(|object| (object.sort, object.name)));
        if let Some((variable, secret)) = greedy(&wanted.spec, &self.options.withheld) {
            return Err(Trouble::Withheld { variable: variable.to_owned(), secret: secret.to_owned() });
        }
        let (live, there) = {
            let seen = self.seen();
            let live = seen.object(Sort::Deployment, &wanted.workload).cloned();
            let there = seen
                .objects()
                .any(|(_, _, object)| object["metadata"]["labels"][WORKLOAD_LABEL] == wanted.workload.as_str());
            (live, there)
        };
        let identity = Identity {
            owner: self.owner(&wanted.workload, there, kept).await?,
            secrets: self.secrets(wanted)?,
            restart: self.restart(&wanted.workload, live.as_ref()),
        };
        let objects = built(wanted, own, &identity);
        let migrated = live.as_ref().and_then(|live| live["metadata"]["annotations"][MIGRATED].as_str());
        let job = job_name(wanted, own);
        let mut trouble = None;
        for object in &objects {
            let done = match object.sort {
                Sort::Job if migrated == job.as_deref() => Ok(()),
                // The old pods go on until it has ended well; its watch wakes us up. The budget is theirs.
                Sort::Job => self.migrate(object, kept).await,
                _ => self.keep_so(object, kept).await,
            };
            match done {
                // What is wrong with one object is no reason to leave the others.
                Err(one) if object.sort != Sort::Job && one.is_of_one_object() => trouble = trouble.or(Some(one)),
                other => other?,
            }
        }
        trouble.map_or(Ok(()), Err)
    }

    /// Makes one object so.
    async fn keep_so(&self, object: &Described, kept: &mut Kept) -> Result<(), Trouble> {
        let digest = object.body["metadata"]["annotations"][APPLIED].as_str().unwrap_or_default();
        let key = (object.sort, object.name.clone(), digest.to_owned());
        let of_others = || others(self.seen().object(object.sort, &object.name));
        if let Some((applied, trouble)) = kept.contested.get(&key)
            && *applied == of_others()
        {
            return Err(trouble.clone());
        }
        let settled = self.ensure(object, kept.settled.get(&key).copied()).await;
        let of_this = |(sort, name, _): &Written| (*sort, name) == (object.sort, &object.name);
        kept.contested.retain(|one, _| !of_this(one));
        if let Err(trouble @ Trouble::Contested { .. }) = &settled {
            kept.contested.insert(key.clone(), (of_others(), trouble.clone()));
        }
        let settled = settled?;
        kept.settled.retain(|one, _| !of_this(one));
        kept.settled.extend(settled.map(|generation| (key, generation)));
        Ok(())
    }

    /// Has a migration run, once, and says what keeps it from having ended well. A Job can't be changed, and what ran under its name need not run again.
    async fn migrate(&self, object: &Described, kept: &mut Kept) -> Result<(), Trouble> {
        if self.seen().object(Sort::Job, &object.name).is_none() {
            self.keep_so(object, kept).await?;
        }
        let seen = self.seen();
        let job = seen.object(Sort::Job, &object.name).cloned().unwrap_or_default();
        if condition(&job, "Complete", "True").is_some() {
            return Ok(());
        }
        let failed =
            condition(&job, "Failed", "True").map(|failed| failed["message"].as_str().unwrap_or_default().to_owned());
        let (why, stuck) = match (failed, seen.migration_obstacle(&object.name), job["status"]["failed"].as_u64()) {
            (Some(message), ..) => (
                format!("the migration failed ({message}); once that is mended, delete the Job to have it tried again"),
                true,
            ),
            (None, Some(obstacle), _) => (format!("the migration does not start ({})", obstacle.why), obstacle.stuck),
            (None, None, Some(times @ 1..)) => {
                (format!("the migration failed {times} time(s) and is tried again"), false)
            }
            (None, None, _) => ("the migration runs first".to_owned(), false),
        };
        Err(Trouble::Migration { job: object.name.clone(), why, stuck })
    }

    /// The id of a `Workload` resource. It is asked for when none of its objects is there: then it may be another one than before.
    async fn owner(&self, workload: &str, there: bool, kept: &mut Kept) -> Result<Option<String>, Trouble> {
        if there && let Some(known) = kept.owners.get(workload) {
            return Ok(Some(known.clone()));
        }
        let kind = GroupVersionKind::gvk("betagate.dev", "v1alpha1", "Workload");
        let resource = ApiResource::from_gvk_with_plural(&kind, "workloads");
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.options.client.clone(), &self.options.namespace, &resource);
        let found = api.get_metadata_opt(workload).await;
        // A cluster without the definitions has no such resources: the documents come from elsewhere.
        let found = match found {
            Err(kube::Error::Api(status)) if status.code == 404 => None,
            other => other.map_err(|error| Trouble::Away(error.to_string()))?,
        };
        let uid = found.and_then(|found| found.metadata.uid);
        match &uid {
            Some(uid) => drop(kept.owners.insert(workload.to_owned(), uid.clone())),
            None => drop(kept.owners.remove(workload)),
        }
        Ok(uid)
    }

    /// A digest of the content of the Secrets that a workload names.
    fn secrets(&self, wanted: &Wanted) -> Result<Option<String>, Trouble> {
        let seen = self.seen();
        let mut digests = Vec::new();
        for name in secrets_of(&wanted.spec, &self.options.own) {
            match seen.secret(&name) {
                Some(Secret::Is(digest)) => digests.push(digest.clone()),
                Some(Secret::Missing) => digests.push("-".to_owned()),
                Some(Secret::Unseen(why)) => return Err(Trouble::Away(format!("Secret {name}: {why}"))),
                None => return Err(Trouble::Away(format!("Secret {name} was not seen yet"))),
            }
        }
        Ok((!digests.is_empty()).then(|| digests.join(".")))
    }

    /// The replacement that was asked for last: what was asked of an earlier controller stays, or its pods would be replaced once more.
    fn restart(&self, workload: &str, live: Option<&Value>) -> Option<String> {
        let asked = self.orders().restarts.get(workload).cloned();
        let before = live.and_then(|live| live["spec"]["template"]["metadata"]["annotations"][RESTART].as_str());
        asked.or_else(|| before.map(str::to_owned))
    }

    /// What is ours and no longer wanted.
    fn surplus(&self, names: &BTreeSet<(Sort, String)>, left: &BTreeSet<String>) -> Vec<(Sort, String, Value)> {
        let seen = self.seen();
        let surplus = seen.objects().filter(|(sort, name, object)| {
            let workload = object["metadata"]["labels"][WORKLOAD_LABEL].as_str().unwrap_or_default();
            let going = object["metadata"]["deletionTimestamp"].is_string();
            !going && !left.contains(workload) && !names.contains(&(*sort, (*name).to_owned()))
        });
        surplus.map(|(sort, name, object)| (sort, name.to_owned(), object.clone())).collect()
    }
}
