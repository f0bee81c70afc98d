//! The real binary as processes of this machine: started, asked, killed, started again.

// A test that cannot set itself up has nothing better to do than panic.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../support/mod.rs"]
mod support;

use support::Betagate;

#[test]
fn the_binary_says_its_version() {
    Betagate::new(["--version"]).run().expect_code(0);
}
