//! Whether an object has everything in it that is wanted. What others own in it, and what the API server fills in, is not looked at.
//!
//! Must not know: kinds, how anything is applied.

use serde_json::Value;

/// By what the members of a list are told from each other, as server-side apply does.
const KEYS: [&str; 5] = ["name", "mountPath", "containerPort", "topologyKey", "uid"];

/// Whether `live` has everything that `wanted` says.
pub fn covers(live: &Value, wanted: &Value) -> bool {
    match (live, wanted) {
        (Value::Object(live), Value::Object(wanted)) => wanted.iter().all(|(name, wanted)| match live.get(name) {
            Some(live) => covers(live, wanted),
            None => wanted.is_null(),
        }),
        (Value::Array(live), Value::Array(wanted)) => {
            let key = KEYS.iter().find(|key| !wanted.is_empty() && wanted.iter().all(|one| one.get(key).is_some()));
            match key {
                Some(key) => wanted.iter().all(|one| {
                    live.iter().find(|live| live.get(key) == one.get(key)).is_some_and(|live| covers(live, one))
                }),
                None => live.len() == wanted.len() && live.iter().zip(wanted).all(|(live, one)| covers(live, one)),
            }
        }
        (live, wanted) => live == wanted,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::covers;

    #[test]
    fn what_others_add_is_no_difference_and_what_they_change_is() {
        let wanted = json!({ "replicas": 2, "env": [{ "name": "A", "value": "1" }, { "name": "B", "value": "2" }], "drop": ["ALL"] });
        let live = json!({ "replicas": 2, "paused": false, "drop": ["ALL"],
            "env": [{ "name": "B", "value": "2", "more": 1 }, { "name": "X" }, { "name": "A", "value": "1" }] });
        assert!(covers(&live, &wanted));
        let with = |path: &str, value: serde_json::Value| {
            let mut live = live.clone();
            if let Some(place) = live.pointer_mut(path) {
                *place = value;
            }
            live
        };
        assert!(!covers(&with("/replicas", json!(3)), &wanted));
        assert!(!covers(&with("/env/0/value", json!("3")), &wanted));
        assert!(!covers(&with("/env/2/name", json!("C")), &wanted));
        assert!(!covers(&with("/drop", json!(["ALL", "NET_RAW"])), &wanted), "a list without names is one value");
        assert!(!covers(&json!({}), &wanted));
    }
}
