//! Two of them on one data folder, and what a killed one leaves behind.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use betagate::apply::processes::{FolderLock, ProcessError, ServerFile};
use jiff::Timestamp;

use crate::workloads::{CHILD_ARGS, CHILD_MODE, this_binary};

#[test]
fn a_folder_is_refused_while_another_process_holds_it_and_free_once_that_one_is_killed() {
    let place = tempfile::tempdir().unwrap();
    let mut holder = Command::new(this_binary())
        .args(CHILD_ARGS)
        .env(CHILD_MODE, "holder")
        .env("BETAGATE_TEST_FOLDER", place.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(holder.stdout.take().unwrap()).lines();
    assert!(lines.map(Result::unwrap).any(|line| line == "holding"));
    let refused = FolderLock::take(place.path(), Timestamp::UNIX_EPOCH).unwrap_err();
    assert!(matches!(refused, ProcessError::FolderHeld { .. }), "{refused}");
    assert!(refused.to_string().contains(&format!("process id {}", holder.id())), "{refused}");
    assert_eq!(ServerFile::read(place.path()).unwrap().unwrap().pid, holder.id());
    holder.kill().unwrap();
    holder.wait().unwrap();
    assert!(place.path().join("server.json").exists(), "a killed process takes nothing away");
    assert_eq!(ServerFile::read(place.path()).unwrap(), None);
    FolderLock::take(place.path(), Timestamp::UNIX_EPOCH).unwrap();
}
