#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use serde_json::json;

use super::super::parse::parse;
use super::*;

const FORMATS: &[Format] =
    &[("even", |text| if text.len() % 2 == 0 { Ok(()) } else { Err(format!("'{text}' is odd")) })];

/// The problems of `spec:` with this text (from line 4 on) under a schema.
fn found(schema: &Json, spec: &str) -> Vec<String> {
    let parsed = parse("a.yaml", &format!("kind: A\nmetadata: {{name: a}}\nspec:\n{spec}\n"));
    assert!(parsed.problems.is_empty(), "{spec}: {:?}", parsed.problems);
    let problems = check(&parsed.documents[0], schema, FORMATS);
    problems.iter().map(|p| p.to_string().strip_prefix("a.yaml:").unwrap().to_owned()).collect()
}

fn table(schema: &Json, cases: &[(&str, &[&str])]) {
    for (spec, wanted) in cases {
        assert_eq!(found(schema, spec), *wanted, "{spec}");
    }
}

#[test]
fn fields_and_types() {
    let schema = json!({
        "type": "object", "required": ["program", "stages"],
        "properties": {
            "program": { "type": "string", "minLength": 1 },
            "expireAfter": { "type": "string", "nullable": true },
            "stages": { "type": "array", "minItems": 1, "items": {
                "type": "object", "required": ["name"],
                "properties": { "name": { "type": "string" }, "passes": { "type": "integer", "format": "uint32", "minimum": 1.0 } },
            } },
            "flags": { "type": "object", "additionalProperties": { "type": "boolean" } },
            "port": { "x-kubernetes-int-or-string": true },
            "any": { "x-kubernetes-preserve-unknown-fields": true },
            "share": { "type": "number", "maximum": 1.0, "exclusiveMinimum": 0.0 },
        },
    });
    table(
        &schema,
        &[
            (
                "  program: p\n  stages: [{name: a, passes: 2}]\n  expireAfter:\n  port: 80\n  any: {x: [1]}\n  share: 1",
                &[],
            ),
            (
                "  program: p\n  stages:\n    - nme: a",
                &[
                    "6:7: spec.stages[0].nme: unknown field `nme` (expected one of name, passes; did you mean name?)",
                    "6:7: spec.stages[0].name: the field `name` is missing (expected text)",
                ],
            ),
            (
                "  stages: []\n  expire_after: 14d",
                &[
                    "4:3: spec.stages: the list is empty (expected at least 1)",
                    "5:3: spec.expire_after: unknown field `expire_after` (expected one of program, expireAfter, stages, flags, port, any, share; did you mean expireAfter?)",
                    "3:1: spec.program: the field `program` is missing (expected text)",
                ],
            ),
            (
                "  program: 5\n  stages: {name: a}\n  port: 1.5\n  share: 1.5",
                &[
                    "4:12: spec.program: wrong type: the number 5 (expected text)",
                    "5:11: spec.stages: wrong type: a mapping (expected a list)",
                    "6:9: spec.port: wrong type: the number 1.5 (expected a whole number or text)",
                    "7:10: spec.share: out of range: the number 1.5 (expected at most 1)",
                ],
            ),
            (
                "  program:\n  stages: [{name: a, passes: 0}, {name: b, passes: 1.0}, {name: c, passes: 5000000000}, text]\n  flags: {x: \"true\"}\n  share: 0",
                &[
                    "4:3: spec.program: nothing stands here (expected text)",
                    "5:30: spec.stages[0].passes: out of range: the number 0 (expected at least 1)",
                    "5:52: spec.stages[1].passes: wrong type: the number 1.0 (expected a whole number)",
                    "5:76: spec.stages[2].passes: out of range: the number 5000000000 (expected at most 4294967295)",
                    "5:89: spec.stages[3]: wrong type: the text \"text\" (expected a mapping)",
                    "6:14: spec.flags.x: wrong type: the text \"true\" (expected true or false)",
                    "7:10: spec.share: out of range: the number 0 (expected more than 0)",
                ],
            ),
            (
                "  program: \"\"\n  stages: [{name: a}]",
                &["4:12: spec.program: the text is empty (expected at least 1)"],
            ),
        ],
    );
}

