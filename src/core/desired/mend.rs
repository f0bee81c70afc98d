//! Puts something sound where a document is wrong, so that what else is wrong in it, or refers to it, is found in the same run.
//! Nothing that was mended is ever applied: the problems that made it necessary refuse the revision.
//!
//! Must not know: the rules between documents.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value as Json, json};

use super::error::{Position, Problem};
use super::parse::{Document, Entry, Node, Value, dotted};
use super::parse_node::{push_index, push_key, tokens};
use super::shape::{self, Format};
use super::shape_scalar;
use super::shape_schema::{branches, int_or_string, rule, strings};
use crate::resources::{Moment, Scalar};

/// How often a document is mended and looked at again: what stood in a mistyped field is looked at in the round after it was renamed.
const ROUNDS: usize = 4;

/// A place of a document where nobody knows what was meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// As a JSON pointer.
    pointer: String,
    /// Something is wrong *in* this place: what is not there may be what was meant.
    strange: bool,
}

/// What the shape check found, as far as mending needs it. By dotted paths.
#[derive(Default)]
pub(super) struct Faults<'s> {
    /// Fields that are none, with the one that was probably meant.
    pub unknown: HashMap<String, Option<String>>,
    /// Fields that are missing, by the place they are missing in.
    pub missing: HashMap<String, Vec<(String, &'s Json)>>,
    /// Values that do not fit.
    pub bad: HashMap<String, &'s Json>,
}

impl Document {
    /// Whether nobody knows what was meant at a place, given as a JSON pointer in which `*` stands for any name or number.
    pub(super) fn doubtful(&self, pattern: &str) -> bool {
        let wanted: Vec<String> = tokens(pattern).collect();
        let leads_to = |damage: &Damage| {
            let place: Vec<String> = tokens(&damage.pointer).collect();
            if place.len() > wanted.len() || !place.iter().zip(&wanted).all(|(a, b)| b == "*" || a == b) {
                return false;
            }
            // A strange field casts its doubt on what is not there, not on what is.
            !damage.strange
                || wanted.get(place.len()).is_some_and(|next| {
                    next == "*" || self.root.at(&damage.pointer).is_some_and(|node| node.get(next).is_none())
                })
        };
        self.damage.iter().any(leads_to)
    }

    /// Whether a problem that a rule found only follows from what is known to be wrong.
    pub(super) fn explains(&self, problem: &Problem) -> bool {
        self.damage.iter().any(|damage| {
            let place = dotted(&damage.pointer);
            let below = problem.field.strip_prefix(&place);
            below.is_some_and(|rest| rest.is_empty() || (!damage.strange && rest.starts_with(['.', '['])))
        })
    }
}

/// Checks a document's shape; where it is wrong, something sound is put there. Answers all that is wrong with the shape.
/// `reads` says whether a `spec` can be read into its type.
pub(super) fn checked(
    document: &mut Document,
    schema: &Json,
    formats: &[Format],
    reads: &dyn Fn(&Node) -> bool,
) -> Vec<Problem> {
    let file = document.file.clone();
    let (mut found, mut faults) = shape::inspect(&file, &document.root, schema, formats);
    if found.is_empty() {
        return found;
    }
    let mut shown: Vec<Problem> = found.clone();
    let mut renamed = HashSet::new();
    for round in 0..ROUNDS {
        let real: HashSet<&str> = found.iter().map(|problem| problem.field.as_str()).collect();
        faults.bad.retain(|path, _| real.contains(path.as_str()));
        // A mapping that breaks a rule may still be readable; the last rounds put another in its place.
        let last = round + 2 >= ROUNDS && document.root.get("spec").is_none_or(|spec| !reads(spec));
        let mut mender = Mender::new(schema, formats, &faults, last);
        mender.node(&mut document.root);
        let (damage, again) = (mender.damage, mender.renamed);
        document.damage.extend(damage);
        shown.retain(|problem| !again.contains(&problem.field) || !problem.message.ends_with("is missing"));
        renamed.extend(again);
        (found, faults) = shape::inspect(&file, &document.root, schema, formats);
        let below = |problem: &&Problem| {
            renamed.iter().any(|path: &String| {
                problem
                    .field
                    .strip_prefix(path.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
            })
        };
        shown.extend(found.iter().filter(below).cloned());
        if found.is_empty() {
            break;
        }
    }
    shown
}

struct Mender<'m, 's> {
    top: &'s Json,
    formats: &'m [Format],
    faults: &'m Faults<'s>,
    last: bool,
    path: String,
    pointer: String,
    damage: Vec<Damage>,
    renamed: HashSet<String>,
}

impl<'m, 's> Mender<'m, 's> {
    fn new(top: &'s Json, formats: &'m [Format], faults: &'m Faults<'s>, last: bool) -> Self {
        let (path, pointer) = (String::new(), String::new());
        Self { top, formats, faults, last, path, pointer, damage: Vec::new(), renamed: HashSet::new() }
    }

    fn node(&mut self, node: &mut Node) {
        let (path, pointer) = (self.path.len(), self.pointer.len());
        match &mut node.value {
            Value::Map(entries) => {
                let before = std::mem::take(entries);
                let given: HashSet<String> = before.iter().map(|entry| entry.key.clone()).collect();
                for mut entry in before {
                    push_key(&mut self.path, &entry.key);
                    let unknown = self.faults.unknown.get(&self.path);
                    self.path.truncate(path);
                    match unknown {
                        Some(Some(near)) if !given.contains(near) => {
                            entry.key.clone_from(near);
                            push_key(&mut self.path, near);
                            self.renamed.insert(self.path.clone());
                            self.path.truncate(path);
                            entries.push(entry);
                            continue;
                        }
                        Some(_) => {
                            self.damage.push(Damage { pointer: self.pointer.clone(), strange: true });
                            continue;
                        }
                        None => {}
                    }
                    push_key(&mut self.path, &entry.key);
                    self.pointer += &format!("/{}", entry.key.replace('~', "~0").replace('/', "~1"));
                    if self.value(&mut entry.value) {
                        entries.push(entry);
                    }
                    self.path.truncate(path);
                    self.pointer.truncate(pointer);
                }
                for (name, schema) in self.faults.missing.get(&self.path).into_iter().flatten() {
                    if entries.iter().any(|entry| entry.key == *name) {
                        continue;
                    }
                    let value = self.sample(schema, node.at);
                    self.damage.push(Damage { pointer: format!("{}/{name}", self.pointer), strange: false });
                    entries.push(Entry { key: name.clone(), at: node.at, offset: None, value });
                }
            }
            Value::List(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    push_index(&mut self.path, index);
                    self.pointer += &format!("/{index}");
                    self.value(item);
                    self.path.truncate(path);
                    self.pointer.truncate(pointer);
                }
            }
            _ => {}
        }
    }

    /// Mends a value and what is in it; false if it is better left out.
    fn value(&mut self, node: &mut Node) -> bool {
        let Some(schema) = self.faults.bad.get(&self.path).copied() else {
            self.node(node);
            return true;
        };
        let bears_more = matches!(node.value, Value::Map(_) | Value::List(_)) && shape_scalar::fits_type(schema, node);
        if bears_more && !self.last {
            self.damage.push(Damage { pointer: self.pointer.clone(), strange: true });
            self.node(node);
            return true;
        }
        self.damage.push(Damage { pointer: self.pointer.clone(), strange: false });
        // Any other moment would be compared with those beside it.
        if rule_text(schema, "format") == Some(Moment::FORMAT) && !self.last {
            let around = self.pointer.rsplit_once('/').map_or("", |(around, _)| around);
            self.damage.push(Damage { pointer: around.to_owned(), strange: true });
            return false;
        }
        *node = self.sample(schema, node.at);
        true
    }

    fn sample(&self, schema: &'s Json, at: Position) -> Node {
        Node::from_json(&Sample { top: self.top, formats: self.formats }.of(schema, 0), at)
    }
}

