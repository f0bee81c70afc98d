//! One decision in one transaction: memory, freezes, flags, cohorts, messages, reviews, statuses and the audit entries that tell of them.

use std::collections::{BTreeMap, BTreeSet};

use betagate_core::decide::{Decision, MessageKind};
use betagate_core::plan::{Action, Plan};
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::{Controller, ControllerError, program::ProgramState, remembered};
use crate::store::audit::{self, Entry};
use crate::store::memory::Document;
use crate::store::{Tx, flags, freezes, invites, leadership, memory, outbox, readings, steps};

/// Who acts, in the record.
pub const ACTOR: &str = "controller";

impl Controller {
    /// Writes a decision and carries out what of its plan lies in the database, all or nothing. What is written says when it was decided, so that
    /// the log and what a run remembers of itself agree.
    pub(super) async fn commit(
        &mut self,
        name: &str,
        (decision, now): (Decision, Timestamp),
        plan: &Plan,
    ) -> Result<(), ControllerError> {
        let before = self.programs.get(name).and_then(|state| state.documents.clone()).unwrap_or_default();
        // Before the transaction has a connection: nobody who has one waits for another.
        let statuses = match self.programs.get(name).and_then(|state| state.statuses.clone()) {
            Some(known) => known,
            None => crate::status::kept(&self.settings.store, name).await?,
        };
        let moment = |when: &str| format!("commit {}: {when}", about(&decision));
        self.faults.at(|| moment("before")).await;
        let mut tx = self.settings.store.begin().await?;
        leadership::fence(&mut tx, self.epoch).await?;
        let documents = memory::save(&mut tx, name, &before, remembered::write(name, &decision.memory)?).await?;
        let published = self.carry_out(&mut tx, name, &decision, plan, now).await?;
        self.faults.at(|| moment("between effect and record")).await;
        self.send(&mut tx, name, &decision, now).await?;
        seal(&mut tx, name, &decision).await?;
        tell(&mut tx, name, &decision, now).await?;
        let statuses = crate::status::write(&mut tx, name, &statuses, &decision, now).await?;
        tx.commit().await?;
        self.faults.at(|| moment("after")).await;
        self.tell_events(&decision);
        self.keep(name, documents, statuses, decision);
        self.keep_published(published);
        Ok(())
    }

    fn keep(&mut self, name: &str, documents: Vec<Document>, statuses: BTreeMap<String, String>, decision: Decision) {
        let state: &mut ProgramState = self.programs.entry(name.to_owned()).or_default();
        state.documents = Some(documents);
        state.statuses = Some(statuses);
        state.decision = Some(decision);
        self.decided += 1;
    }

    /// The flags of other programs are published anew as they were.
    fn keep_published(&mut self, published: Option<(i64, i64)>) {
        let Some((before, after)) = published else { return };
        for known in self.programs.values_mut().filter_map(|state| state.published.as_mut()) {
            if known.0 == before {
                known.0 = after;
            }
        }
    }

    /// Says which revision of flags followed which, where flags were published.
    async fn carry_out(
        &self,
        tx: &mut Tx,
        name: &str,
        decision: &Decision,
        plan: &Plan,
        now: Timestamp,
    ) -> Result<Option<(i64, i64)>, ControllerError> {
        let mut flags_change = false;
        for action in &plan.actions {
            match action {
                Action::Freeze { cohort, holder, reason } => {
                    let freeze = freezes::Freeze {
                        program: name.to_owned(),
                        cohort: cohort.clone().unwrap_or_default(),
                        holder: holder.clone(),
                        reason: reason.clone(),
                        since: now,
                    };
                    freezes::freeze(tx, &freeze).await?;
                }
                Action::Unfreeze { cohort, holder } => {
                    freezes::unfreeze(tx, name, cohort.as_deref().unwrap_or_default(), holder).await?;
                }
                Action::OpenCohort { cohort } => self.set_cohort(tx, name, cohort, true, now).await?,
                Action::CloseCohort { cohort } => self.set_cohort(tx, name, cohort, false, now).await?,
                Action::PauseIngestion { holder, reason } => {
                    let pause = steps::Pause { holder: holder.clone(), reason: reason.clone(), since: now };
                    steps::pause(tx, name, &pause).await?;
                }
                Action::ResumeIngestion { holder } => drop(steps::resume(tx, name, holder).await?),
                Action::RevokeInvites { cohort, key, reason, .. } => {
                    if steps::begin(tx, name, key, &serde_json::to_value(action).unwrap_or_default(), now).await? {
                        let how = invites::Revocation { reason, actor: ACTOR, end_membership: false };
                        invites::revoke_unused(tx, name, cohort.as_deref(), how, now).await?;
                    }
                }
                Action::SetCapacity { cohort, .. } => {
                    let open = decision.effective.cohorts.get(cohort).is_some_and(|state| state.open);
                    self.set_cohort(tx, name, cohort, open, now).await?;
                }
                Action::SetFlag { .. } => flags_change = true,
                // In transactions of their own, after this one.
                Action::SyncDataset { .. } | Action::RestoreDataset { .. } => continue,
                Action::SyncList { .. } | Action::SetWorkload { .. } | Action::StopWorkload { .. } => continue,
            }
            let detail = serde_json::to_value(action).unwrap_or_default();
            record(tx, name, "applied", &format!("Program/{name}"), detail, now).await?;
        }
        if flags_change || self.holds_change(name, decision) {
            return self.publish_flags(tx, name, decision, now).await.map(Some);
        }
        Ok(None)
    }

