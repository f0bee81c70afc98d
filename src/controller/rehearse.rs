//! A plan gone through as a drill: what each step would do, whether what it needs is there, its messages rendered. Nothing is changed; a channel that is
//! asked for gets the notes, marked as a drill.
//!
//! Must not know: the rules of the domain (`core`'s `rehearse` goes through the same decisions).

use std::path::Path;

use betagate_core::decide::{Message, MessageKind, Readings};
use betagate_core::desired::ProgramDesired;
use betagate_core::resources::{Action, Names, RunJob, Step};
use betagate_core::simulate::{RehearsedStep, rehearse};
use serde_json::{Value, json};

use super::dispatch::ordered;
use super::requests::refused;
use super::{Controller, ControllerError, commit, remembered};
use crate::signals::Jobs;
use crate::store::audit::{self, Entry};
use crate::store::intents::{Intent, State};
use crate::store::{leadership, outbox, steps, workloads};

/// The kind of an intent that goes through a rollback plan as a drill.
pub const REHEARSE: &str = "rollback.rehearse";

impl Controller {
    /// Goes through a plan; without an answer it waits for a revision, or for a first decision.
    pub(super) async fn rehearsal_asked(&self, intent: &Intent) -> Result<Option<(State, Value)>, ControllerError> {
        let text = |field: &str| intent.body[field].as_str().unwrap_or_default().to_owned();
        let (name, plan) = (text("program"), text("plan"));
        let Some(built) = &self.built else { return Ok(None) };
        let Some(program) = built.desired.programs.get(&name) else {
            return Ok(Some(refused(format!("there is no program '{name}'"))));
        };
        let Some(wanted) = program.plans.get(&plan) else {
            return Ok(Some(refused(format!("there is no plan '{plan}' in program '{name}'"))));
        };
        let deliver_to = intent.body["deliverTo"].as_str();
        if let Some(channel) = deliver_to.filter(|channel| !program.program.spec.channels.contains_key(*channel)) {
            return Ok(Some(refused(format!("there is no channel '{channel}' in program '{name}'"))));
        }
        let Some(state) = self.programs.get(&name).filter(|state| state.decision.is_some()) else { return Ok(None) };
        let memory = remembered::read(&name, state.documents.as_deref().unwrap_or_default())?;
        let api = self.api_facts().await?;
        let readings = Readings { api, workloads: self.workload_facts(&name), ..Readings::default() };
        let now = self.settings.clock.now();
        let gone = rehearse(program, &built.desired.revision, (&readings, &memory), &plan, now);
        let came_to_its_end = gone.is_some();
        let mut shown = Vec::new();
        let mut passed = came_to_its_end;
        let mut notes = Vec::new();
        for (step, told) in wanted.spec.steps.iter().zip(gone.unwrap_or_default()) {
            notes.extend(told.messages.iter().find_map(|message| drill(&message.what, deliver_to?)));
            let problems = self.missing_for(program, step, &told, &readings).await?;
            passed &= problems.is_empty();
            let messages: Vec<String> = told.messages.iter().map(|message| self.rendered(program, message)).collect();
            shown.push(
                json!({ "step": told.name, "changes": told.changes, "messages": messages, "problems": problems }),
            );
        }
        if !came_to_its_end {
            shown.push(json!({ "step": "-", "changes": [], "messages": [], "problems": ["the plan does not come to its end"] }));
        }
        let rehearsal = steps::Rehearsal {
            id: intent.id,
            program: name.clone(),
            plan: plan.clone(),
            environment: self.settings.environment.clone().unwrap_or_default(),
            at: now,
            by: text("by"),
            passed,
            body: Value::Array(shown.clone()),
        };
        self.record_rehearsal(&rehearsal, deliver_to, notes).await?;
        Ok(Some((State::Done, json!({ "passed": passed, "steps": shown, "delivered": deliver_to }))))
    }

