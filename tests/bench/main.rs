//! The benchmarks: figures and ratios on standard output, nothing asserted. `tests/run bench` builds and runs all of them;
//! `tests/run bench -- lists` only one. The figures that were measured last are kept in docs/benchmarks.md.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a benchmark that cannot be set up has failed; figures are its result"
)]

#[path = "../support/mod.rs"]
mod support;

mod cluster;
mod documents;
mod doors;
mod flags;
mod lists;
mod mail;
mod memory;
mod rollback;

use std::time::{Duration, Instant};

/// The middle of several runs of something, after one that warms up.
fn median(runs: usize, mut what: impl FnMut()) -> Duration {
    what();
    let mut times: Vec<Duration> = (0..runs)
        .map(|_| {
            let begun = Instant::now();
            what();
            begun.elapsed()
        })
        .collect();
    times.sort();
    times[times.len() / 2]
}

/// The most memory this process has had since it was last reset, in MiB.
fn peak_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}

fn reset_peak() {
    // Not every kernel lets a process reset its own peak: then it is the peak since the start, which is no less.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

fn main() {
    rustls::crypto::ring::default_provider().install_default().ok();
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [name, port, single, bulk, ..] = words.as_slice()
        && name == "floor"
    {
        return flags::serve_floor(port.parse().unwrap(), single.parse().unwrap(), bulk.parse().unwrap());
    }
    let (peers, wanted): (Vec<String>, Vec<String>) =
        words.into_iter().filter(|word| !word.starts_with('-')).partition(|word| word.contains('='));
    let runs = |name: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name);
    // Only when asked for: it builds Kubernetes the first time, and looks at ten idle minutes.
    for (word, beside) in [("cluster", false), ("cluster-peers", true)] {
        if wanted.iter().any(|wanted| wanted == word) {
            cluster::measure(beside);
        }
    }
    if runs("documents") {
        documents::measure();
    }
    if runs("doors") {
        doors::measure();
    }
    if runs("flags") {
        flags::measure(&peers);
    }
    if runs("lists") {
        lists::measure();
    }
    if runs("mail") {
        mail::measure();
    }
    if runs("memory") {
        memory::measure();
    }
    if runs("rollback") {
        rollback::measure();
    }
}
