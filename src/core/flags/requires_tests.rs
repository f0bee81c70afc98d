#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::*;
use crate::flags::{Context, Evaluation, EvaluationError, FlagSet, Generation, Membership, Reason};

fn compile(flags: &Value) -> (FlagSet, Vec<CompileProblem>) {
    FlagSet::compile(flags.as_object().unwrap().iter().map(|(key, flag)| (key.as_str(), flag)), &|_| None)
}

fn ask<'a>(set: &'a FlagSet, key: &str, context: Value) -> Result<Evaluation<'a>, EvaluationError> {
    set.evaluate(key, &Context::new(context).unwrap(), &Membership::default(), Timestamp::UNIX_EPOCH)
}

fn flag(targeting: Value, requires: &[(&str, &str)]) -> Value {
    let requires: Vec<Value> =
        requires.iter().map(|(flag, variant)| json!({ "flag": flag, "variant": variant })).collect();
    json!({ "variants": { "on": true, "off": false }, "defaultVariant": "off", "targeting": targeting, "requires": requires })
}

fn pro() -> Value {
    json!({ "if": [{ "==": [{ "var": "plan" }, "pro"] }, "on", "off"] })
}

#[test]
fn a_flag_gives_its_default_unless_each_flag_it_requires_gives_its_variant_to_this_person() {
    let mut flags = json!({
        "base": flag(pro(), &[]),
        "next": flag(json!("on"), &[("base", "on")]),
        "last": flag(json!("on"), &[("next", "on"), ("base", "on")]),
        "classic": flag(json!("on"), &[("base", "off")]),
    });
    // A stage that turns the flag on does not turn it on for those who lack what it requires.
    flags["next"]["stage"] = json!({ "variant": "on", "rollout": "r", "stage": "s" });
    let (set, problems) = compile(&flags);
    assert_eq!(problems, []);
    for (key, plan, variant, by) in [
        ("next", "pro", "on", "definition"),
        ("next", "free", "off", "prerequisite base"),
        ("last", "pro", "on", "definition"),
        ("last", "free", "off", "prerequisite next"),
        ("classic", "free", "on", "definition"),
        ("classic", "pro", "off", "prerequisite base"),
    ] {
        let answer = ask(&set, key, json!({ "plan": plan })).unwrap();
        assert_eq!((answer.variant, answer.decided_by), (variant, by), "{key} {plan}");
        assert_eq!(answer.reason == Reason::Default, by != "definition", "{key} {plan}");
    }
}

#[test]
fn a_required_flag_counts_as_it_is_served_held_forced_disabled_or_broken() {
    let expect = |change: Value, variant: &str| {
        let mut base = flag(json!("on"), &[]);
        base.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let flags = json!({ "base": base, "next": flag(json!("on"), &[("base", "on")]) });
        let (set, _) = compile(&flags);
        assert_eq!(ask(&set, "next", json!({})).unwrap().variant, variant, "{change}");
    };
    expect(json!({}), "on");
    expect(json!({ "hold": { "variant": "off", "run": "p-1", "step": 2 } }), "off");
    expect(json!({ "hold": { "variant": "off", "run": "p-1", "step": 2 }, "invariant": "on" }), "on");
    expect(json!({ "state": "DISABLED" }), "off");
    expect(json!({ "targeting": { "no_such_operator": [] } }), "off");
    expect(json!({ "targeting": "neither" }), "off");
}

#[test]
fn without_a_default_an_unmet_prerequisite_leaves_the_value_to_the_program() {
    let mut next = flag(json!("on"), &[("base", "on")]);
    next["defaultVariant"] = Value::Null;
    let flags = json!({ "base": flag(json!("off"), &[]), "next": next });
    let (set, _) = compile(&flags);
    let answer = ask(&set, "next", json!({})).unwrap();
    assert_eq!((answer.value, answer.variant, answer.decided_by), (None, "", "prerequisite base"));
}

#[test]
fn a_hold_needs_no_prerequisite() {
    let mut next = flag(json!("off"), &[("base", "on")]);
    next["hold"] = json!({ "variant": "on", "run": "p-1", "step": 2 });
    let flags = json!({ "base": flag(json!("off"), &[]), "next": next });
    let (set, _) = compile(&flags);
    assert_eq!(ask(&set, "next", json!({})).unwrap().decided_by, "hold p-1/2");
}

