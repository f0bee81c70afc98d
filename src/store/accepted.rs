//! Documents that came one by one and were accepted, by their path: what goes on when a newer one is refused.
//!
//! Must not know: what a document says.

use jiff::Timestamp;

use super::{Store, StoreError, Tx};
use crate::args;

/// Every accepted document: its path and its text.
pub async fn all(store: &Store) -> Result<Vec<(String, String)>, StoreError> {
    let rows = store.all("SELECT path, body FROM accepted_documents ORDER BY path", args![]).await?;
    rows.iter().map(|row| Ok((row.get("path")?, row.get("body")?))).collect()
}

/// Keeps a document in place of the one that stood there.
pub async fn keep(tx: &mut Tx, path: &str, body: &str, now: Timestamp) -> Result<(), StoreError> {
    let upsert = "INSERT INTO accepted_documents (path, body, accepted_at) VALUES ($1, $2, $3)
        ON CONFLICT (path) DO UPDATE SET body = excluded.body, accepted_at = excluded.accepted_at";
    tx.execute(upsert, args![path, body, now]).await?;
    Ok(())
}

/// Forgets a document that is gone.
pub async fn forget(tx: &mut Tx, path: &str) -> Result<(), StoreError> {
    tx.execute("DELETE FROM accepted_documents WHERE path = $1", args![path]).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::super::testing::on_each;
    use super::*;

    #[tokio::test]
    async fn the_newest_accepted_document_of_a_path_is_kept_until_it_is_forgotten() {
        on_each(async |store| {
            let now = Timestamp::UNIX_EPOCH;
            let mut tx = store.begin().await.unwrap();
            keep(&mut tx, "flags/b.yaml", "old", now).await.unwrap();
            keep(&mut tx, "flags/b.yaml", "new", now).await.unwrap();
            keep(&mut tx, "flags/a.yaml", "a", now).await.unwrap();
            forget(&mut tx, "flags/none.yaml").await.unwrap();
            tx.commit().await.unwrap();
            let expected = [("flags/a.yaml", "a"), ("flags/b.yaml", "new")].map(|(p, b)| (p.to_owned(), b.to_owned()));
            assert_eq!(all(&store).await.unwrap(), expected);
            let mut tx = store.begin().await.unwrap();
            forget(&mut tx, "flags/a.yaml").await.unwrap();
            tx.commit().await.unwrap();
            assert_eq!(all(&store).await.unwrap(), expected[1..]);
        })
        .await;
    }
}
