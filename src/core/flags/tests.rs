#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot be set up has failed")]

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn set(flags: &Value) -> FlagSet {
    let (set, problems) =
        FlagSet::compile(flags.as_object().unwrap().iter().map(|(key, flag)| (key.as_str(), flag)), &|_| None);
    assert_eq!(problems, []);
    set
}

fn boolean(targeting: Value) -> Value {
    json!({ "f": { "state": "ENABLED", "variants": { "on": true, "off": false }, "defaultVariant": "off", "targeting": targeting } })
}

fn ask<'a>(set: &'a FlagSet, context: Value, members: &Membership) -> Result<Evaluation<'a>, EvaluationError> {
    set.evaluate("f", &Context::new(context).unwrap(), members, Timestamp::UNIX_EPOCH)
}

#[test]
fn rules_pick_as_flagd_does() {
    let person = json!({ "targetingKey": "u1", "email": "ada@gym.example", "plan": "pro", "age": 30, "tags": ["a", "b"], "app": { "version": "1.4.2" } });
    let none = Membership::default();
    for (rule, variant, reason) in [
        (json!({ "if": [{ "==": [{ "var": "plan" }, "pro"] }, "on", "off"] }), "on", Reason::TargetingMatch),
        (json!({ "if": [{ "ends_with": [{ "var": "email" }, "@gym.example"] }, "on"] }), "on", Reason::TargetingMatch),
        (json!({ "if": [{ "starts_with": [{ "var": "email" }, "bob"] }, "on"] }), "off", Reason::Default),
        (json!({ "if": [{ "in": ["b", { "var": "tags" }] }, "on", null] }), "on", Reason::TargetingMatch),
        (json!({ "if": [{ "<": [18, { "var": "age" }, 65] }, "on", null] }), "on", Reason::TargetingMatch),
        (
            json!({ "if": [{ "sem_ver": [{ "var": "app.version" }, "^", "1.0.0"] }, "on", null] }),
            "on",
            Reason::TargetingMatch,
        ),
        (
            json!({ "if": [{ "and": [{ "!": [{ "var": "nothing" }] }, { "!!": [1] }] }, "on", null] }),
            "on",
            Reason::TargetingMatch,
        ),
        (json!({ "if": [{ "==": [{ "var": "$flagd.flagKey" }, "f"] }, "on", null] }), "on", Reason::TargetingMatch),
        (
            json!({ "if": [{ "some": [{ "var": "tags" }, { "==": [{ "var": "" }, "a"] }] }, "on", null] }),
            "on",
            Reason::TargetingMatch,
        ),
        (json!({ "if": [{ "missing": ["plan", "nothing"] }, "off", "on"] }), "off", Reason::TargetingMatch),
        (json!({ "==": [1, 1] }), "", Reason::TargetingMatch),
    ] {
        let flags = boolean(rule.clone());
        let set = set(&flags);
        match ask(&set, person.clone(), &none) {
            Ok(answer) => assert_eq!((answer.variant, answer.reason), (variant, reason), "{rule}"),
            Err(error) => assert_eq!((variant, error.code()), ("", "GENERAL"), "{rule}"),
        }
    }
}

#[test]
fn a_path_that_leads_through_an_empty_text_gives_what_flagds_two_ways_of_reading_a_rule_give() {
    let nobody = Membership::default();
    let whole = boolean(json!({ "if": [{ "===": [{ "var": "user.plan" }, ""] }, "on", "off"] }));
    let without_else = boolean(json!({ "if": [{ "===": [{ "var": "user.plan" }, ""] }, "on"] }));
    for (flags, variant) in [(whole, "off"), (without_else, "on")] {
        assert_eq!(ask(&set(&flags), json!({ "user": "" }), &nobody).unwrap().variant, variant, "{flags}");
    }
}

#[test]
fn what_wins_is_invariant_hold_environment_stage_definition() {
    let mut flag = boolean(json!({ "if": [true, "on"] }))["f"].take();
    let none = Membership::default();
    let expect = |flag: &Value, env: Option<&str>, variant: &str, by: &str| {
        let read = |_: &str| env.map(str::to_owned);
        let (set, _) = FlagSet::compile([("f", flag)], &read);
        let answer = ask(&set, json!({}), &none).unwrap();
        assert_eq!((answer.variant, answer.decided_by), (variant, by));
    };
    expect(&flag, None, "on", "definition");
    flag["targeting"] = Value::Null;
    expect(&flag, None, "off", "definition");
    flag["stage"] = json!({ "variant": "on", "rollout": "r", "stage": "s" });
    expect(&flag, None, "on", "stage r/s");
    flag["env"] = json!("F");
    expect(&flag, Some("0"), "off", "environment F");
    expect(&flag, Some("maybe"), "on", "stage r/s");
    flag["hold"] = json!({ "variant": "off", "run": "p-1", "step": 2, "reason": "x" });
    expect(&flag, Some("true"), "off", "hold p-1/2");
    flag["invariant"] = json!("on");
    expect(&flag, Some("false"), "on", "invariant");
}

