//! Cohorts whose documents are gone: who of them is still invited, and taking that back, in one transaction.
//!
//! Whoever is in stays in. What came from the list comes back with the cohort's document, with new codes; so does what an `Invite` document
//! declared, with that document. Must not know: whether a person has to say so first.

use jiff::Timestamp;
use serde_json::json;

use super::super::invites::{DOCUMENT_GONE, REMOVED_FROM_LIST, lock_cohort, revoke_codes};
use super::super::people::entry;
use super::super::{Store, StoreError, audit, leadership};
use super::carry::{Writer, one_at_a_time, still_from};
use super::{Change, CohortList, ListError, ListSource, SHOWN, Shown, named};
use crate::args;

/// What lets somebody in, or would when it is sent again.
const UNUSED: &str = "state IN ('waiting', 'pending', 'sent', 'opened', 'expired')";

/// A cohort in the database that no document names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GoneCohort {
    /// Its name.
    pub cohort: String,
    /// The digest of the list that its rows are from.
    pub list: Option<String>,
    /// How many invites have not been used.
    pub unused: u64,
    /// How many codes for several people still let somebody in.
    pub codes: u64,
    /// How many people are in, and stay in.
    pub members: u64,
    /// The first twenty whose invites would be taken back.
    pub first: Vec<Shown>,
}

/// The names of a program's cohorts in the database, with the digests of their lists, and whether each was taken back as a whole because its
/// document is gone.
pub async fn known_cohorts(store: &Store, program: &str) -> Result<Vec<(String, Option<String>, bool)>, StoreError> {
    let sql = "SELECT cohort, list_digest, gone_at FROM cohort_state WHERE program = $1 ORDER BY cohort";
    let rows = store.all(sql, args![program]).await?;
    let read = |row: &super::super::Row| {
        let gone: Option<Timestamp> = row.get("gone_at")?;
        Ok((row.get("cohort")?, row.get("list_digest")?, gone.is_some()))
    };
    rows.iter().map(read).collect()
}

/// Counts what taking a cohort back would do.
pub async fn look_at_gone(
    store: &Store,
    program: &str,
    cohort: &str,
    list: Option<String>,
) -> Result<GoneCohort, StoreError> {
    let which = args![program, cohort];
    let sql = format!(
        "SELECT count(CASE WHEN {UNUSED} THEN 1 END) AS unused, count(CASE WHEN state = 'used' THEN 1 END) AS members
         FROM beta_invites WHERE program = $1 AND cohort = $2"
    );
    let counts = store.one(&sql, which).await?;
    let sql = "SELECT count(*) AS codes FROM invite_codes
        WHERE program = $1 AND cohort = $2 AND revoked_at IS NULL AND used < uses";
    let count = |count: i64| u64::try_from(count).unwrap_or(0);
    let mut gone = GoneCohort {
        cohort: cohort.to_owned(),
        list,
        unused: count(counts.get("unused")?),
        codes: count(store.one(sql, which).await?.get("codes")?),
        members: count(counts.get("members")?),
        first: Vec::new(),
    };
    let sql = format!(
        "SELECT email, email_norm, label FROM beta_invites WHERE program = $1 AND cohort = $2 AND {UNUSED}
         ORDER BY position, id LIMIT $3"
    );
    let shown = i64::try_from(SHOWN).unwrap_or(i64::MAX);
    for row in store.all(&sql, args![program, cohort, shown]).await? {
        let email: Option<String> = row.get("email")?;
        let email = named(&email.unwrap_or_default(), &row.get::<String>("email_norm")?);
        gone.first.push(Shown { change: Change::Removed, email, label: row.get("label")?, is_member: false });
    }
    Ok(gone)
}

/// Takes back what a cohort whose document is gone still lets in: unused invites and codes for several people. Says how many invites.
///
/// # Errors
/// [`ListError::Stale`] when another list was brought in since it was looked at; the database's.
pub async fn take_back(
    store: &Store,
    program: &str,
    gone: &GoneCohort,
    writer: Writer<'_>,
    now: Timestamp,
) -> Result<u64, ListError> {
    let cohort = gone.cohort.as_str();
    let list = CohortList {
        program: program.to_owned(),
        cohort: cohort.to_owned(),
        source: ListSource::Bytes(std::sync::Arc::from([])),
    };
    let mut tx = store.begin().await?;
    if let Some(epoch) = writer.epoch {
        leadership::fence(&mut tx, epoch).await?;
    }
    one_at_a_time(&mut tx, &list).await?;
    lock_cohort(&mut tx, program, cohort).await?;
    still_from(&mut tx, &list, gone.list.as_deref()).await?;
    // Codes for several people first: whoever brings one locks it before an invite.
    let codes = revoke_codes(&mut tx, (program, Some(cohort)), DOCUMENT_GONE, now).await?;
    let sql = format!(
        "UPDATE beta_invites SET state = 'revoked', revoked_at = $3, row_digest = NULL,
            revoke_reason = CASE WHEN source = 'list' THEN $4 ELSE $5 END
         WHERE program = $1 AND cohort = $2 AND {UNUSED}"
    );
    let revoked = tx.execute(&sql, args![program, cohort, now, REMOVED_FROM_LIST, DOCUMENT_GONE]).await?;
    let forget =
        "UPDATE beta_invites SET row_digest = NULL WHERE program = $1 AND cohort = $2 AND row_digest IS NOT NULL";
    tx.execute(forget, args![program, cohort]).await?;
    let sql = "UPDATE cohort_state SET open = $3, list_digest = NULL, list_change = NULL, list_buckets = NULL, rows = 0, gone_at = $4, updated_at = $4
        WHERE program = $1 AND cohort = $2";
    tx.execute(sql, args![program, cohort, false, now]).await?;
    let detail = json!({ "revoked": revoked, "codes": codes, "stayIn": gone.members, "list": gone.list });
    let object = format!("cohort/{cohort}");
    audit::append(&mut tx, entry(program, writer.actor, "cohort.gone", object, detail, now)).await?;
    tx.commit().await?;
    Ok(revoked)
}

/// The document of a cohort that was taken back is there again.
pub async fn is_back(
    store: &Store,
    program: &str,
    cohort: &str,
    writer: Writer<'_>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let mut tx = store.begin().await?;
    if let Some(epoch) = writer.epoch {
        leadership::fence(&mut tx, epoch).await?;
    }
    let sql = "UPDATE cohort_state SET gone_at = NULL, updated_at = $3
        WHERE program = $1 AND cohort = $2 AND gone_at IS NOT NULL";
    if tx.execute(sql, args![program, cohort, now]).await? > 0 {
        let object = format!("cohort/{cohort}");
        audit::append(&mut tx, entry(program, writer.actor, "cohort.back", object, json!({}), now)).await?;
    }
    tx.commit().await?;
    Ok(())
}
