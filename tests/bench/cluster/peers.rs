//! Other controllers beside betagate: Argo Rollouts and Flagger, each with as many resources of its own, on the same API server, one after another.
//!
//! As they come, with the defaults of their makers. Must not know: how they are built (`peers.py`).

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};
use kube::api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::{Api, Client};
use serde_json::{Value, json};

use super::process::Audit;
use super::resources::Mix;
use super::rest::{self, Rest, Who};
use super::{AT_ONCE, PATIENCE};

/// Where their folder is told.
const FOLDER: &str = "BETAGATE_TEST_PEERS";
/// How long they may ask for more than the Lease before rest is looked at all the same: some always do.
const CALM: Duration = Duration::from_secs(90);

/// Another controller, and what it follows.
struct Peer {
    name: &'static str,
    /// What it follows, and what its status says once all is as it should be.
    follows: (GroupVersionKind, &'static str),
    /// What there is of each, in order.
    each: fn(&str) -> Vec<Value>,
    words: fn(&Path) -> Vec<String>,
}

fn all() -> [Peer; 2] {
    let rollout = GroupVersionKind::gvk("argoproj.io", "v1alpha1", "Rollout");
    let canary = GroupVersionKind::gvk("flagger.app", "v1beta1", "Canary");
    [
        Peer { name: "argo-rollouts", follows: (rollout, "Healthy"), each: of_argo, words: words_of_argo },
        Peer { name: "flagger", follows: (canary, "Initialized"), each: of_flagger, words: words_of_flagger },
    ]
}

/// Builds them the first time (`peers.py`), and says where they are.
pub fn build(tools: &Path) -> (&'static str, PathBuf) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bench/cluster/peers.py");
    let said = Command::new("python3").arg(script).arg(tools).stderr(Stdio::inherit()).output().unwrap();
    assert!(said.status.success(), "Argo Rollouts and Flagger were not built: {}", said.status);
    (FOLDER, PathBuf::from(String::from_utf8(said.stdout).unwrap().trim()))
}

/// Each after the other, and their figures as multiples of betagate's.
pub async fn side_by_side(client: &Client) {
    let count = std::env::var("BETAGATE_PEERS").ok().and_then(|count| count.parse().ok()).unwrap_or(2000);
    println!(
        "cluster-peers: {count} resources each of betagate, Argo Rollouts and Flagger on one real API server, one after another"
    );
    let mix = Mix::of_count(count);
    let there = super::betagate_there(client, &mix).await;
    let ours = super::betagate(client, &mix, there, false).await;
    // Their Deployments and ReplicaSets are followed by somebody, as in a cluster; there are no nodes.
    let scratch = tempfile::tempdir().unwrap();
    let manager = kubeconfig(scratch.path(), "admin");
    let words =
        ["--controllers=deployment-controller,replicaset-controller", "--leader-elect=false", "--secure-port=0"];
    let own = ["--kube-api-qps=200", "--kube-api-burst=400", &format!("--kubeconfig={}", manager.display())];
    let words: Vec<String> = words.iter().chain(&own).map(|word| (*word).to_owned()).collect();
    let _manager = start(Path::new("kube-controller-manager"), &words, &scratch.path().join("manager.log"));
    let mut rows = vec![("betagate", ours)];
    for peer in all() {
        rows.push((peer.name, peer.measure(client, count, scratch.path()).await));
    }
    println!("  at rest, and as multiples of betagate's   memory             core             requests a second");
    let [(_, ours), ..] = rows.as_slice() else { return };
    let times =
        |theirs: f64, ours: f64| if ours > 0.0 { format!("{:>7.1}×", theirs / ours) } else { "        ".to_owned() };
    for (name, row) in &rows {
        println!(
            "    {name:<36} {:>8.1} MiB {} {:>8.2} % {} {:>10.3} {}",
            row.mib,
            times(row.mib, ours.mib),
            row.core,
            times(row.core, ours.core),
            row.requests,
            times(row.requests, ours.requests)
        );
    }
}

impl Peer {
    async fn measure(&self, client: &Client, count: usize, scratch: &Path) -> Rest {
        let folder = PathBuf::from(std::env::var_os(FOLDER).expect("measure() builds them"));
        define(&folder.join(format!("{}-crds", self.name)));
        super::namespace(client, self.name).await;
        let begun = Instant::now();
        let objects: Vec<Value> = (0..count).flat_map(|n| (self.each)(&format!("one-{n}"))).collect();
        let applied = stream::iter(&objects).map(|object| self.apply(client, object));
        applied.buffer_unordered(AT_ONCE).collect::<Vec<_>>().await;
        println!("  {count} resources of {} applied in {:.0?}", self.name, begun.elapsed());
        let (audit, own) = (Audit::of_cluster(), kubeconfig(scratch, self.name));
        let (begun, place) = (Instant::now(), audit.end());
        let log = scratch.join(format!("{}.log", self.name));
        let running = start(&folder.join(self.name), &(self.words)(&own), &log);
        let there = self.settled(client, count).await;
        println!("  {there} of {count} {} after {:.0?}", self.follows.1, begun.elapsed());
        if !rest::calm(&audit, self.name, CALM).await {
            println!("  it goes on asking after {CALM:.0?}");
        }
        rest::tell("asked until then", &audit.since(place, self.name));
        rest::look(Who { user: self.name, pid: running.0.id(), audit: &audit }).await
    }

