//! Scenarios on a virtual clock, in a world that carries out every decision at once unless a test says otherwise.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot be set up has failed")]

mod calls;
mod calls_and_time;
mod checklists;
mod flags;
mod gates;
mod histories;
mod rollback;
mod stages;
mod steps;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde::de::DeserializeOwned;

use super::*;
use crate::desired::{ByName, Origin, ProgramDesired, Resource, Revision};

/// A world around `decide`: what was measured, and what became of its decisions.
struct World {
    desired: ProgramDesired,
    readings: Readings,
    memory: Memory,
    now: Timestamp,
    last: Decision,
    messages: Vec<Message>,
    sealed: Vec<SealedReview>,
    events: Vec<Event>,
    /// Whether API processes take on new flag snapshots.
    api_follows: bool,
    /// Whose commit is in force.
    author: Option<String>,
}

fn resource<S: DeserializeOwned>(name: &str, spec: &str) -> Resource<S> {
    let origin = Origin { file: Arc::from("test.yaml"), line: 1 };
    Resource { name: name.to_owned(), spec: serde_saphyr::from_str(spec).expect("a valid spec"), origin }
}

fn put<S: DeserializeOwned>(all: &mut ByName<S>, name: &str, spec: &str) {
    all.insert(name.to_owned(), resource(name, spec));
}

fn at(text: &str) -> Timestamp {
    text.parse().expect("an instant")
}

/// A small program in the manner of seed 002: one KPI gate, two stages, the seven steps.
fn world() -> World {
    let program = resource(
        "beta",
        "{timeZone: Europe/Rome, startsOn: 2026-03-02, people: {founder: {}, ops: {}}, alwaysOnline: [privacy],
          owners: [{area: rollback-execution, owner: founder, backup: ops}], channels: {ops: {email: [ops@example.com]}}}",
    );
    let mut desired = ProgramDesired::new(program);
    put(&mut desired.cohorts, "pavia", "{program: beta, members: {csv: pavia.csv}}");
    put(&mut desired.cohorts, "canary", "{program: beta, members: {csv: canary.csv}}");
    put(
        &mut desired.flags,
        "boost",
        "{program: beta, type: boolean, risk: high, variants: {\"on\": true, \"off\": false}, defaultVariant: \"on\",
          safeVariant: \"off\", fallback: /classic}",
    );
    put(
        &mut desired.gates,
        "kpis",
        "{program: beta, review: {cron: '0 17 * * FRI', from: +11d}, conditional: {missed: 1}, checks: [
          {name: sync, prometheus: x, pass: '>= 95%', critical: true}, {name: booking, prometheus: y, pass: '>= 70%'},
          {name: retention, kpi: retention_w4, pass: '>= 25%', critical: true, from: +35d},
          {name: sev1, incidents: {severity: sev-1, within: 7d}, pass: '== 0'}]}",
    );
    desired.gate_order = vec!["kpis".to_owned()];
    put(
        &mut desired.rollouts,
        "closed",
        "{program: beta, stages: [{name: pilot, window: {from: +0d, until: +6d}, cohorts: [pavia]},
          {name: wide, window: {from: +14d, until: +18d}, cohorts: [pavia, canary],
           enter: {gates: [{name: kpis, passes: 1}], signoffs: {from: [founder, ops]}}}]}",
    );
    put(
        &mut desired.plans,
        "pull-back",
        "{program: beta, when: [{incident: {severity: sev-1, activeFor: 30m}}, {gate: {name: kpis, critical: true}}],
          steps: [{freezeInvites: {cohorts: all}}, {disableFlags: {keys: [boost]}}, {keepOnline: [privacy]},
           {routeToFallback: {risk: high}}, {publishNote: {to: [ops], template: note, within: 30m}},
           {captureRootCause: {owner: founder}}, {holdReviews: {untilStableFor: 48h, severity: sev-1}}]}",
    );
    World {
        desired,
        readings: Readings::default(),
        memory: Memory::default(),
        now: at("2026-03-02T08:00:00Z"),
        last: Decision::default(),
        messages: Vec::new(),
        sealed: Vec::new(),
        events: Vec::new(),
        api_follows: true,
        author: None,
    }
}

impl World {
    fn measure(&mut self, check: &str, numerator: i64, denominator: i64) {
        self.readings.checks.insert(CheckRef::new("kpis", check), Reading::ratio(numerator, denominator, self.now));
    }

    fn healthy(&mut self) {
        self.measure("sync", 96, 100);
        self.measure("booking", 80, 100);
        self.measure("retention", 30, 100);
    }

