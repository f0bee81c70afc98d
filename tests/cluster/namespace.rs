//! A namespace of its own for a test, a small program in it, and a controller of this process that follows it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use betagate::apply::from_git::Drift;
use betagate::apply::processes::Program;
use betagate::clock::Clock;
use betagate::cluster::Cluster;
use betagate::controller::{Controller, GitToCluster, Settings};
use betagate::keys::Keys;
use betagate::source::{GitSettings, Source};
use betagate::store::{Store, flags};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{TestDb, TestRepo, repository_root};
use crate::wire::Wire;
use crate::{Said, define, kubectl};

/// How long something may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// A program with a cohort, a flag and a rollout that opens at once.
pub const SMALL: &str = include_str!("small.yaml");

/// A plan that pulls the flag back on a Sev-1.
pub const PLAN: &str = include_str!("plan.yaml");

fn followed(cluster: &Arc<Cluster>, clock: &Clock, from_git: bool) -> Arc<Source> {
    Arc::new(match from_git {
        true => Source::cluster_from_git(cluster.clone(), clock.clone()),
        false => Source::cluster(cluster.clone(), clock.clone()),
    })
}

fn brought(url: String, data: &Path, clock: &Clock, drift: Drift) -> GitToCluster {
    let settings = GitSettings::new(url, data.join("git"));
    GitToCluster { source: Arc::new(Source::git(settings, clock.clone())), drift }
}

/// A namespace.
pub struct Namespace {
    pub name: String,
}

impl Namespace {
    /// A new one, with the definitions served.
    pub fn new(name: &str) -> Self {
        define(&repository_root().join("crds").display().to_string(), "");
        let made = kubectl(&format!("create namespace {name}"), "");
        assert!(made.done, "{}", made.text);
        Self { name: name.to_owned() }
    }

    /// kubectl in it.
    pub fn kubectl(&self, words: &str, input: &str) -> Said {
        kubectl(&format!("-n {} {words}", self.name), input)
    }

    pub fn apply(&self, documents: &str) {
        let applied = self.kubectl("apply -f -", documents);
        assert!(applied.done, "{}", applied.text);
    }

    /// A resource as it is, or null.
    pub fn get(&self, resource: &str) -> Value {
        let got = self.kubectl(&format!("get {resource} -o json --show-managed-fields"), "");
        if got.done { serde_json::from_str(&got.text).unwrap() } else { Value::Null }
    }

    /// A condition of a resource: its status and its reason.
    pub fn condition(&self, resource: &str, kind: &str) -> (String, String) {
        let found = self.get(resource);
        let all = found["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let one = all.into_iter().find(|condition| condition["type"] == kind).unwrap_or_default();
        let text = |field: &str| one[field].as_str().unwrap_or_default().to_owned();
        (text("status"), text("reason"))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        self.kubectl(&format!("delete namespace {} --wait=false", self.name), "");
    }
}

/// A controller of this process that follows a namespace over a wire.
pub struct Follower {
    pub controller: Controller,
    pub wire: Wire,
    pub cluster: Arc<Cluster>,
    pub store: Store,
    pub clock: Clock,
    settings: Settings,
    _data: TempDir,
}

impl Follower {
    pub async fn start(namespace: &Namespace, db: &TestDb) -> Self {
        Self::start_with(namespace, db, (None, &[]), None).await
    }

    /// As a user of the cluster, with policies that say who gives a word.
    pub async fn start_as(namespace: &Namespace, db: &TestDb, user: Option<&str>, policies: &[String]) -> Self {
        Self::start_with(namespace, db, (user, policies), None).await
    }

    /// One that brings the resources from a repository.
    pub async fn start_from_git(namespace: &Namespace, db: &TestDb, repo: &TestRepo, drift: Drift) -> Self {
        Self::start_with(namespace, db, (None, &[]), Some((repo.path().display().to_string(), drift))).await
    }

    async fn start_with(
        namespace: &Namespace,
        db: &TestDb,
        (user, policies): (Option<&str>, &[String]),
        git: Option<(String, Drift)>,
    ) -> Self {
        let (client, wire) = Wire::client(user).await;
        let cluster = Cluster::new(client, namespace.name.clone()).with_signoff_policies(policies.to_vec());
        let cluster = Arc::new(cluster);
        cluster.let_act(Some(Instant::now() + Duration::from_secs(3600)));
        let store = Store::open(&db.url).await.unwrap();
        store.migrate().await.unwrap();
        let data = tempfile::tempdir().unwrap();
        let clock = Clock::manual("2026-03-03T09:00:00Z".parse().unwrap());
        let settings = Settings {
            store: store.clone(),
            database_url: db.url.clone().into(),
            clock: clock.clone(),
            source: followed(&cluster, &clock, git.is_some()),
            git: git.map(|(url, drift)| brought(url, data.path(), &clock, drift)),
            data: data.path().to_owned(),
            keys: Arc::new(Keys::load_or_create(&data.path().join("keys")).unwrap()),
            environment: None,
            supervisor: None,
            deployer: None,
            jobs: Some(Program::at(env!("CARGO_BIN_EXE_betagate"))),
            probe: None,
            holder: "test".to_owned(),
            child_env: BTreeMap::new(),
        };
        let controller = Controller::new(settings.clone()).await.unwrap();
        Self { controller, wire, cluster, store, clock, settings, _data: data }
    }

    /// Goes on with a new controller that knows only the database, and sees the namespace anew.
    pub async fn restart(&mut self) {
        let git = self.settings.git.take();
        let url = git.map(|git| (git.source.state().place, git.drift));
        self.restart_with(url).await;
    }

    /// The same, with another repository or none, and nothing of it on this machine.
    pub async fn restart_with(&mut self, git: Option<(String, Drift)>) {
        self.settings.source = followed(&self.cluster, &self.clock, git.is_some());
        let _ = std::fs::remove_dir_all(self.settings.data.join("git"));
        self.settings.git = git.map(|(url, drift)| brought(url, &self.settings.data, &self.clock, drift));
        self.controller = Controller::new(self.settings.clone()).await.unwrap();
    }

    /// Has the repository looked at now.
    pub fn fetch(&self) {
        self.settings.git.as_ref().unwrap().source.trigger();
    }

    pub async fn pass(&mut self) {
        self.controller.pass().await.unwrap();
    }

    /// Passes until `done`.
    pub async fn until(&mut self, what: &str, mut done: impl FnMut() -> bool) {
        let begun = Instant::now();
        while !done() {
            assert!(begun.elapsed() < PATIENCE, "{what} did not come about: {:?}", self.controller.problems());
            self.controller.pass().await.unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The variant at which a published flag is held.
    pub async fn held(&self, key: &str) -> Option<String> {
        let newest = flags::newest(&self.store).await.unwrap()?;
        newest.body["flags"][key]["hold"]["variant"].as_str().map(str::to_owned)
    }

    /// The variant that is published for a flag.
    pub async fn served(&self, key: &str) -> Option<String> {
        let newest = flags::newest(&self.store).await.unwrap()?;
        newest.body["flags"][key]["defaultVariant"].as_str().map(str::to_owned)
    }
}
