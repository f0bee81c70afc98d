//! The state of each object in a word and a line, and what it waits for: what `get`, `status` and `why` print.

use jiff::SignedDuration;
use serde_json::Value;

use super::stage::in_force;
use super::{
    CheckState, Effective, ObjectState, RunPhase, StepState, Verdict, Wait,
    pass::{Pass, proof},
    phase::in_words,
    stage::{StageWaits, current},
};
use crate::resources::Edge;

/// A closed incident is told of for so long.
const REMEMBERED: SignedDuration = SignedDuration::from_hours(7 * 24);

impl Pass<'_> {
    /// Fills in the states of gates, rollouts, cohorts, flags, incidents, sign-offs, plans and runs.
    pub fn describe(&mut self, effective: &Effective) {
        self.describe_flags(effective);
        self.describe_incidents();
        self.describe_words();
        self.describe_gates();
        self.describe_rollouts();
        self.describe_cohorts();
        self.describe_runs();
        for (name, state, summary) in self.workload_states() {
            let (object, stuck) = (format!("Workload/{name}"), self.workload_is_stuck(&name));
            self.put(object.clone(), state, summary, Vec::new());
            self.needs_somebody(&object, stuck);
        }
        self.describe_program();
    }

    fn put(&mut self, object: String, state: impl Into<String>, summary: String, waits: Vec<Wait>) {
        self.states.insert(object, ObjectState { state: state.into(), summary, waits, needs_somebody: false });
    }

    /// Somebody has to do something about what was described last.
    fn needs_somebody(&mut self, object: &str, needs: bool) {
        if let Some(state) = self.states.get_mut(object) {
            state.needs_somebody = needs;
        }
    }

    fn describe_gates(&mut self) {
        for (name, gate) in &self.program.gates {
            let Some(verdict) = self.verdicts.get(name).cloned() else { continue };
            let mut waits = Vec::new();
            for (check, result) in gate.spec.checks.iter().zip(&verdict.checks) {
                let from = match (&check.signoff, result.state) {
                    (_, CheckState::Met | CheckState::NotDue | CheckState::Waived | CheckState::Mitigated) => continue,
                    (Some(signoff), _) if !signoff.from.is_empty() => signoff.from.join(" or "),
                    (Some(_), _) => "anyone of the program's people".to_owned(),
                    (None, CheckState::Missed) => "a better reading, or a mitigation".to_owned(),
                    (None, _) => "a reading".to_owned(),
                };
                let phase = result.phase.as_ref().map(|phase| format!("{phase}: ")).unwrap_or_default();
                let on = format!("{} {phase}{}: {}", result.state.mark(), check.name, result.detail);
                waits.push(Wait { on, from });
            }
            for phase in gate.spec.phases.iter().filter(|phase| phase.undo.is_some()) {
                let missed = |check: &&super::CheckResult| {
                    check.phase.as_ref() == Some(&phase.name) && check.state == CheckState::Missed
                };
                if let (Some(undo), Some(check)) = (&phase.undo, verdict.checks.iter().find(missed)) {
                    let how = undo.how.clone().unwrap_or_default();
                    let plan = undo.plan.as_ref().map(|plan| format!("betagate rollback start {plan}"));
                    let on = format!("phase {}: {} is missed; it can be taken back", phase.name, check.name);
                    waits.push(Wait {
                        on,
                        from: plan.into_iter().chain((!how.is_empty()).then_some(how)).collect::<Vec<_>>().join("; "),
                    });
                }
            }
            let phases = in_words(&verdict.phases);
            let held = if gate.spec.review.is_some() && self.reviews_held() { "; reviews are held" } else { "" };
            let passes = self.memory.gates.get(name).map_or(0, |memory| memory.passes_in_row);
            let row = if gate.spec.review.is_some() {
                format!("; {passes} passed review(s) in a row")
            } else {
                String::new()
            };
            self.put(
                format!("Gate/{name}"),
                verdict.verdict.to_string(),
                format!("{}{phases}{held}{row}", verdict.reason),
                waits,
            );
            let late = verdict.phases.iter().any(|phase| phase.overdue);
            let needs = verdict.verdict == Verdict::Fail || verdict.waits_for_mitigation || late;
            self.needs_somebody(&format!("Gate/{name}"), needs);
        }
    }

    fn describe_rollouts(&mut self) {
        for (name, rollout) in &self.program.rollouts {
            let next = self.next_stage(name, &rollout.spec);
            let StageWaits { words, others } =
                next.map(|stage| self.stage_waits(name, &rollout.spec, stage)).unwrap_or_default();
            let only_words = !words.is_empty() && others.is_empty();
            let mut waits = [others, words].concat();
            let open = current(self.memory.rollouts.get(name), &rollout.spec).map(|stage| stage.name.clone());
            let state = match (&open, self.run_in_force()) {
                (_, Some(_)) => "Held",
                (None, None) => "Waiting",
                (Some(_), None) if next.is_none() => "Done",
                (Some(_), None) => "Open",
            };
            let overdue = next.and_then(|stage| stage.window).and_then(|window| window.until);
            let overdue = overdue.is_some_and(|until| self.now >= self.resolve(until, Edge::End));
            let summary = match (&open, next) {
                (Some(open), Some(next)) => {
                    format!("stage {open} is open; {} waits for {} thing(s)", next.name, waits.len())
                }
                (Some(open), None) => format!("stage {open} is open; it is the last one"),
                (None, Some(next)) => format!("stage {} waits for {} thing(s)", next.name, waits.len()),
                (None, None) => "no stages".to_owned(),
            };
            let summary = if overdue { format!("{summary}; overdue") } else { summary };
            let summary = summary + &self.call_summary(name, &rollout.spec) + &self.tags_summary(name);
            if let Some(run) = self.run_in_force().filter(|_| next.is_none()) {
                waits.push(in_force(run));
            }
            waits.extend(self.ramp_waits(name, &rollout.spec));
            self.put(format!("Rollout/{name}"), state, summary, waits);
            let called = next.is_some_and(|stage| self.call_waits_for_voices(name, stage));
            self.needs_somebody(&format!("Rollout/{name}"), state == "Held" || overdue || called || only_words);
        }
    }

    fn describe_cohorts(&mut self) {
        let open = self.open_cohorts();
        for name in self.program.cohorts.keys() {
            let frozen =
                self.readings.freezes.iter().find(|freeze| freeze.cohort.as_ref().is_none_or(|cohort| cohort == name));
            let is_open = open.contains(name);
            let (state, summary, waits) = match (is_open, frozen) {
                (_, Some(freeze)) => {
                    let waits = vec![Wait {
                        on: format!("freeze by {}", freeze.holder),
                        from: "its hold is lifted".to_owned(),
                    }];
                    ("Frozen", freeze.reason.clone(), waits)
                }
                (true, None) => ("Open", "the current stage lists it".to_owned(), Vec::new()),
                (false, None) => {
                    let waits = vec![Wait { on: "a stage that lists it".to_owned(), from: "its rollout".to_owned() }];
                    ("Closed", "no current stage lists it".to_owned(), waits)
                }
            };
            self.put(format!("Cohort/{name}"), state, summary, waits);
        }
    }

    fn describe_flags(&mut self, effective: &Effective) {
        for (key, flag) in &effective.flags {
            // A flag that was deleted while it is held is served all the same.
            let name = self.program.flags.get(key).map_or(key.as_str(), |flag| flag.name.as_str());
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let mut waits = Vec::new();
            let (state, summary) = if flag["invariant"].is_string() {
                ("Fixed", format!("the program keeps it at {}", text(&flag["invariant"])))
            } else if flag["hold"].is_object() {
                let hold = &flag["hold"];
                let by = format!("{}/{}", text(&hold["run"]), hold["step"]);
                waits.push(Wait { on: format!("hold by {by}"), from: "its hold is lifted".to_owned() });
                ("Held", format!("served at {} by {by}: {}", text(&hold["variant"]), text(&hold["reason"])))
            } else if flag["routed"] == true {
                let to = flag["fallback"].as_str().map(|path| format!(" ({path})")).unwrap_or_default();
                waits.push(Wait {
                    on: "a rollback routes it to its fallback".to_owned(),
                    from: "its hold is lifted".to_owned(),
                });
                ("Routed", format!("served at its fallback{to}"))
            } else if flag["state"] == "DISABLED" {
                ("Disabled", "switched off".to_owned())
            } else if flag["stage"].is_object() {
                let stage = &flag["stage"];
                let share = stage["percent"].as_u64().filter(|percent| *percent < 100);
                let share = share.map(|percent| format!(" for {percent} % of people")).unwrap_or_default();
                ("Served", format!("{}{share}, as stage {} says", text(&stage["variant"]), text(&stage["stage"])))
            } else {
                let rule = if flag["targeting"].is_object() { ", where its rule picks nothing" } else { "" };
                ("Served", format!("{}{rule}", text(&flag["defaultVariant"])))
            };
            self.put(format!("Flag/{name}"), state, summary, waits);
            self.needs_somebody(&format!("Flag/{name}"), matches!(state, "Held" | "Routed"));
        }
    }

    fn describe_incidents(&mut self) {
        for incident in &self.readings.incidents {
            let about = format!("{} '{}'", incident.severity, incident.title);
            let (state, summary) = match incident.resolved_at.filter(|resolved| *resolved <= self.now) {
                None => ("Open", format!("{about}, since {:.0}", incident.started_at)),
                Some(resolved) if self.now.duration_since(resolved) > REMEMBERED => continue,
                Some(resolved) => ("Closed", format!("{about}, from {:.0} to {resolved:.0}", incident.started_at)),
            };
            self.put(format!("Incident/{}", incident.name), state, summary, Vec::new());
        }
    }

    /// What each person said, and whether it is known who did.
    fn describe_words(&mut self) {
        for word in &self.readings.signoffs {
            let state = match (word.verified, self.is_ignored(word)) {
                (true, _) => "Verified",
                (false, false) => "Unverified",
                (false, true) => "NotCounted",
            };
            let summary = format!("{} says {}; {}", word.spec.by, word.spec.in_words(), proof(word));
            self.put(format!("Signoff/{}", word.name), state, summary, Vec::new());
        }
    }

    fn describe_runs(&mut self) {
        for name in self.program.plans.keys() {
            let run =
                self.memory.runs.iter().find(|(_, run)| run.plan == *name && run.in_force()).map(|(id, _)| id.clone());
            let (state, summary) = match run {
                Some(id) => ("InForce", format!("run {id} is in force")),
                None => ("Armed", "no run is in force".to_owned()),
            };
            self.put(format!("RollbackPlan/{name}"), state, summary, Vec::new());
        }
        let runs: Vec<_> = self.memory.runs.keys().cloned().collect();
        for id in runs {
            let Some(run) = self.memory.runs.get(&id).cloned() else { continue };
            let verified = run.steps.iter().filter(|step| step.state == StepState::Verified).count();
            let reason = run.episodes.first().map(|episode| episode.reason.clone()).unwrap_or_default();
            let summary = match run.phase {
                RunPhase::Lifted => format!("lifted: {}", run.lift_reason.clone().unwrap_or_default()),
                _ => {
                    // What began it may be over long before its holds go.
                    let under_way = self.memory.plans.get(&run.plan).is_some_and(|plan| !plan.active.is_empty());
                    let over = if under_way { "" } else { "; none of the plan's triggers is true now" };
                    format!("{verified} of {} steps verified; it began with: {reason}{over}", run.steps.len())
                }
            };
            let waits = if run.phase == RunPhase::Lifted { Vec::new() } else { self.run_waits(&id, &run) };
            self.put(format!("Rollback/{id}"), run.phase_name(), summary, waits);
            self.needs_somebody(&format!("Rollback/{id}"), run.phase != RunPhase::Lifted);
        }
    }

    fn run_waits(&self, id: &str, run: &super::RunMemory) -> Vec<Wait> {
        let mut waits = Vec::new();
        for (place, step) in run.steps.iter().enumerate() {
            if matches!(step.state, StepState::InForce | StepState::Overdue) && !step.detail.is_empty() {
                let on = format!("step {} {}: {}", place + 1, step.step.name(), step.detail);
                waits.push(Wait { on, from: "betagate goes on trying".to_owned() });
            }
        }
        for (key, receipt) in self.readings.receipts.iter().filter(|(_, receipt)| !receipt.done) {
            let what = key.strip_prefix(id).and_then(|rest| rest.strip_prefix('/')?.rsplit('/').next());
            let what = match what {
                Some("proposal-revert") => "the branch with the proposed revert",
                Some("proposal-document") => "the branch with the cause document",
                Some("pull-revert") => "the pull request of the proposed revert",
                Some("pull-document") => "the pull request of the cause document",
                _ => continue,
            };
            if let Some(error) = &receipt.error {
                waits.push(Wait { on: format!("{what}: {error}"), from: "betagate goes on trying".to_owned() });
            }
        }
        let missing = self.documents_missing(id);
        let asked = self.reason_to_lift(id, run);
        if let Some(reason) = asked.as_ref().filter(|_| run.lift_reason.is_none() && !missing.is_empty()) {
            waits.push(Wait {
                on: format!("{reason}: that is recorded, and its holds go once the cause document is complete"),
                from: "the owner of the cause step".to_owned(),
            });
        }
        for missing in missing {
            waits.push(Wait {
                on: format!("cause document: {missing}"),
                from: "the owner of the cause step".to_owned(),
            });
        }
        if let Some(hold) =
            run.steps.iter().filter(|step| step.holds()).find_map(|step| step.step.hold_reviews.as_ref())
        {
            // In whole minutes: a status is written when it says something else, not every second.
            let have = crate::resources::Span::seconds(run.stability.at(self.now).as_mins() * 60);
            let on = format!("{have} of {} stable", hold.until_stable_for);
            waits.push(Wait { on, from: "time, without another breach".to_owned() });
        } else if asked.is_some() {
            // Its word is given: what else it waits for stands above.
        } else if run.gates.is_empty() {
            let who = run.author.as_ref().map(|author| format!(" other than {author}, whose change it is about"));
            let from = format!("a person{}: betagate rollback lift {id}", who.unwrap_or_default());
            waits.push(Wait { on: "a word to lift it".to_owned(), from });
        } else if run.phase == RunPhase::Holding {
            let gates: Vec<_> = run.gates.iter().cloned().collect();
            waits.push(Wait {
                on: format!("a passed review of {}", gates.join(", ")),
                from: "the re-opened review".to_owned(),
            });
        }
        waits
    }

    fn describe_program(&mut self) {
        let (state, summary, waits) = match self.run_in_force() {
            Some(run) => {
                let wait =
                    Wait { on: format!("rollback {run} is lifted"), from: format!("betagate why rollback/{run}") };
                ("Held", format!("rollback {run} is in force"), vec![wait])
            }
            None if !self.readings.stops.is_empty() => {
                let said = self.readings.stops.iter().map(|stop| format!("{}: {}", stop.by, stop.reason));
                let said = said.collect::<Vec<_>>().join("; ");
                ("Stopped", format!("the line is stopped by {said}"), Vec::new())
            }
            None => ("Running", format!("day 0 is {}", self.day0), Vec::new()),
        };
        let object = format!("Program/{}", self.program.name());
        self.put(object.clone(), state, summary, waits);
        self.needs_somebody(&object, matches!(state, "Held" | "Stopped"));
    }
}
