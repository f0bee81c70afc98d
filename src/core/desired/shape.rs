//! The shape check: a document against its kind's JSON schema, giving every problem at once with its place.
//!
//! Understands what schemars and kube's structural schemas write. Where the API server would silently drop an unknown
//! field, this refuses it. Small languages inside strings (durations, thresholds, …) are read in the same pass, by the
//! parsers the caller gives for their `format`.
//!
//! Must not know: which kinds there are, or what their fields mean.

use serde_json::{Map, Value as Json};

use super::error::{Position, Problem};
use super::mend::Faults;
use super::nearest::{nearest, one_of};
use super::parse::{Document, Node, Value};
use super::parse_node::{push_index, push_key};
use super::shape_scalar;
use super::shape_schema::{branches, int_or_string, keeps_unknown, metadata_schema, rule, strings, text_schema};

/// The parser of one `format`: says what is wrong with the text.
pub type Format = (&'static str, fn(&str) -> Result<(), String>);

/// Checks the whole document: its envelope (`apiVersion`, `kind`, `metadata`) and its `spec` against `spec_schema`.
/// Gives every problem, in the order of the schema's walk.
pub fn check(document: &Document, spec_schema: &Json, formats: &[Format]) -> Vec<Problem> {
    inspect(&document.file, &document.root, spec_schema, formats).0
}

/// The same, with what mending needs to know.
pub(super) fn inspect<'s>(
    file: &'s str,
    root: &Node,
    spec_schema: &'s Json,
    formats: &'s [Format],
) -> (Vec<Problem>, Faults<'s>) {
    let mut walk = Walk::new(file, spec_schema, formats, String::new());
    walk.document(root);
    (walk.problems, walk.faults)
}

/// Checks one value against a schema of its own; `field` is the dotted path that problems start with.
pub fn check_value(file: &str, field: &str, node: &Node, schema: &Json, formats: &[Format]) -> Vec<Problem> {
    let mut walk = Walk::new(file, schema, formats, field.to_owned());
    walk.value(schema, node, node.at, Unknown::Refused);
    walk.problems
}

/// What to do with fields that the schema at hand does not name.
#[derive(Clone, Copy)]
pub(super) enum Unknown<'u> {
    /// They are problems.
    Refused,
    /// The schema around this one has looked at them already.
    Passed,
    /// Only these are problems: fields of another branch of the same choice. All others have been looked at already.
    Strays(&'u [&'u str]),
}

impl Unknown<'_> {
    fn refuses(self, field: &str) -> bool {
        match self {
            Self::Refused => true,
            Self::Passed => false,
            Self::Strays(fields) => fields.contains(&field),
        }
    }
}

/// The walk over a document, with the place it is at and what it found.
pub(super) struct Walk<'a> {
    file: &'a str,
    /// Where `$ref`s start from.
    top: &'a Json,
    pub(super) formats: &'a [Format],
    path: String,
    pub(super) problems: Vec<Problem>,
    faults: Faults<'a>,
}

impl<'a> Walk<'a> {
    fn new(file: &'a str, top: &'a Json, formats: &'a [Format], path: String) -> Self {
        Self { file, top, formats, path, problems: Vec::new(), faults: Faults::default() }
    }

    fn document(&mut self, root: &Node) {
        const FIELDS: [&str; 5] = ["apiVersion", "kind", "metadata", "spec", "status"];
        for entry in root.entries() {
            let schema = match entry.key.as_str() {
                "apiVersion" | "kind" => text_schema(),
                "metadata" => metadata_schema(),
                "spec" => self.top,
                "status" => continue,
                unknown => {
                    self.unknown(unknown, entry.at, FIELDS.into_iter());
                    continue;
                }
            };
            self.path.push_str(&entry.key);
            self.value(schema, &entry.value, entry.at, Unknown::Refused);
            self.path.clear();
        }
        let needs_spec = self.top.get("required").and_then(Json::as_array).is_some_and(|names| !names.is_empty());
        for (field, needed) in [("metadata", true), ("spec", needs_spec)] {
            if needed && root.get(field).is_none() {
                self.missing(field, &Json::Null, root.at);
            }
        }
    }

    /// Checks a value; `named` is where it is named (its key or list item), for what is missing inside.
    pub(super) fn value(&mut self, schema: &'a Json, node: &Node, named: Position, unknown: Unknown<'_>) {
        let before = self.problems.len();
        self.look(schema, node, named, unknown);
        if self.problems.iter().skip(before).any(|problem| problem.field == self.path) {
            self.faults.bad.insert(self.path.clone(), schema);
        }
    }

