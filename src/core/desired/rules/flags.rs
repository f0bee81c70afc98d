//! Flags and invariants.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::results::{Given, given};
use super::{Rules, is_variable, token};
use crate::{
    desired::{ProgramDesired, documents::Documents, error::Problem, parse::Document},
    flags::FlagSet,
    resources::{FlagSpec, Kind},
};

/// What the compiler of flags finds in every rule as it is written, those of other environments included.
pub(super) fn compiled(programs: &BTreeMap<String, ProgramDesired>, documents: &Documents) -> Vec<Problem> {
    let mut written = Vec::new();
    for flag in programs.values().flat_map(|program| program.flags.values()) {
        let Some(document) = documents.get(Kind::Flag, &flag.name) else { continue };
        let shared = serde_json::to_value(&flag.spec.evaluators).unwrap_or_default();
        let bucketing = serde_json::to_value(flag.spec.bucketing).unwrap_or_default();
        if !flag.spec.evaluators.is_empty() {
            written.push((document, String::new(), json!({ "$evaluators": shared, "bucketing": bucketing })));
        }
        for (pointer, rule) in rules_of(document) {
            written.push((document, pointer, json!({ "targeting": rule, "bucketing": bucketing })));
        }
    }
    let keys: Vec<String> = (0..written.len()).map(|place| place.to_string()).collect();
    let definitions = keys.iter().map(String::as_str).zip(written.iter().map(|(_, _, definition)| definition));
    let (_, found) = FlagSet::compile(definitions, &|_| None);
    let problem = |found: crate::flags::CompileProblem| {
        let (document, pointer, _) = written.get(found.flag.parse::<usize>().ok()?)?;
        let below = found.pointer.strip_prefix("/targeting").unwrap_or(&found.pointer);
        Some(document.problem_at_key(&format!("{pointer}{below}"), found.message))
    };
    found.into_iter().filter_map(problem).collect()
}

/// The rules of a flag as they are written, with their places: its own, those of each environment, and scheduled ones.
fn rules_of(document: &Document) -> Vec<(String, Value)> {
    let environments = document.root.at("/spec/environments").map(|node| node.entries()).unwrap_or_default();
    let environments = environments.iter().map(|entry| format!("/spec/environments/{}/targeting", token(&entry.key)));
    let scheduled = document.root.at("/spec/schedule").map_or(0, |node| node.items().len());
    std::iter::once("/spec/targeting".to_owned())
        .chain(environments)
        .chain((0..scheduled).map(|place| format!("/spec/schedule/{place}/targeting")))
        .filter_map(|pointer| document.root.at(&pointer).map(|node| (pointer, node.to_json())))
        .collect()
}

/// The default variants of a flag as they are written, with their places.
fn defaults_of(document: &Document) -> Vec<(String, String)> {
    let environments = document.root.at("/spec/environments").map(|node| node.entries()).unwrap_or_default();
    let environments =
        environments.iter().map(|entry| format!("/spec/environments/{}/defaultVariant", token(&entry.key)));
    std::iter::once("/spec/defaultVariant".to_owned())
        .chain(environments)
        .filter_map(|pointer| {
            let name = document.root.at(&pointer)?.text()?.to_owned();
            Some((pointer, name))
        })
        .collect()
}

