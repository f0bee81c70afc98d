//! The files that ConfigMaps bring, by their paths.
//!
//! Must not know: who names them.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;

use super::super::select::belongs;
use super::super::snapshot::File;
use super::{CAUSES, FILES_LABEL, Key};

/// Whether it is a cause document, which people complete.
pub(super) fn is_cause(path: &str) -> bool {
    path.split_once('/').is_some_and(|(folder, _)| folder == CAUSES)
}

/// The files of a ConfigMap, where its label says. Documents are resources here, so that nothing else passes for one.
pub(super) fn files_of(map: ConfigMap) -> BTreeMap<String, File> {
    let label = map.metadata.labels.and_then(|labels| labels.get(FILES_LABEL).cloned()).unwrap_or_default();
    let folder = if label == "templates" { "cohorts/templates" } else { label.as_str() };
    let texts = map.data.unwrap_or_default().into_iter().map(|(name, text)| (name, text.into_bytes()));
    let bytes = map.binary_data.unwrap_or_default().into_iter().map(|(name, bytes)| (name, bytes.0));
    let named = texts.chain(bytes).filter(|(name, _)| belongs(name));
    named
        .map(|(name, bytes)| {
            let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
            let file = File::of_bytes(&path, bytes);
            (path, file)
        })
        .filter(|(path, _)| Key::of_path(path).is_none())
        .collect()
}

#[cfg(test)]
#[allow(clippy::expect_used, reason = "tests")]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use serde_json::json;

    use super::files_of;

    fn files(folder: &str, name: &str) -> Vec<String> {
        let map = json!({ "metadata": { "labels": { "betagate.dev/files": folder } }, "data": { name: "[]" } });
        let map: ConfigMap = serde_json::from_value(map).expect("a ConfigMap");
        files_of(map).into_keys().collect()
    }

    #[test]
    fn a_file_may_end_as_it_likes_but_stands_in_for_no_resource() {
        assert_eq!(files("datasets", "moves.json"), ["datasets/moves.json"]);
        assert_eq!(files("templates", "note.txt"), ["cohorts/templates/note.txt"]);
        assert_eq!(files("datasets", "moves.yaml"), [""; 0]);
    }
}
