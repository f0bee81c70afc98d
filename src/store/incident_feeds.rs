//! Incidents as alerting systems tell of them: again and again, late, and out of order.
//!
//! Must not know: whose webhook it was, how severities are called there.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::audit::{self, Entry};
use super::incidents::{self, Incident};
use super::{StoreError, Tx};
use crate::args;

/// An incident that is opened again within so long is the same one (product page, "Rollback").
pub const SAME_WITHIN: SignedDuration = SignedDuration::from_mins(10);

/// What was told of one incident.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The program it is about.
    pub program: String,
    /// Who tells (`alertmanager`, `pagerduty`); also how its incidents' names begin.
    pub source: String,
    /// What it is called there: never two at once.
    pub key: String,
    /// sev-1 to sev-4. None: it is to be ignored, and only ends what was opened before.
    pub severity: Option<String>,
    /// Such as security; empty for none.
    pub category: String,
    /// In a few words.
    pub title: String,
    /// Since when.
    pub started_at: Timestamp,
    /// When it ended; none while it is open.
    pub resolved_at: Option<Timestamp>,
    /// When somebody took it.
    pub acknowledged_at: Option<Timestamp>,
    /// Of which moment this speaks.
    pub changed_at: Timestamp,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A new incident is open.
    Opened,
    /// It is over.
    Closed,
    /// One that was over for at most ten minutes is open again.
    Reopened,
    /// Its severity, title or acknowledgement changed.
    Changed,
    /// It was known already.
    Known,
    /// Something newer was told before.
    Late,
    /// It is to be ignored, and nothing of it was open.
    Ignored,
}

impl Change {
    fn action(self) -> Option<&'static str> {
        match self {
            Self::Opened => Some("incident.opened"),
            Self::Closed => Some("incident.closed"),
            Self::Reopened => Some("incident.reopened"),
            Self::Changed => Some("incident.changed"),
            Self::Known | Self::Late | Self::Ignored => None,
        }
    }
}

/// Writes down what was told, with its audit entry.
///
/// # Errors
/// The database's.
pub async fn take(tx: &mut Tx, told: &Told, now: Timestamp) -> Result<Change, StoreError> {
    let Some(severity) = &told.severity else { return set_aside(tx, told, now).await };
    // The row first: whoever tells the same thing at the same time waits here.
    let row = "INSERT INTO incident_feeds AS f (program, source, key, incident, changed_at) VALUES ($1, $2, $3, '', $4)
        ON CONFLICT (program, source, key) DO UPDATE SET key = f.key RETURNING incident, changed_at";
    let never = Timestamp::from_second(-62_000_000_000).unwrap_or(Timestamp::UNIX_EPOCH);
    let row = tx.one(row, args![&told.program, &told.source, &told.key, never]).await?;
    let (name, changed_at): (String, Timestamp) = (row.get("incident")?, row.get("changed_at")?);
    if told.changed_at < changed_at {
        return Ok(Change::Late);
    }
    let known = incidents::locked(tx, &told.program, &name).await?;
    if is_said_again(known.as_ref(), told, changed_at) {
        return Ok(Change::Known);
    }
    let (change, incident) = after(known, told, severity, now);
    keep(tx, told, change, &incident, now).await?;
    Ok(change)
}

/// Whether this repeats what was told before a person closed the incident: their word stands until something newer is told. What the feed itself
/// closed was changed at the moment at which it ended.
fn is_said_again(known: Option<&Incident>, told: &Told, changed_at: Timestamp) -> bool {
    let closed_at = known.and_then(|known| known.resolved_at);
    told.resolved_at.is_none() && told.changed_at == changed_at && closed_at.is_some_and(|closed| closed > changed_at)
}

/// What is to be ignored opens nothing, and ends what was opened while it was not: by its own end, or by being of no importance any more.
async fn set_aside(tx: &mut Tx, told: &Told, now: Timestamp) -> Result<Change, StoreError> {
    let lock = tx.dialect().pick("FOR UPDATE", "");
    let row = format!(
        "SELECT incident, changed_at FROM incident_feeds WHERE program = $1 AND source = $2 AND key = $3 {lock}"
    );
    let Some(row) = tx.opt(&row, args![&told.program, &told.source, &told.key]).await? else {
        return Ok(Change::Ignored);
    };
    if told.changed_at < row.get("changed_at")? {
        return Ok(Change::Late);
    }
    let known = incidents::locked(tx, &told.program, &row.get::<String>("incident")?).await?;
    let Some(open) = known.filter(|known| known.resolved_at.is_none()) else { return Ok(Change::Ignored) };
    let resolved_at = Some(told.resolved_at.unwrap_or(now).max(open.started_at));
    keep(tx, told, Change::Closed, &Incident { resolved_at, ..open }, now).await?;
    if told.resolved_at.is_none() {
        // It still goes on there: should it be of importance again, that is news.
        let part = "UPDATE incident_feeds SET incident = '' WHERE program = $1 AND source = $2 AND key = $3";
        tx.execute(part, args![&told.program, &told.source, &told.key]).await?;
    }
    Ok(Change::Closed)
}

