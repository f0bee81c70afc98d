//! Freezes of invites: any row freezes. Read in the transaction that redeems or sends, so that nothing slips past one.
//!
//! Must not know: why a freeze was set (a run's step, or a person's break glass).

use jiff::Timestamp;

use super::{Dialect, Row, Store, StoreError, Tx};
use crate::args;

/// A freeze in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Freeze {
    /// The program it freezes.
    pub program: String,
    /// The cohort it freezes; empty when all of the program's.
    pub cohort: String,
    /// Who holds it: `run/STEP` or `hand:WHO`.
    pub holder: String,
    /// Why.
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
}

/// Freezes; says whether it was new. Waits for redemptions under way, and later ones see it.
pub async fn freeze(tx: &mut Tx, freeze: &Freeze) -> Result<bool, StoreError> {
    lock(tx, &freeze.program, "pg_advisory_xact_lock").await?;
    let Freeze { program, cohort, holder, reason, since } = freeze;
    let insert = "INSERT INTO freezes (program, cohort, holder, reason, since) VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (program, cohort, holder) DO NOTHING";
    Ok(tx.execute(insert, args![program, cohort, holder, reason, *since]).await? > 0)
}

/// Lifts one holder's freeze of a cohort (empty: of the whole program); says whether it was there.
pub async fn unfreeze(tx: &mut Tx, program: &str, cohort: &str, holder: &str) -> Result<bool, StoreError> {
    let delete = "DELETE FROM freezes WHERE program = $1 AND cohort = $2 AND holder = $3";
    Ok(tx.execute(delete, args![program, cohort, holder]).await? > 0)
}

/// The freezes of a program, or of all programs, oldest first.
pub async fn list(store: &Store, program: Option<&str>) -> Result<Vec<Freeze>, StoreError> {
    let all = "SELECT * FROM freezes WHERE $1 = '' OR program = $1 ORDER BY since, program, cohort, holder";
    store.all(all, args![program.unwrap_or_default()]).await?.iter().map(read).collect()
}

/// Whether a cohort is frozen, and stays as it is until this transaction ends.
pub async fn is_frozen(tx: &mut Tx, program: &str, cohort: &str) -> Result<bool, StoreError> {
    Ok(frozen_by(tx, program, cohort).await?.is_some())
}

/// The oldest freeze that holds a cohort, if any; it stays so until this transaction ends.
pub async fn frozen_by(tx: &mut Tx, program: &str, cohort: &str) -> Result<Option<Freeze>, StoreError> {
    // The lock first, in a statement of its own: the next one then sees what was committed before the lock was given.
    lock(tx, program, "pg_advisory_xact_lock_shared").await?;
    let first = "SELECT * FROM freezes WHERE program = $1 AND (cohort = '' OR cohort = $2) ORDER BY since LIMIT 1";
    tx.opt(first, args![program, cohort]).await?.as_ref().map(read).transpose()
}

/// Keeps a freeze of this program from being set until the transaction ends (used where many cohorts are read at once).
pub(super) async fn hold_still(tx: &mut Tx, programs: &[String]) -> Result<(), StoreError> {
    for program in programs {
        lock(tx, program, "pg_advisory_xact_lock_shared").await?;
    }
    Ok(())
}

/// PostgreSQL only: SQLite's writing transactions already wait for each other.
async fn lock(tx: &mut Tx, program: &str, function: &str) -> Result<(), StoreError> {
    if tx.dialect() == Dialect::Postgres {
        let sql = format!("SELECT {function}(7310577, hashtext(current_schema() || '/' || $1)) IS NULL AS locked");
        tx.one(&sql, args![program]).await?;
    }
    Ok(())
}

fn read(row: &Row) -> Result<Freeze, StoreError> {
    Ok(Freeze {
        program: row.get("program")?,
        cohort: row.get("cohort")?,
        holder: row.get("holder")?,
        reason: row.get("reason")?,
        since: row.get("since")?,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::super::testing::on_each;
    use super::*;

    fn by(cohort: &str, holder: &str) -> Freeze {
        Freeze {
            program: "kruxt".into(),
            cohort: cohort.into(),
            holder: holder.into(),
            reason: "Sev-1".into(),
            since: Timestamp::UNIX_EPOCH,
        }
    }

    async fn frozen(store: &Store, cohort: &str) -> bool {
        let mut tx = store.begin().await.unwrap();
        is_frozen(&mut tx, "kruxt", cohort).await.unwrap()
    }

    #[tokio::test]
    async fn a_cohort_is_frozen_until_its_last_holder_lets_go() {
        on_each(async |store| {
            assert!(!frozen(&store, "pavia").await);
            let mut tx = store.begin().await.unwrap();
            assert!(freeze(&mut tx, &by("pavia", "run-1/freezeInvites")).await.unwrap());
            assert!(!freeze(&mut tx, &by("pavia", "run-1/freezeInvites")).await.unwrap());
            freeze(&mut tx, &by("", "hand:founder")).await.unwrap();
            tx.commit().await.unwrap();
            assert!(frozen(&store, "pavia").await && frozen(&store, "milano").await);
            let mut tx = store.begin().await.unwrap();
            assert!(unfreeze(&mut tx, "kruxt", "", "hand:founder").await.unwrap());
            tx.commit().await.unwrap();
            assert!(frozen(&store, "pavia").await && !frozen(&store, "milano").await);
            assert_eq!(list(&store, Some("kruxt")).await.unwrap(), [by("pavia", "run-1/freezeInvites")]);
            assert!(list(&store, Some("other")).await.unwrap().is_empty());
        })
        .await;
    }

    #[tokio::test]
    async fn a_freeze_waits_for_a_redemption_that_has_read_it() {
        on_each(async |store| {
            let mut redeeming = store.begin().await.unwrap();
            assert!(!is_frozen(&mut redeeming, "kruxt", "pavia").await.unwrap());
            let other = store.clone();
            let freezing = tokio::spawn(async move {
                let mut tx = other.begin().await?;
                freeze(&mut tx, &by("", "hand:founder")).await?;
                tx.commit().await
            });
            tokio::task::yield_now().await;
            assert!(list(&store, None).await.unwrap().is_empty());
            redeeming.commit().await.unwrap();
            freezing.await.unwrap().unwrap();
            assert!(frozen(&store, "pavia").await);
        })
        .await;
    }
}