#[test]
fn flags_in_a_circle_answer_an_error_and_those_that_only_lead_to_one_their_default() {
    let flags = json!({
        "a": flag(json!("on"), &[("b", "on")]),
        "b": flag(json!("on"), &[("a", "on")]),
        "self": flag(json!("on"), &[("self", "on")]),
        "leads": flag(json!("on"), &[("a", "on")]),
    });
    let (set, problems) = compile(&flags);
    assert_eq!(problems.len(), 3);
    assert!(problems[0].message.contains("a → b → a"), "{problems:?}");
    for key in ["a", "b", "self"] {
        assert_eq!(ask(&set, key, json!({})).unwrap_err().code(), "PARSE_ERROR", "{key}");
    }
    assert_eq!(ask(&set, "leads", json!({})).unwrap().variant, "off");
}

#[test]
fn what_is_not_there_cannot_be_required_nor_can_a_flag_of_another_program() {
    let mut stranger = flag(Value::Null, &[]);
    stranger["program"] = json!("other");
    let flags = json!({
        "base": flag(Value::Null, &[]),
        "stranger": stranger,
        "x": flag(json!("on"), &[("bsae", "on")]),
        "y": flag(json!("on"), &[("base", "maybe")]),
        "z": flag(json!("on"), &[("stranger", "on")]),
    });
    let (_, problems) = compile(&flags);
    let said: Vec<_> = problems.iter().map(|problem| format!("{}{}", problem.flag, problem.pointer)).collect();
    assert_eq!(said, ["x/requires/0", "y/requires/0", "z/requires/0"]);
}

#[test]
fn evaluation_stays_bounded_however_requirements_multiply() {
    // Each flag requires the one before it twice over, by two ways: without a bound, 2^60 evaluations.
    let mut flags = Map::new();
    flags.insert("f00".to_owned(), flag(json!("on"), &[]));
    for level in 1..60 {
        let (before, left, right) = (format!("f{:02}", level - 1), format!("l{level:02}"), format!("r{level:02}"));
        flags.insert(left.clone(), flag(json!("on"), &[(&before, "on")]));
        flags.insert(right.clone(), flag(json!("on"), &[(&before, "on")]));
        flags.insert(format!("f{level:02}"), flag(json!("on"), &[(&left, "on"), (&right, "on")]));
    }
    // And a long chain.
    flags.insert("c0".to_owned(), flag(json!("on"), &[]));
    for level in 1..20_000 {
        flags.insert(format!("c{level}"), flag(json!("on"), &[(&format!("c{}", level - 1), "on")]));
    }
    let flags = Value::Object(flags);
    let (set, problems) = compile(&flags);
    assert!(problems.iter().all(|problem| problem.message.contains("256 evaluations")));
    assert_eq!(ask(&set, "f04", json!({})).unwrap().variant, "on");
    assert!(ask(&set, "c255", json!({})).is_ok());
    assert!(ask(&set, "c256", json!({})).is_err());
    for key in set.keys() {
        let _ = ask(&set, key, json!({}));
    }
}

#[test]
fn flags_of_one_seed_pick_the_same_people_in_both_generations() {
    for generation in [Generation::Concat, Generation::Cbor] {
        let bucketing = if generation == Generation::Cbor { "cbor" } else { "concat" };
        let share = |share: u32, seed: Option<&str>| {
            let mut flag = flag(json!({ "fractional": [["on", share], ["off", 100 - share]] }), &[]);
            flag["bucketing"] = json!(bucketing);
            flag["bucketSeed"] = json!(seed);
            flag
        };
        let flags = json!({ "a": share(30, Some("pavia")), "b": share(30, Some("pavia")), "wider": share(50, Some("pavia")),
            "alone": share(30, None), "pavia": share(30, None) });
        let (set, problems) = compile(&flags);
        assert_eq!(problems, []);
        let (mut on, mut alone_differs) = (0, 0);
        for number in 0..2_000 {
            let of = |key: &str| ask(&set, key, json!({ "targetingKey": format!("u{number}") })).unwrap().variant;
            assert_eq!(of("a"), of("b"), "{bucketing} u{number}");
            // The seed stands where the key stood: a flag of that key picks the same.
            assert_eq!(of("a"), of("pavia"), "{bucketing} u{number}");
            assert!(of("a") == "off" || of("wider") == "on", "{bucketing} u{number}");
            on += u32::from(of("a") == "on");
            alone_differs += u32::from(of("a") != of("alone"));
        }
        assert!((500..700).contains(&on), "{bucketing}: {on}");
        assert!(alone_differs > 500, "{bucketing}: {alone_differs}");
    }
}
