//! The phases of a checklist: when each begins, begins anew, and should be done (seed 004: T-72h, D-day, hour 1, every 4 h; seed 003: phases in
//! order, each verified, and follow-ups after a stage).
//!
//! Must not know: what a check measures.

use jiff::Timestamp;

use super::{CheckResult, CheckState, Message, MessageKind, pass::Pass};
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
            if open > 0 {
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

    /// Phases that should be done by now and are not: told once each time, and the gate's owner is paged.
    pub fn phases_overdue(&mut self, gate: &str, spec: &GateSpec, results: &[CheckResult]) {
        for phase in &spec.phases {
            let Some(within) = phase.within else { continue };
            let own = || results.iter().filter(|result| result.phase.as_ref() == Some(&phase.name));
            let Some(since) = own().find_map(|result| result.phase_since) else { continue };
            let open: Vec<&str> =
                own().filter(|result| !done(result.state)).map(|result| result.name.as_str()).collect();
            let due = within.after(since);
            self.look_again(due);
            if open.is_empty() || self.now < due {
                continue;
            }
            let key = format!("{}@{}", phase.name, since.as_second());
            let told = &mut self.memory.gates.entry(gate.to_owned()).or_default().overdue;
            if told.contains(&key) {
                continue;
            }
            told.retain(|other| !other.starts_with(&format!("{}@", phase.name)));
            told.insert(key.clone());
            let text = format!("gate {gate}: phase {} was due by {due}; to be done: {}", phase.name, open.join(", "));
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
    }

    /// How far each phase is, in words: for the line of a gate.
    pub fn phases_summary(&self, spec: &GateSpec, results: &[CheckResult]) -> String {
        let mut parts = Vec::new();
        for phase in &spec.phases {
            let own: Vec<_> = results.iter().filter(|result| result.phase.as_ref() == Some(&phase.name)).collect();
            let finished = own.iter().filter(|result| done(result.state)).count();
            let begun = own.iter().any(|result| result.phase_since.is_some());
            let how = if begun { format!("{finished} of {}", own.len()) } else { "not begun".to_owned() };
            parts.push(format!("{} {how}", phase.name));
        }
        if parts.is_empty() { String::new() } else { format!("; {}", parts.join(", ")) }
    }
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
