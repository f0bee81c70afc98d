//! Specs of test children, and waiting for what is to come (never for time to pass).

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use betagate::apply::processes::{
    CommandLine, Listens, ProcessSpec, ProcessState, ProcessStatus, Program, Ready, SharedListener, Supervisor,
    SupervisorOptions,
};
use betagate::clock::Clock;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// How long anything may take before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The arguments that make this test binary a child, and the variable that says which.
pub const CHILD_ARGS: [&str; 4] = ["child::entry", "--exact", "--nocapture", "--quiet"];
pub const CHILD_MODE: &str = "BETAGATE_TEST_CHILD";

pub fn this_binary() -> String {
    std::env::current_exe().unwrap().to_str().unwrap().to_owned()
}

/// A child of this test binary.
pub fn child(workload: &str, mode: &str) -> ProcessSpec {
    let words = std::iter::once(this_binary()).chain(CHILD_ARGS.map(str::to_owned)).collect();
    ProcessSpec {
        workload: workload.into(),
        revision: String::new(),
        command: CommandLine::Command(words),
        env: BTreeMap::from([(CHILD_MODE.to_owned(), mode.to_owned())]),
        replicas: 1,
        listens: Listens::None,
        ready: Ready::Report,
        stop_grace: Duration::from_secs(20),
    }
    .with_digest()
}

/// A shell script as a child.
pub fn script(workload: &str, text: &str) -> ProcessSpec {
    let words = ["sh", "-c", text].map(str::to_owned).to_vec();
    ProcessSpec { command: CommandLine::Command(words), env: BTreeMap::new(), ..child(workload, "") }.with_digest()
}

pub fn listener() -> SharedListener {
    SharedListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap()
}

pub fn supervisor(listener: Option<SharedListener>) -> Supervisor {
    let program = Program::at(env!("CARGO_BIN_EXE_betagate"));
    Supervisor::start(SupervisorOptions { program, listener, clock: Clock::system() })
}

/// Waits until what is observed fits.
pub async fn until(supervisor: &Supervisor, fits: impl Fn(&[ProcessStatus]) -> bool) -> Vec<ProcessStatus> {
    let mut seen = supervisor.subscribe();
    let found = tokio::time::timeout(PATIENCE, seen.wait_for(|all| fits(all))).await.map(|f| f.unwrap().clone());
    found.unwrap_or_else(|_| panic!("never seen; now: {:#?}", supervisor.observed()))
}

/// Waits until exactly `count` processes run, all ready with a known id, all of `revision`.
pub async fn until_ready(supervisor: &Supervisor, count: usize, revision: &str) -> Vec<ProcessStatus> {
    let ready = |s: &ProcessStatus| s.state == ProcessState::Ready && s.pid.is_some() && s.revision == revision;
    until(supervisor, |all| all.len() == count && all.iter().all(ready)).await
}

/// A handle of a process, by which its end is noticed also after its id is used again.
pub fn handle(pid: i32) -> OwnedFd {
    pidfd_open(Pid::from_raw(pid).unwrap(), PidfdFlags::empty()).unwrap()
}

/// Waits for the end of a process.
pub fn assert_ends(handle: &OwnedFd, what: &str) {
    let limit = Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
    let ended = poll(&mut [PollFd::new(handle, PollFlags::IN)], Some(&limit)).unwrap();
    assert_eq!(ended, 1, "{what} still runs");
}

/// All processes below `pid`, found in /proc.
pub fn descendants(pid: i32) -> Vec<i32> {
    let mut found = Vec::new();
    for thread in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
        let list = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        for child in list.split_whitespace().map(|word| word.parse().unwrap()) {
            found.push(child);
            found.extend(descendants(child));
        }
    }
    found
}

pub fn parent_of(pid: i32) -> i32 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    text.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap().trim().parse().unwrap()
}

pub fn kill(pid: i32, signal: rustix::process::Signal) {
    rustix::process::kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
}
