//! Facts: what betagate itself knows, as readings.
//!
//! Must not know: thresholds.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use betagate_core::cohort::Outcome;
use betagate_core::dataset::{PUBLISHED, shape};
use betagate_core::decide::{Reading, Why, WorkloadFact};
use betagate_core::desired::ProgramDesired;
use betagate_core::duty;
use betagate_core::resources::{Check, FunnelStep};
use jiff::{SignedDuration, Timestamp, civil::Date, tz::TimeZone};

use crate::store::events::day_of;
use crate::store::invites::{Arrival, Funnel, Funnels, MailState};
use crate::store::{Store, StoreError, audit, datasets, flags, invites, outbox, privacy, status, steps};

/// Breaches count when they are older than this (seed 002, section 5).
const BREACH_AGE: SignedDuration = SignedDuration::from_hours(7 * 24);

/// So far ahead holes in the rota are looked for.
const DUTY_AHEAD: SignedDuration = SignedDuration::from_hours(7 * 24);

/// What the check of a cohort's list came to.
pub const COHORT_OUTCOME: &str = "cohort.outcome";

/// Whether every replica of a workload is ready.
pub const WORKLOAD_READY: &str = "workload.ready";

/// Where facts are looked up.
pub struct World<'a> {
    /// The database.
    pub store: &'a Store,
    /// The program.
    pub program: &'a ProgramDesired,
    /// Its workloads: what is wanted, and what runs.
    pub workloads: BTreeMap<String, WorkloadFact>,
    /// What the checks of the lists that are asked about came to, by cohort.
    pub list_outcomes: BTreeMap<String, Outcome>,
    /// Which environment this is; empty when it has no name.
    pub environment: String,
    /// Day 0 of the program.
    pub day0: Date,
    /// Now.
    pub now: Timestamp,
    /// The funnels that were counted already: many checks ask for the same.
    pub funnels: Mutex<BTreeMap<String, Funnels>>,
}

/// Reads the fact of a check, about what it says.
pub async fn measure(world: &World<'_>, check: &Check) -> Reading {
    let (fact, of) = (check.fact.as_deref().unwrap_or_default(), check.of.as_deref());
    let read = match (FunnelStep::of_fact(fact), fact) {
        (Some(step), _) => funnel(world, check, step).await,
        (None, "invites.arrival") => arrival(world, of).await,
        (None, fact) => read(world, fact, of).await.map(|value| match value {
            Some(value) => Reading::value(value, world.now),
            None => Reading::unknown(Why::NoData, world.now),
        }),
    };
    read.unwrap_or_else(|error| Reading::unknown(Why::SourceError(error.to_string()), world.now))
}

#[allow(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
async fn read(world: &World<'_>, fact: &str, of: Option<&str>) -> Result<Option<f64>, StoreError> {
    let (store, program) = (world.store, world.program.name());
    Ok(match fact {
        "audit.intact" => Some(f64::from(u8::from(audit::verify(store).await?.problem.is_none()))),
        "compliance.breaches" => Some(privacy::breaches(store, program, BREACH_AGE, world.now).await? as f64),
        "call.decided" => call_decided(world, of).await?,
        "duty.holes" => Some(duty_holes(world)),
        "flag.value" => flag_value(store, of).await?,
        "invites.sent" => Some(counted(world, of, None).await?.map_or(0, |funnel| funnel.sent) as f64),
        "invites.failed" => Some(failed(world, of).await? as f64),
        "invites.bounced" => Some(mails(world, of, MailState::Bounced).await? as f64),
        "invites.uncertain" => Some(mails(world, of, MailState::Uncertain).await? as f64),
        COHORT_OUTCOME => cohort_outcome(world, of),
        "migration.applied" => migration(store, of).await?,
        WORKLOAD_READY => workload_ready(world, of),
        "rehearsal.age" => rehearsal_age(world, of).await?,
        "dataset.published" => {
            dataset(world, of).await?.map(|counts| counts.get(PUBLISHED).copied().unwrap_or(0) as f64)
        }
        "dataset.rows" => dataset(world, of).await?.map(|counts| counts.values().sum::<u64>() as f64),
        _ => None,
    })
}

/// The rows of a dataset's table, by status; unknown while nothing was ever brought into it, as before the first pass is through.
async fn dataset(world: &World<'_>, of: Option<&str>) -> Result<Option<BTreeMap<String, u64>>, StoreError> {
    let dataset = of.and_then(|of| world.program.datasets.get(of));
    let Some(shape) = dataset.and_then(|dataset| shape(&dataset.spec.table)) else { return Ok(None) };
    let counts = datasets::counts(world.store, shape).await?;
    let untouched = counts.values().all(|rows| *rows == 0) && datasets::audited(world.store, shape).await?.is_empty();
    Ok((!untouched).then_some(counts))
}

/// How many seconds ago a plan (any, where none is named) was rehearsed here and everything was there; unknown when it never was.
async fn rehearsal_age(world: &World<'_>, of: Option<&str>) -> Result<Option<f64>, StoreError> {
    let last = steps::last_rehearsal(world.store, world.program.name(), of, &world.environment).await?;
    Ok(last.map(|last| world.now.duration_since(last.at).as_secs_f64()))
}