fn rule_text<'s>(schema: &'s Json, word: &str) -> Option<&'s str> {
    schema.get(word).and_then(Json::as_str)
}

/// Values that fit a schema.
struct Sample<'m, 's> {
    top: &'s Json,
    formats: &'m [Format],
}

impl Sample<'_, '_> {
    fn of(&self, schema: &Json, depth: usize) -> Json {
        let schema = match rule_text(schema, "$ref").and_then(|target| self.top.pointer(target.strip_prefix('#')?)) {
            Some(target) => target,
            None => schema,
        };
        let Some(rules) = schema.as_object().filter(|_| depth < 8) else { return Json::Null };
        if let Some(first) = rule(rules, "enum").and_then(Json::as_array).into_iter().flatten().find(|it| !it.is_null())
        {
            return first.clone();
        }
        if let Some(only) = rule(rules, "const") {
            return only.clone();
        }
        let kind = match rule(rules, "type") {
            Some(Json::Array(several)) => several.iter().filter_map(Json::as_str).find(|one| *one != "null"),
            other => other.and_then(Json::as_str),
        };
        let number = |word: &str| rule(rules, word).and_then(Json::as_i64);
        match kind {
            _ if int_or_string(rules) => json!(1),
            Some("object") => self.mapping(rules, depth),
            Some("array") => {
                let least = number("minItems").unwrap_or_default().clamp(0, 8);
                (0..least).map(|_| rule(rules, "items").map_or(Json::Null, |items| self.of(items, depth + 1))).collect()
            }
            Some("string") => self.text(rules).into(),
            Some("integer" | "number") => {
                json!(number("minimum").or(number("exclusiveMinimum").map(|least| least + 1)).unwrap_or(1).max(1))
            }
            Some("boolean") => false.into(),
            _ => match ["anyOf", "oneOf", "allOf"].iter().find_map(|word| branches(rules, word).first()) {
                Some(branch) => self.of(branch, depth + 1),
                None => "x".into(),
            },
        }
    }

    fn mapping(&self, rules: &Map<String, Json>, depth: usize) -> Json {
        let mut fields = Map::new();
        for word in ["allOf", "anyOf", "oneOf"] {
            if let Some(Json::Object(more)) = branches(rules, word).first().map(|branch| self.of(branch, depth + 1)) {
                fields.extend(more);
            }
        }
        let own = rule(rules, "properties").and_then(Json::as_object);
        for name in strings(rule(rules, "required")) {
            let schema = own.and_then(|own| own.get(name)).unwrap_or(&Json::Null);
            fields.insert(name.to_owned(), self.of(schema, depth + 1));
        }
        Json::Object(fields)
    }

    fn text(&self, rules: &Map<String, Json>) -> String {
        const TEXTS: [&str; 9] = [
            "x",
            "1h",
            "1970-01-01",
            "1970-01-01T00:00:00Z",
            ">= 0",
            "1/s",
            "0 0 * * *",
            "UTC",
            "2026-01-01T00:00:00Z",
        ];
        let format = rule(rules, "format").and_then(Json::as_str);
        let read = format.and_then(|format| shape_scalar::reader(format, self.formats));
        match read {
            Some(read) => TEXTS.iter().find(|text| read(text).is_ok()).unwrap_or(&"x").to_string(),
            None => "x".repeat(rule(rules, "minLength").and_then(Json::as_u64).unwrap_or(1).clamp(1, 64) as usize),
        }
    }
}
