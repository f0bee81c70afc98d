//! The shape check's rules for single values: types, ranges, lengths, patterns, formats.
//!
//! Must not know: what surrounds the value.

use std::collections::HashMap;
use std::sync::{LazyLock, PoisonError, RwLock};

use regex::Regex;
use serde_json::{Map, Value as Json};

use super::parse::{Node, Value};
use super::shape::{Format, Walk};
use super::shape_schema::{int_or_string, rule};
use crate::resources::Reader;

/// The format of Kubernetes names.
pub(super) const NAME: &str = "kubernetes-name";

impl Walk<'_> {
    pub(super) fn scalar(&mut self, rules: &Map<String, Json>, node: &Node) {
        let format = rule(rules, "format").and_then(Json::as_str);
        match &node.value {
            Value::Text(text) => self.text(rules, format, text, node),
            Value::Number(number) => {
                if int_or_string(rules) {
                    self.format(format, &number.to_string(), node);
                }
                self.range(rules, format, number.as_f64().unwrap_or_default(), node);
            }
            _ => {}
        }
    }

    fn text(&mut self, rules: &Map<String, Json>, format: Option<&str>, text: &str, node: &Node) {
        let length = text.chars().count() as u64;
        let limit = |word: &str| rule(rules, word).and_then(Json::as_u64);
        if let Some(least) = limit("minLength").filter(|least| length < *least) {
            let message =
                if length == 0 { "the text is empty".to_owned() } else { format!("too short: {length} characters") };
            self.push(self.problem(node.at, message).expected(format!("at least {least}")));
        } else if let Some(most) = limit("maxLength").filter(|most| length > *most) {
            self.push(
                self.problem(node.at, format!("too long: {length} characters")).expected(format!("at most {most}")),
            );
        } else if !self.format(format, text, node)
            && let Some(pattern) = rule(rules, "pattern").and_then(Json::as_str)
            && !matches(pattern, text)
        {
            let message = format!("not of the right form: {}", node.described());
            self.push(self.problem(node.at, message).expected(format!("text like {pattern}")));
        }
    }

    /// Reads the text by its format's parser; false if there is none (then the pattern counts).
    fn format(&mut self, format: Option<&str>, text: &str, node: &Node) -> bool {
        let Some(format) = format else { return false };
        let Some(read) = reader(format, self.formats) else { return false };
        if let Err(message) = read(text) {
            self.push(self.problem(node.at, message));
        }
        true
    }

    fn range(&mut self, rules: &Map<String, Json>, format: Option<&str>, value: f64, node: &Node) {
        let given = |word: &str| rule(rules, word).and_then(Json::as_f64);
        let (least, most) = format.map_or((None, None), bounds);
        let said = match (given("minimum").or(least), given("maximum").or(most)) {
            (Some(least), _) if value < least => format!("at least {least}"),
            (_, Some(most)) if value > most => format!("at most {most}"),
            _ => match (given("exclusiveMinimum"), given("exclusiveMaximum")) {
                (Some(least), _) if value <= least => format!("more than {least}"),
                (_, Some(most)) if value >= most => format!("less than {most}"),
                _ => return,
            },
        };
        self.push(self.problem(node.at, format!("out of range: {}", node.described())).expected(said));
    }
}

/// The parser of a format, if it has one.
pub(super) fn reader(format: &str, formats: &[Format]) -> Option<Reader> {
    let given = formats.iter().find(|(name, _)| *name == format).map(|(_, read)| *read);
    given.or(match format {
        NAME => Some(kubernetes_name),
        "date-time" => Some(instant),
        _ => None,
    })
}

/// The range of a fixed-width integer (64-bit ones are bounded by the parser).
fn bounds(format: &str) -> (Option<f64>, Option<f64>) {
    let both = |least: i64, most: i64| (Some(least as f64), Some(most as f64));
    match format {
        "uint8" => both(0, u8::MAX.into()),
        "uint16" => both(0, u16::MAX.into()),
        "uint32" => both(0, u32::MAX.into()),
        "uint64" | "uint" => (Some(0.0), None),
        "int8" => both(i8::MIN.into(), i8::MAX.into()),
        "int16" => both(i16::MIN.into(), i16::MAX.into()),
        "int32" => both(i32::MIN.into(), i32::MAX.into()),
        _ => (None, None),
    }
}

