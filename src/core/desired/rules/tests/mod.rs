//! Every rule, each by the document that breaks it. `¦` marks where the problem must be found: line and column are exact.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot be set up has failed")]

mod gates_and_stages;
mod plans_and_records;
mod several;

use crate::desired::{
    BuildOptions, Built, Revision, build,
    error::{Problem, Severity},
};

/// A sound program, to which each case adds a document, or of which it changes a line.
const BASE: &str = r#"
kind: Program
metadata: { name: p }
spec:
  timeZone: Europe/Rome
  people: { ana: { notify: ana@gym.example }, ben: {} }
  invariants: [ { flag: billing, is: false } ]
  alwaysOnline: [privacy]
  sources:
    db: { database: { secretRef: db } }
    prom: { prometheus: { url: http://127.0.0.1:9090 } }
    web: { http: { url: https://gym.example } }
  channels: { support: { email: [help@gym.example] } }
---
{ kind: Cohort, metadata: { name: pavia }, spec: { program: p, members: { csv: pavia.csv }, invites: { template: hello } } }
---
{ kind: Flag, metadata: { name: billing }, spec: { program: p, type: boolean, variants: { "on": true, "off": false }, defaultVariant: "off" } }
---
kind: Flag
metadata: { name: boost }
spec: { program: p, key: boost_enabled, risk: high, type: boolean, variants: { "on": true, "off": false }, defaultVariant: "off", safeVariant: "off", fallback: /plain }
---
{ kind: Gate, metadata: { name: weekly }, spec: { program: p, review: { cron: "0 17 * * FRI" }, checks: [ { name: sync, kpi: sync_success_rate, pass: ">= 95%", critical: true }, { name: guide, signoff: { from: [ana] } } ] } }
---
{ kind: Gate, metadata: { name: ready }, spec: { program: p, checks: [ { name: guide, signoff: {} } ] } }
---
{ kind: Rollout, metadata: { name: beta }, spec: { program: p, stages: [ { name: pilot, cohorts: [pavia] } ] } }
---
{ kind: Workload, metadata: { name: api }, spec: { program: p, component: api, port: 8081 } }
---
{ kind: Dataset, metadata: { name: moves }, spec: { program: p, file: moves.json, table: movement_library, key: movement_id } }
---
{ kind: RollbackPlan, metadata: { name: back }, spec: { program: p, steps: [ { freezeInvites: {} } ] } }
"#;

fn exists(path: &str) -> bool {
    ["m/pavia.csv", "m/moves.json", "m/old/list.csv", "cohorts/templates/hello.txt"].contains(&path)
}

fn built(files: &[(&str, &str)]) -> Result<Built, Vec<Problem>> {
    let options = BuildOptions { environment: None, default_prometheus: false, file_exists: &exists };
    build(files.iter().copied(), Revision::default(), &options)
}

/// Takes the marks out of a text and says where they stood.
fn unmarked(text: &str) -> (String, Vec<(u32, u32)>) {
    let (mut clean, mut marks) = (String::new(), Vec::new());
    let (mut line, mut column) = (1, 1);
    for c in text.chars() {
        match c {
            '¦' => marks.push((line, column)),
            '\n' => {
                (line, column) = (line + 1, 1);
                clean.push(c);
            }
            c => {
                column += 1;
                clean.push(c);
            }
        }
    }
    (clean, marks)
}

fn problems(files: &[(&str, &str)]) -> Vec<Problem> {
    match built(files) {
        Ok(built) => built.warnings,
        Err(problems) => problems,
    }
}

/// Adds each document to the sound program: exactly the marked problems are found, with these words.
fn added(cases: &[(&str, &[&str])]) {
    for (document, said) in cases {
        let (text, marks) = unmarked(document);
        expect(document, &problems(&[("m/base.yaml", BASE), ("m/x.yaml", &text)]), "m/x.yaml", &marks, said);
    }
}

/// Changes one place of the sound program.
fn changed(cases: &[(&str, &str, &[&str])]) {
    for (good, bad, said) in cases {
        assert_eq!(BASE.matches(good).count(), 1, "'{good}' stands once");
        let (text, marks) = unmarked(&BASE.replace(good, bad));
        expect(bad, &problems(&[("m/base.yaml", &text)]), "m/base.yaml", &marks, said);
    }
}

fn expect(case: &str, found: &[Problem], file: &str, marks: &[(u32, u32)], said: &[&str]) {
    let places: Vec<_> = found.iter().map(|problem| (problem.line, problem.column)).collect();
    let shown: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(places, marks, "{case}\n{shown:#?}");
    for (problem, said) in shown.iter().zip(said) {
        assert!(problem.starts_with(&format!("{file}:")) && problem.contains(said), "'{said}' is not in {problem}");
    }
    assert_eq!(shown.len(), said.len(), "{shown:#?}");
}

#[test]
fn the_sound_program_is_taken_without_a_word() {
    let built = built(&[("m/base.yaml", BASE)]).unwrap();
    assert_eq!(built.warnings, []);
    let program = &built.desired.programs["p"];
    assert_eq!(program.flags.keys().collect::<Vec<_>>(), ["billing", "boost_enabled"]);
    assert_eq!(program.gate_order, ["ready", "weekly"]);
    assert_eq!((&*program.cohorts["pavia"].origin.file, program.cohorts["pavia"].origin.line), ("m/base.yaml", 15));
}

#[test]
fn a_problem_says_file_line_column_field_what_was_expected_and_the_nearest_name() {
    let text = "kind: Gate\nmetadata: { name: g }\nspec:\n  program: p\n  checks:\n    - { name: c, kpi: retention_w5, pass: \">= 1%\" }\n";
    let found = problems(&[("m/base.yaml", BASE), ("m/g.yaml", text)]);
    let shown = found[0].to_string();
    assert!(shown.starts_with("m/g.yaml:6:23: spec.checks[0].kpi: there is no KPI 'retention_w5' (expected one of "));
    assert!(shown.ends_with("; did you mean retention_w4?)"), "{shown}");
}

#[test]
fn envelopes_and_names() {
    added(&[
        (
            "apiVersion: ¦betagate.dev/v2\nkind: Incident\nmetadata: { name: c }\nspec: { program: p, severity: sev-1, title: t, startedAt: 2026-03-10T09:00:00Z }\n",
            &["expected betagate.dev/v1alpha1"],
        ),
        (
            "kind: ¦Cohrt\nmetadata: { name: c }\nspec: { program: p, members: { csv: ¦nobody.csv } }\n",
            &["did you mean Cohort?", "there is no file"],
        ),
        ("kind: ¦Whatever\nmetadata: { name: c }\nspec: { program: q }\n", &["there is no kind 'Whatever'"]),
        ("kind: ¦Rollback\nmetadata: { name: c }\n", &["written by the controller"]),
        (
            "{ kind: Incident, metadata: { name: i }, spec: { program: ¦q, severity: sev-1, title: t, startedAt: 2026-03-10T09:00:00Z } }",
            &["there is no program 'q' (expected p)"],
        ),
        (
            "{ kind: Workload, metadata: { name: ¦api }, spec: { program: p, component: worker } }",
            &["already a Workload 'api' in m/base.yaml, line"],
        ),
        (
            "{ kind: Flag, metadata: { name: f }, spec: { program: p, key: ¦boost_enabled, type: boolean, variants: { a: true }, defaultVariant: a } }",
            &["'boost_enabled' is already taken in m/base.yaml, line"],
        ),
    ]);
}

#[test]
fn a_programs_name_is_no_longer_than_a_label() {
    let longest = "p".repeat(63);
    let named =
        |name: &str| format!("{{ kind: Program, metadata: {{ name: ¦{name} }}, spec: {{ timeZone: Europe/Rome }} }}");
    added(&[(&named(&longest).replace('¦', ""), &[]), (&named(&format!("{longest}p")), &["may have 63 characters"])]);
}

#[test]
fn a_document_of_somebody_else_is_left_out_with_a_warning() {
    let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: { name: c }\ndata: { a: b }\n";
    let found = built(&[("m/base.yaml", BASE), ("m/c.yaml", text)]).unwrap().warnings;
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].severity, found[0].line, found[0].column), (Severity::Warning, 1, 13));
}

#[test]
fn a_second_document_of_a_name_is_named_though_the_first_is_broken() {
    let text = "{ kind: Workload, metadata: { name: w }, spec: { program: p, ¦componet: api } }\n---\n{ kind: Workload, metadata: { name: ¦w }, spec: { program: p, component: api } }";
    let (text, marks) = unmarked(text);
    let found = problems(&[("m/base.yaml", BASE), ("m/x.yaml", &text)]);
    assert!(marks.iter().all(|mark| found.iter().any(|p| (p.line, p.column) == *mark)), "{found:#?}");
}

#[test]
fn what_a_broken_document_would_give_is_not_missed_twice() {
    let text = "{ kind: Cohort, metadata: { name: lyon }, spec: { program: p, members: { csv: pavia.csv }, ¦capcity: 5 } }\n---\n{ kind: Invite, metadata: { name: i }, spec: { program: p, cohort: lyon, email: a@b.example } }";
    added(&[(text, &["unknown field `capcity`"])]);
}

#[test]
fn what_belongs_to_a_broken_program_is_checked_in_the_same_run() {
    let text = "{ kind: Program, metadata: { name: q }, spec: { ¦timezone: UTC, people: { ana: {} } } }\n---\n\
        { kind: Gate, metadata: { name: h }, spec: { program: q, owner: ana, checks: [ { name: a, kpi: ¦retention, pass: \"> 1\" } ] } }\n---\n\
        { kind: Gate, metadata: { name: k }, spec: { program: q, checks: [ { name: a, prometheus: up, source: ¦s, pass: \"> 1\" } ] } }\n---\n\
        { kind: Invite, metadata: { name: i }, spec: { program: q, cohort: ¦rome, email: a@b.example } }";
    let (text, marks) = unmarked(text);
    let found = problems(&[("m/base.yaml", BASE), ("m/x.yaml", &text)]);
    let mut places: Vec<_> = found.iter().map(|problem| (problem.line, problem.column)).collect();
    places.retain(|(line, _)| *line > 1);
    assert_eq!(places, marks[1..], "{found:#?}");
    assert!(found.iter().any(|problem| (problem.line, problem.column) == marks[0]), "{found:#?}");
}

#[test]
fn a_resource_of_another_program_is_not_there_for_this_one() {
    let text = "{ kind: Program, metadata: { name: q }, spec: { timeZone: UTC } }\n---\n{ kind: Invite, metadata: { name: i }, spec: { program: q, cohort: ¦pavia, email: a@b.example } }";
    added(&[(text, &["there is no cohort 'pavia' in program 'q'"])]);
}

#[test]
fn programs() {
    changed(&[
        ("alwaysOnline: [privacy]", "alwaysOnline: [¦privcy]", &["did you mean privacy?"]),
        (
            "channels:",
            "owners: [ { area: a, owner: ¦anna, backup: ¦bob } ]\n  channels:",
            &["no person 'anna'", "no person 'bob'"],
        ),
        (
            "channels:",
            "duty: { shifts: ¦0h, people: [ana, ¦bne] }\n  channels:",
            &["longer than nothing", "did you mean ben?"],
        ),
        ("channels:", "publicUrl: ¦gym.example\n  channels:", &["starts with http"]),
        ("notify: ana@gym.example", "notify: ¦ana", &["exactly one @"]),
        ("[help@gym.example]", "[¦help]", &["exactly one @"]),
        ("database: { secretRef: db }", "database: { url: ¦postgres://a:b@db/x }", &["carries a password"]),
        (
            "database: { secretRef: db }",
            "database: { url: ¦\"postgres://db/x?user=a&password=b\" }",
            &["carries a password"],
        ),
        (
            "    db: { database: { secretRef: db } }",
            "    ¦betagate: { database: { secretRef: db } }",
            &["its own store"],
        ),
        ("is: false", "is: ¦maybe", &["no variant with the value"]),
        ("flag: billing, is", "flag: ¦biling, is", &["did you mean billing?"]),
        (
            "{ flag: billing, is: false }",
            "{ flag: billing, is: false }, { flag: ¦billing, is: false }",
            &["already an invariant"],
        ),
    ]);
}

#[test]
fn flags() {
    let flag = |rest: &str| {
        format!(
            "{{ kind: Flag, metadata: {{ name: f }}, spec: {{ program: p, type: boolean, variants: {{ a: true, b: false }}, {rest} }} }}"
        )
    };
    for (rest, said) in [
        ("defaultVariant: ¦c", "no variant 'c'"),
        ("defaultVariant: a, safeVariant: ¦c", "no variant 'c'"),
        ("defaultVariant: a, fallback: ¦plain", "is not a path"),
        ("defaultVariant: a, env: ¦1X", "no name for an environment variable"),
        ("defaultVariant: a, metadata: { x: ¦[1] }", "which is what SDKs take"),
        ("defaultVariant: a, environments: { dev: { defaultVariant: ¦c } }", "no variant 'c'"),
        ("defaultVariant: a, environments: { dev: { targeting: { in_cohort: [¦paiva] } } }", "did you mean pavia?"),
        ("defaultVariant: a, targeting: { if: [ { in_cohort: [¦paiva] }, a, b ] }", "did you mean pavia?"),
        ("defaultVariant: a, targeting: { if: [ { in_cohort: pavia }, ¦c, b ] }", "no variant 'c'"),
        ("defaultVariant: a, targeting: { fractional: [ [a, 50], [¦c, 50] ] }", "no variant 'c'"),
        (
            "defaultVariant: a, schedule: [ { from: 2026-04-01T09:00, until: 2026-04-05, variant: ¦c } ]",
            "no variant 'c'",
        ),
        (
            "defaultVariant: a, schedule: [ { from: 2026-04-05T09:00, until: ¦2026-04-05T09:00, variant: b } ]",
            "ends before it begins",
        ),
        (
            "defaultVariant: a, schedule: [ { from: 2026-04-06, until: ¦2026-04-05, variant: b } ]",
            "ends before it begins",
        ),
        ("defaultVariant: a, schedule: [ { from: +9d, until: ¦+8d, variant: b } ]", "ends before it begins"),
        (
            "defaultVariant: a, schedule: [ { from: 2026-04-01, until: 2026-04-05, variant: b }, { from: ¦2026-04-05T09:00, variant: b } ]",
            "overlaps that of schedule[0]",
        ),
        (
            "defaultVariant: a, schedule: [ { from: +1d, variant: b }, { until: ¦+2d, variant: b } ]",
            "overlaps that of schedule[0]",
        ),
        ("defaultVariant: a, schedule: [ { from: +1d, variant: b, ¦targeting: { if: [a] } } ]", "exactly one of"),
        ("defaultVariant: a, schedule: [ ¦{ variant: b } ]", "needs from or until"),
        ("defaultVariant: a, schedule: [ { from: ¦tomorrow, variant: b } ]", "is not a point in time"),
        ("defaultVariant: a, schedule: [ { from: +1d, targeting: { if: [ true, ¦c ] } } ]", "no variant 'c'"),
        ("defaultVariant: a, schedule: [ { from: +1d, targeting: { if: [ { ¦star_with: [] }, a ] } } ]", "no operator"),
        ("defaultVariant: a, schedule: [ { from: +1d, targeting: { in_cohort: [¦paiva] } } ]", "did you mean pavia?"),
        ("defaultVariant: a, requires: [ { flag: ¦bost_enabled, variant: \"on\" } ]", "did you mean boost_enabled?"),
        ("defaultVariant: a, requires: [ { flag: boost_enabled, variant: ¦a } ]", "no variant 'a'"),
        ("defaultVariant: a, requires: [ { flag: ¦f, variant: a } ]", "in a circle: f → f"),
        ("defaultVariant: a, bucketSeed: ¦paiva", "did you mean pavia?"),
        ("defaultVariant: a, targeting: { if: [ true, ¦true, b ] }", "no variant 'true'"),
        ("defaultVariant: a, targeting: ¦c", "no variant 'c'"),
        (
            "defaultVariant: a, targeting: { \"?:\": [ true, { fractional: [ { var: x }, [a], [ { if: [ true, ¦bb ] }, 5 ] ] }, null ] }",
            "no variant 'bb'",
        ),
        (
            "defaultVariant: a, $evaluators: { r: { if: [ true, a, d ] } }, targeting: { if: [ true, { $ref: ¦r } ] }",
            "'r' gives 'd'",
        ),
        ("defaultVariant: a, targeting: { ¦iff: [ true, a, b ] }", "did you mean 'if'?"),
        ("defaultVariant: a, targeting: { ¦$ref: nobody }", "there is no evaluator"),
    ] {
        added(&[(&flag(rest), &[said])]);
    }
    added(&[(
        "{ kind: Flag, metadata: { name: f }, spec: { program: p, type: boolean, variants: { a: ¦5 }, defaultVariant: a } }",
        &["5 is no boolean"],
    )]);
    let circle = |key: &str, flag: &str| {
        format!(
            "{{ kind: Flag, metadata: {{ name: {key} }}, spec: {{ program: p, type: boolean, variants: {{ a: true }}, defaultVariant: a, requires: [ {{ flag: {flag}, variant: a }} ] }} }}"
        )
    };
    added(&[(
        &[circle("one", "¦two"), circle("two", "six"), circle("six", "one"), circle("leads", "one")].join("\n---\n"),
        &["flags require each other in a circle: one → two → six → one"],
    )]);
    // Windows that touch do not overlap; one that counts from an unknown day 0 may lie anywhere.
    added(&[(
        &flag(
            "defaultVariant: a, schedule: [ { until: 2026-04-05, variant: b }, { from: 2026-04-06, until: 2026-04-06T09:00, variant: b }, { from: +1d, variant: b } ]",
        ),
        &[],
    )]);
    changed(&[(
        "defaultVariant: \"off\" } }",
        "defaultVariant: \"off\", schedule: [ { until: +3d, variant: ¦\"on\" } ] } }",
        &["the program's invariant for 'billing' forbids it"],
    )]);
    changed(&[(
        "defaultVariant: \"off\" } }",
        "defaultVariant: ¦\"on\" } }",
        &["the program's invariant says that 'billing' is false"],
    )]);
}

#[test]
fn all_problems_of_all_files_come_in_one_run_by_file_and_line() {
    let files = [
        ("m/base.yaml", BASE),
        ("m/a.yaml", "kind: Cohrt\n---\nkind: [\n"),
        ("m/b.yaml", "{ kind: Invite, metadata: { name: i }, spec: { program: p, cohort: x, email: a@b.example } }"),
        ("m/c.yaml", "{ kind: Workload, metadata: { name: w }, spec: { program: p, componet: api } }"),
    ];
    let found = problems(&files);
    let named: Vec<(&str, u32)> = found.iter().map(|problem| (problem.file.as_str(), problem.line)).collect();
    for place in [("m/a.yaml", 1), ("m/b.yaml", 1), ("m/c.yaml", 1)] {
        assert!(named.contains(&place), "{place:?} is not in {named:?}");
    }
    assert!(named.iter().any(|(file, line)| *file == "m/a.yaml" && *line >= 3), "{named:?}");
    assert!(named.is_sorted());
}
