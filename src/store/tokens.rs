//! Administration and service tokens, kept by digest only, and answers kept for repeated requests.
//!
//! Must not know: a token itself, or what a scope allows.

use jiff::Timestamp;
use serde_json::Value;
use uuid::Uuid;

use super::{Row, Store, StoreError, Tx};
use crate::args;

/// A token, without the token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Its id, which the audit log names.
    pub id: Uuid,
    /// What it is for.
    pub name: String,
    /// What it may do.
    pub scopes: Vec<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

/// What is known of a request's idempotency key.
#[derive(Clone, Debug, PartialEq)]
pub enum Known {
    /// Nothing: carry the request out, then [`remember`] the answer in the same transaction.
    New,
    /// It was answered: give the same answer.
    Answered {
        /// The HTTP status.
        status: i64,
        /// The body.
        response: Option<Value>,
    },
    /// It was used for another request.
    Mismatch,
}

/// Records a token by the digest of it; gives its id.
///
/// # Errors
/// [`StoreError::Conflict`] when there is one of that digest.
pub async fn create(
    tx: &mut Tx,
    name: &str,
    digest: &[u8],
    scopes: &[String],
    now: Timestamp,
) -> Result<Uuid, StoreError> {
    let id = Uuid::now_v7();
    let insert = "INSERT INTO tokens (id, digest, name, scopes, created_at) VALUES ($1, $2, $3, $4, $5)";
    tx.execute(insert, args![id, digest, name, Value::from(scopes.to_vec()), now]).await?;
    Ok(id)
}

/// The token of a digest, if it is not revoked.
pub async fn by_digest(store: &Store, digest: &[u8]) -> Result<Option<Token>, StoreError> {
    let sql = "SELECT * FROM tokens WHERE digest = $1 AND revoked_at IS NULL";
    store.opt(sql, args![digest]).await?.as_ref().map(read).transpose()
}

/// Revokes a token; says whether it was good until now.
pub async fn revoke(tx: &mut Tx, id: Uuid, now: Timestamp) -> Result<bool, StoreError> {
    let revoke = "UPDATE tokens SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL";
    Ok(tx.execute(revoke, args![id, now]).await? > 0)
}

/// All tokens, oldest first.
pub async fn list(store: &Store) -> Result<Vec<Token>, StoreError> {
    store.all("SELECT * FROM tokens ORDER BY created_at, id", args![]).await?.iter().map(read).collect()
}

/// What is known of an idempotency key. `scope` keeps callers apart; `request_digest` names the request.
pub async fn known(tx: &mut Tx, scope: &str, key: &str, request_digest: &[u8]) -> Result<Known, StoreError> {
    let sql = "SELECT request_digest, status, response FROM idempotency_keys WHERE scope = $1 AND key = $2";
    let Some(row) = tx.opt(sql, args![scope, key]).await? else {
        return Ok(Known::New);
    };
    if row.get::<Vec<u8>>("request_digest")? != request_digest {
        return Ok(Known::Mismatch);
    }
    Ok(Known::Answered { status: row.get("status")?, response: row.get("response")? })
}

/// Claims a request before it is carried out; says whether nobody had. While no answer is kept, [`known`] answers with status 0.
pub async fn claim_request(
    tx: &mut Tx,
    (scope, key): (&str, &str),
    request_digest: &[u8],
    now: Timestamp,
) -> Result<bool, StoreError> {
    let insert = "INSERT INTO idempotency_keys (scope, key, request_digest, status, response, created_at)
        VALUES ($1, $2, $3, 0, NULL, $4) ON CONFLICT (scope, key) DO NOTHING";
    Ok(tx.execute(insert, args![scope, key, request_digest, now]).await? > 0)
}

/// Gives a claim back: nothing was done.
pub async fn give_back_request(tx: &mut Tx, scope: &str, key: &str) -> Result<(), StoreError> {
    let sql = "DELETE FROM idempotency_keys WHERE scope = $1 AND key = $2 AND status = 0";
    tx.execute(sql, args![scope, key]).await?;
    Ok(())
}

