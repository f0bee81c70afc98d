//! The phases of a checklist: when each begins, begins anew, and should be done (seed 004: T-72h, D-day, hour 1, every 4 h; seed 003: phases in
//! order, each verified, and follow-ups after a stage).
//!
//! Must not know: what a check measures.

use jiff::Timestamp;

use super::{
    CheckResult, CheckState, GateVerdict, Message, MessageKind, PhaseState, ToldPhase, Verdict, gate::Occasion,
    pass::Pass,
};
use crate::resources::{Check, Edge, GateSpec, Phase, Span};

impl Pass<'_> {
    /// The places of a gate's checks in the order in which they are looked at: phase by phase, those of no phase first.
    pub fn phase_order(spec: &GateSpec) -> Vec<usize> {
        let mut order: Vec<usize> = (0..spec.checks.len()).collect();
        order.sort_by_key(|place| spec.checks.get(*place).and_then(|check| place_of(spec, check)));
        order
    }

    /// When the phase of a check began (or began anew) last; what it waits for, when it has not begun. `before` are the results of the checks that were
    /// looked at already.
    pub fn phase_begun(
        &mut self,
        gate: &str,
        spec: &GateSpec,
        check: &Check,
        before: &[CheckResult],
    ) -> Result<Option<Timestamp>, String> {
        let Some(place) = place_of(spec, check) else { return Ok(None) };
        let Some(phase) = spec.phases.get(place) else { return Ok(None) };
        let began = self.began(gate, spec, (place, phase), before)?;
        if let Some(over) = self.over(phase) {
            return Err(format!("over since {over}"));
        }
        let Some(every) = phase.every else { return Ok(Some(began)) };
        let (since, again) = period(began, every, self.now);
        self.look_again(again);
        Ok(Some(since))
    }

    fn began(
        &mut self,
        gate: &str,
        spec: &GateSpec,
        (place, phase): (usize, &Phase),
        before: &[CheckResult],
    ) -> Result<Timestamp, String> {
        let known = self.memory.gates.get(gate).and_then(|memory| memory.phases.get(&phase.name)).copied();
        if let (true, Some(known)) = (spec.in_order, known) {
            return Ok(known);
        }
        let from = self.may_begin(phase)?;
        if !spec.in_order {
            return Ok(from);
        }
        if let Some(earlier) = place.checked_sub(1).and_then(|earlier| spec.phases.get(earlier)) {
            let open =
                before.iter().filter(|result| result.phase.as_ref() == Some(&earlier.name) && !done(result.state));
            let open = open.count();
            if open > 0 && self.over(earlier).is_none() {
                return Err(format!("phase {} comes first: {open} of it to be done", earlier.name));
            }
        }
        let began = if place == 0 { from } else { self.now };
        let memory = self.memory.gates.entry(gate.to_owned()).or_default();
        memory.phases.insert(phase.name.clone(), began);
        Ok(began)
    }

    /// The moment from which a phase may begin, if it has come.
    fn may_begin(&mut self, phase: &Phase) -> Result<Timestamp, String> {
        let at = match (&phase.after, phase.from) {
            (Some(after), _) => {
                let rollout = self.memory.rollouts.get(&after.rollout);
                let Some(opened) = rollout.and_then(|memory| memory.opened.get(&after.stage)).copied() else {
                    return Err(format!("not due before stage {} is open", after.stage));
                };
                after.by.map_or(opened, |by| by.after(opened))
            }
            (None, Some(from)) => self.resolve(from, Edge::Start),
            (None, None) => self.first_seen(),
        };
        self.look_again(at);
        if self.now < at { Err(format!("not due before {at}")) } else { Ok(at) }
    }

    /// Since when a phase is over, if it is.
    pub(super) fn over(&mut self, phase: &Phase) -> Option<Timestamp> {
        let until = phase.until.as_ref()?;
        let opened = self.memory.rollouts.get(&until.rollout)?.opened.get(&until.stage).copied()?;
        let over = until.by.map_or(opened, |by| by.after(opened));
        self.look_again(over);
        (self.now >= over).then_some(over)
    }

    /// How far each phase is.
    pub fn phases(&mut self, spec: &GateSpec, results: &[CheckResult]) -> Vec<PhaseState> {
        let mut states = Vec::with_capacity(spec.phases.len());
        for phase in &spec.phases {
            let own: Vec<_> = results.iter().filter(|result| result.phase.as_ref() == Some(&phase.name)).collect();
            let since = own.iter().find_map(|result| result.phase_since);
            let finished = own.iter().filter(|result| done(result.state)).count();
            let due = phase.within.zip(since).map(|(within, since)| within.after(since));
            if let Some(due) = due {
                self.look_again(due);
            }
            let over = if since.is_none() { self.over(phase) } else { None };
            let waits = match since.or(over) {
                Some(_) => String::new(),
                None => own.first().map_or_else(|| "nothing belongs to it".to_owned(), |first| first.detail.clone()),
            };
            let overdue = finished < own.len() && due.is_some_and(|due| self.now >= due);
            let (name, of) = (phase.name.clone(), own.len());
            states.push(PhaseState { name, since, due, done: finished, of, overdue, over, waits });
        }
        states
    }

    /// Tells of phases that began, that are done, and, once each time, of those that should be done by now: then the gate's owner is paged.
    pub fn tell_phases(&mut self, gate: &str, spec: &GateSpec, phases: &[PhaseState], results: &[CheckResult]) {
        let object = format!("Gate/{gate}");
        for state in phases {
            let Some(since) = state.since else { continue };
            let all_done = state.done == state.of;
            let told = &mut self.memory.gates.entry(gate.to_owned()).or_default().told;
            let had = told.insert(state.name.clone(), ToldPhase { since, done: all_done });
            let had = had.filter(|had| had.since == since);
            // What was done once and is missed again is told of by the verdict.
            let was_done = had.as_ref().is_some_and(|had| had.done);
            if was_done && let Some(kept) = told.get_mut(&state.name) {
                kept.done = true;
            }
            if had.is_none() {
                let due = state.due.map(|due| format!(", due by {due}")).unwrap_or_default();
                let text = format!("phase {}: {} of {} done{due}", state.name, state.done, state.of);
                self.event(object.clone(), "PhaseBegan", text);
            }
            if all_done && !was_done {
                self.event(object.clone(), "PhaseDone", format!("phase {}: all {} done", state.name, state.of));
            }
            if state.overdue {
                self.tell_overdue(gate, spec, (state, since), results);
            }
        }
    }

    fn tell_overdue(
        &mut self,
        gate: &str,
        spec: &GateSpec,
        (state, since): (&PhaseState, Timestamp),
        results: &[CheckResult],
    ) {
        let key = format!("{}@{}", state.name, since.as_second());
        let told = &mut self.memory.gates.entry(gate.to_owned()).or_default().overdue;
        if told.contains(&key) {
            return;
        }
        told.retain(|other| !other.starts_with(&format!("{}@", state.name)));
        told.insert(key.clone());
        let open = results.iter().filter(|result| result.phase.as_ref() == Some(&state.name) && !done(result.state));
        let open: Vec<&str> = open.map(|result| result.name.as_str()).collect();
        let due = state.due.unwrap_or(self.now);
        let text = format!("gate {gate}: phase {} was due by {due}; to be done: {}", state.name, open.join(", "));
        self.event(format!("Gate/{gate}"), "PhaseOverdue", text.clone());
        match &spec.owner {
            Some(owner) => {
                let effect_key = format!("{}/gate/{gate}/{key}/{owner}", self.program.name());
                let what = MessageKind::Page { person: owner.clone(), text };
                self.messages.push(Message { effect_key, what, deadline: None });
            }
            None => self.page_owners(&format!("gate/{gate}/{key}"), &text, 1),
        }
    }

    /// The live verdict of a gate, or that of some of its phases alone: those of its checks, judged as if it had no others.
    pub fn verdict_of(&mut self, gate: &str, phases: &[String]) -> Option<GateVerdict> {
        let verdict = self.verdicts.get(gate)?;
        if phases.is_empty() {
            return Some(verdict.clone());
        }
        let of_them = |phase: &Option<String>| phase.as_ref().is_some_and(|phase| phases.contains(phase));
        let results: Vec<_> = verdict.checks.iter().filter(|check| of_them(&check.phase)).cloned().collect();
        // A phase that has not begun is not done, whatever is done of the others.
        let to_come = |state: &&PhaseState| phases.contains(&state.name) && state.since.or(state.over).is_none();
        let waiting = verdict.phases.iter().find(to_come).cloned();
        let mut spec = self.program.gates.get(gate)?.spec.clone();
        spec.checks.retain(|check| of_them(&check.phase));
        let mut judged = self.judge(gate, &spec, results, Occasion::Live);
        if let Some(waiting) = waiting
            && judged.verdict != Verdict::Fail
        {
            judged.verdict = Verdict::Pending;
            judged.reason = format!("phase {}: {}", waiting.name, waiting.waits);
        }
        Some(judged)
    }
}

