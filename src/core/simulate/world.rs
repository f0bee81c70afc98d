//! The world around a simulated program: what is known of it, and how it answers decisions.
//!
//! Must not know: how a history was written down.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::{Assume, Entry, Happening, Setting};
use crate::decide::{
    ApiFact, CheckRef, Decision, DocumentFact, FreezeFact, IncidentFact, Memory, MessageKind, OnlineFact, Outcome,
    Reading, Readings, Receipt, SignoffFact, Verdict,
};
use crate::desired::ProgramDesired;
use crate::resources::{Says, SignoffSpec};

pub(super) struct World<'a> {
    pub program: &'a ProgramDesired,
    pub readings: Readings,
    pub memory: Memory,
    pub verdicts: BTreeMap<String, Verdict>,
    assume: Assume,
    /// A value stands until the history tells another one: it is as good as measured again at every moment.
    until: Timestamp,
    /// When each cause document is complete.
    complete_at: BTreeMap<String, Timestamp>,
}

/// The incidents and words that the documents themselves bring.
pub(super) fn declared(program: &ProgramDesired, from: Timestamp) -> Vec<Entry> {
    let said = program.signoffs.values().map(|word| {
        let what = Happening::Said { name: word.name.clone(), spec: Box::new(word.spec.clone()) };
        Entry { at: from, what }
    });
    let incidents = program.incidents.values().flat_map(|incident| {
        let spec = &incident.spec;
        let fact = IncidentFact {
            name: incident.name.clone(),
            severity: spec.severity.clone(),
            category: spec.category.clone(),
            title: spec.title.clone(),
            started_at: spec.started_at,
            resolved_at: spec.resolved_at,
            acknowledged_at: spec.acknowledged_at,
        };
        // Known when it begins, and looked at again when it ends.
        [Some(spec.started_at), spec.resolved_at]
            .into_iter()
            .flatten()
            .map(move |at| Entry { at, what: Happening::Incident(fact.clone()) })
    });
    said.chain(incidents).collect()
}

impl<'a> World<'a> {
    pub fn new(program: &'a ProgramDesired, history: &[Entry], setting: Setting) -> Self {
        let mut world = Self {
            program,
            readings: Readings::default(),
            memory: Memory::default(),
            verdicts: BTreeMap::new(),
            assume: setting.assume,
            until: setting.until,
            complete_at: BTreeMap::new(),
        };
        if setting.assume.met {
            let told: BTreeSet<&CheckRef> = history
                .iter()
                .filter_map(|entry| match &entry.what {
                    Happening::Measured(check, _) => Some(check),
                    _ => None,
                })
                .collect();
            world.assume_met(&told);
        }
        if setting.assume.signed {
            world.assume_signed(setting.from, false);
        }
        world
    }

    /// A world of what is known already, which takes nothing for granted.
    pub fn around(program: &'a ProgramDesired, readings: Readings, memory: Memory) -> Self {
        Self {
            program,
            readings,
            memory,
            verdicts: BTreeMap::new(),
            assume: Assume::default(),
            until: Timestamp::MAX,
            complete_at: BTreeMap::new(),
        }
    }

    fn assume_met(&mut self, told: &BTreeSet<&CheckRef>) {
        for gate in self.program.gates.values() {
            for check in gate.spec.checks.iter().filter(|check| check.is_measured()) {
                let at = CheckRef::new(&gate.name, &check.name);
                let value = check.pass.as_ref().map_or(1.0, |pass| pass.a_value_that_meets());
                if !told.contains(&at) {
                    self.readings.checks.insert(at, Reading::value(value, self.until));
                }
            }
        }
    }

    /// The items of checklists; or only those that are asked for anew from time to time.
    fn assume_signed(&mut self, from: Timestamp, only_anew: bool) {
        let anybody = self.program.program.spec.people.keys().next().cloned().unwrap_or_default();
        for gate in self.program.gates.values() {
            for check in &gate.spec.checks {
                let Some(signoff) = &check.signoff else { continue };
                let mut phases = gate.spec.phases.iter();
                let anew = phases.any(|phase| check.phase.as_ref() == Some(&phase.name) && phase.every.is_some());
                if only_anew && !anew {
                    continue;
                }
                let by = signoff.from.first().unwrap_or(&anybody);
                let mut word = self.word(by, Says::Done);
                (word.gate, word.check) = (Some(gate.name.clone()), Some(check.name.clone()));
                self.hear(format!("assumed-{}-{}", gate.name, check.name), word, from);
            }
        }
    }

