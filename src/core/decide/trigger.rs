//! Triggers and their episodes: one unbroken truth starts at most one run, and re-arms only after having been false
//! (product page, "Rollback"; seed 002, section 4).
//!
//! Must not know: what a run does.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::{
    CheckState, Episode, FreezeFact, Message, MessageKind, MissedChecks, RequestKind, RunMemory, RunPhase, Stability,
    StepMemory, StepState, pass::Pass,
};
use crate::resources::{FreezeInvites, Names, RollbackPlanSpec, Step, Trigger};

/// How the holder of a freeze by hand begins; the person follows.
pub const BY_HAND: &str = "hand:";

/// The plan's name of a run that was begun by hand, without a controller.
pub const BREAK_GLASS: &str = "break-glass";

/// Whether a trigger is true. What is not known neither starts an episode nor ends one.
enum Truth {
    True { reason: String, missed: Option<MissedChecks> },
    False,
    Unknown,
}

impl Pass<'_> {
    /// Numbers new episodes, and starts or joins their runs.
    pub fn triggers(&mut self) {
        self.incidents_that_passed_unseen();
        for (name, plan) in &self.program.plans {
            for (place, trigger) in plan.spec.when.iter().enumerate() {
                self.episode(name, &plan.spec, &place.to_string(), trigger);
            }
        }
        self.requests();
        self.adopt_break_glass();
    }

    fn episode(&mut self, name: &str, plan: &RollbackPlanSpec, place: &str, trigger: &Trigger) {
        let truth = self.truth(trigger);
        let memory = self.memory.plans.entry(name.to_owned()).or_default();
        match truth {
            Truth::False => {
                memory.active.remove(place);
            }
            Truth::True { reason, missed } if !memory.active.contains_key(place) => {
                memory.episode += 1;
                let number = memory.episode;
                memory.active.insert(place.to_owned(), number);
                self.begin(name, plan, Episode { number, since: self.now, reason, missed });
            }
            Truth::True { .. } | Truth::Unknown => {}
        }
    }

    fn truth(&mut self, trigger: &Trigger) -> Truth {
        if let Some(wanted) = &trigger.incident {
            let mut found = None;
            for incident in &self.readings.incidents {
                if incident.severity != wanted.severity || !incident.open_at(self.now) {
                    continue;
                }
                // "Active > 30 minutes" (seed 002, section 4): at exactly 30 minutes nothing happens yet.
                let limit = wanted.active_for.after(incident.started_at);
                if self.now > limit {
                    found = Some(format!(
                        "{} '{}' open since {:.0}",
                        incident.severity, incident.title, incident.started_at
                    ));
                } else {
                    self.look_again(just_after(limit));
                }
            }
            return found.map_or(Truth::False, |reason| Truth::True { reason, missed: None });
        }
        let Some(wanted) = &trigger.gate else { return Truth::False };
        let Some(verdict) = self.verdicts.get(&wanted.name) else { return Truth::Unknown };
        let failed = verdict.verdict == super::Verdict::Fail && (verdict.critical || !wanted.critical);
        if failed {
            let missed = verdict.checks.iter().filter(|check| check.state == CheckState::Missed);
            let checks =
                missed.filter(|check| check.critical || !wanted.critical).map(|check| check.name.clone()).collect();
            let reason = format!("gate {} is Fail: {}", wanted.name, verdict.reason);
            return Truth::True { reason, missed: Some(MissedChecks { gate: wanted.name.clone(), checks }) };
        }
        let open =
            |check: &&super::CheckResult| check.state == CheckState::Unknown && (check.critical || !wanted.critical);
        if verdict.checks.iter().any(|check| open(&check)) { Truth::Unknown } else { Truth::False }
    }

    /// Starts a run, or joins the one of the same plan that is in force.
    fn begin(&mut self, name: &str, plan: &RollbackPlanSpec, episode: Episode) {
        let under_way = self.memory.runs.iter().find(|(_, run)| run.plan == name && run.in_force());
        if let Some(id) = under_way.map(|(id, _)| id.clone()) {
            self.join(&id, episode);
            return;
        }
        let id = format!("{name}-{}", episode.number);
        let reason = episode.reason.clone();
        let gates =
            plan.when.iter().filter_map(|trigger| trigger.gate.as_ref().map(|gate| gate.name.clone())).collect();
        self.start(&id, name, plan.steps.clone(), gates, episode);
        self.event(format!("Rollback/{id}"), "RollbackStarted", reason);
        // Reviews before the run do not count towards the next stage.
        for gate in self.memory.gates.values_mut() {
            gate.passes_in_row = 0;
        }
    }

    fn start(&mut self, id: &str, plan: &str, steps: Vec<Step>, gates: BTreeSet<String>, episode: Episode) {
        let steps = steps.into_iter().map(|step| StepMemory {
            step,
            state: StepState::Waiting,
            in_force_at: None,
            verified_at: None,
            lifted_at: None,
            pages: 0,
            detail: String::new(),
            offline: BTreeSet::new(),
            before: None,
            target: None,
            quarantined: Vec::new(),
            routed: BTreeMap::new(),
        });
        // What was frozen by hand was begun for no change.
        let author = self.memory.program.changed_by.clone().filter(|_| plan != BREAK_GLASS);
        let run = RunMemory {
            author,
            plan: plan.to_owned(),
            phase: RunPhase::Running,
            started_at: episode.since,
            episodes: vec![episode],
            revision: self.revision.id.clone(),
            steps: steps.collect(),
            gates,
            held_flags: BTreeMap::new(),
            stability: Stability::default(),
            reviews_reopened_at: None,
            lift_reason: None,
            lifted_at: None,
        };
        self.memory.runs.insert(id.to_owned(), run);
    }

    /// A new episode during a run: notes and cause capture repeat, destructive steps do not, stability starts again, and what was lifted
    /// comes back in force, in order.
    fn join(&mut self, id: &str, episode: Episode) {
        let number = episode.number;
        self.event(format!("Rollback/{id}"), "EpisodeJoined", format!("episode {number}: {}", episode.reason));
        let Some(run) = self.memory.runs.get_mut(id) else { return };
        run.episodes.push(episode);
        run.stability = Stability::default();
        run.reviews_reopened_at = None;
        run.lift_reason = None;
        run.phase = RunPhase::Running;
        let mut repeat = Vec::new();
        for (place, step) in run.steps.iter_mut().enumerate() {
            let repeats = step.step.publish_note.is_some() || step.step.capture_root_cause.is_some();
            if step.state == StepState::Lifted {
                step.state = StepState::Waiting;
                // What it works on is found anew; what it went back from before stays in quarantine.
                (step.before, step.target, step.pages) = (None, None, 0);
                step.routed.clear();
            } else if repeats && step.state != StepState::Waiting {
                step.state = StepState::InForce;
                step.in_force_at = Some(self.now);
                // This episode's note may be overdue too.
                step.pages = 0;
                repeat.push(place);
            }
        }
        for place in repeat {
            self.send_step(id, place, number);
        }
    }

    /// What people asked for: a run by hand is an episode of its own.
    fn requests(&mut self) {
        for request in &self.readings.requests {
            if !self.memory.program.done_requests.insert(request.id.clone()) {
                continue;
            }
            let RequestKind::StartRollback { plan, reason } = &request.what;
            let Some(wanted) = self.program.plans.get(plan) else {
                self.event(format!("RollbackPlan/{plan}"), "RequestRefused", "there is no such plan");
                continue;
            };
            let memory = self.memory.plans.entry(plan.clone()).or_default();
            memory.episode += 1;
            let number = memory.episode;
            let reason = format!("started by {}: {reason}", request.by);
            self.begin(plan, &wanted.spec, Episode { number, since: self.now, reason, missed: None });
        }
    }

    /// A freeze that a person made with no controller running becomes a run, which only a person lifts. What is adopted stands as the run's own
    /// freeze from then on, so one by hand that is there is a new one, whatever other runs hold: each is lifted by itself.
    fn adopt_break_glass(&mut self) {
        let by_hand: Vec<&FreezeFact> =
            self.readings.freezes.iter().filter(|freeze| freeze.holder.starts_with(BY_HAND)).collect();
        if by_hand.is_empty() {
            return;
        }
        let cohorts: Option<Vec<String>> = by_hand.iter().map(|freeze| freeze.cohort.clone()).collect();
        let step = Step {
            freeze_invites: Some(FreezeInvites { cohorts: cohorts.map_or(Names::All, Names::Listed) }),
            ..Step::default()
        };
        let memory = self.memory.plans.entry(BREAK_GLASS.to_owned()).or_default();
        memory.episode += 1;
        let number = memory.episode;
        let said =
            by_hand.iter().map(|freeze| format!("{}: {}", freeze.holder.trim_start_matches(BY_HAND), freeze.reason));
        let said: BTreeSet<String> = said.collect();
        let reason = format!("frozen by hand by {}", said.into_iter().collect::<Vec<_>>().join("; "));
        // Two programs may be frozen by hand, and a run's name is its own among all programs.
        let id = format!("{BREAK_GLASS}-{}-{number}", self.program.name());
        self.event(format!("Rollback/{id}"), "FreezeAdopted", reason.clone());
        let episode = Episode { number, since: self.now, reason, missed: None };
        self.start(&id, BREAK_GLASS, vec![step], BTreeSet::new(), episode);
    }

    /// An incident that lasted long enough but was over before a controller saw it: recorded and paged, not acted on.
    fn incidents_that_passed_unseen(&mut self) {
        let since = self.first_seen();
        for plan in self.program.plans.values() {
            for wanted in plan.spec.when.iter().filter_map(|trigger| trigger.incident.as_ref()) {
                for incident in &self.readings.incidents {
                    let Some(resolved) = incident.resolved_at.filter(|resolved| *resolved <= self.now) else {
                        continue;
                    };
                    let limit = wanted.active_for.after(incident.started_at);
                    // One that was in force already was joined, or needed nobody.
                    let in_force_then = |run: &RunMemory| {
                        run.started_at <= resolved && run.lifted_at.is_none_or(|lifted| lifted > limit)
                    };
                    let acted_on = self.memory.runs.values().any(in_force_then);
                    if incident.severity != wanted.severity || resolved <= limit || resolved < since || acted_on {
                        continue;
                    }
                    if !self.memory.program.paged_incidents.insert(incident.name.clone()) {
                        continue;
                    }
                    let text = format!(
                        "{} '{}' came and went ({} to {resolved}) while no controller ran",
                        incident.severity, incident.title, incident.started_at
                    );
                    self.event(format!("Incident/{}", incident.name), "PassedUnseen", text.clone());
                    self.page_owners(&format!("incident/{}/unseen", incident.name), &text, 1);
                }
            }
        }
    }

    /// Pages the first `how_many` of the people who answer for rollbacks: owner, then backup.
    pub fn page_owners(&mut self, key: &str, text: &str, how_many: usize) {
        let owners = &self.program.program.spec.owners;
        let matrix = owners.iter().find(|row| row.area.contains("rollback")).or_else(|| owners.first());
        let mut people: Vec<String> = matrix
            .map(|row| std::iter::once(row.owner.clone()).chain(row.backup.clone()).collect())
            .unwrap_or_default();
        if people.is_empty() {
            people.extend(self.program.program.spec.people.keys().next().cloned());
        }
        for person in people.into_iter().take(how_many) {
            let effect_key = format!("{}/{key}/{person}", self.program.name());
            let what = MessageKind::Page { person, text: text.to_owned() };
            self.messages.push(Message { effect_key, what, deadline: None });
        }
    }
}

/// The first instant after `at`, as both databases keep it.
pub(super) fn just_after(at: Timestamp) -> Timestamp {
    at.checked_add(jiff::SignedDuration::from_micros(1)).unwrap_or(at)
}
