//! What people asked for through an API process or the command line: intents that the controller carries out and answers.

use betagate_core::decide::{Request, RequestKind};
use serde_json::json;

use super::{Controller, ControllerError};
use crate::store::intents;

/// How many are looked at in one pass.
const AT_ONCE: i64 = 100;
/// The kind of an intent that starts a rollback by hand.
pub const START_ROLLBACK: &str = "rollback.start";
/// The kind of an intent that has the source looked at now (a webhook of the forge, `betagate apply`).
pub const TRIGGER_SOURCE: &str = "source.trigger";

/// The kind of an intent that has a gate measured now.
pub const MEASURE_GATE: &str = "gate.measure";

impl Controller {
    /// Answers the intents whose effect `decide` has seen.
    pub(super) async fn carry_out_requests(&mut self) -> Result<(), ControllerError> {
        let waiting = intents::waiting(&self.settings.store, AT_ONCE).await?;
        for intent in waiting {
            let id = intent.id.to_string();
            let done = self.programs.values().filter_map(|state| state.decision.as_ref());
            let done = done.into_iter().any(|decision| decision.memory.program.done_requests.contains(&id));
            let known = intent.kind == START_ROLLBACK;
            let trigger = intent.kind == TRIGGER_SOURCE;
            if trigger {
                self.settings.source.trigger();
            }
            let measure = intent.kind == MEASURE_GATE;
            if measure {
                let gate = intent.body["gate"].as_str().unwrap_or_default();
                let state = self.programs.get_mut(intent.body["program"].as_str().unwrap_or_default());
                let measured =
                    state.into_iter().flat_map(|state| state.measured.iter_mut()).filter(|((name, _), _)| name == gate);
                measured.for_each(|(_, (at, _))| *at = jiff::Timestamp::MIN);
            }
            let refusal = match &self.built {
                Some(built) if known => {
                    let program = intent.body["program"].as_str().unwrap_or_default();
                    let plan = intent.body["plan"].as_str().unwrap_or_default();
                    match built.desired.programs.get(program) {
                        None => Some(format!("there is no program '{program}'")),
                        Some(found) if !found.plans.contains_key(plan) => {
                            Some(format!("there is no plan '{plan}' in program '{program}'"))
                        }
                        Some(_) => None,
                    }
                }
                Some(_) => Some(format!("'{}' is nothing that can be asked for", intent.kind)),
                None => None,
            };
            let refusal = refusal.filter(|_| !trigger && !measure);
            let (state, result) = match (done || trigger || measure, refusal) {
                (true, _) => (intents::State::Done, json!({})),
                (false, Some(reason)) => (intents::State::Refused, json!({ "reason": reason })),
                (false, None) => continue,
            };
            let mut tx = self.settings.store.begin().await?;
            intents::answer(&mut tx, intent.id, state, &result, self.settings.clock.now()).await?;
            tx.commit().await?;
        }
        Ok(())
    }

    pub(super) async fn requests_for(&self, program: &str) -> Result<Vec<Request>, ControllerError> {
        let waiting = intents::waiting(&self.settings.store, AT_ONCE).await?;
        let own =
            waiting.into_iter().filter(|intent| intent.kind == START_ROLLBACK && intent.body["program"] == program);
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        let requests = own.map(|intent| Request {
            id: intent.id.to_string(),
            what: RequestKind::StartRollback { plan: text(&intent.body["plan"]), reason: text(&intent.body["reason"]) },
            by: intent.actor,
        });
        Ok(requests.collect())
    }
}
