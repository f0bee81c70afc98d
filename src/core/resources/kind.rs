//! The table of kinds: names, plurals, schemas, CRDs. A new kind is one line here and one file beside it.

use std::{fmt, str::FromStr, sync::LazyLock};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The API group.
pub const GROUP: &str = "betagate.dev";
/// Group and version, as `apiVersion` writes it; documents in a repository may leave it out.
pub const API_VERSION: &str = "betagate.dev/v1alpha1";

macro_rules! kinds {
    ($($kind:ident $plural:literal $doc:literal),+ $(,)?) => {
        /// The kinds of resources.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Kind { $(#[doc = $doc] $kind),+ }

        impl Kind {
            /// All of them, in the order in which they are documented.
            pub const ALL: &'static [Self] = &[$(Self::$kind),+];

            /// As `kind:` writes it.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$kind => stringify!($kind)),+ }
            }

            /// As `kubectl get` and `betagate get` write it.
            pub const fn plural(self) -> &'static str {
                match self { $(Self::$kind => $plural),+ }
            }
        }

        /// The custom resource definition of a kind, as the API server takes it.
        pub fn crd(kind: Kind) -> CustomResourceDefinition {
            match kind { $(Kind::$kind => super::$kind::crd()),+ }
        }
    };
}

kinds! {
    Program "programs" "The beta.",
    Cohort "cohorts" "A group of people.",
    Invite "invites" "One person let in outside a list.",
    Flag "flags" "A feature flag.",
    Gate "gates" "Checks with thresholds.",
    Rollout "rollouts" "Ordered stages.",
    RollbackPlan "rollbackplans" "When and how to pull back.",
    Incident "incidents" "Something that is wrong.",
    Signoff "signoffs" "A person's word.",
    Workload "workloads" "Something that runs.",
    Dataset "datasets" "Reference rows.",
    Rollback "rollbacks" "One run of a plan, written by the controller.",
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Kind {
    type Err = String;
    /// Accepts the kind's name, its plural and its singular, in any case.
    fn from_str(text: &str) -> Result<Self, String> {
        let wanted = text.to_lowercase();
        let found = Self::ALL.iter().find(|kind| wanted == kind.name().to_lowercase() || wanted == kind.plural());
        found.copied().ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|kind| kind.plural()).collect();
            format!("'{text}' is not a kind; the kinds are {}", known.join(", "))
        })
    }
}

/// Every custom resource definition.
pub fn crds() -> Vec<CustomResourceDefinition> {
    Kind::ALL.iter().map(|kind| crd(*kind)).collect()
}

/// The schema of a kind's `spec`, the same that its CRD carries.
pub fn schema(kind: Kind) -> &'static Value {
    static SCHEMAS: LazyLock<Vec<Value>> = LazyLock::new(|| {
        let spec = |kind: &Kind| {
            let crd = serde_json::to_value(crd(*kind)).unwrap_or_default();
            crd.pointer("/spec/versions/0/schema/openAPIV3Schema/properties/spec").cloned().unwrap_or_default()
        };
        Kind::ALL.iter().map(spec).collect()
    });
    static EMPTY: Value = Value::Null;
    SCHEMAS.get(kind as usize).unwrap_or(&EMPTY)
}

/// The schema of a value of any type.
pub(super) fn anything(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "x-kubernetes-preserve-unknown-fields": true })
}

/// The schema of a mapping with anything in it. CEL rules can name a field of this type, and none of [`anything`].
pub(super) fn any_mapping(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true })
}

/// The schema of a map from names to values of any type.
pub(super) fn map_of_anything(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "additionalProperties": { "x-kubernetes-preserve-unknown-fields": true } })
}

/// The schema of a map from names to scalars.
pub(super) fn map_of_scalars(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "additionalProperties": { "x-kubernetes-preserve-unknown-fields": true } })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_structural_schema_with_descriptions() {
        for kind in Kind::ALL {
            let schema = schema(*kind);
            assert_eq!(schema["type"], "object", "{kind}");
            assert!(schema["properties"]["program"].is_object() || *kind == Kind::Program, "{kind}");
            assert_eq!(kind.name().parse::<Kind>(), Ok(*kind));
            assert_eq!(kind.plural().parse::<Kind>(), Ok(*kind));
        }
    }
    /// An API server refuses a whole definition for one rule that names a field without a type, or that could take too long.
    #[test]
    fn every_rule_names_typed_fields_and_stands_in_bounded_lists() {
        fn walk(schema: &Value, place: &str, bounded: bool) {
            let properties = schema["properties"].as_object();
            for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
                let text = rule["rule"].as_str().unwrap_or_default();
                assert!(bounded, "{place}: {text}: a list or mapping around it has no maximum");
                for named in text.split("elf.").skip(1) {
                    let name = named.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
                    let field = properties.and_then(|all| all.get(name));
                    let typed =
                        |field: &Value| field["type"].is_string() || field["x-kubernetes-int-or-string"] == true;
                    let values = field.and_then(|field| field.get("additionalProperties"));
                    assert!(
                        field.is_some_and(typed) && values.is_none_or(typed),
                        "{place}: {text}: {name} has no type"
                    );
                }
            }
            for (name, field) in properties.into_iter().flatten() {
                walk(field, &format!("{place}.{name}"), bounded);
            }
            let is_bounded = |word: &str| bounded && schema[word].is_u64();
            walk_some(&schema["items"], &format!("{place}[]"), is_bounded("maxItems"));
            walk_some(&schema["additionalProperties"], &format!("{place}{{}}"), is_bounded("maxProperties"));
        }
        fn walk_some(schema: &Value, place: &str, bounded: bool) {
            if schema.is_object() {
                walk(schema, place, bounded);
            }
        }
        for kind in Kind::ALL {
            walk(schema(*kind), kind.name(), true);
        }
    }
}
