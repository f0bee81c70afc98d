//! Checks and the live verdict of a gate (product page, "Gates"; seed 002, sections 2 and 3).
//!
//! Must not know: schedules of reviews, what a verdict leads to.

use jiff::Timestamp;

use super::{
    CheckRef, CheckResult, CheckState, GateVerdict, Outcome, Reading, Verdict, Why, pass::Pass, phase::named,
    trigger::just_after, versus::beside,
};
use crate::resources::{
    Check, Edge, GateCheck, GateIs, GateSpec, IncidentCheck, Missing, Says, Span, Threshold, Versus,
};

/// How long a measured value counts when a check does not say: three measuring intervals.
const STALE_INTERVALS: i64 = 3;
/// How often a gate is measured when it does not say.
pub const MEASURE_EVERY: Span = Span::seconds(5 * 60);
/// How long a miss waits for its mitigation when a gate does not say.
pub(super) const DECIDE_WITHIN: Span = Span::seconds(24 * 3600);

/// When a verdict is given, which decides what may still wait.
#[derive(Clone, Copy)]
pub(super) enum Occasion {
    /// Now, between reviews.
    Live,
    /// For the review that was due then.
    Review { due_at: Timestamp },
}

impl Pass<'_> {
    /// Gives every gate its live verdict, those that are read by others first.
    pub fn gates(&mut self) {
        for name in &self.program.gate_order {
            let Some(gate) = self.program.gates.get(name) else { continue };
            let checks = self.checks(name, &gate.spec);
            self.remember_misses(name, &checks);
            let phases = self.phases(&gate.spec, &checks);
            self.tell_phases(name, &gate.spec, &phases, &checks);
            let mut verdict = self.judge(name, &gate.spec, checks, Occasion::Live);
            verdict.phases = phases;
            self.verdicts.insert(name.clone(), verdict);
        }
        let gates = &self.program.gates;
        self.memory.gates.retain(|name, _| gates.contains_key(name));
    }

    /// Every check, in the order in which the gate lists them.
    fn checks(&mut self, gate: &str, spec: &GateSpec) -> Vec<CheckResult> {
        let order = Self::phase_order(spec);
        let mut results: Vec<(usize, CheckResult)> = Vec::with_capacity(order.len());
        let mut before = Vec::new();
        for place in order {
            let Some(check) = spec.checks.get(place) else { continue };
            let result = self.check(gate, spec, check, &before);
            if result.phase.is_some() {
                before.push(result.clone());
            }
            results.push((place, result));
        }
        results.sort_by_key(|(place, _)| *place);
        results.into_iter().map(|(_, result)| result).collect()
    }

    fn remember_misses(&mut self, gate: &str, checks: &[CheckResult]) {
        let now = self.now;
        let author = self.memory.program.changed_by.clone();
        let memory = self.memory.gates.entry(gate.to_owned()).or_default();
        for check in checks {
            match check.state {
                CheckState::Missed | CheckState::Mitigated => {
                    memory.missed_since.entry(check.name.clone()).or_insert_with(|| {
                        memory.missed_under.insert(check.name.clone(), author.clone());
                        now
                    });
                }
                // An unknown is no recovery: a miss that was seen stands until the check is met.
                CheckState::Unknown | CheckState::Ignored => {}
                _ => {
                    memory.missed_since.remove(&check.name);
                }
            }
        }
        memory.missed_since.retain(|name, _| checks.iter().any(|check| check.name == *name));
        let missed = &memory.missed_since;
        memory.missed_under.retain(|name, _| missed.contains_key(name));
    }

    fn check(&mut self, gate: &str, spec: &GateSpec, check: &Check, before: &[CheckResult]) -> CheckResult {
        let mut result = CheckResult {
            name: check.name.clone(),
            state: CheckState::Unknown,
            pass: check.pass.clone(),
            critical: check.critical,
            reading: None,
            detail: String::new(),
            phase: check.phase.clone(),
            phase_since: None,
        };
        match self.phase_begun(gate, spec, check, before) {
            Ok(since) => result.phase_since = since,
            Err(why) => {
                (result.state, result.detail) = (CheckState::NotDue, why);
                return result;
            }
        }
        if let Some(from) = check.from {
            let from = self.resolve(from, Edge::Start);
            self.look_again(from);
            if self.now < from {
                result.state = CheckState::NotDue;
                result.detail = format!("not due before {from}");
                return result;
            }
        }
        let (waived_by, vain) = self.waiver(gate, &check.name);
        if let Some(by) = waived_by {
            (result.state, result.detail) = (CheckState::Waived, format!("waived by {by}"));
            return result;
        }
        let (state, reading, detail) = self.measure(gate, spec, check, result.phase_since);
        (result.state, result.reading, result.detail) = (state, reading, detail);
        result.detail += &not_counted("waiver", vain);
        if result.state == CheckState::Unknown && check.missing == Missing::Ignore {
            result.state = CheckState::Ignored;
        }
        if result.state == CheckState::Missed {
            let (accepted_by, vain) = self.mitigation(gate, spec, &check.name);
            if let Some(by) = accepted_by {
                result.state = CheckState::Mitigated;
                result.detail = format!("{}; mitigation accepted by {by}", result.detail);
            }
            result.detail += &not_counted("mitigation", vain);
        }
        result
    }

    fn measure(
        &mut self,
        gate: &str,
        spec: &GateSpec,
        check: &Check,
        phase_since: Option<Timestamp>,
    ) -> (CheckState, Option<Reading>, String) {
        if let Some(signoff) = &check.signoff {
            // What was signed before a phase began, or began anew, counts for nothing; those that wait for nothing but the one before take what is done
            // ahead of time.
            let own = spec.phases.iter().find(|phase| Some(&phase.name) == check.phase.as_ref());
            let anew = own.is_some_and(|phase| phase.every.is_some() || phase.after.is_some() || phase.from.is_some());
            return self.signed(gate, &check.name, &signoff.from, phase_since.filter(|_| anew));
        }
        if let Some(other) = &check.gate {
            return self.other_gate(other);
        }
        let reading = match &check.incidents {
            Some(which) => Reading { at: self.as_of(spec), ..self.count_incidents(which) },
            None => match self.readings.checks.get(&CheckRef::new(gate, &check.name)) {
                Some(reading) => self.fresh(spec, check, reading.clone()),
                None => Reading::unknown(Why::NoData, self.as_of(spec)),
            },
        };
        let reading = match check.vs {
            None => reading,
            Some(Versus::BeforeStage) => match self.compared(gate, check, reading) {
                Ok(reading) => reading,
                Err(cannot) => {
                    let (state, reading, why) = *cannot;
                    return (state, Some(reading), why);
                }
            },
        };
        let state = judge_reading(check.pass.as_ref(), &reading);
        let detail = match &reading.outcome {
            Outcome::Unknown(why) => why.to_string(),
            Outcome::Value { .. } => check.pass.as_ref().map(|pass| format!("must be {pass}")).unwrap_or_default(),
        };
        let detail = detail + &beside(check, &reading);
        (state, Some(reading), detail)
    }

    /// When a gate was last due to be measured: what is counted at every pass speaks of this time, so that a state that stays the same is
    /// the same from one pass to the next.
    fn as_of(&self, spec: &GateSpec) -> Timestamp {
        let every = spec.measure.as_ref().map_or(MEASURE_EVERY, |measure| measure.every).duration().as_secs().max(1);
        let second = self.now.as_second();
        Timestamp::from_second(second - second.rem_euclid(every)).unwrap_or(self.now)
    }

    /// A manual item: done when someone whose word counts said so. What nobody signed is unknown, not missed.
    fn signed(
        &mut self,
        gate: &str,
        check: &str,
        from: &[String],
        since: Option<Timestamp>,
    ) -> (CheckState, Option<Reading>, String) {
        let mut words = self.words_about_check(Says::Done, gate, check);
        words.retain(|word| since.is_none_or(|since| word.first_seen >= since));
        let may = |by: &String| from.is_empty() || from.contains(by);
        if let Some(word) = words.iter().find(|word| may(&word.spec.by)) {
            return (CheckState::Met, None, format!("signed by {}", word.spec.by));
        }
        let unproven = self.unproven(|word| word.spec.is_about(Says::Done, gate, check) && may(&word.spec.by));
        let waits =
            if from.is_empty() { "nobody signed it".to_owned() } else { format!("waits for {}", from.join(" or ")) };
        (CheckState::Unknown, None, waits + &unproven)
    }

    fn other_gate(&mut self, read: &GateCheck) -> (CheckState, Option<Reading>, String) {
        let name = named(&read.name, &read.phases);
        let Some(other) = self.verdict_of(&read.name, &read.phases) else {
            return (CheckState::Unknown, None, format!("gate {name} has no verdict"));
        };
        let missed = other.checks.iter().any(|check| check.state == CheckState::Missed);
        let state = match (read.is, other.verdict) {
            (GateIs::NoMiss, _) => {
                if missed {
                    CheckState::Missed
                } else {
                    CheckState::Met
                }
            }
            (_, Verdict::Pass) | (GateIs::PassOrConditional, Verdict::Conditional) => CheckState::Met,
            (_, Verdict::Pending | Verdict::Held) => CheckState::Unknown,
            (_, Verdict::Conditional | Verdict::Fail) => CheckState::Missed,
        };
        (state, None, format!("gate {name} is {}", other.verdict))
    }

    fn count_incidents(&mut self, which: &IncidentCheck) -> Reading {
        let since = which.within.map(|within| within.before(self.now));
        let mut again = Vec::new();
        let counted = self.readings.incidents.iter().filter(|incident| {
            if which.severity.as_ref().is_some_and(|severity| *severity != incident.severity)
                || which.category.as_ref().is_some_and(|category| Some(category) != incident.category.as_ref())
                || incident.started_at > self.now
                || (which.open && !incident.open_at(self.now))
            {
                return false;
            }
            if let Some(limit) = which.unacknowledged_for {
                again.push(just_after(limit.after(incident.started_at)));
                let taken = incident.acknowledged_at.or(incident.resolved_at).filter(|taken| *taken <= self.now);
                // Without a window it is about what lies there now, not about what lay there once.
                if taken.unwrap_or(self.now) <= limit.after(incident.started_at)
                    || (taken.is_some() && which.within.is_none())
                {
                    return false;
                }
            }
            let Some(since) = since else { return true };
            if let Some(within) = which.within {
                again.push(within.after(incident.resolved_at.unwrap_or(incident.started_at)));
            }
            incident.started_at > since || incident.resolved_at.is_none_or(|resolved| resolved > since)
        });
        let count = u32::try_from(counted.count()).unwrap_or(u32::MAX);
        for at in again {
            self.look_again(at);
        }
        Reading::value(f64::from(count), self.now)
    }

    pub fn fresh(&mut self, gate: &GateSpec, check: &Check, reading: Reading) -> Reading {
        let every = gate.measure.as_ref().map_or(MEASURE_EVERY, |measure| measure.every);
        let limit = check.stale_after.map_or(every.duration() * (STALE_INTERVALS as i32), Span::duration);
        let stale_at = reading.at.checked_add(limit).unwrap_or(Timestamp::MAX);
        if self.now > stale_at {
            return Reading { outcome: Outcome::Unknown(Why::Stale), ..reading };
        }
        if matches!(reading.outcome, Outcome::Value { .. }) {
            self.look_again(stale_at.checked_add(jiff::SignedDuration::from_micros(1)).unwrap_or(stale_at));
        }
        enough(check, reading)
    }

    /// The verdict over checks, in the order of the product page: Fail, Pending, Conditional, Pass.
    pub fn judge(&mut self, gate: &str, spec: &GateSpec, checks: Vec<CheckResult>, occasion: Occasion) -> GateVerdict {
        let allowed = spec.conditional.as_ref().map_or(0, |conditional| conditional.missed as usize);
        let (lasting, waiting) = self.critical_misses(gate, spec, &checks, occasion);
        let named = |state: CheckState| -> Vec<&str> {
            checks
                .iter()
                .filter(|check| check.state == state && !check.critical)
                .map(|check| check.name.as_str())
                .collect()
        };
        let (missed, mitigated, unknown) = (named(CheckState::Missed), named(CheckState::Mitigated), {
            let open = checks.iter().filter(|check| check.state == CheckState::Unknown);
            open.map(|check| check.name.as_str()).collect::<Vec<_>>()
        });
        let mut lets_wait = false;
        let (verdict, critical, mut reason) = if !lasting.is_empty() {
            (Verdict::Fail, true, format!("critical: {} missed", lasting.join(", ")))
        } else if missed.len() + mitigated.len() > allowed {
            let all: Vec<_> = missed.iter().chain(&mitigated).copied().collect();
            (Verdict::Fail, false, format!("{} missed, {allowed} may be", all.join(", ")))
        } else if !missed.is_empty() && !self.may_wait(gate, spec, &missed, occasion) {
            (Verdict::Fail, false, format!("{} missed, its mitigation is not accepted", missed.join(", ")))
        } else if !waiting.is_empty() {
            (Verdict::Pending, false, format!("critical: {} missed, not yet for long enough", waiting.join(", ")))
        } else if !checks.is_empty() && checks.iter().all(|check| check.state == CheckState::NotDue) {
            let over = !spec.phases.is_empty() && spec.phases.iter().all(|phase| self.over(phase).is_some());
            let why = if over { "every phase is over: nothing of it is asked any more" } else { "nothing is due yet" };
            (Verdict::Pending, false, why.to_owned())
        } else if !unknown.is_empty() {
            (Verdict::Pending, false, format!("unknown: {}", unknown.join(", ")))
        } else if !missed.is_empty() {
            lets_wait = true;
            (Verdict::Pending, false, format!("mitigation: {} missed and waits for its mitigation", missed.join(", ")))
        } else if !mitigated.is_empty() {
            (Verdict::Conditional, false, format!("{} missed, mitigation accepted", mitigated.join(", ")))
        } else {
            (Verdict::Pass, false, "everything mandatory is met".to_owned())
        };
        let left_out = |state: CheckState, word: &str| {
            let names: Vec<_> = checks.iter().filter(|c| c.state == state).map(|c| c.name.as_str()).collect();
            if names.is_empty() { String::new() } else { format!("; {word}: {}", names.join(", ")) }
        };
        reason += &left_out(CheckState::Ignored, "left out, unknown");
        reason += &left_out(CheckState::Waived, "waived");
        let waits_for_mitigation = verdict == Verdict::Pending && lets_wait;
        GateVerdict { verdict, critical, reason, waits_for_mitigation, checks, phases: Vec::new() }
    }

    /// The critical checks that are missed: those that count now, and those whose `for` has not passed. A review waits for no `for`.
    fn critical_misses(
        &mut self,
        gate: &str,
        spec: &GateSpec,
        checks: &[CheckResult],
        occasion: Occasion,
    ) -> (Vec<String>, Vec<String>) {
        let (mut lasting, mut waiting) = (Vec::new(), Vec::new());
        for (check, result) in spec.checks.iter().zip(checks) {
            if !check.critical || !matches!(result.state, CheckState::Missed | CheckState::Mitigated) {
                continue;
            }
            let since = self.memory.gates.get(gate).and_then(|memory| memory.missed_since.get(&check.name)).copied();
            let from = check.lasting.map(|lasting| lasting.after(since.unwrap_or(self.now)));
            match (from, occasion) {
                (Some(from), Occasion::Live) if self.now < from => {
                    self.look_again(from);
                    waiting.push(check.name.clone());
                }
                _ => lasting.push(check.name.clone()),
            }
        }
        (lasting, waiting)
    }

    fn may_wait(&mut self, gate: &str, spec: &GateSpec, missed: &[&str], occasion: Occasion) -> bool {
        let within = spec.decide_within.unwrap_or(DECIDE_WITHIN);
        let since = match occasion {
            Occasion::Review { due_at } => due_at,
            Occasion::Live => {
                let memory = self.memory.gates.get(gate);
                let since = missed.iter().filter_map(|name| memory.and_then(|m| m.missed_since.get(*name))).min();
                since.copied().unwrap_or(self.now)
            }
        };
        let until = within.after(since);
        self.look_again(until);
        self.now < until
    }
}

