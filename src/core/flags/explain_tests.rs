#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use proptest::prelude::*;

use super::*;
use crate::flags::cohort_key;

fn boolean(targeting: Value) -> Value {
    json!({ "program": "p", "commit": "abc123", "variants": { "on": true, "off": false }, "defaultVariant": "off", "targeting": targeting })
}

fn why(flags: Value, key: &str, context: Value) -> Explanation {
    let members = Membership::build([("u1", cohort_key("p", "pavia").as_str())]);
    let env = |name: &str| (name == "F").then(|| "true".to_owned());
    let context = Context::new(context).unwrap();
    explain(flags.as_object().unwrap(), key, &context, &members, &env, Timestamp::UNIX_EPOCH).unwrap()
}

#[test]
fn the_way_through_a_rule_is_named_with_its_conditions_bucket_cohorts_and_commit() {
    let rule = json!({ "if": [
        { "==": [{ "var": "plan" }, "pro"] }, "on",
        { "in_cohort": ["pavia"] }, { "$ref": "half" },
        "off",
    ] });
    let mut flag = boolean(rule);
    flag["$evaluators"] = json!({ "half": { "fractional": [["on", 1], ["off", 3]] } });
    flag["bucketSeed"] = json!("pavia");
    let told = why(json!({ "f": flag }), "f", json!({ "targetingKey": "u1" }));
    let path = told.rule.clone().unwrap();
    let conditions: Vec<_> = path.conditions.iter().map(|known| (known.pointer.as_str(), known.held)).collect();
    assert_eq!(conditions, [("/targeting/if/0", false), ("/targeting/if/2", true)]);
    let bucket = &path.buckets[0];
    assert_eq!((bucket.pointer.as_str(), &*bucket.bucketing), ("/$evaluators/half", "concat"));
    assert_eq!(bucket.hashed, json!(["pavia", "u1"]));
    let place = bucket.place.clone().unwrap();
    assert!(place.total == 4 && (place.from..place.to).contains(&place.bucket));
    let share = usize::from(place.from == 1);
    assert_eq!(path.pointer, format!("/$evaluators/half/fractional/{share}/0"));
    assert_eq!(place.percent, if share == 0 { 25.0 } else { 75.0 });
    assert_eq!((told.layer, told.cohorts.as_slice()), (Layer::Rule, ["p/pavia".to_owned()].as_slice()));
    assert_eq!(told.commit.as_deref(), Some("abc123"));
}

#[test]
fn the_layer_that_decided_is_named_first_to_last() {
    let expect = |change: Value, layer: Layer, by: &str, asked: bool| {
        let mut flag = boolean(json!({ "if": [{ "==": [{ "var": "plan" }, "pro"] }, "on", null] }));
        flag.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let told = why(json!({ "f": flag, "base": boolean(Value::Null) }), "f", json!({ "plan": "free" }));
        assert_eq!((told.layer, told.decided_by.as_str(), told.rule.is_some()), (layer, by, asked), "{change}");
    };
    expect(json!({}), Layer::Default, "definition", true);
    expect(json!({ "stage": { "variant": "on", "rollout": "r", "stage": "s" } }), Layer::Stage, "stage r/s", true);
    expect(json!({ "targeting": "on" }), Layer::Rule, "definition", true);
    expect(
        json!({ "schedule": [{ "until": "2000-01-01T00:00:00Z", "variant": "on" }] }),
        Layer::Schedule,
        "schedule ../2000-01-01T00:00:00Z",
        false,
    );
    expect(
        json!({ "schedule": [{ "until": "2000-01-01T00:00:00Z", "targeting": "on" }] }),
        Layer::Schedule,
        "schedule ../2000-01-01T00:00:00Z",
        true,
    );
    expect(
        json!({ "requires": [{ "flag": "base", "variant": "on" }] }),
        Layer::Prerequisite,
        "prerequisite base",
        false,
    );
    expect(json!({ "state": "DISABLED" }), Layer::State, "definition", false);
    expect(json!({ "env": "F" }), Layer::Environment, "environment F", false);
    expect(json!({ "hold": { "variant": "off", "run": "p-1", "step": 2 } }), Layer::Hold, "hold p-1/2", false);
    expect(json!({ "invariant": "on" }), Layer::Invariant, "invariant", false);
    expect(json!({ "targeting": { "no_such": [] } }), Layer::Error, "definition", false);
}

