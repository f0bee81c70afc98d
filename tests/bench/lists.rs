//! A cohort's list of 1,000,000 rows: from CSV to rows, the same again, one row changed. On PostgreSQL beside `psql \copy` of the same rows
//! into a table with the same indexes. Then revoked: a list emptied to a tenth, and every unused invite of a cohort at once, beside a plain
//! `UPDATE` of as many rows of the same table.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use betagate::core::cohort::ListOptions;
use betagate::keys::Keys;
use betagate::store::Store;
use betagate::store::cohort_lists::{CohortList, ListSource, Writer, bring_in, prepare};
use betagate::store::invites::{Revocation, revoke_unused};
use jiff::Timestamp;

fn rows() -> usize {
    std::env::var("BETAGATE_ROWS").ok().and_then(|rows| rows.parse().ok()).unwrap_or(1_000_000)
}

pub fn measure() {
    let folder = tempfile::tempdir().unwrap();
    let [path, changed, tenth] = ["list.csv", "changed.csv", "tenth.csv"].map(|name| folder.path().join(name));
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
        let kept: Vec<&str> = text.lines().take(1 + rows() / 10).collect();
        std::fs::write(&tenth, kept.join("\n")).unwrap();
        std::fs::write(&changed, text.replacen("listener-1,", "listener-changed,", 1)).unwrap();
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let sqlite = format!("sqlite:{}", folder.path().join("bench.db").display());
    runtime.block_on(one("SQLite", &sqlite, [&path, &changed, &tenth], folder.path()));
    let Ok(server) = std::env::var("BETAGATE_TEST_POSTGRES") else {
        println!("lists: no PostgreSQL (BETAGATE_TEST_POSTGRES is not set)");
        return;
    };
    let name = format!("betagate_bench_{}", std::process::id());
    psql(&server, &format!("CREATE DATABASE {name}"));
    let url = with_database(&server, &name);
    let first = runtime.block_on(one("PostgreSQL", &url, [&path, &changed, &tenth], folder.path()));
    let floor = copy_floor(&url, folder.path());
    println!(
        "  psql \\copy of the same rows, same indexes  {floor:>6.2} s   ours is {:.2} of it (goal 1.5)",
        first / floor
    );
    psql(&server, &format!("DROP DATABASE {name} WITH (FORCE)"));
}

async fn one(what: &str, url: &str, [path, changed, tenth]: [&Path; 3], folder: &Path) -> f64 {
    let store = Store::open(url).await.unwrap();
    store.migrate().await.unwrap();
    let keys = Keys::load_or_create(&folder.join(format!("keys-{what}"))).unwrap();
    println!("lists: {} rows, {what}", rows());
    let now = "2026-03-02T08:00:00Z".parse().unwrap();
    let mut first = 0.0;
    for (step, path) in [("first", path), ("the same again", path), ("one row changed", changed)] {
        crate::reset_peak();
        let took = bring(&store, &keys, "all", path, now).await;
        first = if step == "first" { took } else { first };
        println!(
            "  {step:<16} {took:>7.2} s  {:>6.2} % of the first  peak {:.0} MiB",
            100.0 * took / first,
            crate::peak_mib()
        );
    }
    revoked((&store, url), &keys, [path, tenth], now).await;
    store.close().await;
    first
}

/// Brings a cohort's list in; how long it took.
async fn bring(store: &Store, keys: &Keys, cohort: &str, path: &Path, now: Timestamp) -> f64 {
    let source = ListSource::File(path.to_owned());
    let list = CohortList { program: "bench".to_owned(), cohort: cohort.to_owned(), source };
    let begun = Instant::now();
    let prepared = prepare(store, keys, &list, &ListOptions::default()).await.unwrap();
    bring_in(store, keys, &list, &prepared, Writer { actor: "bench", epoch: None }, now).await.unwrap();
    begun.elapsed().as_secs_f64()
}

/// Revoking against a plain `UPDATE` of as many rows: those of another cohort in the same table.
async fn revoked((store, url): (&Store, &str), keys: &Keys, [path, tenth]: [&Path; 2], now: Timestamp) {
    bring(store, keys, "floor", path, now).await;
    settle(url);
    let kept = rows() / 10;
    let floor = plain(store, &format!("state = 'revoked', revoked_at = $1, revoke_reason = 'floor', row_digest = NULL WHERE cohort = 'floor' AND position > {kept}"), now).await;
    settle(url);
    let ours = bring(store, keys, "all", tenth, now).await;
    told("emptied to 10 %", rows() - kept, ours, floor);
    bring(store, keys, "all", path, now).await;
    let floor_back = "state = 'pending', revoked_at = NULL, revoke_reason = NULL WHERE cohort = 'floor' AND $1 = $1";
    plain(store, floor_back, now).await;
    settle(url);
    let floor =
        plain(store, "state = 'revoked', revoked_at = $1, revoke_reason = 'floor' WHERE cohort = 'floor'", now).await;
    settle(url);
    let begun = Instant::now();
    let mut tx = store.begin().await.unwrap();
    let how = Revocation { reason: "bench", actor: "bench", end_membership: false };
    let count = revoke_unused(&mut tx, "bench", Some("all"), how, now).await.unwrap();
    tx.commit().await.unwrap();
    let ours = begun.elapsed().as_secs_f64();
    assert_eq!(count, rows() as u64);
    told("all unused revoked", rows(), ours, floor);
}

async fn plain(store: &Store, update: &str, now: Timestamp) -> f64 {
    let begun = Instant::now();
    store.execute(&format!("UPDATE beta_invites SET {update}"), &[now.into()]).await.unwrap();
    begun.elapsed().as_secs_f64()
}

/// What earlier steps left behind is cleared away, so that each begins alike. SQLite leaves nothing behind.
fn settle(url: &str) {
    if url.starts_with("postgres") {
        psql(url, "VACUUM ANALYZE beta_invites");
    }
}

fn told(what: &str, count: usize, ours: f64, floor: f64) {
    println!(
        "  {what:<18} {ours:>5.2} s, {:>7.0} rows/s   plain UPDATE {floor:>5.2} s, {:>7.0} rows/s   ours is {:.2} of it",
        count as f64 / ours,
        count as f64 / floor,
        ours / floor
    );
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
