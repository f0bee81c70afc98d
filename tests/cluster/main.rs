//! Against a real Kubernetes API server (`tests/run cluster` starts one): the custom resource definitions, and what is read from a cluster.

// A test that cannot set itself up has nothing better to do than panic.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../support/mod.rs"]
mod support;

mod a_namespace_is_followed;
mod commands_run_as_jobs;
mod flags_are_taken_over_from_a_cluster;
mod git_is_applied_to_a_namespace;
mod git_keeps_a_namespace_and_shares_it;
mod namespace;
mod the_api_server_and_the_validator_agree;
mod the_lease_says_who_leads;
mod what_reaches_beyond_a_status;
mod who_says_what;
mod wire;
mod workloads_become_deployments;

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

/// What kubectl said: whether it did it, and its words.
struct Said {
    done: bool,
    text: String,
}

/// Runs kubectl with something on its standard input.
fn kubectl(words: &str, input: &str) -> Said {
    assert!(std::env::var_os("BETAGATE_TEST_CLUSTER").is_some(), "run these by `tests/run cluster`");
    let mut child = Command::new("kubectl")
        .args(words.split(' '))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    Said { done: output.status.success(), text }
}

/// Installs definitions and waits until they are served.
fn define(files: &str, input: &str) {
    let applied = kubectl(&format!("apply --server-side -f {files}"), input);
    assert!(applied.done, "{}", applied.text);
    // kubectl gives up at once on a definition that has no conditions yet.
    support::wait_for("the definitions to be served", Duration::from_secs(60), || {
        let served = kubectl(&format!("wait --for condition=established --timeout=30s -f {files}"), input);
        served.done.then_some(())
    });
}
