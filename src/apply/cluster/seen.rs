//! What the watches tell: the live objects that are ours, their pods, and digests of the content of those Secrets that workloads name. Of others nothing is
//! asked: what is in them is nobody's business here.
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
use tokio_util::sync::{CancellationToken, DropGuard};

use super::build::Sort;
use super::commands::is_name;
use super::{MANAGER, Shared, WORKLOAD_LABEL, observe};
use crate::apply::workloads::{Obstacle, Running};
use crate::cluster::Pauses;

/// What one watch follows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Followed {
    Objects(Sort),
    Pods,
    Secret(String),
}

/// A Secret that a workload names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Secret {
    /// The digest of its content.
    Is(String),
    /// There is none.
    Missing,
    /// Nobody knows, and why.
    Unseen(String),
}

/// The Secrets that are followed, by name; a watch ends with its guard.
pub(super) type Secrets = BTreeMap<String, DropGuard>;

/// What was seen.
#[derive(Default)]
pub(super) struct Seen {
    objects: BTreeMap<(Sort, String), Value>,
    pods: BTreeMap<String, observe::Pod>,
    secrets: BTreeMap<String, Secret>,
    /// The watches of objects and pods that have told everything there is once.
    told: BTreeSet<Followed>,
    /// What a list that is under way has brought so far.
    listed: BTreeMap<Followed, BTreeSet<String>>,
}

