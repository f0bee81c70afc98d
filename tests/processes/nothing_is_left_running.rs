//! The end of `up`, of a shim, and of a process: everything below goes along.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use betagate::apply::processes::ProcessState;
use rustix::process::Signal;

use crate::workloads::{
    CHILD_ARGS, CHILD_MODE, assert_ends, child, descendants, handle, kill, parent_of, script, supervisor, this_binary,
    until, until_ready,
};

#[test]
fn killing_the_supervisor_leaves_nothing_running_and_its_port_free() {
    let mut up = Command::new(this_binary())
        .args(CHILD_ARGS)
        .env(CHILD_MODE, "up")
        .env("BETAGATE_SECRET_CHAT", "hunter2")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = Vec::new();
    let mut port = None;
    for line in BufReader::new(up.stdout.take().unwrap()).lines().map(Result::unwrap) {
        port = line.strip_prefix("up on ").map(|text| text.parse::<u16>().unwrap());
        said.push(line);
        if port.is_some() {
            break;
        }
    }
    let port = port.unwrap_or_else(|| panic!("it did not come up: {said:#?}"));
    assert!(said.iter().any(|line| line.contains("secret: []")), "a secret was handed on: {said:#?}");
    let all: Vec<_> = descendants(up.id() as i32).into_iter().map(|pid| (pid, handle(pid))).collect();
    // Three shims, three processes, and below the family: one near, one far, one without a parent.
    assert_eq!(all.len(), 9, "{all:?}");
    up.kill().unwrap();
    up.wait().unwrap();
    for (pid, process) in &all {
        assert_ends(process, &format!("process {pid}"));
    }
    std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
}

#[tokio::test]
async fn a_killed_shim_takes_its_process_group_along_and_the_supervisor_starts_another() {
    let supervisor = supervisor(None);
    let spec = script("family", "sleep 1000 & echo READY $BETAGATE_REVISION; wait");
    let revision = spec.revision.clone();
    supervisor.set_desired(vec![spec]).await.unwrap();
    let before = until_ready(&supervisor, 1, &revision).await[0].pid.unwrap();
    let shim = parent_of(before);
    let below: Vec<_> = descendants(shim).into_iter().map(handle).collect();
    assert_eq!(below.len(), 2);
    kill(shim, Signal::KILL);
    let seen = until(&supervisor, |all| {
        all.iter().any(|s| s.state == ProcessState::Ready && s.pid.is_some_and(|pid| pid != before))
    });
    let after = &seen.await[0];
    assert_eq!(after.restarts, 1);
    assert_eq!(after.last_exit.as_ref().unwrap().signal, Some(9));
    for process in &below {
        assert_ends(process, "what ran under the killed shim");
    }
    supervisor.shutdown().await;
}

#[tokio::test]
async fn a_process_that_ends_takes_along_what_it_started() {
    let supervisor = supervisor(None);
    let spec = child("family", "family");
    let revision = spec.revision.clone();
    supervisor.set_desired(vec![spec]).await.unwrap();
    let pid = until_ready(&supervisor, 1, &revision).await[0].pid.unwrap();
    let below: Vec<_> = descendants(parent_of(pid)).into_iter().map(handle).collect();
    assert_eq!(below.len(), 4);
    kill(pid, Signal::KILL);
    for process in &below {
        assert_ends(process, "what the process had started");
    }
    supervisor.shutdown().await;
    assert_eq!(supervisor.observed(), []);
}

#[tokio::test]
async fn a_signal_to_the_whole_tree_is_passed_on_and_the_shim_is_small() {
    let supervisor = supervisor(None);
    let text = "trap 'echo goodbye; exit 7' TERM; echo READY $BETAGATE_REVISION; while :; do sleep 0.05; done";
    let spec = script("polite", text);
    let revision = spec.revision.clone();
    supervisor.set_desired(vec![spec]).await.unwrap();
    let shim = parent_of(until_ready(&supervisor, 1, &revision).await[0].pid.unwrap());
    let kib = own_kib(shim);
    assert!(kib < 1024, "a shim has {kib} KiB of its own");
    kill(shim, Signal::TERM);
    let seen = until(&supervisor, |all| all.iter().any(|s| s.last_exit.is_some())).await;
    assert_eq!(seen[0].last_exit.as_ref().unwrap().code, Some(7));
    supervisor.shutdown().await;
}

/// What a process has written, in KiB, without what the loader wrote: the tables of files that it adjusts and then makes readable only. Those grow with the
/// program, in a debug build above all, and no care of the shim's makes them smaller.
fn own_kib(pid: i32) -> u32 {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap();
    let (mut by_loader, mut own) = (false, 0);
    for line in maps.lines() {
        match line.split_whitespace().collect::<Vec<_>>()[..] {
            [_, rights, _, _, _, ref file @ ..] if rights.len() == 4 => {
                by_loader = rights == "r--p" && file.first().is_some_and(|file| file.starts_with('/'));
            }
            ["Anonymous:", kib, "kB"] if !by_loader => own += kib.parse::<u32>().unwrap(),
            _ => {}
        }
    }
    assert!(own > 0, "{maps}");
    own
}
