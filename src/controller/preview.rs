//! The flow without its last step: what a revision would change, against what is live.

use std::collections::BTreeMap;
use std::path::Path;

use betagate_core::decide::{Effective, Readings, SignoffFact, decide};
use betagate_core::desired::{Built, ProgramDesired};
use betagate_core::flags::{Building, cohort_key};
use betagate_core::plan::{Action, Census, Held, ListDelta, Observed, Plan, RunningWorkload, held, plan};
use betagate_core::resources::WorkloadSpec;
use jiff::{Timestamp, civil::Date};
use serde::Deserialize as _;

use super::lists::{LookAt, Looked, Words, capacities, find_list, look_at_gone};
use super::{ControllerError, observe, remembered};
use crate::keys::Keys;
use crate::source::Snapshot;
use crate::store::{Store, StoreError, cohort_lists, flags, freezes, invites, members, memory, signoffs, workloads};

/// What would change in one program.
pub struct Preview {
    /// The program.
    pub program: String,
    /// The changes, in order.
    pub plan: Plan,
    /// The holds in force: what stays as it is whatever the documents say.
    pub held: Vec<Held>,
}

/// What a revision would change of what is live: flags, cohorts, freezes and lists. Nothing is measured and nothing is written.
///
/// # Errors
/// The database's, or what is remembered does not read.
pub async fn preview(
    store: &Store,
    snapshot: &Snapshot,
    built: &Built,
    now: Timestamp,
    data: &Path,
) -> Result<Vec<Preview>, ControllerError> {
    let mut previews = Vec::new();
    for (name, program) in &built.desired.programs {
        let documents = memory::load(store, name).await?;
        let remembered = remembered::read(name, &documents)?;
        let decision = decide(program, &built.desired.revision, &Readings::default(), &remembered, now);
        let held = held(&decision.effective, &decision.memory.runs);
        let (effective, day0) = (decision.effective, program.program.spec.starts_on.or(decision.memory.program.day0));
        let freezes = freezes::list(store, Some(name)).await?;
        let (pauses, effects) = observe::done_once(store, name, &remembered).await?;
        let mut observed = Observed {
            open_cohorts: invites::open_cohorts(store, name).await?.into_iter().collect(),
            freezes: freezes
                .into_iter()
                .map(|freeze| ((!freeze.cohort.is_empty()).then_some(freeze.cohort), freeze.holder))
                .collect(),
            flags: observe::published_flags(flags::newest(store).await?.map(|snapshot| snapshot.body), name),
            pauses: observe::told(&pauses),
            effects,
            ..Observed::default()
        };
        let opened = effective.cohorts.iter().filter(|(_, state)| state.opened_before).map(|(cohort, _)| cohort);
        let live = Live { store, data, now, day0: day0.unwrap_or_default() };
        observed.lists = lists(&live, snapshot, (built, program), opened).await?;
        observed.lists.extend(gone(&live, (built, program)).await?);
        observed.capacities = capacities(store, program, live.day0, now).await?;
        observed.datasets = super::datasets::deltas(store, snapshot, program, &effective, (live.day0, now)).await?;
        let mut plan = plan(&effective, &BTreeMap::new(), &observed);
        plan.actions.extend(workload_changes(store, program, &effective).await?);
        let census = Census::new(&observed.flags, &effective.flags, &plan, now);
        count_moves(store, name, census, &mut plan).await?;
        previews.push(Preview { program: name.clone(), plan, held });
    }
    Ok(previews)
}

/// The workloads whose settings differ from those that were wanted last, where anything of them ran: which revision they become only whoever runs
/// them can tell. One that a rollback holds stays as it is.
async fn workload_changes(
    store: &Store,
    program: &ProgramDesired,
    effective: &Effective,
) -> Result<Vec<Action>, ControllerError> {
    let mut changes = Vec::new();
    for (name, workload) in &program.workloads {
        let held = effective.workloads.get(name).is_some_and(|hold| hold.revision.is_some());
        let known = workloads::revisions(store, name).await?.pop();
        let last = known.and_then(|known| Some((known.revision, WorkloadSpec::deserialize(&known.spec).ok()?)));
        let Some((revision, last)) = last.filter(|_| !held && workload.spec.suspend.is_none()) else { continue };
        let version = effective.versions.get(name);
        let mut wanted =
            version.map_or_else(|| workload.spec.clone(), |of_stage| of_stage.version.over(&workload.spec));
        // What the installation adds is recorded with it.
        wanted.image = wanted.image.or_else(|| last.image.clone());
        if wanted != last {
            let from = Some(RunningWorkload { revision, replicas: last.replicas });
            let to = RunningWorkload { revision: String::new(), replicas: wanted.replicas };
            let version = version.map(ToString::to_string);
            changes.push(Action::SetWorkload { workload: name.clone(), from, to, version });
        }
    }
    Ok(changes)
}

/// What is live.
struct Live<'a> {
    store: &'a Store,
    data: &'a Path,
    now: Timestamp,
    day0: Date,
}