/// Writes a change down, and of which moment it spoke.
async fn keep(tx: &mut Tx, told: &Told, change: Change, incident: &Incident, now: Timestamp) -> Result<(), StoreError> {
    if let Some(action) = change.action() {
        incidents::upsert(tx, incident).await?;
        record(tx, action, told, incident, now).await?;
        super::push::word(tx).await?;
    }
    let write =
        "UPDATE incident_feeds SET incident = $4, changed_at = $5 WHERE program = $1 AND source = $2 AND key = $3";
    tx.execute(write, args![&told.program, &told.source, &told.key, &incident.name, told.changed_at]).await?;
    Ok(())
}

/// The incident as it is then, and what that is a change of.
fn after(known: Option<Incident>, told: &Told, severity: &str, now: Timestamp) -> (Change, Incident) {
    let new = || Incident {
        program: told.program.clone(),
        name: name_of(told),
        severity: severity.to_owned(),
        category: told.category.clone(),
        title: told.title.clone(),
        started_at: told.started_at,
        resolved_at: told.resolved_at.map(|resolved| resolved.max(told.started_at)),
        acknowledged_at: told.acknowledged_at,
        source: told.source.clone(),
        first_seen: now,
    };
    let Some(known) = known else {
        // One that was over before anybody told of it is written down all the same.
        return (if told.resolved_at.is_some() { Change::Closed } else { Change::Opened }, new());
    };
    let now_it_is = Incident {
        severity: severity.to_owned(),
        category: told.category.clone(),
        title: told.title.clone(),
        acknowledged_at: known.acknowledged_at.or(told.acknowledged_at),
        ..known.clone()
    };
    match (known.resolved_at, told.resolved_at) {
        (None, Some(resolved)) => {
            (Change::Closed, Incident { resolved_at: Some(resolved.max(known.started_at)), ..now_it_is })
        }
        (Some(resolved), None) => {
            // Whoever keeps the first start of what comes and goes (an incident that is opened again there) tells of the moment of the change.
            let again = if told.started_at > resolved { told.started_at } else { told.changed_at };
            if again.duration_since(resolved) <= SAME_WITHIN {
                (Change::Reopened, Incident { resolved_at: None, acknowledged_at: told.acknowledged_at, ..now_it_is })
            } else {
                (Change::Opened, Incident { started_at: again, name: named(told, again), ..new() })
            }
        }
        _ if now_it_is != known => (Change::Changed, now_it_is),
        _ => (Change::Known, known),
    }
}

fn name_of(told: &Told) -> String {
    named(told, told.started_at)
}

/// A name as resources have them: who tells, what it is called there, since when.
fn named(told: &Told, since: Timestamp) -> String {
    let key: String = told.key.to_ascii_lowercase().chars().filter(char::is_ascii_alphanumeric).take(32).collect();
    format!("{}-{key}-{}", told.source, since.as_second())
}