    /// Whether what is published tells of other holds than these: a second hold on a flag that is held already changes no flag, and yet its step is
    /// verified by what API processes serve.
    fn holds_change(&self, name: &str, decision: &Decision) -> bool {
        let last = self.programs.get(name).and_then(|state| state.decision.as_ref());
        last.is_none_or(|last| last.effective.flag_holds != decision.effective.flag_holds)
    }

    async fn set_cohort(
        &self,
        tx: &mut Tx,
        name: &str,
        cohort: &str,
        open: bool,
        now: Timestamp,
    ) -> Result<(), ControllerError> {
        let program = self.built.as_ref().and_then(|built| built.desired.programs.get(name));
        let spec = program.and_then(|program| program.cohorts.get(cohort)).map(|cohort| &cohort.spec);
        let capacity = match spec {
            Some(spec) => spec.capacity.and_then(|capacity| i64::try_from(capacity).ok()),
            // Its document is gone: nobody who waits for a seat gets one for that.
            None => invites::capacity_in(tx, name, cohort).await?,
        };
        let wanted = invites::CohortState {
            program: name.to_owned(),
            cohort: cohort.to_owned(),
            open,
            capacity,
            addresses: super::lists::address_rules(program.map(|program| &**program)),
            list_digest: None,
            rows: 0,
        };
        invites::set_cohort(tx, &wanted, ACTOR, now).await?;
        Ok(())
    }

    /// Publishes the flags of every program as one snapshot: those of this one as just decided, those of others as decided last.
    async fn publish_flags(
        &self,
        tx: &mut Tx,
        name: &str,
        decision: &Decision,
        now: Timestamp,
    ) -> Result<(i64, i64), ControllerError> {
        let mut all = Map::new();
        let mut holds: Vec<String> = Vec::new();
        // A program that this controller has not decided yet goes on being served as it was published last.
        let undecided =
            |other: &String| other != name && self.programs.get(other).is_none_or(|state| state.decision.is_none());
        let programs = self.built.iter().flat_map(|built| built.desired.programs.keys());
        let undecided: BTreeSet<&str> = programs.filter(|other| undecided(other)).map(String::as_str).collect();
        let newest = flags::newest_in(tx).await?;
        if !undecided.is_empty()
            && let Some(newest) = &newest
        {
            let published = newest.body["flags"].as_object().into_iter().flatten();
            let of_them = |flag: &Value| flag["program"].as_str().is_some_and(|program| undecided.contains(program));
            all.extend(published.filter(|(_, flag)| of_them(flag)).map(|(key, flag)| (key.clone(), flag.clone())));
            let own = |hold: &str| hold.split('/').next().is_some_and(|run| decision.memory.runs.contains_key(run));
            let kept = newest.holds.as_array().into_iter().flatten().filter_map(Value::as_str);
            holds.extend(kept.filter(|hold| !own(hold)).map(str::to_owned));
        }
        let others = self.programs.iter().filter(|(other, _)| *other != name);
        let others = others.filter_map(|(_, state)| state.decision.as_ref());
        for decision in others.chain([decision]) {
            all.extend(decision.effective.flags.iter().map(|(key, flag)| (key.clone(), flag.clone())));
            holds.extend(decision.effective.flag_holds.iter().cloned());
        }
        if let Some(newest) = &newest {
            keep_commits(&mut all, &newest.body["flags"]);
        }
        let before = newest.map_or(0, |newest| newest.revision);
        all.sort_keys();
        holds.sort();
        holds.dedup();
        let revision = self.built.as_ref().map(|built| built.desired.revision.id.clone()).unwrap_or_default();
        // By hand: thousands of definitions are moved, where a macro would copy them.
        let body = [("flags".to_owned(), Value::Object(all)), ("version".to_owned(), json!(revision))];
        let body = Value::Object(body.into_iter().collect());
        let mut digest = Sha256::new();
        digest.update(serde_json::to_vec(&body).unwrap_or_default());
        digest.update(serde_json::to_vec(&holds).unwrap_or_default());
        let digest = data_encoding::HEXLOWER.encode(&digest.finalize());
        let after = flags::publish(tx, body, &json!(holds), &digest, &revision, now).await?;
        Ok((before, after))
    }

