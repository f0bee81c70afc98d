//! The shape check's `anyOf` and `oneOf`: which branch was meant, and what is wrong with it.
//!
//! Must not know: how a branch is checked.

use serde_json::{Map, Value as Json};

use super::error::{Position, Problem};
use super::nearest::one_of;
use super::parse::{Node, Value};
use super::shape::{Unknown, Walk};
use super::shape_scalar::fits_type;
use super::shape_schema::{rule, strings};

impl<'a> Walk<'a> {
    /// Checks a value against the branches of a choice and reports the problems of the branch that was most likely meant.
    /// `around` are the rules the choice stands in; fields that neither they nor any branch names have been reported already.
    pub(super) fn choice(
        &mut self,
        branches: &'a [Json],
        exclusive: bool,
        around: &'a Map<String, Json>,
        node: &Node,
        named: Position,
    ) {
        let branches: Vec<&'a Json> = branches.iter().map(|branch| self.resolved(branch)).collect();
        let own = rule(around, "properties").and_then(Json::as_object);
        let mut fields = Vec::new();
        if matches!(node.value, Value::Map(_)) {
            branches.iter().for_each(|branch| self.named_fields(branch, &mut fields));
            fields.retain(|field| own.is_none_or(|own| !own.contains_key(*field)));
        }
        let unknown = Unknown::Strays(&fields);
        let fitting: Vec<&'a Json> = branches.iter().copied().filter(|branch| fits_type(branch, node)).collect();
        let likely: Vec<&'a Json> = fitting.iter().copied().filter(|branch| likely(branch, node)).collect();
        match (likely.as_slice(), fitting.as_slice()) {
            ([only], _) | ([], [only]) => self.value(only, node, named, unknown),
            ([], []) => {
                let mut wanted: Vec<String> = branches.iter().map(|branch| self.wanted(branch)).collect();
                wanted.retain(|words| words != "nothing");
                wanted.dedup();
                let message = format!("wrong type: {}", node.described());
                self.push(self.problem(node.at, message).expected(wanted.join(" or ")));
            }
            ([], fitting) => self.none_fits(fitting, node, named, unknown),
            (likely, _) => self.best_of(likely, exclusive, node, named, unknown),
        }
    }

    /// Several branches could be meant: one without problems will do, else the one with the fewest is reported.
    fn best_of(&mut self, likely: &[&'a Json], exclusive: bool, node: &Node, named: Position, unknown: Unknown<'_>) {
        if exclusive && self.two_given(likely, node, named) {
            return;
        }
        let before = std::mem::take(&mut self.problems);
        let mut fewest: Option<Vec<Problem>> = None;
        for branch in likely {
            self.value(branch, node, named, unknown);
            let found = std::mem::take(&mut self.problems);
            if fewest.as_ref().is_none_or(|fewest| found.len() < fewest.len()) {
                fewest = Some(found);
            }
        }
        self.problems = before;
        self.problems.extend(fewest.unwrap_or_default());
    }

    /// Whether two branches of an exclusive choice are given, each by a field of its own; says so.
    fn two_given(&mut self, likely: &[&'a Json], node: &Node, named: Position) -> bool {
        let [first, second, ..] = likely else { return false };
        let first: Vec<&str> = strings(first.get("required")).collect();
        let second: Vec<&str> = strings(second.get("required")).collect();
        let Some(other) = second.iter().find(|field| !first.contains(field)) else { return false };
        let at = node.entry(other).map_or(named, |entry| entry.at);
        let given: Vec<&str> = first.iter().chain(&second).copied().collect();
        self.push(self.problem(at, format!("only one of {} may be given", given.join(", "))));
        true
    }

    /// No branch has what it requires: the one with the most of the given fields was meant.
    fn none_fits(&mut self, fitting: &[&'a Json], node: &Node, named: Position, unknown: Unknown<'_>) {
        if !matches!(node.value, Value::Map(_)) {
            let allowed: Vec<&Json> = fitting
                .iter()
                .flat_map(|branch| match (branch.get("enum"), branch.get("const")) {
                    (Some(Json::Array(values)), _) => values.iter().collect(),
                    (_, Some(only)) => vec![only],
                    _ => Vec::new(),
                })
                .collect();
            self.not_one_of(allowed.into_iter(), node);
            return;
        }
        let overlap = |branch: &Json| {
            let fields = branch.get("properties").and_then(Json::as_object);
            node.entries().iter().filter(|entry| fields.is_some_and(|fields| fields.contains_key(&entry.key))).count()
        };
        let meant = fitting.iter().copied().max_by_key(|branch| overlap(branch)).filter(|branch| overlap(branch) > 0);
        if let Some(branch) = meant {
            self.value(branch, node, named, unknown);
        } else if self.problems.is_empty() || !self.reported_inside(node) {
            let needed: Vec<&str> = fitting.iter().flat_map(|branch| strings(branch.get("required"))).collect();
            self.push(self.problem(named, "a field is missing").expected(one_of(needed)));
        }
    }

    /// Whether a field of this mapping is reported as unknown already.
    fn reported_inside(&self, node: &Node) -> bool {
        let places: Vec<Position> = node.entries().iter().map(|entry| entry.at).collect();
        self.problems.iter().any(|problem| places.contains(&Position::new(problem.line, problem.column)))
    }
}

/// Whether a branch has its required fields and discriminating values in this value.
fn likely(branch: &Json, node: &Node) -> bool {
    let fixed = |schema: &Json, node: &Node| match (schema.get("const"), schema.get("enum")) {
        (Some(only), _) => super::shape_scalar::same(only, node),
        (_, Some(Json::Array(values))) => values.iter().any(|value| super::shape_scalar::same(value, node)),
        _ => true,
    };
    if !matches!(node.value, Value::Map(_)) {
        return fixed(branch, node);
    }
    let fields = branch.get("properties").and_then(Json::as_object);
    strings(branch.get("required")).all(|field| node.get(field).is_some())
        && node.entries().iter().all(|entry| {
            fields
                .and_then(|fields| fields.get(&entry.key))
                .filter(|s| s.get("const").is_some())
                .is_none_or(|s| fixed(s, &entry.value))
        })
}