async fn record(tx: &mut Tx, action: &str, told: &Told, incident: &Incident, now: Timestamp) -> Result<(), StoreError> {
    let detail: Value = json!({ "severity": incident.severity, "title": incident.title, "startedAt": incident.started_at,
        "resolvedAt": incident.resolved_at, "acknowledgedAt": incident.acknowledged_at });
    let entry = Entry {
        at: now,
        program: told.program.clone(),
        actor: format!("hooks/{}", told.source),
        action: action.to_owned(),
        object: format!("Incident/{}", incident.name),
        detail,
    };
    audit::append(tx, entry).await.map(drop)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::super::testing::on_each;
    use super::*;

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_second(1_772_000_000 + minute * 60).unwrap()
    }

    fn told(started: i64, resolved: Option<i64>) -> Told {
        Told {
            program: "kruxt".into(),
            source: "alertmanager".into(),
            key: "9F2e".into(),
            severity: Some("sev-1".into()),
            category: String::new(),
            title: "Sync is down".into(),
            started_at: at(started),
            resolved_at: resolved.map(at),
            acknowledged_at: None,
            changed_at: at(resolved.unwrap_or(started)),
        }
    }

    #[tokio::test]
    async fn what_is_told_again_late_or_out_of_order_changes_nothing() {
        on_each(async |store| {
            let take_all = async |all: &[Told]| {
                let mut changes = Vec::new();
                for told in all {
                    let mut tx = store.begin().await.unwrap();
                    changes.push(take(&mut tx, told, at(100)).await.unwrap());
                    tx.commit().await.unwrap();
                }
                changes
            };
            let worse = Told { severity: Some("sev-2".into()), ..told(0, None) };
            let all =
                [told(0, None), told(0, None), worse, told(0, None), told(0, Some(5)), told(0, Some(5)), told(0, None)];
            use Change::{Changed, Closed, Known, Late, Opened, Reopened};
            assert_eq!(take_all(&all).await, [Opened, Known, Changed, Changed, Closed, Known, Late]);
            // At exactly ten minutes it is the same one; a second later another one.
            assert_eq!(take_all(&[told(15, None), told(15, Some(20))]).await, [Reopened, Closed]);
            let later =
                Told { started_at: at(30).checked_add(SignedDuration::from_secs(1)).unwrap(), ..told(31, None) };
            assert_eq!(take_all(&[later]).await, [Opened]);
            let kept = incidents::list(&store, "kruxt", None).await.unwrap();
            let spans: Vec<_> = kept.iter().map(|one| (one.started_at, one.resolved_at)).collect();
            assert_eq!(spans[0], (at(0), Some(at(20))));
            assert_eq!((spans.len(), spans[1].1), (2, None));
            assert!(kept.iter().all(|one| one.name.starts_with("alertmanager-9f2e-")), "{kept:?}");
            let log = audit::list(&store, &audit::Filter::default()).await.unwrap();
            assert_eq!(log.len(), 7, "one entry for each change, none for what was known");
        })
        .await;
    }

    async fn take_one(store: &super::super::Store, told: &Told, now: Timestamp) -> Change {
        let mut tx = store.begin().await.unwrap();
        let change = take(&mut tx, told, now).await.unwrap();
        tx.commit().await.unwrap();
        change
    }

    #[tokio::test]
    async fn what_a_person_closed_stays_closed_until_something_newer_is_told() {
        on_each(async |store| {
            assert_eq!(take_one(&store, &told(0, None), at(1)).await, Change::Opened);
            let name = incidents::list_open(&store, "kruxt").await.unwrap().remove(0).name;
            let mut tx = store.begin().await.unwrap();
            incidents::close(&mut tx, "kruxt", &name, at(7)).await.unwrap();
            tx.commit().await.unwrap();
            let worse = Told { severity: Some("sev-2".into()), ..told(0, None) };
            for again in [told(0, None), worse] {
                assert_eq!(take_one(&store, &again, at(8)).await, Change::Known);
            }
            assert!(incidents::list_open(&store, "kruxt").await.unwrap().is_empty());
            assert_eq!(take_one(&store, &told(9, None), at(9)).await, Change::Reopened);
        })
        .await;
    }

    #[tokio::test]
    async fn what_is_to_be_ignored_opens_nothing_and_ends_what_is_open() {
        on_each(async |store| {
            let ignored = |told: Told| Told { severity: None, ..told };
            assert_eq!(take_one(&store, &ignored(told(0, None)), at(1)).await, Change::Ignored);
            let rows = store.all("SELECT key FROM incident_feeds", args![]).await.unwrap();
            assert!(rows.is_empty(), "nothing is kept of it");
            // It ends after it has become one that is ignored.
            take_one(&store, &told(0, None), at(1)).await;
            assert_eq!(take_one(&store, &ignored(told(0, Some(5))), at(6)).await, Change::Closed);
            let kept = incidents::list(&store, "kruxt", None).await.unwrap();
            assert_eq!((kept[0].resolved_at, kept[0].severity.as_str()), (Some(at(5)), "sev-1"));
            assert_eq!(take_one(&store, &ignored(told(0, Some(5))), at(6)).await, Change::Ignored);
            // It goes on, and is of no importance any more.
            assert_eq!(take_one(&store, &told(6, None), at(7)).await, Change::Reopened);
            assert_eq!(take_one(&store, &ignored(told(6, None)), at(8)).await, Change::Closed);
            assert_eq!(incidents::list(&store, "kruxt", None).await.unwrap()[0].resolved_at, Some(at(8)));
            assert_eq!(take_one(&store, &told(6, None), at(9)).await, Change::Opened, "of importance again");
        })
        .await;
    }

    #[tokio::test]
    async fn an_incident_that_was_over_before_anybody_told_of_it_is_written_down() {
        on_each(async |store| {
            let mut tx = store.begin().await.unwrap();
            assert_eq!(take(&mut tx, &told(0, Some(45)), at(60)).await.unwrap(), Change::Closed);
            tx.commit().await.unwrap();
            let kept = incidents::list(&store, "kruxt", None).await.unwrap();
            assert_eq!((kept[0].started_at, kept[0].resolved_at), (at(0), Some(at(45))));
        })
        .await;
    }
}
