//! Schedules and upkeep that need no leader: invites that ran out, sessions and answers that nobody needs any more.
//!
//! Must not know: the rules of the domain.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::clock::Clock;
use crate::store::{Store, StoreError, invites, members, privacy, repeated, sessions};

/// How often it looks.
const EVERY: Duration = Duration::from_secs(10);
/// At most so many invites in one transaction.
const AT_ONCE: i64 = 1000;
/// Answers to repeated requests are kept this long.
const ANSWERS_KEPT: SignedDuration = SignedDuration::from_hours(24);

/// Runs until `stop`. A database that is away is waited for.
pub async fn run(store: Store, clock: Clock, stop: impl Future<Output = ()>) {
    tokio::pin!(stop);
    let mut every = tokio::time::interval(EVERY);
    loop {
        tokio::select! {
            () = &mut stop => return,
            _ = every.tick() => {}
        }
        if let Err(error) = once(&store, clock.now()).await {
            tracing::warn!(error = %error, "upkeep is tried again later");
        }
    }
}

/// One round.
///
/// # Errors
/// The database's; what was not done is done in the next round.
pub async fn once(store: &Store, now: Timestamp) -> Result<(), StoreError> {
    loop {
        let mut tx = store.begin().await?;
        let expired = invites::expire_due(&mut tx, now, AT_ONCE).await?;
        tx.commit().await?;
        if expired == 0 {
            break;
        }
        tracing::info!(expired, "invites ran out");
    }
    let mut tx = store.begin().await?;
    sessions::forget(&mut tx, now).await?;
    repeated::forget(&mut tx, now.checked_sub(ANSWERS_KEPT).unwrap_or(Timestamp::MIN)).await?;
    tx.commit().await?;
    privacy::forget_copies(store, now.checked_sub(privacy::KEPT_FOR).unwrap_or(Timestamp::MIN)).await?;
    members::forget_old_changes(store).await?;
    Ok(())
}