/// What bringing in the lists of these cohorts would do, the words of the revision heard as well as those that were recorded.
async fn lists(
    live: &Live<'_>,
    snapshot: &Snapshot,
    (built, program): (&Built, &ProgramDesired),
    cohorts: impl Iterator<Item = &String>,
) -> Result<BTreeMap<String, ListDelta>, ControllerError> {
    let Ok(keys) = Keys::load(&live.data.join("keys")) else {
        return sizes(live, snapshot, program, cohorts).await;
    };
    let recorded = recorded_words(live, program).await?;
    let words = words(live, (built, program), &recorded);
    let mut deltas = BTreeMap::new();
    for name in cohorts {
        let Some(cohort) = program.cohorts.get(name) else { continue };
        let Live { store, data, now, day0 } = *live;
        let look = LookAt { store, keys: &keys, snapshot, data, program, words: &words, day0, now };
        let delta = match find_list(snapshot, cohort, data) {
            Err(reason) => ListDelta { guard: Some(reason), ..ListDelta::default() },
            Ok(found) => match look.list(cohort, found).await? {
                Looked::Ready { delta, .. } | Looked::Waits { delta, .. } => delta,
                Looked::Broken(reason) => ListDelta { guard: Some(reason), ..ListDelta::default() },
            },
        };
        if delta.guard.is_some() || delta.added + delta.removed + delta.changed > 0 {
            deltas.insert(name.clone(), delta);
        }
    }
    Ok(deltas)
}

async fn recorded_words(live: &Live<'_>, program: &ProgramDesired) -> Result<Vec<SignoffFact>, StoreError> {
    let recorded = signoffs::list(live.store, program.name()).await?;
    Ok(recorded.into_iter().filter_map(observe::signoff_fact).collect())
}

/// The words of the revision, and those that were recorded.
fn words<'a>(
    live: &Live<'_>,
    (built, program): (&Built, &'a ProgramDesired),
    recorded: &'a [SignoffFact],
) -> Words<'a> {
    let verified = built.desired.revision.verified;
    let declared = program.signoffs.iter().map(|(name, word)| (name.as_str(), &word.spec, verified));
    let recorded = recorded.iter().map(|word| (word.name.as_str(), &word.spec, word.verified));
    Words::new(program, recorded.chain(declared).collect(), Some(live.day0), live.now)
}

/// What taking back the cohorts whose documents are gone would do.
async fn gone(
    live: &Live<'_>,
    (built, program): (&Built, &ProgramDesired),
) -> Result<BTreeMap<String, ListDelta>, ControllerError> {
    let recorded = recorded_words(live, program).await?;
    let words = words(live, (built, program), &recorded);
    let mut deltas = BTreeMap::new();
    for (cohort, list, taken_back) in cohort_lists::known_cohorts(live.store, program.name()).await? {
        if taken_back || program.cohorts.contains_key(&cohort) {
            continue;
        }
        let of = (cohort.as_str(), list);
        let (_, delta) = look_at_gone(live.store, (program, &words), of, (live.day0, live.now)).await?;
        if delta.removed > 0 {
            deltas.insert(cohort, delta);
        }
    }
    Ok(deltas)
}

/// Where the keys of the record are not at hand: by how many rows each list differs.
async fn sizes(
    live: &Live<'_>,
    snapshot: &Snapshot,
    program: &ProgramDesired,
    cohorts: impl Iterator<Item = &String>,
) -> Result<BTreeMap<String, ListDelta>, ControllerError> {
    let mut deltas = BTreeMap::new();
    for name in cohorts {
        let Ok(survey) = super::survey_list(snapshot, program, name, live.data) else { continue };
        let had = invites::cohort_state(live.store, program.name(), name).await?;
        let rows = had.as_ref().map_or(0, |state| u64::try_from(state.rows).unwrap_or(0));
        if had.and_then(|state| state.list_digest) != Some(survey.digest_hex()) {
            let (added, removed) = (survey.rows.saturating_sub(rows), rows.saturating_sub(survey.rows));
            let (total, digest) = (survey.rows, survey.digest_hex());
            deltas.insert(name.clone(), ListDelta { added, removed, total, digest, ..ListDelta::default() });
        }
    }
    Ok(deltas)
}

/// Counts the members of a program's cohorts whom the changes of its flags move. A person is known by the user id alone: what a rule reads
/// of the rest of the context is not known here.
async fn count_moves(store: &Store, program: &str, mut census: Census, plan: &mut Plan) -> Result<(), StoreError> {
    if census.is_empty() {
        return Ok(());
    }
    let mut index = Building::default();
    members::each(store, |member| {
        if member.program == program {
            index.add(&member.user.to_string(), &cohort_key(program, &member.cohort));
        }
    })
    .await?;
    let index = index.finish();
    members::each(store, |member| {
        let user = member.user.to_string();
        // Each person once, with the first of their cohorts.
        let first = index.of(&user).and_then(|cohorts| cohorts.first());
        if member.program == program && first == Some(&cohort_key(program, &member.cohort)) {
            census.count(&user, &index);
        }
    })
    .await?;
    census.finish(plan);
    Ok(())
}
