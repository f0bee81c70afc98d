//! Flags and invariants.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Rules;
use crate::resources::{FlagSpec, Kind};

impl Rules<'_> {
    pub(super) fn flags(&mut self) {
        for flag in self.program.flags.values() {
            self.flag(&flag.name, &flag.spec);
        }
        self.invariants();
    }

    fn flag(&mut self, name: &str, spec: &FlagSpec) {
        let document = self.document(Kind::Flag, name);
        let variants: Vec<&str> = spec.variants.keys().map(String::as_str).collect();
        self.known(document, "/spec/defaultVariant", "variant", &spec.default_variant, variants.iter().copied());
        if let Some(safe) = &spec.safe_variant {
            self.known(document, "/spec/safeVariant", "variant", safe, variants.iter().copied());
        }
        for (environment, difference) in &spec.environments {
            if let Some(variant) = &difference.default_variant {
                let pointer = format!("/spec/environments/{environment}/defaultVariant");
                self.known(document, &pointer, "variant", variant, variants.iter().copied());
            }
        }
        for (variant, value) in &spec.variants {
            if !spec.r#type.admits(value) {
                let wanted = format!("{:?}", spec.r#type).to_lowercase();
                self.problem(
                    document,
                    &format!("/spec/variants/{variant}"),
                    format!("{value} is no {wanted}, which `type` asks for"),
                );
            }
        }
        if let Some(path) = spec.fallback.as_ref().filter(|path| !path.starts_with('/')) {
            self.problem(document, "/spec/fallback", format!("'{path}' is not a path: it starts with /"));
        }
        let sane = |name: &str| {
            !name.is_empty()
                && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
                && !name.starts_with(|c: char| c.is_ascii_digit())
        };
        if let Some(env) = spec.env.as_ref().filter(|env| !sane(env)) {
            self.problem(document, "/spec/env", format!("'{env}' is no name for an environment variable"));
        }
        if let Some(targeting) = &spec.targeting {
            self.targeting(name, targeting, "/spec/targeting");
            let mut results = Vec::new();
            branch_results(targeting, "/spec/targeting", &mut results);
            for (pointer, variant) in results {
                self.known(document, &pointer, "variant", variant, variants.iter().copied());
            }
        }
    }

    /// The cohorts that rules name.
    fn targeting(&mut self, flag: &str, rule: &Value, pointer: &str) {
        let document = self.document(Kind::Flag, flag);
        match rule {
            Value::Object(fields) => {
                for (operator, operand) in fields {
                    let below = format!("{pointer}/{operator}");
                    if operator == "in_cohort" {
                        let names: Vec<&Value> =
                            operand.as_array().map_or_else(|| vec![operand], |list| list.iter().collect());
                        for (place, name) in names.into_iter().enumerate() {
                            let at = if operand.is_array() { format!("{below}/{place}") } else { below.clone() };
                            match name.as_str() {
                                Some(name) => drop(self.resource(document, &at, Kind::Cohort, name)),
                                None => self.problem(document, &at, "in_cohort takes names of cohorts"),
                            }
                        }
                    } else {
                        self.targeting(flag, operand, &below);
                    }
                }
            }
            Value::Array(items) => {
                for (place, item) in items.iter().enumerate() {
                    self.targeting(flag, item, &format!("{pointer}/{place}"));
                }
            }
            _ => {}
        }
    }

    fn invariants(&mut self) {
        let document = self.document(Kind::Program, self.program.name());
        let mut seen = BTreeSet::new();
        for (place, invariant) in self.program.program.spec.invariants.iter().enumerate() {
            let pointer = format!("/spec/invariants/{place}");
            if !seen.insert(&invariant.flag) {
                self.problem(
                    document,
                    &format!("{pointer}/flag"),
                    format!("there is already an invariant for '{}'", invariant.flag),
                );
            }
            if !self.resource(document, &format!("{pointer}/flag"), Kind::Flag, &invariant.flag) {
                continue;
            }
            let Some(flag) = self.program.flags.get(&invariant.flag) else { continue };
            if !flag.spec.variants.values().any(|value| *value == invariant.is) {
                self.problem(
                    document,
                    &format!("{pointer}/is"),
                    format!("flag '{}' has no variant with the value {}", invariant.flag, invariant.is),
                );
            } else if flag.spec.variants.get(&flag.spec.default_variant) != Some(&invariant.is) {
                let own = self.document(Kind::Flag, &flag.name);
                let message = format!("the program's invariant says that '{}' is {}", invariant.flag, invariant.is);
                self.problem(own, "/spec/defaultVariant", message);
            }
        }
    }
}

/// The plain variant names that an outermost `if` can give, with their places.
fn branch_results<'v>(rule: &'v Value, pointer: &str, results: &mut Vec<(String, &'v str)>) {
    match rule {
        Value::String(name) => results.push((pointer.to_owned(), name)),
        Value::Object(fields) => {
            let Some(branches) = fields.get("if").and_then(Value::as_array) else { return };
            for (place, branch) in branches.iter().enumerate() {
                let is_result = place % 2 == 1 || place + 1 == branches.len();
                if is_result {
                    branch_results(branch, &format!("{pointer}/if/{place}"), results);
                }
            }
        }
        _ => {}
    }
}