    /// Decides until nothing changes, the world following each decision.
    fn settle(&mut self) {
        for _ in 0..60 {
            let revision = Revision { id: "r1".to_owned(), author: self.author.clone(), ..Revision::default() };
            let decision = decide(&self.desired, &revision, &self.readings, &self.memory, self.now);
            let quiet = decision.memory == self.memory && decision.messages.is_empty();
            self.memory = decision.memory.clone();
            self.messages.extend(decision.messages.clone());
            self.sealed.extend(decision.sealed.clone());
            self.events.extend(decision.events.clone());
            self.follow(&decision);
            self.last = decision;
            if quiet {
                return;
            }
        }
        panic!("it never settled: {:?}", self.events.iter().rev().take(6).collect::<Vec<_>>());
    }

    fn follow(&mut self, decision: &Decision) {
        let freezes = &decision.effective.freezes;
        self.readings.freezes.retain(|freeze| freezes.contains_key(&(freeze.cohort.clone(), freeze.holder.clone())));
        for ((cohort, holder), reason) in freezes {
            if !self.readings.freezes.iter().any(|freeze| freeze.holder == *holder && freeze.cohort == *cohort) {
                let (cohort, holder, reason) = (cohort.clone(), holder.clone(), reason.clone());
                self.readings.freezes.push(FreezeFact { cohort, holder, reason, since: self.now });
            }
        }
        if self.api_follows {
            let serves = Some(decision.effective.flag_holds.clone());
            self.readings.api = vec![ApiFact { id: "api-1".to_owned(), serves }];
        }
        crate::simulate::follow_steps(&self.desired, &decision.effective, &mut self.readings);
        self.readings.online.insert("privacy".to_owned(), OnlineFact { up: true, at: self.now });
        for message in &decision.messages {
            let receipt = Receipt { done: true, at: self.now, error: None };
            self.readings.receipts.insert(message.effect_key.clone(), receipt);
            if matches!(message.what, MessageKind::Document { .. }) {
                let fact = DocumentFact { complete: false, missing: vec!["an owner".to_owned()] };
                self.readings.documents.entry(message.effect_key.clone()).or_insert(fact);
            }
        }
    }

    fn advance_to(&mut self, instant: &str) {
        self.now = at(instant);
    }

    fn advance(&mut self, by: SignedDuration) {
        self.now = self.now.checked_add(by).unwrap();
    }

    fn incident(&mut self, name: &str, started: &str) {
        self.readings.incidents.push(IncidentFact {
            name: name.to_owned(),
            severity: "sev-1".to_owned(),
            category: None,
            title: name.to_owned(),
            started_at: at(started),
            resolved_at: None,
            acknowledged_at: None,
        });
    }

    fn resolve(&mut self, name: &str) {
        let now = self.now;
        self.readings
            .incidents
            .iter_mut()
            .filter(|incident| incident.name == name)
            .for_each(|i| i.resolved_at = Some(now));
    }

    fn says(&mut self, name: &str, spec: &str) {
        let spec: crate::resources::SignoffSpec = serde_saphyr::from_str(spec).unwrap();
        self.readings.signoffs.push(SignoffFact {
            name: name.to_owned(),
            spec,
            first_seen: self.now,
            verified: true,
            proof: String::new(),
        });
    }

    fn complete_documents(&mut self) {
        for document in self.readings.documents.values_mut() {
            *document = DocumentFact { complete: true, missing: Vec::new() };
        }
    }

    fn runs(&self) -> Vec<&str> {
        self.memory.runs.keys().map(String::as_str).collect()
    }

    fn run(&self, id: &str) -> &RunMemory {
        &self.memory.runs[id]
    }

    fn states(&self, id: &str) -> Vec<StepState> {
        self.run(id).steps.iter().map(|step| step.state).collect()
    }

    fn flag(&self, key: &str) -> &serde_json::Value {
        &self.last.effective.flags[key]
    }

    fn said(&self, reason: &str) -> Vec<&str> {
        self.events.iter().filter(|event| event.reason == reason).map(|event| event.message.as_str()).collect()
    }

    fn verdict(&self) -> Verdict {
        self.last.verdicts["kpis"].verdict
    }

    fn by_effect(&self) -> BTreeMap<&str, usize> {
        let mut counts = BTreeMap::new();
        for message in &self.messages {
            *counts.entry(message.effect_key.as_str()).or_insert(0) += 1;
        }
        counts
    }
}
