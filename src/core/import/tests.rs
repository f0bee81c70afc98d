#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot be set up has failed")]

use jiff::Timestamp;
use serde_json::{Value, json};

use super::*;
use crate::decide::{Memory, Readings, decide};
use crate::desired::{BuildOptions, Revision, build};
use crate::flags::{Context, FlagSet, Membership};

fn options() -> Options {
    Options { program: "beta".to_owned(), bucketing: Bucketing::Concat }
}

fn file(name: &str, documents: Value) -> File {
    let documents = match documents {
        Value::Array(documents) => documents,
        one => vec![one],
    };
    File { name: name.to_owned(), documents }
}

fn refused(files: &[File]) -> Vec<String> {
    let done = flagd(files, &options()).and_then(|imported| texts(&imported, &options()));
    done.unwrap_err().iter().map(ToString::to_string).collect()
}

/// The published definitions of what an import writes.
fn published(texts: &[String]) -> std::collections::BTreeMap<String, Value> {
    let program = "kind: Program\nmetadata: { name: beta }\nspec: { timeZone: Europe/Rome }\n".to_owned();
    let names: Vec<String> = (0..=texts.len()).map(|number| format!("{number}.yaml")).collect();
    let all: Vec<&str> = std::iter::once(&program).chain(texts).map(String::as_str).collect();
    let built_with = BuildOptions { environment: None, default_prometheus: false, file_exists: &|_| false };
    let built = build(names.iter().map(String::as_str).zip(all), Revision::default(), &built_with).unwrap();
    let program = &built.desired.programs["beta"];
    decide(program, &Revision::default(), &Readings::default(), &Memory::default(), Timestamp::UNIX_EPOCH)
        .effective
        .flags
}

/// A set that uses what flagd has, in a file; texts that YAML 1.1 reads as booleans or numbers included.
fn shop() -> Value {
    json!({
        "$schema": "https://flagd.dev/schema/v0/flags.json",
        "flags": {
            "new-checkout": {
                "state": "ENABLED",
                "variants": { "on": true, "off": false },
                "defaultVariant": "off",
                "targeting": { "if": [{ "$ref": "is_staff" }, "on", { "fractional": [["on", 25], ["off", 75]] }] },
                "metadata": { "owner": "payments", "since": 3, "beta": true, "version": "2" },
            },
            "Header Colour": {
                "state": "ENABLED",
                "variants": { "red": "#c00", "yes": "yes", "1": "1", "~": "null", "long": "a: b # c ".repeat(30), "lines": "x\n\n y\t\n" },
                "defaultVariant": null,
                "targeting": { "fractional": [{ "cat": [{ "var": "$flagd.flagKey" }, { "var": "email" }] }, ["red", 1], ["yes", 1], ["lines"]] },
            },
            "ratio": { "state": "ENABLED", "variants": { "low": 1.0, "high": 0.25, "whole": 3 }, "defaultVariant": "low" },
            "limit": { "state": "DISABLED", "variants": { "a": 1, "b": 9007199254740993_i64 }, "defaultVariant": "a", "targeting": {} },
            "settings": {
                "variants": { "full": { "x": [1, 2.5, null, { "no": "off" }] }, "none": {} },
                "defaultVariant": "",
                "targeting": { "if": [{ "sem_ver": [{ "var": "app" }, "^", "1.2.0"] }, "full", { ">": [{ "var": "$flagd.timestamp" }, 5] }, "none"] },
            },
        },
        "$evaluators": {
            "is_staff": { "or": [{ "$ref": "by_mail" }, { "in": [{ "var": "email" }, ["a@b.example"]] }] },
            "by_mail": { "ends_with": [{ "var": "email" }, "@gym.example"] },
            "unused": { "==": [1, 2] },
        },
        "metadata": { "flagSetId": "shop", "version": "7" },
    })
}

