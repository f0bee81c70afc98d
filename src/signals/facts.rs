//! Facts: what betagate itself knows, as readings.
//!
//! Must not know: thresholds.

use std::collections::BTreeMap;

use betagate_core::cohort::Outcome;
use betagate_core::decide::{Reading, Why};
use betagate_core::desired::ProgramDesired;
use jiff::{SignedDuration, Timestamp};

use crate::apply::processes::{ProcessState, ProcessStatus};
use crate::store::{Store, StoreError, audit, flags, invites, outbox, privacy};

/// Breaches count when they are older than this (seed 002, section 5).
const BREACH_AGE: SignedDuration = SignedDuration::from_hours(7 * 24);

/// What the check of a cohort's list came to.
pub const COHORT_OUTCOME: &str = "cohort.outcome";

/// Where facts are looked up.
pub struct World<'a> {
    /// The database.
    pub store: &'a Store,
    /// The program.
    pub program: &'a ProgramDesired,
    /// Processes of this machine.
    pub observed: Vec<ProcessStatus>,
    /// What the checks of the lists that are asked about came to, by cohort.
    pub list_outcomes: BTreeMap<String, Outcome>,
    /// Now.
    pub now: Timestamp,
}

/// Reads one fact; `of` says what it is about.
pub async fn measure(world: &World<'_>, fact: &str, of: Option<&str>) -> Reading {
    match read(world, fact, of).await {
        Ok(Some(value)) => Reading::value(value, world.now),
        Ok(None) => Reading::unknown(Why::NoData, world.now),
        Err(error) => Reading::unknown(Why::SourceError(error.to_string()), world.now),
    }
}

#[allow(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
async fn read(world: &World<'_>, fact: &str, of: Option<&str>) -> Result<Option<f64>, StoreError> {
    let (store, program) = (world.store, world.program.name());
    Ok(match fact {
        "audit.intact" => Some(f64::from(u8::from(audit::verify(store).await?.problem.is_none()))),
        "compliance.breaches" => Some(privacy::breaches(store, program, BREACH_AGE, world.now).await? as f64),
        "duty.holes" => Some(duty_holes(world.program)),
        "flag.value" => flag_value(store, of).await?,
        "funnel.used" => Some(funnel(world, of, |funnel| funnel.used).await?),
        "funnel.opened" => Some(funnel(world, of, |funnel| funnel.opened).await?),
        "invites.sent" => Some(funnel(world, of, |funnel| funnel.sent).await?),
        "invites.failed" => {
            let counts = outbox::counts(store, program).await?;
            let failed = counts.iter().filter(|(_, state, _)| *state == outbox::State::Failed);
            let notes = failed.map(|(_, _, count)| *count).sum::<i64>();
            let mails = invites::mail_counts(store, Some(program)).await?;
            let mails = mails.iter().filter(|(_, _, state, _)| *state == invites::MailState::Failed);
            Some((notes + mails.map(|(_, _, _, count)| *count).sum::<i64>()) as f64)
        }
        COHORT_OUTCOME => cohort_outcome(world, of),
        "migration.applied" => migration(store, of).await?,
        "workload.ready" => workload_ready(world, of),
        // Rehearsals and datasets have no record yet: unknown, which is what they are.
        _ => None,
    })
}

/// The number of hours of a day without a primary or a backup: with two people or more, none.
fn duty_holes(program: &ProgramDesired) -> f64 {
    let Some(duty) = &program.program.spec.duty else { return 24.0 };
    let mut people = duty.people.clone();
    people.sort();
    people.dedup();
    if people.len() >= 2 && duty.shifts.duration() > SignedDuration::ZERO { 0.0 } else { 24.0 }
}

/// The default value of a published flag, true as 1 and false as 0; a number as itself.
async fn flag_value(store: &Store, of: Option<&str>) -> Result<Option<f64>, StoreError> {
    let (Some(key), Some(snapshot)) = (of, flags::newest(store).await?) else { return Ok(None) };
    let flag = &snapshot.body["flags"][key];
    let variant = ["invariant", "defaultVariant"].into_iter().find_map(|field| flag[field].as_str());
    let variant = flag["hold"]["variant"].as_str().filter(|_| flag["invariant"].is_null()).or(variant);
    let value = variant.map(|variant| &flag["variants"][variant]);
    Ok(value.and_then(|value| value.as_bool().map(|on| f64::from(u8::from(on))).or_else(|| value.as_f64())))
}

async fn funnel(
    world: &World<'_>,
    of: Option<&str>,
    pick: impl Fn(&invites::Funnel) -> i64,
) -> Result<f64, StoreError> {
    let all: Vec<&str> = world.program.cohorts.keys().map(String::as_str).collect();
    let names = of.map_or(all, |name| vec![name]);
    let mut total = 0;
    for name in names {
        total += pick(&invites::funnel(world.store, world.program.name(), name).await?);
    }
    #[allow(clippy::cast_precision_loss, reason = "a count of people")]
    Ok(total as f64)
}

/// The exit code of the check of a cohort's list (seed 004): 0 fine or acknowledged, 1 broken, 2 to be acknowledged. Unknown where the list is
/// not to be had.
fn cohort_outcome(world: &World<'_>, of: Option<&str>) -> Option<f64> {
    world.list_outcomes.get(of?).map(|outcome| f64::from(outcome.exit_code()))
}

async fn migration(store: &Store, of: Option<&str>) -> Result<Option<f64>, StoreError> {
    let Some(number) = of.and_then(|of| of.split('_').next()).and_then(|number| number.parse::<i64>().ok()) else {
        return Ok(None);
    };
    let applied = store.migrations().await?;
    Ok(Some(f64::from(u8::from(applied.iter().any(|applied| applied.version == number)))))
}

/// 1 when every replica of a workload is ready.
fn workload_ready(world: &World<'_>, of: Option<&str>) -> Option<f64> {
    let name = of?;
    let workload = world.program.workloads.get(name)?;
    let ready =
        world.observed.iter().filter(|process| process.workload == name && process.state == ProcessState::Ready);
    Some(f64::from(u8::from(ready.count() >= workload.spec.replicas as usize)))
}
