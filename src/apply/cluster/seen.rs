//! What the watches tell: the live objects that are ours, their pods, and digests of the Secrets' content.
//!
//! A watch that breaks is begun again by itself, also one that is too old (410). Must not know: what is wanted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};

use data_encoding::HEXLOWER;
use futures_util::StreamExt as _;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
use kube::runtime::{WatchStreamExt as _, watcher};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::build::Sort;
use super::{MANAGER, Shared, WORKLOAD_LABEL, observe};
use crate::apply::workloads::{Obstacle, Running};
use crate::cluster::Pauses;

/// What one watch follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Followed {
    Objects(Sort),
    Pods,
    Secrets,
}

/// What was seen.
#[derive(Default)]
pub(super) struct Seen {
    objects: BTreeMap<(Sort, String), Value>,
    pods: BTreeMap<String, observe::Pod>,
    secrets: BTreeMap<String, String>,
    /// The watches that have told everything there is once.
    told: BTreeSet<Followed>,
    /// What a list that is under way has brought so far.
    listed: BTreeMap<Followed, BTreeSet<String>>,
}

impl Seen {
    /// Whether everything was told once: before that, nothing is known to be absent.
    pub fn complete(&self) -> bool {
        self.told.len() == Sort::ALL.len() + 2
    }

    pub fn object(&self, sort: Sort, name: &str) -> Option<&Value> {
        self.objects.get(&(sort, name.to_owned()))
    }

    pub fn objects(&self) -> impl Iterator<Item = (Sort, &str, &Value)> {
        self.objects.iter().map(|((sort, name), object)| (*sort, name.as_str(), object))
    }

    /// An object as a write left it: its watch tells of it a little later.
    pub fn put(&mut self, sort: Sort, name: &str, object: Value) {
        self.objects.insert((sort, name.to_owned()), object);
    }

    pub fn forget(&mut self, sort: Sort, name: &str) {
        self.objects.remove(&(sort, name.to_owned()));
    }

    /// The digest of a Secret's content.
    pub fn secret(&self, name: &str) -> Option<&str> {
        self.secrets.get(name).map(String::as_str)
    }

    pub fn pods(&self) -> Vec<Running> {
        self.pods.values().filter_map(|pod| pod.running.clone()).collect()
    }

    /// What keeps workloads from running, by name: a pod says it more exactly than its Deployment, which knows when it has gone on for too long.
    pub fn obstacles(&self) -> BTreeMap<String, Obstacle> {
        let mut found: BTreeMap<String, Obstacle> = BTreeMap::new();
        for (sort, name, object) in self.objects() {
            if sort == Sort::Deployment {
                found.extend(observe::stalled(object).map(|one| (name.to_owned(), one)));
            }
        }
        for pod in self.pods.values() {
            let (Some(running), Some(obstacle)) = (&pod.running, &pod.obstacle) else { continue };
            let stuck = obstacle.stuck || found.get(&running.workload).is_some_and(|known| known.stuck);
            found.insert(running.workload.clone(), Obstacle { stuck, ..obstacle.clone() });
        }
        found
    }

    /// What keeps a migration's pod from starting.
    pub fn migration_obstacle(&self, job: &str) -> Option<Obstacle> {
        let own = self.pods.values().filter(|pod| pod.migrates.as_deref() == Some(job));
        own.filter_map(|pod| pod.obstacle.clone()).max_by_key(|one| one.stuck)
    }

    fn take(&mut self, followed: Followed, object: &Value, digest: impl Fn(&Value) -> String) {
        let Some(name) = object["metadata"]["name"].as_str() else { return };
        if let Some(listed) = self.listed.get_mut(&followed) {
            listed.insert(name.to_owned());
        }
        match followed {
            Followed::Objects(sort) => self.put(sort, name, object.clone()),
            Followed::Pods => match observe::pod(object) {
                Some(pod) => drop(self.pods.insert(name.to_owned(), pod)),
                None => drop(self.pods.remove(name)),
            },
            Followed::Secrets => drop(self.secrets.insert(name.to_owned(), digest(object))),
        }
    }

