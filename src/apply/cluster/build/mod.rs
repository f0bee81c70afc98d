//! What a workload is on a cluster: its objects, from its settings alone.
//!
//! Must not know: what is there already, how anything is applied.

mod budget;
mod deployment;
mod migration;
mod network;
mod service;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use betagate_core::resources::{Component, WorkloadSpec};
use data_encoding::HEXLOWER;
use kube::api::{ApiResource, GroupVersionKind};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::{MANAGER, REVISION_LABEL, WORKLOAD_LABEL};
use crate::apply::workloads::Wanted;
use crate::cluster::Withheld;

pub(super) use migration::job_name;

/// The port on which betagate's own API listens in its pod, and whoever is told none.
const OWN_PORT: u16 = 8080;
/// The annotation with the digest of what was applied.
pub(super) const APPLIED: &str = "betagate.dev/applied";
/// The annotation of pods with the replacement that was asked for last.
pub(super) const RESTART: &str = "betagate.dev/restart";
/// The annotation of a Deployment with the migration that ran before it.
pub(super) const MIGRATED: &str = "betagate.dev/migrated";

/// What betagate's own workloads are given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Own {
    /// betagate's image.
    pub image: String,
    /// The Secret whose key `url` is the database's address.
    pub database_secret: String,
    /// The Secret with the keys and the administration token.
    pub keys_secret: String,
}

/// A kind of object that workloads become.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Sort {
    NetworkPolicy,
    Service,
    Job,
    Deployment,
    Budget,
}

impl Sort {
    pub const ALL: [Self; 5] = [Self::NetworkPolicy, Self::Service, Self::Job, Self::Deployment, Self::Budget];

    pub fn kind(self) -> &'static str {
        match self {
            Self::NetworkPolicy => "NetworkPolicy",
            Self::Service => "Service",
            Self::Job => "Job",
            Self::Deployment => "Deployment",
            Self::Budget => "PodDisruptionBudget",
        }
    }

    pub fn resource(self) -> ApiResource {
        let (group, plural) = match self {
            Self::NetworkPolicy => ("networking.k8s.io", "networkpolicies"),
            Self::Service => ("", "services"),
            Self::Job => ("batch", "jobs"),
            Self::Deployment => ("apps", "deployments"),
            Self::Budget => ("policy", "poddisruptionbudgets"),
        };
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, "v1", self.kind()), plural)
    }
}

/// An object as it is to be applied.
#[derive(Clone, Debug, PartialEq)]
pub struct Described {
    pub(crate) sort: Sort,
    pub(crate) name: String,
    /// All of it, the digest of all the rest in its annotations.
    pub(crate) body: Value,
}

impl Described {
    /// The object as it is sent.
    pub fn body(&self) -> &Value {
        &self.body
    }
}

/// What a workload's objects say beside its settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The id of the `Workload` resource, where there is one: what belongs to it goes with it.
    pub owner: Option<String>,
    /// A digest of the content of the Secrets that it names.
    pub secrets: Option<String>,
    /// The replacement that was asked for last.
    pub restart: Option<String>,
}

