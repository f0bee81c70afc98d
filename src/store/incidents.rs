//! Incidents, declared or recorded, one row each.
//!
//! Must not know: which severity matters to whom, or when a re-opened incident is the same episode.

use jiff::Timestamp;

use super::{Row, Store, StoreError, Tx, push};
use crate::args;

/// An incident.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incident {
    /// The program it happened to.
    pub program: String,
    /// Its name, unique in the program.
    pub name: String,
    /// `sev1` and so on, as declared.
    pub severity: String,
    /// What it is about (`security`, `data`, …).
    pub category: String,
    /// One line.
    pub title: String,
    /// When it started.
    pub started_at: Timestamp,
    /// When it was resolved; open while none.
    pub resolved_at: Option<Timestamp>,
    /// When somebody took note.
    pub acknowledged_at: Option<Timestamp>,
    /// Where it comes from (`document`, `alertmanager`, `hand`).
    pub source: String,
    /// When this program first heard of it.
    pub first_seen: Timestamp,
}

/// The source of an incident that a document declares.
pub const DECLARED: &str = "document";

/// Writes an incident as it stands now; what was first seen stays. Says whether anything changed. An acknowledgement is
/// not taken back by a source that does not know of it.
pub async fn upsert(tx: &mut Tx, incident: &Incident) -> Result<bool, StoreError> {
    let Incident { program, name, severity, category, title, started_at, resolved_at, acknowledged_at, source, .. } =
        incident;
    let upsert = "INSERT INTO incidents AS i
            (program, name, severity, category, title, started_at, resolved_at, acknowledged_at, source, first_seen)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
        ON CONFLICT (program, name) DO UPDATE SET severity = excluded.severity, category = excluded.category,
            title = excluded.title, started_at = excluded.started_at, resolved_at = excluded.resolved_at,
            acknowledged_at = coalesce(excluded.acknowledged_at, i.acknowledged_at), source = excluded.source
        WHERE i.severity <> excluded.severity OR i.category <> excluded.category OR i.title <> excluded.title
            OR i.started_at <> excluded.started_at OR i.source <> excluded.source
            OR i.resolved_at IS DISTINCT FROM excluded.resolved_at
            OR coalesce(excluded.acknowledged_at, i.acknowledged_at) IS DISTINCT FROM i.acknowledged_at";
    let bound = args![
        program,
        name,
        severity,
        category,
        title,
        *started_at,
        *resolved_at,
        *acknowledged_at,
        source,
        incident.first_seen,
    ];
    let changed = tx.execute(upsert, bound).await? > 0;
    if changed {
        push::word(tx).await?;
    }
    Ok(changed)
}

/// Opens an incident.
///
/// # Errors
/// [`StoreError::Conflict`] when the program has one of that name, open or not.
pub async fn open(tx: &mut Tx, incident: &Incident) -> Result<(), StoreError> {
    let known = "SELECT 1 AS one FROM incidents WHERE program = $1 AND name = $2";
    if tx.opt(known, args![&incident.program, &incident.name]).await?.is_some() {
        return Err(StoreError::Conflict(format!("there is an incident {} already", incident.name)));
    }
    upsert(tx, incident).await.map(drop)
}

/// Resolves an open incident; says whether it was open.
pub async fn close(tx: &mut Tx, program: &str, name: &str, at: Timestamp) -> Result<bool, StoreError> {
    let close = "UPDATE incidents SET resolved_at = $3 WHERE program = $1 AND name = $2 AND resolved_at IS NULL";
    push::word(tx).await?;
    Ok(tx.execute(close, args![program, name, at]).await? > 0)
}

/// Opens a resolved incident again; says whether it was resolved.
pub async fn reopen(tx: &mut Tx, program: &str, name: &str) -> Result<bool, StoreError> {
    let open = "UPDATE incidents SET resolved_at = NULL WHERE program = $1 AND name = $2 AND resolved_at IS NOT NULL";
    push::word(tx).await?;
    Ok(tx.execute(open, args![program, name]).await? > 0)
}

/// Records that somebody took note; the first time counts. Says whether this was it.
pub async fn acknowledge(tx: &mut Tx, program: &str, name: &str, at: Timestamp) -> Result<bool, StoreError> {
    let note = "UPDATE incidents SET acknowledged_at = $3 WHERE program = $1 AND name = $2 AND acknowledged_at IS NULL";
    Ok(tx.execute(note, args![program, name, at]).await? > 0)
}

/// An incident.
pub async fn get(store: &Store, program: &str, name: &str) -> Result<Option<Incident>, StoreError> {
    let sql = "SELECT * FROM incidents WHERE program = $1 AND name = $2";
    store.opt(sql, args![program, name]).await?.as_ref().map(read).transpose()
}

