//! The flow without its last step: what a revision would change, against what is live or against another revision.

use std::collections::BTreeMap;
use std::path::Path;

use betagate_core::cohort::survey;
use betagate_core::decide::{Effective, Memory, Readings, decide};
use betagate_core::desired::{Built, ProgramDesired};
use betagate_core::flags::{Building, cohort_key};
use betagate_core::plan::{Action, Census, ListDelta, Observed, Plan, plan};
use jiff::Timestamp;

use super::lists::{list_source, options};
use super::{ControllerError, observe, remembered};
use crate::source::Snapshot;
use crate::store::cohort_lists::ListSource;
use crate::store::{Store, StoreError, flags, freezes, invites, members, memory};

/// What would change in one program.
pub struct Preview {
    /// The program.
    pub program: String,
    /// The changes, in order.
    pub plan: Plan,
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
        let effective = decide(program, &built.desired.revision, &Readings::default(), &remembered, now).effective;
        let freezes = freezes::list(store, Some(name)).await?;
        let mut observed = Observed {
            open_cohorts: invites::open_cohorts(store, name).await?.into_iter().collect(),
            freezes: freezes
                .into_iter()
                .map(|freeze| ((!freeze.cohort.is_empty()).then_some(freeze.cohort), freeze.holder))
                .collect(),
            flags: observe::published_flags(flags::newest(store).await?.map(|snapshot| snapshot.body), name),
            ..Observed::default()
        };
        for (cohort, delta) in list_sizes(snapshot, program, data) {
            let had = invites::cohort_state(store, name, &cohort).await?;
            let rows = had.map_or(0, |state| u64::try_from(state.rows).unwrap_or(0));
            if rows != delta.total && effective.cohorts.get(&cohort).is_some_and(|state| state.opened_before) {
                let (added, removed) = (delta.total.saturating_sub(rows), rows.saturating_sub(delta.total));
                observed.lists.insert(cohort, ListDelta { added, removed, ..delta });
            }
        }
        let mut plan = plan(&effective, &BTreeMap::new(), &observed);
        let census = Census::new(&observed.flags, &effective.flags, &plan, now);
        count_moves(store, name, census, &mut plan).await?;
        previews.push(Preview { program: name.clone(), plan });
    }
    Ok(previews)
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

/// What differs between two revisions, as if nothing had happened yet: flags, and the rows of lists by address.
///
/// # Errors
/// When a list can't be read.
pub fn compare(before: (&Snapshot, &Built), after: (&Snapshot, &Built), data: &Path) -> Result<Vec<Preview>, String> {
    let mut previews = Vec::new();
    let now = Timestamp::UNIX_EPOCH;
    for (name, program) in &after.1.desired.programs {
        let effective = effective_of(program, after.1, now);
        let old = before.1.desired.programs.get(name);
        let mut observed = Observed {
            flags: old.map(|old| effective_of(old, before.1, now).flags).unwrap_or_default(),
            ..Observed::default()
        };
        for cohort in program.cohorts.keys() {
            let new_rows = addresses(after.0, program, cohort, data)?;
            let old_rows = match old.filter(|old| old.cohorts.contains_key(cohort)) {
                Some(old) => addresses(before.0, old, cohort, data)?,
                None => BTreeMap::new(),
            };
            if let Some(delta) = difference(&old_rows, &new_rows) {
                observed.lists.insert(cohort.clone(), delta);
            }
        }
        let mut plan = plan(&effective, &BTreeMap::new(), &observed);
        // Stages are opened by what is measured, which is not known here.
        plan.actions.retain(|action| matches!(action, Action::SetFlag { .. } | Action::SyncList { .. }));
        previews.push(Preview { program: name.clone(), plan });
    }
    Ok(previews)
}

fn effective_of(program: &ProgramDesired, built: &Built, now: Timestamp) -> Effective {
    decide(program, &built.desired.revision, &Readings::default(), &Memory::default(), now).effective
}

fn list_sizes(snapshot: &Snapshot, program: &ProgramDesired, data: &Path) -> Vec<(String, ListDelta)> {
    let sizes = program.cohorts.keys().filter_map(|name| {
        let survey = super::survey_list(snapshot, program, name, data).ok()?;
        Some((name.clone(), ListDelta { total: survey.rows, digest: survey.digest_hex(), ..ListDelta::default() }))
    });
    sizes.collect()
}

/// Each row of a list by its normalised address, with what is said of the person.
fn addresses(
    snapshot: &Snapshot,
    program: &ProgramDesired,
    name: &str,
    data: &Path,
) -> Result<BTreeMap<String, String>, String> {
    let Some(cohort) = program.cohorts.get(name) else { return Ok(BTreeMap::new()) };
    let (source, _) = list_source(snapshot, cohort, data)?;
    let options = options(program, &cohort.spec);
    let bytes = match source {
        ListSource::File(path) => std::fs::read(path).map_err(|error| error.to_string())?,
        ListSource::Bytes(bytes) => bytes.to_vec(),
    };
    let counted = survey(&bytes[..], &options).map_err(|error| error.to_string())?;
    if counted.errors > 0 {
        return Err(format!("the list of cohort {name} is broken: betagate validate --cohort {name}"));
    }
    let list = betagate_core::cohort::parse_list(&bytes, &options);
    let said = |row: &betagate_core::cohort::ListRow| {
        format!("{}|{}|{}|{}|{}", row.label, row.role, row.invited_by, row.locale, row.note)
    };
    Ok(list.rows.iter().map(|row| (row.email_norm.clone(), said(row))).collect())
}

fn difference(old: &BTreeMap<String, String>, new: &BTreeMap<String, String>) -> Option<ListDelta> {
    let added: Vec<_> = new.keys().filter(|key| !old.contains_key(*key)).map(|key| format!("+ {key}")).collect();
    let removed: Vec<_> = old.keys().filter(|key| !new.contains_key(*key)).map(|key| format!("- {key}")).collect();
    let changed: Vec<_> = new
        .iter()
        .filter(|(key, said)| old.get(*key).is_some_and(|before| before != *said))
        .map(|(key, _)| format!("~ {key}"))
        .collect();
    let count = |list: &Vec<String>| list.len() as u64;
    let (total, counts) = (new.len() as u64, (count(&added), count(&removed), count(&changed)));
    let first: Vec<String> = added.into_iter().chain(removed).chain(changed).take(20).collect();
    (!first.is_empty()).then(|| ListDelta {
        added: counts.0,
        removed: counts.1,
        changed: counts.2,
        total,
        first,
        ..ListDelta::default()
    })
}
