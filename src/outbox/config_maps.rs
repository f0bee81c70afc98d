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
/// [`DeliveryError::Later`] while the API server does not take it, or another controller leads.
pub(super) async fn create(watched: &Watched, sort: Sort, file: &str, text: &str) -> Result<(), DeliveryError> {
    let cluster = watched.cluster();
    if !cluster.may_act() {
        return Err(DeliveryError::later("this controller may not write to the cluster for now".to_owned()));
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
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => Ok(()),
        Err(error) => Err(DeliveryError::later(format!("ConfigMap {name}: {error}"))),
    }
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
    Ok(maps.items.into_iter().flat_map(|map| map.data.unwrap_or_default()).collect())
}

#[cfg(test)]
mod tests {
    use super::Sort::{Cause, Minutes};

    #[test]
    fn the_name_is_one_that_an_api_server_takes() {
        assert_eq!(Cause.name("closed-beta-1-0a1b2c3d.md"), "cause-closed-beta-1-0a1b2c3d");
        assert_eq!(Cause.name("Back_up-1-0a1b2c3d.md"), "cause-back-up-1-0a1b2c3d");
        assert_eq!(Minutes.name("minutes-all-Go_live-0a1b2c3d.md"), "minutes-all-go-live-0a1b2c3d");
    }
}