/// A word that is there and does not count.
fn not_counted(word: &str, by: Option<String>) -> String {
    by.map_or_else(String::new, |by| format!("; the {word} by {by} does not count: {by} authored the change"))
}

/// A reading with fewer samples than its check asks for is unknown.
pub(super) fn enough(check: &Check, reading: Reading) -> Reading {
    match (&reading.outcome, check.min_samples) {
        (Outcome::Value { denominator, samples, .. }, Some(need)) => {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
            let have = samples.or_else(|| denominator.map(|count| count as u64)).unwrap_or(1);
            if have < need {
                return Reading { outcome: Outcome::Unknown(Why::TooFewSamples { have, need }), ..reading };
            }
            reading
        }
        _ => reading,
    }
}

pub(super) fn judge_reading(pass: Option<&Threshold>, reading: &Reading) -> CheckState {
    let met = match (&reading.outcome, pass) {
        (Outcome::Unknown(_), _) => return CheckState::Unknown,
        (Outcome::Value { numerator: Some(n), denominator: Some(d), .. }, Some(pass)) => pass.met_by_ratio(*n, *d),
        (Outcome::Value { value, .. }, Some(pass)) => pass.met_by(*value),
        // A job without a threshold answers 1 for met (exit code 0).
        (Outcome::Value { value, .. }, None) => *value != 0.0,
    };
    if met { CheckState::Met } else { CheckState::Missed }
}
