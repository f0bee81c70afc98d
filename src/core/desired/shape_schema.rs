//! The words of a JSON schema, and the schema of what every document has beside its `spec`.
//!
//! Must not know: what is checked against it.

use std::sync::LazyLock;

use serde_json::{Map, Value as Json, json};

use super::shape_scalar;

pub(super) fn keeps_unknown(rules: &Map<String, Json>) -> bool {
    rule(rules, "x-kubernetes-preserve-unknown-fields") == Some(&Json::Bool(true))
}

pub(super) fn int_or_string(rules: &Map<String, Json>) -> bool {
    rule(rules, "x-kubernetes-int-or-string") == Some(&Json::Bool(true))
}

/// A keyword of a schema. Schemas have few, so that looking at each is quicker than hashing.
pub(super) fn rule<'a>(rules: &'a Map<String, Json>, word: &str) -> Option<&'a Json> {
    rules.iter().find(|(name, _)| name.as_str() == word).map(|(_, value)| value)
}

pub(super) fn branches<'a>(rules: &'a Map<String, Json>, word: &str) -> &'a [Json] {
    rule(rules, word).and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default()
}

pub(super) fn strings(list: Option<&Json>) -> impl Iterator<Item = &str> {
    list.and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str)
}

pub(super) fn text_schema() -> &'static Json {
    static SCHEMA: LazyLock<Json> = LazyLock::new(|| json!({ "type": "string" }));
    &SCHEMA
}

/// The part of `ObjectMeta` that people write, and what `kubectl get -o yaml` adds to it.
pub(super) fn metadata_schema() -> &'static Json {
    static SCHEMA: LazyLock<Json> = LazyLock::new(|| {
        let texts = json!({ "type": "object", "additionalProperties": { "type": "string" } });
        let anything = json!({ "x-kubernetes-preserve-unknown-fields": true });
        let name = json!({ "type": "string", "format": shape_scalar::NAME });
        json!({
            "type": "object",
            "required": ["name"],
            "properties": {
                "name": name, "namespace": name, "labels": texts, "annotations": texts,
                "finalizers": { "type": "array", "items": { "type": "string" } },
                "ownerReferences": anything, "managedFields": anything, "creationTimestamp": anything,
                "deletionTimestamp": anything, "deletionGracePeriodSeconds": anything, "generation": anything,
                "resourceVersion": anything, "uid": anything, "selfLink": anything,
            },
        })
    });
    &SCHEMA
}
