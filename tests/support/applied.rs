//! The same behaviour on a cluster: a test's repository, applied to a namespace of its own on a real API server, whose resources the controller follows.
//!
//! It knows how what stands in a folder comes to be there, and no sooner gives back control than the controller has been told of it; it must not know what a
//! document says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use betagate::apply::from_git::Revised;
use betagate::clock::Clock;
use betagate::cluster::{Cluster, ClusterOptions};
use betagate::core::resources::Kind;
use betagate::source::cluster::{FILES_LABEL, Key, Seen, Watched};
use betagate::source::{File, Revision, Snapshot, Source};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

/// Says that behaviours are to hold on a cluster.
pub const ON_CLUSTER: &str = "BETAGATE_TEST_ON_CLUSTER";
/// Who applies.
const MANAGER: &str = "kubectl";
/// How long the API server may take to tell of what was applied, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whether behaviours are to hold on a cluster.
pub fn on_cluster() -> bool {
    std::env::var_os(ON_CLUSTER).is_some()
}

/// Files, and the revision that they are of.
type Laid = (BTreeMap<String, File>, Option<Revision>);

/// A namespace to which a repository is applied. It stays, with the cluster, until the run is over.
pub struct Applied {
    cluster: Arc<Cluster>,
    clock: Clock,
    followed: Mutex<Arc<Source>>,
    /// What was applied, and the version that it then had.
    known: Mutex<BTreeMap<Key, (Value, String)>>,
    /// What was laid beside it.
    laid: Mutex<Option<Laid>>,
}

impl Applied {
    /// A new one, where behaviours are to hold on a cluster.
    pub async fn on_cluster(clock: &Clock) -> Option<Arc<Self>> {
        if !on_cluster() {
            return None;
        }
        let options = ClusterOptions { namespace: Some(format!("b-{}", uuid::Uuid::new_v4().simple())), context: None };
        let cluster = Arc::new(Cluster::connect(&options).await.unwrap());
        let namespace: Namespace =
            serde_json::from_value(json!({ "metadata": { "name": cluster.namespace() } })).unwrap();
        Api::all(cluster.client().clone()).create(&PostParams::default(), &namespace).await.unwrap();
        cluster.let_act(Some(Instant::now() + Duration::from_secs(3600)));
        let followed = Mutex::new(Arc::new(Source::cluster(cluster.clone(), clock.clone())));
        Some(Arc::new(Self {
            cluster,
            clock: clock.clone(),
            followed,
            known: Mutex::default(),
            laid: Mutex::default(),
        }))
    }

    /// Its name.
    pub fn namespace(&self) -> &str {
        self.cluster.namespace()
    }

    /// What the controller follows.
    pub fn source(&self) -> Arc<Source> {
        self.followed.lock().unwrap().clone()
    }

    /// Sees the namespace anew, as another process does, all of it.
    pub async fn follow_anew(&self) -> Arc<Source> {
        let source = Arc::new(Source::cluster(self.cluster.clone(), self.clock.clone()));
        until("the watches to tell of all that is there", || source.watched().unwrap().is_complete()).await;
        if let Some((files, revision)) = self.laid.lock().unwrap().clone() {
            source.watched().unwrap().lay(files, revision);
        }
        *self.followed.lock().unwrap() = source.clone();
        source
    }

