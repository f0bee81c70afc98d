//! flagd's flag files and the OpenFeature Operator's `FeatureFlag` resources.
//!
//! Must not know: what a single definition may say (that is [`super::definition`]'s).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::definition::{Shared, spec_of};
use super::{Document, File, Imported, Options, Refusal};
use crate::resources::{API_VERSION, FlagSpec};

/// What a set of flags may have beside its flags.
const SET_FIELDS: [&str; 4] = ["flags", "$evaluators", "metadata", "$schema"];

/// One set: a flagd file, or the `flagSpec` of a resource.
struct Set<'a> {
    file: &'a str,
    body: &'a Map<String, Value>,
    labels: Option<&'a Value>,
    annotations: Map<String, Value>,
}

/// Imports flag definitions, all or none.
///
/// # Errors
/// Everything that cannot be carried over, each by name.
pub fn flagd(files: &[File], options: &Options) -> Result<Imported, Vec<Refusal>> {
    let (mut sets, mut left_out, mut refused) = (Vec::new(), Vec::new(), Vec::new());
    for file in files {
        for document in file.documents.iter().filter(|document| !document.is_null()) {
            collect(&file.name, document, &mut sets, &mut left_out, &mut refused);
        }
    }
    let mut import = Import {
        options,
        conflicting: conflicting_evaluators(&sets),
        shared: BTreeSet::new(),
        keys: BTreeMap::new(),
        names: BTreeSet::new(),
        imported: Imported { flags: Vec::new(), left_out },
        refused,
    };
    for set in &sets {
        import.set(set);
    }
    let Import { imported, mut refused, .. } = import;
    if imported.flags.is_empty() && refused.is_empty() {
        let file = files.first().map(|file| file.name.clone()).unwrap_or_default();
        let message = "it has no flags: neither a flagd file with `flags`, nor a FeatureFlag resource".to_owned();
        refused.push(Refusal { file, what: "document".to_owned(), message });
    }
    if refused.is_empty() { Ok(imported) } else { Err(refused) }
}

/// Finds the sets of a document: a flagd file is one, a resource has one, a list of resources has many.
fn collect<'a>(
    file: &'a str,
    document: &'a Value,
    sets: &mut Vec<Set<'a>>,
    left_out: &mut Vec<String>,
    refused: &mut Vec<Refusal>,
) {
    let refusal = |what: &str, message: &str| Refusal {
        file: file.to_owned(),
        what: what.to_owned(),
        message: message.to_owned(),
    };
    let Some(fields) = document.as_object() else {
        refused.push(refusal("document", "it is no mapping, so it holds no flags"));
        return;
    };
    let Some(kind) = fields.get("kind").and_then(Value::as_str).filter(|_| fields.contains_key("apiVersion")) else {
        match fields.get("flags") {
            Some(_) => sets.push(Set { file, body: fields, labels: None, annotations: Map::new() }),
            None => left_out.push(format!("{file}: a document without flags")),
        }
        return;
    };
    let name = document["metadata"]["name"].as_str().unwrap_or_default();
    let version = document["apiVersion"].as_str().unwrap_or_default();
    match (version, kind) {
        ("core.openfeature.dev/v1beta1", "FeatureFlag") => {
            let Some(body) = document["spec"]["flagSpec"].as_object() else {
                refused.push(refusal(&format!("FeatureFlag {name}"), "it has no spec.flagSpec"));
                return;
            };
            for field in document["spec"].as_object().into_iter().flat_map(Map::keys).filter(|key| *key != "flagSpec") {
                refused.push(refusal(
                    &format!("FeatureFlag {name}"),
                    &format!("there is nothing for `spec.{field}` to become"),
                ));
            }
            let metadata = &document["metadata"];
            let mut annotations = metadata["annotations"].as_object().cloned().unwrap_or_default();
            annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
            sets.push(Set { file, body, labels: metadata.get("labels"), annotations });
        }
        (_, "List" | "FeatureFlagList") => {
            for item in document["items"].as_array().into_iter().flatten() {
                collect(file, item, sets, left_out, refused);
            }
        }
        (version, "FeatureFlag" | "FeatureFlagConfiguration") => {
            let message =
                format!("{version} is older than core.openfeature.dev/v1beta1: let the operator convert it first");
            refused.push(refusal(&format!("{kind} {name}"), &message));
        }
        _ => left_out.push(format!("{file}: {kind} {name}")),
    }
}

/// The names that stand for different rules in different sets. Within a program one name is one rule, so each flag keeps its own copy.
fn conflicting_evaluators<'a>(sets: &[Set<'a>]) -> BTreeSet<&'a str> {
    let mut seen: BTreeMap<&str, &Value> = BTreeMap::new();
    let all = sets.iter().flat_map(|set| set.evaluators().into_iter().flatten());
    all.filter(|(name, rule)| seen.insert(name, rule).is_some_and(|other| other != *rule))
        .map(|(name, _)| name.as_str())
        .collect()
}

