//! The staying parent of one supervised process: `betagate __shim`.
//!
//! `up` starts the shim with one end of a socket pair as its standard input. The shim starts the process in a process group of its
//! own, and stays. It ends with the process, and takes the process along, with everything that one started, when `up` is gone:
//!
//! - *How it notices.* The socket reaches its end when the kernel closes the files of `up`, whatever way that died. As a second
//!   means the kernel's handle (pidfd) of `up` becomes readable. A parent-death signal would be bound to the thread that spawned,
//!   and one that can't be caught would end the shim before it could end anything else; these two have neither weakness.
//! - *What it takes along.* The process group; then, as a subreaper, whatever left the group and lost its parent.
//! - *When the shim itself is killed.* Here the parent-death signal is right: the process is started by a second, short-lived stage of
//!   this binary (`__shim --exec`), which asks the kernel for SIGKILL at the shim's death, checks that the shim still is its parent,
//!   and then becomes the command. The shim has one thread, so the thread that spawned is the shim. The supervisor ends the rest of the
//!   group. (Only what had left the group is then missed.)
//!
//! No runtime, no allocation to speak of: its private memory is a few hundred kilobytes.
//!
//! Must not know: what it runs.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitCode, Stdio};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, WaitStatus, getpid, getppid, kill_process, kill_process_group, pidfd_open,
    set_child_subreaper, set_parent_process_death_signal, wait, waitpid,
};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};

use super::control::{self, Report};

/// The hidden subcommand.
pub(super) const SUBCOMMAND: &str = "__shim";
/// The staying stage; followed by the process id of its parent, `--`, and the command.
pub(super) const STAY: &str = "--stay";
/// The stage that becomes the command; followed by the same.
const EXEC: &str = "--exec";
/// This very program, also after the file it was started from has been replaced.
pub(super) const THIS_PROGRAM: &str = "/proc/self/exe";

/// Exit code when the supervisor is gone, or what it says makes no sense.
const GONE: u8 = 70;
/// Exit code of a command that can't be run, and of one that is not there (as shells do it).
const CANNOT_RUN: u8 = 126;
const NOT_FOUND: u8 = 127;

/// Runs the shim when that is what this process was started for; to be called before anything else in `main`.
pub fn run_if_asked() -> Option<ExitCode> {
    let mut words = std::env::args_os().skip(1);
    (words.next()? == SUBCOMMAND).then(|| run(words.collect()))
}

/// `--stay|--exec PARENT -- COMMAND…`
fn run(words: Vec<OsString>) -> ExitCode {
    let [stage, parent, dashes, command @ ..] = words.as_slice() else { return ExitCode::from(64) };
    let parent = parent.to_str().and_then(|text| text.parse().ok()).and_then(Pid::from_raw);
    let (Some(parent), Some((program, arguments))) = (parent, command.split_first()) else { return ExitCode::from(64) };
    if dashes != "--" {
        return ExitCode::from(64);
    }
    if stage == EXEC {
        return ExitCode::from(become_command(parent, program, arguments));
    }
    match stay(parent, command) {
        Ok(code) => code,
        Err(error) => {
            // The one place a shim can complain: the process's own standard error, which the supervisor reads.
            let _ = writeln!(io::stderr(), "betagate shim: {error}");
            ExitCode::from(GONE)
        }
    }
}

/// The second stage: dies with the shim from here on, and becomes the command.
fn become_command(shim: Pid, program: &OsString, arguments: &[OsString]) -> u8 {
    // In this order: a shim that died before the signal was asked for is seen by the second line, one that dies after it by the kernel.
    if set_parent_process_death_signal(Some(Signal::KILL)).is_err() || getppid() != Some(shim) {
        return GONE;
    }
    let mut command = Command::new(program);
    if program == THIS_PROGRAM {
        command.arg0("betagate");
    }
    let error = command.args(arguments).exec();
    let _ = writeln!(io::stderr(), "cannot start {}: {error}", program.display());
    if error.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { CANNOT_RUN }
}

/// Everything the shim waits for.
struct Ears {
    supervisor: UnixStream,
    /// `None` where the kernel has no process handles; the socket's end is enough.
    parent: Option<OwnedFd>,
    children: UnixStream,
    asked_to_end: UnixStream,
}

/// The first stage: starts the command and stays with it.
fn stay(parent: Pid, command: &[OsString]) -> io::Result<ExitCode> {
    let supervisor = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let parent_handle = pidfd_open(parent, PidfdFlags::empty()).ok();
    if getppid() != Some(parent) {
        return Ok(ExitCode::from(GONE));
    }
    let children = signal_pipe(&[SIGCHLD])?;
    // A service manager signals every process of the tree: the shim must not die of it before its process is done.
    let asked_to_end = signal_pipe(&[SIGTERM, SIGINT, SIGHUP])?;
    set_child_subreaper(Some(getpid()))?;
    let Some(input) = control::receive_go(&supervisor)? else { return Ok(ExitCode::from(GONE)) };
    let process = start(command, input)?;
    let group = Pid::from_child(&process);
    release_output()?;
    let mut ears = Ears { supervisor, parent: parent_handle, children, asked_to_end };
    ears.tell(Report::Pid(group.as_raw_pid()));
    let status = ears.stay_until_end(group);
    // Also when something went wrong here: nothing may stay behind that nobody watches.
    end_everything(group);
    let status = status?;
    let report = match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Report::Code(code),
        (None, signal) => Report::Signal(signal.unwrap_or_default()),
    };
    ears.tell(report);
    Ok(ExitCode::SUCCESS)
}

