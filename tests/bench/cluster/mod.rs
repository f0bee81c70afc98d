//! A controller that follows 10,000 resources on a real API server: its memory, the core it takes at rest, what it asks the API server then, and the
//! time from a change to `Ready`.
//!
//! Runs beside an API server of its own, which it starts (`tests/cluster/cluster.py --alone`). `BETAGATE_IDLE` is how long rest is looked at.

mod process;
mod resources;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::{Duration, Instant};

use betagate::cluster::resource_of;
use betagate_core::resources::Kind;
use futures_util::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{ApiResource, DynamicObject, ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::config::Config;
use kube::runtime::watcher::Event;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client};
use serde_json::Value;

use crate::doors::cpu as core_seconds;
use crate::support::{Betagate, postgres, repository_root, sqlite};
use process::{Audit, resident_mib};

const NAMESPACE: &str = "bench";
/// Writes of ours under way at once.
const AT_ONCE: usize = 16;
/// How long 10,000 resources may take until all are as they should be.
const PATIENCE: Duration = Duration::from_secs(1800);
/// Changes whose time is taken.
const CHANGES: usize = 200;

fn idle() -> Duration {
    Duration::from_secs(std::env::var("BETAGATE_IDLE").ok().and_then(|seconds| seconds.parse().ok()).unwrap_or(600))
}

/// The folder in which tools are kept that are built once.
fn tools() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| repository_root().join("target"), PathBuf::from);
    target.join("tools")
}

pub fn measure() {
    if std::env::var_os("BETAGATE_TEST_CLUSTER").is_none() {
        let cluster = repository_root().join("tests/cluster/cluster.py");
        let mut beside = std::process::Command::new("python3");
        beside
            .arg(cluster)
            .arg("--alone")
            .arg(tools().join("kubernetes"))
            .arg("--")
            .arg(std::env::current_exe().unwrap());
        let status = beside.arg("cluster").status().unwrap();
        assert!(status.success(), "{status}");
        return;
    }
    tokio::runtime::Runtime::new().unwrap().block_on(run());
}

async fn run() {
    let client = Client::try_from(Config::infer().await.unwrap()).unwrap();
    define(&client, &repository_root().join("crds")).await;
    namespace(&client, NAMESPACE).await;
    let all = resources::all();
    let begun = Instant::now();
    let applied = stream::iter(&all).map(|(kind, object)| apply(&client, *kind, object));
    applied.buffer_unordered(AT_ONCE).collect::<Vec<_>>().await;
    println!("cluster: {} resources of betagate on a real API server, applied in {:.0?}", all.len(), begun.elapsed());
    betagate(&client, all.len()).await;
}

async fn betagate(client: &Client, count: usize) {
    let (db, data, audit) = (postgres().unwrap_or_else(sqlite), tempfile::tempdir().unwrap(), Audit::of_cluster());
    let words = ["controller", "--cluster", "--context", "betagate", "--namespace", NAMESPACE, "--database", &db.url];
    let command =
        Betagate::new(words).env("BETAGATE_DATA", data.path()).env("HOSTNAME", "bench").env("RUST_LOG", "warn");
    let begun = Instant::now();
    let place = audit.end();
    let mut running = command.start_logging_to(&data.path().join("controller.log"));
    let pid = running.pid();
    all_ready(client, count).await;
    println!("  on {}, all Ready after {:.0?} ({:.1} s of a core)", db.name, begun.elapsed(), core_seconds(pid));
    calm(&audit, "betagate").await;
    tell("asked until then", &audit.since(place, "betagate"));
    rest("betagate", "betagate", pid, &audit).await;
    changes(client).await;
    let (now, most) = resident_mib(pid);
    println!("  after {CHANGES} changes       {now:>8.1} MiB resident, {most:.1} at most");
    let begun = Instant::now();
    let ended = running.interrupt(Duration::from_secs(60)).is_some_and(|status| status.success());
    println!(
        "  asked to end          {:>8.0?}{}",
        begun.elapsed(),
        if ended { "" } else { ", AND DID NOT END BY ITSELF" }
    );
    let log = std::fs::read_to_string(data.path().join("controller.log")).unwrap();
    if !log.is_empty() {
        println!("  its warnings, {} lines, first: {}", log.lines().count(), log.lines().next().unwrap_or_default());
    }
}

