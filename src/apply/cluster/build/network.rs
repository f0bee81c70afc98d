//! The NetworkPolicy: its port is reached, and nothing else of its pods. What they reach themselves is left open.

use serde_json::{Map, json};

use super::{Described, It, Sort};

pub(super) fn policy(it: &It<'_>) -> Option<Described> {
    let reached = it.container_port().map(|_| json!({ "ports": [{ "port": "http", "protocol": "TCP" }] }));
    let mut spec = json!({ "podSelector": { "matchLabels": it.selector() }, "policyTypes": ["Ingress"] });
    if let Some(reached) = reached {
        spec["ingress"] = json!([reached]);
    }
    Some(it.described(Sort::NetworkPolicy, it.name().to_owned(), it.labels(), Map::new(), spec))
}
