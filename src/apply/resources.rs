//! Changes of a resource of a cluster that people asked for elsewhere (`betagate flag set`, the administration API): server-side apply of the one
//! field, so that everything else stays with whoever owns it.
//!
//! Must not know: why a change is wanted.

use std::time::Duration;

use betagate_core::desired::Built;
use betagate_core::resources::{API_VERSION, Kind};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::documents::settable;
use crate::cluster::Cluster;

/// The field manager of what people asked for. It takes the field over: whoever owned it finds a conflict that names this.
pub const ADMIN_MANAGER: &str = "betagate-admin";

/// A pass waits no longer for it: a protection may be next.
const PATIENCE: Duration = Duration::from_secs(2);

/// Why a change was not made.
#[derive(Debug, thiserror::Error)]
pub enum NotChanged {
    /// It can't be, in words.
    #[error("{0}")]
    Refused(String),
    /// The API server is away or busy: later.
    #[error("the API server does not take it now")]
    Later,
}

/// Gives the flag with this key another default variant, and says where it stands.
///
/// # Errors
/// [`NotChanged`]; then nothing was changed.
pub async fn set_default_variant(
    cluster: &Cluster,
    built: &Built,
    key: &str,
    variant: &str,
) -> Result<Value, NotChanged> {
    let flag = settable(built, key, variant).map_err(NotChanged::Refused)?;
    if !cluster.may_act() {
        return Err(NotChanged::Later);
    }
    let name = &flag.name;
    let body = json!({
        "apiVersion": API_VERSION,
        "kind": Kind::Flag.name(),
        "metadata": { "name": name },
        "spec": { "defaultVariant": variant },
    });
    let (flags, patch) = (cluster.resources(Kind::Flag), Patch::Apply(&body));
    let parameters = PatchParams::apply(ADMIN_MANAGER).force();
    match tokio::time::timeout(PATIENCE, flags.patch(name, &parameters, &patch)).await {
        Ok(Ok(_)) => Ok(json!({ "resource": format!("flag/{name}"), "namespace": cluster.namespace() })),
        Ok(Err(kube::Error::Api(status))) if !matches!(status.code, 409 | 429 | 500..) => {
            Err(NotChanged::Refused(format!("the API server refuses: {}", status.message)))
        }
        Ok(Err(_)) | Err(_) => Err(NotChanged::Later),
    }
}