/// Keeps the answer to a request, claimed or not.
///
/// # Errors
/// [`StoreError::Conflict`] when the same request was answered meanwhile: undo this one and ask [`known`] again.
pub async fn remember(
    tx: &mut Tx,
    (scope, key): (&str, &str),
    request_digest: &[u8],
    (status, response): (i64, Option<&Value>),
    now: Timestamp,
) -> Result<(), StoreError> {
    let insert = "INSERT INTO idempotency_keys (scope, key, request_digest, status, response, created_at)
        VALUES ($1, $2, $3, $4, $5, $6)
        ON CONFLICT (scope, key) DO UPDATE SET status = excluded.status, response = excluded.response
            WHERE idempotency_keys.status = 0";
    match tx.execute(insert, args![scope, key, request_digest, status, response.cloned(), now]).await? {
        0 => Err(StoreError::Conflict("the request was answered meanwhile".into())),
        _ => Ok(()),
    }
}

/// Forgets answers given before `before`; says how many.
pub async fn forget_answers(tx: &mut Tx, before: Timestamp) -> Result<u64, StoreError> {
    tx.execute("DELETE FROM idempotency_keys WHERE created_at < $1", args![before]).await
}

fn read(row: &Row) -> Result<Token, StoreError> {
    let scopes: Value = row.get("scopes")?;
    let scopes = scopes.as_array().into_iter().flatten().filter_map(|scope| scope.as_str().map(str::to_owned));
    Ok(Token {
        id: row.get("id")?,
        name: row.get("name")?,
        scopes: scopes.collect(),
        created_at: row.get("created_at")?,
        revoked_at: row.get("revoked_at")?,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::super::testing::on_each;
    use super::*;
    use serde_json::json;

    #[tokio::test]
    async fn a_token_is_found_by_its_digest_until_it_is_revoked() {
        on_each(async |store| {
            let at = |second| Timestamp::from_second(second).unwrap();
            let mut tx = store.begin().await.unwrap();
            let id = create(&mut tx, "events", b"digest", &["events".into()], at(1)).await.unwrap();
            tx.commit().await.unwrap();
            let token = by_digest(&store, b"digest").await.unwrap().unwrap();
            assert_eq!((token.id, token.scopes.as_slice()), (id, ["events".to_owned()].as_slice()));
            assert_eq!(by_digest(&store, b"other").await.unwrap(), None);
            let mut tx = store.begin().await.unwrap();
            assert!(revoke(&mut tx, id, at(2)).await.unwrap());
            assert!(!revoke(&mut tx, id, at(3)).await.unwrap());
            tx.commit().await.unwrap();
            assert_eq!(by_digest(&store, b"digest").await.unwrap(), None);
            assert_eq!(list(&store).await.unwrap()[0].revoked_at, Some(at(2)));
        })
        .await;
    }

    #[tokio::test]
    async fn a_repeated_request_gets_the_same_answer_and_another_one_none() {
        on_each(async |store| {
            let at = |second| Timestamp::from_second(second).unwrap();
            let mut tx = store.begin().await.unwrap();
            assert_eq!(known(&mut tx, "token/1", "k", b"r").await.unwrap(), Known::New);
            let body = json!({"id": 1});
            remember(&mut tx, ("token/1", "k"), b"r", (201, Some(&body)), at(1)).await.unwrap();
            tx.commit().await.unwrap();
            let mut tx = store.begin().await.unwrap();
            let answered = Known::Answered { status: 201, response: Some(body) };
            assert_eq!(known(&mut tx, "token/1", "k", b"r").await.unwrap(), answered);
            assert_eq!(known(&mut tx, "token/1", "k", b"s").await.unwrap(), Known::Mismatch);
            assert_eq!(known(&mut tx, "token/2", "k", b"r").await.unwrap(), Known::New);
            assert_eq!(forget_answers(&mut tx, at(2)).await.unwrap(), 1);
        })
        .await;
    }
}
