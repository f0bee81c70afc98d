//! The files that ConfigMaps bring, by their paths.
//!
//! Must not know: who names them.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;

use super::super::select::belongs;
use super::super::snapshot::File;
use super::{CAUSES, FILES_LABEL, Key};

/// The files of each ConfigMap, by their paths.
pub(super) type Maps = BTreeMap<String, BTreeMap<String, File>>;

/// What stands in more than one ConfigMap, in words: one of them counts, and whoever changes another one must hear of it. A cause document is asked for in its
/// own, so that copies of it are nobody's mistake; and of what came with the documents from Git, no copy counts.
pub(super) fn doubled(maps: &Maps, laid: Option<&BTreeMap<String, File>>) -> Vec<String> {
    let mut places: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (map, files) in maps {
        for path in files.keys().filter(|path| !is_cause(path) && laid.is_none_or(|laid| !laid.contains_key(*path))) {
            places.entry(path).or_default().push(map);
        }
    }
    let doubled = places.into_iter().filter(|(_, maps)| maps.len() > 1);
    doubled
        .map(|(path, maps)| format!("{path} is in the ConfigMaps {}: that of {} counts", maps.join(", "), maps[0]))
        .collect()
}

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

    use std::sync::Arc;

    use kube::runtime::watcher::Event;

    use super::super::super::wake::Wake;
    use super::super::held::Held;
    use super::{doubled, files_of};

    fn files(folder: &str, name: &str) -> Vec<String> {
        let map = json!({ "metadata": { "labels": { "betagate.dev/files": folder } }, "data": { name: "[]" } });
        let map: ConfigMap = serde_json::from_value(map).expect("a ConfigMap");
        files_of(map).into_keys().collect()
    }

    #[test]
    fn a_file_that_is_in_two_config_maps_is_told_and_a_copy_of_a_cause_document_is_not() {
        let map = |folder: &str, name: &str| {
            let map = json!({ "metadata": { "labels": { "betagate.dev/files": folder } }, "data": { name: "x" } });
            files_of(serde_json::from_value(map).expect("a ConfigMap"))
        };
        let lists = ("lists".to_owned(), map("cohorts", "pavia.csv"));
        let others = [
            ("copy".to_owned(), map("cohorts", "pavia.csv")),
            ("templates".to_owned(), map("templates", "pavia.csv")),
            ("cause-back-1-0a1b2c3d".to_owned(), map("causes", "back-1-0a1b2c3d.md")),
            ("backup".to_owned(), map("causes", "back-1-0a1b2c3d.md")),
        ];
        assert_eq!(doubled(&[lists.clone()].into(), None), [""; 0]);
        let all = others.into_iter().chain([lists]).collect();
        assert_eq!(doubled(&all, None), ["cohorts/pavia.csv is in the ConfigMaps copy, lists: that of copy counts"]);
        let from_git = map("cohorts", "pavia.csv");
        assert_eq!(doubled(&all, Some(&from_git)), [""; 0], "what came from Git counts");
    }

    #[test]
    fn a_copy_of_a_cause_document_stands_in_for_nothing() {
        let held = Held::new(Arc::new(Wake::new()), false);
        let put = |map: &str, text: &str| {
            let labels = json!({ "betagate.dev/files": "causes" });
            let map = json!({ "metadata": { "name": map, "labels": labels }, "data": { "back-1.md": text } });
            held.take_files(Event::Apply(serde_json::from_value(map).expect("a ConfigMap")));
        };
        put("backup-cause-back-1", "as it was");
        let text =
            || held.file("cause-back-1", "causes/back-1.md").map(|text| String::from_utf8_lossy(&text).into_owned());
        assert_eq!(text(), None);
        put("cause-back-1", "filled in");
        assert_eq!(text().as_deref(), Some("filled in"));
    }

    #[test]
    fn a_file_may_end_as_it_likes_but_stands_in_for_no_resource() {
        assert_eq!(files("datasets", "moves.json"), ["datasets/moves.json"]);
        assert_eq!(files("templates", "note.txt"), ["cohorts/templates/note.txt"]);
        assert_eq!(files("datasets", "moves.yaml"), [""; 0]);
    }
}
