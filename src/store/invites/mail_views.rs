//! How the messages of invites stand: of each invite, counted, and why they wait.
//!
//! Must not know: how a message gets into a state.

use std::collections::BTreeMap;

use jiff::Timestamp;
use uuid::Uuid;

use super::super::{Store, StoreError, Tx};
use super::mails::MailState;
use crate::args;

/// Why a program's invites wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pause {
    /// The cohort that waits; empty when all do.
    pub cohort: String,
    /// Why.
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
    /// When the sender tries again; none when something has to be put right first.
    pub until: Option<Timestamp>,
}

/// The message of each of these invites' newest generation, where one was taken up.
pub async fn mail_states(store: &Store, ids: Vec<Uuid>) -> Result<BTreeMap<Uuid, MailState>, StoreError> {
    let any = store.dialect().any("i.id", "$1");
    let sql = format!(
        "SELECT i.id, m.state FROM beta_invites i JOIN invite_mails m ON m.invite_id = i.id AND m.generation = i.generation WHERE {any}"
    );
    let rows = store.all(&sql, args![ids]).await?;
    rows.iter().map(|row| Ok((row.get("id")?, row.get::<String>("state")?.parse()?))).collect()
}

/// How many messages of each cohort are in each state: of each invite the one of its newest generation.
pub async fn mail_counts(
    store: &Store,
    program: Option<&str>,
) -> Result<Vec<(String, String, MailState, i64)>, StoreError> {
    let sql = "SELECT m.program, m.cohort, m.state, count(*) AS n FROM invite_mails m JOIN beta_invites i
            ON i.id = m.invite_id AND i.generation = m.generation
        WHERE m.program = $1 OR $1 = '' GROUP BY m.program, m.cohort, m.state ORDER BY 1, 2, 3";
    let rows = store.all(sql, args![program.unwrap_or_default()]).await?;
    let read = |row: &super::super::Row| {
        Ok((row.get("program")?, row.get("cohort")?, row.get::<String>("state")?.parse()?, row.get("n")?))
    };
    rows.iter().map(read).collect()
}

/// Why a program's invites wait just now.
pub async fn pauses(store: &Store, program: &str) -> Result<Vec<Pause>, StoreError> {
    let sql = "SELECT cohort, reason, since, until FROM mail_pauses WHERE program = $1 ORDER BY cohort";
    let rows = store.all(sql, args![program]).await?;
    let read = |row: &super::super::Row| {
        let (cohort, reason) = (row.get("cohort")?, row.get("reason")?);
        Ok(Pause { cohort, reason, since: row.get("since")?, until: row.get("until")? })
    };
    rows.iter().map(read).collect()
}

/// Why the invites of each program wait just now.
pub async fn all_pauses(store: &Store) -> Result<Vec<(String, Pause)>, StoreError> {
    let rows = store.all("SELECT DISTINCT program FROM mail_pauses ORDER BY program", args![]).await?;
    let mut all = Vec::new();
    for row in rows {
        let program: String = row.get("program")?;
        all.extend(pauses(store, &program).await?.into_iter().map(|pause| (program.clone(), pause)));
    }
    Ok(all)
}

/// Writes down why a program's invites wait, in place of what was written before; since when stays when the reason does.
pub async fn set_pauses(tx: &mut Tx, program: &str, wanted: &[Pause]) -> Result<(), StoreError> {
    let cohorts: Vec<String> = wanted.iter().map(|pause| pause.cohort.clone()).collect();
    let any = tx.dialect().any("cohort", "$2");
    tx.execute(&format!("DELETE FROM mail_pauses WHERE program = $1 AND NOT ({any})"), args![program, cohorts]).await?;
    for Pause { cohort, reason, since, until } in wanted {
        let sql = "INSERT INTO mail_pauses (program, cohort, reason, since, until) VALUES ($1, $2, $3, $4, $5)
            ON CONFLICT (program, cohort) DO UPDATE SET until = excluded.until, reason = excluded.reason,
                since = CASE WHEN mail_pauses.reason = excluded.reason THEN mail_pauses.since ELSE excluded.since END";
        tx.execute(sql, args![program, cohort, reason, since, *until]).await?;
    }
    Ok(())
}

/// How many rendered invites that have not been taken up by a sender a cohort has in a language for a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReviewCount {
    /// The cohort.
    pub cohort: String,
    /// The language that the rows ask for; empty when none.
    pub locale: String,
    /// The receiving domain.
    pub domain: String,
    /// How many.
    pub invites: i64,
}

/// What a dry run has written out and a sender would send.
pub async fn review_counts(store: &Store, program: &str) -> Result<Vec<ReviewCount>, StoreError> {
    let domain =
        store.dialect().pick("split_part(email_norm, '@', 2)", "substr(email_norm, instr(email_norm, '@') + 1)");
    let sql = format!(
        "SELECT cohort, locale, {domain} AS domain, count(*) AS n FROM beta_invites
         WHERE program = $1 AND state = 'pending' AND mail_generation < generation AND email IS NOT NULL AND rendered_at IS NOT NULL
         GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"
    );
    let rows = store.all(&sql, args![program]).await?;
    let read = |row: &super::super::Row| {
        let (cohort, locale) = (row.get("cohort")?, row.get("locale")?);
        Ok(ReviewCount { cohort, locale, domain: row.get("domain")?, invites: row.get("n")? })
    };
    rows.iter().map(read).collect()
}
