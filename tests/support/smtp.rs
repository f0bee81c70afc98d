//! A mail server that is not ours: aiosmtpd, which counts what it takes. See `smtp/server.py` for how it treats whom.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use super::repository_root;

/// A running server. Dropping it ends it.
pub struct SmtpServer {
    child: Child,
    port: u16,
    journal: PathBuf,
    _folder: tempfile::TempDir,
}

/// A message that the server took.
#[derive(Clone, Debug, serde::Deserialize)]
pub struct Taken {
    pub to: String,
    pub headers: BTreeMap<String, String>,
    pub text: String,
}

impl SmtpServer {
    pub fn start() -> SmtpServer {
        SmtpServer::start_on(0, 0.0)
    }

    /// One on a port (0: any that is free), that takes so many milliseconds for each message.
    pub fn start_on(port: u16, slow_ms: f64) -> SmtpServer {
        let folder = tempfile::tempdir().unwrap();
        let journal = folder.path().join("journal");
        let script = repository_root().join("tests/support/smtp/server.py");
        let mut command = Command::new(python());
        command.arg(script).arg(&journal).args(["--port", &port.to_string(), "--slow", &slow_ms.to_string()]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut said).unwrap();
        let port = said.trim().parse().expect("the server says its port");
        SmtpServer { child, port, journal, _folder: folder }
    }

    pub fn url(&self) -> String {
        format!("smtp://127.0.0.1:{}", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// All that it took so far, in order.
    pub fn taken(&self) -> Vec<Taken> {
        let text = std::fs::read_to_string(&self.journal).unwrap_or_default();
        // A line that is being written is not taken yet.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// To whom it took something, in order.
    pub fn recipients(&self) -> Vec<String> {
        self.taken().into_iter().map(|taken| taken.to).collect()
    }
}

impl Drop for SmtpServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The Python that has aiosmtpd; `tests/run` installs it beforehand.
fn python() -> PathBuf {
    let target = std::env::var("CARGO_TARGET_DIR").map_or_else(|_| repository_root().join("target"), PathBuf::from);
    let folder = target.join("tools/aiosmtpd");
    let install = repository_root().join("tests/support/smtp/install");
    assert!(Command::new(install).arg(&folder).status().unwrap().success(), "aiosmtpd could not be installed");
    folder.join("bin/python")
}
