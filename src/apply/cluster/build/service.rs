//! The Service: one name and port for all its pods.

use serde_json::{Map, json};

use super::{Described, It, Sort};

pub(super) fn service(it: &It<'_>) -> Option<Described> {
    let port = it.service_port()?;
    let spec = json!({
        "type": "ClusterIP",
        "selector": it.selector(),
        "ports": [{ "name": "http", "port": port, "protocol": "TCP", "targetPort": "http" }],
    });
    Some(it.described(Sort::Service, it.name().to_owned(), it.labels(), Map::new(), spec))
}