#[test]
fn a_prerequisite_says_what_it_gives_this_person() {
    let mut flag = boolean(Value::Null);
    flag["requires"] = json!([{ "flag": "base", "variant": "off" }, { "flag": "gone", "variant": "on" }]);
    let mut gone = boolean(Value::Null);
    gone["state"] = json!("DISABLED");
    let told = why(json!({ "f": flag, "base": boolean(Value::Null), "gone": gone }), "f", json!({}));
    let shown: Vec<_> =
        told.prerequisites.iter().map(|one| (one.flag.as_str(), one.given.as_deref(), one.met)).collect();
    assert_eq!(shown, [("base", Some("off"), true), ("gone", None, false)]);
}

#[test]
fn an_explanation_is_json_as_the_api_gives_it() {
    let told = why(json!({ "f": boolean(json!({ "fractional": [["on"]] })) }), "f", json!({ "targetingKey": "u2" }));
    let shown = serde_json::to_value(&told).unwrap();
    assert_eq!(shown["layer"], "rule");
    assert_eq!(
        (&shown["value"], &shown["variant"], &shown["reason"]),
        (&json!(true), &json!("on"), &json!("TARGETING_MATCH"))
    );
    assert_eq!(shown["rule"]["pointer"], "/targeting/fractional/0/0");
    let broken = why(json!({ "f": boolean(json!("neither")) }), "f", json!({}));
    let shown = serde_json::to_value(&broken).unwrap();
    assert_eq!((&shown["layer"], &shown["errorCode"]), (&json!("error"), &json!("GENERAL")));
    assert_eq!(shown["rule"]["gave"], "neither");
}

/// Rules of every shape that a way can take: branches, shares, shared rules, and what is computed.
fn rules() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!("on")),
        Just(json!("off")),
        Just(json!("neither")),
        Just(Value::Null),
        Just(json!(true)),
        Just(json!({ "var": "v" })),
        Just(json!({ "$ref": "shared" })),
        Just(json!({ "in_cohort": ["pavia"] })),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(|branches| json!({ "if": branches })),
            prop::collection::vec(inner.clone(), 1..4).prop_map(|branches| json!({ "?:": branches })),
            prop::collection::vec((inner.clone(), 0..5_i64), 1..4).prop_map(|shares| {
                let shares: Vec<Value> = shares.into_iter().map(|(rule, weight)| json!([rule, weight])).collect();
                json!({ "fractional": shares })
            }),
            (inner.clone(), inner.clone(), inner).prop_map(|(by, one, other)| {
                json!({ "fractional": [{ "cat": [by, { "var": "targetingKey" }] }, [one, 2], [other]] })
            }),
        ]
    })
}

proptest! {
    #[test]
    fn an_explanation_agrees_with_the_evaluation(rule in rules(), shared in rules(), person in "[a-z]{0,3}|u1", v in "on|off|", cbor in any::<bool>()) {
        let mut flag = boolean(rule);
        flag["bucketing"] = json!(if cbor { "cbor" } else { "concat" });
        flag["$evaluators"] = json!({ "shared": { "if": [{ "var": "v" }, shared, "off"] } });
        let flags = json!({ "f": flag });
        let context = json!({ "targetingKey": person, "v": v });
        let told = why(flags.clone(), "f", context.clone());
        let (set, _) = FlagSet::compile([("f", &flags["f"])], &|_| None);
        let members = Membership::build([("u1", cohort_key("p", "pavia").as_str())]);
        let context = Context::new(context).unwrap();
        let answer = set.evaluate("f", &context, &members, Timestamp::UNIX_EPOCH);
        prop_assert_eq!(&told.answer, &Answered::of(answer.clone()));
        // The way's end gave what the rule picked: the variant itself, or nothing where the default counts.
        if let (Some(path), Ok(answer)) = (&told.rule, &answer) {
            let plain = path.gave.as_str().map_or_else(|| path.gave.to_string(), str::to_owned);
            match answer.reason {
                Reason::TargetingMatch | Reason::Split => prop_assert_eq!(plain, answer.variant),
                Reason::Default => prop_assert_eq!(&path.gave, &Value::Null),
                _ => {}
            }
            for bucket in path.buckets.iter().filter_map(|bucket| bucket.place.as_ref()) {
                prop_assert!(bucket.from <= bucket.bucket && bucket.bucket < bucket.total);
            }
        }
    }
}