#[test]
fn an_import_gives_the_answers_of_the_original_definitions() {
    let shop = shop();
    let imported = flagd(&[file("shop.json", shop.clone())], &options()).unwrap();
    let texts = texts(&imported, &options()).unwrap();
    let published = published(&texts);
    let set_metadata = shop["metadata"].as_object().unwrap();
    let original: Vec<(&str, Value)> = shop["flags"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(key, flag)| {
            let mut flag = flag.clone();
            flag["$evaluators"] = shop["$evaluators"].clone();
            let mut metadata = set_metadata.clone();
            metadata.extend(flag["metadata"].as_object().cloned().unwrap_or_default());
            flag["metadata"] = Value::Object(metadata);
            (key.as_str(), flag)
        })
        .collect();
    let (before, problems) = FlagSet::compile(original.iter().map(|(key, flag)| (*key, flag)), &|_| None);
    assert_eq!(problems, []);
    let (after, problems) = FlagSet::compile(published.iter().map(|(key, flag)| (key.as_str(), flag)), &|_| None);
    assert_eq!(problems, []);
    assert_eq!(before.keys(), after.keys());
    let nobody = Membership::default();
    for person in 0..200 {
        let context = Context::new(json!({ "targetingKey": format!("u{person}"), "email": format!("u{person}@gym{}.example", if person % 3 == 0 { "" } else { "s" }),
            "app": if person % 2 == 0 { "1.4.0" } else { "2.0.0" } }))
        .unwrap();
        for key in before.keys() {
            let one = before.evaluate(key, &context, &nobody, Timestamp::UNIX_EPOCH);
            let other = after.evaluate(key, &context, &nobody, Timestamp::UNIX_EPOCH);
            let shown = |answer: Result<crate::flags::Evaluation<'_>, crate::flags::EvaluationError>| {
                answer
                    .map(|answer| {
                        (answer.value.cloned(), answer.variant.to_owned(), answer.reason, answer.metadata.clone())
                    })
                    .map_err(|error| (error.code(), error.details()))
            };
            assert_eq!(shown(one), shown(other), "{key} {person}");
        }
    }
    for flag in published.values() {
        assert_eq!(flag["bucketing"], "concat");
    }
    assert!(published.values().any(|flag| flag["$evaluators"]["unused"].is_object()));
}

#[test]
fn resources_of_the_operator_are_read_and_what_is_no_flag_is_named() {
    let resource = |name: &str, flags: Value| {
        json!({ "apiVersion": "core.openfeature.dev/v1beta1", "kind": "FeatureFlag",
            "metadata": { "name": name, "namespace": "shop", "labels": { "team": "a" }, "annotations": { "kubectl.kubernetes.io/last-applied-configuration": "{}" } },
            "spec": { "flagSpec": { "flags": flags } } })
    };
    let flag = json!({ "state": "ENABLED", "variants": { "a": "x" }, "defaultVariant": "a" });
    let listed = json!([{ "key": "l_one", "variants": { "a": "x" }, "defaultVariant": "a" }]);
    let documents = json!([
        resource("one", json!({ "Ab_c": flag, "ab.c": flag })),
        { "apiVersion": "v1", "kind": "Service", "metadata": { "name": "web" } },
        { "apiVersion": "v1", "kind": "List", "items": [resource("two", json!({ "ü": flag }))] },
        { "flags": listed },
        null,
    ]);
    let imported = flagd(&[file("all.yaml", documents)], &options()).unwrap();
    let shown: Vec<_> = imported.flags.iter().map(|flag| (flag.name.as_str(), flag.key.as_str())).collect();
    assert_eq!(shown, [("ab-c", "Ab_c"), ("ab-c-2", "ab.c"), ("flag", "ü"), ("l-one", "l_one")]);
    assert_eq!(imported.flags[0].body["metadata"], json!({ "name": "ab-c", "labels": { "team": "a" } }));
    assert_eq!(imported.left_out, ["all.yaml: Service web"]);
    assert_eq!(published(&texts(&imported, &options()).unwrap()).len(), 4);
}

