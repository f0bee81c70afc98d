//! Two documents compared field by field.
//!
//! Must not know: what a field means.

use serde::Serialize;
use serde_json::{Map, Value};

use super::masked;

/// Fields told of one document; of more, their number is.
const MOST: usize = 100;
/// Characters of a value that are shown.
const LONGEST: usize = 160;

/// One field that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FieldChange {
    /// Where: `stages[pilot].window.from`. What has a name is found by it, not by its place.
    pub field: String,
    /// The value at the base; left out where there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// The value now; left out where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// The fields in which two values differ, and how many more there are.
pub(super) fn differences(before: &Value, after: &Value) -> (Vec<FieldChange>, usize) {
    let mut found = Vec::new();
    walk("", Some(before), Some(after), &mut found);
    let more = found.len().saturating_sub(MOST);
    found.truncate(MOST);
    (found, more)
}

fn walk(field: &str, before: Option<&Value>, after: Option<&Value>, found: &mut Vec<FieldChange>) {
    if before == after {
        return;
    }
    match (before, after) {
        (Some(Value::Object(old)), Some(Value::Object(new))) => objects(field, old, new, found),
        (Some(Value::Array(old)), Some(Value::Array(new))) => match (by_name(old), by_name(new)) {
            (Some(old), Some(new)) => {
                objects_in_brackets(field, &old, &new, found);
                order(field, &old, &new, found);
            }
            _ => found.push(leaf(field, before, after)),
        },
        _ => found.push(leaf(field, before, after)),
    }
}

fn objects(field: &str, old: &Map<String, Value>, new: &Map<String, Value>, found: &mut Vec<FieldChange>) {
    let names = new.keys().chain(old.keys().filter(|name| !new.contains_key(*name)));
    for name in names {
        let inner = if field.is_empty() { name.clone() } else { format!("{field}.{name}") };
        walk(&inner, old.get(name), new.get(name), found);
    }
}

fn objects_in_brackets(field: &str, old: &Map<String, Value>, new: &Map<String, Value>, found: &mut Vec<FieldChange>) {
    for name in new.keys().chain(old.keys().filter(|name| !new.contains_key(*name))) {
        walk(&format!("{field}[{name}]"), old.get(name), new.get(name), found);
    }
}

/// A list whose order means something, such as stages, may differ in nothing but that.
fn order(field: &str, old: &Map<String, Value>, new: &Map<String, Value>, found: &mut Vec<FieldChange>) {
    let kept = |names: &Map<String, Value>, other: &Map<String, Value>| -> Vec<String> {
        names.keys().filter(|name| other.contains_key(*name)).cloned().collect()
    };
    let (before, after) = (kept(old, new), kept(new, old));
    if before != after {
        let shown = |names: &[String]| Some(short(&names.join(", ")));
        found.push(FieldChange { field: format!("{field} (order)"), before: shown(&before), after: shown(&after) });
    }
}

/// A list of things that all have a name of their own.
fn by_name(list: &[Value]) -> Option<Map<String, Value>> {
    let mut named = Map::new();
    for item in list {
        let name = item.get("name")?.as_str()?;
        if named.insert(name.to_owned(), item.clone()).is_some() {
            return None;
        }
    }
    Some(named)
}

fn leaf(field: &str, before: Option<&Value>, after: Option<&Value>) -> FieldChange {
    FieldChange { field: masked(field), before: before.map(shown), after: after.map(shown) }
}

/// A value as it is shown: addresses masked, long ones cut.
fn shown(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    short(&masked(&text))
}

/// A text, or its beginning.
pub(super) fn short(text: &str) -> String {
    if text.chars().count() <= LONGEST {
        return text.to_owned();
    }
    text.chars().take(LONGEST - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(before: Value, after: Value) -> Vec<String> {
        let (found, _) = differences(&before, &after);
        let text = |value: Option<String>| value.unwrap_or_else(|| "nothing".to_owned());
        found.into_iter().map(|one| format!("{}: {} → {}", one.field, text(one.before), text(one.after))).collect()
    }

    #[test]
    fn what_has_a_name_is_found_by_it_wherever_it_stands() {
        let before = json!({ "stages": [
            { "name": "pilot", "window": { "from": "+0d" } }, { "name": "us", "cohorts": ["a"] }, { "name": "gone" }
        ] });
        let after = json!({ "stages": [
            { "name": "us", "cohorts": ["a", "b"] }, { "name": "pilot", "window": { "from": "+1d" } }, { "name": "new" }
        ] });
        assert_eq!(
            told(before, after),
            [
                "stages[us].cohorts: [\"a\"] → [\"a\",\"b\"]",
                "stages[pilot].window.from: +0d → +1d",
                "stages[new]: nothing → {\"name\":\"new\"}",
                "stages[gone]: {\"name\":\"gone\"} → nothing",
                "stages (order): pilot, us → us, pilot",
            ]
        );
    }

    #[test]
    fn values_are_cut_and_their_addresses_masked() {
        let (before, after) = (json!({ "from": "Beta <beta@example.com>" }), json!({ "from": "x".repeat(500) }));
        let (found, more) = differences(&before, &after);
        assert_eq!(found[0].before.as_deref(), Some("Beta <b…@example.com>"));
        assert_eq!(found[0].after.as_ref().map(|text| text.chars().count()), Some(LONGEST));
        assert_eq!(more, 0);
        let many: Map<String, Value> = (0..150).map(|place| (format!("f{place}"), json!(place))).collect();
        assert_eq!(differences(&json!({}), &Value::Object(many)).1, 50);
    }
}
