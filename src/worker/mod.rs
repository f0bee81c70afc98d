//! Schedules and upkeep that need no leader: invites that ran out, sessions and answers that nobody needs any more.
//!
//! Must not know: the rules of the domain.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::clock::Clock;
use crate::store::{Store, StoreError, flags, intents, invites, jobs, members, privacy, repeated, sessions};

/// How often it looks.
const EVERY: Duration = Duration::from_secs(10);
/// At most so many invites in one transaction.
const AT_ONCE: i64 = 1000;
/// Answers to repeated requests are kept this long.
const ANSWERS_KEPT: SignedDuration = SignedDuration::from_hours(24);

/// What was asked for and answered, and jobs that ended, can be looked at this long.
const DONE_KEPT: SignedDuration = SignedDuration::from_hours(30 * 24);
/// A process that was killed cannot say that it is gone: it is forgotten when it was silent for this long.
const SILENT_KEPT: SignedDuration = SignedDuration::from_hours(24);

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
    let before = |age: SignedDuration| now.checked_sub(age).unwrap_or(Timestamp::MIN);
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
    repeated::forget(&mut tx, before(ANSWERS_KEPT)).await?;
    intents::prune(&mut tx, before(DONE_KEPT)).await?;
    jobs::prune(&mut tx, before(DONE_KEPT)).await?;
    tx.commit().await?;
    flags::forget_silent(store, before(SILENT_KEPT)).await?;
    privacy::forget_copies(store, before(privacy::KEPT_FOR)).await?;
    members::forget_old_changes(store).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use serde_json::json;

    use super::*;
    use crate::args;
    use crate::store::testing::on_each;

    #[tokio::test]
    async fn what_nobody_needs_any_more_goes_and_the_rest_stays() {
        on_each(async |store| {
            let then: Timestamp = "2026-03-02T12:00:00Z".parse().unwrap();
            let at = |days: i64| then + SignedDuration::from_hours(24 * days);
            let mut tx = store.begin().await.unwrap();
            let mut answered = Vec::new();
            for day in [0, 20] {
                let id = intents::submit(&mut tx, "flag.set", "token/1", &json!({}), at(day)).await.unwrap();
                intents::answer(&mut tx, id, intents::State::Done, &json!({}), at(day)).await.unwrap();
                answered.push(id);
            }
            let waits = intents::submit(&mut tx, "flag.set", "token/1", &json!({}), at(0)).await.unwrap();
            tx.commit().await.unwrap();
            let process =
                |reported_at| flags::Process { reported_at, ..flags::Process::starting("api", 1, None, then) };
            for day in [0, 31] {
                flags::report_process(&store, &process(at(day))).await.unwrap();
            }
            once(&store, at(31)).await.unwrap();
            let left = [answered[0], answered[1], waits].map(|id| intents::get(&store, id));
            let left = futures_util::future::join_all(left).await.into_iter().map(|left| left.unwrap().is_some());
            assert_eq!(left.collect::<Vec<_>>(), [false, true, true]);
            let silent = store.all("SELECT reported_at FROM api_processes", args![]).await.unwrap();
            assert_eq!(silent.len(), 1);
        })
        .await;
    }
}
