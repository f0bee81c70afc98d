//! The real binary: run to its end, or left running and ended with the test.

use std::ffi::OsStr;
use std::io::Read;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// A `betagate` command line being put together. It sees none of the variables that the machine may set for the program.
pub struct Betagate {
    command: Command,
}

/// How a finished command ended.
#[derive(Debug)]
pub struct Outcome {
    /// The exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// A command that is still running. Dropping it kills it and waits for its end.
pub struct Running {
    child: Child,
}

/// Variables that change what the program does (product page and seeds) and so must come from the test alone.
const FOREIGN: [&str; 8] = [
    "DATABASE_URL",
    "PROM_URL",
    "SENTRY_AUTH_TOKEN",
    "FRONTEND_URL",
    "SEND",
    "SEND_CMD",
    "PLANNING_DATABASE_URL",
    "RUST_LOG",
];

impl Betagate {
    pub fn new<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Betagate {
        let mut command = Command::new(env!("CARGO_BIN_EXE_betagate"));
        command.args(arguments).stdin(Stdio::null());
        for variable in FOREIGN {
            command.env_remove(variable);
        }
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with("BETAGATE_") {
                command.env_remove(variable);
            }
        }
        Betagate { command }
    }

    pub fn within(mut self, folder: impl AsRef<Path>) -> Betagate {
        self.command.current_dir(folder);
        self
    }

    pub fn env(mut self, variable: &str, value: impl AsRef<OsStr>) -> Betagate {
        self.command.env(variable, value);
        self
    }

    /// Runs it to its end.
    pub fn run(mut self) -> Outcome {
        let output = self.command.output().expect("the binary is there");
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Outcome { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Leaves it running, its output going to the test's own.
    pub fn start(mut self) -> Running {
        Running { child: self.command.spawn().expect("the binary is there") }
    }

    /// Leaves it running, its standard output and error going into one file.
    pub fn start_logging_to(mut self, log: &Path) -> Running {
        let file = std::fs::File::create(log).expect("a writable log");
        self.command.stdout(file.try_clone().expect("a second handle")).stderr(file);
        Running { child: self.command.spawn().expect("the binary is there") }
    }
}

impl Outcome {
    /// Panics with all that was printed unless the exit code is `code`.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Outcome {
        assert_eq!(self.code, Some(code), "\n--- stdout\n{}\n--- stderr\n{}", self.stdout, self.stderr);
        self
    }
}

impl Running {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends SIGKILL, which leaves it no chance to tidy up, and waits for its end.
    pub fn kill(&mut self) -> ExitStatus {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it ends")
    }

    /// Asks it to end (SIGINT, as Ctrl-C does), and kills it if that takes longer than `patience`.
    pub fn interrupt(&mut self, patience: Duration) -> Option<ExitStatus> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it can be signalled");
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Some(status);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        self.kill();
        None
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has usually ended already; then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A loopback port that was free a moment ago, for the few places that cannot take port 0.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").port()
}

/// Looks every 20 ms until `look` finds something, and panics with `what` after `patience`.
#[track_caller]
pub fn wait_for<T>(what: &str, patience: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {patience:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
