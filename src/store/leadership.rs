//! Who leads: an epoch that only rises. Whoever writes for the controller proves in the same transaction that it has not
//! risen since.
//!
//! Must not know: how a leader is chosen (a Lease on Kubernetes, a lock on the data folder on one machine).

use jiff::Timestamp;

use super::{Dialect, Store, StoreError, Tx};
use crate::args;

/// The row of leadership.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leader {
    /// How often the lead has been taken.
    pub epoch: i64,
    /// Who took it last; empty when nobody ever did.
    pub holder: String,
    /// When it was last taken or renewed.
    pub renewed_at: Timestamp,
}

/// Takes the lead: raises the epoch, so that whoever led before is fenced from here on. Gives the new epoch.
/// Waits for transactions of the former leader that are already past their [`fence`].
pub async fn take(store: &Store, holder: &str, now: Timestamp) -> Result<i64, StoreError> {
    let mut tx = store.begin().await?;
    let raise = "UPDATE leadership SET epoch = epoch + 1, holder = $1, renewed_at = $2 WHERE id = 1 RETURNING epoch";
    let epoch = tx.one(raise, args![holder, now]).await?.get("epoch")?;
    tx.commit().await?;
    Ok(epoch)
}

/// Says that the leader of `epoch` is alive.
///
/// # Errors
/// [`StoreError::Fenced`] when another has taken the lead.
pub async fn renew(store: &Store, epoch: i64, now: Timestamp) -> Result<(), StoreError> {
    let mut tx = store.begin().await?;
    let renewed =
        tx.execute("UPDATE leadership SET renewed_at = $2 WHERE id = 1 AND epoch = $1", args![epoch, now]).await?;
    if renewed == 0 {
        fence(&mut tx, epoch).await?;
    }
    tx.commit().await
}

/// Holds the epoch still until this transaction ends.
///
/// # Errors
/// [`StoreError::Fenced`] when it is not `epoch` any more.
pub async fn fence(tx: &mut Tx, epoch: i64) -> Result<(), StoreError> {
    let read = match tx.dialect() {
        Dialect::Postgres => "SELECT epoch FROM leadership WHERE id = 1 FOR SHARE",
        // The one writer is this transaction.
        Dialect::Sqlite => "SELECT epoch FROM leadership WHERE id = 1",
    };
    let current = tx.one(read, args![]).await?.get("epoch")?;
    if current == epoch { Ok(()) } else { Err(StoreError::Fenced { held: epoch, current }) }
}

/// Who leads now.
pub async fn current(store: &Store) -> Result<Leader, StoreError> {
    let row = store.one("SELECT epoch, holder, renewed_at FROM leadership WHERE id = 1", args![]).await?;
    Ok(Leader { epoch: row.get("epoch")?, holder: row.get("holder")?, renewed_at: row.get("renewed_at")? })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::super::testing::on_each;
    use super::*;

    #[tokio::test]
    async fn taking_the_lead_fences_whoever_had_it() {
        on_each(async |store| {
            let now = Timestamp::UNIX_EPOCH;
            let first = take(&store, "a", now).await.unwrap();
            let mut tx = store.begin().await.unwrap();
            fence(&mut tx, first).await.unwrap();
            tx.commit().await.unwrap();
            let second = take(&store, "b", now).await.unwrap();
            assert!(second > first);
            let mut tx = store.begin().await.unwrap();
            assert_eq!(fence(&mut tx, first).await, Err(StoreError::Fenced { held: first, current: second }));
            drop(tx);
            assert!(matches!(renew(&store, first, now).await, Err(StoreError::Fenced { .. })));
            renew(&store, second, now).await.unwrap();
            assert_eq!(current(&store).await.unwrap().holder, "b");
        })
        .await;
    }

    #[tokio::test]
    async fn the_lead_cannot_move_while_a_fenced_transaction_is_open() {
        on_each(async |store| {
            let now = Timestamp::UNIX_EPOCH;
            let first = take(&store, "a", now).await.unwrap();
            let mut tx = store.begin().await.unwrap();
            fence(&mut tx, first).await.unwrap();
            let other = store.clone();
            let taking = tokio::spawn(async move { take(&other, "b", now).await });
            tokio::task::yield_now().await;
            assert_eq!(current(&store).await.unwrap().epoch, first);
            tx.commit().await.unwrap();
            assert_eq!(taking.await.unwrap().unwrap(), first + 1);
        })
        .await;
    }
}
