//! Cause documents and minutes as ConfigMaps of a namespace: `kubectl edit` is how people complete the former. One is made once and never written over.
//!
//! Must not know: what a document says.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{ListParams, ObjectMeta, PostParams};

use super::DeliveryError;
use crate::cluster::{Cluster, ClusterError, failed};
use crate::source::cluster::{CAUSES, FILES_LABEL, Watched};

/// Who made it, for the record of its fields.
const MANAGER: &str = "betagate-controller";

/// What a ConfigMap holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    /// A cause document, which is watched: people complete it.
    Cause,
    /// Minutes, which nobody here reads again.
    Minutes,
}

impl Sort {
    /// The ConfigMap of a file.
    pub(super) fn name(self, file: &str) -> String {
        let plain = file.trim_end_matches(".md").to_ascii_lowercase().replace('_', "-");
        match self {
            Self::Cause => format!("cause-{plain}"),
            // The file's own name says what it is.
            Self::Minutes => plain,
        }
    }

    fn label(self) -> (&'static str, &'static str) {
        match self {
            Self::Cause => (FILES_LABEL, CAUSES),
            // No file that a document could name.
            Self::Minutes => ("betagate.dev/documents", "minutes"),
        }
    }
}

/// Makes the ConfigMap of a document, unless it is there: then it is left as it is.
///
/// # Errors
/// [`DeliveryError::Waits`] while the API server is away, or another controller leads; [`DeliveryError::Later`] while it refuses.
pub(super) async fn create(watched: &Watched, sort: Sort, file: &str, text: &str) -> Result<(), DeliveryError> {
    let cluster = watched.cluster();
    if !cluster.may_act() {
        return Err(DeliveryError::waits("this controller may not write to the cluster for now"));
    }
    let (name, (label, value)) = (sort.name(file), sort.label());
    let map = ConfigMap {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            labels: Some(BTreeMap::from([(label.to_owned(), value.to_owned())])),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([(file.to_owned(), text.to_owned())])),
        ..ConfigMap::default()
    };
    let api: Api<ConfigMap> = Api::namespaced(cluster.client().clone(), cluster.namespace());
    let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
    match api.create(&params, &map).await {
        Ok(_) => return Ok(()),
        Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => {}
        Err(error) => return Err(not_taken(&name, error)),
    }
    // One of that name by the right to list, which whoever watches them has.
    let there = api.list(&ListParams::default().fields(&format!("metadata.name={name}"))).await;
    let there = there.map_err(|error| not_taken(&name, error))?;
    match there.items.iter().any(|there| is_of(there, sort, file)) {
        true => Ok(()),
        false => {
            Err(DeliveryError::later(format!("there is a ConfigMap {name} that is not betagate's: it is left alone")))
        }
    }
}

/// One that is refused is tried less and less; one that an API server that is away did not take, as soon as it is back.
fn not_taken(name: &str, error: kube::Error) -> DeliveryError {
    match failed(error, "ConfigMap") {
        away if away.retryable() => DeliveryError::waits(format!("ConfigMap {name}: {away}")),
        refused => DeliveryError::later(format!("ConfigMap {name}: {refused}")),
    }
}

/// Whether a ConfigMap was made for a file: somebody else's of that name is no document.
fn is_of(map: &ConfigMap, sort: Sort, file: &str) -> bool {
    let (label, value) = sort.label();
    let labelled = map.metadata.labels.as_ref().and_then(|labels| labels.get(label)).is_some_and(|it| it == value);
    labelled && map.data.as_ref().is_some_and(|data| data.contains_key(file))
}

/// All cause documents of a namespace, by the names of their files, as they are now.
///
/// # Errors
/// See [`ClusterError`].
pub(super) async fn causes(cluster: &Cluster) -> Result<BTreeMap<String, String>, ClusterError> {
    let api: Api<ConfigMap> = Api::namespaced(cluster.client().clone(), cluster.namespace());
    let (label, value) = Sort::Cause.label();
    let maps = api.list(&ListParams::default().labels(&format!("{label}={value}"))).await;
    let maps = maps.map_err(|error| failed(error, "ConfigMap"))?;
    Ok(maps.items.into_iter().flat_map(own).collect())
}

/// The cause documents for which a ConfigMap was made; a copy that somebody keeps has another name.
fn own(map: ConfigMap) -> BTreeMap<String, String> {
    let mut files = map.data.unwrap_or_default();
    files.retain(|file, _| map.metadata.name.as_deref() == Some(Sort::Cause.name(file).as_str()));
    files
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use serde_json::json;

    use super::Sort::{Cause, Minutes};
    use super::{is_of, own};

    const FILE: &str = "back-1-0a1b2c3d.md";

    fn map(name: &str, labels: &serde_json::Value, file: &str) -> ConfigMap {
        let map = json!({ "metadata": { "name": name, "labels": labels }, "data": { file: "# Cause" } });
        serde_json::from_value(map).unwrap_or_default()
    }

    #[test]
    fn one_of_that_name_is_the_document_where_it_has_its_label_and_its_file() {
        let (name, ours) = (Cause.name(FILE), json!({ "betagate.dev/files": "causes" }));
        assert!(is_of(&map(&name, &ours, FILE), Cause, FILE));
        assert!(!is_of(&map(&name, &json!({}), FILE), Cause, FILE));
        assert!(!is_of(&map(&name, &ours, "other.md"), Cause, FILE));
        assert!(!is_of(&map(&name, &ours, FILE), Minutes, FILE));
    }

    #[test]
    fn a_copy_of_a_document_is_none() {
        let ours = json!({ "betagate.dev/files": "causes" });
        assert_eq!(own(map(&Cause.name(FILE), &ours, FILE)).into_keys().collect::<Vec<_>>(), [FILE]);
        assert!(own(map(&format!("backup-{}", Cause.name(FILE)), &ours, FILE)).is_empty());
    }

    #[test]
    fn the_name_is_one_that_an_api_server_takes() {
        assert_eq!(Cause.name("closed-beta-1-0a1b2c3d.md"), "cause-closed-beta-1-0a1b2c3d");
        assert_eq!(Cause.name("Back_up-1-0a1b2c3d.md"), "cause-back-up-1-0a1b2c3d");
        assert_eq!(Minutes.name("minutes-all-Go_live-0a1b2c3d.md"), "minutes-all-go-live-0a1b2c3d");
    }
}
