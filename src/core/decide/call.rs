//! Decision calls: people come together at a time, the stage's gates are measured and reviewed then, everybody says GO or NO-GO (seed 004).
//!
//! What was said before a call counts for nothing. A NO-GO says why in its note, and with `until` when the next call is: then everybody speaks anew.
//!
//! Must not know: what else a stage waits for.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use super::{CallMemory, CheckRef, DueReview, Message, MessageKind, Wait, pass::Pass};
use crate::resources::{Check, Edge, EnterSignoffs, GateSpec, RolloutSpec, Says, SignoffSpec, Stage};

/// A call's review waits no longer than so for a measurement of its own.
const PATIENCE: SignedDuration = SignedDuration::from_mins(5);

impl Pass<'_> {
    /// Since when words about a stage count: since it became the next one, since its call began, since the newest NO-GO ran out.
    pub fn round(&mut self, rollout: &str, stage: &Stage, since: Timestamp) -> Timestamp {
        let call = asked(stage).and_then(|asked| asked.call);
        let began = call.map_or(since, |call| self.resolve(call.at, Edge::Start).max(since));
        self.look_again(began);
        let memory = self.memory.rollouts.get(rollout);
        let put_off = memory.and_then(|memory| memory.put_off.get(&stage.name)).copied();
        let began = match (call, put_off) {
            // Nobody knows yet when it will be.
            (Some(_), Some(None)) => return Timestamp::MAX,
            (Some(_), Some(Some(until))) => began.max(until),
            _ => began,
        };
        let about = |spec: &SignoffSpec| spec.is_vote_on(rollout, &stage.name);
        let words: Vec<_> =
            self.readings.signoffs.iter().filter(|word| about(&word.spec) && word.first_seen >= since).collect();
        let mut round = began;
        for no in words.iter().filter(|word| word.spec.says == Says::NoGo) {
            let Some(until) = no.spec.until.map(|until| self.resolve(until, Edge::End)) else { continue };
            // Who said otherwise before it ran out made it void.
            let void = words.iter().any(|word| {
                word.spec.by == no.spec.by && word.first_seen > no.first_seen && word.first_seen < until.min(self.now)
            });
            self.look_again(until);
            if !void && until <= self.now {
                round = round.max(until);
            }
        }
        round
    }

    /// What a stage waits for because of its call.
    pub fn call_waits(&self, stage: &Stage, round: Timestamp, waits: &mut Vec<Wait>) {
        let Some(asked) = asked(stage).filter(|asked| asked.call.is_some()) else { return };
        if round == Timestamp::MAX {
            let on = "the decision call is put off: a rollback holds reviews".to_owned();
            waits.push(Wait { on, from: "its hold on reviews is lifted; then everybody speaks anew".to_owned() });
        } else if self.now < round {
            let on = format!("the decision call of {} begins at {round}", asked.from.join(", "));
            waits.push(Wait { on, from: "time; words count from then on".to_owned() });
        }
    }

    /// Begins the call of a stage when its time has come: its gates are reviewed now. Tells what came of it.
    pub fn hold_call(&mut self, rollout: &str, stage: &Stage) {
        let Some(wanted) = asked(stage).filter(|asked| asked.call.is_some()) else { return };
        let first_seen = self.first_seen();
        let since = self.memory.rollouts.get(rollout).and_then(|memory| memory.next_since).unwrap_or(first_seen);
        self.put_off(rollout, stage, since);
        let began = self.round(rollout, stage, since);
        if self.now < began || self.reviews_held() {
            return;
        }
        let known = self.memory.rollouts.get(rollout).and_then(|memory| memory.calls.get(&stage.name));
        if known.is_none_or(|known| known.began != began) {
            self.begin_call(rollout, stage, wanted, began);
        }
        self.tell_outcome(rollout, stage, wanted, began);
    }

    /// A call that is due, or goes on, while a rollback holds reviews begins when it no longer does: its gates can't be reviewed before, and what is said
    /// meanwhile is said to no call.
    fn put_off(&mut self, rollout: &str, stage: &Stage, since: Timestamp) {
        let (held, now) = (self.reviews_held(), self.now);
        let due = self.round(rollout, stage, since) <= now;
        let Some(memory) = self.memory.rollouts.get_mut(rollout) else { return };
        let was = memory.put_off.get(&stage.name).copied();
        if held && due {
            memory.put_off.insert(stage.name.clone(), None);
            self.event(
                format!("Rollout/{rollout}"),
                "CallPutOff",
                format!("the call about stage {} is put off", stage.name),
            );
        } else if !held && was == Some(None) {
            memory.put_off.insert(stage.name.clone(), Some(now));
        }
    }

    fn begin_call(&mut self, rollout: &str, stage: &Stage, wanted: &EnterSignoffs, began: Timestamp) {
        let call = CallMemory { began, ..CallMemory::default() };
        self.memory.rollouts.entry(rollout.to_owned()).or_default().calls.insert(stage.name.clone(), call);
        for gate in self.gates_of(stage) {
            let reviewed = self.program.gates.get(&gate).is_some_and(|gate| gate.spec.review.is_some());
            let memory = self.memory.gates.entry(gate).or_default();
            let sealed = memory.last_sealed.as_ref().is_some_and(|sealed| sealed.due_at >= began);
            let due = memory.due.as_ref().is_some_and(|due| due.due_at >= began);
            if reviewed && !sealed && !due {
                memory.due = Some(DueReview { due_at: began, reopened: false, call: true });
            }
        }
        let text =
            format!("the call about stage {} began; it needs the words of {}", stage.name, wanted.from.join(", "));
        self.event(format!("Rollout/{rollout}"), "CallBegan", text);
    }

    /// The gates of a stage, and those that they read.
    fn gates_of(&self, stage: &Stage) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut open: Vec<&str> =
            stage.enter.iter().flat_map(|enter| &enter.gates).map(|gate| gate.name.as_str()).collect();
        while let Some(name) = open.pop() {
            if found.insert(name.to_owned()) {
                let checks = self.program.gates.get(name).into_iter().flat_map(|gate| &gate.spec.checks);
                open.extend(checks.filter_map(|check| check.gate.as_ref()).map(|read| read.name.as_str()));
            }
        }
        found
    }

    /// Whether a call's review still waits for readings of its own moment.
    pub fn waits_for_measurement(&mut self, gate: &str, spec: &GateSpec, due_at: Timestamp) -> bool {
        let until = due_at.checked_add(PATIENCE).unwrap_or(due_at);
        self.look_again(until);
        let old = |check: &Check| {
            let reading = self.readings.checks.get(&CheckRef::new(gate, &check.name));
            reading.is_none_or(|reading| reading.at < due_at)
        };
        self.now < until && spec.checks.iter().any(|check| check.is_measured() && old(check))
    }

    /// Whether a call goes on in which not everybody has spoken.
    pub(super) fn call_waits_for_voices(&self, rollout: &str, stage: &Stage) -> bool {
        let call = self.memory.rollouts.get(rollout).and_then(|memory| memory.calls.get(&stage.name));
        asked(stage).is_some_and(|asked| asked.call.is_some()) && call.is_some_and(|call| call.outcome.is_empty())
    }

    fn tell_outcome(&mut self, rollout: &str, stage: &Stage, wanted: &EnterSignoffs, began: Timestamp) {
        let words = self.votes_since(rollout, &stage.name, began);
        let against: Vec<String> = words
            .iter()
            .filter(|word| word.spec.says == Says::NoGo)
            .map(|word| {
                let scope = word.spec.note.as_deref().unwrap_or("without a note");
                let next = word.spec.until.map(|until| format!("; next call at {}", self.resolve(until, Edge::End)));
                format!("NO-GO by {}: {scope}{}", word.spec.by, next.unwrap_or_default())
            })
            .collect();
        let said_go = |name: &String| words.iter().any(|word| word.spec.says == Says::Go && word.spec.by == *name);
        let outcome = if !against.is_empty() {
            against.join("; ")
        } else if wanted.from.iter().all(said_go) {
            let gates = stage.enter.iter().flat_map(|enter| &enter.gates);
            let gates: Vec<_> = gates.map(|gate| format!("{} {}", gate.name, self.verdict(&gate.name))).collect();
            format!("GO by {}; {}", wanted.from.join(", "), gates.join(", "))
        } else {
            String::new()
        };
        let memory = self.memory.rollouts.entry(rollout.to_owned()).or_default();
        let Some(call) = memory.calls.get_mut(&stage.name).filter(|call| call.outcome != outcome) else { return };
        call.outcome.clone_from(&outcome);
        if !outcome.is_empty() {
            call.minutes += 1;
            let number = call.minutes;
            let body = self.minutes((rollout, stage), wanted, (began, &outcome), &self.gates_of(stage));
            let at = format!("{rollout}/{}/minutes/{}-{number}", stage.name, began.as_second());
            let effect_key = format!("{}/rollout/{at}", self.program.name());
            let what = MessageKind::Minutes { call: format!("{rollout}-{}", stage.name), body };
            self.messages.push(Message { effect_key, what, deadline: None });
            self.event(format!("Rollout/{rollout}"), "CallDecided", format!("stage {}: {outcome}", stage.name));
        }
    }

    /// The call of the next stage of a rollout in a line: for what stands in its status.
    pub fn call_summary(&self, rollout: &str, spec: &RolloutSpec) -> String {
        let next = self.next_stage(rollout, spec).map(|stage| stage.name.as_str());
        let calls = self.memory.rollouts.get(rollout).map(|memory| &memory.calls);
        let call = next.and_then(|next| calls?.get(next)).filter(|call| !call.outcome.is_empty());
        call.map_or_else(String::new, |call| format!("; the call of {}: {}", call.began, call.outcome))
    }
}

fn asked(stage: &Stage) -> Option<&EnterSignoffs> {
    stage.enter.as_ref()?.signoffs.as_ref()
}
