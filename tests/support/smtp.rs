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

/// How a server is reached and by whom.
#[derive(Clone, Copy, Default)]
pub struct Guarded<'a> {
    /// `starttls` or `smtps`, with a certificate for `localhost`.
    pub tls: Option<(&'a str, &'a Certificate)>,
    /// The only user, and the password.
    pub user: Option<(&'a str, &'a str)>,
}

/// A certificate for `localhost`, and who vouches for it: made by openssl for one test.
pub struct Certificate {
    folder: tempfile::TempDir,
}

impl Certificate {
    pub fn make() -> Certificate {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("names"), "subjectAltName=DNS:localhost,IP:127.0.0.1\n").unwrap();
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
        for words in [
            format!("req -x509 {key} -keyout ca.key -out ca.pem -subj /CN=test-authority -days 2"),
            format!("req {key} -keyout server.key -out server.csr -subj /CN=localhost"),
            "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out server.pem"
                .to_owned(),
        ] {
            let made = Command::new("openssl").args(words.split(' ')).current_dir(folder.path()).output().unwrap();
            assert!(made.status.success(), "openssl {words}: {}", String::from_utf8_lossy(&made.stderr));
        }
        Certificate { folder }
    }

    /// Who vouches for it, as PEM.
    pub fn authority(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("ca.pem")).unwrap()
    }
}

/// A message that the server took.
#[derive(Clone, Debug, serde::Deserialize)]
pub struct Taken {
    pub to: String,
    /// Whether the connection was encrypted.
    pub encrypted: bool,
    pub headers: BTreeMap<String, String>,
    pub text: String,
}

impl SmtpServer {
    pub fn start() -> SmtpServer {
        SmtpServer::start_on(0, 0.0)
    }

    /// One on a port (0: any that is free), that takes so many milliseconds for each message.
    pub fn start_on(port: u16, slow_ms: f64) -> SmtpServer {
        SmtpServer::start_guarded(port, slow_ms, Guarded::default())
    }

    /// One that encrypts, or takes mail from one user only.
    pub fn start_guarded(port: u16, slow_ms: f64, guarded: Guarded<'_>) -> SmtpServer {
        let folder = tempfile::tempdir().unwrap();
        let journal = folder.path().join("journal");
        let script = repository_root().join("tests/support/smtp/server.py");
        let mut command = Command::new(python());
        command.arg(script).arg(&journal).args(["--port", &port.to_string(), "--slow", &slow_ms.to_string()]);
        if let Some((kind, Certificate { folder })) = guarded.tls {
            command.args(["--tls", kind, "--certificate"]).arg(folder.path().join("server.pem"));
            command.arg("--key").arg(folder.path().join("server.key"));
        }
        if let Some((user, password)) = guarded.user {
            command.args(["--user", user, "--password", password]);
        }
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

    /// Every try to sign in: whether it was the right password, and whether the connection was encrypted.
    pub fn signed_in(&self) -> Vec<(bool, bool)> {
        let text = std::fs::read_to_string(self.journal.with_extension("signed")).unwrap_or_default();
        let tries = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        tries.map(|one| (one["right"] == true, one["encrypted"] == true)).collect()
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
