//! Registrations with an invite's code, over HTTP, against an API process of the real binary; and the same number of bare password hashes at the
//! same cost, in turns in the same run. What counts is the time that a core spends (the process's own, client and database server aside), so that
//! what else the machine does changes little.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use argon2::Argon2;
use argon2::password_hash::PasswordHasher as _;
use betagate::core::cohort::AddressRules;
use betagate::keys::Keys;
use betagate::store::Store;
use betagate::store::invites::{self, CohortState, Made, NewInvite, Origin};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::Mutex;

/// Registrations, and hashes, in each turn.
const TURN: usize = 100;
const TURNS: usize = 4;
/// As many hashes at once as one API process computes.
const AT_ONCE: usize = 2;
const PASSWORD: &str = "a long enough password";

struct Api(Child);

impl Drop for Api {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub fn measure() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    println!("doors: {} registrations with a code, and as many bare argon2id hashes (19 MiB, 2 passes)", TURN * TURNS);
    let folder = tempfile::tempdir().unwrap();
    let sqlite = format!("sqlite:{}", folder.path().join("betagate.db").display());
    runtime.block_on(one("SQLite", &sqlite));
    let Ok(server) = std::env::var("BETAGATE_TEST_POSTGRES") else {
        println!("  no PostgreSQL (BETAGATE_TEST_POSTGRES is not set)");
        return;
    };
    let join = if server.contains('?') { '&' } else { '?' };
    let schema = format!("bench_doors_{}", std::process::id());
    runtime.block_on(one("PostgreSQL", &format!("{server}{join}schema={schema}")));
    runtime.block_on(async {
        let store = Store::open(&server).await.unwrap();
        store.execute(&format!("DROP SCHEMA {schema}, {schema}_checks CASCADE"), &[]).await.unwrap();
    });
}

async fn one(what: &str, url: &str) {
    let data = tempfile::tempdir().unwrap();
    let store = Store::open(url).await.unwrap();
    store.migrate().await.unwrap();
    let keys = Keys::load_or_create(&data.path().join("keys")).unwrap();
    let codes = invite(&store, &keys, TURN * (TURNS + 1)).await;
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let api = start(url, data.path(), port);
    let address = format!("http://127.0.0.1:{port}");
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    ready(&client, &address).await;
    let mut turns = codes.chunks(TURN);
    register(&client, &address, turns.next().unwrap()).await;
    let (mut hashing, mut registering) = (Spent::default(), Spent::default());
    for turn in turns {
        let (begun, spent) = (Instant::now(), cpu(std::process::id()));
        std::thread::scope(|scope| {
            for _ in 0..AT_ONCE {
                scope.spawn(|| {
                    (0..TURN / AT_ONCE).for_each(|_| {
                        std::hint::black_box(Argon2::default().hash_password(PASSWORD.as_bytes()).unwrap());
                    })
                });
            }
        });
        hashing.add(begun.elapsed(), cpu(std::process::id()) - spent);
        let (begun, spent) = (Instant::now(), cpu(api.0.id()));
        register(&client, &address, turn).await;
        registering.add(begun.elapsed(), cpu(api.0.id()) - spent);
    }
    let count = (TURN * TURNS) as f64;
    let outside = 1.0 - hashing.core / registering.core;
    println!("  {what}");
    println!(
        "    bare hashes    {:>6.1}/s a core   {:>5.1} ms of a core each",
        count / hashing.core,
        1e3 * hashing.core / count
    );
    println!(
        "    registrations  {:>6.1}/s a core   {:>5.1} ms of a core each   {:.1} % outside the hash (goal: under 10 %)",
        count / registering.core,
        1e3 * registering.core / count,
        100.0 * outside
    );
    println!(
        "    by the clock   {:>6.1} hashes/s, {:.1} registrations/s, client and database on the same cores",
        count / hashing.clock,
        count / registering.clock
    );
    drop(api);
    store.close().await;
}

/// Seconds of the clock, and of cores.
#[derive(Default)]
struct Spent {
    clock: f64,
    core: f64,
}

impl Spent {
    fn add(&mut self, clock: Duration, core: f64) {
        self.clock += clock.as_secs_f64();
        self.core += core;
    }
}

/// The seconds that all threads of a process have had a core.
pub fn cpu(pid: u32) -> f64 {
    let ticks = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let after_name = ticks.rsplit(')').next().unwrap();
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    // utime and stime, in hundredths of a second, of threads that have ended too.
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

async fn invite(store: &Store, keys: &Keys, count: usize) -> Vec<(String, String)> {
    let now = Timestamp::now();
    let until = now.checked_add(SignedDuration::from_hours(24)).unwrap();
    let state = CohortState {
        program: "bench".to_owned(),
        cohort: "all".to_owned(),
        open: true,
        capacity: None,
        addresses: AddressRules::default(),
        list_digest: None,
        rows: 0,
    };
    let mut tx = store.begin().await.unwrap();
    invites::set_cohort(&mut tx, &state, "bench", now).await.unwrap();
    let mut codes = Vec::new();
    for n in 0..count {
        let email = format!("tester{n}@example.com");
        let new = NewInvite {
            program: "bench",
            cohort: "all",
            email: &email,
            label: "",
            role: "",
            invited_by: "",
            locale: "",
            note: "",
            source: Origin::Admin,
        };
        let made = invites::create(&mut tx, keys, &new, "bench", now).await.unwrap();
        let Made::New(invite) = made else { panic!("invited before") };
        let rendered = invites::render(&mut tx, keys, invite.id, until, now).await.unwrap().unwrap();
        codes.push((email, rendered.code.reveal()));
    }
    tx.commit().await.unwrap();
    codes
}

fn start(url: &str, data: &std::path::Path, port: u16) -> Api {
    let child = Command::new(env!("CARGO_BIN_EXE_betagate"))
        .args(["api", "--database", url, "--listen", &format!("127.0.0.1:{port}"), "--trusted-proxy", "127.0.0.0/8"])
        .arg("--data")
        .arg(data)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    Api(child)
}

async fn ready(client: &reqwest::Client, address: &str) {
    let begun = Instant::now();
    while !client.get(format!("{address}/readyz")).send().await.is_ok_and(|answer| answer.status().is_success()) {
        assert!(begun.elapsed() < Duration::from_secs(30), "the API did not start");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Registers them all, so many at once that no core waits for the next. Each comes from an address of its own, as the limits count.
async fn register(client: &reqwest::Client, address: &str, people: &[(String, String)]) {
    let people = Arc::new(Mutex::new(people.to_vec()));
    let lines = (0..2 * AT_ONCE).map(|_| {
        let (client, people, url) = (client.clone(), people.clone(), format!("{address}/v1/auth/register"));
        tokio::spawn(async move {
            loop {
                let Some((email, code)) = people.lock().await.pop() else { return };
                let source = format!("192.0.2.{}", people.lock().await.len());
                let body = serde_json::json!({ "email": email, "password": PASSWORD, "invite": code });
                let answer = client.post(&url).header("x-forwarded-for", source).json(&body).send().await.unwrap();
                assert_eq!(answer.status().as_u16(), 201, "{}", answer.text().await.unwrap());
            }
        })
    });
    for line in lines {
        line.await.unwrap();
    }
}
