//! Requests per second and latency: `wrk` on one core, the server on the other, 32 connections kept alive, the rounds of floor and server
//! taking turns. Memory and start beside it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use betagate::keys::Keys;
use betagate::store::{Store, flags};
use serde_json::json;

use super::{context, fifty};
use crate::memory::anonymous_mib;

/// Many short rounds: the machine's own pace drifts, and each round's ratio is of two neighbours.
const ROUNDS: usize = 9;

/// A process that ends with its owner.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn seconds() -> u64 {
    std::env::var("BETAGATE_BENCH_SECONDS").ok().and_then(|seconds| seconds.parse().ok()).unwrap_or(2)
}

pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// One API process on a core of its own, with the fifty flags; gives the time until its first answer.
pub fn api(data: &Path, database: &str, port: u16, core: Option<&str>) -> (Running, Duration) {
    let binary = env!("CARGO_BIN_EXE_betagate");
    let mut command = match core {
        Some(core) => {
            let mut command = Command::new("taskset");
            command.args(["-c", core, binary]);
            command
        }
        None => Command::new(binary),
    };
    let begun = Instant::now();
    let child = command
        .args(["api", "--listen", &format!("127.0.0.1:{port}"), "--database", database, "--data"])
        .arg(data)
        .env_remove("RUST_LOG")
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let running = Running(child);
    wait_for(port);
    let answered = agent(port, "/ofrep/v1/evaluate/flags/feature_00");
    assert!(answered.contains("\"variant\""), "{answered}");
    (running, begun.elapsed())
}

fn wait_for(port: u16) {
    let begun = Instant::now();
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(begun.elapsed() < Duration::from_secs(20), "nothing listens on {port}");
        std::thread::sleep(Duration::from_micros(500));
    }
}

