//! The commands, calls and proposals of rollback steps: claimed, carried out, receipted; at least once, under one key. They have a sender of their own, so that no
//! note waits behind a command.
//!
//! Must not know: why a step asks for one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use betagate_core::decide::MessageKind;
use betagate_core::desired::ProgramDesired;
use betagate_core::resources::{CallWebhook, RunJob, Span};
use jiff::{SignedDuration, Timestamp};
use secrecy::ExposeSecret as _;
use serde_json::{Map, Value, json};
use tokio::process::Command;

use super::super::jobs::{COPIES, copy};
use super::super::secret_in;
use super::{Order, Post, later, never};
use crate::outbox::{Call, DeliveryError, Documents, Note, Webhook, effect_digest};
use crate::signals::net::Endpoint;
use crate::source::Proposal;

/// What only the leading controller does, beside notes.
pub(in crate::controller) const KINDS: &[&str] = &["job", "call", "proposal"];
/// A claim holds for longer than any job may take.
pub(super) const LEASE: SignedDuration = SignedDuration::from_mins(15);
/// How long a command may take when nothing else is said, and at most.
const USUAL_TIMEOUT: Span = Span::seconds(60);
const LONGEST_TIMEOUT: Duration = Duration::from_secs(600);
/// What of the controller's own environment a command finds: nothing that could be a secret.
const PASSED_ON: [&str; 5] = ["PATH", "HOME", "LANG", "TZ", "TMPDIR"];

impl Post {
    /// Carries out one step's command or call. Whatever goes wrong is tried again: a step is retried until it holds.
    pub(super) async fn perform(
        &self,
        order: &Order,
        effect_key: &str,
        what: MessageKind,
        now: Timestamp,
    ) -> Result<Value, DeliveryError> {
        if self.clock.is_demo() {
            return Ok(json!({ "way": "none", "reference": "a tour on a fast clock runs and calls nothing" }));
        }
        let done = match what {
            MessageKind::Job { holder, job } => {
                let folder = self.folder_of(order).await?;
                self.run(effect_key, (&holder, &job), &folder, now).await
            }
            MessageKind::Call { holder, call, about } => {
                self.call(&order.program, effect_key, (&holder, &call, about), now).await
            }
            MessageKind::Proposal { branch, message, run, document, revert } => {
                let mut files = BTreeMap::new();
                if let Some(key) = document {
                    let path = Documents::of(&self.data).path(&run, &key);
                    let text =
                        std::fs::read(&path).map_err(|error| later(format!("the cause document: {}", error.kind())))?;
                    files.insert(format!("incidents/{run}.md"), text);
                }
                let proposal = Proposal { branch, message, files, revert, at: now };
                match self.source.propose(proposal).await {
                    Ok(done) => {
                        Ok(json!({ "way": "git", "reference": format!("{} {}", done.branch, done.commit), "at": now }))
                    }
                    Err(error) => Err(later(error.to_string())),
                }
            }
            _ => Err(never("this is no command of a step".to_owned())),
        };
        done.map_err(|error| match error {
            DeliveryError::Never { reason } => later(reason),
            other => other,
        })
    }

    async fn folder_of(&self, order: &Order) -> Result<PathBuf, DeliveryError> {
        if let Some(folder) = &self.folder {
            return Ok(folder.clone());
        }
        let (copies, snapshot) = (self.data.join(COPIES), order.snapshot.clone());
        match tokio::task::spawn_blocking(move || copy(&copies, &snapshot)).await {
            Ok(Ok(folder)) => Ok(folder),
            Ok(Err(error)) => Err(later(format!("the revision can't be copied: {}", error.kind()))),
            Err(_) => Err(later("the revision can't be copied".to_owned())),
        }
    }

    async fn run(
        &self,
        effect_key: &str,
        (holder, job): (&str, &RunJob),
        folder: &Path,
        now: Timestamp,
    ) -> Result<Value, DeliveryError> {
        let Some((program, arguments)) = job.command.split_first() else {
            return Err(never("it names no program".to_owned()));
        };
        let (run, step) = holder.rsplit_once('/').unwrap_or((holder, ""));
        let mut command = Command::new(program);
        command.args(arguments).env_clear().current_dir(folder);
        command.envs(PASSED_ON.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        command
            .env("BETAGATE_RUN", run)
            .env("BETAGATE_STEP", step)
            .env("BETAGATE_EFFECT_KEY", effect_digest(effect_key));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0).kill_on_drop(true);
        let mut child =
            command.spawn().map_err(|error| later(format!("'{program}' can't be run: {}", error.kind())))?;
        let group = child.id().and_then(|id| rustix::process::Pid::from_raw(id.try_into().unwrap_or_default()));
        let group = Group(group);
        let timeout = job.timeout.unwrap_or(USUAL_TIMEOUT).duration().unsigned_abs().min(LONGEST_TIMEOUT);
        let ended = tokio::time::timeout(timeout, child.wait()).await;
        drop(group);
        match ended {
            Err(_) => Err(later(format!("'{program}' did not end within {} s", timeout.as_secs()))),
            Ok(Err(error)) => Err(later(format!("'{program}' was lost: {}", error.kind()))),
            Ok(Ok(status)) if status.success() => Ok(json!({ "way": "command", "reference": program, "at": now })),
            Ok(Ok(status)) => {
                let how = status.code().map_or_else(|| "a signal".to_owned(), |code| format!("exit code {code}"));
                Err(later(format!("'{program}' ended with {how}")))
            }
        }
    }

    async fn call(
        &self,
        program: &ProgramDesired,
        effect_key: &str,
        (holder, call, about): (&str, &CallWebhook, BTreeMap<String, String>),
        now: Timestamp,
    ) -> Result<Value, DeliveryError> {
        if let Some(channel) = &call.channel {
            let webhook = program.program.spec.channels.get(channel).and_then(|channel| channel.webhook.as_ref());
            let webhook = webhook.ok_or_else(|| never(format!("channel {channel} has no webhook")))?;
            let title = format!("Rollback {holder}: {}", about.get("reason").map_or("", String::as_str));
            let fields = call.body.iter().map(|(name, value)| format!("{name}: {value}\n"));
            let text = format!("{}Run {holder} of program {}.", fields.collect::<String>(), program.name());
            let note = Note { effect_key: effect_key.to_owned(), title, text, at: now };
            let url = self.address(webhook).map_err(never)?;
            return Ok(json!(Webhook::new(url)?.deliver(&note).await?));
        }
        let name = call.source.as_deref().unwrap_or_default();
        let at = program.program.spec.sources.get(name).and_then(|source| source.http.as_ref());
        let at = at.ok_or_else(|| never(format!("there is no http source {name}")))?;
        let token = at.token_ref.as_ref().map(|token| secret_in(&self.data, token)).transpose().map_err(later)?;
        let endpoint = Endpoint::new(name, self.address(at).map_err(later)?.expose_secret(), token).map_err(never)?;
        let mut body: Map<String, Value> = call.body.clone().into_iter().collect();
        body.extend(about.into_iter().map(|(name, value)| (name, Value::String(value))));
        let path = call.path.clone().unwrap_or_default();
        let call = Call { effect_key: effect_key.to_owned(), path, body: Value::Object(body), at: now };
        Ok(json!(call.deliver(&endpoint).await?))
    }
}

/// A command's process group, which ends with whatever the command started.
struct Group(Option<rustix::process::Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // It may have ended already.
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
    }
}