/// How far the phases of a gate are, in words: for its line. Those to come are counted.
pub(super) fn in_words(phases: &[PhaseState]) -> String {
    let begun = phases.iter().filter(|phase| phase.since.is_some());
    let mut parts: Vec<String> = begun.map(|phase| format!("{} {} of {}", phase.name, phase.done, phase.of)).collect();
    let over = phases.iter().filter(|phase| phase.over.is_some()).count();
    let ahead = phases.len() - parts.len() - over;
    if ahead > 0 {
        parts.push(format!("{ahead} phase(s) to come"));
    }
    if phases.is_empty() { String::new() } else { format!("; {}", parts.join(", ")) }
}

/// A gate, or some of its phases, as it is named in a sentence.
pub(super) fn named(gate: &str, phases: &[String]) -> String {
    if phases.is_empty() { gate.to_owned() } else { format!("{gate} ({})", phases.join(", ")) }
}

/// Whether nothing is left to do about a check.
fn done(state: CheckState) -> bool {
    matches!(state, CheckState::Met | CheckState::Mitigated | CheckState::Waived | CheckState::Ignored)
}

fn place_of(spec: &GateSpec, check: &Check) -> Option<usize> {
    let name = check.phase.as_ref()?;
    spec.phases.iter().position(|phase| phase.name == *name)
}

/// The beginning of the period in which `now` lies, and of the next one.
fn period(began: Timestamp, every: Span, now: Timestamp) -> (Timestamp, Timestamp) {
    let micros = every.duration().as_micros().max(1);
    let passed = now.duration_since(began).as_micros().max(0).div_euclid(micros);
    let at = |number: i128| {
        let micros = i64::try_from(micros.saturating_mul(number)).unwrap_or(i64::MAX);
        began.checked_add(jiff::SignedDuration::from_micros(micros)).unwrap_or(Timestamp::MAX)
    };
    (at(passed), at(passed + 1))
}
