//! When each check is measured, and with what question.

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use betagate_core::decide::{MEASURE_EVERY, Memory, Outcome, Reading, Why};
use betagate_core::desired::ProgramDesired;
use betagate_core::resources::{Check, GateSpec, Kind, Span};
use futures_util::FutureExt as _;
use jiff::{Timestamp, civil::Date, tz::TimeZone};

use super::{Controller, ControllerError};
use crate::secrets::secret_in;
use crate::signals::{Asker, Sources, facts};
use crate::store::events::{day_number, day_of};
use crate::store::kpi::KpiQuery;
use crate::store::readings;

/// A fact that is not known is looked up at every pass: what is committed in one may be known in the next.
const UNKNOWN_FACT_EVERY: Span = Span::seconds(0);
/// Nothing but a pass changes what it can be, so one is waited for, and none is made for its sake without a pause.
const UNKNOWN_FACT_AGAIN: Span = Span::seconds(1);
/// How many readings of each check are kept.
const KEEP: i64 = 500;

/// A check that is measured.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct MeasuredCheck {
    program: String,
    gate: String,
    check: String,
}

/// What is to be measured.
#[derive(Default)]
struct Due {
    /// Each check with its gate and its question.
    checks: Vec<(String, Check, KpiQuery)>,
    /// Those that are only glanced at, by gate and check: what is the same as before is not kept again.
    glances: BTreeSet<(String, String)>,
}

impl Controller {
    /// Measures the checks that are due, at once, and keeps the readings. A gate whose review is due now is measured first.
    pub(super) async fn measure(
        &mut self,
        name: &str,
        memory: &Memory,
        day0: Date,
    ) -> Result<Option<Timestamp>, ControllerError> {
        let now = self.settings.clock.now();
        let Some(built) = &self.built else { return Ok(None) };
        let Some(program) = built.desired.programs.get(name) else { return Ok(None) };
        let zone = TimeZone::get(&program.program.spec.time_zone).unwrap_or(TimeZone::UTC);
        let mut next: Option<Timestamp> = None;
        let mut to_measure = Due::default();
        for (gate_name, gate) in &program.gates {
            let every = gate.spec.measure.as_ref().map_or(MEASURE_EVERY, |measure| measure.every);
            let review_due = review_due(&gate.spec, memory, gate_name, &zone, now);
            let due = memory.gates.get(gate_name).and_then(|memory| memory.due.as_ref());
            let call_at = due.filter(|due| due.call).map(|due| due.due_at);
            let about = about(program, &gate.spec, day0, &zone, now);
            for check in gate.spec.checks.iter().filter(|check| check.is_measured()) {
                let key = (gate_name.clone(), check.name.clone());
                let last = self.programs.get(name).and_then(|state| state.measured.get(&key));
                // What betagate itself did not know a moment ago it may know now (flags are published after the first decision).
                let unknown_fact = check.fact.is_some()
                    && last.is_some_and(|(_, reading)| matches!(reading.outcome, Outcome::Unknown(_)));
                let last = last.map(|(at, _)| *at);
                // Whether a workload is ready costs nothing to look up, and a stage may hang on it.
                let glance = check.fact.as_deref() == Some(facts::WORKLOAD_READY);
                let every = if unknown_fact && !glance { UNKNOWN_FACT_EVERY } else { every };
                let again = last.map_or(now, |last| every.after(last));
                // A decision call is about its own moment.
                let called = call_at.is_some_and(|at| last.is_some_and(|last| last < at));
                if again <= now || called || (review_due && last.is_some_and(|last| last < now)) {
                    to_measure.checks.push((gate_name.clone(), check.clone(), about.clone()));
                    let every = if unknown_fact { UNKNOWN_FACT_AGAIN } else { every };
                    next = [next, Some(every.after(now))].into_iter().flatten().min();
                } else {
                    next = [next, Some(again)].into_iter().flatten().min();
                    if glance {
                        to_measure.glances.insert(key);
                        to_measure.checks.push((gate_name.clone(), check.clone(), about.clone()));
                    }
                }
            }
        }
        if !to_measure.checks.is_empty() {
            self.measure_all(name, to_measure, memory, (day0, now)).await?;
        }
        Ok(next)
    }

