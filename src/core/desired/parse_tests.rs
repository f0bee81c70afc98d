#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use super::*;

fn shown(text: &str) -> Vec<String> {
    parse("a.yaml", text).problems.iter().map(ToString::to_string).collect()
}

#[test]
fn bad_text_is_named_with_line_and_column() {
    for (text, wanted) in [
        ("kind: [a", "a.yaml:1:7: not readable as YAML: unclosed bracket '['"),
        (
            "kind: A\nspec:\n  a: 1\n b: 2\n",
            "a.yaml:4:2: not readable as YAML: while parsing a block mapping, did not find expected key",
        ),
        ("kind: A\na: b: c", "a.yaml:2:5: not readable as YAML: mapping values are not allowed in this context"),
        ("kind: A\na: \"x", "a.yaml:2:4: not readable as YAML: unclosed quote"),
        ("kind: A\na: *b", "a.yaml:2:4: not readable as YAML: reference to unknown value"),
        ("kind: A\na: !foo x", "a.yaml:2:9: not readable as YAML: unsupported tag `!foo`"),
        ("kind: A\na: &a [*a]", "a.yaml:2:8: not readable as YAML: Recursive reference not allowed here"),
        ("kind: A\na: @x", "a.yaml:2:4: not readable as YAML: unexpected character: `@'"),
        ("kind: A\nb: {{ .Values }}", "a.yaml:2:5: a key must be text"),
        ("kind: A\n? [a]\n: b\n", "a.yaml:2:3: a key must be text"),
        ("kind: A\nnull: b\n", "a.yaml:2:1: a key must be text"),
        ("kind: A\na: 1\na: 2\n", "a.yaml:3:1: the key `a` is given twice"),
        ("kind: A\nspec: {a: 1, b: 2, a: 3}\n", "a.yaml:2:20: the key `a` is given twice"),
        ("- a\n", "a.yaml:1:1: a document must be a mapping, here is a list"),
        ("x", "a.yaml:1:1: a document must be a mapping, here is the text \"x\""),
        ("metadata: {name: a}\n", "a.yaml:1:1: kind: the document has no `kind`"),
        ("kind: 5\n", "a.yaml:1:7: kind: `kind` must be text, here is the number 5"),
        ("kind:\n", "a.yaml:1:1: kind: `kind` must be text, here is nothing"),
    ] {
        assert_eq!(shown(text), [wanted], "{text:?}");
    }
}

#[test]
fn a_text_that_no_database_keeps_is_refused_with_its_place() {
    assert_eq!(
        shown("kind: A\nmetadata: {name: a}\nspec:\n  note: \"a\\0b\"\n  \"c\\0\": d\n"),
        [
            "a.yaml:4:9: spec.note: a text can't hold the character NUL",
            "a.yaml:5:3: spec[\"c\\0\"]: a text can't hold the character NUL"
        ]
    );
}

#[test]
fn a_syntax_error_in_one_document_leaves_the_others_readable() {
    let text = "# head\nkind: A\nmetadata: {name: a}\n---\nkind: B\nmetadata:\n  name: b\nspec: [\n---\n\n--- # c\nkind: C\nx: 1\n...\nkind: D\n y: 1\n";
    let parsed = parse("a.yaml", text);
    let read: Vec<_> = parsed.documents.iter().map(|d| (d.kind.as_str(), d.name.as_str(), d.root.at.line)).collect();
    assert_eq!(read, [("A", "a", 2), ("C", "", 12)]);
    let problems: Vec<_> = parsed.problems.iter().map(|p| (p.line, p.column)).collect();
    assert_eq!(problems, [(8, 7), (16, 3)]);
    let broken: Vec<_> = parsed.broken.iter().map(|b| (b.line, b.kind.as_deref(), b.name.as_deref())).collect();
    assert_eq!(broken, [(4, Some("B"), Some("b")), (15, Some("D"), None)]);
    assert_eq!(parsed.documents[1].root.position("/x"), Position::new(13, 4));
}