    async fn record_rehearsal(
        &self,
        rehearsal: &steps::Rehearsal,
        deliver_to: Option<&str>,
        notes: Vec<MessageKind>,
    ) -> Result<(), ControllerError> {
        let now = rehearsal.at;
        let mut tx = self.settings.store.begin().await?;
        leadership::fence(&mut tx, self.epoch).await?;
        steps::rehearsed(&mut tx, rehearsal).await?;
        let detail = json!({ "passed": rehearsal.passed, "by": rehearsal.by, "deliverTo": deliver_to });
        let entry = Entry {
            at: now,
            program: rehearsal.program.clone(),
            actor: commit::ACTOR.to_owned(),
            action: "rehearsed".to_owned(),
            object: format!("RollbackPlan/{}", rehearsal.plan),
            detail,
        };
        audit::append(&mut tx, entry).await?;
        for (place, what) in notes.iter().enumerate() {
            let intent = outbox::Intent {
                program: rehearsal.program.clone(),
                cohort: None,
                kind: "note".to_owned(),
                effect_key: format!("rehearsal/{}/{}", rehearsal.id, place + 1),
                payload: serde_json::to_value(what).unwrap_or_default(),
                once: false,
                not_before: now,
                deadline: None,
                epoch: Some(self.epoch),
            };
            outbox::put(&mut tx, &intent, now).await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// What a step needs and is not there.
    async fn missing_for(
        &self,
        program: &ProgramDesired,
        step: &Step,
        told: &RehearsedStep,
        readings: &Readings,
    ) -> Result<Vec<String>, ControllerError> {
        let mut missing = Vec::new();
        match step.action() {
            Some(Action::DisableFlags(_) | Action::RouteToFallback(_)) => {
                let silent = readings.api.iter().filter(|api| api.serves.is_none()).count();
                if readings.api.is_empty() || silent > 0 {
                    missing.push(format!("{silent} of {} API processes do not report", readings.api.len()));
                }
            }
            Some(Action::KeepOnline(groups)) => {
                for group in groups {
                    match self.probed_at(program.name()) {
                        Some(base) if crate::signals::probe::answers(&base, group).await => {}
                        Some(_) => missing.push(format!("route group {group} does not answer")),
                        None => missing.push("there is no server that could be probed".to_owned()),
                    }
                }
            }
            Some(Action::RevokeInvites(revoke)) => missing.extend(self.no_such_cohorts(program, &revoke.cohorts)),
            Some(Action::ScaleWorkload(scale)) => missing.extend(unknown_workload(readings, &scale.workload)),
            Some(Action::RestartWorkload(restart)) => missing.extend(unknown_workload(readings, &restart.workload)),
            Some(Action::RevertWorkload(revert)) => {
                missing.extend(unknown_workload(readings, &revert.workload));
                let known = workloads::revisions(&self.settings.store, &revert.workload).await?;
                let document = readings.workloads.get(&revert.workload).map(|fact| fact.document.as_str());
                let fits = |one: &&workloads::Revision| match &revert.to {
                    Some(to) => one.revision == *to,
                    None => one.proven_at.is_some() && Some(one.revision.as_str()) != document,
                };
                if !known.iter().any(|one| fits(&one)) {
                    missing.push(format!("no earlier revision of {} is known that stayed up", revert.workload));
                }
            }
            Some(Action::CaptureRootCause(_)) => {
                if let Err(error) = tempfile::tempfile_in(&self.settings.data) {
                    missing.push(format!("the data folder can't be written: {}", error.kind()));
                }
            }
            Some(Action::RunJob(job)) => missing.extend(self.no_such_command(program, job).await),
            Some(Action::RestoreDataset(restore)) => {
                missing.extend(self.no_such_undo(program, &restore.dataset).await?);
            }
            _ => {}
        }
        for message in &told.messages {
            missing.extend(self.post.refusal(program, self.built_from.as_deref(), &message.what));
        }
        Ok(missing)
    }

    fn no_such_cohorts(&self, program: &ProgramDesired, cohorts: &Names) -> Vec<String> {
        let Names::Listed(names) = cohorts else { return Vec::new() };
        let unknown = names.iter().filter(|name| !program.cohorts.contains_key(*name));
        unknown.map(|name| format!("there is no cohort {name}")).collect()
    }

    /// A command is a path below the folder in which it runs, or a program in PATH; on a cluster only its image knows, and what it names must be allowed.
    async fn no_such_command(&self, of: &ProgramDesired, job: &RunJob) -> Option<String> {
        let program = job.command.first()?;
        let place = match self.workplace.jobs().await {
            Ok(Jobs::Here(place)) => place,
            Ok(Jobs::Cluster(commands)) => {
                let order = ordered(of.name(), "", ("drill", job));
                return commands.may_run(&order).await.err().map(|error| error.to_string());
            }
            Err(why) => return Some(why),
        };
        let found = if program.contains('/') {
            is_executable(&place.folder.join(program))
        } else {
            let path = std::env::var_os("PATH").unwrap_or_default();
            std::env::split_paths(&path).any(|folder| is_executable(&folder.join(program)))
        };
        (!found).then(|| format!("there is no command '{program}'"))
    }

    /// What a message would say, in a line.
    fn rendered(&self, program: &ProgramDesired, message: &Message) -> String {
        match &message.what {
            MessageKind::Note { channel, .. } => match self.post.subject(self.built_from.as_deref(), &message.what) {
                Ok(subject) => format!("note to {channel}: {subject}"),
                Err(_) => format!("note to {channel}"),
            },
            MessageKind::Document { owner, .. } => format!("cause document, owned by {owner}"),
            MessageKind::Proposal { branch, .. } => format!("proposal on branch {branch}"),
            MessageKind::Pull { branch, .. } => format!("pull request for branch {branch}"),
            MessageKind::Tag { name, .. } => format!("tag {name}"),
            MessageKind::Minutes { call, .. } => format!("minutes of {call}"),
            MessageKind::Job { job, .. } => format!("run {}", job.command.join(" ")),
            MessageKind::Call { call, .. } => {
                let whom = call.source.as_ref().or(call.channel.as_ref()).cloned().unwrap_or_default();
                format!("call {whom}{} of {}", call.path.as_deref().unwrap_or_default(), program.name())
            }
            MessageKind::Page { person, .. } => format!("page {person}"),
        }
    }
}

/// The note that a step would publish, as a drill on one channel.
fn drill(what: &MessageKind, channel: &str) -> Option<MessageKind> {
    let MessageKind::Note { template, variables, .. } = what else { return None };
    let (channel, template, variables) = (channel.to_owned(), template.clone(), variables.clone());
    Some(MessageKind::Note { channel, template, variables, drill: true })
}

fn unknown_workload(readings: &Readings, workload: &str) -> Option<String> {
    let fact = readings.workloads.get(workload);
    match fact {
        None => Some(format!("nothing is known of workload {workload}")),
        Some(fact) if fact.replicas > 0 && fact.processes.is_empty() => Some(format!("nothing of {workload} runs")),
        Some(_) => None,
    }
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata().is_ok_and(|about| about.is_file() && about.permissions().mode() & 0o111 != 0)
}
