//! One flagd definition as the `spec` of a `Flag`.
//!
//! Must not know: files, sets of flags.

use std::collections::BTreeSet;

use indexmap::IndexMap;
use serde_json::{Map, Value, json};

use super::Options;
use crate::resources::{FlagSpec, FlagType};

/// What a definition of flagd may have.
const FIELDS: [&str; 6] = ["state", "variants", "defaultVariant", "targeting", "metadata", "description"];

/// The rules that a set of flags shares.
pub(super) struct Shared<'s, 'a> {
    /// By name.
    pub evaluators: Option<&'a Map<String, Value>>,
    /// Those that another set of the same import has otherwise: each flag gets a copy of its own.
    pub conflicting: &'s BTreeSet<&'a str>,
    /// Those that a flag brings already.
    pub already: &'s mut BTreeSet<&'a str>,
    /// Whether this flag brings those that none uses.
    pub takes_unused: bool,
}

/// The spec of a definition.
///
/// # Errors
/// Everything that a `Flag` cannot say.
pub(super) fn spec_of(
    definition: &Map<String, Value>,
    set_metadata: Option<&Map<String, Value>>,
    options: &Options,
    shared: &mut Shared<'_, '_>,
) -> Result<FlagSpec, Vec<String>> {
    let mut wrong: Vec<String> = definition
        .keys()
        .filter(|field| !FIELDS.contains(&field.as_str()))
        .map(|field| format!("there is nothing for `{field}` to become"))
        .collect();
    let mut spec = json!({ "program": options.program, "bucketing": options.bucketing });
    for (field, value) in definition.iter().filter(|(_, value)| !value.is_null()) {
        match (field.as_str(), value) {
            ("state", Value::String(state)) if matches!(state.as_str(), "ENABLED" | "DISABLED") => {
                spec["state"] = value.clone();
            }
            ("state", other) => wrong.push(format!("its state {other} is neither ENABLED nor DISABLED")),
            // An empty default is flagd's way of having none.
            ("defaultVariant" | "description", Value::String(text)) if text.is_empty() => {}
            ("defaultVariant" | "description", Value::String(_)) => spec[field] = value.clone(),
            ("defaultVariant" | "description", other) => wrong.push(format!("its {field} {other} is no text")),
            _ => {}
        }
    }
    match type_of(definition.get("variants")) {
        Ok((kind, variants)) => (spec["type"], spec["variants"]) = (json!(kind), json!(variants)),
        Err(why) => wrong.push(why),
    }
    let targeting = definition.get("targeting").filter(|rule| !rule.is_null() && **rule != json!({}));
    if let Some(rule) = targeting {
        spec["targeting"] = rule.clone();
    }
    match metadata_of(set_metadata, definition.get("metadata")) {
        Ok(metadata) if metadata.is_empty() => {}
        Ok(metadata) => spec["metadata"] = Value::Object(metadata),
        Err(why) => wrong.push(why),
    }
    match shared.evaluators_of(targeting) {
        Ok(evaluators) if evaluators.is_empty() => {}
        Ok(evaluators) => spec["$evaluators"] = Value::Object(evaluators),
        Err(why) => wrong.push(why),
    }
    if !wrong.is_empty() {
        return Err(wrong);
    }
    serde_json::from_value(spec).map_err(|error| vec![error.to_string()])
}

/// The one type of all variants.
fn type_of(variants: Option<&Value>) -> Result<(FlagType, IndexMap<String, Value>), String> {
    let Some(variants) = variants.and_then(Value::as_object).filter(|variants| !variants.is_empty()) else {
        return Err("it has no variants".to_owned());
    };
    let known = [FlagType::Boolean, FlagType::String, FlagType::Integer, FlagType::Float, FlagType::Object];
    let of_all = known.into_iter().find(|kind| variants.values().all(|value| kind.admits(value)));
    let kind = of_all.ok_or_else(|| {
        let shown: Vec<String> = variants.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        format!("its variants are not of one type: {}", shown.join(", "))
    })?;
    Ok((kind, variants.iter().map(|(name, value)| (name.clone(), value.clone())).collect()))
}

/// A flag's metadata over that of its set, as flagd answers it.
fn metadata_of(of_set: Option<&Map<String, Value>>, own: Option<&Value>) -> Result<Map<String, Value>, String> {
    let mut metadata = of_set.cloned().unwrap_or_default();
    match own {
        None | Some(Value::Null) => {}
        Some(Value::Object(own)) => metadata.extend(own.clone()),
        Some(other) => return Err(format!("its metadata {other} is no mapping")),
    }
    metadata.retain(|_, value| !value.is_null());
    match metadata.iter().find(|(_, value)| value.is_object() || value.is_array()) {
        None => Ok(metadata),
        Some((name, value)) => Err(format!("metadata {name} is {value}, and SDKs take booleans, strings and numbers")),
    }
}

impl Shared<'_, '_> {
    /// The rules that a flag brings: those it uses and no flag before it brought, and the names that mean something else elsewhere.
    fn evaluators_of(&mut self, targeting: Option<&Value>) -> Result<Map<String, Value>, String> {
        let mut used = BTreeSet::new();
        if let Some(rule) = targeting {
            self.references(rule, &mut used);
        }
        let known = self.evaluators.into_iter().flatten();
        if let Some(missing) = used.iter().find(|name| !self.evaluators.is_some_and(|known| known.contains_key(*name)))
        {
            return Err(format!("there is no evaluator '{missing}' in its set"));
        }
        let mut own = Map::new();
        for (name, rule) in known {
            let wanted = used.contains(name.as_str()) || self.takes_unused;
            if wanted && (self.conflicting.contains(name.as_str()) || !self.already.contains(name.as_str())) {
                self.already.insert(name);
                own.insert(name.clone(), rule.clone());
            }
        }
        Ok(own)
    }

    fn references(&self, rule: &Value, used: &mut BTreeSet<String>) {
        match rule {
            Value::Object(fields) => {
                for (word, operand) in fields {
                    if let ("$ref", Value::String(name)) = (word.as_str(), operand) {
                        if used.insert(name.clone())
                            && let Some(rule) = self.evaluators.and_then(|known| known.get(name))
                        {
                            self.references(rule, used);
                        }
                    } else {
                        self.references(operand, used);
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| self.references(item, used)),
            _ => {}
        }
    }
}
