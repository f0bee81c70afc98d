//! Reviews: a verdict sealed with its inputs for a calendar window in the program's zone (seed 002, section 3).
//!
//! Must not know: what a sealed review opens or lifts.

use jiff::Timestamp;

use super::{CheckState, DueReview, GateVerdict, SealedReview, SealedSummary, Verdict, gate::Occasion, pass::Pass};
use crate::resources::{Edge, GateSpec, Review};

/// More than this many reviews missed in a row (a controller that was away for years) are not made up for.
const MOST_MISSED: usize = 520;

impl Pass<'_> {
    /// Whether a rollback holds reviews.
    pub fn reviews_held(&self) -> bool {
        self.memory.runs.values().any(super::RunMemory::holds_reviews)
    }

    /// Opens the reviews that are due, and seals those whose verdict can be given.
    pub fn reviews(&mut self) {
        for name in &self.program.gate_order {
            let Some(gate) = self.program.gates.get(name) else { continue };
            if let Some(review) = &gate.spec.review {
                self.open_due(name, review);
            }
            self.seal_due(name, &gate.spec);
        }
    }

    fn open_due(&mut self, name: &str, review: &Review) {
        let from = review.from.map(|from| self.resolve(from, Edge::Start));
        let memory = self.memory.gates.entry(name.to_owned()).or_default();
        // The first pass looks back to the start of the program's first day, so that a review of that very day is a row.
        let day0 = self.day0.to_zoned(self.zone.clone()).map_or(self.now, |start| start.timestamp());
        let first_seen = self.memory.program.first_seen.unwrap_or(self.now);
        let mut last = *memory.reviewed_until.get_or_insert(day0.max(first_seen));
        let mut due = Vec::new();
        while let Some(next) = review.cron.next_after(last, &self.zone) {
            if next > self.now || due.len() > MOST_MISSED {
                self.look_again(next);
                break;
            }
            due.push(next);
            last = next;
        }
        let newest = due.last().copied();
        for at in due {
            if from.is_some_and(|from| at < from) {
                self.row(name, at, "before the first review");
            } else if Some(at) != newest {
                self.row(name, at, "not measured: no controller ran");
            } else if self.reviews_held() {
                self.row(name, at, "held by a rollback");
            } else if let Some(memory) = self.memory.gates.get_mut(name) {
                memory.due = Some(DueReview { due_at: at, reopened: false, call: false });
            }
        }
        if let Some(memory) = self.memory.gates.get_mut(name) {
            memory.reviewed_until = Some(last);
        }
    }

    /// A row of the board that seals nothing.
    fn row(&mut self, gate: &str, due_at: Timestamp, reason: &str) {
        let verdict = if self.reviews_held() { Verdict::Held } else { Verdict::Pending };
        let verdict = GateVerdict { verdict, critical: false, reason: reason.to_owned(), ..GateVerdict::default() };
        let cohorts = self.open_cohorts();
        self.sealed.push(SealedReview { gate: gate.to_owned(), due_at, sealed_at: self.now, cohorts, verdict });
    }

    /// Whether what is unknown is another gate's review, which is due and waits for its mitigation: whoever reads it waits with it.
    fn waits_for_another(&self, spec: &GateSpec, verdict: &GateVerdict) -> bool {
        let due = |name: &str| self.memory.gates.get(name).is_some_and(|memory| memory.due.is_some());
        spec.checks.iter().zip(&verdict.checks).any(|(check, result)| {
            result.state == CheckState::Unknown && check.gate.as_ref().is_some_and(|other| due(&other.name))
        })
    }

    /// Whether no review of its own schedule was due between a gate's last sealed one and this moment.
    fn is_the_same_week(&self, name: &str, spec: &GateSpec, at: Timestamp) -> bool {
        let last = self.memory.gates.get(name).and_then(|memory| memory.last_sealed.as_ref());
        let next = last.zip(spec.review.as_ref()).map(|(last, review)| review.cron.next_after(last.due_at, &self.zone));
        next.is_some_and(|next| next.is_none_or(|next| next > at))
    }

    fn seal_due(&mut self, name: &str, spec: &GateSpec) {
        let Some(due) = self.memory.gates.get(name).and_then(|memory| memory.due.clone()) else { return };
        if self.reviews_held() {
            self.row(name, due.due_at, "held by a rollback");
            if let Some(memory) = self.memory.gates.get_mut(name) {
                memory.due = None;
            }
            return;
        }
        let Some(live) = self.verdicts.get(name).cloned() else { return };
        if due.call && self.waits_for_measurement(name, spec, due.due_at) {
            return;
        }
        let phases = live.phases;
        let mut verdict = self.judge(name, spec, live.checks, Occasion::Review { due_at: due.due_at });
        verdict.phases = phases;
        let waits = verdict.waits_for_mitigation || self.waits_for_another(spec, &verdict) || due.reopened;
        if waits && verdict.verdict == Verdict::Pending {
            return;
        }
        let again = due.call && self.is_the_same_week(name, spec, due.due_at);
        let (now, passed) = (self.now, matches!(verdict.verdict, Verdict::Pass | Verdict::Conditional));
        if let Some(memory) = self.memory.gates.get_mut(name) {
            memory.due = None;
            memory.passes_in_row = match passed {
                false => 0,
                // A call looks again at what was reviewed last: that is the same pass.
                true if again => memory.passes_in_row.max(1),
                true => memory.passes_in_row + 1,
            };
            memory.last_sealed = Some(SealedSummary { due_at: due.due_at, sealed_at: now, verdict: verdict.verdict });
        }
        self.event(format!("Gate/{name}"), "ReviewSealed", format!("{}: {}", verdict.verdict, verdict.reason));
        let cohorts = self.open_cohorts();
        let sealed = SealedReview { gate: name.to_owned(), due_at: due.due_at, sealed_at: now, cohorts, verdict };
        self.sealed.push(sealed);
    }
}
