//! Requests that may come again under a key: claimed before they are carried out, and answered alike from then on.
//!
//! The first transaction that a claimed request commits says, as part of itself, that the request was carried out. So whoever comes after a process
//! that died knows whether anything was done; and one that was taken over can do nothing any more. Must not know: HTTP, what a request does.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use uuid::Uuid;

use super::{StoreError, Tx};
use crate::args;

tokio::task_local! {
    /// The claim under which this task works.
    static CLAIM: Claim;
}

/// A request that has said nothing for so long has died with its process; the longest answer takes less.
pub const SILENCE: SignedDuration = SignedDuration::from_secs(60);
/// Claimed; nothing was done yet.
const CLAIMED: i64 = 0;
/// Something was done; the answer is still to come.
const CARRIED_OUT: i64 = 1;

/// The right to carry a request out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    scope: String,
    key: String,
    id: String,
}

/// What is known of a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Known {
    /// Nothing.
    New,
    /// It is being carried out.
    UnderWay,
    /// It was carried out by a process that died before it could keep the answer.
    CarriedOut,
    /// It was answered: give the same answer.
    Answered {
        /// The HTTP status.
        status: i64,
        /// The body.
        response: Option<Value>,
    },
    /// The key was used for another request.
    Mismatch,
}

/// Claims a request; where there is nothing to be claimed, says what is known of it. `scope` keeps callers apart; `request_digest` names the request.
/// One that was claimed by a process that died before it did anything is taken over.
pub async fn claim(
    tx: &mut Tx,
    (scope, key): (&str, &str),
    request_digest: &[u8],
    now: Timestamp,
) -> Result<Result<Claim, Known>, StoreError> {
    let claim = Claim { scope: scope.to_owned(), key: key.to_owned(), id: Uuid::now_v7().to_string() };
    let sql = "INSERT INTO idempotency_keys (scope, key, request_digest, status, response, created_at, claim)
        VALUES ($1, $2, $3, 0, NULL, $4, $5)
        ON CONFLICT (scope, key) DO UPDATE SET created_at = excluded.created_at, claim = excluded.claim
            WHERE idempotency_keys.status = 0 AND idempotency_keys.request_digest = excluded.request_digest
                AND idempotency_keys.created_at < $6";
    let silent = now.checked_sub(SILENCE).unwrap_or(Timestamp::MIN);
    if tx.execute(sql, args![scope, key, request_digest, now, &claim.id, silent]).await? > 0 {
        return Ok(Ok(claim));
    }
    Ok(Err(known(tx, (scope, key), request_digest, now).await?))
}

/// What is known of a request.
pub async fn known(
    tx: &mut Tx,
    (scope, key): (&str, &str),
    request_digest: &[u8],
    now: Timestamp,
) -> Result<Known, StoreError> {
    let sql = "SELECT request_digest, status, response, created_at FROM idempotency_keys WHERE scope = $1 AND key = $2";
    let Some(row) = tx.opt(sql, args![scope, key]).await? else { return Ok(Known::New) };
    if row.get::<Vec<u8>>("request_digest")? != request_digest {
        return Ok(Known::Mismatch);
    }
    let silent = now.duration_since(row.get::<Timestamp>("created_at")?) > SILENCE;
    Ok(match row.get("status")? {
        CARRIED_OUT if silent => Known::CarriedOut,
        CLAIMED | CARRIED_OUT => Known::UnderWay,
        status => Known::Answered { status, response: row.get("response")? },
    })
}

/// Does some work under a claim: what it commits is committed only while the claim holds, and from then on the request counts as carried out.
pub async fn under<T>(claim: Claim, work: impl Future<Output = T>) -> T {
    CLAIM.scope(claim, work).await
}

/// Part of every transaction's commit.
///
/// # Errors
/// [`StoreError::Conflict`] when the request of this task was taken over.
pub(super) async fn carried_out(tx: &mut Tx) -> Result<(), StoreError> {
    let Ok(Claim { scope, key, id }) = CLAIM.try_with(Clone::clone) else { return Ok(()) };
    let sql =
        "UPDATE idempotency_keys SET status = 1 WHERE scope = $1 AND key = $2 AND claim = $3 AND status IN (0, 1)";
    match tx.execute(sql, args![scope, key, id]).await? {
        0 => Err(StoreError::Conflict("the request took too long, and was taken over by a repetition of it".into())),
        _ => Ok(()),
    }
}

/// Gives a claim back: the same request may be tried again. One that was carried out stays so.
pub async fn give_back(tx: &mut Tx, claim: &Claim) -> Result<(), StoreError> {
    let sql = "DELETE FROM idempotency_keys WHERE scope = $1 AND key = $2 AND claim = $3 AND status = 0";
    tx.execute(sql, args![&claim.scope, &claim.key, &claim.id]).await?;
    Ok(())
}

