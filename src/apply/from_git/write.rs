//! One object applied, given up, or deleted.
//!
//! Must not know: whether it should be.

use std::collections::BTreeSet;
use std::time::Duration;

use betagate_core::resources::API_VERSION;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, Preconditions, ValidationDirective};
use kube::core::Status;
use serde_json::json;

use super::{Object, Trouble};
use crate::cluster::Cluster;
use crate::source::cluster::{GIT_MANAGER, Key, Seen};

/// How long one write may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Applies an object, and gives what it became. What was changed by hand is taken back; what another applies is not.
pub(super) async fn apply(
    cluster: &Cluster,
    object: &Object,
    others: &BTreeSet<String>,
) -> Result<DynamicObject, Trouble> {
    let Key { kind, name } = &object.key;
    let strict = PatchParams { field_validation: Some(ValidationDirective::Strict), ..PatchParams::apply(GIT_MANAGER) };
    let (api, patch) = (cluster.resources(*kind), Patch::Apply(&object.body));
    leads(cluster)?;
    let applied = match patiently(api.patch(name, &strict, &patch)).await? {
        Err(kube::Error::Api(status)) if status.code == 409 => {
            let conflicts = conflicts(&status);
            if conflicts.is_empty() {
                return Err(Trouble::Away(status.message.clone()));
            }
            if let Some(trouble) = contested(&conflicts, others) {
                return Err(trouble);
            }
            leads(cluster)?;
            patiently(api.patch(name, &strict.force(), &patch)).await?
        }
        other => other,
    };
    let applied = applied.map_err(|error| failed(&error))?;
    tracing::info!(%kind, name, "applied from Git");
    Ok(applied)
}

/// Takes away what Git has no more; nothing happens to one that has changed since it was seen.
pub(super) async fn delete(cluster: &Cluster, key: &Key, seen: &Seen) -> Result<(), Trouble> {
    leads(cluster)?;
    let unchanged =
        Preconditions { uid: Some(seen.uid.clone()), resource_version: Some(seen.resource_version.clone()) };
    let params = DeleteParams { preconditions: Some(unchanged), ..DeleteParams::background() };
    match patiently(cluster.resources(key.kind).delete(&key.name, &params)).await? {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.code == 404 => {}
        Err(error) => return Err(failed(&error)),
    }
    tracing::info!(kind = %key.kind, name = %key.name, "pruned: Git has it no more");
    Ok(())
}

/// Lets go of what Git has no more and another applies: our fields go, and our mark, the resource stays theirs.
pub(super) async fn give_up(cluster: &Cluster, key: &Key, seen: &Seen) -> Result<DynamicObject, Trouble> {
    leads(cluster)?;
    let body = json!({
        "apiVersion": API_VERSION,
        "kind": key.kind.name(),
        "metadata": { "name": key.name, "uid": seen.uid },
    });
    let params = PatchParams::apply(GIT_MANAGER).force();
    let left = patiently(cluster.resources(key.kind).patch(&key.name, &params, &Patch::Apply(&body))).await?;
    let left = left.map_err(|error| failed(&error))?;
    tracing::info!(kind = %key.kind, name = %key.name, "left to who else applies it: Git has it no more");
    Ok(left)
}

fn leads(cluster: &Cluster) -> Result<(), Trouble> {
    if cluster.may_act() { Ok(()) } else { Err(Trouble::Away("this controller may not write now".to_owned())) }
}

async fn patiently<T>(asked: impl Future<Output = kube::Result<T>>) -> Result<kube::Result<T>, Trouble> {
    let late = |_| Trouble::Away("it took too long".to_owned());
    tokio::time::timeout(PATIENCE, asked).await.map_err(late)
}

/// Whose fields, by manager and field.
fn conflicts(status: &Status) -> Vec<(String, String)> {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let conflicts = causes.filter(|cause| cause.reason == "FieldManagerConflict");
    let manager = |message: &str| message.split('"').nth(1).unwrap_or_default().to_owned();
    conflicts.map(|cause| (manager(&cause.message), cause.field.clone())).collect()
}

/// A conflict with somebody who applies the same fields, and will again.
fn contested(conflicts: &[(String, String)], others: &BTreeSet<String>) -> Option<Trouble> {
    let of_others = || conflicts.iter().filter(|(manager, _)| others.contains(manager));
    let managers: BTreeSet<&str> = of_others().map(|(manager, _)| manager.as_str()).collect();
    let fields: BTreeSet<&str> = of_others().map(|(_, field)| field.as_str()).collect();
    let list = |all: BTreeSet<&str>| public(&all.into_iter().collect::<Vec<_>>().join(", "));
    (!managers.is_empty()).then(|| Trouble::Contested { managers: list(managers), fields: list(fields) })
}

fn failed(error: &kube::Error) -> Trouble {
    match error {
        kube::Error::Api(status) if !matches!(status.code, 404 | 409 | 429 | 500..) => {
            Trouble::Refused(public(&status.message))
        }
        kube::Error::Api(status) => Trouble::Away(public(&status.message)),
        _ => Trouble::Away("it does not answer".to_owned()),
    }
}

/// The API server's words may repeat what stands in a document: people's addresses are for few, and a status is read by many.
fn public(words: &str) -> String {
    if words.contains('@') { "its words name an address, and are left out".to_owned() } else { words.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_applies_a_field_is_left_it_and_who_changed_it_once_is_not() {
        let conflict = |manager: &str, field: &str| (manager.to_owned(), field.to_owned());
        let conflicts = [conflict("kubectl-edit", ".spec.risk"), conflict("argocd-controller", ".spec.defaultVariant")];
        let others = BTreeSet::from(["argocd-controller".to_owned(), "kustomize-controller".to_owned()]);
        let expected =
            Trouble::Contested { managers: "argocd-controller".to_owned(), fields: ".spec.defaultVariant".to_owned() };
        assert_eq!(contested(&conflicts, &others), Some(expected));
        assert_eq!(contested(&conflicts[..1], &others), None);
    }

    #[test]
    fn no_address_is_repeated() {
        assert!(!public("spec.email: Invalid value: \"ada@example.com\"").contains("ada"));
    }
}
