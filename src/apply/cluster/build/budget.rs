//! The PodDisruptionBudget: whoever drains a node takes one pod at a time. One pod alone has none, or its node could never be drained.

use serde_json::{Map, json};

use super::{Described, It, Sort};

pub(super) fn budget(it: &It<'_>) -> Option<Described> {
    if it.spec.replicas < 2 {
        return None;
    }
    let spec = json!({ "maxUnavailable": 1, "selector": { "matchLabels": it.selector() } });
    Some(it.described(Sort::Budget, it.name().to_owned(), it.labels(), Map::new(), spec))
}