impl Seen {
    /// Whether everything was told once, of these Secrets too: before that, nothing is known to be absent.
    pub fn complete<'a>(&self, mut secrets: impl Iterator<Item = &'a String>) -> bool {
        self.told.len() == Sort::ALL.len() + 1 && secrets.all(|name| self.secrets.contains_key(name))
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

    /// What is known of a Secret, if it is followed and was told of.
    pub fn secret(&self, name: &str) -> Option<&Secret> {
        self.secrets.get(name)
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

    fn take(&mut self, followed: &Followed, object: &Value, digest: impl Fn(&Value) -> String) {
        let Some(name) = object["metadata"]["name"].as_str() else { return };
        if let Some(listed) = self.listed.get_mut(followed) {
            listed.insert(name.to_owned());
        }
        match followed {
            Followed::Objects(sort) => self.put(*sort, name, object.clone()),
            Followed::Pods => match observe::pod(object) {
                Some(pod) => drop(self.pods.insert(name.to_owned(), pod)),
                None => drop(self.pods.remove(name)),
            },
            Followed::Secret(_) => drop(self.secrets.insert(name.to_owned(), Secret::Is(digest(object)))),
        }
    }

    fn drop_named(&mut self, followed: &Followed, name: &str) {
        match followed {
            Followed::Objects(sort) => self.forget(*sort, name),
            Followed::Pods => drop(self.pods.remove(name)),
            Followed::Secret(_) => drop(self.secrets.insert(name.to_owned(), Secret::Missing)),
        }
    }

    /// A list has ended: what it did not bring is gone.
    fn settle(&mut self, followed: &Followed) {
        let listed = self.listed.remove(followed).unwrap_or_default();
        let names: Vec<String> = match followed {
            Followed::Objects(sort) => {
                self.objects.keys().filter(|(of, _)| of == sort).map(|(_, name)| name.clone()).collect()
            }
            Followed::Pods => self.pods.keys().cloned().collect(),
            Followed::Secret(name) => vec![name.clone()],
        };
        for name in names.into_iter().filter(|name| !listed.contains(name)) {
            self.drop_named(followed, &name);
        }
        if !matches!(followed, Followed::Secret(_)) {
            self.told.insert(followed.clone());
        }
    }

    /// A watch does not get through; says whether that is news. What it told before is still the newest that is known.
    fn failed(&mut self, followed: &Followed, why: String) -> bool {
        let Followed::Secret(name) = followed else { return false };
        let news = !self.secrets.contains_key(name);
        if news {
            self.secrets.insert(name.clone(), Secret::Unseen(why));
        }
        news
    }
}

/// Watches everything there is to see until it is stopped.
pub(super) fn follow(shared: &Arc<Shared>, stop: &CancellationToken) {
    for followed in Sort::ALL.map(Followed::Objects).into_iter().chain([Followed::Pods]) {
        begin(shared, followed, stop);
    }
}

fn begin(shared: &Arc<Shared>, followed: Followed, stop: &CancellationToken) {
    let (client, namespace) = (shared.options.client.clone(), shared.options.namespace.clone());
    let watch = watch(Arc::downgrade(shared), followed, client, namespace);
    tokio::spawn(stop.clone().run_until_cancelled_owned(watch));
}

/// Watches exactly these Secrets from now on.
pub(super) fn follow_secrets(shared: &Arc<Shared>, names: &BTreeSet<String>, followed: &mut Secrets) {
    followed.retain(|name, _| names.contains(name));
    shared.seen().secrets.retain(|name, _| names.contains(name));
    for name in names {
        if followed.contains_key(name) {
            continue;
        }
        let stop = CancellationToken::new();
        // What a watch that was just stopped had in its hands is not news of this one.
        shared.seen().secrets.remove(name);
        if is_name(name) {
            begin(shared, Followed::Secret(name.clone()), &stop);
        } else {
            // It would be another question; and there is none of that name.
            shared.seen().secrets.insert(name.clone(), Secret::Missing);
        }
        followed.insert(name.clone(), stop.drop_guard());
    }
}

async fn watch(shared: Weak<Shared>, followed: Followed, client: kube::Client, namespace: String) {
    let core =
        |kind: &str, plural: &str| ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("", "v1", kind), plural);
    let ours = format!("app.kubernetes.io/managed-by={MANAGER},{WORKLOAD_LABEL}");
    let (resource, config) = match &followed {
        Followed::Objects(sort) => (sort.resource(), watcher::Config::default().labels(&ours)),
        // Those of migrations too, which are none of the Deployment's.
        Followed::Pods => {
            (core("Pod", "pods"), watcher::Config::default().labels(&format!("app.kubernetes.io/managed-by={MANAGER}")))
        }
        Followed::Secret(name) => {
            (core("Secret", "secrets"), watcher::Config::default().fields(&format!("metadata.name={name}")))
        }
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
                let news = shared.seen().failed(&followed, error.to_string());
                if news {
                    shared.changed.notify_one();
                }
                continue;
            }
        };
        // That a list begins is told before it is known whether it works.
        failing &= matches!(event, watcher::Event::Init);
        let quiet = {
            let mut seen = shared.seen();
            match event {
                watcher::Event::Init => {
                    seen.listed.insert(followed.clone(), BTreeSet::new());
                    true
                }
                watcher::Event::InitApply(object) => {
                    seen.take(&followed, &plain(object), |secret| content(&shared, secret));
                    true
                }
                watcher::Event::InitDone => {
                    seen.settle(&followed);
                    false
                }
                watcher::Event::Apply(object) => {
                    seen.take(&followed, &plain(object), |secret| content(&shared, secret));
                    false
                }
                watcher::Event::Delete(object) => {
                    seen.drop_named(&followed, &object.metadata.name.unwrap_or_default());
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_known_of_a_secret_is_not_taken_for_its_absence() {
        let token = Followed::Secret("token".to_owned());
        let mut seen = Seen::default();
        assert!(!seen.complete(["token".to_owned()].iter()) && seen.secret("token").is_none());
        assert!(seen.failed(&token, "forbidden".to_owned()) && !seen.failed(&token, "forbidden".to_owned()));
        assert_eq!(seen.secret("token"), Some(&Secret::Unseen("forbidden".to_owned())));

        seen.settle(&token);
        assert_eq!(seen.secret("token"), Some(&Secret::Missing), "its list brought none");
        seen.take(&token, &json!({ "metadata": { "name": "token" } }), |_| "d1".to_owned());
        assert!(!seen.failed(&token, "away".to_owned()), "what was told goes on");
        assert_eq!(seen.secret("token"), Some(&Secret::Is("d1".to_owned())));
    }
}
