//! The files that documents of a cluster name and that lie in Git, so that a controller that can't reach Git knows which there are.
//!
//! Must not know: what they say. The text is kept only of files that whoever keeps them knows to be about nobody.

use super::{Store, StoreError, Tx};
use crate::args;

/// A file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Brought {
    /// Where the documents name it.
    pub path: String,
    /// Its size in bytes.
    pub size: i64,
    /// Its digest.
    pub digest: String,
    /// Its text, where it is kept.
    pub body: Option<String>,
}

/// All of them, by path.
pub async fn all(store: &Store) -> Result<Vec<Brought>, StoreError> {
    let rows = store.all("SELECT path, size, digest, body FROM brought_files ORDER BY path", args![]).await?;
    let read = rows.iter().map(|row| {
        let (path, size) = (row.get("path")?, row.get("size")?);
        Ok(Brought { path, size, digest: row.get("digest")?, body: row.get("body")? })
    });
    read.collect()
}

/// Keeps exactly these.
pub async fn keep(tx: &mut Tx, files: &[Brought]) -> Result<(), StoreError> {
    tx.execute("DELETE FROM brought_files", args![]).await?;
    for Brought { path, size, digest, body } in files {
        let insert = "INSERT INTO brought_files (path, size, digest, body) VALUES ($1, $2, $3, $4)";
        tx.execute(insert, args![path, *size, digest, body]).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::super::testing::on_each;
    use super::*;

    #[tokio::test]
    async fn what_is_kept_is_exactly_what_was_said_last() {
        on_each(async |store| {
            let file = |path: &str, body: Option<&str>| Brought {
                path: path.to_owned(),
                size: 3,
                digest: "d".to_owned(),
                body: body.map(str::to_owned),
            };
            let (list, template) = (file("cohorts/a.csv", None), file("cohorts/templates/t.txt", Some("Hi")));
            for files in [vec![list.clone(), template.clone()], vec![template], Vec::new()] {
                let mut tx = store.begin().await.unwrap();
                keep(&mut tx, &files).await.unwrap();
                tx.commit().await.unwrap();
                assert_eq!(all(&store).await.unwrap(), files);
            }
        })
        .await;
    }
}