/// Keeps the answer to a claimed request. Says whether the claim still held.
pub async fn keep(tx: &mut Tx, claim: &Claim, (status, response): (i64, Option<&Value>)) -> Result<bool, StoreError> {
    let sql = "UPDATE idempotency_keys SET status = $4, response = $5
        WHERE scope = $1 AND key = $2 AND claim = $3 AND status IN (0, 1)";
    let bound = args![&claim.scope, &claim.key, &claim.id, status, response.cloned()];
    Ok(tx.execute(sql, bound).await? > 0)
}

/// Keeps the answer to a request in the transaction that carries it out, without a claim.
///
/// # Errors
/// [`StoreError::Conflict`] when the same request was answered meanwhile: undo this one and ask [`known`] again.
pub async fn answer(
    tx: &mut Tx,
    (scope, key): (&str, &str),
    request_digest: &[u8],
    (status, response): (i64, Option<&Value>),
    now: Timestamp,
) -> Result<(), StoreError> {
    let insert = "INSERT INTO idempotency_keys (scope, key, request_digest, status, response, created_at)
        VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (scope, key) DO NOTHING";
    match tx.execute(insert, args![scope, key, request_digest, status, response.cloned(), now]).await? {
        0 => Err(StoreError::Conflict("the request was answered meanwhile".into())),
        _ => Ok(()),
    }
}

/// Forgets answers given before `before`; says how many.
pub async fn forget(tx: &mut Tx, before: Timestamp) -> Result<u64, StoreError> {
    tx.execute("DELETE FROM idempotency_keys WHERE created_at < $1", args![before]).await
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::super::{Store, testing::on_each};
    use super::*;
    use serde_json::json;

    const OF: (&str, &str) = ("token/1", "k");

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    async fn claimed(store: &Store, digest: &[u8], second: i64) -> Result<Claim, Known> {
        let mut tx = store.begin().await.unwrap();
        let claimed = claim(&mut tx, OF, digest, at(second)).await.unwrap();
        tx.commit().await.unwrap();
        claimed
    }

    /// A write, as a route makes one.
    async fn write(store: &Store, name: &str) -> Result<(), StoreError> {
        let mut tx = store.begin().await?;
        super::super::tokens::create(&mut tx, name, name.as_bytes(), &[], at(1)).await?;
        tx.commit().await
    }

    async fn written(store: &Store) -> Vec<String> {
        super::super::tokens::list(store).await.unwrap().into_iter().map(|token| token.name).collect()
    }

    #[tokio::test]
    async fn a_repeated_request_gets_the_same_answer_and_another_one_none() {
        on_each(async |store| {
            let claim = claimed(&store, b"r", 1).await.unwrap();
            assert_eq!(claimed(&store, b"r", 2).await, Err(Known::UnderWay));
            let body = json!({"id": 1});
            let mut tx = store.begin().await.unwrap();
            assert!(keep(&mut tx, &claim, (201, Some(&body))).await.unwrap());
            tx.commit().await.unwrap();
            let answered = Known::Answered { status: 201, response: Some(body) };
            assert_eq!(claimed(&store, b"r", 3).await, Err(answered));
            assert_eq!(claimed(&store, b"s", 3).await, Err(Known::Mismatch));
            let mut tx = store.begin().await.unwrap();
            assert_eq!(known(&mut tx, ("token/2", "k"), b"r", at(3)).await.unwrap(), Known::New);
            assert_eq!(forget(&mut tx, at(2)).await.unwrap(), 1);
        })
        .await;
    }

    #[tokio::test]
    async fn one_whose_process_died_before_it_did_anything_is_taken_over_and_can_do_nothing_any_more() {
        on_each(async |store| {
            let died = claimed(&store, b"r", 1).await.unwrap();
            assert_eq!(claimed(&store, b"r", 61).await, Err(Known::UnderWay));
            let taken = claimed(&store, b"r", 62).await.unwrap();
            // It was not dead, but slow.
            let late = under(died.clone(), write(&store, "late")).await;
            assert!(matches!(late, Err(StoreError::Conflict(_))), "{late:?}");
            under(taken.clone(), async {
                write(&store, "one").await.unwrap();
                write(&store, "two").await.unwrap();
            })
            .await;
            assert_eq!(written(&store).await, ["one", "two"]);
            let mut tx = store.begin().await.unwrap();
            assert!(!keep(&mut tx, &died, (200, None)).await.unwrap());
            assert!(keep(&mut tx, &taken, (200, None)).await.unwrap());
        })
        .await;
    }

    #[tokio::test]
    async fn one_that_was_carried_out_by_a_process_that_died_is_not_carried_out_again() {
        on_each(async |store| {
            let claim = claimed(&store, b"r", 1).await.unwrap();
            under(claim.clone(), write(&store, "one")).await.unwrap();
            assert_eq!(claimed(&store, b"r", 30).await, Err(Known::UnderWay));
            assert_eq!(claimed(&store, b"r", 90).await, Err(Known::CarriedOut));
            let mut tx = store.begin().await.unwrap();
            give_back(&mut tx, &claim).await.unwrap();
            tx.commit().await.unwrap();
            assert_eq!(claimed(&store, b"r", 90).await, Err(Known::CarriedOut), "what was done stays done");
        })
        .await;
    }
}