impl Rules<'_> {
    pub(super) fn flags(&mut self) {
        for flag in self.program.flags.values() {
            self.flag(&flag.name, &flag.spec);
        }
        self.required_in_circles();
        self.invariants();
    }

    fn flag(&mut self, name: &str, spec: &FlagSpec) {
        let document = self.document(Kind::Flag, name);
        let variants: Vec<&str> = spec.variants.keys().map(String::as_str).collect();
        for (pointer, variant) in document.map(defaults_of).unwrap_or_default() {
            self.known(document, &pointer, "variant", &variant, variants.iter().copied());
        }
        if let Some(safe) = &spec.safe_variant {
            self.known(document, "/spec/safeVariant", "variant", safe, variants.iter().copied());
        }
        for (variant, value) in &spec.variants {
            if !spec.r#type.admits(value) {
                let wanted = format!("{:?}", spec.r#type).to_lowercase();
                self.problem(
                    document,
                    &format!("/spec/variants/{}", token(variant)),
                    format!("{value} is no {wanted}, which `type` asks for"),
                );
            }
        }
        if let Some(path) = spec.fallback.as_ref().filter(|path| !path.starts_with('/')) {
            self.problem(document, "/spec/fallback", format!("'{path}' is not a path: it starts with /"));
        }
        for (field, value) in spec.metadata.iter().filter(|(_, value)| value.is_object() || value.is_array()) {
            let message = format!("{value} is no boolean, string or number, which is what SDKs take");
            self.problem(document, &format!("/spec/metadata/{}", token(field)), message);
        }
        if let Some(env) = spec.env.as_ref().filter(|env| !is_variable(env)) {
            self.problem(document, "/spec/env", format!("'{env}' is no name for an environment variable"));
        }
        self.schedule(document, spec);
        self.requires(document, spec);
        if let Some(cohort) = &spec.bucket_seed {
            self.resource(document, "/spec/bucketSeed", Kind::Cohort, cohort);
        }
        for (rule, shared) in &spec.evaluators {
            self.targeting(name, shared, &format!("/spec/$evaluators/{}", token(rule)));
        }
        let program = self.program;
        let shared = program.flags.values().flat_map(|flag| &flag.spec.evaluators);
        // The flag's own rules win over those that other flags of the program share.
        let shared = shared.chain(&spec.evaluators).map(|(name, rule)| (name.as_str(), rule)).collect();
        for (pointer, targeting) in document.map(rules_of).unwrap_or_default() {
            self.targeting(name, &targeting, &pointer);
            for Given { pointer, name, by } in given(&targeting, &pointer, &shared) {
                match by {
                    None => self.known(document, &pointer, "variant", &name, variants.iter().copied()),
                    Some(_) if variants.contains(&&*name) => true,
                    Some(rule) => {
                        let message =
                            format!("the shared rule '{rule}' gives '{name}', which is no variant of this flag");
                        self.unknown(document, &pointer, message, &name, variants.clone())
                    }
                };
            }
        }
    }

    /// The cohorts that rules name.
    fn targeting(&mut self, flag: &str, rule: &Value, pointer: &str) {
        let document = self.document(Kind::Flag, flag);
        match rule {
            Value::Object(fields) => {
                for (operator, operand) in fields {
                    let below = format!("{pointer}/{}", token(operator));
                    if operator == "in_cohort" {
                        let names: Vec<&Value> =
                            operand.as_array().map_or_else(|| vec![operand], |list| list.iter().collect());
                        for (place, name) in names.into_iter().enumerate() {
                            let at = if operand.is_array() { format!("{below}/{place}") } else { below.clone() };
                            // What is no name at all is the compiler's to say.
                            if let Some(name) = name.as_str() {
                                self.resource(document, &at, Kind::Cohort, name);
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
            if self.documents.doubtful(Kind::Flag, &flag.name, "/spec/variants") {
                continue;
            }
            if !flag.spec.variants.values().any(|value| *value == invariant.is) {
                self.problem(
                    document,
                    &format!("{pointer}/is"),
                    format!("flag '{}' has no variant with the value {}", invariant.flag, invariant.is),
                );
                continue;
            }
            let own = self.document(Kind::Flag, &flag.name);
            for (pointer, variant) in own.map(defaults_of).unwrap_or_default() {
                if flag.spec.variants.get(&variant).is_some_and(|value| *value != invariant.is) {
                    let message = format!("the program's invariant says that '{}' is {}", invariant.flag, invariant.is);
                    self.problem(own, &pointer, message);
                }
            }
        }
    }
}
