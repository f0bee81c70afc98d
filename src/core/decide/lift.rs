//! Re-opening: so many stable hours lift the hold on reviews; a passed review, or a person, lifts the others in reverse order
//! (product page, "Re-opening"; seed 002, section 4, step 7).
//!
//! Must not know: how a lifted hold leaves the database or the flags.

use jiff::{SignedDuration, Timestamp};

use super::{
    CheckState, DueReview, RunMemory, RunPhase, SignoffFact, Stability, StepState, Verdict, pass::Pass,
    run::effect_base,
};
use crate::resources::{HoldReviews, Says, SignoffSpec};

/// How long data may be missing from the clock of stability before someone is paged.
const MISSING_PAGED_AFTER: SignedDuration = SignedDuration::from_hours(24);

/// What the world says about stability.
enum Calm {
    /// Nothing is wrong, since then.
    Since(Timestamp),
    Breach,
    Missing,
}

impl Pass<'_> {
    /// Runs the clock of stability, and re-opens reviews when it has run for long enough and the cause document is complete.
    pub fn reopen(&mut self, id: &str) {
        let Some(run) = self.memory.runs.get(id) else { return };
        let held = run.steps.iter().position(|step| step.step.hold_reviews.is_some() && step.holds());
        let Some((place, hold)) = held.and_then(|place| Some((place, run.steps[place].step.hold_reviews.clone()?)))
        else {
            return;
        };
        let calm = self.calm(run, &hold);
        let (mut stability, holding, gates) =
            (run.stability.clone(), run.phase == RunPhase::Holding, run.gates.clone());
        self.advance(id, &mut stability, &calm);
        let stable = stability.at(self.now) >= hold.until_stable_for.duration();
        if let Some(since) = stability.running_since.filter(|_| !stable) {
            let left = hold.until_stable_for.duration().saturating_sub(stability.counted);
            self.look_again(since.checked_add(left).unwrap_or(Timestamp::MAX));
        }
        let complete = self.documents_missing(id).is_empty();
        let now = self.now;
        if let Some(run) = self.memory.runs.get_mut(id) {
            run.stability = stability;
            if stable && complete && holding {
                run.reviews_reopened_at = Some(now);
                run.steps[place].state = StepState::Lifted;
                run.steps[place].lifted_at = Some(now);
            }
        }
        if stable && complete && holding {
            self.event(format!("Rollback/{id}"), "ReviewsReopened", format!("stable for {}", hold.until_stable_for));
            for gate in gates {
                let due = DueReview { due_at: now, reopened: true, call: false };
                self.memory.gates.entry(gate).or_default().due = Some(due);
            }
        }
    }

    fn calm(&self, run: &RunMemory, hold: &HoldReviews) -> Calm {
        let mut since = run.episodes.last().map_or(run.started_at, |episode| episode.since);
        for incident in self.readings.incidents.iter().filter(|incident| incident.severity == hold.severity) {
            if incident.open_at(self.now) {
                return Calm::Breach;
            }
            if let Some(resolved) = incident.resolved_at.filter(|resolved| *resolved <= self.now) {
                since = since.max(resolved);
            }
        }
        let mut missing = false;
        for missed in run.episodes.iter().filter_map(|episode| episode.missed.as_ref()) {
            let Some(verdict) = self.verdicts.get(&missed.gate) else {
                missing = true;
                continue;
            };
            for check in verdict.checks.iter().filter(|check| missed.checks.contains(&check.name)) {
                match check.state {
                    CheckState::Missed | CheckState::Mitigated => return Calm::Breach,
                    CheckState::Unknown => missing = true,
                    _ => {}
                }
            }
        }
        if missing { Calm::Missing } else { Calm::Since(since) }
    }

    fn advance(&mut self, id: &str, stability: &mut Stability, calm: &Calm) {
        match calm {
            Calm::Breach => *stability = Stability::default(),
            Calm::Missing => {
                stability.counted = stability.at(self.now);
                stability.running_since = None;
                let since = *stability.missing_since.get_or_insert(self.now);
                let page_at = since.checked_add(MISSING_PAGED_AFTER).unwrap_or(Timestamp::MAX);
                self.look_again(page_at);
                if self.now >= page_at && !stability.paged {
                    stability.paged = true;
                    let text = format!("rollback {id}: the data that would show stability is missing since {since}");
                    self.page_owners(&format!("{id}/stability/{since}"), &text, 1);
                }
            }
            Calm::Since(since) => {
                // After a stop the clock goes on from now: what was not seen does not count as stable. The first time it starts from the
                // moment of the last breach, when a reading shows that moment; a check's recovery is seen when it is read.
                let fresh =
                    stability.counted.is_zero() && stability.missing_since.is_none() && self.recovered_by_incident(id);
                let start = if fresh { *since } else { self.now };
                // A breach that came and went between two looks is one all the same.
                if stability.running_since.is_some_and(|running| running < *since) {
                    *stability = Stability { running_since: Some(*since), ..Stability::default() };
                }
                stability.running_since.get_or_insert(start);
                stability.missing_since = None;
                stability.paged = false;
            }
        }
    }

    /// Whether the run was started by incidents alone, whose end is known to the instant.
    fn recovered_by_incident(&self, id: &str) -> bool {
        self.memory.runs.get(id).is_some_and(|run| run.episodes.iter().all(|episode| episode.missed.is_none()))
    }

    /// What is missing from the cause documents of a run, in words.
    pub fn documents_missing(&self, id: &str) -> Vec<String> {
        let Some(run) = self.memory.runs.get(id) else { return Vec::new() };
        let mut missing = Vec::new();
        for (place, _) in run.steps.iter().enumerate().filter(|(_, step)| step.step.capture_root_cause.is_some()) {
            for episode in &run.episodes {
                match self.readings.documents.get(&format!("{}/document", effect_base(id, episode.number, place))) {
                    None => missing.push("the cause document is not written yet".to_owned()),
                    Some(document) if !document.complete => missing.extend(document.missing.iter().cloned()),
                    Some(_) => {}
                }
            }
        }
        missing
    }

    /// Lifts holds, one a pass, from the last step to the first, once a passed review or a person's word asks for it.
    pub fn lift(&mut self, id: &str) {
        let Some(run) = self.memory.runs.get(id) else { return };
        if run.lift_reason.is_none() {
            let Some(reason) = self.reason_to_lift(id, run) else { return };
            if !self.documents_missing(id).is_empty() {
                return;
            }
            self.event(format!("Rollback/{id}"), "Lifting", reason.clone());
            if let Some(run) = self.memory.runs.get_mut(id) {
                run.lift_reason = Some(reason);
            }
        }
        let now = self.now;
        let Some(run) = self.memory.runs.get_mut(id) else { return };
        // Steps that never came into force have nothing to lift.
        run.steps
            .iter_mut()
            .filter(|step| step.state == StepState::Waiting)
            .for_each(|step| step.state = StepState::Lifted);
        let last = run.steps.iter().rposition(|step| step.state != StepState::Lifted);
        let Some(place) = last else {
            run.phase = RunPhase::Lifted;
            run.lifted_at = Some(now);
            self.event(format!("Rollback/{id}"), "Lifted", "every hold is lifted");
            return;
        };
        let step = &mut run.steps[place];
        step.state = StepState::Lifted;
        step.lifted_at = Some(now);
        let name = step.step.name();
        self.event(format!("Rollback/{id}"), "StepLifted", format!("step {} {name}", place + 1));
    }

    /// Why the holds may go, as far as words and reviews count: the cause document is looked at besides.
    pub fn reason_to_lift(&self, id: &str, run: &RunMemory) -> Option<String> {
        let about = |spec: &SignoffSpec| spec.says == Says::Lift && spec.run.as_deref() == Some(id);
        let since = run.episodes.last().map_or(run.started_at, |episode| episode.since);
        let own = |word: &&SignoffFact| run.author.as_ref() == Some(&word.spec.by);
        if let Some(word) = self.words(about).into_iter().find(|word| word.first_seen >= since && !own(word)) {
            return Some(format!("lifted by {}", word.spec.by));
        }
        let reopened = run.reviews_reopened_at?;
        let passed = |gate: &String| {
            let sealed = self.memory.gates.get(gate).and_then(|memory| memory.last_sealed.as_ref());
            sealed.is_some_and(|review| {
                review.due_at >= reopened && matches!(review.verdict, Verdict::Pass | Verdict::Conditional)
            })
        };
        let all = !run.gates.is_empty() && run.gates.iter().all(passed);
        all.then(|| "the re-opened review passed".to_owned())
    }
}