/// The objects of a workload, in the order in which they are applied.
pub fn built(wanted: &Wanted, own: &Own, identity: &Identity) -> Vec<Described> {
    let spec = pinned(&wanted.spec, own);
    let it = It { wanted, spec: &spec, own, identity, is_own: is_own(&spec, own) };
    [
        network::policy(&it),
        service::service(&it),
        migration::job(&it),
        Some(deployment::deployment(&it)),
        budget::budget(&it),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// A workload, and everything that its objects are made of.
#[derive(Clone, Copy)]
struct It<'a> {
    wanted: &'a Wanted,
    spec: &'a WorkloadSpec,
    own: &'a Own,
    identity: &'a Identity,
    /// Whether it is betagate's own API or worker.
    is_own: bool,
}

impl It<'_> {
    fn name(&self) -> &str {
        &self.wanted.workload
    }

    /// The port of its Service.
    fn service_port(&self) -> Option<u16> {
        let own_api = self.is_own && self.spec.component == Component::Api;
        self.spec.port.or(own_api.then_some(80))
    }

    /// The port that its container listens on.
    fn container_port(&self) -> Option<u16> {
        match (self.is_own, self.spec.component) {
            (true, Component::Api) => Some(OWN_PORT),
            (true, _) => None,
            // Probed, but reached by nobody else: any port does, and it is told in PORT.
            (false, _) => self.spec.port.or(self.spec.health.as_ref().map(|_| OWN_PORT)),
        }
    }

    fn selector(&self) -> Value {
        json!({ WORKLOAD_LABEL: self.name(), "app.kubernetes.io/managed-by": MANAGER })
    }

    fn labels(&self) -> Map<String, Value> {
        let component = serde_json::to_value(self.spec.component).unwrap_or_default();
        let labels = [
            ("app.kubernetes.io/name", json!(self.name())),
            ("app.kubernetes.io/component", component),
            ("app.kubernetes.io/part-of", json!(self.spec.program)),
            ("app.kubernetes.io/managed-by", json!(MANAGER)),
            (WORKLOAD_LABEL, json!(self.name())),
        ];
        labels.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// Labels of what is of one revision.
    fn revision_labels(&self) -> Map<String, Value> {
        let mut labels = self.labels();
        labels.insert(REVISION_LABEL.to_owned(), json!(self.wanted.revision));
        labels
    }

    fn described(
        &self,
        sort: Sort,
        name: String,
        labels: Map<String, Value>,
        annotations: Map<String, Value>,
        spec: Value,
    ) -> Described {
        let mut metadata = Map::new();
        metadata.insert("name".to_owned(), json!(name));
        metadata.insert("labels".to_owned(), Value::Object(labels));
        if let Some(uid) = &self.identity.owner {
            let owner = json!({
                "apiVersion": "betagate.dev/v1alpha1", "kind": "Workload", "name": self.name(), "uid": uid,
                "controller": true, "blockOwnerDeletion": true,
            });
            metadata.insert("ownerReferences".to_owned(), json!([owner]));
        }
        let resource = sort.resource();
        let digest = digest(&json!([resource.api_version, metadata, annotations, spec]));
        let mut annotations = annotations;
        annotations.insert(APPLIED.to_owned(), json!(digest));
        metadata.insert("annotations".to_owned(), Value::Object(annotations));
        let body =
            json!({ "apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata, "spec": spec });
        Described { sort, name, body }
    }
}

/// The settings with the image that they leave out.
pub(super) fn pinned(spec: &WorkloadSpec, own: &Own) -> WorkloadSpec {
    let image = spec.image.clone().or_else(|| Some(own.image.clone()));
    WorkloadSpec { image, ..spec.clone() }
}

/// The revision that settings are: everything that makes a pod another pod. How many run is no part of it.
pub(super) fn revision(workload: &str, pinned: &WorkloadSpec) -> String {
    let identity = WorkloadSpec { replicas: 1, suspend: None, program: String::new(), ..pinned.clone() };
    digest(&json!([workload, identity]))
}

/// Whether settings describe a part of betagate: no command, and betagate's own image, of whatever version.
fn is_own(spec: &WorkloadSpec, own: &Own) -> bool {
    let image = spec.image.as_deref().unwrap_or_default();
    spec.command.is_none() && repository(image) == repository(&own.image)
}

/// An image without its tag and digest.
fn repository(image: &str) -> &str {
    let image = image.split('@').next().unwrap_or(image);
    match image.rsplit_once(':') {
        // A port of a registry is no tag.
        Some((before, tag)) if !tag.contains('/') => before,
        _ => image,
    }
}

/// The first digits of a digest of plain values.
fn digest(value: &Value) -> String {
    let mut digits = HEXLOWER.encode(&Sha256::digest(value.to_string().as_bytes()));
    digits.truncate(12);
    digits
}

/// The names of the Secrets whose content matters to the pods of a workload.
pub(super) fn secrets_of(spec: &WorkloadSpec, own: &Own) -> Vec<String> {
    let mut names: Vec<String> = spec.secret_env.values().map(|secret| secret_key(secret).0.to_owned()).collect();
    if is_own(&pinned(spec, own), own) {
        names.extend([own.database_secret.clone(), own.keys_secret.clone()]);
    }
    names.sort();
    names.dedup();
    names
}

/// The first setting of a workload that names a Secret which is withheld, with that Secret.
pub(super) fn greedy<'a>(spec: &'a WorkloadSpec, withheld: &Withheld) -> Option<(&'a str, &'a str)> {
    let named = spec.secret_env.iter().map(|(variable, secret)| (variable.as_str(), secret_key(secret).0));
    named.into_iter().find(|(_, secret)| withheld.has(secret))
}

/// The Secret and its key that a setting names: `NAME`, whose key is `value`, or `NAME/KEY`.
pub(super) fn secret_key(secret: &str) -> (&str, &str) {
    secret.split_once('/').unwrap_or((secret, "value"))
}

/// What every container of ours may not do, as the `restricted` profile asks.
pub(super) fn container_security(read_only: bool) -> Value {
    let mut security = json!({ "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } });
    if read_only {
        security["readOnlyRootFilesystem"] = json!(true);
    }
    security
}

/// The environment of a workload's containers.
fn environment(it: &It<'_>) -> Vec<Value> {
    let mut env: BTreeMap<String, Value> = BTreeMap::new();
    for (name, value) in it.spec.env_strings() {
        env.insert(name.clone(), json!({ "name": name, "value": literal(&value) }));
    }
    for (name, secret) in &it.spec.secret_env {
        let (secret, key) = secret_key(secret);
        env.insert(name.clone(), from_secret(name, secret, key));
    }
    if it.is_own {
        let pod = json!({ "name": "BETAGATE_POD", "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } } });
        env.insert("BETAGATE_POD".to_owned(), pod);
        env.insert("BETAGATE_DATABASE".to_owned(), from_secret("BETAGATE_DATABASE", &it.own.database_secret, "url"));
        let own = [
            ("BETAGATE_WORKLOAD", it.name().to_owned()),
            ("BETAGATE_DATA", DATA.to_owned()),
            ("BETAGATE_ADMIN_TOKEN_FILE", format!("{DATA}/keys/admin.token")),
        ];
        for (name, value) in own {
            env.insert(name.to_owned(), json!({ "name": name, "value": value }));
        }
    } else if let Some(port) = it.container_port() {
        env.entry("PORT".to_owned()).or_insert_with(|| json!({ "name": "PORT", "value": port.to_string() }));
    }
    env.into_values().collect()
}

/// betagate's data folder in a pod.
const DATA: &str = "/var/lib/betagate";

/// A word as it stands, for the field of a container in which Kubernetes replaces `$(NAME)`: on one machine nothing is replaced, and a secret of the
/// environment must not get into a command line.
pub(super) fn literal(word: &str) -> String {
    word.replace('$', "$$")
}

pub(super) fn literals(words: &[String]) -> Vec<String> {
    words.iter().map(|word| literal(word)).collect()
}

pub(super) fn from_secret(name: &str, secret: &str, key: &str) -> Value {
    json!({ "name": name, "valueFrom": { "secretKeyRef": { "name": secret, "key": key } } })
}

/// What pods of a workload may be, mount and ask for; `container` is their only one.
fn pod(it: &It<'_>, mut container: Value, restart_policy: &str) -> Value {
    let mut security = json!({ "runAsNonRoot": true, "seccompProfile": { "type": "RuntimeDefault" } });
    let mut pod = json!({
        "restartPolicy": restart_policy, "automountServiceAccountToken": false, "enableServiceLinks": false,
        "terminationGracePeriodSeconds": 30,
    });
    if it.is_own {
        for name in ["runAsUser", "runAsGroup", "fsGroup"] {
            security[name] = json!(65532);
        }
        container["volumeMounts"] = json!([
            { "name": "data", "mountPath": DATA },
            { "name": "keys", "mountPath": format!("{DATA}/keys"), "readOnly": true },
            { "name": "temporary", "mountPath": "/tmp" },
        ]);
        pod["volumes"] = json!([
            { "name": "data", "emptyDir": {} },
            { "name": "keys", "secret": { "secretName": it.own.keys_secret, "defaultMode": 0o440 } },
            { "name": "temporary", "emptyDir": {} },
        ]);
    }
    container["env"] = json!(environment(it));
    container["securityContext"] = container_security(it.is_own);
    container["resources"] = resources(it);
    pod["securityContext"] = security;
    pod["containers"] = json!([container]);
    pod
}

/// What its document asks for; else a little, and for betagate's own no more memory than they ever need.
fn resources(it: &It<'_>) -> Value {
    if let Some(asked) = &it.spec.resources {
        return json!(asked);
    }
    let mut resources = json!({ "requests": { "cpu": "50m", "memory": "64Mi" } });
    if it.is_own {
        resources["limits"] = json!({ "memory": "512Mi" });
    }
    resources
}
