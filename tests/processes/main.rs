//! The real binary as processes of this machine: started, asked, killed, started again.
//!
//! The children of these tests are this test binary itself (see `child`) or `sh`; shims are the `betagate` binary.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test that cannot set itself up has nothing better to do than panic, and a test child reports on its output"
)]

#[path = "../support/mod.rs"]
mod support;

mod a_sender_may_be_killed_at_any_moment;
mod a_step_runs_its_command_once_at_a_time;
mod child;
mod data_folder;
mod jobs;
mod no_request_is_lost;
mod nothing_is_left_running;
mod supervision;
mod workloads;

use support::Betagate;

#[test]
fn the_binary_says_its_version() {
    Betagate::new(["--version"]).run().expect_code(0);
}