    /// A GO counts only when it was said after its stage began to wait, so those assumed are said anew at every moment.
    fn assume_go(&mut self, now: Timestamp) {
        for rollout in self.program.rollouts.values() {
            for stage in &rollout.spec.stages {
                for by in stage.enter.iter().filter_map(|enter| enter.signoffs.as_ref()).flat_map(|asked| &asked.from) {
                    let mut word = self.word(by, Says::Go);
                    (word.rollout, word.stage) = (Some(rollout.name.clone()), Some(stage.name.clone()));
                    self.hear(format!("assumed-go-{}-{}-{by}", rollout.name, stage.name), word, now);
                }
            }
        }
    }

    fn word(&self, by: &str, says: Says) -> SignoffSpec {
        SignoffSpec::bare(self.program.name(), by, says)
    }

    fn hear(&mut self, name: String, spec: SignoffSpec, first_seen: Timestamp) {
        self.readings.signoffs.retain(|word| word.name != name);
        self.readings.signoffs.push(SignoffFact { name, spec, first_seen, verified: true, proof: String::new() });
    }

    /// Learns what a history tells.
    pub fn take(&mut self, entry: Entry) {
        match entry.what {
            Happening::Measured(check, outcome) => {
                self.readings.checks.insert(check, Reading { outcome, at: self.until, window: None });
            }
            Happening::Incident(incident) => {
                self.readings.incidents.retain(|known| known.name != incident.name);
                self.readings.incidents.push(incident);
            }
            Happening::Said { name, spec } => self.hear(name, *spec, entry.at),
        }
    }

    /// Time has passed.
    pub fn move_to(&mut self, now: Timestamp) {
        if self.assume.signed {
            self.assume_go(now);
            self.assume_signed(now, true);
        }
        for (document, at) in &self.complete_at {
            if *at <= now {
                let fact = DocumentFact { complete: true, missing: Vec::new() };
                self.readings.documents.insert(document.clone(), fact);
            }
        }
        let groups = self.program.program.spec.always_online.iter().cloned();
        self.readings.online = groups.map(|group| (group, OnlineFact { up: true, at: now })).collect();
    }

    /// When something changes by itself next.
    pub fn next_change(&self, now: Timestamp) -> Option<Timestamp> {
        self.complete_at.values().copied().filter(|at| *at > now).min()
    }

    /// Carries a decision out, at once. Says whether that changed what is known.
    pub fn follow(&mut self, decision: &Decision, now: Timestamp) -> bool {
        let known = |readings: &Readings| {
            let steps = (readings.pauses.clone(), readings.effects.clone(), readings.workloads.clone());
            let steps = (steps, readings.datasets.clone());
            (readings.freezes.clone(), readings.api.clone(), steps)
        };
        let before = known(&self.readings);
        self.memory = decision.memory.clone();
        super::steps::follow_steps(self.program, &decision.effective, &mut self.readings);
        let stood = std::mem::take(&mut self.readings.freezes);
        let since = |cohort: &Option<String>, holder: &str| {
            stood
                .iter()
                .find(|known| known.cohort == *cohort && known.holder == holder)
                .map_or(now, |known| known.since)
        };
        let freezes = decision.effective.freezes.iter().map(|((cohort, holder), reason)| FreezeFact {
            cohort: cohort.clone(),
            holder: holder.clone(),
            reason: reason.clone(),
            since: since(cohort, holder),
        });
        self.readings.freezes = freezes.collect();
        let serves = Some(decision.effective.flag_holds.clone());
        self.readings.api = vec![ApiFact { id: "simulated".to_owned(), serves }];
        for message in &decision.messages {
            let receipt = Receipt { done: true, at: now, error: None };
            self.readings.receipts.insert(message.effect_key.clone(), receipt);
            if matches!(message.what, MessageKind::Document { .. }) {
                let missing = vec!["the root cause".to_owned()];
                let fact = DocumentFact { complete: false, missing };
                self.readings.documents.entry(message.effect_key.clone()).or_insert(fact);
                if let Some(at) = self.assume.cause_within.and_then(|within| now.checked_add(within).ok()) {
                    self.complete_at.entry(message.effect_key.clone()).or_insert(at);
                }
            }
        }
        before != known(&self.readings) || !decision.messages.is_empty()
    }
}

/// Whether a check reads a value from outside.
/// A reading from a history that holds a plain value.
pub(super) fn value(value: f64) -> Outcome {
    Outcome::Value { value, numerator: None, denominator: None, samples: None }
}
