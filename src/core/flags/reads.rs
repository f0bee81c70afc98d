//! Which fields of a context a rule may look at, so that the others need not even be read from a request.
//!
//! Must not know: contexts, how a rule is evaluated.

use std::collections::BTreeSet;

use serde_json::Value;

use super::rule::{Operator, Rule};

/// Fields of a context, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reads {
    /// Only these, and the targeting key.
    Fields(BTreeSet<String>),
    /// Any: a rule takes the whole context, or computes a path.
    Everything,
}

impl Default for Reads {
    fn default() -> Self {
        Self::Fields(BTreeSet::new())
    }
}

impl Reads {
    /// What the rules look at.
    pub fn of<'a>(rules: impl IntoIterator<Item = &'a Rule>) -> Self {
        let mut reads = Self::default();
        for rule in rules {
            reads.add(rule);
        }
        reads
    }

    /// Whether a field counts.
    pub fn has(&self, field: &str) -> bool {
        match self {
            Self::Fields(fields) => field == "targetingKey" || fields.contains(field),
            Self::Everything => true,
        }
    }

    /// What either looks at.
    pub fn join(&mut self, other: &Self) {
        match (&mut *self, other) {
            (Self::Fields(fields), Self::Fields(others)) => fields.extend(others.iter().cloned()),
            (_, Self::Everything) => *self = Self::Everything,
            (Self::Everything, _) => {}
        }
    }

    fn add(&mut self, rule: &Rule) {
        match rule {
            Rule::Literal(_) | Rule::InCohort(_) => {}
            Rule::Var(path, fallback) | Rule::WalkVar(path, fallback) => {
                self.add_path(path);
                fallback.iter().for_each(|rule| self.add(rule));
            }
            Rule::Apply(Operator::Missing | Operator::MissingSome, operands)
            | Rule::Walk(Operator::Missing | Operator::MissingSome, operands) => {
                operands.iter().for_each(|names| self.add_path(names));
            }
            Rule::List(rules)
            | Rule::Apply(_, rules)
            | Rule::Walk(_, rules)
            | Rule::Fractional(rules)
            | Rule::Unknown(_, rules) => rules.iter().for_each(|rule| self.add(rule)),
        }
    }

    /// A path, or a list of them. What is no plain name may mean anything.
    fn add_path(&mut self, path: &Rule) {
        match path {
            Rule::Literal(Value::Array(paths)) => paths.iter().for_each(|path| self.add_name(path)),
            Rule::Literal(path) => self.add_name(path),
            _ => *self = Self::Everything,
        }
    }

    fn add_name(&mut self, path: &Value) {
        match (path, &mut *self) {
            (Value::String(path), Self::Fields(fields)) if !path.is_empty() => {
                let field = path.split('.').next().unwrap_or(path);
                if !fields.contains(field) {
                    fields.insert(field.to_owned());
                }
            }
            (Value::Number(_) | Value::Bool(_), Self::Fields(fields)) => drop(fields.insert(path.to_string())),
            (_, Self::Everything) => {}
            _ => *self = Self::Everything,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::super::bucket::Generation;
    use super::super::rule::Compiler;
    use super::*;

    fn reads(rule: &Value) -> Reads {
        let (evaluators, mut problems) = (BTreeMap::new(), Vec::new());
        let rule = Compiler::new("f", "", &evaluators, &mut problems, Generation::Cbor).rule(rule, "", 0);
        Reads::of([&rule])
    }

    fn fields(names: &[&str]) -> Reads {
        Reads::Fields(names.iter().map(|name| (*name).to_owned()).collect())
    }

    #[test]
    fn a_rule_reads_the_first_parts_of_its_paths() {
        let rule = json!({ "if": [{ "==": [{ "var": "user.plan" }, "pro"] }, { "var": ["email", { "var": "name" }] }, { "fractional": [["on", 1]] }] });
        assert_eq!(reads(&rule), fields(&["email", "name", "user"]));
        assert_eq!(reads(&json!({ "missing": ["a.b", 1] })), fields(&["1", "a"]));
        assert_eq!(reads(&json!({ "missing_some": [1, ["a", "b"]] })), fields(&["1", "a", "b"]));
        assert_eq!(reads(&json!({ "fractional": [["on", 1], ["off", 1]] })), fields(&[]));
        assert!(reads(&json!(true)).has("targetingKey"));
    }

    #[test]
    fn a_computed_path_or_the_whole_context_may_read_anything() {
        for rule in [
            json!({ "var": "" }),
            json!({ "var": [] }),
            json!({ "var": { "var": "a" } }),
            json!({ "map": [[1], { "var": "" }] }),
            json!({ "missing": { "var": "names" } }),
            json!({ "missing": [null] }),
        ] {
            assert_eq!(reads(&rule), Reads::Everything, "{rule}");
        }
    }
}
