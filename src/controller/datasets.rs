//! The controller's datasets: what their files say, in what their tables differ, which of them wait and why, bringing in, undoing.
//!
//! A table is compared row by row when its file or its counts have changed, and every few minutes, for rows that somebody has changed by hand; else it is
//! only counted. Must not know: SQL, how rows are written.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use betagate_core::dataset::{DatasetDelta, Difference, Rows, Shape, counted, shape, unmet};
use betagate_core::decide::{DatasetFact, DatasetHold, Decision, Effective, ObjectState, Readings, Wait};
use betagate_core::desired::{ProgramDesired, Resource};
use betagate_core::plan::{Action, Plan};
use betagate_core::resources::{DatasetSpec, Undo};
use jiff::{SignedDuration, Timestamp, civil::Date};
use serde_json::json;

use super::commit::ACTOR;
use super::dataset_files::{read, unreadable};
use super::{Controller, ControllerError, lists};
use crate::apply::datasets::{DatasetError, bring, brought_last, undo};
use crate::source::Snapshot;
use crate::store::datasets::{self, Hand};
use crate::store::{Store, StoreError, leadership, steps};

/// So often rows that somebody may have changed by hand are looked for.
const LOOK_EVERY: SignedDuration = SignedDuration::from_mins(5);

/// A dataset as it was seen last.
#[derive(Clone, Debug, Default)]
pub(super) struct KnownDataset {
    /// The file that `rows` were read from.
    blob: String,
    /// What its file says; none where it is not to be had.
    rows: Option<Arc<Rows>>,
    /// What its rows were compared with, and what that came to.
    looked: Option<Looked>,
    /// Why its rows were not brought in when that was tried, until something else is seen.
    refused: Option<String>,
    /// Why a step could not undo it, last.
    failed: Option<String>,
    /// The digest of the rows that were brought in last; not looked for yet when none.
    live: Option<Option<String>>,
}

#[derive(Clone, Debug)]
struct Looked {
    spec: DatasetSpec,
    blob: String,
    counts: BTreeMap<String, u64>,
    at: Timestamp,
    delta: Option<DatasetDelta>,
}

/// What bringing in each dataset of a revision would do, those that wait included.
pub(super) async fn deltas(
    store: &Store,
    snapshot: &Snapshot,
    program: &ProgramDesired,
    effective: &Effective,
    (day0, now): (Date, Timestamp),
) -> Result<BTreeMap<String, DatasetDelta>, StoreError> {
    let mut found = BTreeMap::new();
    for (name, dataset) in &program.datasets {
        let (Some(shape), Some((_, rows))) = (shape(&dataset.spec.table), read(snapshot, dataset)) else { continue };
        let hold = effective.datasets.get(name);
        if hold.is_some_and(|hold| hold.holder.is_some()) {
            continue;
        }
        let difference = Difference::between(&rows, &datasets::live(store, shape).await?);
        let mut delta = difference.told(&rows.digest);
        delta.waits = waits(program, (name, &rows), hold, (day0, now));
        if !difference.is_empty() {
            found.insert(name.clone(), delta);
        }
    }
    Ok(found)
}

/// Why a dataset that differs is not brought in, as far as holds and suspensions go.
fn waits(
    program: &ProgramDesired,
    (name, rows): (&str, &Rows),
    hold: Option<&DatasetHold>,
    (day0, now): (Date, Timestamp),
) -> Option<String> {
    let undone = hold.and_then(|hold| hold.quarantined.get(&rows.digest)).map(|run| {
        format!(
            "its file was undone by {run}: commit another one, or betagate signoff acknowledge --object Dataset/{name} --digest {}",
            rows.digest
        )
    });
    undone.or_else(|| lists::program_suspended(program, day0, now))
}

impl Controller {
    fn known_dataset(&mut self, program: &str, name: &str) -> &mut KnownDataset {
        self.programs.entry(program.to_owned()).or_default().datasets.entry(name.to_owned()).or_default()
    }

    fn desired_program(&self, name: &str) -> Option<&ProgramDesired> {
        self.built.as_ref()?.desired.programs.get(name).map(|program| &**program)
    }

