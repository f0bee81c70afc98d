//! Flags: requests per second of one API process against a bare axum handler in the same run (and against any peer that is running), memory,
//! start, the cost inside the engine, the index of members, and how long a change takes until it is served.
//!
//! `tests/run bench -- flags --peer flagd=http://127.0.0.1:8016` measures an OFREP server beside us; the flags are written out for it as
//! flagd has them, at target/bench-flags.json.

mod engine;
mod floor;
mod load;
mod push;

use std::fmt::Write as _;

use serde_json::{Value, json};

pub use floor::serve as serve_floor;

/// Runs all of it; `peers` are `NAME=URL`.
pub fn measure(peers: &[String]) {
    engine::measure();
    load::measure(peers);
    push::measure();
}

/// The fifty flags of the comparison: 20 static, 10 by the end of an address, 10 by a list of cohorts, 10 with a 25 % share.
fn fifty() -> Value {
    let mut flags = serde_json::Map::new();
    for n in 0..50 {
        let targeting = match n {
            0..20 => json!({}),
            20..30 => {
                json!({ "if": [{ "ends_with": [{ "var": "email" }, format!("@example{}.com", n % 10)] }, "on", "off"] })
            }
            30..40 => {
                json!({ "if": [{ "in": [{ "var": "cohort" }, ["pavia", "us-canary", format!("eu-{n}")]] }, "on", "off"] })
            }
            _ => json!({ "fractional": [["on", 25], ["off", 75]] }),
        };
        let mut key = String::new();
        let _ = write!(key, "feature_{n:02}");
        flags.insert(
            key,
            json!({ "state": "ENABLED", "variants": { "on": true, "off": false }, "defaultVariant": "off", "targeting": targeting }),
        );
    }
    json!({ "flags": flags })
}

/// The targeting key and five attributes.
fn context() -> Value {
    json!({ "context": { "targetingKey": "user-4711", "email": "ada@example3.com", "cohort": "us-canary", "plan": "pro",
        "country": "IT", "appVersion": "2.11.0" } })
}