/// One request by hand, without a client library's own start.
fn agent(port: u16, path: &str) -> String {
    use std::io::{Read as _, Write as _};
    let body = context().to_string();
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(stream, "POST {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len())
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Publishes the fifty flags in a fresh database.
pub async fn publish(url: &str) -> Store {
    let store = Store::open(url).await.unwrap();
    store.migrate().await.unwrap();
    let mut tx = store.begin().await.unwrap();
    flags::publish(&mut tx, fifty(), &json!([]), "fifty", "0123456789abcdef", jiff::Timestamp::now()).await.unwrap();
    tx.commit().await.unwrap();
    store
}

#[derive(Clone, Copy)]
struct Figure {
    per_second: f64,
    p99_ms: f64,
}

fn wrk(url: &str, tag: Option<&str>, folder: &Path) -> Figure {
    let script = folder.join("post.lua");
    let tag = tag.map(|tag| format!("wrk.headers[\"If-None-Match\"] = '{tag}'\n")).unwrap_or_default();
    let body = context();
    std::fs::write(
        &script,
        format!("wrk.method = 'POST'\nwrk.headers['Content-Type'] = 'application/json'\n{tag}wrk.body = '{body}'\n"),
    )
    .unwrap();
    let output = Command::new("taskset")
        .args(["-c", "1", "wrk", "-t1", "-c32", &format!("-d{}s", seconds()), "--latency", "-s"])
        .arg(&script)
        .arg(url)
        .output()
        .expect("wrk is needed: Debian's package wrk");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let number = |begins: &str| {
        let line = text.lines().find(|line| line.trim_start().starts_with(begins));
        line.unwrap_or_else(|| panic!("{text}")).split_whitespace().nth(1).unwrap().to_owned()
    };
    if tag.is_empty() {
        assert!(!text.contains("Non-2xx"), "{text}");
    }
    Figure { per_second: number("Requests/sec:").parse().unwrap(), p99_ms: milliseconds(&number("99%")) }
}

fn milliseconds(text: &str) -> f64 {
    let (number, unit) = text.split_at(text.find(|c: char| c.is_alphabetic()).unwrap());
    number.parse::<f64>().unwrap()
        * match unit {
            "us" => 0.001,
            "ms" => 1.0,
            _ => 1000.0,
        }
}

fn middle(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// Floor and server by turns, the other one first in every second round; prints the middle of each and of the rounds' ratios.
fn compare(what: &str, goal: &str, floor: &str, server: &str, tag: Option<&str>, folder: &Path) {
    let rounds: Vec<(Figure, Figure)> = (0..ROUNDS)
        .map(|round| {
            if round % 2 == 0 {
                let of_floor = wrk(floor, tag, folder);
                (of_floor, wrk(server, tag, folder))
            } else {
                let of_server = wrk(server, tag, folder);
                (wrk(floor, tag, folder), of_server)
            }
        })
        .collect();
    println!(
        "  {what:<34} {:>9.0}/s p99 {:>6.2} ms   floor {:>9.0}/s p99 {:>6.2} ms   {:.2} of it   p99 {:.1} times   goal {goal}",
        middle(rounds.iter().map(|(_, server)| server.per_second)),
        middle(rounds.iter().map(|(_, server)| server.p99_ms)),
        middle(rounds.iter().map(|(floor, _)| floor.per_second)),
        middle(rounds.iter().map(|(floor, _)| floor.p99_ms)),
        middle(rounds.iter().map(|(floor, server)| server.per_second / floor.per_second)),
        middle(rounds.iter().map(|(floor, server)| server.p99_ms / floor.p99_ms)),
    );
}

fn tag(port: u16) -> String {
    let answer = agent(port, "/ofrep/v1/evaluate/flags");
    let line = answer.lines().find(|line| line.to_ascii_lowercase().starts_with("etag:")).unwrap();
    line.split_once(':').unwrap().1.trim().to_owned()
}

fn body_length(answer: &str) -> usize {
    answer.split_once("\r\n\r\n").unwrap().1.len()
}

pub fn measure(peers: &[String]) {
    let folder = tempfile::tempdir().unwrap();
    let out = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/bench-flags.json");
    std::fs::write(&out, fifty().to_string()).unwrap();
    Keys::load_or_create(&folder.path().join("keys")).unwrap();
    let database = format!("sqlite:{}", folder.path().join("betagate.db").display());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async { publish(&database).await.close().await });

    let mut starts: Vec<Duration> = (0..5).map(|_| api(folder.path(), &database, free_port(), None).1).collect();
    starts.sort();
    let port = free_port();
    let (server, _) = api(folder.path(), &database, port, Some("0"));
    std::thread::sleep(Duration::from_secs(1));
    let rest = anonymous_mib(server.0.id());
    let base = format!("http://127.0.0.1:{port}/ofrep/v1/evaluate/flags");
    let (single, bulk) = (agent(port, "/ofrep/v1/evaluate/flags/feature_21"), agent(port, "/ofrep/v1/evaluate/flags"));
    let floor_port = free_port();
    let words = [floor_port.to_string(), body_length(&single).to_string(), body_length(&bulk).to_string()];
    let mut floor = Command::new("taskset");
    floor.args(["-c", "0"]).arg(std::env::current_exe().unwrap()).arg("floor").args(words);
    let _floor = Running(floor.spawn().unwrap());
    wait_for(floor_port);
    let floor = format!("http://127.0.0.1:{floor_port}");

    println!(
        "flags: one API process on one core, wrk on the other, 32 connections, {ROUNDS} rounds of {} s by turns, the middle ones",
        seconds()
    );
    let mut servers = vec![("betagate", base)];
    for peer in peers {
        let (name, url) = peer.split_once('=').expect("--peer NAME=URL");
        servers.push((name, format!("{}/ofrep/v1/evaluate/flags", url.trim_end_matches('/'))));
    }
    for (name, base) in &servers {
        println!(" {name}");
        for (what, flag) in [
            ("single, static", "00"),
            ("single, end of an address", "23"),
            ("single, list of cohorts", "31"),
            ("single, share", "45"),
        ] {
            compare(
                what,
                "0.80, p99 2",
                &format!("{floor}/single"),
                &format!("{base}/feature_{flag}"),
                None,
                folder.path(),
            );
        }
        compare("bulk of 50", "0.35 (stretch 0.50)", &format!("{floor}/bulk"), base, None, folder.path());
    }
    let tag = tag(port);
    compare(
        "bulk, unchanged (If-None-Match)",
        "0.80",
        &format!("{floor}/unchanged"),
        &servers[0].1,
        Some(&tag),
        folder.path(),
    );
    println!(
        "  anonymous memory: {rest:.1} MiB at rest (goal 16), {:.1} MiB after this load (goal 24)",
        anonymous_mib(server.0.id())
    );
    println!("  start to first answer: {:.0} ms (goal 50)", starts[starts.len() / 2].as_secs_f64() * 1000.0);
}
