//! What is so: the readings that `decide` is told, and what `plan` compares with.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher as _, Hash as _, Hasher as _};

use betagate_core::decide::{
    ApiFact, BY_HAND, CheckRef, Decision, DocumentFact, FreezeFact, IncidentFact, Memory, OnlineFact, Readings,
    Receipt, SignoffFact, StopFact,
};
use betagate_core::plan::{Observed, RunningWorkload};
use betagate_core::resources::{Moment, SignoffSpec};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::{Controller, ControllerError};
use crate::apply::workloads::RunState;
use crate::store::{Store, StoreError, flags, freezes, incidents, invites, outbox, signoffs, steps, stops};

/// An API process that has not reported for so long does not count as serving anything.
pub const REPORT_STALE_AFTER: SignedDuration = SignedDuration::from_secs(15);
/// An always-online group is probed this often while nothing is wrong, and this often during a rollback.
const PROBE_EVERY: [SignedDuration; 2] = [SignedDuration::from_secs(30), SignedDuration::from_secs(1)];

impl Controller {
    /// Gathers what `decide` is told about one program.
    pub(super) async fn readings(&mut self, name: &str, memory: &Memory) -> Result<Readings, ControllerError> {
        let store = self.settings.store.clone();
        let mut readings = Readings::default();
        if let Some(state) = self.programs.get(name) {
            let checks = state.measured.iter();
            readings.checks =
                checks.map(|((gate, check), (_, reading))| (CheckRef::new(gate, check), reading.clone())).collect();
        }
        let all = incidents::list(&store, name, None).await?;
        let words = signoffs::list(&store, name).await?;
        self.note_records(name, &all, &words);
        readings.incidents = all.into_iter().map(incident_fact).collect();
        readings.signoffs = words.into_iter().filter_map(signoff_fact).collect();
        let freezes = freezes::list(&store, Some(name)).await?;
        readings.freezes = freezes.into_iter().map(freeze_fact).collect();
        readings.api = self.api_facts().await?;
        readings.online = self.online(name, memory).await;
        for (id, _) in memory.runs.iter().filter(|(_, run)| run.in_force()) {
            for message in outbox::by_prefix(&store, &format!("{id}/")).await? {
                if message.intent.kind == "document" && message.state == outbox::State::Done {
                    let fact = self.document_fact(&message);
                    readings.documents.insert(message.intent.effect_key.clone(), fact);
                }
                let done = message.state == outbox::State::Done;
                let at = message.done_at.unwrap_or(message.created_at);
                readings.receipts.insert(message.intent.effect_key, Receipt { done, at, error: message.last_error });
            }
        }
        let stops = stops::standing(&store, name).await?.into_iter();
        readings.stops = stops.map(stop_fact).collect();
        readings.requests = self.requests_for(name).await?;
        (readings.pauses, readings.effects) = done_once(&store, name, memory).await?;
        readings.workloads = self.workload_facts(name);
        readings.datasets = self.dataset_facts(name).await?;
        Ok(readings)
    }

    /// The API processes that are expected to run come from where workloads run, where betagate runs them: one that never reported is missed then,
    /// not forgotten. Elsewhere those that reported lately count.
    pub(super) async fn api_facts(&self) -> Result<Vec<ApiFact>, ControllerError> {
        let store = &self.settings.store;
        let now = self.settings.clock.now();
        let fresh = now.checked_sub(self.settings.clock.of_real(REPORT_STALE_AFTER)).unwrap_or(Timestamp::MIN);
        let reported = flags::processes(store, fresh).await?;
        let mut holds: BTreeMap<i64, BTreeSet<String>> = BTreeMap::new();
        for revision in reported.iter().map(|process| process.flag_revision).collect::<BTreeSet<_>>() {
            holds.insert(revision, flags::holds(store, revision).await?.into_iter().collect());
        }
        let serves = |process: &flags::Process| holds.get(&process.flag_revision).cloned();
        if !self.target.makes_so() {
            let facts = reported.iter().map(|process| ApiFact {
                id: format!("{}/{}", process.workload, called(process)),
                serves: serves(process),
            });
            return Ok(facts.collect());
        }
        let expected = self.target.observed().into_iter().filter(|running| self.is_api(&running.workload));
        let facts = expected.filter(|running| running.state != RunState::Stopping).filter_map(|running| {
            let own = reported.iter().find(|reported| running.id.as_ref() == Some(&called(reported)));
            let id = format!("{}/{}", running.workload, running.id.as_ref().unwrap_or(&running.place));
            // A pod that is not ready and never said anything is reached by nobody: its image may be nowhere.
            let unreachable = self.target.outlasts_us() && running.state == RunState::Starting && own.is_none();
            (!unreachable).then(|| ApiFact { id, serves: own.and_then(serves) })
        });
        Ok(facts.collect())
    }