#[test]
fn a_cohort_is_a_targeting_set_by_user_id_and_by_address() {
    let flags = boolean(json!({ "if": [{ "in_cohort": ["pavia"] }, "on", "off"] }));
    let set = set(&flags);
    let members = Membership::build([("u1", "pavia"), ("ada@example.com", "pavia"), ("u2", "lyon")]);
    for (person, variant) in
        [("u1", "on"), ("ada@example.com", "on"), ("Ada@Example.COM", "on"), ("u2", "off"), ("stranger", "off")]
    {
        assert_eq!(ask(&set, json!({ "targetingKey": person }), &members).unwrap().variant, variant, "{person}");
    }
    assert_eq!(ask(&set, json!({}), &members).unwrap().variant, "off");
}

#[test]
fn mistakes_in_rules_are_named_all_at_once_and_one_flags_error_is_no_others() {
    let flags = json!({
        "f": { "variants": { "on": true }, "defaultVariant": "on", "targeting": { "if": [{ "starts_wth": ["a"] }, { "$ref": "nothing" }] } },
        "g": { "variants": { "on": true }, "defaultVariant": "on" },
    });
    let (set, problems) =
        FlagSet::compile(flags.as_object().unwrap().iter().map(|(key, flag)| (key.as_str(), flag)), &|_| None);
    let said: Vec<_> = problems.iter().map(|problem| problem.pointer.as_str()).collect();
    assert_eq!(said, ["/targeting/if/0/starts_wth", "/targeting/if/1/$ref"]);
    assert!(problems[0].message.contains("starts_with"));
    let none = Membership::default();
    let context = Context::new(json!({})).unwrap();
    assert_eq!(set.evaluate("f", &context, &none, Timestamp::UNIX_EPOCH).unwrap_err().code(), "PARSE_ERROR");
    assert_eq!(set.evaluate("g", &context, &none, Timestamp::UNIX_EPOCH).unwrap().reason, Reason::Static);
    assert_eq!(set.evaluate("h", &context, &none, Timestamp::UNIX_EPOCH).unwrap_err().code(), "FLAG_NOT_FOUND");
}

#[test]
fn a_hold_wins_over_a_rule_that_is_wrong() {
    let mut flag = boolean(json!({ "no_such_operator": [] }))["f"].take();
    flag["hold"] = json!({ "variant": "off", "run": "p-1", "step": 2, "reason": "x" });
    let (set, problems) = FlagSet::compile([("f", &flag)], &|_| None);
    assert_eq!(problems.len(), 1);
    assert_eq!(ask(&set, json!({}), &Membership::default()).unwrap().decided_by, "hold p-1/2");
}

#[test]
fn a_program_sees_neither_cohorts_nor_evaluators_of_another() {
    let flag = |program: &str, shared: Value| {
        let mut flag =
            boolean(json!({ "if": [{ "and": [{ "$ref": "r" }, { "in_cohort": ["vip"] }] }, "on", "off"] }))["f"].take();
        flag["program"] = json!(program);
        flag["$evaluators"] = json!({ "r": shared });
        flag
    };
    let flags = json!({ "f": flag("a", json!(true)), "g": flag("b", json!(true)), "h": flag("c", json!(false)) });
    let set = set(&flags);
    let members = Membership::build([("u1", cohort_key("a", "vip").as_str())]);
    let context = Context::new(json!({ "targetingKey": "u1" })).unwrap();
    for (key, variant) in [("f", "on"), ("g", "off"), ("h", "off")] {
        assert_eq!(set.evaluate(key, &context, &members, Timestamp::UNIX_EPOCH).unwrap().variant, variant, "{key}");
    }
}

#[test]
fn a_rule_nested_too_deep_is_refused() {
    // JSON nested 128 levels deep is refused when it is read; this is as deep as a definition can come.
    let mut rule = json!(true);
    for _ in 0..60 {
        rule = Value::Object([("!".to_owned(), Value::Array(vec![rule]))].into_iter().collect());
    }
    let flags = boolean(rule);
    let (_, problems) = FlagSet::compile([("f", &flags["f"])], &|_| None);
    assert!(problems[0].message.contains("nested"));
}