    /// What `decide` is told about the datasets of a program.
    pub(super) async fn dataset_facts(&mut self, name: &str) -> Result<BTreeMap<String, DatasetFact>, ControllerError> {
        let mut facts = BTreeMap::new();
        let (Some(program), Some(snapshot)) = (self.desired_program(name), self.built_from.clone()) else {
            return Ok(facts);
        };
        let wanted: Vec<Resource<DatasetSpec>> = program.datasets.values().cloned().collect();
        if wanted.is_empty() {
            return Ok(facts);
        }
        let undone = steps::undone(&self.settings.store, name).await?;
        for dataset in wanted {
            let Some(shape) = shape(&dataset.spec.table) else { continue };
            let counts = datasets::counts(&self.settings.store, shape).await?;
            let blob = snapshot.named_by(&dataset.origin.file, &dataset.spec.file).map(|(_, file)| file.digest());
            let blob = blob.unwrap_or_default().to_owned();
            let known = self.known_dataset(name, &dataset.name);
            if known.blob != blob || known.rows.is_none() {
                known.rows = read(&snapshot, &dataset).map(|(_, rows)| Arc::new(rows));
                known.blob = blob;
            }
            let live = match self.known_dataset(name, &dataset.name).live.clone() {
                Some(live) => live,
                None => brought_last(&self.settings.store, name, &dataset.name).await?,
            };
            let known = self.known_dataset(name, &dataset.name);
            known.live = Some(live.clone());
            let of_it = undone.iter().filter(|(.., detail)| detail["dataset"] == dataset.name.as_str());
            let after = of_it.filter_map(|(key, at, detail)| {
                Some((key.clone(), (*at, serde_json::from_value(detail["counts"].clone()).ok()?)))
            });
            let fact = DatasetFact {
                digest: known.rows.as_ref().map(|rows| rows.digest.clone()),
                live,
                counts,
                after: after.collect(),
                failed: known.failed.clone(),
            };
            facts.insert(dataset.name, fact);
        }
        Ok(facts)
    }

    /// The datasets whose tables differ from their files, those that wait with the reason; says how each stands.
    pub(super) async fn changed_datasets(
        &mut self,
        name: &str,
        decision: &mut Decision,
        readings: &Readings,
        day0: Date,
    ) -> Result<BTreeMap<String, DatasetDelta>, ControllerError> {
        let mut changed = BTreeMap::new();
        let Some(program) = self.desired_program(name) else { return Ok(changed) };
        if program.datasets.is_empty() {
            return Ok(changed);
        }
        let (program, now) = (program.clone(), self.settings.clock.now());
        for (dataset, resource) in &program.datasets {
            let (Some(shape), Some(fact)) = (shape(&resource.spec.table), readings.datasets.get(dataset)) else {
                continue;
            };
            let hold = decision.effective.datasets.get(dataset);
            let rows = self.known_dataset(name, dataset).rows.clone();
            let state = match (rows, hold.and_then(|hold| hold.holder.as_deref())) {
                (_, Some(holder)) => held(holder, fact),
                (None, None) => {
                    let why = self.built_from.as_ref().and_then(|snapshot| unreadable(snapshot, resource));
                    let why = why.map_or_else(String::new, |why| format!(": {why}"));
                    state("Unknown", format!("its file can't be read{why}"), None)
                }
                (Some(rows), None) => {
                    let delta = self.look_at_dataset((name, dataset), &resource.spec, (shape, &rows), fact).await?;
                    let refused = self.known_dataset(name, dataset).refused.clone();
                    let waits = waits(&program, (dataset, &rows), hold, (day0, now)).or(refused);
                    let said = described(delta.as_ref(), waits.as_deref(), fact, &resource.spec);
                    changed.extend(delta.map(|delta| (dataset.clone(), DatasetDelta { waits, ..delta })));
                    said
                }
            };
            decision.states.insert(format!("Dataset/{dataset}"), state);
        }
        Ok(changed)
    }

