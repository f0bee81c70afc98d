//! What people asked for through an API process or the command line: intents that the controller carries out and answers.

use betagate_core::decide::{Request, RequestKind};
use betagate_core::desired::Built;
use betagate_core::resources::Kind;
use serde_json::{Value, json};

use super::rehearse::REHEARSE;
use super::{Controller, ControllerError};
use crate::apply::documents::set_default_variant;
use crate::apply::resources::{self, NotChanged};
use crate::cluster::Cluster;
use crate::store::flags;
use crate::store::intents::{self, Intent, State};

/// How many are looked at in one pass.
const AT_ONCE: i64 = 100;
/// The kind of an intent that starts a rollback by hand.
pub const START_ROLLBACK: &str = "rollback.start";
/// The kind of an intent that has the source looked at now (a webhook of the forge, `betagate apply`).
pub const TRIGGER_SOURCE: &str = "source.trigger";

/// The kind of an intent that has a gate measured now.
pub const MEASURE_GATE: &str = "gate.measure";

/// The kind of an intent that writes another default variant where the flag stands.
pub const SET_FLAG: &str = "flag.set";

/// The kind of an intent that sends one message of a cohort to an operator, marked as a test.
pub const SEND_TEST: &str = "mail.test";

impl Controller {
    /// Carries intents out, and answers those whose effect `decide` has seen.
    pub(super) async fn carry_out_requests(&mut self) -> Result<(), ControllerError> {
        for intent in intents::waiting(&self.settings.store, AT_ONCE).await? {
            let answer = match intent.kind.as_str() {
                TRIGGER_SOURCE => {
                    self.settings.source.trigger();
                    self.settings.git.iter().for_each(|git| git.source.trigger());
                    Some((State::Done, json!({})))
                }
                MEASURE_GATE => {
                    self.measure_anew(&intent.body);
                    Some((State::Done, json!({})))
                }
                SET_FLAG => self.set_flag(&intent.body).await?,
                START_ROLLBACK => self.rollback_asked(&intent),
                REHEARSE => self.rehearsal_asked(&intent).await?,
                // The senders answer it: a mail server may take its time.
                SEND_TEST => self.send_test(&intent).await,
                other => Some(refused(format!("'{other}' is nothing that can be asked for"))),
            };
            // Without an answer it waits: for a revision, or for `decide`.
            let Some((state, result)) = answer else { continue };
            let mut tx = self.settings.store.begin().await?;
            intents::answer(&mut tx, intent.id, state, &result, self.settings.clock.now()).await?;
            tx.commit().await?;
        }
        Ok(())
    }

    fn measure_anew(&mut self, body: &Value) {
        let gate = body["gate"].as_str().unwrap_or_default();
        let state = self.programs.get_mut(body["program"].as_str().unwrap_or_default());
        let measured =
            state.into_iter().flat_map(|state| state.measured.iter_mut()).filter(|((name, _), _)| name == gate);
        measured.for_each(|(_, (at, _))| *at = jiff::Timestamp::MIN);
    }

    /// Started by `decide`, which remembers the request as done.
    fn rollback_asked(&self, intent: &Intent) -> Option<(State, Value)> {
        let id = intent.id.to_string();
        let mut decided = self.programs.values().filter_map(|state| state.decision.as_ref());
        if decided.any(|decision| decision.memory.program.done_requests.contains(&id)) {
            return Some((State::Done, json!({})));
        }
        let program = intent.body["program"].as_str().unwrap_or_default();
        let plan = intent.body["plan"].as_str().unwrap_or_default();
        match self.built.as_ref()?.desired.programs.get(program) {
            None => Some(refused(format!("there is no program '{program}'"))),
            Some(found) if !found.plans.contains_key(plan) => {
                Some(refused(format!("there is no plan '{plan}' in program '{program}'")))
            }
            Some(_) => None,
        }
    }

    /// A held flag was refused when it was asked for; one that a run has taken since is served safe whatever its document says.
    async fn set_flag(&self, body: &Value) -> Result<Option<(State, Value)>, ControllerError> {
        let Some(built) = self.built.as_ref() else { return Ok(None) };
        let (key, variant) = (body["key"].as_str().unwrap_or_default(), body["variant"].as_str().unwrap_or_default());
        if let Some(watched) = self.settings.source.watched() {
            return self.set_flag_resource(watched.cluster(), built, key, variant).await;
        }
        let Some(folder) = self.settings.source.editable() else {
            let mut all = built.desired.programs.values().filter_map(|program| program.flags.get(key));
            let file = all.next().map_or_else(|| "its document".to_owned(), |flag| flag.origin.file.to_string());
            let reason = format!("the flags are in Git: set defaultVariant in {file}, commit and push");
            return Ok(Some(refused(reason)));
        };
        Ok(Some(match set_default_variant(folder, built, key, variant) {
            Ok(written) => {
                self.settings.source.trigger();
                (State::Done, json!({ "file": written.file, "line": written.line }))
            }
            Err(reason) => refused(reason),
        }))
    }

    /// In the resource, whose next version comes back by the watch. One that a run holds stays as it is.
    async fn set_flag_resource(
        &self,
        cluster: &Cluster,
        built: &Built,
        key: &str,
        variant: &str,
    ) -> Result<Option<(State, Value)>, ControllerError> {
        let published = flags::newest(&self.settings.store).await?;
        if let Some(run) = published.as_ref().and_then(|published| flags::held_by(published, key)) {
            return Ok(Some(refused(format!("'{key}' is held by {run}; betagate why rollback/{run}"))));
        }
        if let Some(file) = self.file_in_git(built, key) {
            return Ok(Some(refused(format!("the flags are in Git: set defaultVariant in {file}, commit and push"))));
        }
        Ok(match resources::set_default_variant(cluster, built, key, variant).await {
            Ok(written) => Some((State::Done, written)),
            Err(NotChanged::Refused(reason)) => Some(refused(reason)),
            Err(NotChanged::Later) => None,
        })
    }

    /// The file in Git from which a flag's resource was brought.
    fn file_in_git(&self, built: &Built, key: &str) -> Option<String> {
        let flag = built.desired.programs.values().find_map(|program| program.flags.get(key))?;
        let seen = self.settings.source.watched()?.resource(Kind::Flag, &flag.name)?;
        let marks = seen.marks.as_deref().filter(|marks| marks.ours && self.git.is_some())?;
        Some(marks.file.clone().unwrap_or_else(|| "its document".to_owned()))
    }

    pub(super) async fn requests_for(&self, program: &str) -> Result<Vec<Request>, ControllerError> {
        let waiting = intents::waiting(&self.settings.store, AT_ONCE).await?;
        let own =
            waiting.into_iter().filter(|intent| intent.kind == START_ROLLBACK && intent.body["program"] == program);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let requests = own.map(|intent| Request {
            id: intent.id.to_string(),
            what: RequestKind::StartRollback { plan: text(&intent.body["plan"]), reason: text(&intent.body["reason"]) },
            by: intent.actor,
        });
        Ok(requests.collect())
    }
}

pub(super) fn refused(reason: String) -> (State, Value) {
    (State::Refused, json!({ "reason": reason }))
}
