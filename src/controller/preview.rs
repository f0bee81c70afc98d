//! The flow without its last step: what a revision would change, against what is live.

use std::collections::BTreeMap;
use std::path::Path;

use betagate_core::decide::{Readings, decide};
use betagate_core::desired::{Built, ProgramDesired};
use betagate_core::flags::{Building, cohort_key};
use betagate_core::plan::{Census, ListDelta, Observed, Plan, plan};
use jiff::Timestamp;

use super::{ControllerError, observe, remembered};
use crate::source::Snapshot;
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

fn list_sizes(snapshot: &Snapshot, program: &ProgramDesired, data: &Path) -> Vec<(String, ListDelta)> {
    let sizes = program.cohorts.keys().filter_map(|name| {
        let survey = super::survey_list(snapshot, program, name, data).ok()?;
        Some((name.clone(), ListDelta { total: survey.rows, digest: survey.digest_hex(), ..ListDelta::default() }))
    });
    sizes.collect()
}
