//! A run under way: its steps come into force strictly in order, and each is verified by a reading (seed 002, section 4).
//!
//! Must not know: how an effect is carried out; it is derived from the steps in force (see `effective`).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{
    Episode, Message, MessageKind, RunMemory, RunPhase, StepMemory, StepState, pass::Pass, trigger::just_after,
};
use crate::resources::{Action, OnFailure, Propose};

/// The holder of the hold that a step of a run makes: `RUN/STEP`, steps counted from 1.
pub fn holder(run: &str, place: usize) -> String {
    format!("{run}/{}", place + 1)
}

impl StepMemory {
    /// Whether its hold stands.
    pub fn holds(&self) -> bool {
        matches!(self.state, StepState::InForce | StepState::Verified | StepState::Overdue)
    }
}

/// The steps that hold something, the oldest first, each with its run and its place in it.
pub fn standing(runs: &BTreeMap<String, RunMemory>) -> Vec<(&String, &RunMemory, usize, &StepMemory)> {
    let in_force = runs.iter().filter(|(_, run)| run.in_force());
    let mut all: Vec<_> = in_force
        .flat_map(|(id, run)| run.steps.iter().enumerate().map(move |(place, step)| (id, run, place, step)))
        .filter(|(_, _, _, step)| step.holds())
        .collect();
    all.sort_by_key(|(id, _, place, step)| (step.in_force_at, *id, *place));
    all
}

impl RunMemory {
    /// Whether it holds reviews.
    pub fn holds_reviews(&self) -> bool {
        self.in_force() && self.steps.iter().any(|step| step.step.hold_reviews.is_some() && step.holds())
    }
}