#[test]
fn a_document_with_a_key_given_twice_is_read_on() {
    let parsed = parse("a.yaml", "kind: A\nmetadata: {name: a}\nspec:\n  x: 1\n  x: 2\n  z: off\n");
    assert_eq!(parsed.documents.len(), 1);
    let places: Vec<_> = parsed.problems.iter().map(|p| (p.line, p.column, p.field.as_str())).collect();
    assert_eq!(places, [(5, 3, ""), (6, 6, "spec.z")]);
}

#[test]
fn words_that_other_readers_take_for_booleans_must_be_quoted() {
    for (text, wanted) in [
        ("kind: A\nv: {on: true}", vec![(2, 5, "v.on")]),
        ("kind: A\nv: {\"on\": true, 'off': false}", vec![]),
        ("kind: A\nv: off", vec![(2, 4, "v")]),
        ("kind: A\nv: No # really", vec![(2, 4, "v")]),
        ("kind: A\nv:\n  - \"y\"\n  - y\n  - YES\n  - 'n'", vec![(4, 5, "v[1]"), (5, 5, "v[2]")]),
        ("kind: A\nv:\n  if: [a, on, \"off\"]", vec![(3, 11, "v.if[1]")]),
        ("kind: A\nv: |-\n  yes\nw: >-\n  no\nx: !!str on\nz: |2-\n  on", vec![]),
        ("kind: A\nv:\n  yes", vec![(3, 3, "v")]),
        ("kind: A\nv: &x on\nw: *x\nz: *x", vec![(2, 7, "v")]),
        ("kind: A\nv: {é: ü, y: 1}", vec![(2, 11, "v.y")]),
        ("kind: A\nv: nope\nw: online\nx: true\nz: False", vec![]),
        ("{\"kind\": \"A\", \"on\": \"yes\"}", vec![]),
    ] {
        let parsed = parse("a.yaml", text);
        assert_eq!(parsed.documents.len(), 1, "{text:?}");
        let found: Vec<_> = parsed.problems.iter().map(|p| (p.line, p.column, p.field.as_str())).collect();
        assert_eq!(found, wanted, "{text:?}");
    }
    assert_eq!(
        shown("kind: A\nv: off"),
        ["a.yaml:2:4: v: bare `off` is a boolean to kubectl and Helm: quote it, or write false (expected \"off\")"]
    );
}

#[test]
fn every_key_and_value_knows_its_place() {
    let text = "kind: A\nspec:\n  stages:\n    - name: one\n      \"a/b\": {x: 1}\n    -\n      name: two\n  empty:\n";
    let root = parse("a.yaml", text).documents.remove(0).root;
    for (pointer, value, key) in [
        ("", (1, 1), (1, 1)),
        ("/spec", (3, 3), (2, 1)),
        ("/spec/stages/0/name", (4, 13), (4, 7)),
        ("/spec/stages/0/a~1b/x", (5, 18), (5, 15)),
        ("/spec/stages/1", (7, 7), (7, 7)),
        ("/spec/stages/1/enter/gates/0", (7, 7), (7, 7)),
        ("/spec/stages/9/name", (3, 3), (3, 3)),
        ("/spec/empty", (8, 3), (8, 3)),
        ("/status/x", (1, 1), (1, 1)),
    ] {
        assert_eq!(root.position(pointer), Position::new(value.0, value.1), "value of {pointer}");
        assert_eq!(root.key_position(pointer), Position::new(key.0, key.1), "key of {pointer}");
    }
    assert_eq!(root.at("/spec/stages/1/name").and_then(Node::text), Some("two"));
    assert_eq!(root.at("/spec/stages/2"), None);
    assert_eq!(
        root.to_json(),
        serde_json::json!({"kind": "A", "spec": {"stages": [{"name": "one", "a/b": {"x": 1}}, {"name": "two"}], "empty": null}})
    );
}

#[test]
fn a_json_pointer_reads_as_a_dotted_path() {
    for (pointer, wanted) in [
        ("", ""),
        ("/spec/stages/0/enter/gates/1/name", "spec.stages[0].enter.gates[1].name"),
        ("/metadata/labels/a.b~1c", "metadata.labels[\"a.b/c\"]"),
    ] {
        assert_eq!(dotted(pointer), wanted);
    }
}

