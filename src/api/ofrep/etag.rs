//! ETags that cost no evaluation: from what an answer follows from, instead of from the answer.
//!
//! Must not know: HTTP requests, how a flag is evaluated.

use betagate_core::flags::{Asker, Context};
use data_encoding::HEXLOWER;
use serde_json::Value;
use xxhash_rust::xxh3::xxh3_128;

use crate::api::flags_cache::Served;

/// The configuration's own tag: it names a revision, so that a client can ask for one at least as new.
pub(super) fn of_configuration(served: &Served) -> String {
    format!("\"{}\"", served.name)
}

/// The revision in a configuration's tag; none when it is not one of ours.
pub(super) fn revision(tag: &str) -> Option<i64> {
    tag.trim().trim_start_matches("W/").trim_matches('"').split_once('-')?.0.parse().ok()
}

/// The tag of one person's bulk answer: configuration (with what the environment overrides), the person's cohorts, the context in any
/// order of its fields, how many scheduled changes are past, and what else the answer says (`more`).
pub(super) fn of_person(served: &Served, context: &Context, asker: Asker<'_>, era: u32, more: u64) -> String {
    let cohorts =
        asker.cohorts().iter().fold(1, |sum: u128, name| sum.wrapping_mul(31).wrapping_add(xxh3_128(name.as_bytes())));
    let context = value(context.fields());
    let parts = [cohorts, context, served.environment, u128::from(era), u128::from(more)];
    let mut bytes = [0; 5 * 16];
    for (bytes, part) in bytes.chunks_exact_mut(16).zip(parts) {
        bytes.copy_from_slice(&part.to_le_bytes());
    }
    let mut tag = String::with_capacity(served.name.len() + 35);
    tag.extend(["\"", &served.name, "-"]);
    HEXLOWER.encode_append(&xxh3_128(&bytes).to_be_bytes(), &mut tag);
    tag.push('"');
    tag
}

/// A hash in which the order of an object's fields does not count: a sum over its fields.
fn value(value: &Value) -> u128 {
    match value {
        Value::Object(fields) => fields.iter().fold(2, |sum: u128, (name, field)| {
            let mut pair = [0; 32];
            pair[..16].copy_from_slice(&xxh3_128(name.as_bytes()).to_le_bytes());
            pair[16..].copy_from_slice(&self::value(field).to_le_bytes());
            sum.wrapping_add(xxh3_128(&pair))
        }),
        Value::Array(items) => {
            let hashes: Vec<u8> = items.iter().flat_map(|item| self::value(item).to_le_bytes()).collect();
            xxh3_128(&hashes).wrapping_add(3)
        }
        Value::String(text) => xxh3_128(text.as_bytes()).wrapping_add(4),
        Value::Number(number) => xxh3_128(number.to_string().as_bytes()).wrapping_add(5),
        Value::Bool(on) => 6 + u128::from(*on),
        Value::Null => 8,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_order_of_fields_does_not_count_and_everything_else_does() {
        let one = value(&json!({ "a": 1, "b": { "c": [1, 2], "d": "x" } }));
        assert_eq!(one, value(&json!({ "b": { "d": "x", "c": [1, 2] }, "a": 1 })));
        for other in [
            json!({ "a": 1, "b": { "c": [2, 1], "d": "x" } }),
            json!({ "a": "1", "b": { "c": [1, 2], "d": "x" } }),
            json!({ "b": 1, "a": { "c": [1, 2], "d": "x" } }),
            json!({ "a": 1, "b": { "c": [1, 2], "d": "x" }, "e": null }),
            json!({ "a": 1.0, "b": { "c": [1, 2], "d": "x" } }),
        ] {
            assert_ne!(one, value(&other), "{other}");
        }
    }

    #[test]
    fn a_configurations_tag_names_its_revision() {
        assert_eq!(revision("\"17-abcdef01\""), Some(17));
        assert_eq!(revision("W/\"17-abcdef01\""), Some(17));
        assert_eq!(revision("something"), None);
    }
}