    async fn online(&mut self, name: &str, memory: &Memory) -> BTreeMap<String, OnlineFact> {
        let now = self.settings.clock.now();
        let Some(program) = self.built.as_ref().and_then(|built| built.desired.programs.get(name)) else {
            return BTreeMap::new();
        };
        let groups = program.program.spec.always_online.clone();
        let Some(base) = self.probed_at(name) else { return BTreeMap::new() };
        let urgent = memory.runs.values().any(betagate_core::decide::RunMemory::in_force);
        let state = self.programs.entry(name.to_owned()).or_default();
        let due = state.probe_at.is_none_or(|at| now >= at);
        // A step in force waits for a probe that came after it.
        if due || urgent {
            let mut found = BTreeMap::new();
            for group in groups {
                let up = crate::signals::probe::answers(&base, &group).await;
                found.insert(group, OnlineFact { up, at: now });
            }
            state.online = found;
            state.probe_at = now.checked_add(PROBE_EVERY[usize::from(urgent)]).ok();
        }
        state.online.clone()
    }

    /// What the folder of cause documents says now, which people write in.
    fn document_fact(&self, message: &outbox::Message) -> DocumentFact {
        let key = &message.intent.effect_key;
        let run = message.intent.payload["document"]["run"].as_str().unwrap_or_default();
        let documents = crate::outbox::Documents::with(&self.settings.data, &self.settings.source);
        match documents.read(run, key) {
            Ok(Some(found)) => DocumentFact { complete: found.complete, missing: found.missing },
            Ok(None) => {
                DocumentFact { complete: false, missing: vec![format!("{} is gone", documents.place(run, key))] }
            }
            Err(error) => DocumentFact { complete: false, missing: vec![error.to_string()] },
        }
    }

    /// The flags of a program as they are published, and the revision that has them. Thousands of flags are read only when they may differ from what is
    /// decided now.
    pub(super) async fn published(
        &self,
        name: &str,
        decision: &Decision,
    ) -> Result<(i64, BTreeMap<String, Value>), ControllerError> {
        let newest = flags::newest_revision(&self.settings.store).await?;
        let decided = &decision.effective.flags;
        let known = self.programs.get(name).and_then(|state| state.published);
        if known == Some((newest, self.hash_of(decided))) {
            return Ok((newest, decided.clone()));
        }
        let newest = flags::newest(&self.settings.store).await?;
        let revision = newest.as_ref().map_or(0, |snapshot| snapshot.revision);
        Ok((revision, published_flags(newest.map(|snapshot| snapshot.body), name)))
    }

    /// What tells flags from others, but for the commit that they name.
    pub(super) fn hash_of(&self, flags: &BTreeMap<String, Value>) -> u64 {
        let mut hasher = self.hashing.build_hasher();
        for (key, flag) in flags {
            key.hash(&mut hasher);
            let fields = flag.as_object().into_iter().flatten().filter(|(field, _)| *field != "commit");
            fields.for_each(|field| field.hash(&mut hasher));
        }
        hasher.finish()
    }

