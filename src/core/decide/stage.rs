//! Stages: when one may open, and what it waits for (product page, "Stages"; seed 002, sections 1 and 5).
//!
//! Must not know: how a cohort or a flag is opened.

use super::{GateMemory, RolloutMemory, SignoffFact, Verdict, Wait, pass::Pass, phase::named};
use crate::resources::{Edge, EnterGate, EnterSignoffs, RolloutSpec, Says, SignoffRule, Stage};

impl<'a> Pass<'a> {
    /// Opens, in every rollout, each next stage that nothing keeps closed. A stage never goes back by itself.
    pub fn stages(&mut self) {
        for (name, rollout) in &self.program.rollouts {
            self.memory.rollouts.entry(name.clone()).or_default();
            while let Some(next) = self.next_stage(name, &rollout.spec) {
                self.hold_call(name, next);
                let waits = self.stage_waits(name, &rollout.spec, next);
                if !waits.is_empty() {
                    break;
                }
                self.open_stage(name, next);
                // Whether the version that it brings is ready nobody knows yet: what was measured before is about another one.
                if !next.workloads.is_empty() {
                    break;
                }
            }
            self.ramps(name, &rollout.spec);
            self.tags(name, &rollout.spec);
        }
    }

    /// The stage after the one that is open. A current stage that was removed from the rollout starts nothing by itself.
    pub fn next_stage<'r>(&self, rollout: &str, spec: &'r RolloutSpec) -> Option<&'r Stage> {
        match self.memory.rollouts.get(rollout).and_then(|memory| memory.current.as_deref()) {
            None => spec.stages.first(),
            Some(current) => {
                let place = spec.stages.iter().position(|stage| stage.name == current)?;
                spec.stages.get(place + 1)
            }
        }
    }

    fn open_stage(&mut self, rollout: &str, stage: &Stage) {
        let now = self.now;
        let memory = self.memory.rollouts.entry(rollout.to_owned()).or_default();
        memory.current = Some(stage.name.clone());
        memory.opened.insert(stage.name.clone(), now);
        memory.next_since = Some(now);
        self.keep_baselines();
        let versions = stage.workloads.iter().map(|(workload, version)| format!("; {workload} becomes {version}"));
        let said = format!("stage {} is open{}", stage.name, versions.collect::<String>());
        self.event(format!("Rollout/{rollout}"), "StageOpened", said);
        self.schedule_tag(rollout, stage);
    }

    /// Everything a stage waits for, and who can give it.
    pub(super) fn stage_waits(&mut self, rollout: &str, spec: &RolloutSpec, stage: &Stage) -> StageWaits {
        let (mut waits, mut words) = (Vec::new(), Vec::new());
        let first_seen = self.first_seen();
        let memory = self.memory.rollouts.entry(rollout.to_owned()).or_default();
        let since = *memory.next_since.get_or_insert(first_seen);
        let opened = memory.current.as_ref().and_then(|current| memory.opened.get(current)).copied();
        let since = self.round(rollout, stage, since);
        self.brakes(&mut waits);
        self.call_waits(stage, since, &mut waits);
        if let Some(suspend) = spec.suspend.as_ref().or(self.program.program.spec.suspend.as_ref()) {
            let until = self.resolve(suspend.until, Edge::End);
            self.look_again(until);
            if self.now < until {
                waits.push(wait(format!("suspended until {until}: {}", suspend.reason), &suspend.by));
            }
        }
        if let Some(run) = self.run_in_force() {
            waits.push(in_force(run));
        }
        self.window_waits(rollout, stage, since, (&mut waits, &mut words));
        let Some(enter) = &stage.enter else { return StageWaits { others: waits, words } };
        for gate in &enter.gates {
            waits.extend(self.gate_wait(gate));
        }
        if let Some(signoffs) = &enter.signoffs {
            self.signoff_waits(rollout, stage, signoffs, since, &mut words);
        }
        if let (Some(soak), Some(opened)) = (enter.soak, opened) {
            let until = soak.after(opened);
            self.look_again(until);
            if self.now < until {
                waits.push(wait(format!("the stage before has been open for {soak} at {until:.0}"), "time"));
            }
        }
        words.extend(self.no_go(rollout, stage, since));
        StageWaits { others: waits, words }
    }

    fn window_waits(
        &mut self,
        rollout: &str,
        stage: &Stage,
        since: jiff::Timestamp,
        (waits, words): (&mut Vec<Wait>, &mut Vec<Wait>),
    ) {
        let Some(window) = stage.window else { return };
        if let Some(from) = window.from {
            let from = self.resolve(from, Edge::Start);
            self.look_again(from);
            if self.now < from {
                waits.push(wait(format!("its window opens at {from:.0}"), "time"));
            }
        }
        if let Some(until) = window.until {
            let until = self.resolve(until, Edge::End);
            self.look_again(until);
            if self.now >= until && self.gos(rollout, stage, since).is_empty() {
                words.push(wait(
                    format!("overdue: its window ended at {until:.0}; it needs a GO"),
                    "anyone of the program's people",
                ));
            }
        }
    }

    fn gate_wait(&mut self, wanted: &EnterGate) -> Option<Wait> {
        let name = &wanted.name;
        let Some(passes) = wanted.passes else {
            let judged = self.verdict_of(name, &wanted.phases).unwrap_or_default();
            return match judged.verdict {
                Verdict::Pass | Verdict::Conditional => None,
                verdict => {
                    let on = format!("gate {} is {verdict} ({})", named(name, &wanted.phases), judged.reason);
                    Some(wait(on, &format!("betagate why gate/{name}")))
                }
            };
        };
        let have = self.memory.gates.get(name).map_or(0, |memory: &GateMemory| memory.passes_in_row);
        if have < passes {
            let on = format!("gate {name} has {have} of {passes} passed reviews in a row");
            return Some(wait(on, "the next review"));
        }
        // Reviews that passed open nothing while what they passed on fails.
        let live = self.verdicts.get(name).filter(|live| live.verdict == Verdict::Fail)?;
        let on = format!("gate {name} passed its reviews and fails now ({})", live.reason);
        Some(wait(on, &format!("betagate why gate/{name}")))
    }

    /// Each person's latest word about a stage, of those first seen since then. A GO that has run out is none; a NO-GO stands until it is taken back,
    /// or its next call begins.
    pub(super) fn votes_since(&self, rollout: &str, stage: &str, since: jiff::Timestamp) -> Vec<&'a SignoffFact> {
        let words = self.words(|spec| spec.is_vote_on(rollout, stage)).into_iter();
        let counts = |word: &&SignoffFact| {
            let until = word.spec.until.filter(|_| word.spec.says == Says::Go);
            word.first_seen >= since && until.is_none_or(|until| self.now < self.resolve(until, Edge::End))
        };
        words.filter(counts).collect()
    }

    fn gos(&self, rollout: &str, stage: &Stage, since: jiff::Timestamp) -> Vec<String> {
        self.votes(rollout, stage, since).into_iter().filter(|(_, says)| *says == Says::Go).map(|(by, _)| by).collect()
    }

    /// Each person's latest word about a stage, of those first seen since it became the next one.
    fn votes(&self, rollout: &str, stage: &Stage, since: jiff::Timestamp) -> Vec<(String, Says)> {
        let words = self.votes_since(rollout, &stage.name, since);
        words.into_iter().map(|word| (word.spec.by.clone(), word.spec.says)).collect()
    }

    fn signoff_waits(
        &mut self,
        rollout: &str,
        stage: &Stage,
        wanted: &EnterSignoffs,
        since: jiff::Timestamp,
        waits: &mut Vec<Wait>,
    ) {
        for word in self.votes_since(rollout, &stage.name, since) {
            // Asks to be called when a GO runs out.
            self.still_counts(word);
        }
        let gos = self.gos(rollout, stage, since);
        let silent: Vec<_> = wanted.from.iter().filter(|name| !gos.contains(name)).cloned().collect();
        let enough = match wanted.rule {
            SignoffRule::Unanimous => silent.is_empty(),
            SignoffRule::Any => silent.len() < wanted.from.len(),
        };
        if !enough {
            let unproven = self.unproven(|word| {
                word.spec.is_vote_on(rollout, &stage.name) && word.first_seen >= since && silent.contains(&word.spec.by)
            });
            waits.push(wait(format!("GO from {}{unproven}", silent.join(", ")), &silent.join(", ")));
        }
    }

    /// Any standing NO-GO blocks.
    fn no_go(&self, rollout: &str, stage: &Stage, since: jiff::Timestamp) -> Vec<Wait> {
        let words = self.votes_since(rollout, &stage.name, since).into_iter();
        let against = words.filter(|word| word.spec.says == Says::NoGo).map(|word| {
            let note = word.spec.note.as_ref().map(|note| format!(": {note}")).unwrap_or_default();
            let until = word.spec.until.map(|until| format!(", until {}", self.resolve(until, Edge::End)));
            wait(format!("NO-GO from {}{note}{}", word.spec.by, until.unwrap_or_default()), &word.spec.by)
        });
        against.collect()
    }

    /// The cohorts that the current stages list, in order of name.
    pub fn open_cohorts(&self) -> Vec<String> {
        let mut open: Vec<String> = Vec::new();
        for (name, rollout) in &self.program.rollouts {
            if let Some(stage) = current(self.memory.rollouts.get(name), &rollout.spec) {
                open.extend(stage.cohorts.iter().cloned());
            }
        }
        open.sort();
        open.dedup();
        open
    }
}

/// What a stage waits for: people's words, and the rest.
#[derive(Default)]
pub(super) struct StageWaits {
    /// A GO, or that a NO-GO is taken back.
    pub words: Vec<Wait>,
    /// Time, gates, reviews, holds, what is stopped.
    pub others: Vec<Wait>,
}

impl StageWaits {
    fn is_empty(&self) -> bool {
        self.words.is_empty() && self.others.is_empty()
    }
}

/// The stage that is open.
pub(super) fn current<'r>(memory: Option<&RolloutMemory>, spec: &'r RolloutSpec) -> Option<&'r Stage> {
    let name = memory?.current.as_deref()?;
    spec.stages.iter().find(|stage| stage.name == name)
}

/// That a rollback keeps a rollout where it is.
pub(super) fn in_force(run: &str) -> Wait {
    wait(format!("rollback {run} is in force"), &format!("its holds are lifted (betagate why rollback/{run})"))
}

fn wait(on: String, from: &str) -> Wait {
    Wait { on, from: from.to_owned() }
}