#[test]
fn a_rule_with_a_million_entries_is_refused_in_a_word() {
    let entries: Vec<Value> = (0..1_000_000).map(|number| json!({ "var": number })).collect();
    let flags = boolean(json!({ "in": [{ "var": "plan" }, entries] }));
    let (set, problems) = FlagSet::compile([("f", &flags["f"])], &|_| None);
    assert_eq!(problems.len(), 1);
    assert_eq!(ask(&set, json!({}), &Membership::default()).unwrap_err().code(), "PARSE_ERROR");
}

#[test]
fn a_rule_a_thousand_levels_deep_is_refused_and_data_that_deep_is_read() {
    let nest = |wrap: &dyn Fn(Value) -> Value| (0..1000).fold(json!(true), |inner, _| wrap(inner));
    let mut deep = boolean(Value::Null);
    deep["f"]["targeting"] =
        nest(&|inner| Value::Object([("!".to_owned(), Value::Array(vec![inner]))].into_iter().collect()));
    let (refused, _) = FlagSet::compile([("f", &deep["f"])], &|_| None);
    assert_eq!(ask(&refused, json!({}), &Membership::default()).unwrap_err().code(), "PARSE_ERROR");
    for bucketing in ["concat", "cbor"] {
        let mut flags = boolean(json!({ "fractional": [{ "var": "deep" }, ["on", 1]] }));
        flags["f"]["bucketing"] = json!(bucketing);
        let mut context = json!({ "targetingKey": "u1" });
        context["deep"] = nest(&|inner| Value::Object([("a".to_owned(), inner)].into_iter().collect()));
        assert!(ask(&set(&flags), context, &Membership::default()).is_ok(), "{bucketing}");
    }
}

#[test]
fn a_routed_flag_carries_its_fallback() {
    let mut flag = boolean(Value::Null)["f"].take();
    flag["fallback"] = json!("/classic");
    flag["routed"] = json!(true);
    let flags = json!({ "f": flag });
    let set = set(&flags);
    let none = Membership::default();
    assert_eq!(ask(&set, json!({}), &none).unwrap().metadata["betagate.fallback"], "/classic");
}

#[test]
fn shares_come_out_near_their_weights_in_both_generations() {
    for bucketing in ["concat", "cbor"] {
        let mut flag = boolean(json!({ "fractional": [["on", 25], ["off", 75]] }))["f"].take();
        flag["bucketing"] = json!(bucketing);
        let flags = json!({ "f": flag });
        let set = set(&flags);
        let none = Membership::default();
        let on = (0..20_000)
            .filter(|n| ask(&set, json!({ "targetingKey": format!("user-{n}") }), &none).unwrap().variant == "on");
        let on = on.count();
        assert!((4_700..5_300).contains(&on), "{bucketing}: {on} of 20000");
    }
}

proptest! {
    #[test]
    fn a_share_stays_the_same_whatever_else_is_said_of_a_person(person in "\\PC{1,20}", other in "\\PC{0,20}", share in 1_u32..100, cbor in any::<bool>()) {
        let mut flags = boolean(json!({ "fractional": [["on", share], ["off", 100 - share]] }));
        flags["f"]["bucketing"] = json!(if cbor { "cbor" } else { "concat" });
        let alone = set(&flags);
        // Another flag beside it, more variants, and a set compiled anew.
        flags["f"]["variants"]["third"] = json!(false);
        flags["g"] = flags["f"].clone();
        let beside = set(&flags);
        let nobody = Membership::default();
        let first = ask(&alone, json!({ "targetingKey": person }), &nobody).unwrap();
        let then = ask(&beside, json!({ "plan": other, "targetingKey": person, "age": share }), &nobody).unwrap();
        prop_assert_eq!(first.variant, then.variant);
    }

    #[test]
    fn ramping_up_removes_nobody(person in "\\PC{1,20}", low in 0_u32..=100, more in 0_u32..=100, cbor in any::<bool>()) {
        let high = (low + more).min(100);
        let flags = |share: u32| {
            let mut flags = boolean(json!({ "fractional": [["on", share], ["off", 100 - share]] }));
            flags["f"]["bucketing"] = json!(if cbor { "cbor" } else { "concat" });
            flags
        };
        let (before, after) = (flags(low), flags(high));
        let (before, after) = (set(&before), set(&after));
        let none = Membership::default();
        let context = json!({ "targetingKey": person });
        if ask(&before, context.clone(), &none).unwrap().variant == "on" {
            prop_assert_eq!(ask(&after, context, &none).unwrap().variant, "on");
        }
    }

    #[test]
    fn no_context_makes_an_evaluation_panic(text in "\\PC{0,40}", number in any::<f64>()) {
        let rule = json!({ "if": [{ "<": [{ "+": [{ "var": "a" }, { "%": [{ "var": "b" }, 0] }] }, { "substr": [{ "var": "t" }, -3, { "var": "b" }] }] }, "on", null] });
        let flags = boolean(rule);
        let set = set(&flags);
        let _ = ask(&set, json!({ "targetingKey": text, "a": number, "b": -number, "t": text }), &Membership::default());
    }
}

