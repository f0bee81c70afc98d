//! Whether a resource says what Git says. What others own in it, and what the API server fills in, is not looked at.
//!
//! Must not know: how anything is applied.

use serde_json::Value;

/// Whether `live` has everything that `wanted` says. A list is one value: what somebody added to it is a difference.
pub(super) fn holds(live: &Value, wanted: &Value) -> bool {
    match (live, wanted) {
        (Value::Object(live), Value::Object(wanted)) => wanted.iter().all(|(name, wanted)| match live.get(name) {
            Some(live) => holds(live, wanted),
            None => wanted.is_null(),
        }),
        (Value::Array(live), Value::Array(wanted)) => {
            live.len() == wanted.len() && live.iter().zip(wanted).all(|(live, wanted)| holds(live, wanted))
        }
        // The API server writes 1.0 as 1.
        (Value::Number(live), Value::Number(wanted)) => live == wanted || live.as_f64() == wanted.as_f64(),
        (live, wanted) => live == wanted,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::holds;

    #[test]
    fn what_others_add_is_no_difference_and_what_they_change_is() {
        let wanted = json!({ "a": { "b": 1.0, "gone": null }, "stages": [{ "name": "one" }, { "name": "two" }] });
        let same =
            json!({ "a": { "b": 1, "theirs": true }, "stages": [{ "name": "one", "filled": 0 }, { "name": "two" }] });
        assert!(holds(&same, &wanted));
        for different in [
            json!({ "a": { "b": 2 }, "stages": [{ "name": "one" }, { "name": "two" }] }),
            json!({ "a": { "b": 1 }, "stages": [{ "name": "one" }] }),
            json!({ "a": { "b": 1 }, "stages": [{ "name": "one" }, { "name": "two" }, { "name": "three" }] }),
            json!({ "a": { "b": 1 }, "stages": [{ "name": "two" }, { "name": "one" }] }),
            json!({ "a": { "b": 1 } }),
            json!({}),
        ] {
            assert!(!holds(&different, &wanted), "{different}");
        }
    }
}
