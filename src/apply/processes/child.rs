//! The supervisor's side of one process: starts its shim, passes orders on, tells what becomes of it.
//!
//! Must not know: what is wanted, or when to restart.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, getpid, kill_process_group};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::control::{self, Report};
use super::output::{Tail, next_line};
use super::shim;

/// How long a shim may take to carry out a kill before it is killed itself (its process dies with it).
const SHIM_PATIENCE: Duration = Duration::from_secs(3);
/// How long output may still arrive after the end.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// All that is needed to start one process.
pub(super) struct Launch {
    pub id: u64,
    pub workload: String,
    pub revision: String,
    /// The program that has the shim in it.
    pub shim: PathBuf,
    pub command: Vec<OsString>,
    pub env: Vec<(String, String)>,
    /// Variables of the supervisor that the process must not see.
    pub hidden: Vec<OsString>,
    pub input: Option<OwnedFd>,
}

/// What becomes of a process; `id` is the one of its [`Launch`].
#[derive(Debug)]
pub(super) enum Event {
    /// It runs under this process id.
    Pid { id: u64, pid: i32 },
    /// It says, or answers, that it is ready.
    Ready { id: u64 },
    /// It has ended, and everything it started with it.
    Ended { id: u64, code: Option<i32>, signal: Option<i32> },
}

/// An order to a process.
#[derive(Clone, Copy, Debug)]
pub(super) enum Order {
    /// End in your own time.
    Terminate,
    /// End now.
    Kill,
}

/// Starts a process. Dropping the sender of orders kills it.
pub(super) fn launch(launch: Launch, events: UnboundedSender<Event>) -> io::Result<(UnboundedSender<Order>, Tail)> {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    control::send_go(&ours, launch.input.as_ref().map(AsFd::as_fd))?;
    ours.set_nonblocking(true)?;
    let mut command = Command::new(&launch.shim);
    command
        .args([shim::SUBCOMMAND, shim::STAY, &getpid().as_raw_pid().to_string(), "--"])
        .args(&launch.command)
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // A group of its own: Ctrl-C in the terminal reaches `up` alone, which then stops everything in order.
        .process_group(0);
    for name in &launch.hidden {
        command.env_remove(name);
    }
    command.envs(launch.env);
    let mut shim = command.spawn()?;
    let tail = Tail::default();
    let reader = Reader { id: launch.id, workload: launch.workload, revision: launch.revision, tail: tail.clone() };
    let mut readers = JoinSet::new();
    if let Some(stdout) = shim.stdout.take() {
        readers.spawn(reader.clone().read(stdout, "stdout", Some(events.clone())));
    }
    if let Some(stderr) = shim.stderr.take() {
        readers.spawn(reader.read(stderr, "stderr", None));
    }
    let (orders, received) = unbounded_channel();
    let control = UnixStream::from_std(ours)?;
    let watch = Watch { id: launch.id, shim, control, orders: received, events, readers };
    tokio::spawn(watch.run());
    Ok((orders, tail))
}

#[derive(Clone)]
struct Reader {
    id: u64,
    workload: String,
    revision: String,
    tail: Tail,
}

impl Reader {
    /// Reads one stream to its end; `events` is given for the one on which readiness is reported.
    async fn read(self, stream: impl AsyncRead + Unpin, name: &'static str, events: Option<UnboundedSender<Event>>) {
        let mut stream = BufReader::new(stream);
        let ready = format!("READY {}", self.revision);
        // A stream that fails has ended: the pipe is ours, and its other end is gone.
        while let Ok(Some(line)) = next_line(&mut stream).await {
            match &events {
                Some(events) if line == ready => drop(events.send(Event::Ready { id: self.id })),
                _ => {
                    retell(&self.workload, name, &line);
                    self.tail.push(line);
                }
            }
        }
    }
}

/// Says again what a child said, as loud as it was: its own log lines tell how loud that is.
fn retell(workload: &str, stream: &'static str, line: &str) {
    let said_as = |level: &str| line.split_whitespace().take(2).any(|word| word == level);
    if said_as("ERROR") {
        tracing::error!(target: "betagate::process", workload, stream, "{line}");
    } else if said_as("WARN") {
        tracing::warn!(target: "betagate::process", workload, stream, "{line}");
    } else {
        tracing::info!(target: "betagate::process", workload, stream, "{line}");
    }
}

struct Watch {
    id: u64,
    shim: Child,
    control: UnixStream,
    orders: UnboundedReceiver<Order>,
    events: UnboundedSender<Event>,
    readers: JoinSet<()>,
}

impl Watch {
    async fn run(mut self) {
        let (pid, report) = self.follow().await;
        if timeout(SHIM_PATIENCE, self.shim.wait()).await.is_err() {
            let _ = self.shim.start_kill();
            let _ = self.shim.wait().await;
        }
        if let (None, Some(group)) = (report, pid.and_then(Pid::from_raw)) {
            // The shim was killed, and the process with it; what that one had started in its group is ended from here.
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = timeout(LAST_WORDS, async { while self.readers.join_next().await.is_some() {} }).await;
        let (code, signal) = match report {
            Some(Report::Code(code)) => (Some(code), None),
            Some(Report::Signal(signal)) => (None, Some(signal)),
            _ => (None, pid.map(|_| Signal::KILL.as_raw())),
        };
        let _ = self.events.send(Event::Ended { id: self.id, code, signal });
    }

    /// Passes orders and reports until the shim closes its end; the process's id, and how it ended.
    async fn follow(&mut self) -> (Option<i32>, Option<Report>) {
        let (read, mut write) = self.control.split();
        // `lines` keeps what it has read when the other branch wins.
        let mut read = BufReader::new(read).lines();
        let (mut pid, mut end, mut orders_open) = (None, None, true);
        let far = Instant::now() + Duration::from_secs(365 * 24 * 3600);
        let mut patience = far;
        loop {
            tokio::select! {
                line = read.next_line() => match line {
                    Ok(Some(line)) => match Report::parse(&line) {
                        Some(Report::Pid(id)) => {
                            pid = Some(id);
                            let _ = self.events.send(Event::Pid { id: self.id, pid: id });
                        }
                        Some(report) => end = Some(report),
                        None => {}
                    },
                    _ => return (pid, end),
                },
                order = self.orders.recv(), if orders_open => {
                    orders_open = order.is_some();
                    let byte = match order {
                        Some(Order::Terminate) => control::TERMINATE,
                        Some(Order::Kill) | None => control::KILL,
                    };
                    if byte == control::KILL && patience == far {
                        patience = Instant::now() + SHIM_PATIENCE;
                    }
                    // A shim that is gone is noticed by the other branch.
                    let _ = write.write_all(&[byte]).await;
                }
                () = sleep_until(patience) => {
                    patience = far;
                    let _ = self.shim.start_kill();
                }
            }
        }
    }
}