    async fn send(&self, tx: &mut Tx, name: &str, decision: &Decision, now: Timestamp) -> Result<(), ControllerError> {
        for message in &decision.messages {
            let kind = match message.what {
                MessageKind::Note { .. } => "note",
                MessageKind::Page { .. } => "page",
                MessageKind::Document { .. } => "document",
                MessageKind::Proposal { .. } => "proposal",
                MessageKind::Pull { .. } => "pull",
                MessageKind::Tag { .. } => "tag",
                MessageKind::Minutes { .. } => "minutes",
                MessageKind::Job { .. } => "job",
                MessageKind::Call { .. } => "call",
            };
            let intent = outbox::Intent {
                program: name.to_owned(),
                cohort: None,
                kind: kind.to_owned(),
                effect_key: message.effect_key.clone(),
                payload: serde_json::to_value(&message.what).unwrap_or_default(),
                once: false,
                not_before: now,
                deadline: message.deadline,
                epoch: Some(self.epoch),
            };
            outbox::put(tx, &intent, now).await?;
        }
        Ok(())
    }
}

/// What a decision moves, for the names of moments.
fn about(decision: &Decision) -> String {
    let moved = decision.events.iter().map(|event| format!("{} {}", event.reason, event.message));
    moved.collect::<Vec<_>>().join(", ")
}

/// A flag whose document says what it said goes on naming the commit that made it so, whatever else the new revision brings.
fn keep_commits(all: &mut Map<String, Value>, published: &Value) {
    let written = |flag: &Value| {
        let mut flag = flag.as_object().cloned().unwrap_or_default();
        flag.retain(|field, _| !matches!(field.as_str(), "commit" | "stage" | "hold" | "routed" | "invariant"));
        flag
    };
    for (key, flag) in all.iter_mut() {
        let before = &published[key];
        if before["commit"].is_string() && written(before) == written(flag) {
            flag["commit"] = before["commit"].clone();
        }
    }
}

async fn seal(tx: &mut Tx, name: &str, decision: &Decision) -> Result<(), ControllerError> {
    for sealed in &decision.sealed {
        let review = readings::Review {
            program: name.to_owned(),
            gate: sealed.gate.clone(),
            due_at: sealed.due_at,
            sealed_at: sealed.sealed_at,
            verdict: sealed.verdict.verdict.to_string(),
            body: serde_json::to_value(sealed).unwrap_or_default(),
        };
        readings::seal(tx, &review).await?;
    }
    Ok(())
}

/// What happened, in the audit log, in the transaction that it describes.
async fn tell(tx: &mut Tx, name: &str, decision: &Decision, now: Timestamp) -> Result<(), ControllerError> {
    for event in &decision.events {
        tracing::info!(program = name, object = %event.object, reason = %event.reason, "{}", event.message);
        record(tx, name, &event.reason, &event.object, Value::String(event.message.clone()), now).await?;
    }
    Ok(())
}

pub(super) async fn record(
    tx: &mut Tx,
    program: &str,
    action: &str,
    object: &str,
    detail: Value,
    now: Timestamp,
) -> Result<(), ControllerError> {
    let entry = Entry {
        at: now,
        program: program.to_owned(),
        actor: ACTOR.to_owned(),
        action: action.to_owned(),
        object: object.to_owned(),
        detail,
    };
    audit::append(tx, entry).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_names_the_commit_that_changed_its_document_not_a_later_one() {
        let published = json!({ "same": { "commit": "a", "state": "ENABLED" }, "held": { "commit": "a" }, "other": { "commit": "a" } });
        let mut all = Map::new();
        all.insert("same".to_owned(), json!({ "commit": "b", "state": "ENABLED" }));
        all.insert("held".to_owned(), json!({ "commit": "b", "hold": { "variant": "off" } }));
        all.insert("other".to_owned(), json!({ "commit": "b", "state": "DISABLED" }));
        all.insert("new".to_owned(), json!({ "commit": "b" }));
        keep_commits(&mut all, &published);
        let commits: Vec<_> = all.values().map(|flag| flag["commit"].as_str().unwrap_or_default()).collect();
        assert_eq!(commits, ["a", "a", "b", "b"]);
    }
}
