//! A cohort's list of 1,000,000 rows: from CSV to rows, the same again, one row changed. On PostgreSQL beside `psql \copy` of the same rows
//! into a table with the same indexes.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use betagate::core::cohort::ListOptions;
use betagate::keys::Keys;
use betagate::store::Store;
use betagate::store::cohort_lists::{CohortList, ListSource, Writer, bring_in, prepare};

fn rows() -> usize {
    std::env::var("BETAGATE_ROWS").ok().and_then(|rows| rows.parse().ok()).unwrap_or(1_000_000)
}

pub fn measure() {
    let folder = tempfile::tempdir().unwrap();
    let (path, changed) = (folder.path().join("list.csv"), folder.path().join("changed.csv"));
    {
        let mut text = String::from("email,label,invited_by\n");
        for n in 0..rows() {
            // Spread like real addresses, not in the order of an index.
            let spread = (n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
            writeln!(
                text,
                "tester.{spread:x}.{n}@example{}.com,listener-{},host{}@example.com",
                n % 50,
                n % 40,
                n % 900
            )
            .unwrap();
        }
        std::fs::write(&path, &text).unwrap();
        std::fs::write(&changed, text.replacen("listener-1,", "listener-changed,", 1)).unwrap();
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let sqlite = format!("sqlite:{}", folder.path().join("bench.db").display());
    runtime.block_on(one("SQLite", &sqlite, &path, &changed, folder.path()));
    let Ok(server) = std::env::var("BETAGATE_TEST_POSTGRES") else {
        println!("lists: no PostgreSQL (BETAGATE_TEST_POSTGRES is not set)");
        return;
    };
    let name = format!("betagate_bench_{}", std::process::id());
    psql(&server, &format!("CREATE DATABASE {name}"));
    let url = with_database(&server, &name);
    let first = runtime.block_on(one("PostgreSQL", &url, &path, &changed, folder.path()));
    let floor = copy_floor(&url, folder.path());
    println!(
        "  psql \\copy of the same rows, same indexes  {floor:>6.2} s   ours is {:.2} of it (goal 1.5)",
        first / floor
    );
    psql(&server, &format!("DROP DATABASE {name} WITH (FORCE)"));
}

async fn one(what: &str, url: &str, path: &Path, changed: &Path, folder: &Path) -> f64 {
    let store = Store::open(url).await.unwrap();
    store.migrate().await.unwrap();
    let keys = Keys::load_or_create(&folder.join(format!("keys-{what}"))).unwrap();
    println!("lists: {} rows, {what}", rows());
    let now = "2026-03-02T08:00:00Z".parse().unwrap();
    let mut first = 0.0;
    for (step, path) in [("first", path), ("the same again", path), ("one row changed", changed)] {
        crate::reset_peak();
        let source = ListSource::File(path.to_owned());
        let list = CohortList { program: "bench".to_owned(), cohort: "all".to_owned(), source };
        let begun = Instant::now();
        let prepared = prepare(&store, &keys, &list, &ListOptions::default()).await.unwrap();
        let writer = Writer { actor: "bench", epoch: None };
        bring_in(&store, &keys, &list, &prepared, writer, now).await.unwrap();
        let took = begun.elapsed().as_secs_f64();
        first = if step == "first" { took } else { first };
        println!(
            "  {step:<16} {took:>7.2} s  {:>6.2} % of the first  peak {:.0} MiB",
            100.0 * took / first,
            crate::peak_mib()
        );
    }
    store.close().await;
    first
}

/// The physical floor: the same rows into a table made like the one they came from.
fn copy_floor(url: &str, folder: &Path) -> f64 {
    let file = folder.join("floor.csv");
    psql(url, &format!("\\copy beta_invites TO '{}'", file.display()));
    psql(url, "CREATE TABLE floor (LIKE beta_invites INCLUDING ALL)");
    let begun = Instant::now();
    psql(url, &format!("\\copy floor FROM '{}'", file.display()));
    begun.elapsed().as_secs_f64()
}

fn psql(url: &str, statement: &str) {
    let status =
        Command::new("psql").args(["-q", "-v", "ON_ERROR_STOP=1", "-d", url, "-c", statement]).status().unwrap();
    assert!(status.success(), "psql failed");
}

fn with_database(url: &str, name: &str) -> String {
    let (head, query) = url.split_once('?').map_or((url, String::new()), |(head, query)| (head, format!("?{query}")));
    let head = head.rsplit_once('/').map_or(head, |(head, _)| head);
    format!("{head}/{name}{query}")
}