/// Memory, time of a core and requests of a process while nothing happens.
async fn rest(name: &str, user: &str, pid: u32, audit: &Audit) {
    let (idle, place, spent) = (idle(), audit.end(), core_seconds(pid));
    tokio::time::sleep(idle).await;
    let share = (core_seconds(pid) - spent) / idle.as_secs_f64();
    let (now, most) = resident_mib(pid);
    println!("  {name} at rest for {idle:.0?}");
    println!("    memory              {now:>8.1} MiB resident, {most:.1} at most   goal 100");
    println!("    time of a core      {:>8.2} %     goal 1", share * 100.0);
    let asked = audit.since(place, user);
    let beyond: usize = asked
        .iter()
        .filter(|(what, _)| !what.starts_with("watch ") && !what.ends_with(" leases"))
        .map(|(_, count)| count)
        .sum();
    println!(
        "    requests            {:>8.3} a second beyond watches and the Lease   goal 0",
        beyond as f64 / idle.as_secs_f64()
    );
    tell("  all of them", &asked);
}

fn tell(what: &str, asked: &BTreeMap<String, usize>) {
    let asked: Vec<String> = asked.iter().map(|(what, count)| format!("{count} × {what}")).collect();
    println!("  {what}: {}", asked.join(", "));
}

/// Until a user asks nothing but the Lease for ten seconds.
async fn calm(audit: &Audit, user: &str) {
    let begun = Instant::now();
    loop {
        assert!(begun.elapsed() < PATIENCE, "{user} does not come to rest");
        let place = audit.end();
        tokio::time::sleep(Duration::from_secs(10)).await;
        if audit.since(place, user).keys().all(|what| what.ends_with(" leases") || what.starts_with("watch ")) {
            return;
        }
    }
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
    Api::namespaced_with(client.clone(), NAMESPACE, &resource_of(kind))
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

fn ready(object: &DynamicObject) -> bool {
    let status = &object.data["status"];
    let conditions = status["conditions"].as_array().into_iter().flatten();
    let says = conditions.filter(|one| one["type"] == "Ready").any(|one| one["status"] == "True");
    says && status["observedGeneration"].as_i64() == object.metadata.generation
}

async fn all_ready(client: &Client, count: usize) {
    let begun = Instant::now();
    loop {
        let mut there = 0;
        let mut missing = None;
        for kind in Kind::ALL.iter().filter(|kind| **kind != Kind::Rollback) {
            let mut more = Some(String::new());
            while let Some(from) = more.take() {
                let page = ListParams {
                    limit: Some(500),
                    continue_token: Some(from).filter(|from| !from.is_empty()),
                    ..ListParams::default()
                };
                let page = api(client, *kind).list(&page).await.unwrap();
                there += page.items.iter().filter(|one| ready(one)).count();
                missing = missing.or_else(|| page.items.iter().find(|one| !ready(one)).cloned());
                more = page.metadata.continue_.filter(|more| !more.is_empty());
            }
        }
        if there == count {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{there} of {count} are Ready, this one is not: {missing:?}");
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
}

/// One flag changed after another: from the apply to `Ready` for what it says now, as a watch tells it.
async fn changes(client: &Client) {
    let mut seen = pin!(watcher(api(client, Kind::Flag), watcher::Config::default()).default_backoff());
    while !matches!(seen.next().await, Some(Ok(Event::InitDone))) {}
    let mut times = Vec::new();
    for n in 0..CHANGES {
        let (program, flag) = (n % 10, n / 10);
        let begun = Instant::now();
        let applied = apply(client, Kind::Flag, &resources::flag(program, flag, "on")).await;
        loop {
            let event = tokio::time::timeout(Duration::from_secs(60), seen.next()).await;
            match event.unwrap_or_else(|_| panic!("change {n} did not become Ready")) {
                Some(Ok(Event::Apply(object)))
                    if object.metadata.name == applied.metadata.name
                        && object.metadata.generation >= applied.metadata.generation
                        && ready(&object) =>
                {
                    break;
                }
                _ => {}
            }
        }
        times.push(begun.elapsed());
    }
    times.sort();
    let of = |share: usize| times[(times.len() * share / 100).min(times.len() - 1)];
    println!(
        "  {CHANGES} changes of one flag, from apply to Ready: median {:.0?}, 99th {:.0?}, longest {:.0?}",
        of(50),
        of(99),
        of(100)
    );
}
