//! Finding the cluster: the pod's own account, or a kubeconfig.

use kube::Client;
use kube::client::ClientBuilder;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};

use super::deadline::Deadlines;

/// Which cluster, and what of it.
#[derive(Clone, Debug, Default)]
pub struct ClusterOptions {
    /// The context of the kubeconfig; its current one, or the pod's own account, when left out.
    pub context: Option<String>,
    /// The namespace. Left out: all of them where something is read once, the context's or the pod's own for a controller.
    pub namespace: Option<String>,
}

/// Why a cluster can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
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

/// A client for the cluster of a context, whose requests each have a deadline.
///
/// # Errors
/// When there is no way to a cluster.
pub async fn connect(context: Option<&str>) -> Result<Client, ClusterError> {
    let config = match context {
        None => Config::infer().await.map_err(|error| ClusterError::Config(error.to_string()))?,
        Some(context) => {
            let wrong = |error: kube::config::KubeconfigError| ClusterError::Config(error.to_string());
            let file = Kubeconfig::read().map_err(wrong)?;
            let options = KubeConfigOptions { context: Some(context.to_owned()), ..KubeConfigOptions::default() };
            Config::from_custom_kubeconfig(file, &options).await.map_err(wrong)?
        }
    };
    let builder = ClientBuilder::try_from(config).map_err(|error| ClusterError::Config(error.to_string()))?;
    Ok(builder.with_layer(&Deadlines::USUAL).build())
}

/// What an error of the client is for whoever reads of it. `kind` is what was asked for.
pub fn failed(error: kube::Error, kind: &'static str) -> ClusterError {
    match error {
        kube::Error::Api(status) if status.code == 404 => ClusterError::NoSuchKind(kind),
        kube::Error::Api(status) if matches!(status.code, 429 | 500..) => ClusterError::Unreachable(status.message),
        kube::Error::Api(status) => ClusterError::Refused(status.message),
        other => ClusterError::Unreachable(causes(&other)),
    }
}

/// An error with what it came from: what a client says on top is seldom the reason.
fn causes(error: &dyn std::error::Error) -> String {
    let mut said = vec![error.to_string()];
    for cause in std::iter::successors(error.source(), |cause| cause.source()) {
        let words = cause.to_string();
        if said.last().is_some_and(|last| !last.contains(&words)) {
            said.push(words);
        }
    }
    said.join(": ")
}