    fn look(&mut self, schema: &'a Json, node: &Node, named: Position, unknown: Unknown<'_>) {
        let schema = self.resolved(schema);
        let Some(rules) = schema.as_object() else { return };
        if node.value == Value::Null {
            if !accepts_null(self, schema) {
                self.push(Problem::new(self.file, named, "", "nothing stands here").expected(self.wanted(schema)));
            }
            return;
        }
        if !shape_scalar::fits_type(schema, node) {
            let message = format!("wrong type: {}", node.described());
            self.push(Problem::new(self.file, node.at, "", message).expected(self.wanted(schema)));
            return;
        }
        if !self.enumerated(rules, node) {
            return;
        }
        match &node.value {
            Value::Map(_) => self.map(rules, node, named, unknown),
            Value::List(items) => self.list(rules, items, named),
            _ => self.scalar(rules, node),
        }
        for branch in branches(rules, "allOf") {
            self.value(branch, node, named, Unknown::Passed);
        }
        for (word, exclusive) in [("anyOf", false), ("oneOf", true)] {
            if rule(rules, word).is_some() {
                self.choice(branches(rules, word), exclusive, rules, node, named);
            }
        }
    }

    fn list(&mut self, rules: &'a Map<String, Json>, items: &[Node], named: Position) {
        let limit = |word: &str| rule(rules, word).and_then(Json::as_u64);
        let length = items.len() as u64;
        if let Some(least) = limit("minItems").filter(|least| length < *least) {
            let message = if length == 0 { "the list is empty".to_owned() } else { format!("only {length} items") };
            self.push(Problem::new(self.file, named, "", message).expected(format!("at least {least}")));
        }
        if let Some(most) = limit("maxItems").filter(|most| length > *most) {
            self.push(
                Problem::new(self.file, named, "", format!("{length} items")).expected(format!("at most {most}")),
            );
        }
        let Some(schema) = rule(rules, "items") else { return };
        for (index, item) in items.iter().enumerate() {
            let length = self.path.len();
            push_index(&mut self.path, index);
            self.value(schema, item, item.at, Unknown::Refused);
            self.path.truncate(length);
        }
    }

    fn map(&mut self, rules: &'a Map<String, Json>, node: &Node, named: Position, unknown: Unknown<'_>) {
        let own = rule(rules, "properties").and_then(Json::as_object);
        let mut elsewhere = Vec::new();
        for branch in ["allOf", "anyOf", "oneOf"].into_iter().flat_map(|word| branches(rules, word)) {
            self.named_fields(branch, &mut elsewhere);
        }
        let more = rule(rules, "additionalProperties");
        let open = matches!(more, Some(Json::Bool(true))) || keeps_unknown(rules);
        let closed = own.is_some() || !elsewhere.is_empty() || matches!(more, Some(Json::Bool(false)));
        let mut unknown_seen = false;
        for entry in node.entries() {
            let known = own.and_then(|own| own.get(&entry.key));
            if let Some(schema) = known.or_else(|| more.filter(|more| more.is_object())) {
                let length = self.path.len();
                push_key(&mut self.path, &entry.key);
                self.value(schema, &entry.value, entry.at, Unknown::Refused);
                self.path.truncate(length);
            } else if closed && !open && unknown.refuses(&entry.key) && !elsewhere.contains(&entry.key.as_str()) {
                let own_names = own.into_iter().flat_map(Map::keys).map(String::as_str);
                self.unknown(&entry.key, entry.at, own_names.chain(elsewhere.iter().copied()));
                unknown_seen = true;
            }
        }
        let (count, most) = (node.entries().len() as u64, rule(rules, "maxProperties").and_then(Json::as_u64));
        if let Some(most) = most.filter(|most| count > *most) {
            self.push(
                Problem::new(self.file, named, "", format!("{count} fields")).expected(format!("at most {most}")),
            );
        }
        for field in strings(rule(rules, "required")) {
            if node.get(field).is_none() {
                self.missing(field, own.and_then(|own| own.get(field)).unwrap_or(&Json::Null), named);
            }
        }
        if !unknown_seen {
            self.exactly_one(rules, node, named);
        }
    }

    /// Reads the rule `exactly one of a, b, c` from the message of a CEL validation, so that it is found with its place.
    fn exactly_one(&mut self, rules: &Map<String, Json>, node: &Node, named: Position) {
        let Some(validations) = rule(rules, "x-kubernetes-validations").and_then(Json::as_array) else { return };
        for validation in validations {
            let message = validation.get("message").and_then(Json::as_str).unwrap_or_default();
            let Some((_, names)) = message.split_once("exactly one of ") else { continue };
            let names: Vec<&str> =
                names.split([',', ' ']).filter(|n| !n.is_empty() && *n != "or" && *n != "and").collect();
            let given: Vec<_> = node
                .entries()
                .iter()
                .filter(|entry| names.contains(&entry.key.as_str()) && entry.value.value != Value::Null)
                .collect();
            match given.as_slice() {
                [_] => {}
                [] => self.push(Problem::new(self.file, named, "", message)),
                [_, second, ..] => {
                    let given: Vec<&str> = given.iter().map(|entry| entry.key.as_str()).collect();
                    let message = format!("{message}, here are {}", given.join(" and "));
                    self.push(Problem::new(self.file, second.at, "", message));
                }
            }
        }
    }

    /// Whether the value is in the schema's `enum` or `const`, if it has one; says so if not.
    fn enumerated(&mut self, rules: &Map<String, Json>, node: &Node) -> bool {
        let allowed: &[Json] = match (rule(rules, "enum"), rule(rules, "const")) {
            (Some(Json::Array(allowed)), _) => allowed,
            (_, Some(only)) => std::slice::from_ref(only),
            _ => return true,
        };
        if allowed.iter().any(|value| shape_scalar::same(value, node)) {
            return true;
        }
        self.not_one_of(allowed.iter(), node);
        false
    }