impl Pass<'_> {
    /// Moves every run on: verification, the next step, lifting.
    pub fn runs(&mut self) {
        let ids: Vec<String> =
            self.memory.runs.iter().filter(|(_, run)| run.in_force()).map(|(id, _)| id.clone()).collect();
        for id in ids {
            self.guard_online(&id);
            self.aim(&id);
            self.aim_at_datasets(&id);
            self.keep_new_flags(&id);
            self.verify_steps(&id);
            if self.memory.runs.get(&id).is_some_and(|run| run.lift_reason.is_none()) {
                self.next_step(&id);
            }
            self.reopen(&id);
            self.lift(&id);
        }
    }

    fn verify_steps(&mut self, id: &str) {
        let Some(run) = self.memory.runs.get(id) else { return };
        let pending =
            run.steps.iter().enumerate().filter(|(_, s)| matches!(s.state, StepState::InForce | StepState::Overdue));
        let answers: Vec<(usize, Result<(), String>)> =
            pending.map(|(place, step)| (place, self.verified(id, run, place, step))).collect();
        let offline = self.offline_groups();
        for (place, answer) in answers {
            match answer {
                Ok(()) => self.mark_verified(id, place, &offline),
                Err(detail) => self.mark_unverified(id, place, detail),
            }
        }
    }

    fn mark_verified(&mut self, id: &str, place: usize, offline: &BTreeSet<String>) {
        let now = self.now;
        let Some(step) = self.step_mut(id, place) else { return };
        step.state = StepState::Verified;
        step.verified_at = Some(now);
        step.detail = String::new();
        step.offline.clone_from(offline);
        let name = step.step.name();
        self.event(format!("Rollback/{id}"), "StepVerified", format!("step {} {name}", place + 1));
    }

    fn mark_unverified(&mut self, id: &str, place: usize, detail: String) {
        let now = self.now;
        let started =
            self.memory.runs.get(id).map_or(now, |run| run.episodes.last().map_or(run.started_at, |e| e.since));
        let Some(step) = self.step_mut(id, place) else { return };
        step.detail.clone_from(&detail);
        let name = step.step.name();
        // A note is due so long after the trigger; any other step so long after it came into force.
        let base = if step.step.publish_note.is_some() { started } else { step.in_force_at.unwrap_or(now) };
        let allowed = step.step.time_allowed();
        let deadline = allowed.after(base);
        // The owner at the deadline, the backup when as much time has passed again.
        let backup_at = allowed.after(deadline);
        let pages = if now <= deadline {
            0
        } else if now <= backup_at {
            1
        } else {
            2
        };
        let first = pages > 0 && step.state == StepState::InForce;
        if first {
            step.state = StepState::Overdue;
        }
        let before = step.pages;
        step.pages = pages.max(before);
        self.look_again(just_after(if pages == 0 { deadline } else { backup_at }));
        if first {
            let text = format!("step {} {name} is overdue: {detail}", place + 1);
            self.event(format!("Rollback/{id}"), "StepOverdue", text);
        }
        if pages > before {
            let text = format!("rollback {id}: step {} {name} is not verified: {detail}", place + 1);
            let episode = self.memory.runs.get(id).map_or(1, |run| run.episodes.len());
            let again = if episode > 1 { format!("/{episode}") } else { String::new() };
            self.page_owners(&format!("{id}/{}/overdue{again}", place + 1), &text, pages as usize);
        }
    }

    fn step_mut(&mut self, id: &str, place: usize) -> Option<&mut StepMemory> {
        self.memory.runs.get_mut(id)?.steps.get_mut(place)
    }

    /// Puts the next step in force when the one before it is verified, or overdue and not to stop.
    fn next_step(&mut self, id: &str) {
        let Some(run) = self.memory.runs.get(id) else { return };
        let next = run.steps.iter().position(|step| step.state == StepState::Waiting);
        let Some(place) = next else {
            let settled = run
                .steps
                .iter()
                .all(|step| matches!(step.state, StepState::Verified | StepState::Overdue | StepState::Lifted));
            if settled && run.phase == RunPhase::Running {
                self.event(format!("Rollback/{id}"), "Holding", "every step is in force");
                if let Some(run) = self.memory.runs.get_mut(id) {
                    run.phase = RunPhase::Holding;
                }
            }
            return;
        };
        let free = run.steps[..place].iter().all(|step| match step.state {
            StepState::Verified | StepState::Lifted => true,
            StepState::Overdue => step.step.on_failure == OnFailure::GoOn,
            StepState::Waiting | StepState::InForce => false,
        });
        if !free {
            return;
        }
        let episodes: Vec<u64> = run.episodes.iter().map(|episode| episode.number).collect();
        self.keep_definitions(id, place);
        let now = self.now;
        if let Some(step) = self.step_mut(id, place) {
            step.state = StepState::InForce;
            step.in_force_at = Some(now);
            step.verified_at = None;
            let name = step.step.name();
            self.event(format!("Rollback/{id}"), "StepInForce", format!("step {} {name}", place + 1));
        }
        self.aim_at_datasets(id);
        for episode in episodes {
            self.send_step(id, place, episode);
        }
    }

    /// Keeps the definitions of the flags that a step holds, so that deleting or renaming one cannot turn it on. What is held already stays as it was
    /// when that hold began: a commit in between has no say in what is safe.
    fn keep_definitions(&mut self, id: &str, place: usize) {
        let keys = self.held_keys(id, place);
        let mut kept = BTreeMap::new();
        for key in &keys {
            let own = self.program.flags.get(key).map(|flag| self.definition(&flag.spec));
            kept.extend(self.kept_by_a_hold(key).or(own).map(|definition| (key.clone(), definition)));
        }
        let fallback = |key: &String| Some((key.clone(), self.program.flags.get(key)?.spec.fallback.clone()?));
        let routed: BTreeMap<String, String> = keys.iter().filter_map(fallback).collect();
        let Some(run) = self.memory.runs.get_mut(id) else { return };
        run.held_flags.extend(kept);
        if let Some(step) = run.steps.get_mut(place).filter(|step| step.step.route_to_fallback.is_some()) {
            step.routed = routed;
        }
    }

    /// A flag that comes, or comes back, while it is held is kept as it came: the next commit has no say in what is safe either.
    fn keep_new_flags(&mut self, id: &str) {
        let Some(run) = self.memory.runs.get(id) else { return };
        let is_new = |key: &String| !run.held_flags.contains_key(key) && self.program.flags.contains_key(key);
        let holds_new = |step: &StepMemory| {
            step.holds() && step.step.disable_flags.as_ref().is_some_and(|disable| disable.keys.iter().any(is_new))
        };
        let steps = run.steps.iter().enumerate().filter(|(_, step)| holds_new(step));
        let places: Vec<usize> = steps.map(|(place, _)| place).collect();
        for place in places {
            self.keep_definitions(id, place);
        }
    }

    /// A flag as it was when the oldest hold on it that stands began.
    fn kept_by_a_hold(&self, key: &str) -> Option<Value> {
        let holds = |step: &StepMemory| {
            step.holds()
                && step.step.disable_flags.as_ref().is_some_and(|disable| disable.keys.iter().any(|it| it == key))
        };
        standing(&self.memory.runs)
            .into_iter()
            .find_map(|(_, run, _, step)| holds(step).then(|| run.held_flags.get(key).cloned()).flatten())
    }

    /// The flags that a step holds or routes.
    pub fn held_keys(&self, id: &str, place: usize) -> Vec<String> {
        let Some(step) = self.memory.runs.get(id).and_then(|run| run.steps.get(place)) else { return Vec::new() };
        match step.step.action() {
            Some(Action::DisableFlags(disable)) => disable.keys.clone(),
            Some(Action::RouteToFallback(route)) => {
                let flags = self.program.flags.iter();
                let risky = flags.filter(|(_, flag)| flag.spec.risk >= route.risk && flag.spec.fallback.is_some());
                let keys: BTreeSet<&String> = risky.map(|(key, _)| key).chain(step.routed.keys()).collect();
                keys.into_iter().cloned().collect()
            }
            _ => Vec::new(),
        }
    }

    /// What a step sends, for one episode: the effect key makes each go once.
    pub fn send_step(&mut self, id: &str, place: usize, episode: u64) {
        let Some(run) = self.memory.runs.get(id) else { return };
        let Some(step) = run.steps.get(place) else { return };
        let Some(about) = run.episodes.iter().find(|known| known.number == episode) else { return };
        let base = effect_base(id, episode, place);
        // What changes something outside is done for the first episode alone: notes and cause documents repeat, destructive steps do not.
        let first = run.episodes.first().is_some_and(|first| first.number == episode);
        let mut messages = Vec::new();
        match step.step.action() {
            Some(Action::PublishNote(note)) => {
                let mut variables = note.variables.clone();
                for (name, value) in said_of(self.program.name(), id, run, about) {
                    variables.entry(name).or_insert(value);
                }
                let deadline = Some(step.step.time_allowed().after(about.since));
                for channel in &note.to {
                    let what = MessageKind::Note {
                        channel: channel.clone(),
                        template: note.template.clone(),
                        variables: variables.clone(),
                        drill: false,
                    };
                    messages.push(Message { effect_key: format!("{base}/{channel}"), what, deadline });
                }
            }
            Some(Action::CaptureRootCause(capture)) => {
                let body = self.cause_document(id, run, episode);
                let what = MessageKind::Document { run: id.to_owned(), owner: capture.owner.clone(), body };
                let document = format!("{base}/document");
                messages.push(Message { effect_key: document.clone(), what, deadline: None });
                let proposals = capture.propose.iter().filter(|what| first || **what == Propose::Document);
                let on_a_forge = self.program.program.spec.forge.is_some();
                for what in proposals {
                    let proposed = proposal(*what, (id, run, about), (&base, &document));
                    let pull = on_a_forge.then(|| pull(&proposed, id, &run.revision));
                    messages.push(proposed);
                    messages.extend(pull.flatten());
                }
            }
            Some(Action::RunJob(job)) if first => {
                let what = MessageKind::Job { holder: holder(id, place), job: job.clone() };
                messages.push(Message { effect_key: format!("{base}/job"), what, deadline: None });
            }
            Some(Action::CallWebhook(call)) if first => {
                let about = said_of(self.program.name(), id, run, about);
                let what = MessageKind::Call { holder: holder(id, place), call: call.clone(), about };
                messages.push(Message { effect_key: format!("{base}/call"), what, deadline: None });
            }
            _ => {}
        }
        self.messages.extend(messages);
    }

    pub(super) fn offline_groups(&self) -> BTreeSet<String> {
        let groups = &self.program.program.spec.always_online;
        groups.iter().filter(|group| self.readings.online.get(*group).is_some_and(|fact| !fact.up)).cloned().collect()
    }

    /// Always-online groups are watched from the run's first moment; one that does not answer is paged.
    fn guard_online(&mut self, id: &str) {
        for group in self.offline_groups() {
            let text = format!("rollback {id}: route group {group} must stay online and does not answer");
            let since = self.readings.online.get(&group).map(|fact| fact.at.as_second() / 3600).unwrap_or_default();
            self.page_owners(&format!("{id}/online/{group}/{since}"), &text, 1);
        }
    }
}