/// Whether the newest decision call of a rollout came to a GO or a NO-GO, as 1 or 0; unknown while none was held.
async fn call_decided(world: &World<'_>, of: Option<&str>) -> Result<Option<f64>, StoreError> {
    let mut newest: Option<(Timestamp, bool)> = None;
    for name in world.program.rollouts.keys().filter(|name| of.is_none_or(|of| of == *name)) {
        let Some(known) = status::get(world.store, "Rollout", name).await? else { continue };
        for call in known.status["rollout"]["calls"].as_object().into_iter().flat_map(|calls| calls.values()) {
            let began = call["began"].as_str().and_then(|began| began.parse().ok());
            let decided = call["outcome"].as_str().is_some_and(|outcome| !outcome.is_empty());
            newest = newest.max(began.map(|began| (began, decided)));
        }
    }
    Ok(newest.map(|(_, decided)| f64::from(u8::from(decided))))
}

/// How many staffed hours of the next seven days have no primary or no backup; all of them without a rota.
fn duty_holes(world: &World<'_>) -> f64 {
    let spec = &world.program.program.spec;
    let Some(duty) = &spec.duty else { return 7.0 * 24.0 };
    let zone = TimeZone::get(&spec.time_zone).unwrap_or(TimeZone::UTC);
    let until = world.now.checked_add(DUTY_AHEAD).unwrap_or(Timestamp::MAX);
    f64::from(duty::holes(duty, world.day0, &zone, (world.now, until)))
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

/// A step of the funnel, as a count, or as a share of an earlier step.
async fn funnel(world: &World<'_>, check: &Check, step: FunnelStep) -> Result<Reading, StoreError> {
    let Some(counted) = counted(world, check.of.as_deref(), check.label.as_deref()).await? else {
        return Ok(Reading::unknown(Why::NoData, world.now));
    };
    Ok(match check.out_of {
        Some(of) => Reading::ratio(count(&counted, step, Some(of)), count(&counted, of, None), world.now),
        #[allow(clippy::cast_precision_loss, reason = "a count of people")]
        None => Reading::value(count(&counted, step, None) as f64, world.now),
    })
}

/// How many got to a step, of those who got to an earlier one.
fn count(funnel: &Funnel, step: FunnelStep, of: Option<FunnelStep>) -> i64 {
    // Who was sent no message can come in all the same, with a code that was handed over.
    match (step, of == Some(FunnelStep::Sent)) {
        (FunnelStep::Invited, _) => funnel.invited,
        (FunnelStep::Sent, _) => funnel.sent,
        (FunnelStep::Opened, false) => funnel.opened,
        (FunnelStep::Used, false) => funnel.used,
        (FunnelStep::Active, false) => funnel.active,
        (FunnelStep::Opened, true) => funnel.opened_of_sent,
        (FunnelStep::Used, true) => funnel.used_of_sent,
        (FunnelStep::Active, true) => funnel.active_of_sent,
    }
}

/// The funnel of a cohort, or of all; of a label, none where nobody carries it. Each cohort is counted once in a pass.
async fn counted(world: &World<'_>, of: Option<&str>, label: Option<&str>) -> Result<Option<Funnel>, StoreError> {
    let all: Vec<&str> = world.program.cohorts.keys().map(String::as_str).collect();
    let zone = TimeZone::get(&world.program.program.spec.time_zone).unwrap_or(TimeZone::UTC);
    let mut total = label.is_none().then(Funnel::default);
    for name in of.map_or(all, |name| vec![name]) {
        let known = world.funnels.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        let funnels = match known {
            Some(funnels) => funnels,
            None => {
                let today = day_of(world.now, &zone);
                let funnels = invites::funnels(world.store, world.program.name(), name, today).await?;
                world.funnels.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), funnels.clone());
                funnels
            }
        };
        let found = label.map_or(Some(&funnels.total), |label| funnels.labels.get(label));
        if let Some(found) = found {
            total.get_or_insert_default().add(found);
        }
    }
    Ok(total)
}

/// How many messages of invites are in a state.
async fn mails(world: &World<'_>, of: Option<&str>, wanted: MailState) -> Result<i64, StoreError> {
    let counts = invites::mail_counts(world.store, Some(world.program.name())).await?;
    let counts = counts.iter().filter(|(_, cohort, state, _)| *state == wanted && of.is_none_or(|of| of == cohort));
    Ok(counts.map(|(.., count)| count).sum())
}

/// How many messages will not leave: of a cohort its invites, of the program everything.
async fn failed(world: &World<'_>, of: Option<&str>) -> Result<i64, StoreError> {
    let invites = mails(world, of, MailState::Failed).await?;
    if of.is_some() {
        return Ok(invites);
    }
    let counts = outbox::counts(world.store, world.program.name()).await?;
    let notes = counts.iter().filter(|(_, state, _)| *state == outbox::State::Failed).map(|(_, _, count)| *count);
    Ok(invites + notes.sum::<i64>())
}

/// In how many seconds the first three people had their message; unknown while fewer were seen.
async fn arrival(world: &World<'_>, of: Option<&str>) -> Result<Reading, StoreError> {
    let Some(cohort) = of else { return Ok(Reading::unknown(Why::NoData, world.now)) };
    Ok(match invites::arrival(world.store, world.program.name(), cohort).await? {
        Some(Arrival::After(took)) => Reading::value(took.as_secs_f64(), world.now),
        Some(Arrival::Seen(have, need)) => {
            Reading::unknown(Why::TooFewSamples { have: have as u64, need: need as u64 }, world.now)
        }
        None => Reading::unknown(Why::NoData, world.now),
    })
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

/// 1 when every replica of a workload is ready, at the revision that is wanted: old ones that go on while a new one never gets ready are not what a stage
/// waits for.
fn workload_ready(world: &World<'_>, of: Option<&str>) -> Option<f64> {
    let fact = world.workloads.get(of?)?;
    let ready = fact.processes.iter().filter(|process| process.ready && process.revision == fact.revision);
    Some(f64::from(u8::from(ready.count() >= fact.replicas as usize)))
}
