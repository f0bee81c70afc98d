//! One command, run once to its end under a shim: what a `job` check asks, what a `runJob` step does.
//!
//! It sees a given environment and nothing else of this process's, has no input, a deadline, and its output is bounded. When its time is over, nobody waits
//! for it any more, or this process is gone, it ends with everything that it has started.
//!
//! Must not know: what the command is for, what its exit code means.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, getpid, kill_process_group};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};

use super::control::{self, Report};
use super::{Program, shim};

/// The most of its output that is kept, from its end: an answer is its last line. The rest is read and dropped, so that the command does not hang on it.
const KEPT_BYTES: usize = 64 << 10;
/// What output begins with whose beginning was dropped, so that the rest of a line is not taken for one.
const CUT: &str = "…";
/// How long a shim may take to carry out a kill before it is killed itself.
const SHIM_PATIENCE: Duration = Duration::from_secs(3);
/// How long output may still arrive after the end.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// What of this process's own environment a command sees, where it is set.
const PASSED_ON: [&str; 6] = ["PATH", "HOME", "USER", "LANG", "TZ", "TMPDIR"];

/// The exit codes of a command that can't be run, or is not there: the shim answers for it.
pub const NOT_STARTED: [i32; 2] = [126, 127];

/// A command to be run once.
#[derive(Debug)]
pub struct Once {
    /// The program that has the shim in it.
    pub program: Program,
    /// Program and arguments, no shell between.
    pub command: Vec<String>,
    /// Where it runs.
    pub folder: PathBuf,
    /// Its environment beside `PATH`, `HOME`, `USER`, `LANG`, `TZ` and `TMPDIR`.
    pub env: Vec<(String, String)>,
    /// How long it may take.
    pub deadline: Duration,
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By itself: its exit code, and what it wrote to its standard output (the last 64 KiB of it, after [`CUT`] where that is not all).
    Code(i32, String),
    /// By a signal that was not ours.
    Signal(i32),
    /// Its time was over.
    TimedOut,
}

impl Once {
    /// Runs it.
    ///
    /// # Errors
    /// When the shim can't be started, or was lost.
    pub async fn run(self) -> io::Result<Ended> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        control::send_go(&ours, None)?;
        ours.set_nonblocking(true)?;
        let own = PASSED_ON.iter().filter_map(|name| Some((OsString::from(name), std::env::var_os(name)?)));
        let own: Vec<(OsString, OsString)> = own.collect();
        let mut shim = Command::new(&self.program.0)
            .args([shim::SUBCOMMAND, shim::STAY, &getpid().as_raw_pid().to_string(), "--"])
            .args(&self.command)
            .env_clear()
            .envs(own)
            .envs(self.env)
            .current_dir(&self.folder)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::piped())
            // What a command complains of may hold what it was given: nobody keeps it.
            .stderr(Stdio::null())
            // No kill when this is dropped: the shim must live to end everything, which it does when its socket closes.
            .process_group(0)
            .spawn()?;
        let mut control = UnixStream::from_std(ours)?;
        let output = shim.stdout.take();
        let output = tokio::spawn(async move {
            match output {
                Some(output) => bounded(output).await,
                None => String::new(),
            }
        });
        let mut group = None;
        let ended = tokio::time::timeout(self.deadline, follow(&mut control, &mut group)).await;
        if ended.is_err() {
            let _ = control.write_all(&[control::KILL]).await;
        }
        end(&mut shim, group, matches!(ended, Ok(Some(_)))).await;
        let said = tokio::time::timeout(LAST_WORDS, output).await;
        match ended {
            Err(_) => Ok(Ended::TimedOut),
            Ok(Some(Report::Code(code))) => Ok(Ended::Code(code, said.ok().and_then(Result::ok).unwrap_or_default())),
            Ok(Some(Report::Signal(signal))) => Ok(Ended::Signal(signal)),
            Ok(_) => Err(io::Error::other("its shim was lost")),
        }
    }
}

/// Reads what the shim reports until the command has ended, or the shim is gone.
async fn follow(control: &mut UnixStream, group: &mut Option<Pid>) -> Option<Report> {
    let mut lines = BufReader::new(control).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        match Report::parse(&line) {
            Some(Report::Pid(pid)) => *group = Pid::from_raw(pid),
            Some(report) => return Some(report),
            None => {}
        }
    }
    None
}

/// Waits for the shim, which takes the command along; one that does not end is killed, and the command's group with it.
async fn end(shim: &mut Child, group: Option<Pid>, reported: bool) {
    if tokio::time::timeout(SHIM_PATIENCE, shim.wait()).await.is_ok() && reported {
        return;
    }
    let _ = shim.start_kill();
    let _ = shim.wait().await;
    if let Some(group) = group {
        let _ = kill_process_group(group, Signal::KILL);
    }
}

async fn bounded(mut output: impl AsyncRead + Unpin) -> String {
    let (mut kept, mut cut) = (Vec::new(), false);
    let mut chunk = [0; 4096];
    while let Ok(read @ 1..) = output.read(&mut chunk).await {
        kept.extend_from_slice(&chunk[..read]);
        // Not at each read: what stays is moved.
        if kept.len() > 2 * KEPT_BYTES {
            kept.drain(..kept.len() - KEPT_BYTES);
            cut = true;
        }
    }
    let beyond = kept.len().saturating_sub(KEPT_BYTES);
    let cut = if cut || beyond > 0 { CUT } else { "" };
    format!("{cut}{}", String::from_utf8_lossy(&kept[beyond..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn said(output: &str) -> String {
        bounded(output.as_bytes()).await
    }

    #[tokio::test]
    async fn the_end_of_what_a_command_wrote_is_kept_and_a_line_that_was_cut_is_no_number() {
        let rows = "1234567\n".repeat(20_000);
        for output in [format!("{rows}86400\n"), format!("{}86400", &rows[..2 * KEPT_BYTES])] {
            let said = said(&output).await;
            assert_eq!((said.lines().last(), said.len()), (Some("86400"), KEPT_BYTES + CUT.len()));
            assert!(said.starts_with(CUT) && output.ends_with(&said[CUT.len()..]));
        }
        let long = said(&"7".repeat(KEPT_BYTES + 1)).await;
        assert!(long.parse::<f64>().is_err(), "it is not known how long the number was");
        let short = "7".repeat(KEPT_BYTES);
        assert_eq!(said(&short).await, short);
        assert_eq!(said("").await, "");
    }
}