    pub(super) fn not_one_of<'v>(&mut self, allowed: impl Iterator<Item = &'v Json>, node: &Node) {
        let names: Vec<String> = allowed.filter(|v| !v.is_null()).map(shape_scalar::plain).collect();
        let near = node.text().and_then(|text| nearest(text, names.iter().map(String::as_str)));
        let message = format!("not allowed here: {}", node.described());
        let expected = one_of(names.iter().map(String::as_str));
        self.push(Problem::new(self.file, node.at, "", message).expected(expected).nearest(near));
    }

    fn unknown<'n>(&mut self, name: &str, at: Position, valid: impl Iterator<Item = &'n str>) {
        let valid: Vec<&str> = valid.collect();
        let length = self.path.len();
        push_key(&mut self.path, name);
        let near = nearest(name, valid.iter().copied());
        let problem = Problem::new(self.file, at, "", format!("unknown field `{name}`"));
        self.push(problem.expected(one_of(valid)).nearest(near));
        self.faults.unknown.insert(self.path.clone(), near.map(str::to_owned));
        self.path.truncate(length);
    }

    fn missing(&mut self, name: &str, schema: &'a Json, named: Position) {
        self.faults.missing.entry(self.path.clone()).or_default().push((name.to_owned(), schema));
        let length = self.path.len();
        push_key(&mut self.path, name);
        let mut problem = Problem::new(self.file, named, "", format!("the field `{name}` is missing"));
        if schema.is_object() {
            problem = problem.expected(self.wanted(schema));
        }
        self.push(problem);
        self.path.truncate(length);
    }

    /// Adds a problem, at the path the walk is at.
    pub(super) fn push(&mut self, mut problem: Problem) {
        problem.field.clone_from(&self.path);
        self.problems.push(problem);
    }

    /// A problem at a place of this file.
    pub(super) fn problem(&self, at: Position, message: impl Into<String>) -> Problem {
        Problem::new(self.file, at, "", message)
    }

    /// Follows `$ref` within the schema.
    pub(super) fn resolved(&self, mut schema: &'a Json) -> &'a Json {
        for _ in 0..16 {
            let Some(target) = schema.get("$ref").and_then(Json::as_str).and_then(|target| target.strip_prefix('#'))
            else {
                break;
            };
            let Some(found) = self.top.pointer(target) else { break };
            schema = found;
        }
        schema
    }

    /// Adds the names of the fields that a branch names, those of its own branches included.
    pub(super) fn named_fields(&self, branch: &'a Json, names: &mut Vec<&'a str>) {
        let Some(rules) = self.resolved(branch).as_object() else { return };
        names.extend(
            rule(rules, "properties").and_then(Json::as_object).into_iter().flat_map(Map::keys).map(String::as_str),
        );
        for branch in ["allOf", "anyOf", "oneOf"].into_iter().flat_map(|word| branches(rules, word)) {
            self.named_fields(branch, names);
        }
    }

    /// What a schema wants, in words.
    pub(super) fn wanted(&self, schema: &'a Json) -> String {
        let schema = self.resolved(schema);
        if let Some(allowed) = schema.get("enum").and_then(Json::as_array) {
            let names: Vec<String> = allowed.iter().filter(|value| !value.is_null()).map(shape_scalar::plain).collect();
            return one_of(names.iter().map(String::as_str));
        }
        let mut words = shape_scalar::types_in_words(schema);
        if words.is_empty() {
            let rules = schema.as_object();
            for branch in
                ["anyOf", "oneOf"].into_iter().flat_map(|word| rules.map(|r| branches(r, word)).unwrap_or_default())
            {
                let wanted = self.wanted(branch);
                if wanted != "nothing" && !words.contains(&wanted) {
                    words.push(wanted);
                }
            }
        }
        if words.is_empty() { "a value".to_owned() } else { words.join(" or ") }
    }
}

/// Whether a schema lets nothing stand in its place.
fn accepts_null<'a>(walk: &Walk<'a>, schema: &'a Json) -> bool {
    let schema = walk.resolved(schema);
    let Some(rules) = schema.as_object() else { return true };
    let typed = match rule(rules, "type") {
        Some(Json::String(only)) => only == "null",
        Some(Json::Array(several)) => several.iter().any(|one| one == "null"),
        _ => {
            let choices: Vec<&Json> = ["anyOf", "oneOf"].into_iter().flat_map(|word| branches(rules, word)).collect();
            let free = rule(rules, "enum").is_none() && rule(rules, "const").is_none() && !int_or_string(rules);
            free && (choices.is_empty() || choices.into_iter().any(|branch| accepts_null(walk, branch)))
        }
    };
    typed
        || rule(rules, "nullable") == Some(&Json::Bool(true))
        || rule(rules, "enum").and_then(Json::as_array).is_some_and(|values| values.iter().any(Json::is_null))
}

#[cfg(test)]
#[path = "shape_tests.rs"]
mod tests;
