//! The Deployment: pods of one revision, replaced one by one, the new one ready before an old one goes.

use betagate_core::resources::Component;
use serde_json::{Map, Value, json};

use super::{Described, It, MIGRATED, OWN_PORT, RESTART, Sort, migration, pod};

/// Earlier ReplicaSets that are kept: going back to one of those starts nothing that was not tried before.
const KEPT_REVISIONS: u32 = 10;
/// A rollout that gets no further for so long says so; the old pods stay.
const PROGRESS_SECONDS: u32 = 300;
/// An old pod goes on answering for so long after it was taken out of the Service: that takes a moment to get around.
const LINGER_SECONDS: u32 = 3;

pub(super) fn deployment(it: &It<'_>) -> Described {
    let labels = it.revision_labels();
    let mut annotations = Map::new();
    annotations.extend(it.identity.secrets.clone().map(|digest| ("betagate.dev/secrets".to_owned(), json!(digest))));
    annotations.extend(it.identity.restart.clone().map(|request| (RESTART.to_owned(), json!(request))));
    let own_api = it.is_own && it.spec.component == Component::Api;
    if own_api {
        annotations.insert("prometheus.io/scrape".to_owned(), json!("true"));
        annotations.insert("prometheus.io/port".to_owned(), json!(OWN_PORT.to_string()));
    }
    let mut pods = pod(it, container(it), "Always");
    pods["topologySpreadConstraints"] = json!([{
        "maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": { "matchLabels": it.selector() },
    }]);
    let mut template = json!({ "metadata": { "labels": labels }, "spec": pods });
    if !annotations.is_empty() {
        template["metadata"]["annotations"] = Value::Object(annotations);
    }
    let spec = json!({
        "replicas": it.spec.replicas,
        "revisionHistoryLimit": KEPT_REVISIONS,
        "progressDeadlineSeconds": PROGRESS_SECONDS,
        "selector": { "matchLabels": it.selector() },
        "strategy": { "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": 0, "maxSurge": 1 } },
        "template": template,
    });
    let mut said = Map::new();
    said.extend(migration::job_name(it.wanted, it.own).map(|job| (MIGRATED.to_owned(), json!(job))));
    it.described(Sort::Deployment, it.name().to_owned(), it.revision_labels(), said, spec)
}

fn container(it: &It<'_>) -> Value {
    let mut container = json!({ "name": it.name(), "image": it.spec.image });
    if it.is_own {
        let listen = format!("--listen=0.0.0.0:{OWN_PORT}");
        container["args"] = match it.spec.component {
            Component::Api => json!(["api", listen]),
            Component::Worker | Component::Web => json!(["worker"]),
        };
    } else if let Some(command) = &it.spec.command {
        container["command"] = json!(super::literals(command));
    }
    let Some(port) = it.container_port() else { return container };
    container["ports"] = json!([{ "name": "http", "containerPort": port }]);
    container["lifecycle"] = json!({ "preStop": { "sleep": { "seconds": LINGER_SECONDS } } });
    // Ours begins once it has its database, and is asked no more for that: while the database is away it goes on serving flags.
    let (started, ready, alive) = match (&it.spec.health, it.is_own) {
        (Some(health), _) => (Some(health.path.as_str()), Some(health.path.as_str()), None),
        (None, true) => (Some("/readyz"), Some("/healthz"), Some("/healthz")),
        (None, false) => (None, None, None),
    };
    let asks = |path: &str| json!({ "path": path, "port": "http" });
    if let Some(path) = started {
        container["startupProbe"] = json!({ "httpGet": asks(path), "periodSeconds": 1, "failureThreshold": 120 });
    }
    if let Some(path) = ready {
        container["readinessProbe"] = json!({ "httpGet": asks(path), "periodSeconds": 2, "failureThreshold": 2 });
    }
    if let Some(path) = alive {
        container["livenessProbe"] = json!({ "httpGet": asks(path), "periodSeconds": 10, "failureThreshold": 6 });
    }
    container
}
