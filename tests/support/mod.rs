//! What tests of the program stand on: a database of their own, a repository of their own, a free port, the real binary.
//!
//! It knows how to make such a thing and how to take it away again; it must not know what any test is about. Everything here cleans up
//! when it is dropped, also when the test fails.

// Several test binaries include this file and none uses all of it. A test that cannot set itself up has nothing better to do than panic.
#![allow(dead_code, unused_imports, clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

pub mod applied;
pub mod beta;
mod database;
mod documents;
pub mod incident;
pub mod lift;
mod process;
mod repository;
pub mod sink;
pub mod small;
mod smtp;
pub mod steps;

pub use database::{TestDb, databases, postgres, sqlite};
pub use process::{Betagate, Outcome, Running, free_port, wait_for};
pub use repository::{TestRepo, repository_root};
pub use smtp::{Certificate, Guarded, SmtpServer, Taken};

/// The URL of the throw-away Prometheus of this run, if there is one.
pub fn prometheus() -> Option<String> {
    std::env::var("BETAGATE_TEST_PROMETHEUS").ok().filter(|url| !url.is_empty())
}

/// Lets the run's Prometheus scrape `address` (`127.0.0.1:PORT`) once a second, under the label `target="NAME"`.
pub fn scrape(name: &str, address: &str) {
    let folder = std::env::var("BETAGATE_TEST_PROMETHEUS_TARGETS").expect("tests/run starts Prometheus");
    let targets = serde_json::json!([{ "targets": [address], "labels": { "target": name } }]);
    let path = std::path::Path::new(&folder).join(format!("{name}.json"));
    std::fs::write(path, targets.to_string()).expect("the folder of scrape targets is writable");
}
