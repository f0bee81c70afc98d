//! A controller that follows 10,000 resources on a real API server: its memory, the core it takes at rest, what it asks the API server then, and the
//! time from a change to `Ready`.
//!
//! Runs beside an API server of its own, which it starts (`tests/cluster/cluster.py --alone`). `BETAGATE_IDLE` is how long rest is looked at.

mod changes;
mod peers;
mod process;
mod resources;
mod rest;
mod sight;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use betagate_core::resources::Kind;
use futures_util::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{ApiResource, DynamicObject, ObjectMeta, Patch, PatchParams, PostParams};
use kube::config::Config;
use kube::{Api, Client};
use serde_json::Value;

use crate::doors::cpu as core_seconds;
use crate::support::{Betagate, TestDb, postgres, repository_root, sqlite};
use process::{Audit, resident_mib};
use resources::Mix;
use rest::{Rest, Who};
use sight::Sight;

const NAMESPACE: &str = "bench";
/// Writes of ours under way at once.
const AT_ONCE: usize = 16;
/// How long 10,000 resources may take until all are as they should be.
const PATIENCE: Duration = Duration::from_secs(1800);

/// The folder in which tools are kept that are built once.
fn tools() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| repository_root().join("target"), PathBuf::from);
    target.join("tools")
}

/// What is there of betagate; or, where `beside` says so, of others beside it.
pub fn measure(beside: bool) {
    if std::env::var_os("BETAGATE_TEST_CLUSTER").is_none() {
        let mut there = std::process::Command::new("python3");
        there.arg(repository_root().join("tests/cluster/cluster.py")).arg("--alone").arg(tools().join("kubernetes"));
        there.arg("--").arg(std::env::current_exe().unwrap()).arg(if beside { "cluster-peers" } else { "cluster" });
        if beside {
            let (name, folder) = peers::build(&tools());
            there.env(name, folder);
        }
        let status = there.status().unwrap();
        assert!(status.success(), "{status}");
        return;
    }
    tokio::runtime::Runtime::new().unwrap().block_on(run(beside));
}

async fn run(beside: bool) {
    let client = Client::try_from(Config::infer().await.unwrap()).unwrap();
    if beside {
        return peers::side_by_side(&client).await;
    }
    println!("cluster: 10,000 resources of betagate on a real API server");
    let mix = Mix::of_count(10_000);
    let count = betagate_there(&client, &mix).await;
    betagate(&client, &mix, count, true).await;
}

/// Applies what betagate is to follow; says how many they are.
async fn betagate_there(client: &Client, mix: &Mix) -> usize {
    define(client, &repository_root().join("crds")).await;
    namespace(client, NAMESPACE).await;
    let all = mix.all();
    let begun = Instant::now();
    let applied = stream::iter(&all).map(|(kind, object)| apply(client, *kind, object));
    applied.buffer_unordered(AT_ONCE).collect::<Vec<_>>().await;
    println!("  {} resources of betagate applied in {:.0?}", all.len(), begun.elapsed());
    all.len()
}

/// A controller of betagate from its start to its end; what it cost at rest.
async fn betagate(client: &Client, mix: &Mix, count: usize, changing: bool) -> Rest {
    let (db, data, audit) = (database(), tempfile::tempdir().unwrap(), Audit::of_cluster());
    let words = ["controller", "--cluster", "--context", "betagate", "--namespace", NAMESPACE, "--database", &db.url];
    let command =
        Betagate::new(words).env("BETAGATE_DATA", data.path()).env("HOSTNAME", "bench").env("RUST_LOG", "warn");
    let mut sight = Sight::begin(|kind| api(client, kind));
    let (begun, place) = (Instant::now(), audit.end());
    let mut running = command.start_logging_to(&data.path().join("controller.log"));
    let pid = running.pid();
    while sight.ready() < count {
        let told = sight.next(PATIENCE).await;
        assert!(told.is_some(), "{} of {count} are Ready", sight.ready());
    }
    println!(
        "  on {}, all {count} Ready {:.1?} after its start ({:.1} s of a core)",
        db.name,
        begun.elapsed(),
        core_seconds(pid)
    );
    rest::until_calm(&audit, "betagate").await;
    rest::tell("asked until then", &audit.since(place, "betagate"));
    let rest = rest::look(Who { user: "betagate", pid, audit: &audit }).await;
    if changing {
        changes::measure(client, mix, &mut sight).await;
        let (now, most) = resident_mib(pid);
        println!("  memory after that     {now:>8.1} MiB resident, {most:.1} at most");
    }
    let begun = Instant::now();
    let ended = running.interrupt(Duration::from_secs(60)).is_some_and(|status| status.success());
    let ended = if ended { "" } else { ", AND DID NOT END BY ITSELF" };
    println!("  asked to end: after {:.1?}{ended}", begun.elapsed());
    let log = std::fs::read_to_string(data.path().join("controller.log")).unwrap();
    if !log.is_empty() {
        println!("  its warnings, {} lines, first: {}", log.lines().count(), log.lines().next().unwrap_or_default());
    }
    rest
}

/// PostgreSQL, as in every cluster; SQLite where it is asked for, or nothing else is there.
fn database() -> TestDb {
    let wanted = std::env::var("BETAGATE_DATABASE").is_ok_and(|name| name == "sqlite");
    postgres().filter(|_| !wanted).unwrap_or_else(sqlite)
}

async fn define(client: &Client, folder: &Path) {
    for file in std::fs::read_dir(folder).unwrap().flatten() {
        crds(client, &std::fs::read_to_string(file.path()).unwrap()).await;
    }
}

/// Applies definitions and waits until they are served.
async fn crds(client: &Client, text: &str) {
    let resource = ApiResource::erase::<
        k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
    >(&());
    let api = Api::<DynamicObject>::all_with(client.clone(), &resource);
    for text in text.split("\n---\n").filter(|text| text.contains("kind:")) {
        let object: Value = serde_saphyr::from_str(text).unwrap();
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        api.patch(&name, &PatchParams::apply("bench").force(), &Patch::Apply(&object)).await.unwrap();
        let served = |object: &DynamicObject| {
            object.data["status"]["conditions"]
                .as_array()
                .is_some_and(|all| all.iter().any(|one| one["type"] == "Established" && one["status"] == "True"))
        };
        while !served(&api.get(&name).await.unwrap()) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

async fn namespace(client: &Client, name: &str) {
    let object = Namespace {
        metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
        ..Namespace::default()
    };
    Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &object).await.unwrap();
}

fn api(client: &Client, kind: Kind) -> Api<DynamicObject> {
    Api::namespaced_with(client.clone(), NAMESPACE, &betagate::cluster::resource_of(kind))
}

/// As `kubectl apply --server-side` does.
async fn apply(client: &Client, kind: Kind, object: &Value) -> DynamicObject {
    let name = object["metadata"]["name"].as_str().unwrap();
    // A definition may be established a moment before it is served.
    for _ in 0..20 {
        match api(client, kind).patch(name, &PatchParams::apply("bench").force(), &Patch::Apply(object)).await {
            Ok(object) => return object,
            Err(kube::Error::Api(refusal)) if refusal.code == 404 => {
                tokio::time::sleep(Duration::from_millis(500)).await
            }
            Err(error) => panic!("{name}: {error}"),
        }
    }
    panic!("{kind} is not served");
}