/// Whether there is an incident of this name that came from there.
pub async fn is_from(tx: &mut Tx, program: &str, name: &str, source: &str) -> Result<bool, StoreError> {
    let sql = "SELECT 1 AS one FROM incidents WHERE program = $1 AND name = $2 AND source = $3";
    Ok(tx.opt(sql, args![program, name, source]).await?.is_some())
}

/// The programs that have an incident of a name, in order.
pub async fn programs_with(store: &Store, name: &str) -> Result<Vec<String>, StoreError> {
    let sql = "SELECT DISTINCT program FROM incidents WHERE name = $1 ORDER BY program";
    store.all(sql, args![name]).await?.iter().map(|row| row.get("program")).collect()
}

/// An incident, kept from changing until the transaction ends.
pub(super) async fn locked(tx: &mut Tx, program: &str, name: &str) -> Result<Option<Incident>, StoreError> {
    let lock = tx.dialect().pick("FOR UPDATE", "");
    let sql = format!("SELECT * FROM incidents WHERE program = $1 AND name = $2 {lock}");
    tx.opt(&sql, args![program, name]).await?.as_ref().map(read).transpose()
}

/// A program's incidents, oldest first: all, or those open or resolved at or after `since`.
pub async fn list(store: &Store, program: &str, since: Option<Timestamp>) -> Result<Vec<Incident>, StoreError> {
    let sql = "SELECT * FROM incidents WHERE program = $1 AND (resolved_at IS NULL OR resolved_at >= $2)
        ORDER BY started_at, name";
    // The year 0: what has been kept is later.
    let since = since.unwrap_or(Timestamp::from_second(-62_000_000_000).unwrap_or(Timestamp::UNIX_EPOCH));
    store.all(sql, args![program, since]).await?.iter().map(read).collect()
}

/// A program's open incidents, oldest first.
pub async fn list_open(store: &Store, program: &str) -> Result<Vec<Incident>, StoreError> {
    let sql = "SELECT * FROM incidents WHERE program = $1 AND resolved_at IS NULL ORDER BY started_at, name";
    store.all(sql, args![program]).await?.iter().map(read).collect()
}

fn read(row: &Row) -> Result<Incident, StoreError> {
    Ok(Incident {
        program: row.get("program")?,
        name: row.get("name")?,
        severity: row.get("severity")?,
        category: row.get("category")?,
        title: row.get("title")?,
        started_at: row.get("started_at")?,
        resolved_at: row.get("resolved_at")?,
        acknowledged_at: row.get("acknowledged_at")?,
        source: row.get("source")?,
        first_seen: row.get("first_seen")?,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::super::testing::on_each;
    use super::*;

    #[tokio::test]
    async fn an_incident_keeps_when_it_was_first_seen_and_acknowledged() {
        on_each(async |store| {
            let at = |second| Timestamp::from_second(second).unwrap();
            let mut one = Incident {
                program: "kruxt".into(),
                name: "login-down".into(),
                severity: "sev1".into(),
                category: "availability".into(),
                title: "Nobody can log in".into(),
                started_at: at(100),
                resolved_at: None,
                acknowledged_at: None,
                source: "hand".into(),
                first_seen: at(110),
            };
            let mut tx = store.begin().await.unwrap();
            open(&mut tx, &one).await.unwrap();
            assert!(matches!(open(&mut tx, &one).await, Err(StoreError::Conflict(_))));
            assert!(acknowledge(&mut tx, "kruxt", "login-down", at(120)).await.unwrap());
            assert!(!acknowledge(&mut tx, "kruxt", "login-down", at(130)).await.unwrap());
            let later = Incident { first_seen: at(140), ..one.clone() };
            assert!(!upsert(&mut tx, &later).await.unwrap());
            assert!(upsert(&mut tx, &Incident { severity: "sev2".into(), ..later }).await.unwrap());
            tx.commit().await.unwrap();
            one.severity = "sev2".into();
            one.acknowledged_at = Some(at(120));
            assert_eq!(list_open(&store, "kruxt").await.unwrap(), [one.clone()]);
            let mut tx = store.begin().await.unwrap();
            assert!(close(&mut tx, "kruxt", "login-down", at(200)).await.unwrap());
            assert!(!close(&mut tx, "kruxt", "login-down", at(201)).await.unwrap());
            tx.commit().await.unwrap();
            assert!(list_open(&store, "kruxt").await.unwrap().is_empty());
            assert_eq!(list(&store, "kruxt", None).await.unwrap().len(), 1);
            assert!(list(&store, "kruxt", Some(at(201))).await.unwrap().is_empty());
            let mut tx = store.begin().await.unwrap();
            assert!(reopen(&mut tx, "kruxt", "login-down").await.unwrap());
            tx.commit().await.unwrap();
            assert_eq!(get(&store, "kruxt", "login-down").await.unwrap().unwrap().resolved_at, None);
        })
        .await;
    }
}