/// Whether the value is of (one of) the schema's types. No type: any value is.
pub(super) fn fits_type(schema: &Json, node: &Node) -> bool {
    if schema.as_object().is_some_and(int_or_string) {
        return fits("integer", node) || fits("string", node);
    }
    match schema.as_object().and_then(|rules| rule(rules, "type")) {
        Some(Json::String(only)) => fits(only, node),
        Some(Json::Array(several)) => several.iter().filter_map(Json::as_str).any(|one| fits(one, node)),
        _ => true,
    }
}

fn fits(name: &str, node: &Node) -> bool {
    match (name, &node.value) {
        ("integer", Value::Number(number)) => number.is_i64() || number.is_u64(),
        ("null", Value::Null)
        | ("boolean", Value::Bool(_))
        | ("number", Value::Number(_))
        | ("string", Value::Text(_))
        | ("array", Value::List(_))
        | ("object", Value::Map(_)) => true,
        _ => false,
    }
}

/// The schema's types, each in words.
pub(super) fn types_in_words(schema: &Json) -> Vec<String> {
    let word = |name: &str| match name {
        "integer" => "a whole number",
        "number" => "a number",
        "string" => "text",
        "boolean" => "true or false",
        "array" => "a list",
        "object" => "a mapping",
        _ => "nothing",
    };
    if schema.as_object().is_some_and(int_or_string) {
        return vec!["a whole number or text".to_owned()];
    }
    match schema.get("type") {
        Some(Json::String(only)) => vec![word(only).to_owned()],
        Some(Json::Array(several)) => several
            .iter()
            .filter_map(Json::as_str)
            .filter(|name| *name != "null")
            .map(|name| word(name).to_owned())
            .collect(),
        _ => schema.get("const").map(plain).into_iter().collect(),
    }
}

/// Whether a value of the schema and one of the document are the same.
pub(super) fn same(value: &Json, node: &Node) -> bool {
    match (value, &node.value) {
        (Json::String(a), Value::Text(b)) => a == b,
        (Json::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Json::Bool(a), Value::Bool(b)) => a == b,
        (Json::Array(_) | Json::Object(_), Value::List(_) | Value::Map(_)) => *value == node.to_json(),
        _ => false,
    }
}

/// A value of the schema as one would write it.
pub(super) fn plain(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Whether the text matches; a pattern that does not compile forbids nothing (the API server still has it).
fn matches(pattern: &str, text: &str) -> bool {
    static COMPILED: LazyLock<RwLock<HashMap<String, Option<Regex>>>> = LazyLock::new(RwLock::default);
    let fits = |regex: &Option<Regex>| regex.as_ref().is_none_or(|regex| regex.is_match(text));
    if let Some(regex) = COMPILED.read().unwrap_or_else(PoisonError::into_inner).get(pattern) {
        return fits(regex);
    }
    let mut compiled = COMPILED.write().unwrap_or_else(PoisonError::into_inner);
    fits(compiled.entry(pattern.to_owned()).or_insert_with(|| Regex::new(pattern).ok()))
}

fn instant(text: &str) -> Result<(), String> {
    let read = text.parse::<jiff::Timestamp>();
    read.map(drop).map_err(|_| format!("'{text}' is not an instant, such as 2026-03-10T09:00:00Z"))
}

/// A DNS subdomain (RFC 1123), as Kubernetes wants names.
fn kubernetes_name(text: &str) -> Result<(), String> {
    let ends = |part: &str| {
        let plain = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        plain(part.chars().next()) && plain(part.chars().next_back())
    };
    let inside = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if text.len() <= 253 && text.split('.').all(|part| ends(part) && part.chars().all(inside)) {
        return Ok(());
    }
    Err(format!(
        "'{text}' is not a Kubernetes name: lower-case letters, digits, `-` and `.`, with a letter or digit at both ends, \
         at most 253 characters"
    ))
}