    async fn apply(&self, client: &Client, object: &Value) {
        let (group, version) = object["apiVersion"].as_str().unwrap().split_once('/').unwrap();
        let kind = GroupVersionKind::gvk(group, version, object["kind"].as_str().unwrap());
        let (api, name) = (self.api(client, &kind), object["metadata"]["name"].as_str().unwrap());
        for _ in 0..20 {
            match api.patch(name, &PatchParams::apply("bench").force(), &Patch::Apply(object)).await {
                Ok(_) => return,
                Err(kube::Error::Api(refusal)) if refusal.code == 404 => {
                    tokio::time::sleep(Duration::from_millis(500)).await
                }
                Err(error) => panic!("{name}: {error}"),
            }
        }
        panic!("{} is not served", kind.kind);
    }

    fn api(&self, client: &Client, kind: &GroupVersionKind) -> Api<DynamicObject> {
        Api::namespaced_with(client.clone(), self.name, &ApiResource::from_gvk(kind))
    }

    /// Waits until all are as they should be, or no more come to be; says how many are.
    async fn settled(&self, client: &Client, count: usize) -> usize {
        let (begun, api) = (Instant::now(), self.api(client, &self.follows.0));
        let (mut most, mut since) = (0, Instant::now());
        while begun.elapsed() < PATIENCE && since.elapsed() < Duration::from_secs(240) {
            let all = api.list(&ListParams::default()).await.unwrap();
            let there = all.items.iter().filter(|one| one.data["status"]["phase"] == self.follows.1).count();
            if there > most {
                (most, since) = (there, Instant::now());
            }
            if most == count {
                break;
            }
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
        most
    }
}

/// With kubectl, which reads YAML as their makers write it.
fn define(folder: &Path) {
    for words in ["apply --server-side --force-conflicts -f", "wait --for=condition=Established --timeout=60s -f"] {
        let done = Command::new("kubectl").args(words.split(' ')).arg(folder).stdout(Stdio::null()).status().unwrap();
        assert!(done.success(), "kubectl {words} {}: {done}", folder.display());
    }
}

/// A canary with a weight and a pause, of no pods.
fn of_argo(name: &str) -> Vec<Value> {
    let pods = pods(name);
    let spec = json!({
        "replicas": 0, "selector": pods["selector"], "template": pods["template"],
        "strategy": { "canary": { "steps": [ { "setWeight": 20 }, { "pause": {} } ] } },
    });
    vec![json!({ "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": { "name": name }, "spec": spec })]
}

/// A Deployment and the canary of it. It makes another Deployment of at least one pod, which never runs where there are no nodes: it is told not to wait.
fn of_flagger(name: &str) -> Vec<Value> {
    let pods = pods(name);
    let deployment = json!({ "replicas": 0, "progressDeadlineSeconds": 86_400, "selector": pods["selector"], "template": pods["template"] });
    let target = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "name": name });
    let analysis = json!({ "interval": "1m", "threshold": 5, "maxWeight": 50, "stepWeight": 10, "primaryReadyThreshold": 0, "canaryReadyThreshold": 0 });
    let canary = json!({ "provider": "kubernetes", "targetRef": target, "progressDeadlineSeconds": 86_400, "service": { "port": 80 }, "analysis": analysis });
    vec![
        json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": name }, "spec": deployment }),
        json!({ "apiVersion": "flagger.app/v1beta1", "kind": "Canary", "metadata": { "name": name }, "spec": canary }),
    ]
}

fn pods(name: &str) -> Value {
    let container =
        json!({ "name": "app", "image": "registry.example.com/app:1", "ports": [ { "containerPort": 80 } ] });
    json!({
        "selector": { "matchLabels": { "app": name } },
        "template": { "metadata": { "labels": { "app": name } }, "spec": { "containers": [container] } },
    })
}

fn words_of_argo(kubeconfig: &Path) -> Vec<String> {
    let of = |word: &str, value: String| format!("--{word}={value}");
    vec![
        of("kubeconfig", kubeconfig.display().to_string()),
        of("namespace", "argo-rollouts".to_owned()),
        "--namespaced".to_owned(),
        of("loglevel", "warn".to_owned()),
        of("metricsPort", free_port()),
        of("healthzPort", free_port()),
    ]
}

fn words_of_flagger(kubeconfig: &Path) -> Vec<String> {
    let of = |word: &str, value: String| format!("-{word}={value}");
    vec![
        of("kubeconfig", kubeconfig.display().to_string()),
        of("namespace", "flagger".to_owned()),
        of("mesh-provider", "kubernetes".to_owned()),
        of("metrics-server", "http://127.0.0.1:1".to_owned()),
        of("log-level", "error".to_owned()),
        of("port", free_port()),
        "-enable-leader-election".to_owned(),
    ]
}

/// Ended with it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(program: &Path, words: &[String], log: &Path) -> Running {
    let log = std::fs::File::create(log).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(program).args(words);
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    Running(command.spawn().unwrap())
}

/// The kubeconfig of this run with another user.
fn kubeconfig(folder: &Path, user: &str) -> PathBuf {
    let text = std::fs::read_to_string(std::env::var_os("KUBECONFIG").unwrap()).unwrap();
    let path = folder.join(format!("{user}.kubeconfig"));
    std::fs::write(&path, text.replace("current-context: admin", &format!("current-context: {user}"))).unwrap();
    path
}

fn free_port() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string()
}