    fn drop_named(&mut self, followed: Followed, name: &str) {
        match followed {
            Followed::Objects(sort) => self.forget(sort, name),
            Followed::Pods => drop(self.pods.remove(name)),
            Followed::Secrets => drop(self.secrets.remove(name)),
        }
    }

    /// A list has ended: what it did not bring is gone.
    fn settle(&mut self, followed: Followed) {
        let listed = self.listed.remove(&followed).unwrap_or_default();
        let names: Vec<String> = match followed {
            Followed::Objects(sort) => {
                self.objects.keys().filter(|(of, _)| *of == sort).map(|(_, name)| name.clone()).collect()
            }
            Followed::Pods => self.pods.keys().cloned().collect(),
            Followed::Secrets => self.secrets.keys().cloned().collect(),
        };
        for name in names.into_iter().filter(|name| !listed.contains(name)) {
            self.drop_named(followed, &name);
        }
        self.told.insert(followed);
    }
}

/// Watches everything there is to see until it is stopped.
pub(super) fn follow(shared: &Arc<Shared>, stop: &CancellationToken) {
    let all = Sort::ALL.map(Followed::Objects).into_iter().chain([Followed::Pods, Followed::Secrets]);
    for followed in all {
        let watch =
            watch(Arc::downgrade(shared), followed, shared.options.client.clone(), shared.options.namespace.clone());
        tokio::spawn(stop.clone().run_until_cancelled_owned(watch));
    }
}

async fn watch(shared: Weak<Shared>, followed: Followed, client: kube::Client, namespace: String) {
    let core =
        |kind: &str, plural: &str| ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("", "v1", kind), plural);
    let ours = format!("app.kubernetes.io/managed-by={MANAGER},{WORKLOAD_LABEL}");
    let (resource, config) = match followed {
        Followed::Objects(sort) => (sort.resource(), watcher::Config::default().labels(&ours)),
        // Those of migrations too, which are none of the Deployment's.
        Followed::Pods => {
            (core("Pod", "pods"), watcher::Config::default().labels(&format!("app.kubernetes.io/managed-by={MANAGER}")))
        }
        Followed::Secrets => (core("Secret", "secrets"), watcher::Config::default()),
    };
    let api: Api<DynamicObject> = Api::namespaced_with(client, &namespace, &resource);
    let events = watcher(api, config).backoff(Pauses::default());
    tokio::pin!(events);
    let mut failing = false;
    while let Some(event) = events.next().await {
        let Some(shared) = shared.upgrade() else { return };
        let event = match event {
            Ok(event) => event,
            Err(error) => {
                if !failing {
                    tracing::warn!(kind = %resource.kind, %error, "the cluster tells nothing for now; it is asked again");
                }
                failing = true;
                continue;
            }
        };
        failing = false;
        let quiet = {
            let mut seen = shared.seen();
            match event {
                watcher::Event::Init => {
                    seen.listed.insert(followed, BTreeSet::new());
                    true
                }
                watcher::Event::InitApply(object) => {
                    seen.take(followed, &plain(object), |secret| content(&shared, secret));
                    true
                }
                watcher::Event::InitDone => {
                    seen.settle(followed);
                    false
                }
                watcher::Event::Apply(object) => {
                    seen.take(followed, &plain(object), |secret| content(&shared, secret));
                    false
                }
                watcher::Event::Delete(object) => {
                    seen.drop_named(followed, &object.metadata.name.unwrap_or_default());
                    false
                }
            }
        };
        if !quiet {
            shared.changed.notify_one();
        }
    }
}

fn plain(object: DynamicObject) -> Value {
    serde_json::to_value(object).unwrap_or_default()
}

/// A keyed digest of a Secret's content: an annotation may be read by more people than the Secret.
fn content(shared: &Shared, secret: &Value) -> String {
    let text = format!("{}{}", secret["data"], secret["metadata"]["name"]);
    let mut digits = HEXLOWER.encode(&shared.options.keys.pseudonym.hash(text.as_bytes()));
    digits.truncate(12);
    digits
}