    /// Facts are looked up at once; one that is only glanced at is kept where it differs. What asks another server is measured beside the passes, so
    /// that a slow one delays no protection.
    async fn measure_all(
        &mut self,
        name: &str,
        Due { checks: due, glances }: Due,
        memory: &Memory,
        (day0, now): (Date, Timestamp),
    ) -> Result<(), ControllerError> {
        let about_lists = due.iter().filter(|(_, check, _)| check.fact.as_deref() == Some(facts::COHORT_OUTCOME));
        let list_outcomes =
            self.list_outcomes(name, about_lists.filter_map(|(_, check, _)| check.of.clone()).collect()).await?;
        let jobs = if due.iter().any(|(_, check, _)| check.job.is_some()) { self.jobs().await } else { None };
        let Some(program) = self.built.as_ref().and_then(|built| built.desired.programs.get(name)) else {
            return Ok(());
        };
        let data = self.settings.data.clone();
        let secret = |secret: &str| secret_in(&data, secret);
        let sources = Sources::resolve(&program.program.spec.sources, self.settings.environment.as_deref(), secret)
            .with_own_store(self.settings.database_url.clone())
            .with_default_prometheus(std::env::var("PROM_URL").ok().as_deref())
            .with_jobs(jobs);
        let sources = Arc::new(sources);
        let world = facts::World {
            store: &self.settings.store,
            program,
            workloads: self.current_workload_facts(program, memory),
            list_outcomes,
            environment: self.settings.environment.clone().unwrap_or_default(),
            day0,
            now,
            funnels: std::sync::Mutex::default(),
        };
        let mut measured = Vec::new();
        for (gate, check, about) in due {
            let key = MeasuredCheck { program: name.to_owned(), gate, check: check.name.clone() };
            if check.fact.is_some() {
                let reading = facts::measure(&world, &check).await;
                let at = (key.gate.clone(), key.check.clone());
                let same = |known: &Reading| known.outcome == reading.outcome;
                let known = self.programs.get(name).and_then(|state| state.measured.get(&at));
                if !glances.contains(&at) || known.is_none_or(|(_, known)| !same(known)) {
                    measured.push((key, reading));
                }
            } else if self.asked.insert(key.clone()) {
                let (signals, sources, wake) = (self.signals.clone(), sources.clone(), self.wake.clone());
                let asker = self.asker(&key);
                self.in_flight.spawn(async move {
                    let reading = signals.measure(&sources, &check, (&about, &asker), now);
                    let reading = AssertUnwindSafe(reading).catch_unwind().await;
                    wake.notify_one();
                    // One that breaks off by a fault of ours has no answer, which is an answer too: it must not seem to be fresh.
                    let reading = reading.unwrap_or_else(|_| Some(Reading::unknown(Why::Terminated, now)));
                    (key, reading.unwrap_or_else(|| unmeasured(now)))
                });
            }
        }
        self.keep_readings(measured).await
    }

    fn asker(&self, key: &MeasuredCheck) -> Asker {
        let gate = self.settings.source.watched().and_then(|watched| watched.resource(Kind::Gate, &key.gate));
        let id = gate.map(|gate| gate.uid.clone());
        Asker { program: key.program.clone(), gate: key.gate.clone(), check: key.check.clone(), id }
    }

    /// Takes the measurements over that are done; with `patient`, waits for all of them.
    pub(super) async fn collect(&mut self, patient: bool) -> Result<(), ControllerError> {
        let mut measured = Vec::new();
        loop {
            let next = if patient { self.in_flight.join_next().await } else { self.in_flight.try_join_next() };
            match next {
                Some(Ok(done)) => measured.push(done),
                // A measurement that panicked is asked for again.
                Some(Err(error)) => tracing::warn!(error = %error, "a measurement was broken off"),
                None => break,
            }
        }
        if self.in_flight.is_empty() {
            self.asked.clear();
        }
        self.keep_readings(measured).await
    }

    async fn keep_readings(&mut self, measured: Vec<(MeasuredCheck, Reading)>) -> Result<(), ControllerError> {
        if measured.is_empty() {
            return Ok(());
        }
        let row = |(key, reading): &(MeasuredCheck, Reading)| readings::Reading {
            program: key.program.clone(),
            gate: key.gate.clone(),
            check: key.check.clone(),
            at: reading.at,
            body: serde_json::to_value(reading).unwrap_or_default(),
        };
        let rows: Vec<_> = measured.iter().map(row).collect();
        let mut tx = self.settings.store.begin().await?;
        readings::append(&mut tx, &rows, KEEP).await?;
        tx.commit().await?;
        for (key, reading) in measured {
            self.asked.remove(&key);
            let state = self.programs.entry(key.program).or_default();
            state.measured.insert((key.gate, key.check), (reading.at, reading));
        }
        Ok(())
    }

    /// The readings that an earlier controller kept, so that a restart forgets none.
    pub(super) async fn remember_readings(&mut self, name: &str) -> Result<(), ControllerError> {
        let latest = readings::latest(&self.settings.store, name).await?;
        let state = self.programs.entry(name.to_owned()).or_default();
        for row in latest {
            if let Ok(reading) = serde_json::from_value::<Reading>(row.body) {
                state.measured.insert((row.gate, row.check), (row.at, reading));
            }
        }
        Ok(())
    }
}

fn unmeasured(now: Timestamp) -> Reading {
    Reading::unknown(Why::SourceError("this kind of check is not measured on this machine".to_owned()), now)
}

fn review_due(gate: &GateSpec, memory: &Memory, name: &str, zone: &TimeZone, now: Timestamp) -> bool {
    let Some(review) = &gate.review else { return false };
    let Some(last) = memory.gates.get(name).and_then(|memory| memory.reviewed_until) else { return false };
    review.cron.next_after(last, zone).is_some_and(|next| next <= now)
}

/// Whom and which days a gate's KPIs are about: its cohorts, the seven days up to today.
fn about(program: &ProgramDesired, gate: &GateSpec, day0: Date, zone: &TimeZone, now: Timestamp) -> KpiQuery {
    KpiQuery::week(program.name(), &gate.cohorts, day_number(day0), day_of(now, zone), zone.clone())
}
