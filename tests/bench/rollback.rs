//! Rollbacks: from the event that makes a plan's trigger true (an incident over HTTP) to the freeze and to the safe variants that API processes serve, with five
//! of them on PostgreSQL; what a decision costs over a year of history; how many years a second `simulate` plays.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use betagate::controller::build_snapshot;
use betagate::keys::Keys;
use betagate::source::read_folder;
use betagate::store::{Store, freezes};
use betagate_core::decide::{CheckRef, Memory, Reading, Readings, decide};
use betagate_core::desired::{Built, ProgramDesired};
use betagate_core::simulate::{Assume, Entry, Happening, Setting, simulate};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::memory::anonymous_mib;
use crate::{median, support};

const PROGRAMS: usize = 1000;
const CHECKS: usize = 20;
const WEEKS: i64 = 52;
const EVENTS: usize = 40;
/// One that always runs, and four more.
const MORE_PROCESSES: usize = 4;
const PATIENCE: Duration = Duration::from_secs(60);

pub fn measure() {
    decisions();
    years();
    let Ok(server) = std::env::var("BETAGATE_TEST_POSTGRES") else {
        println!("rollback: no PostgreSQL (BETAGATE_TEST_POSTGRES is not set)");
        return;
    };
    tokio::runtime::Runtime::new().unwrap().block_on(event_to_freeze(&server));
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn kruxt() -> Built {
    build_snapshot(&read_folder(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap(), None, true).unwrap()
}

/// This project's own program, its weekly gate with twenty checks.
fn with_twenty_checks() -> ProgramDesired {
    let mut program = ProgramDesired::clone(&kruxt().desired.programs["kruxt"]);
    let gate = program.gates.get_mut("weekly-kpis").unwrap();
    let like = gate.spec.checks.iter().find(|check| check.kpi.is_some() && !check.critical).unwrap().clone();
    while gate.spec.checks.len() < CHECKS {
        let mut more = like.clone();
        more.name = format!("more-{}", gate.spec.checks.len());
        gate.spec.checks.push(more);
    }
    program
}

fn all_good(program: &ProgramDesired, readings: &mut Readings, now: Timestamp) {
    for gate in program.gates.values() {
        for check in &gate.spec.checks {
            let value = check.pass.as_ref().map_or(1.0, |pass| pass.a_value_that_meets());
            readings.checks.insert(CheckRef::new(&gate.name, &check.name), Reading::value(value, now));
        }
    }
}

/// A thousand programs, each changed since it was decided last, after 52 weekly reviews.
fn decisions() {
    let program = with_twenty_checks();
    let revision = betagate_core::desired::Revision::default();
    let (mut memory, mut readings) = (Memory::default(), Readings::default());
    let mut now = at("2026-03-02T08:00:00Z");
    for _ in 0..WEEKS * 7 {
        all_good(&program, &mut readings, now);
        for _ in 0..20 {
            let decision = decide(&program, &revision, &readings, &memory, now);
            let rests = decision.memory == memory;
            memory = decision.memory;
            if rests {
                break;
            }
        }
        now = now.checked_add(SignedDuration::from_hours(24)).unwrap();
    }
    let before = anonymous_mib(std::process::id());
    let mut all: Vec<(Memory, Readings)> = (0..PROGRAMS).map(|_| (memory.clone(), readings.clone())).collect();
    let held = anonymous_mib(std::process::id()) - before;
    let took = median(5, || {
        now = now.checked_add(SignedDuration::from_mins(5)).unwrap();
        for (memory, readings) in &mut all {
            all_good(&program, readings, now);
            *memory = decide(&program, &revision, readings, memory, now).memory;
        }
    });
    println!(
        "rollback: decide, {PROGRAMS} changed programs x {CHECKS} checks after {WEEKS} weeks: {:.1} ms (goal 100), their memory and readings {held:.1} MiB",
        took.as_secs_f64() * 1000.0
    );
}

/// A year of this project's own program, measured every day.
fn years() {
    let built = kruxt();
    let program = &built.desired.programs["kruxt"];
    let from = at("2026-03-01T23:00:00Z");
    let check = CheckRef::new("weekly-kpis", "sync-success");
    let days = (0..WEEKS * 7).map(|day| {
        let value = if day % 50 == 49 { 0.90 } else { 0.97 };
        let reading = Reading::value(value, from);
        let at = from.checked_add(SignedDuration::from_hours(24 * day)).unwrap();
        Entry { at, what: Happening::Measured(check.clone(), reading.outcome) }
    });
    let history: Vec<Entry> = days.collect();
    let assume = Assume { signed: true, met: true, cause_within: Some(SignedDuration::from_hours(24)) };
    let until = from.checked_add(SignedDuration::from_hours(24 * WEEKS * 7)).unwrap();
    let mut lines = 0;
    let took = median(5, || {
        let played =
            simulate(program, &built.desired.revision, history.clone(), Setting { from, until, assume }).unwrap();
        lines = played.timeline.len();
    });
    println!(
        "rollback: simulate, a year of daily readings with seven rollbacks ({lines} lines): {:.1} years a second",
        1.0 / took.as_secs_f64()
    );
}

struct Up(Child);

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A server with five API processes, its address and its administration token.
async fn up(folder: &Path, url: &str) -> (Up, String, String) {
    let repo = support::TestRepo::of_this_project();
    for name in ["manifests", "cohorts", "flags"] {
        assert!(Command::new("cp").arg("-r").arg(repo.path().join(name)).arg(folder).status().unwrap().success());
    }
    std::fs::write(
        folder.join("manifests/kruxt/more.yaml"),
        format!(
            "apiVersion: betagate.dev/v1alpha1\nkind: Workload\nmetadata: {{ name: more }}\nspec: {{ program: kruxt, component: api, replicas: {MORE_PROCESSES} }}\n"
        ),
    )
    .unwrap();
    // Only what leaves as a file: a chat that nobody set up would hold the steps behind its note back for half an hour.
    let plan = folder.join("manifests/kruxt/rollback.yaml");
    let text = std::fs::read_to_string(&plan).unwrap();
    std::fs::write(&plan, text.replace("[support, gym-operators]", "[gym-operators]")).unwrap();
    Keys::load_or_create(&folder.join(".betagate/keys")).unwrap();
    let port = support::free_port();
    let log = std::fs::File::create(folder.join("up.log")).unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_betagate"))
        .args(["up", ".", "--listen", &format!("127.0.0.1:{port}"), "--database", url])
        .current_dir(folder)
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap();
    let up = Up(child);
    let token = folder.join(".betagate/admin.token");
    let begun = Instant::now();
    while !token.exists() {
        assert!(begun.elapsed() < PATIENCE, "{}", std::fs::read_to_string(folder.join("up.log")).unwrap());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let token = std::fs::read_to_string(token).unwrap().trim().to_owned();
    (up, format!("http://127.0.0.1:{port}"), token)
}

async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) -> Duration {
    let begun = Instant::now();
    while !done().await {
        assert!(begun.elapsed() < PATIENCE, "{what} did not come about");
        tokio::time::sleep(Duration::from_micros(500)).await;
    }
    begun.elapsed()
}

async fn event_to_freeze(server: &str) {
    let folder = tempfile::tempdir().unwrap();
    let join = if server.contains('?') { '&' } else { '?' };
    let schema = format!("bench_rollback_{}", std::process::id());
    let url = format!("{server}{join}schema={schema}");
    let (running, address, token) = up(folder.path(), &url).await;
    let store = Store::open(&url).await.unwrap();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let newest = async || betagate::store::flags::newest(&store).await.ok().flatten();
    until("the first flags", async || newest().await.is_some()).await;
    let serving = async |wanted: i64| {
        let since = Timestamp::now().checked_sub(SignedDuration::from_secs(15)).unwrap();
        let all = betagate::store::flags::processes(&store, since).await.unwrap();
        all.len() > MORE_PROCESSES && all.iter().all(|process| process.flag_revision >= wanted)
    };
    until("five API processes", async || serving(1).await).await;
    let program = async || betagate::store::status::get(&store, "Program", "kruxt").await.ok().flatten();
    until("the program", async || program().await.is_some()).await;
    let (mut frozen, mut safe) = (Vec::new(), Vec::new());
    for event in 1..=EVENTS {
        let started = Timestamp::now().checked_sub(SignedDuration::from_mins(31)).unwrap();
        let name = format!("down-{event}");
        let body =
            json!({ "name": name, "severity": "sev-1", "title": "down", "startedAt": started, "program": "kruxt" });
        let held = async || newest().await.filter(|snapshot| !snapshot.holds.as_array().unwrap().is_empty());
        let begun = Instant::now();
        let answer = http.post(format!("{address}/v1/admin/incidents")).bearer_auth(&token).json(&body).send();
        assert!(answer.await.unwrap().status().is_success());
        until("the freeze", async || !freezes::list(&store, Some("kruxt")).await.unwrap().is_empty()).await;
        frozen.push(begun.elapsed());
        until("the safe variants", async || match held().await {
            Some(snapshot) => serving(snapshot.revision).await,
            None => false,
        })
        .await;
        safe.push(begun.elapsed());
        let close = http.post(format!("{address}/v1/admin/incidents/{name}/close?program=kruxt")).bearer_auth(&token);
        assert!(close.send().await.unwrap().status().is_success());
        lift(&store, folder.path(), event).await;
        // Until the run itself is over: an incident before that would join it.
        let run = format!("closed-beta-{event}");
        until("the lift", async || {
            let status = betagate::store::status::get(&store, "Rollback", &run).await.unwrap();
            status.is_some_and(|status| status.status["state"] == "Lifted")
        })
        .await;
    }
    let figures: BTreeMap<&str, Vec<Duration>> =
        [("freeze", frozen), ("safe variants in 5 API processes", safe)].into();
    for (what, mut times) in figures {
        times.sort();
        let of = |share: f64| times[((times.len() - 1) as f64 * share).round() as usize].as_secs_f64() * 1000.0;
        let goal = if what == "freeze" { " (goal: 99th 250)" } else { "" };
        println!(
            "rollback: event to {what}, {EVENTS} events on PostgreSQL: median {:.0} ms, 99th {:.0} ms, longest {:.0} ms{goal}",
            of(0.5),
            of(0.99),
            of(1.0)
        );
    }
    drop(running);
    store.execute(&format!("DROP SCHEMA {schema}, {schema}_checks CASCADE"), &[]).await.unwrap();
}

/// Completes the cause document of the run, and says that it may be lifted.
async fn lift(store: &Store, folder: &Path, event: usize) {
    let run = format!("closed-beta-{event}");
    let documents = folder.join(".betagate/documents");
    let mine = || {
        let all = std::fs::read_dir(&documents).into_iter().flatten().flatten();
        all.map(|entry| entry.path()).find(|path| path.to_string_lossy().contains(&format!("{run}-")))
    };
    until("the cause document", async || mine().is_some()).await;
    let document = mine().unwrap();
    let text = std::fs::read_to_string(&document).unwrap();
    std::fs::write(&document, support::lift::completed(&text)).unwrap();
    support::lift::say(store, ("kruxt", &run), Timestamp::now()).await;
}