fn signal_pipe(signals: &[i32]) -> io::Result<UnixStream> {
    let (read, write) = UnixStream::pair()?;
    read.set_nonblocking(true)?;
    for signal in signals {
        signal_hook::low_level::pipe::register(*signal, write.try_clone()?)?;
    }
    Ok(read)
}

fn start(command: &[OsString], input: Option<OwnedFd>) -> io::Result<Child> {
    Command::new(THIS_PROGRAM)
        .arg0("betagate")
        .arg(SUBCOMMAND)
        .arg(EXEC)
        .arg(getpid().as_raw_pid().to_string())
        .arg("--")
        .args(command)
        .stdin(input.map_or_else(Stdio::null, Stdio::from))
        .process_group(0)
        .spawn()
}

/// Lets go of the output pipes: they must end with the process, and not with the shim.
fn release_output() -> io::Result<()> {
    let nowhere = std::fs::File::options().write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdout(&nowhere)?;
    rustix::stdio::dup2_stderr(&nowhere)?;
    Ok(())
}

impl Ears {
    /// Tells the supervisor; one that is gone is noticed by the poll.
    fn tell(&mut self, report: Report) {
        let _ = self.supervisor.write_all(report.to_string().as_bytes());
    }

    /// Passes on what the supervisor says, until the process has ended.
    fn stay_until_end(&mut self, process: Pid) -> io::Result<WaitStatus> {
        let mut killed = false;
        loop {
            let (said, gone, ended, asked) = self.listen()?;
            if ended {
                drain(&mut self.children);
                if let Some(status) = reap(process)? {
                    return Ok(status);
                }
            }
            if asked {
                drain(&mut self.asked_to_end);
                let _ = kill_process_group(process, Signal::TERM);
            }
            let word = if said { self.word() } else { Some(0) };
            match word {
                Some(control::TERMINATE) => drop(kill_process_group(process, Signal::TERM)),
                Some(control::KILL) => killed = true,
                Some(_) => {}
                None => killed = true,
            }
            if killed || gone {
                let _ = kill_process_group(process, Signal::KILL);
                return wait_for(process);
            }
        }
    }

    /// Blocks until something is to be done: (supervisor said something, parent is gone, a child ended, a signal asked to end).
    fn listen(&self) -> io::Result<(bool, bool, bool, bool)> {
        let fds = [self.supervisor.as_fd(), self.children.as_fd(), self.asked_to_end.as_fd()];
        let mut polled: Vec<PollFd<'_>> = fds.iter().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
        if let Some(parent) = &self.parent {
            polled.push(PollFd::new(parent, PollFlags::IN));
        }
        match poll(&mut polled, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let heard = |at: usize| polled.get(at).is_some_and(|fd| !fd.revents().is_empty());
        Ok((heard(0), heard(3), heard(1), heard(2)))
    }

    /// The next byte from the supervisor; `None` when it is gone.
    fn word(&mut self) -> Option<u8> {
        let mut byte = [0];
        match self.supervisor.read(&mut byte) {
            Ok(1) => Some(byte[0]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Some(0),
            _ => None,
        }
    }
}

fn drain(pipe: &mut UnixStream) {
    let mut bytes = [0; 64];
    while matches!(pipe.read(&mut bytes), Ok(count) if count > 0) {}
}

/// Takes in everything that has ended; the status of `process` when it is among it.
fn reap(process: Pid) -> io::Result<Option<WaitStatus>> {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if pid == process => return Ok(Some(status)),
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
}

fn wait_for(process: Pid) -> io::Result<WaitStatus> {
    loop {
        match waitpid(Some(process), WaitOptions::empty()) {
            Ok(Some((_, status))) => return Ok(status),
            Ok(None) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Ends what the process has left behind: its group, then what left the group and was handed to this subreaper, level by level.
fn end_everything(group: Pid) {
    let _ = kill_process_group(group, Signal::KILL);
    loop {
        let left = children();
        if left.is_empty() {
            return;
        }
        for pid in left {
            let _ = kill_process(pid, Signal::KILL);
            let _ = wait_for(pid);
        }
    }
}

/// The children of this process now; none where the kernel does not list them.
fn children() -> Vec<Pid> {
    let me = getpid().as_raw_pid();
    let list = std::fs::read_to_string(format!("/proc/{me}/task/{me}/children")).unwrap_or_default();
    list.split_whitespace().filter_map(|word| word.parse().ok()).filter_map(Pid::from_raw).collect()
}