    /// In what a table differs from its file; remembered until one of them changes.
    async fn look_at_dataset(
        &mut self,
        (program, name): (&str, &str),
        spec: &DatasetSpec,
        (shape, rows): (&'static Shape, &Rows),
        fact: &DatasetFact,
    ) -> Result<Option<DatasetDelta>, ControllerError> {
        let (now, every) = (self.settings.clock.now(), self.settings.clock.of_real(LOOK_EVERY));
        let known = self.known_dataset(program, name);
        let blob = known.blob.clone();
        let same = |looked: &&Looked| {
            let fresh = now.duration_since(looked.at) < every;
            fresh && looked.spec == *spec && looked.blob == blob && looked.counts == fact.counts
        };
        if let Some(looked) = known.looked.as_ref().filter(same) {
            return Ok(looked.delta.clone());
        }
        known.refused = None;
        let difference = Difference::between(rows, &datasets::live(&self.settings.store, shape).await?);
        let delta = (!difference.is_empty()).then(|| difference.told(&rows.digest));
        let looked = Looked { spec: spec.clone(), blob, counts: fact.counts.clone(), at: now, delta: delta.clone() };
        self.known_dataset(program, name).looked = Some(looked);
        Ok(delta)
    }

    /// Brings the datasets in that wait for nothing; says whether there were any.
    pub(super) async fn bring_datasets_in(
        &mut self,
        name: &str,
        changed: &BTreeMap<String, DatasetDelta>,
    ) -> Result<bool, ControllerError> {
        let mut brought = false;
        for dataset in changed.iter().filter(|(_, delta)| delta.waits.is_none()).map(|(dataset, _)| dataset) {
            let spec = self.desired_program(name).and_then(|program| program.datasets.get(dataset));
            let Some(spec) = spec.map(|dataset| dataset.spec.clone()) else { continue };
            let Some(rows) = self.known_dataset(name, dataset).rows.clone() else { continue };
            let Some(shape) = shape(&spec.table) else { continue };
            let moment = |when: &str| format!("dataset {dataset}: {when}");
            self.faults.at(|| moment("before")).await;
            let hand = Hand { shape, program: name, dataset, actor: ACTOR, now: self.settings.clock.now() };
            let mut tx = self.settings.store.begin().await?;
            leadership::fence(&mut tx, self.epoch).await?;
            match bring(&mut tx, &hand, &rows, &spec.expect).await {
                Ok(_) => {
                    self.faults.at(|| moment("between effect and record")).await;
                    tx.commit().await?;
                    self.faults.at(|| moment("after")).await;
                    self.dataset_changed(name, dataset);
                    brought = true;
                }
                Err(error) => {
                    drop(tx);
                    let reason = error.into_store().map_or_else(|error| Ok(error.to_string()), Err)?;
                    tracing::warn!(program = name, dataset = %dataset, %reason, "{} failed", shape.log);
                    self.known_dataset(name, dataset).refused = Some(reason);
                }
            }
        }
        Ok(brought)
    }

    /// Undoes the datasets that steps ask for, each once; says whether there were any.
    pub(super) async fn undo_datasets(&mut self, name: &str, plan: &Plan) -> Result<bool, ControllerError> {
        let mut undone = false;
        for action in &plan.actions {
            let Action::RestoreDataset { dataset, how, key, .. } = action else { continue };
            let done = self.undo_dataset((name, dataset), *how, key, action).await;
            let failed = match done {
                Ok(done) => {
                    undone |= done;
                    None
                }
                Err(error) => Some(error.into_store().map_or_else(|error| Ok(error.to_string()), Err)?),
            };
            self.known_dataset(name, dataset).failed = failed;
        }
        Ok(undone)
    }

    async fn undo_dataset(
        &mut self,
        (program, dataset): (&str, &str),
        how: Undo,
        key: &str,
        action: &Action,
    ) -> Result<bool, DatasetError> {
        let spec = self.desired_program(program).and_then(|program| program.datasets.get(dataset));
        let spec = spec.map(|dataset| dataset.spec.clone());
        let Some((spec, shape)) = spec.and_then(|spec| shape(&spec.table).map(|shape| (spec, shape))) else {
            return Err(DatasetError::NoRows);
        };
        let rows = self.known_dataset(program, dataset).rows.clone();
        let now = self.settings.clock.now();
        let moment = |when: &str| format!("restoreDataset {key}: {when}");
        self.faults.at(|| moment("before effect")).await;
        let mut tx = self.settings.store.begin().await?;
        leadership::fence(&mut tx, self.epoch).await?;
        if !steps::begin(&mut tx, program, key, &json!({}), now).await? {
            return Ok(false);
        }
        let hand = Hand { shape, program, dataset, actor: ACTOR, now };
        let undone = undo(&mut tx, &hand, how, rows.as_deref(), &spec.expect).await?;
        let mut receipt = undone.told(how, dataset);
        receipt["action"] = json!(action);
        self.faults.at(|| moment("between effect and record")).await;
        steps::came_to(&mut tx, program, key, &receipt).await?;
        tx.commit().await?;
        self.faults.at(|| moment("after record")).await;
        self.dataset_changed(program, dataset);
        Ok(true)
    }

    /// A table has changed by us: it is compared anew, and what checks read of it is out of date.
    fn dataset_changed(&mut self, program: &str, dataset: &str) {
        let known = self.known_dataset(program, dataset);
        (known.looked, known.live) = (None, None);
        let Some(gates) = self.desired_program(program).map(|program| &program.gates) else { return };
        let stale: BTreeSet<(String, String)> = gates
            .iter()
            .flat_map(|(gate, spec)| spec.spec.checks.iter().map(move |check| (gate, check)))
            .filter(|(_, check)| check.fact.as_deref().is_some_and(|fact| fact.starts_with("dataset.")))
            .map(|(gate, check)| (gate.clone(), check.name.clone()))
            .collect();
        if let Some(state) = self.programs.get_mut(program) {
            state.measured.retain(|check, _| !stale.contains(check));
        }
    }

    /// What a step that undoes a dataset needs and is not there.
    pub(super) async fn no_such_undo(
        &self,
        program: &ProgramDesired,
        dataset: &str,
    ) -> Result<Option<String>, ControllerError> {
        let Some(resource) = program.datasets.get(dataset) else {
            return Ok(Some(format!("there is no dataset {dataset}")));
        };
        let Some(shape) = shape(&resource.spec.table) else { return Ok(None) };
        let known = self.programs.get(program.name()).and_then(|state| state.datasets.get(dataset));
        Ok(match resource.spec.undo {
            Undo::Reseed if known.is_none_or(|known| known.rows.is_none()) => Some(DatasetError::NoRows.to_string()),
            Undo::Restore if !datasets::dumps(&self.settings.store, shape).await?.iter().any(|dump| dump.put_back) => {
                Some(DatasetError::NoDump.to_string())
            }
            _ => None,
        })
    }
}

fn state(word: &str, summary: String, wait: Option<(&str, &str)>) -> ObjectState {
    let waits = wait.map(|(on, from)| Wait { on: on.to_owned(), from: from.to_owned() });
    let needs_somebody = matches!(word, "Held" | "Waiting" | "Unmet");
    ObjectState { state: word.to_owned(), summary, waits: waits.into_iter().collect(), needs_somebody }
}

fn held(holder: &str, fact: &DatasetFact) -> ObjectState {
    let summary = format!("{}; its table stays as {holder} leaves it", counted(&fact.counts));
    state("Held", summary, Some((&format!("hold by {holder}"), "its hold is lifted")))
}

/// How a dataset that nobody holds stands.
fn described(delta: Option<&DatasetDelta>, waits: Option<&str>, fact: &DatasetFact, spec: &DatasetSpec) -> ObjectState {
    let counts = counted(&fact.counts);
    match (delta, waits) {
        (Some(_), Some(reason)) => {
            let from = "another file, or a person's word";
            state("Waiting", format!("{counts}; its file is not brought in"), Some((reason, from)))
        }
        (Some(_), None) => state("Pending", format!("{counts}; its file is being brought in"), None),
        (None, _) => {
            let missed = unmet(&spec.expect, &fact.counts).join("; ");
            if missed.is_empty() {
                state("Published", counts, None)
            } else {
                let from = "a file with as many rows, or another expectation";
                state("Unmet", format!("{counts}; not as expected"), Some((&missed, from)))
            }
        }
    }
}