#[test]
fn an_answer_is_the_one_of_its_number() {
    let flags = boolean(json!({ "if": [{ "==": [{ "var": "plan" }, "pro"] }, "on", null] }));
    let mut disabled = flags.clone();
    disabled["f"]["state"] = json!("DISABLED");
    for (flags, context) in [(&flags, json!({ "plan": "pro" })), (&flags, json!({})), (&disabled, json!({}))] {
        let set = set(flags);
        let answer = ask(&set, context, &Membership::default()).unwrap();
        let same = set.answers(set.place("f").unwrap()).nth(answer.number).unwrap();
        assert_eq!((same.variant, same.value, same.reason), (answer.variant, answer.value, answer.reason));
    }
}

#[test]
fn a_flag_without_a_default_leaves_the_value_to_the_program() {
    let mut flags = boolean(json!({ "if": [{ "==": [{ "var": "plan" }, "pro"] }, "on", null] }));
    flags["f"]["defaultVariant"] = Value::Null;
    let set = set(&flags);
    let answer = ask(&set, json!({}), &Membership::default()).unwrap();
    assert_eq!((answer.value, answer.variant, answer.reason), (None, "", Reason::Default));
    let same = set.answers(0).nth(answer.number).unwrap();
    assert_eq!((same.value, same.reason), (None, Reason::Default));
    assert_eq!(ask(&set, json!({ "plan": "pro" }), &Membership::default()).unwrap().variant, "on");
}

#[test]
fn a_whole_number_of_a_float_flag_keeps_its_decimal_point() {
    let flags = json!({ "f": { "type": "float", "variants": { "two": 2 }, "defaultVariant": "two" } });
    assert_eq!(ask(&set(&flags), json!({}), &Membership::default()).unwrap().value.unwrap().to_string(), "2.0");
}

#[test]
fn a_stages_share_of_people_keeps_its_variant_as_the_share_grows_and_everyone_else_has_the_flags_own_default() {
    let members = Membership::default();
    let with = |percent: u64, targeting: Value| {
        let flag = json!({ "variants": { "on": true, "off": false }, "defaultVariant": "off", "targeting": targeting,
            "stage": { "variant": "on", "rollout": "r", "stage": "s", "percent": percent } });
        FlagSet::compile([("f", &flag)], &|_| None)
    };
    let on = |set: &FlagSet, person: u32| {
        let context = Context::new(json!({ "targetingKey": format!("u{person}") })).unwrap();
        let answer = set.evaluate("f", &context, &members, Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!((answer.reason, answer.decided_by), (Reason::Split, "stage r/s"));
        answer.variant == "on"
    };
    let mut before: Vec<u32> = Vec::new();
    for percent in [10, 50, 90] {
        let (set, problems) = with(percent, Value::Null);
        assert!(problems.is_empty(), "{problems:?}");
        let have: Vec<u32> = (0..2000).filter(|person| on(&set, *person)).collect();
        let share = have.len() as u64 * 100 / 2000;
        assert!(share.abs_diff(percent) <= 3, "{share} of {percent}");
        assert!(before.iter().all(|person| have.contains(person)), "somebody lost it at {percent}");
        before = have;
    }
    let (set, _) = with(100, Value::Null);
    let nobody = Context::new(json!({})).unwrap();
    assert_eq!(set.evaluate("f", &nobody, &members, Timestamp::UNIX_EPOCH).unwrap().variant, "on");
    let (set, _) = with(50, Value::Null);
    assert_eq!(set.evaluate("f", &nobody, &members, Timestamp::UNIX_EPOCH).unwrap().variant, "off", "nobody to pick");
    // A rule that picks something is asked first, as with any stage.
    let (set, _) = with(50, json!({ "if": [true, "off"] }));
    assert_eq!(set.evaluate("f", &nobody, &members, Timestamp::UNIX_EPOCH).unwrap().reason, Reason::TargetingMatch);
}
