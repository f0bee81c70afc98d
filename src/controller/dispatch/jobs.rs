//! The commands, calls and proposals of rollback steps: claimed, carried out, receipted; at least once, under one key. They have a sender of their own, so that no
//! note waits behind a command.
//!
//! Must not know: why a step asks for one.

use std::collections::BTreeMap;

use betagate_core::decide::MessageKind;
use betagate_core::desired::ProgramDesired;
use betagate_core::resources::{CallWebhook, RunJob, job_time};
use jiff::{SignedDuration, Timestamp};
use secrecy::ExposeSecret as _;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{Order, Post, later, never};
use crate::apply::cluster::commands::{self, Commands, NotRun, Purpose};
use crate::apply::processes::{Ended, NOT_STARTED, Once};
use crate::outbox::{Call, DeliveryError, Note, Webhook, effect_digest};
use crate::secrets::secret_in;
use crate::signals::Jobs;
use crate::signals::net::Endpoint;

/// A claim holds for longer than any job may take, also where the API server takes all its time for each request about it.
pub(super) const LEASE: SignedDuration = SignedDuration::from_mins(20);

/// A step's command as a Job of a cluster, without its environment and its record.
pub(in crate::controller) fn ordered(
    program: &str,
    effect_key: &str,
    (holder, job): (&str, &RunJob),
) -> commands::Order {
    commands::Order {
        purpose: Purpose::Step,
        key: effect_key.to_owned(),
        record: String::new(),
        about: holder.to_owned(),
        program: program.to_owned(),
        command: job.command.clone(),
        image: job.image.clone(),
        account: job.service_account.clone(),
        env: BTreeMap::new(),
        secret_env: BTreeMap::new(),
        deadline: job_time(job.timeout).duration().unsigned_abs(),
        owner: None,
    }
}

impl Post {
    /// Carries out one step's command or call, or proposes. Whatever goes wrong with a command or call is tried again: a step is retried until it holds.
    pub(super) async fn perform(
        &self,
        order: &Order,
        (effect_key, record): (&str, Uuid),
        what: MessageKind,
        now: Timestamp,
    ) -> Result<Value, DeliveryError> {
        if self.clock.is_demo() {
            return Ok(json!({ "way": "none", "reference": "a tour on a fast clock runs and calls nothing" }));
        }
        let until_it_holds = |error| match error {
            DeliveryError::Never { reason } => later(reason),
            other => other,
        };
        match what {
            MessageKind::Job { holder, job } => {
                self.run(order, (effect_key, record), (&holder, &job), now).await.map_err(until_it_holds)
            }
            MessageKind::Call { holder, call, about } => {
                self.call(&order.program, effect_key, (&holder, &call, about), now).await.map_err(until_it_holds)
            }
            what @ (MessageKind::Proposal { .. } | MessageKind::Pull { .. } | MessageKind::Tag { .. }) => {
                self.propose(&order.program, what, now).await
            }
            _ => Err(never("this is no command of a step".to_owned())),
        }
    }

    async fn run(
        &self,
        order: &Order,
        (effect_key, record): (&str, Uuid),
        (holder, job): (&str, &RunJob),
        now: Timestamp,
    ) -> Result<Value, DeliveryError> {
        let program = job.command.first().cloned().unwrap_or_default();
        let (run, step) = holder.rsplit_once('/').unwrap_or((holder, ""));
        let env = [
            ("BETAGATE_RUN", run.to_owned()),
            ("BETAGATE_STEP", step.to_owned()),
            ("BETAGATE_EFFECT_KEY", effect_digest(effect_key)),
        ];
        let env = env.map(|(name, value)| (name.to_owned(), value));
        let time = job_time(job.timeout);
        let deadline = time.duration().unsigned_abs();
        let (ended, way) = match self.workplace.jobs().await.map_err(later)? {
            // Its place is held until the command has ended.
            Jobs::Here(place) => {
                let (command, folder) = (job.command.clone(), place.folder.clone());
                let once = Once { program: place.program.clone(), command, folder, env: env.to_vec(), deadline };
                let ended = once.run().await;
                (ended.map_err(|error| later(format!("'{program}' can't be run: {}", error.kind()))), "command")
            }
            Jobs::Cluster(commands) => {
                let order = ordered(order.program.name(), effect_key, (holder, job));
                let order = commands::Order { env: env.into(), record: record.to_string(), ..order };
                (self.as_job(&commands, &order).await.map_err(|error| not_run(&program, &error)), "job")
            }
        };
        match ended? {
            Ended::Code(0, _) => Ok(json!({ "way": way, "reference": program, "at": now })),
            Ended::Code(code, _) if NOT_STARTED.contains(&code) => {
                Err(later(format!("'{program}' is not there, or can't be run")))
            }
            Ended::Code(code, _) => Err(later(format!("'{program}' ended with exit code {code}"))),
            Ended::Signal(signal) => Err(later(format!("'{program}' ended by signal {signal}"))),
            Ended::TimedOut => Err(later(format!("'{program}' did not end within {time}"))),
        }
    }

    async fn as_job(&self, commands: &Commands, order: &commands::Order) -> Result<Ended, NotRun> {
        let begun = commands.begin(order).await?;
        self.faults.at(|| format!("job {}: begun", order.key)).await;
        commands.end(begun, false).await
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

/// Why a command has not run to its end. What only waits for the cluster was not tried.
fn not_run(program: &str, error: &NotRun) -> DeliveryError {
    let reason = format!("'{program}': {error}");
    match error {
        NotRun::NotLeading | NotRun::Away(_) | NotRun::Ending(_) => DeliveryError::Waits { reason },
        _ => later(reason),
    }
}