/// What a cause step proposes where the documents live.
fn proposal(what: Propose, (id, run, about): (&str, &RunMemory, &Episode), (base, document): (&str, &str)) -> Message {
    let (name, what) = match what {
        Propose::Document => {
            let branch = format!("betagate/cause-{id}-{}", about.number);
            let message = format!("Cause of rollback {id}\n\n{}", about.reason);
            let document = Some(document.to_owned());
            ("proposal-document", MessageKind::Proposal { branch, message, run: id.to_owned(), document, revert: None })
        }
        Propose::Revert => {
            let branch = format!("betagate/revert-{id}");
            let message =
                format!("Take back {}\n\nIt was live when rollback {id} began: {}", run.revision, about.reason);
            let revert = Some(run.revision.clone());
            ("proposal-revert", MessageKind::Proposal { branch, message, run: id.to_owned(), document: None, revert })
        }
    };
    Message { effect_key: format!("{base}/{name}"), what, deadline: None }
}

/// The pull request for what was proposed.
fn pull(proposed: &Message, id: &str, revision: &str) -> Option<Message> {
    let MessageKind::Proposal { branch, message, .. } = &proposed.what else { return None };
    let (title, more) = message.split_once("\n\n").unwrap_or((message, ""));
    let body = format!(
        "{more}\n\nRollback `{id}`; commit `{revision}` was live when it began. `betagate rollback show {id}` tells how it stands."
    );
    let what = MessageKind::Pull { branch: branch.clone(), title: title.to_owned(), body: body.trim().to_owned() };
    let effect_key = proposed.effect_key.replacen("/proposal-", "/pull-", 1);
    Some(Message { effect_key, what, deadline: None })
}

/// What a step's messages are told of their run.
fn said_of(program: &str, id: &str, run: &RunMemory, about: &Episode) -> BTreeMap<String, String> {
    let said = [
        ("program", program.to_owned()),
        ("run", id.to_owned()),
        ("plan", run.plan.clone()),
        ("episode", about.number.to_string()),
        ("reason", about.reason.clone()),
        ("since", about.since.to_string()),
    ];
    said.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// What the effect keys of a step begin with: `RUN/EPISODE/STEP`.
pub fn effect_base(run: &str, episode: u64, place: usize) -> String {
    format!("{run}/{episode}/{}", place + 1)
}

impl RunMemory {
    /// Its phase in a word.
    pub fn phase_name(&self) -> &'static str {
        match self.phase {
            RunPhase::Running => "Running",
            RunPhase::Holding => "Holding",
            RunPhase::Lifted => "Lifted",
        }
    }
}
