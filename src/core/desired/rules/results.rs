//! The variants that a rule can give, as far as they stand in it: at the ends of `if` and `fractional`.
//!
//! Must not know: which variants a flag has.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::Value;

use super::token;

/// Deeper than the compiler goes; a rule that refers to itself ends here.
const MAX_DEPTH: usize = 50;
/// More ends than this are not looked at: shared rules can multiply them.
const MAX_RESULTS: usize = 10_000;

/// A plain name that a rule gives, with its place, and the shared rule that it stands in, if it does.
#[derive(Debug, PartialEq)]
pub(super) struct Given<'v> {
    /// In the document of the rule.
    pub pointer: String,
    /// What would be the variant's name.
    pub name: Cow<'v, str>,
    /// The shared rule.
    pub by: Option<&'v str>,
}

/// The names that a rule can give. What is computed is nobody's to know before it is evaluated.
pub(super) fn given<'v>(rule: &'v Value, pointer: &str, shared: &BTreeMap<&'v str, &'v Value>) -> Vec<Given<'v>> {
    let mut search = Search { shared, found: Vec::new() };
    search.rule(rule, pointer, None, 0);
    search.found
}

struct Search<'s, 'v> {
    shared: &'s BTreeMap<&'v str, &'v Value>,
    found: Vec<Given<'v>>,
}

impl<'v> Search<'_, 'v> {
    fn rule(&mut self, rule: &'v Value, pointer: &str, by: Option<&'v str>, depth: usize) {
        if depth > MAX_DEPTH || self.found.len() > MAX_RESULTS {
            return;
        }
        // Inside a shared rule every place is that of the reference to it.
        let below = |rest: &str| if by.is_some() { pointer.to_owned() } else { format!("{pointer}/{rest}") };
        let fields = match rule {
            Value::String(name) => {
                return self.found.push(Given { pointer: pointer.to_owned(), name: name.into(), by });
            }
            Value::Bool(_) | Value::Number(_) => {
                return self.found.push(Given { pointer: pointer.to_owned(), name: rule.to_string().into(), by });
            }
            Value::Object(fields) if fields.len() == 1 => fields,
            _ => return,
        };
        let Some((word, operands)) = fields.iter().next() else { return };
        match (word.as_str(), operands) {
            ("if" | "?:", Value::Array(branches)) => {
                for (place, branch) in branches.iter().enumerate() {
                    if place % 2 == 1 || place + 1 == branches.len() {
                        self.rule(branch, &below(&format!("{}/{place}", token(word))), by, depth + 1);
                    }
                }
            }
            ("fractional", Value::Array(shares)) => {
                for (place, share) in shares.iter().enumerate() {
                    if let Some(variant) = share.as_array().and_then(|share| share.first()) {
                        self.rule(variant, &below(&format!("fractional/{place}/0")), by, depth + 1);
                    }
                }
            }
            ("$ref", Value::String(name)) => {
                if let Some((name, rule)) = self.shared.get_key_value(name.as_str()) {
                    self.rule(rule, &below("$ref"), Some(name), depth + 1);
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_stand_at_the_ends_of_branches_and_shares() {
        let (inner, own) =
            (json!({ "fractional": [["c", 1], [{ "?:": [true, "d", true] }, 1]] }), json!({ "$ref": "own" }));
        let shared = BTreeMap::from([("half", &inner), ("own", &own)]);
        let rule = json!({ "if": [
            { "==": [{ "var": "x" }, "not a result"] }, "a",
            { "$ref": "half" }, { "$ref": "half" },
            true, { "fractional": [{ "var": "by" }, ["b", 1], [{ "if": [false, null, "e"] }], ["f"]] },
            true, { "cat": ["no", "thing"] },
            { "$ref": "own" },
        ] });
        let found = given(&rule, "/t", &shared);
        let found: Vec<_> = found.iter().map(|given| (given.pointer.as_str(), &*given.name, given.by)).collect();
        assert_eq!(
            found,
            [
                ("/t/if/1", "a", None),
                ("/t/if/3/$ref", "c", Some("half")),
                ("/t/if/3/$ref", "d", Some("half")),
                ("/t/if/3/$ref", "true", Some("half")),
                ("/t/if/5/fractional/1/0", "b", None),
                ("/t/if/5/fractional/2/0/if/2", "e", None),
                ("/t/if/5/fractional/3/0", "f", None),
            ]
        );
    }
}
