//! What lies in a Kubernetes cluster: so far, the flags of the OpenFeature Operator.
//!
//! Must not know: what the resources mean.

use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams, TypeMeta};
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use kube::{Api, Client};
use serde_json::Value;

/// Resources asked for at once.
const PAGE: u32 = 500;

/// Which cluster, and what of it.
#[derive(Clone, Debug, Default)]
pub struct ClusterOptions {
    /// The context of the kubeconfig; its current one, or the pod's own account, when left out.
    pub context: Option<String>,
    /// One namespace; all of them when left out.
    pub namespace: Option<String>,
}

/// Why a cluster can't be read.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// There is no usable kubeconfig, or no such context in it.
    #[error("no way to a cluster: {0}")]
    Config(String),
    /// It could not be reached.
    #[error("the cluster cannot be reached: {0}")]
    Unreachable(String),
    /// It does not let us.
    #[error("the cluster refuses: {0}")]
    Refused(String),
    /// It does not know the kind.
    #[error("the cluster has no {0}: is the operator installed there?")]
    NoSuchKind(&'static str),
}

impl ClusterError {
    /// Whether the same call may work later without anybody changing anything.
    pub fn retryable(&self) -> bool {
        matches!(self, Self::Unreachable(_))
    }
}

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
        let list = flags.list(&page).await.map_err(failed)?;
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

async fn connect(context: Option<&str>) -> Result<Client, ClusterError> {
    let config = match context {
        None => Config::infer().await.map_err(|error| ClusterError::Config(error.to_string()))?,
        Some(context) => {
            let wrong = |error: kube::config::KubeconfigError| ClusterError::Config(error.to_string());
            let file = Kubeconfig::read().map_err(wrong)?;
            let options = KubeConfigOptions { context: Some(context.to_owned()), ..KubeConfigOptions::default() };
            Config::from_custom_kubeconfig(file, &options).await.map_err(wrong)?
        }
    };
    Client::try_from(config).map_err(|error| ClusterError::Config(error.to_string()))
}

fn failed(error: kube::Error) -> ClusterError {
    match error {
        kube::Error::Api(status) if status.code == 404 => {
            ClusterError::NoSuchKind("FeatureFlag (core.openfeature.dev/v1beta1)")
        }
        kube::Error::Api(status) => ClusterError::Refused(status.message),
        other => ClusterError::Unreachable(other.to_string()),
    }
}
