//! The flags of the OpenFeature Operator, for taking them over once.
//!
//! Must not know: what they mean.

use kube::Api;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams, TypeMeta};
use serde_json::Value;

use crate::cluster::{ClusterError, ClusterOptions, connect, failed};

/// Resources asked for at once.
const PAGE: u32 = 500;
const WHAT: &str = "FeatureFlag (core.openfeature.dev/v1beta1)";

/// The `FeatureFlag` resources of the OpenFeature Operator, page by page, in the order of the cluster.
///
/// # Errors
/// See [`ClusterError`].
pub async fn feature_flags(options: &ClusterOptions) -> Result<Vec<Value>, ClusterError> {
    let client = connect(options.context.as_deref()).await?;
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("core.openfeature.dev", "v1beta1", "FeatureFlag"));
    let flags: Api<DynamicObject> = match &options.namespace {
        Some(namespace) => Api::namespaced_with(client, namespace, &kind),
        None => Api::all_with(client, &kind),
    };
    let mut found = Vec::new();
    let mut page = ListParams::default().limit(PAGE);
    loop {
        let list = flags.list(&page).await.map_err(|error| failed(error, WHAT))?;
        for mut object in list.items {
            // Items of a list leave out what they are.
            object.types = Some(TypeMeta { api_version: kind.api_version.clone(), kind: kind.kind.clone() });
            let object = serde_json::to_value(object);
            found.push(object.map_err(|error| ClusterError::Refused(error.to_string()))?);
        }
        match list.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => return Ok(found),
        }
    }
}
