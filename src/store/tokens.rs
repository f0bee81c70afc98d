//! Administration and service tokens, kept by digest only.
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
}
