//! How far the people of each cohort got, as it is shown: numbers, and the largest labels.
//!
//! Must not know: how it is counted, how it is printed.

use std::collections::BTreeMap;

use jiff::{Timestamp, tz::TimeZone};
use serde_json::{Value, json};

use crate::store::events::day_of;
use crate::store::invites::{self, Funnel, Funnels};
use crate::store::status::{self, LastGood, ResourceStatus};
use crate::store::{Store, StoreError};

/// Labels told one by one; the rest of a cohort is told together.
pub const MOST_LABELS: usize = 20;
/// What the rest is called.
pub const OTHERS: &str = "(others)";

/// The funnel of one cohort.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CohortFunnel {
    /// Its program.
    pub program: String,
    /// The cohort.
    pub cohort: String,
    /// Everyone.
    pub total: Funnel,
    /// The largest labels, largest first, the rest together at the end; empty where nobody carries one.
    pub labels: Vec<(String, Funnel)>,
}

/// The steps of a funnel by their names, in order.
pub fn steps(funnel: &Funnel) -> [(&'static str, i64); 5] {
    [
        ("invited", funnel.invited),
        ("sent", funnel.sent),
        ("opened", funnel.opened),
        ("used", funnel.used),
        ("active", funnel.active),
    ]
}

/// The funnels of these cohorts, as `status` lists them.
///
/// # Errors
/// The database's.
pub async fn of_cohorts(
    store: &Store,
    cohorts: &[ResourceStatus],
    now: Timestamp,
) -> Result<Vec<CohortFunnel>, StoreError> {
    let good = if cohorts.is_empty() { Vec::new() } else { status::all_good(store).await? };
    let mut found = Vec::with_capacity(cohorts.len());
    for ResourceStatus { program, name, .. } in cohorts {
        let today = day_of(now, &zone(&good, program));
        let Funnels { total, labels } = invites::funnels(store, program, name, today).await?;
        found.push(CohortFunnel { program: program.clone(), cohort: name.clone(), total, labels: largest(labels) });
    }
    Ok(found)
}

/// The largest labels. A label that every person has of their own must not become a page, or a series, for each of them.
fn largest(labels: BTreeMap<String, Funnel>) -> Vec<(String, Funnel)> {
    if labels.keys().all(String::is_empty) {
        return Vec::new();
    }
    let mut all: Vec<(String, Funnel)> = labels.into_iter().collect();
    all.sort_by(|(one, a), (other, b)| b.invited.cmp(&a.invited).then_with(|| one.cmp(other)));
    if all.len() > MOST_LABELS {
        let mut rest = Funnel::default();
        all.drain(MOST_LABELS - 1..).for_each(|(_, funnel)| rest.add(&funnel));
        all.push((OTHERS.to_owned(), rest));
    }
    all
}

/// The zone in which a program counts its days.
pub(super) fn zone(good: &[LastGood], program: &str) -> TimeZone {
    let good = good.iter().find(|good| good.kind == "Program" && good.name == program);
    let name = good.and_then(|good| good.body["spec"]["timeZone"].as_str()).unwrap_or("UTC");
    TimeZone::get(name).unwrap_or(TimeZone::UTC)
}

/// As fields: the steps, what invites stand in other states, and with `labels` those of each label.
pub(super) fn shown(found: &CohortFunnel, labels: bool) -> Value {
    let fields = |funnel: &Funnel| -> serde_json::Map<String, Value> {
        let states = [("waiting", funnel.waiting), ("expired", funnel.expired), ("revoked", funnel.revoked)];
        steps(funnel).into_iter().chain(states).map(|(name, count)| (name.to_owned(), json!(count))).collect()
    };
    let mut shown = fields(&found.total);
    if labels {
        let of_label = found.labels.iter().map(|(label, funnel)| {
            let mut one = fields(funnel);
            one.insert("label".to_owned(), json!(label));
            Value::Object(one)
        });
        shown.insert("labels".to_owned(), of_label.collect());
    }
    Value::Object(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_twenty_labels_the_small_ones_are_told_together() {
        let of = |invited| Funnel { invited, ..Funnel::default() };
        let labels = (0..100).map(|n| (format!("label-{n:02}"), of(n))).collect();
        let told = largest(labels);
        assert_eq!(told.len(), MOST_LABELS);
        assert_eq!((told[0].0.as_str(), told[18].0.as_str()), ("label-99", "label-81"));
        assert_eq!(told[19], (OTHERS.to_owned(), of((0..=80).sum())));
        assert_eq!(largest([(String::new(), of(5))].into()), []);
    }
}