#[test]
fn single_values() {
    let schema = json!({
        "type": "object",
        "properties": {
            "verdict": { "type": "string", "enum": ["Pass", "Conditional", "Fail"] },
            "maybe": { "type": "string", "enum": ["a", "b", null], "nullable": true },
            "only": { "const": "x" },
            "wait": { "type": "string", "format": "even", "pattern": "^never$" },
            "code": { "type": "string", "pattern": "^[A-Z]{3}$" },
            "at": { "type": "string", "format": "date-time" },
            "list": { "type": ["array", "null"], "maxItems": 1, "items": { "enum": [1, 2] } },
        },
    });
    table(
        &schema,
        &[
            (
                "  verdict: Pass\n  maybe:\n  only: x\n  wait: ab\n  code: ABC\n  at: 2026-03-10T09:00:00Z\n  list: [2]",
                &[],
            ),
            ("  list:", &[]),
            (
                "  verdict: fail\n  maybe: c\n  only: z",
                &[
                    "4:12: spec.verdict: not allowed here: the text \"fail\" (expected one of Pass, Conditional, Fail; did you mean Fail?)",
                    "5:10: spec.maybe: not allowed here: the text \"c\" (expected one of a, b)",
                    "6:9: spec.only: not allowed here: the text \"z\" (expected x)",
                ],
            ),
            (
                "  wait: abc\n  code: abc\n  at: tomorrow\n  list: [3, 1]",
                &[
                    "4:9: spec.wait: 'abc' is odd",
                    "5:9: spec.code: not of the right form: the text \"abc\" (expected text like ^[A-Z]{3}$)",
                    "6:7: spec.at: 'tomorrow' is not an instant, such as 2026-03-10T09:00:00Z",
                    "7:3: spec.list: 2 items (expected at most 1)",
                    "7:10: spec.list[0]: not allowed here: the number 3 (expected one of 1, 2)",
                ],
            ),
        ],
    );
}

#[test]
fn choices_report_the_branch_that_was_meant() {
    let schema = json!({
        "type": "object",
        "properties": {
            "step": { "$ref": "#/$defs/Step" },
            "names": { "anyOf": [{ "type": "string", "enum": ["all"] }, { "type": "array", "items": { "type": "string" } }] },
            "risk": { "anyOf": [{ "$ref": "#/$defs/Risk" }, { "type": "null" }] },
            "kind": { "oneOf": [{ "const": "one" }, { "const": "two" }] },
            "tagged": { "oneOf": [
                { "type": "object", "required": ["type"], "properties": { "type": { "const": "a" }, "x": { "type": "integer" } } },
                { "type": "object", "required": ["type"], "properties": { "type": { "const": "b" }, "z": { "type": "integer" } } },
            ] },
        },
        "$defs": {
            "Risk": { "type": "string", "enum": ["low", "high"] },
            "Step": { "oneOf": [
                { "type": "object", "required": ["freeze"], "additionalProperties": false,
                  "properties": { "freeze": { "type": "object", "properties": { "cohorts": { "type": "string" } } } } },
                { "type": "object", "required": ["note"], "additionalProperties": false,
                  "properties": { "note": { "type": "object", "properties": { "to": { "type": "string" } } } } },
            ] },
        },
    });
    table(
        &schema,
        &[
            ("  step: {freeze: {cohorts: x}}\n  names: all\n  risk:\n  kind: two\n  tagged: {type: b, z: 1}", &[]),
            ("  names: [a, b]\n  risk: low", &[]),
            (
                "  step: {note: {too: x}}",
                &["4:17: spec.step.note.too: unknown field `too` (expected to; did you mean to?)"],
            ),
            (
                "  step: {freze: {cohorts: x}}",
                &["4:10: spec.step.freze: unknown field `freze` (expected one of freeze, note; did you mean freeze?)"],
            ),
            ("  step: {}", &["4:3: spec.step: a field is missing (expected one of freeze, note)"]),
            ("  step: {freeze: {}, note: {}}", &["4:22: spec.step: only one of freeze, note may be given"]),
            ("  step: 5", &["4:9: spec.step: wrong type: the number 5 (expected a mapping)"]),
            (
                "  names: alle",
                &["4:10: spec.names: not allowed here: the text \"alle\" (expected all; did you mean all?)"],
            ),
            ("  names: 5", &["4:10: spec.names: wrong type: the number 5 (expected all or a list)"]),
            ("  names: [5]", &["4:11: spec.names[0]: wrong type: the number 5 (expected text)"]),
            (
                "  risk: hihg",
                &[
                    "4:9: spec.risk: not allowed here: the text \"hihg\" (expected one of low, high; did you mean high?)",
                ],
            ),
            (
                "  kind: tow",
                &["4:9: spec.kind: not allowed here: the text \"tow\" (expected one of one, two; did you mean two?)"],
            ),
            ("  tagged: {type: a, z: 1}", &["4:21: spec.tagged.z: unknown field `z` (expected one of type, x)"]),
            (
                "  tagged: {type: a, x: w}",
                &["4:24: spec.tagged.x: wrong type: the text \"w\" (expected a whole number)"],
            ),
        ],
    );
}