/// The definitions of a set, by key.
type Definitions<'a> = Vec<(&'a str, Map<String, Value>)>;

impl<'a> Set<'a> {
    fn evaluators(&self) -> Option<&'a Map<String, Value>> {
        self.body.get("$evaluators").and_then(Value::as_object)
    }

    /// The definitions by key: flagd takes a mapping, or a list whose entries have a `key`.
    fn definitions(&self) -> Result<Definitions<'a>, String> {
        let fields =
            |key: &str, value: &Value| value.as_object().cloned().ok_or_else(|| format!("flag '{key}' is no mapping"));
        match self.body.get("flags") {
            Some(Value::Object(flags)) => {
                flags.iter().map(|(key, flag)| Ok((key.as_str(), fields(key, flag)?))).collect()
            }
            Some(Value::Array(flags)) => flags
                .iter()
                .map(|flag| {
                    let key = flag["key"].as_str().ok_or("an entry of the list `flags` has no key")?;
                    let mut definition = fields(key, flag)?;
                    definition.shift_remove("key");
                    Ok((key, definition))
                })
                .collect(),
            _ => Err("`flags` is neither a mapping nor a list".to_owned()),
        }
    }
}

/// An import under way.
struct Import<'a> {
    options: &'a Options,
    /// The names of rules that each flag gets a copy of.
    conflicting: BTreeSet<&'a str>,
    /// The rules that a flag brings already.
    shared: BTreeSet<&'a str>,
    /// The file of each key.
    keys: BTreeMap<&'a str, &'a str>,
    names: BTreeSet<String>,
    imported: Imported,
    refused: Vec<Refusal>,
}

impl<'a> Import<'a> {
    fn refuse(&mut self, set: &Set<'a>, what: &str, message: impl Into<String>) {
        self.refused.push(Refusal { file: set.file.to_owned(), what: what.to_owned(), message: message.into() });
    }

    fn set(&mut self, set: &Set<'a>) {
        for field in set.body.keys().filter(|field| !SET_FIELDS.contains(&field.as_str())) {
            self.refuse(set, field, "there is nothing for it to become");
        }
        for field in ["metadata", "$evaluators"] {
            if set.body.get(field).is_some_and(|value| !value.is_object() && !value.is_null()) {
                self.refuse(set, field, "it is no mapping");
            }
        }
        let definitions = match set.definitions() {
            Ok(definitions) => definitions,
            Err(message) => return self.refuse(set, "flags", message),
        };
        for (place, (key, definition)) in definitions.iter().enumerate() {
            if let Some(other) = self.keys.insert(key, set.file) {
                self.refuse(
                    set,
                    &format!("flag '{key}'"),
                    format!("it stands in {other} too, and a key is one flag's"),
                );
                continue;
            }
            // Rules that no flag uses are carried over too, with the set's last flag.
            let mut shared = Shared {
                evaluators: set.evaluators(),
                conflicting: &self.conflicting,
                already: &mut self.shared,
                takes_unused: place + 1 == definitions.len(),
            };
            match spec_of(definition, set.body.get("metadata").and_then(Value::as_object), self.options, &mut shared) {
                Ok(spec) => self.flag(set, key, spec),
                Err(messages) => {
                    messages.into_iter().for_each(|message| self.refuse(set, &format!("flag '{key}'"), message));
                }
            }
        }
    }

    fn flag(&mut self, set: &Set<'a>, key: &str, mut spec: FlagSpec) {
        let name = name_of(key, &mut self.names);
        spec.key = (name != key).then(|| key.to_owned());
        let mut about = json!({ "name": name });
        if let Some(labels) = set.labels {
            about["labels"] = labels.clone();
        }
        if !set.annotations.is_empty() {
            about["annotations"] = Value::Object(set.annotations.clone());
        }
        let body = json!({ "apiVersion": API_VERSION, "kind": "Flag", "metadata": about, "spec": spec });
        self.imported.flags.push(Document { name, key: key.to_owned(), file: set.file.to_owned(), body });
    }
}

/// A name that Kubernetes takes, near to the key, and no other flag's.
fn name_of(key: &str, names: &mut BTreeSet<String>) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let dashed: String = key.chars().map(plain).collect();
    let mut name = dashed.split('-').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("-");
    name.truncate(200);
    if name.is_empty() {
        "flag".clone_into(&mut name);
    }
    let base = name.trim_end_matches('-').to_owned();
    name.clone_from(&base);
    let mut number = 1;
    while !names.insert(name.clone()) {
        number += 1;
        name = format!("{base}-{number}");
    }
    name
}
