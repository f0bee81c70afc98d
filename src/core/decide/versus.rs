//! Values compared with what they were before the stage that opened last (`vs: before-stage`).
//!
//! Must not know: how a value is measured. The window is the query's own: what is kept is its last answer from before the stage.

use super::{CheckRef, CheckState, Outcome, Reading, Why, pass::Pass};
use crate::resources::Check;

/// The share that stands for "out of nothing".
const BEYOND: f64 = 1e9;

impl Pass<'_> {
    /// Keeps, for every check that compares, what it reads now: a stage opens.
    pub fn keep_baselines(&mut self) {
        let program = self.program;
        for (name, gate) in &program.gates {
            for check in gate.spec.checks.iter().filter(|check| check.vs.is_some()) {
                let reading = self.readings.checks.get(&CheckRef::new(name, &check.name)).cloned();
                let reading = reading.map(|reading| self.fresh(&gate.spec, check, reading));
                let memory = self.memory.gates.entry(name.clone()).or_default();
                match reading {
                    Some(reading) if matches!(reading.outcome, Outcome::Value { .. }) => {
                        memory.baselines.insert(check.name.clone(), reading);
                    }
                    // An older one would speak of another stage.
                    _ => drop(memory.baselines.remove(&check.name)),
                }
            }
        }
    }

    /// The value's share of what it was; or the state of a check that can't be compared.
    pub fn compared(
        &self,
        gate: &str,
        check: &Check,
        reading: Reading,
    ) -> Result<Reading, Box<(CheckState, Reading, String)>> {
        if self.memory.rollouts.values().all(|rollout| rollout.opened.is_empty()) {
            let why = "compares with what was before a stage; none is open yet".to_owned();
            return Err(Box::new((CheckState::NotDue, reading, why)));
        }
        if !matches!(reading.outcome, Outcome::Value { .. }) {
            return Ok(reading);
        }
        let kept = self.memory.gates.get(gate).and_then(|memory| memory.baselines.get(&check.name));
        let Some(Outcome::Value { value: before, .. }) = kept.map(|kept| &kept.outcome) else {
            let reading = Reading { outcome: Outcome::Unknown(Why::NoData), ..reading };
            let why = "there is no value from before the stage to compare with".to_owned();
            return Err(Box::new((CheckState::Unknown, reading, why)));
        };
        Ok(against(reading, *before))
    }
}

/// The value's share of what it was; what is unknown stays so.
pub(super) fn against(reading: Reading, before: f64) -> Reading {
    let Outcome::Value { value, samples, denominator, .. } = reading.outcome else { return reading };
    let share = if value == before { 1.0 } else { (value / before).clamp(-BEYOND, BEYOND) };
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
    let samples = samples.or_else(|| denominator.map(|count| count as u64));
    let outcome = Outcome::Value { value: share, numerator: Some(value), denominator: Some(before), samples };
    Reading { outcome, ..reading }
}

/// What a comparison is about, in words: the counts of a reading that was compared.
pub(super) fn beside(check: &Check, reading: &Reading) -> String {
    match (&check.vs, &reading.outcome) {
        (Some(_), Outcome::Value { numerator: Some(now), denominator: Some(before), .. }) => {
            format!("; {now} now, {before} before the stage")
        }
        _ => String::new(),
    }
}
