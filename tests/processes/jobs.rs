//! Commands that run once, for `job` checks: bounded in time and output, and gone with everything that they have started.

use std::path::Path;
use std::time::Duration;

use betagate::apply::processes::{Ended, Once, Program};

use crate::support::wait_for;
use crate::workloads::{assert_ends, handle};

fn once(folder: &Path, script: &str, deadline: Duration) -> Once {
    Once {
        program: Program::at(env!("CARGO_BIN_EXE_betagate")),
        command: ["sh", "-c", script].map(str::to_owned).to_vec(),
        folder: folder.to_owned(),
        env: vec![("MODE".to_owned(), "test".to_owned())],
        deadline,
    }
}

const LONG: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_answers_with_its_exit_code_and_what_it_wrote() {
    let folder = tempfile::tempdir().unwrap();
    let run = async |script: &str| once(folder.path(), script, LONG).run().await.unwrap();
    assert_eq!(run("echo \"$MODE\" here; pwd >&2; exit 3").await, Ended::Code(3, "test here\n".to_owned()));
    assert_eq!(run("kill -9 $$").await, Ended::Signal(9));
    assert_eq!(run("read line && exit 9").await, Ended::Code(1, String::new()), "there is no input");
    match run("head -c 1000000 /dev/zero | tr '\\0' x").await {
        Ended::Code(0, said) => {
            assert_eq!((said.len(), said.starts_with('…')), ("…".len() + (64 << 10), true), "its end")
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_whose_time_is_over_takes_along_what_it_started() {
    let folder = tempfile::tempdir().unwrap();
    // One in its group, and one that left it.
    let script = "sleep 600 & echo $! > pids; setsid sh -c 'echo $$ >> pids; exec sleep 600' & wait";
    assert_eq!(once(folder.path(), script, Duration::from_secs(5)).run().await.unwrap(), Ended::TimedOut);
    let pids = std::fs::read_to_string(folder.path().join("pids")).unwrap();
    let pids: Vec<&str> = pids.split_whitespace().collect();
    assert!(pids.len() >= 2, "{pids:?}");
    wait_for("all of them are gone", Duration::from_secs(10), || {
        pids.iter().all(|pid| !Path::new(&format!("/proc/{pid}")).exists()).then_some(())
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_nobody_waits_for_any_more_ends_with_what_it_started() {
    let folder = tempfile::tempdir().unwrap();
    let script = "sleep 600 & echo $! > begun; echo $$ >> begun; mv begun pids; wait";
    let pids = folder.path().join("pids");
    let running = tokio::spawn(once(folder.path(), script, LONG).run());
    wait_for("it runs", LONG, || pids.exists().then_some(()));
    let text = std::fs::read_to_string(pids).unwrap();
    let below: Vec<_> = text.split_whitespace().map(|pid| handle(pid.parse().unwrap())).collect();
    running.abort();
    assert_eq!(below.len(), 2);
    for process in &below {
        assert_ends(process, "what nobody waits for");
    }
}