    /// Applies what is not there as it stands in the repository, and deletes what stands there no more. A repository that does not hold by itself is
    /// none that anybody applies.
    pub async fn bring(&self, snapshot: &Snapshot, from_git: bool) {
        let Ok(revised) = Revised::of(snapshot, self.cluster.namespace()) else { return };
        let source = self.source();
        let watched = source.watched().unwrap();
        let wanted: BTreeMap<Key, Value> = revised
            .objects
            .into_iter()
            .map(|(key, object)| {
                let mut body = object.body;
                body["metadata"] = json!({ "name": key.name });
                (key, body)
            })
            .collect();
        let known = self.known.lock().unwrap().clone();
        let gone: BTreeSet<&Key> = known.keys().filter(|key| !wanted.contains_key(key)).collect();
        for programs in [true, false] {
            let ranked = wanted.iter().filter(|(key, _)| (key.kind == Kind::Program) == programs);
            let changed = ranked.filter(|(key, body)| known.get(key).is_none_or(|(before, _)| before != *body));
            let writes = changed.map(|(key, body)| async move { (key.clone(), self.apply(key, body).await) });
            let wrote = futures_util::future::join_all(writes).await;
            let mut known = self.known.lock().unwrap();
            known.extend(wrote.into_iter().map(|(key, version)| (key.clone(), (wanted[&key].clone(), version))));
        }
        for key in gone {
            let deleted = self.cluster.resources(key.kind).delete(&key.name, &DeleteParams::default()).await;
            deleted.unwrap_or_else(|error| panic!("{}/{}: {error}", key.kind, key.name));
            self.known.lock().unwrap().remove(key);
        }
        let laid = (revised.files, from_git.then(|| snapshot.revision.clone()));
        watched.lay(laid.0.clone(), laid.1.clone());
        *self.laid.lock().unwrap() = Some(laid);
        self.told(watched).await;
    }

    /// The documents that the controller leaves for people there.
    pub async fn documents(&self) -> BTreeMap<String, String> {
        let labelled = ListParams::default().labels(FILES_LABEL);
        let maps = self.maps().list(&labelled).await.unwrap();
        maps.items.into_iter().filter_map(|map| map.data).flatten().collect()
    }

    /// Somebody writes in one.
    pub async fn write_document(&self, file: &str, text: &str) {
        let labelled = ListParams::default().labels(FILES_LABEL);
        let maps = self.maps().list(&labelled).await.unwrap().items;
        let holds = |map: &ConfigMap| map.data.as_ref().is_some_and(|data| data.contains_key(file));
        let name = maps.into_iter().find(holds).unwrap().name_any();
        let patch = Patch::Merge(json!({ "data": { file: text } }));
        self.maps().patch(&name, &PatchParams::default(), &patch).await.unwrap();
        let source = self.source();
        let held = || source.watched().unwrap().cause_document(&name, file);
        let told = || held().is_none_or(|held| *held == *text.as_bytes());
        until("the watch to tell of a document", told).await;
    }

    fn maps(&self) -> Api<ConfigMap> {
        Api::namespaced(self.cluster.client().clone(), self.cluster.namespace())
    }

    async fn apply(&self, key: &Key, body: &Value) -> String {
        let params = PatchParams::apply(MANAGER).force();
        let applied = self.cluster.resources(key.kind).patch(&key.name, &params, &Patch::Apply(body)).await;
        let applied: DynamicObject = applied.unwrap_or_else(|error| panic!("{}/{}: {error}", key.kind, key.name));
        applied.resource_version().unwrap()
    }

    /// Until the watches have told of all that was applied, and of nothing that was deleted.
    async fn told(&self, watched: &Watched) {
        let number = |version: &str| version.parse::<u64>().unwrap();
        let known = self.known.lock().unwrap().clone();
        let foreign = |(key, seen): &(Key, Arc<Seen>)| {
            !known.contains_key(key) && !seen.deleting && seen.recorded.is_none() && key.kind != Kind::Rollback
        };
        let told = || {
            let there = watched.resources();
            let seen: BTreeMap<_, _> = there.iter().map(|(key, seen)| (key, number(&seen.resource_version))).collect();
            let of = |(key, (_, version)): (&Key, &(Value, String))| {
                seen.get(key).is_some_and(|seen| *seen >= number(version))
            };
            watched.is_complete() && known.iter().all(of) && !there.iter().any(foreign)
        };
        until("the watches to tell of all that was applied", told).await;
    }
}

async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < PATIENCE, "waited for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