#[test]
fn a_name_that_means_different_rules_in_two_files_means_them_still() {
    let set = |rule: Value| json!({ "flags": {}, "$evaluators": { "vip": rule, "same": { "$ref": "vip" } } });
    let (mut one, mut two) = (set(json!({ "==": [1, 1] })), set(json!({ "==": [1, 2] })));
    let flag = json!({ "variants": { "on": true, "off": false }, "defaultVariant": "off", "targeting": { "if": [{ "$ref": "same" }, "on", "off"] } });
    one["flags"]["f"] = flag.clone();
    two["flags"]["g"] = flag;
    let imported = flagd(&[file("one.json", one), file("two.json", two)], &options()).unwrap();
    let published = published(&texts(&imported, &options()).unwrap());
    let (set, _) = FlagSet::compile(published.iter().map(|(key, flag)| (key.as_str(), flag)), &|_| None);
    let context = Context::new(json!({})).unwrap();
    for (key, variant) in [("f", "on"), ("g", "off")] {
        let answer = set.evaluate(key, &context, &Membership::default(), Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(answer.variant, variant);
    }
}

#[test]
fn what_cannot_be_carried_over_is_named_all_at_once() {
    let sound = json!({ "variants": { "a": "x" }, "defaultVariant": "a" });
    let with = |field: &str, value: Value| {
        let mut flag = sound.clone();
        flag[field] = value;
        json!({ "flags": { "f": flag } })
    };
    for (set, said) in [
        (
            with("variants", json!({ "a": "x", "b": 1 })),
            "x.json: flag 'f': its variants are not of one type: a: \"x\", b: 1",
        ),
        (with("variants", json!({})), "it has no variants"),
        (with("variants", json!({ "a": null })), "not of one type"),
        (with("state", json!("enabled")), "neither ENABLED nor DISABLED"),
        (with("metadata", json!({ "team": { "a": 1 } })), "metadata team is {\"a\":1}"),
        (with("selector", json!("x")), "nothing for `selector` to become"),
        (with("defaultVariant", json!("b")), "spec.defaultVariant: there is no variant 'b'"),
        (with("defaultVariant", json!(true)), "is no text"),
        (with("targeting", json!({ "$ref": "nobody" })), "no evaluator 'nobody' in its set"),
        (with("targeting", json!({ "custom_op": [1] })), "spec.targeting.custom_op: there is no operator"),
        (with("targeting", json!({ "if": [true, "b"] })), "there is no variant 'b'"),
        (json!({ "flags": { "f": sound }, "sources": [] }), "x.json: sources: there is nothing"),
        (json!({ "flags": "none" }), "neither a mapping nor a list"),
        (json!({ "flags": {} }), "it has no flags"),
        (json!(["x"]), "no mapping"),
        (json!([{ "flags": { "f": sound } }, { "flags": { "f": sound } }]), "flag 'f': it stands in x.json too"),
        (
            json!({ "apiVersion": "core.openfeature.dev/v1alpha1", "kind": "FeatureFlagConfiguration", "metadata": { "name": "n" } }),
            "FeatureFlagConfiguration n: core.openfeature.dev/v1alpha1 is older",
        ),
    ] {
        let found = refused(&[file("x.json", set.clone())]);
        assert_eq!(found.len(), 1, "{set}: {found:?}");
        assert!(found[0].contains(said), "'{said}' is not in {found:?}");
    }
    let both = json!({ "flags": { "f": { "variants": {} }, "g": { "state": 1 } } });
    assert_eq!(refused(&[file("x.json", both)]).len(), 3);
}

#[test]
fn a_rule_nested_deeper_than_a_document_may_be_is_refused_not_cut() {
    let mut rule = json!("a");
    for _ in 0..40 {
        rule = json!({ "if": [true, rule] });
    }
    let found = refused(&[file("x.json", json!({ "flags": { "f": { "variants": { "a": 1 }, "targeting": rule } } }))]);
    assert_eq!(found.len(), 1, "{found:?}");
}
