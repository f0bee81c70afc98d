//! What a supervised process should be: plain values, mapped from `Workload` resources elsewhere.
//!
//! Must not know: resources, how a process is started.

use std::collections::BTreeMap;
use std::time::Duration;

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::ProcessError;

/// How many hexadecimal digits of the digest name a revision.
const REVISION_DIGITS: usize = 12;

/// The most replicas one machine runs of a workload: a slip of the pen must not take the machine down.
pub const MAX_REPLICAS: u32 = 64;

/// One workload as processes of this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProcessSpec {
    /// The workload's name, unique among the specs given together.
    pub workload: String,
    /// What tells one version from another: processes of another revision are replaced. See [`ProcessSpec::with_digest`].
    pub revision: String,
    /// What to run.
    pub command: CommandLine,
    /// Environment variables set over the supervisor's own.
    pub env: BTreeMap<String, String>,
    /// How many processes, 0 to [`MAX_REPLICAS`]. Not part of the revision.
    pub replicas: u32,
    /// Where it listens.
    pub listens: Listens,
    /// What tells that it is ready.
    pub ready: Ready,
    /// Time between the polite signal (SIGTERM) and the last one (SIGKILL).
    pub stop_grace: Duration,
}

/// The command of a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum CommandLine {
    /// This very binary, with these arguments.
    ThisBinary(Vec<String>),
    /// Any command: program and arguments, no shell between.
    Command(Vec<String>),
}

/// Where a process listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Listens {
    /// On the supervisor's socket, handed down as standard input; all replicas accept from it.
    Shared,
    /// On a port of its own, told in the variable `PORT`. Left out, a free one of the loopback interface is chosen for each process;
    /// given, only one process can have it, so it is replaced by stopping the old one first.
    OwnPort(Option<u16>),
    /// Nowhere.
    None,
}

/// What tells that a process is ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Ready {
    /// It writes the line `READY <revision>` on its standard output (the revision is in `BETAGATE_REVISION`).
    Report,
    /// `GET path` on loopback answers 2xx.
    Http {
        /// The path, from `/`.
        path: String,
        /// The port; left out, the process's own port.
        port: Option<u16>,
    },
    /// It has been started.
    Started,
}

impl ProcessSpec {
    /// The same spec with its revision set to the digest of all that makes a process another process: command, environment,
    /// where it listens, how it gets ready. Scaling or another grace period replaces nothing.
    #[must_use]
    pub fn with_digest(mut self) -> Self {
        let identity = (&self.workload, &self.command, &self.env, &self.listens, &self.ready);
        // Plain values with string keys: writing them as JSON can't fail, and an empty text would still be a digest.
        let text = serde_json::to_string(&identity).unwrap_or_default();
        let mut digits = HEXLOWER.encode(&Sha256::digest(text.as_bytes()));
        digits.truncate(REVISION_DIGITS);
        self.revision = digits;
        self
    }

    /// Whether two processes of this workload can run side by side, so that the new one is ready before the old one goes.
    pub fn can_overlap(&self) -> bool {
        !matches!(self.listens, Listens::OwnPort(Some(_)))
    }

    /// Refuses what can't work.
    ///
    /// # Errors
    /// [`ProcessError::BadSpec`] with the first problem found.
    pub fn check(&self) -> Result<(), ProcessError> {
        let problem = if self.workload.is_empty() {
            "it has no name".to_owned()
        } else if self.revision.is_empty() || self.revision.contains(char::is_whitespace) {
            "its revision must be one word".to_owned()
        } else if matches!(&self.command, CommandLine::Command(words) if words.first().is_none_or(String::is_empty)) {
            "its command is empty".to_owned()
        } else if self.replicas > MAX_REPLICAS {
            format!("{} replicas asked for, one machine runs at most {MAX_REPLICAS}", self.replicas)
        } else if self.replicas > 1 && !self.can_overlap() {
            format!("{} replicas cannot share one port; leave the port out, and each gets its own", self.replicas)
        } else if matches!(self.ready, Ready::Http { port: None, .. }) && !matches!(self.listens, Listens::OwnPort(_)) {
            // On the shared socket any replica would answer, so the answer would say nothing about this one.
            "an HTTP readiness check needs a port of its own; a process on the shared socket reports by itself"
                .to_owned()
        } else if matches!(&self.ready, Ready::Http { path, .. } if !path.starts_with('/')) {
            "the path of its readiness check must begin with /".to_owned()
        } else if self.env.keys().any(|name| name.is_empty() || name.contains(['=', '\0'])) {
            "an environment variable has no usable name".to_owned()
        } else {
            return Ok(());
        };
        Err(ProcessError::BadSpec { workload: self.workload.clone(), problem })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

    use super::*;

    fn spec() -> ProcessSpec {
        ProcessSpec {
            workload: "api".into(),
            revision: String::new(),
            command: CommandLine::ThisBinary(vec!["api".into()]),
            env: BTreeMap::new(),
            replicas: 2,
            listens: Listens::Shared,
            ready: Ready::Report,
            stop_grace: Duration::from_secs(10),
        }
        .with_digest()
    }

    #[test]
    fn scaling_keeps_the_revision_and_an_environment_variable_changes_it() {
        let base = spec();
        let scaled = ProcessSpec { replicas: 5, stop_grace: Duration::ZERO, ..base.clone() }.with_digest();
        assert_eq!(scaled.revision, base.revision);
        let env = BTreeMap::from([("RUST_LOG".to_owned(), "debug".to_owned())]);
        assert_ne!(ProcessSpec { env, ..base.clone() }.with_digest().revision, base.revision);
        assert_eq!(base.revision.len(), REVISION_DIGITS);
    }

    #[test]
    fn a_spec_that_cannot_work_is_refused_in_words() {
        let refused = |change: fn(&mut ProcessSpec), words: &str| {
            let mut bad = spec();
            change(&mut bad);
            let said = bad.check().unwrap_err().to_string();
            assert!(said.contains(words), "{said}");
        };
        assert!(spec().check().is_ok());
        refused(|s| s.replicas = 65, "at most 64");
        refused(|s| s.listens = Listens::OwnPort(Some(80)), "cannot share one port");
        refused(|s| s.command = CommandLine::Command(vec![]), "command is empty");
        refused(|s| s.ready = Ready::Http { path: "/".into(), port: None }, "needs a port of its own");
        refused(|s| s.revision = "a b".into(), "one word");
        refused(|s| drop(s.env.insert("A=B".into(), String::new())), "usable name");
    }
}