    /// What `plan` compares with, beside what was read for the decision and what is published.
    pub(super) async fn observed(
        &self,
        name: &str,
        readings: &Readings,
        flags: BTreeMap<String, Value>,
    ) -> Result<Observed, ControllerError> {
        let store = &self.settings.store;
        let open_cohorts = invites::open_cohorts(store, name).await?.into_iter().collect();
        let freezes = freezes::list(store, Some(name)).await?.into_iter().map(|freeze| {
            let cohort = (!freeze.cohort.is_empty()).then_some(freeze.cohort);
            (cohort, freeze.holder)
        });
        let freezes = freezes.collect();
        let mut workloads: BTreeMap<String, RunningWorkload> = BTreeMap::new();
        for running in self.target.observed().into_iter().filter(|running| running.state == RunState::Ready) {
            let entry = workloads.entry(running.workload);
            entry.or_insert_with(|| RunningWorkload { revision: running.revision, replicas: 0 }).replicas += 1;
        }
        let (pauses, effects) = (told(&readings.pauses), readings.effects.clone());
        Ok(Observed { open_cohorts, freezes, flags, workloads, pauses, effects, ..Observed::default() })
    }
}

/// The pauses that stand, by holder, and what the runs in force did to the database once.
pub(super) async fn done_once(
    store: &Store,
    name: &str,
    memory: &Memory,
) -> Result<(BTreeSet<String>, BTreeSet<String>), StoreError> {
    let pauses = steps::pauses(store, name).await?.into_iter().map(|pause| pause.holder).collect();
    let runs = memory.runs.iter().filter(|(_, run)| run.in_force()).map(|(id, _)| id.clone());
    Ok((pauses, steps::effects_of_runs(store, name, &runs.collect::<Vec<_>>()).await?))
}

/// The pauses that a plan tells: those by hand are nobody's plan.
pub(super) fn told(pauses: &BTreeSet<String>) -> BTreeSet<String> {
    pauses.iter().filter(|holder| !holder.starts_with(BY_HAND)).cloned().collect()
}

/// What an API process is called where it runs: by its pod, or by its id on its machine.
fn called(process: &flags::Process) -> String {
    process.pod.clone().unwrap_or_else(|| process.pid.to_string())
}

/// The definitions of one program's flags in a published snapshot.
pub(super) fn published_flags(body: Option<Value>, program: &str) -> BTreeMap<String, Value> {
    let Some(Value::Object(mut body)) = body else { return BTreeMap::new() };
    let Some(Value::Object(flags)) = body.get_mut("flags").map(Value::take) else { return BTreeMap::new() };
    flags.into_iter().filter(|(_, flag)| flag["program"] == program).collect()
}

fn incident_fact(incident: incidents::Incident) -> IncidentFact {
    IncidentFact {
        name: incident.name,
        severity: incident.severity,
        category: (!incident.category.is_empty()).then_some(incident.category),
        title: incident.title,
        started_at: incident.started_at,
        resolved_at: incident.resolved_at,
        acknowledged_at: incident.acknowledged_at,
    }
}

pub(super) fn signoff_fact(word: signoffs::Signoff) -> Option<SignoffFact> {
    let says = serde_json::from_value(Value::String(word.says)).ok()?;
    let spec = SignoffSpec {
        program: word.program,
        by: word.by_person,
        says,
        gate: word.gate,
        check: word.check,
        rollout: word.rollout,
        stage: word.stage,
        run: word.run,
        object: word.object,
        digest: word.digest,
        note: word.note,
        until: word.until.map(Moment::Instant),
    };
    Some(SignoffFact { name: word.name, spec, first_seen: word.first_seen, verified: word.verified, proof: word.proof })
}

fn stop_fact(stop: stops::Stop) -> StopFact {
    StopFact { everywhere: stop.program.is_none(), reason: stop.reason, by: stop.by, since: stop.since }
}

fn freeze_fact(freeze: freezes::Freeze) -> FreezeFact {
    let cohort = (!freeze.cohort.is_empty()).then_some(freeze.cohort);
    FreezeFact { cohort, holder: freeze.holder, reason: freeze.reason, since: freeze.since }
}