#[test]
fn aliases_and_merge_keys_keep_the_place_where_the_value_is_written() {
    let text = "kind: A\nbase: &b {x: 1, z: 0}\nspec:\n  <<: *b\n  z: 2\ncopy: *b\n";
    let root = parse("a.yaml", text).documents.remove(0).root;
    assert_eq!(root.position("/spec/x"), Position::new(2, 14));
    assert_eq!(root.position("/spec/z"), Position::new(5, 6));
    assert_eq!(root.position("/copy"), Position::new(2, 10));
    assert_eq!(root.get("spec").map(Node::to_json), Some(serde_json::json!({"x": 1, "z": 2})));
}

#[test]
fn scalars_keep_their_type() {
    let text = "kind: A\nv: [1, -1, 1.5, 0x10, '1', true, ~, 1e3, .inf, 18446744073709551615, 2026-03-02, 2026-03-10T09:00:00Z, 12:30]";
    let root = parse("a.yaml", text).documents.remove(0).root;
    assert_eq!(
        root.get("v").map(Node::to_json),
        Some(serde_json::json!([
            1,
            -1,
            1.5,
            16,
            "1",
            true,
            null,
            1000.0,
            ".inf",
            18_446_744_073_709_551_615_u64,
            "2026-03-02",
            "2026-03-10T09:00:00Z",
            "12:30"
        ]))
    );
}

#[test]
fn input_is_bounded() {
    let deep = format!("kind: A\nv: {}{}", "[".repeat(100), "]".repeat(100));
    let mut bomb = "kind: A\na0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for i in 1..9 {
        let last = format!("*a{}, ", i - 1).repeat(10);
        bomb.push_str(&format!("a{i}: &a{i} [{last}]\n"));
    }
    let mut chain = "kind: A\na0: &a0 [x]\n".to_owned();
    for i in 1..200 {
        chain.push_str(&format!("a{i}: &a{i} [*a{}]\n", i - 1));
    }
    for text in [deep, bomb, chain] {
        let parsed = parse("a.yaml", &text);
        assert_eq!(parsed.documents.len(), 0);
        assert_eq!(parsed.problems.len(), 1);
        assert_eq!(parsed.broken.len(), 1);
    }
}

#[test]
fn text_around_documents_is_no_document() {
    for (text, documents) in [
        ("", 0),
        ("# only a comment\n", 0),
        ("---\n---\n# x\n...\n", 0),
        ("---\nnull\n", 0),
        ("\u{feff}kind: A\n", 1),
        ("%YAML 1.2\n---\nkind: A\n", 1),
        ("kind: A\r\n---\r\nkind: B\r\n", 2),
        ("kind: A\nv: |\n  ---\n  x\n--- \nkind: B\n", 2),
        ("kind: A\nv: ---x\n---y: 1\n", 1),
    ] {
        let parsed = parse("a.yaml", text);
        assert_eq!((parsed.documents.len(), parsed.problems.len()), (documents, 0), "{text:?}: {:?}", parsed.problems);
    }
}

#[test]
fn text_that_is_not_utf8_is_named_with_its_place() {
    let parsed = parse_bytes("a.yaml", b"kind: A\nv: \xff\n");
    assert_eq!(parsed.problems[0].to_string(), "a.yaml:2:4: the file is not UTF-8 text");
}

#[test]
fn many_files_are_read_in_order() {
    let texts: Vec<String> =
        (0..1000).map(|i| format!("kind: K{i}\nmetadata: {{name: {}}}\n", "n".repeat(80))).collect();
    let files: Vec<(&str, &[u8])> = texts.iter().map(|text| ("a.yaml", text.as_bytes())).collect();
    let parsed = parse_files(&files);
    assert_eq!(parsed.len(), 1000);
    assert!(parsed.iter().enumerate().all(|(i, parsed)| parsed.documents[0].kind == format!("K{i}")));
}
