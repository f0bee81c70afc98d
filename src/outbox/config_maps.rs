//! Cause documents as ConfigMaps of a namespace: `kubectl edit` is how people complete them. One is made once and never written over.
//!
//! Must not know: what a document says.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{ObjectMeta, PostParams};

use super::DeliveryError;
use crate::source::cluster::{CAUSES, FILES_LABEL, Watched};

/// Who made it, for the record of its fields.
const MANAGER: &str = "betagate-controller";

/// The ConfigMap of a document's file.
pub(super) fn name(file: &str) -> String {
    format!("cause-{}", file.trim_end_matches(".md").to_ascii_lowercase().replace('_', "-"))
}

/// Makes the ConfigMap of a document, unless it is there: then it is left as it is.
///
/// # Errors
/// [`DeliveryError::Later`] while the API server does not take it, or another controller leads.
pub(super) async fn create(watched: &Watched, file: &str, text: &str) -> Result<(), DeliveryError> {
    let cluster = watched.cluster();
    if !cluster.may_act() {
        return Err(DeliveryError::later("this controller may not write to the cluster for now".to_owned()));
    }
    let map = ConfigMap {
        metadata: ObjectMeta {
            name: Some(name(file)),
            labels: Some(BTreeMap::from([(FILES_LABEL.to_owned(), CAUSES.to_owned())])),
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
        Err(error) => Err(DeliveryError::later(format!("ConfigMap {}: {error}", name(file)))),
    }
}

#[cfg(test)]
mod tests {
    use super::name;

    #[test]
    fn the_name_is_one_that_an_api_server_takes() {
        assert_eq!(name("closed-beta-1-0a1b2c3d.md"), "cause-closed-beta-1-0a1b2c3d");
        assert_eq!(name("Back_up-1-0a1b2c3d.md"), "cause-back-up-1-0a1b2c3d");
    }
}
