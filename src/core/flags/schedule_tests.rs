#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::flags::{Context, FlagSet, Membership, Reason};

fn set(flags: &Value) -> FlagSet {
    let flags = flags.as_object().unwrap().iter().map(|(key, flag)| (key.as_str(), flag));
    let (set, problems) = FlagSet::compile(flags, &|_| None);
    assert_eq!(problems, []);
    set
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn flag(targeting: Value, schedule: Value) -> Value {
    json!({ "state": "ENABLED", "variants": { "on": true, "off": false }, "defaultVariant": "off", "targeting": targeting, "schedule": schedule })
}

fn april() -> Value {
    flag(
        json!({ "if": [{ "==": [{ "var": "plan" }, "pro"] }, "on", null] }),
        json!([
            { "from": "2026-04-01T07:00:00Z", "until": "2026-04-05T22:00:00Z", "variant": "on" },
            { "from": "2026-04-05T22:00:00Z", "until": "2026-04-08T00:00:00Z", "targeting": { "if": [{ "==": [{ "var": "plan" }, "free"] }, "on"] } },
        ]),
    )
}

#[test]
fn a_window_stands_in_for_default_and_rules_from_its_first_instant_to_its_last() {
    let flags = json!({ "f": april() });
    let set = set(&flags);
    let (first, second) =
        ("schedule 2026-04-01T07:00:00Z/2026-04-05T22:00:00Z", "schedule 2026-04-05T22:00:00Z/2026-04-08T00:00:00Z");
    for (now, plan, variant, reason, by) in [
        ("2026-04-01T06:59:59.999Z", "free", "off", Reason::Default, "definition"),
        ("2026-04-01T07:00:00Z", "free", "on", Reason::Static, first),
        ("2026-04-05T21:59:59.999Z", "pro", "on", Reason::Static, first),
        ("2026-04-05T22:00:00Z", "free", "on", Reason::TargetingMatch, second),
        ("2026-04-05T22:00:00Z", "pro", "off", Reason::Default, "definition"),
        ("2026-04-08T00:00:00Z", "pro", "on", Reason::TargetingMatch, "definition"),
    ] {
        let context = Context::new(json!({ "plan": plan })).unwrap();
        let answer = set.evaluate("f", &context, &Membership::default(), at(now)).unwrap();
        assert_eq!((answer.variant, answer.reason, answer.decided_by), (variant, reason, by), "{now} {plan}");
    }
}

#[test]
fn an_end_may_stay_open_and_a_hold_wins_over_a_window() {
    let mut flag = flag(Value::Null, json!([{ "from": "2026-04-01T07:00:00Z", "variant": "on" }]));
    let nobody = Context::new(json!({})).unwrap();
    let flags = json!({ "f": flag });
    let answer = set(&flags);
    let answer = answer.evaluate("f", &nobody, &Membership::default(), Timestamp::MAX).unwrap();
    assert_eq!((answer.variant, answer.decided_by), ("on", "schedule 2026-04-01T07:00:00Z/.."));
    flag["hold"] = json!({ "variant": "off", "run": "p-1", "step": 2 });
    let flags = json!({ "f": flag });
    let set = set(&flags);
    assert_eq!(set.evaluate("f", &nobody, &Membership::default(), Timestamp::MAX).unwrap().variant, "off");
}

#[test]
fn an_era_begins_at_every_boundary_of_any_flag() {
    let flags =
        json!({ "f": april(), "g": flag(Value::Null, json!([{ "until": "2026-04-02T00:00:00Z", "variant": "on" }])) });
    let set = set(&flags);
    for (now, era) in [
        ("2026-04-01T06:59:59Z", 0),
        ("2026-04-01T07:00:00Z", 1),
        ("2026-04-02T00:00:00Z", 2),
        ("2026-04-05T22:00:00Z", 3),
        ("2027-01-01T00:00:00Z", 4),
    ] {
        assert_eq!(set.era(at(now)), era, "{now}");
    }
    assert_eq!(FlagSet::default().era(Timestamp::MAX), 0);
}

#[test]
fn a_set_knows_whether_a_rule_reads_the_time() {
    let reads = |flag: Value| set(&json!({ "f": flag })).reads_clock();
    for (rule, clock) in [
        (json!({ "<": [{ "var": "$flagd.timestamp" }, 5] }), true),
        (json!({ "<": [{ "var": ["$flagd.timestamp", 0] }, 5] }), true),
        (json!({ "fractional": [{ "cat": [{ "var": "$flagd.timestamp" }] }, ["on", 1]] }), true),
        (json!({ "var": { "cat": ["$flagd.", "timestamp"] } }), true),
        (json!({ "var": "" }), true),
        (json!({ "var": "plan" }), false),
        (json!({ "==": [{ "var": "$flagd.flagKey" }, "f"] }), false),
        (json!({ "some": [{ "var": "tags" }, { "==": [{ "var": "" }, "a"] }] }), false),
        (json!({ "in_cohort": ["pavia"] }), false),
    ] {
        assert_eq!(reads(flag(rule.clone(), json!([]))), clock, "{rule}");
        assert_eq!(
            reads(flag(Value::Null, json!([{ "from": "2026-04-01T07:00:00Z", "targeting": rule }]))),
            clock,
            "{rule}"
        );
    }
    let mut shared = flag(json!({ "$ref": "late" }), json!([]));
    shared["$evaluators"] = json!({ "late": { ">": [{ "var": "$flagd.timestamp" }, 5] } });
    assert!(reads(shared));
    // A window's boundaries are known ahead: they are eras, not readings of the clock.
    assert!(!reads(april()));
}

#[test]
fn what_is_no_instant_makes_the_flag_answer_an_error() {
    let flag = flag(Value::Null, json!([{ "from": "tomorrow", "variant": "on" }]));
    let (set, problems) = FlagSet::compile([("f", &flag)], &|_| None);
    assert_eq!(problems[0].pointer, "/schedule/0/from");
    let context = Context::new(json!({})).unwrap();
    assert!(set.evaluate("f", &context, &Membership::default(), Timestamp::UNIX_EPOCH).is_err());
}
