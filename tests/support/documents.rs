//! The documents that a run leaves for people: files of the data folder, or on a cluster ConfigMaps.
//!
//! Must not know: what is written in one.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::beta::Beta;

impl Beta {
    /// Their texts, by the names of their files.
    pub async fn documents(&self) -> BTreeMap<String, String> {
        if let Some(applied) = self.applied() {
            return applied.documents().await;
        }
        let text = |path: PathBuf| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, std::fs::read_to_string(path).unwrap())
        };
        let all = std::fs::read_dir(self.data.join("documents")).into_iter().flatten();
        all.map(|entry| text(entry.unwrap().path())).collect()
    }

    /// Somebody writes in all of them.
    pub async fn edit_documents(&self, edit: impl Fn(&str) -> String) {
        for (name, text) in self.documents().await {
            match self.applied() {
                Some(applied) => applied.write_document(&name, &edit(&text)).await,
                None => std::fs::write(self.data.join("documents").join(name), edit(&text)).unwrap(),
            }
        }
    }
}