#[test]
fn exactly_one_of_several_fields() {
    let structural = json!({
        "type": "object",
        "properties": { "a": { "type": "string" }, "b": { "type": "string" }, "c": { "type": "string" } },
        "oneOf": [{ "required": ["a"] }, { "required": ["b"] }],
    });
    table(
        &structural,
        &[
            ("  a: x\n  c: x", &[]),
            ("  c: x", &["3:1: spec: a field is missing (expected one of a, b)"]),
            ("  a: x\n  b: x", &["5:3: spec: only one of a, b may be given"]),
        ],
    );
    let by_rule = json!({
        "type": "object",
        "properties": { "a": { "type": "string" }, "b": { "type": "string", "nullable": true }, "c": { "type": "string" } },
        "x-kubernetes-validations": [{ "rule": "has(self.a) != has(self.b)", "message": "a trigger is exactly one of a, b" }],
    });
    table(
        &by_rule,
        &[
            ("  a: x\n  b:", &[]),
            ("  c: x", &["3:1: spec: a trigger is exactly one of a, b"]),
            ("  b: x\n  a: x", &["5:3: spec: a trigger is exactly one of a, b, here are b and a"]),
            ("  e: x", &["4:3: spec.e: unknown field `e` (expected one of a, b, c)"]),
        ],
    );
}

#[test]
fn the_envelope() {
    let schema = json!({ "type": "object", "required": ["x"], "properties": { "x": { "type": "integer" } } });
    for (text, wanted) in [
        ("kind: A\nmetadata: {name: a.b-1, labels: {x: y}, uid: 1}\nspec: {x: 1}\nstatus: {y: 1}", vec![]),
        (
            "kind: A\napiVersion: 1\nmetdata: {name: a}",
            vec![
                "2:13: apiVersion: wrong type: the number 1 (expected text)",
                "3:1: metdata: unknown field `metdata` (expected one of apiVersion, kind, metadata, spec, status; did you mean metadata?)",
                "1:1: metadata: the field `metadata` is missing",
                "1:1: spec: the field `spec` is missing",
            ],
        ),
        (
            "kind: A\nmetadata:\n  nam: a\n  labels: {x: 1}\nspec:",
            vec![
                "3:3: metadata.nam: unknown field `nam` (expected one of name, namespace, labels, annotations, finalizers, ownerReferences, managedFields, creationTimestamp, deletionTimestamp, deletionGracePeriodSeconds, generation, resourceVersion, uid, selfLink; did you mean name?)",
                "4:15: metadata.labels.x: wrong type: the number 1 (expected text)",
                "2:1: metadata.name: the field `name` is missing (expected text)",
                "5:1: spec: nothing stands here (expected a mapping)",
            ],
        ),
        (
            "kind: A\nmetadata: {name: ml_recs}\nspec: {x: 1}",
            vec![
                "2:18: metadata.name: 'ml_recs' is not a Kubernetes name: lower-case letters, digits, `-` and `.`, with a letter or digit at both ends, at most 253 characters",
            ],
        ),
    ] {
        let parsed = parse("a.yaml", text);
        let problems = check(&parsed.documents[0], &schema, &[]);
        let shown: Vec<_> = problems.iter().map(|p| p.to_string().replace("a.yaml:", "")).collect();
        assert_eq!(shown, wanted, "{text}");
    }
}
