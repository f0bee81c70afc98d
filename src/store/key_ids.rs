//! Which keys a database was written with. Only their ids are kept, which tell nothing of the keys.
//!
//! Must not know: where keys lie, what they are for.

use jiff::Timestamp;

use super::{Store, StoreError};
use crate::args;
use crate::keys::Keys;

/// Takes note of the keys that a database is written with from now on, where none is known yet. Gives the names of those that are other ones
/// than before; then nothing is noted.
///
/// # Errors
/// The database's.
pub async fn recognise(store: &Store, keys: &Keys, now: Timestamp) -> Result<Vec<&'static str>, StoreError> {
    let mut tx = store.begin().await?;
    let mut others = Vec::new();
    for (name, id) in ids(keys) {
        let insert = "INSERT INTO key_ids (name, id, first_used_at) VALUES ($1, $2, $3) ON CONFLICT (name) DO NOTHING";
        tx.execute(insert, args![name, id, now]).await?;
        let row = tx.one("SELECT id FROM key_ids WHERE name = $1", args![name]).await?;
        if row.get::<String>("id")? != id {
            others.push(name);
        }
    }
    if others.is_empty() {
        tx.commit().await?;
    }
    Ok(others)
}

/// Goes on with these keys, whatever was known.
///
/// # Errors
/// The database's.
pub async fn accept(store: &Store, keys: &Keys, now: Timestamp) -> Result<(), StoreError> {
    let mut tx = store.begin().await?;
    for (name, id) in ids(keys) {
        let write = "INSERT INTO key_ids (name, id, first_used_at) VALUES ($1, $2, $3)
            ON CONFLICT (name) DO UPDATE SET id = excluded.id, first_used_at = excluded.first_used_at";
        tx.execute(write, args![name, id, now]).await?;
    }
    tx.commit().await
}

fn ids(keys: &Keys) -> [(&'static str, &str); 4] {
    [
        ("invite", &keys.invite.id),
        ("pseudonym", &keys.pseudonym.id),
        ("credential", &keys.credential.id),
        ("token", &keys.token.id),
    ]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::super::testing::on_each;
    use super::*;

    #[tokio::test]
    async fn a_database_knows_the_keys_it_was_written_with_until_others_are_accepted() {
        on_each(async |store| {
            let now = Timestamp::UNIX_EPOCH;
            let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            let [one, two] = [&one, &two].map(|folder| Keys::load_or_create(&folder.path().join("keys")).unwrap());
            for _ in 0..2 {
                assert!(recognise(&store, &one, now).await.unwrap().is_empty());
            }
            assert_eq!(recognise(&store, &two, now).await.unwrap(), ["invite", "pseudonym", "credential", "token"]);
            assert!(recognise(&store, &one, now).await.unwrap().is_empty());
            accept(&store, &two, now).await.unwrap();
            assert!(recognise(&store, &two, now).await.unwrap().is_empty());
            assert!(!recognise(&store, &one, now).await.unwrap().is_empty());
        })
        .await;
    }
}
