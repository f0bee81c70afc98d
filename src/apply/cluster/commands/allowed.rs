//! Whom commands may run as, and which Secrets they may be given: what carries the label `betagate.dev/jobs: allowed`.
//!
//! Whoever may write a gate may not thereby act as any account of the namespace, or read any Secret of it. Whoever may put that label on an account or a
//! Secret may run pods as the one and read the other anyway. Only labels are asked for; the content of a Secret never comes here. The controller's own
//! Secrets are given to no command, whatever they carry.
//!
//! Must not know: what runs.

use std::fmt::Debug;

use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use kube::Api;
use kube::core::{NamespaceResourceScope, Resource};
use serde::de::DeserializeOwned;

use super::super::build::secret_key;
use super::{NotRun, Order, away};
use crate::cluster::Cluster;

/// The label, and its value.
const LABEL: (&str, &str) = ("betagate.dev/jobs", "allowed");

/// Under what an order runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    pub image: String,
    pub account: String,
}

/// Under what it runs, if all of it is allowed.
pub(super) async fn allowed(cluster: &Cluster, order: &Order) -> Result<Terms, NotRun> {
    let settings = cluster.jobs();
    if settings.off {
        return Err(NotRun::not_allowed("commands are turned off in this installation (`jobs.enabled`)"));
    }
    let image = order.image.clone().or_else(|| settings.image.clone());
    let image =
        image.ok_or_else(|| NotRun::not_allowed("it names no image, and the installation has none for commands"))?;
    let account = order.account.clone().or_else(|| settings.account.clone());
    let account = account.ok_or_else(|| {
        NotRun::not_allowed("it names no service account, and the installation has none for commands")
    })?;
    labelled::<ServiceAccount>(cluster, "service account", &account).await?;
    for secret in order.secret_env.values() {
        let (name, _) = secret_key(secret);
        if settings.withheld.has(name) {
            return Err(NotRun::not_allowed(&format!("Secret {name} is betagate's own: no command is given it")));
        }
        labelled::<Secret>(cluster, "Secret", name).await?;
    }
    Ok(Terms { image, account })
}

/// Whoever asks for what is not allowed does not learn whether it is there.
async fn labelled<K>(cluster: &Cluster, what: &str, name: &str) -> Result<(), NotRun>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    let none = || NotRun::not_allowed(&format!("there is no {what} '{name}' with the label {}: {}", LABEL.0, LABEL.1));
    if !is_name(name) {
        return Err(none());
    }
    let api: Api<K> = Api::namespaced(cluster.client().clone(), cluster.namespace());
    let found = api.get_metadata_opt(name).await.map_err(|error| away(&error))?;
    let labels = found.and_then(|found| found.metadata.labels).unwrap_or_default();
    if labels.get(LABEL.0).is_some_and(|value| value == LABEL.1) { Ok(()) } else { Err(none()) }
}

/// What an API server takes as a name. It becomes a part of an address: nothing else may.
pub(in crate::apply::cluster) fn is_name(name: &str) -> bool {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
    let ends = |c: char| c.is_ascii_alphanumeric();
    name.len() <= 253 && name.chars().all(good) && name.starts_with(ends) && name.ends_with(ends)
}
