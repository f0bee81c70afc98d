//! Mistakes of every sort in one document come in one run, and a mistake in one document is none in others.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::*;
use crate::desired::parse;

/// What else a program may hold, so that most of the fields stand somewhere.
const MORE: &str = r#"
{ kind: Invite, metadata: { name: ada }, spec: { program: p, cohort: pavia, email: ada@gym.example } }
---
{ kind: Signoff, metadata: { name: word }, spec: { program: p, by: ana, says: done, gate: weekly, check: guide } }
---
{ kind: Signoff, metadata: { name: go }, spec: { program: p, by: ana, says: go, rollout: beta, stage: pilot } }
---
{ kind: Incident, metadata: { name: outage }, spec: { program: p, severity: sev-1, title: down, startedAt: 2026-03-10T09:00:00Z, resolvedAt: 2026-03-10T10:00:00Z } }
---
kind: Gate
metadata: { name: full }
spec:
  program: p
  owner: ana
  cohorts: [pavia]
  measure: { every: 5m }
  review: { cron: "0 17 * * FRI", from: +11d }
  conditional: { missed: 1 }
  checks:
    - { name: a, prometheus: up, source: prom, pass: ">= 1", critical: true, for: 5m }
    - { name: b, sql: { source: db, query: select 1 }, pass: "== 1" }
    - { name: c, http: { source: web, path: /up }, pass: "== 200" }
    - { name: d, gate: { name: ready, is: pass } }
    - { name: e, fact: flag.value, of: boost_enabled, pass: "== 1" }
    - { name: f, incidents: { severity: sev-1, within: 7d }, pass: "== 0", from: +3d }
    - { name: g, fact: funnel.used, outOf: invited, pass: ">= 10%" }
---
kind: Rollout
metadata: { name: full }
spec:
  program: p
  stages:
    - { name: one, window: { from: +0d, until: +6d }, cohorts: [pavia], flags: { boost_enabled: "on" } }
    - name: two
      window: { from: +7d, until: +9d }
      enter: { gates: [ { name: weekly, passes: 2 } ], signoffs: { from: [ana, ben], rule: unanimous } }
      workloads: { api: "3" }
---
kind: RollbackPlan
metadata: { name: full }
spec:
  program: p
  when:
    - { incident: { severity: sev-1, activeFor: 30m } }
    - { gate: { name: full, verdict: Fail, critical: true } }
  steps:
    - { freezeInvites: { cohorts: [pavia] } }
    - { disableFlags: { keys: [boost_enabled] } }
    - { keepOnline: [privacy] }
    - { routeToFallback: { risk: high } }
    - { publishNote: { to: [support], template: hello, within: 30m } }
    - { captureRootCause: { owner: ana } }
    - { holdReviews: { untilStableFor: 2d, severity: sev-1 } }
---
kind: Flag
metadata: { name: follows }
spec:
  program: p
  type: boolean
  variants: { a: true, b: false }
  defaultVariant: b
  targeting: { if: [ { in_cohort: [pavia] }, a, b ] }
  requires: [ { flag: boost_enabled, variant: "on" } ]
  schedule: [ { from: +1d, until: +2d, variant: a }, { from: +3d, variant: b } ]
  environments: { dev: { defaultVariant: a } }
"#;

#[test]
fn one_of_each_mistake_in_a_document_is_named_in_one_run() {
    let gate = r#"kind: Gate
metadata: { name: g }
spec:
  program: p
  owner: ¦anna
  cohorts: [¦paiva]
  measure: { every: ¦0x }
  review: { cron: ¦"61 25 * * *", from: ¦tomorrow }
  checks:
    - { name: a, kpi: ¦retention_w5, pass: ¦"about 45" }
    - { name: b, gate: { name: ¦wekly }, ¦whatever: 1 }
    - { name: ¦a, signoff: { from: [¦bne] }, critical: ¦maybe }
    - { name: d, ¦kip: ¦retention_w6, pass: ">= 1%" }
"#;
    added(&[(
        gate,
        &[
            "did you mean ana?",
            "did you mean pavia?",
            "'0x' is not a length of time",
            "is not a schedule",
            "'tomorrow' is not a point in time",
            "did you mean retention_w4?",
            "is not a threshold",
            "did you mean weekly?",
            "unknown field `whatever`",
            "already a check 'a'",
            "did you mean ben?",
            "wrong type",
            "did you mean kpi?",
            "did you mean retention_w4?",
        ],
    )]);
    let others = r#"{ kind: Cohort, metadata: { name: lyon }, spec: { program: p, members: { csv: ¦lyon.csv }, invites: { template: ¦hallo, rate: ¦0/min } } }
---
{ kind: Rollout, metadata: { name: r }, spec: { program: p, stages: [ { name: s, enter: { gates: [ { name: ¦waekly, passes: ¦-1 } ] }, cohorts: [¦lyn] } ] } }
---
{ kind: Invite, metadata: { name: i }, spec: { program: ¦pp, cohort: ¦lion, email: ¦[] } }
---
{ kind: Signoff, metadata: { name: s }, spec: { program: p, by: ¦anna, says: ¦dome, gate: weekly, check: ¦sink } }
---
{ kind: Workload, ¦metadata: {}, spec: { program: p, component: api, health: { path: ¦up }, ¦portt: ¦zero } }
"#;
    let (text, marks) = unmarked(others);
    let found = problems(&[("m/base.yaml", BASE), ("m/x.yaml", &text)]);
    expect(
        others,
        &found,
        "m/x.yaml",
        &marks,
        &[
            "there is no file",
            "there is no template",
            "is not a rate",
            "did you mean weekly?",
            "out of range",
            "did you mean lyon?",
            "there is no program 'pp' (expected p)",
            "did you mean lyon?",
            "wrong type",
            "did you mean ana?",
            "did you mean done?",
            "no check in that gate 'sink'",
            "the field `name` is missing",
            "a path starts with /",
            "did you mean port?",
            "wrong type",
        ],
    );
}

#[test]
fn a_program_with_a_bad_zone_still_says_which_of_its_names_lead_nowhere() {
    let (good, bad) = ("timeZone: Europe/Rome", "timeZone: ¦Europe/Rom");
    let (text, marks) = unmarked(&BASE.replace(good, bad).replace("from: [ana]", "from: [¦anna]"));
    let found = problems(&[("m/base.yaml", &text)]);
    expect(bad, &found, "m/base.yaml", &marks, &["is not a time zone", "there is no person 'anna'"]);
}

#[test]
fn a_document_that_is_there_twice_is_one_mistake_and_is_checked_all_the_same() {
    let twice = MORE.split("---").find(|document| document.contains("kind: Rollout")).unwrap();
    let (twice, marks) = unmarked(&twice.replace("name: full", "name: ¦full").replace("from: [ana", "from: [¦anna"));
    let found = problems(&[("m/base.yaml", BASE), ("m/more.yaml", MORE), ("m/x.yaml", &twice)]);
    expect(&twice, &found, "m/x.yaml", &marks, &["already a Rollout 'full'", "there is no person 'anna'"]);
}

/// Every place of a value, as a JSON pointer.
fn places(value: &Value, pointer: &str, found: &mut Vec<String>) {
    found.push(pointer.to_owned());
    match value {
        Value::Object(fields) => {
            fields.iter().for_each(|(name, value)| places(value, &format!("{pointer}/{name}"), found))
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(place, value)| places(value, &format!("{pointer}/{place}"), found));
        }
        _ => {}
    }
}

#[test]
fn whatever_is_wrong_with_a_documents_shape_is_no_mistake_in_other_documents() {
    let whole = format!("{BASE}---{MORE}");
    let documents: Vec<Value> =
        parse::parse("m/all.yaml", &whole).documents.iter().map(|document| document.root.to_json()).collect();
    assert_eq!(built(&[("m/base.yaml", BASE), ("m/more.yaml", MORE)]).unwrap().warnings, []);
    let wrong = [json!("no such thing"), json!([]), json!({ "strange": 1 })];
    let (mut tried, mut blamed) = (0, BTreeSet::new());
    for (number, document) in documents.iter().enumerate() {
        let mut all = Vec::new();
        places(&document["spec"], "/spec", &mut all);
        for (place, wrong) in all.iter().flat_map(|place| wrong.iter().map(move |wrong| (place, wrong))) {
            // A map of names may hold any, and variants are looked at by rules.
            let names = ["/spec/people", "/spec/channels", "/spec/sources", "/spec/variants"].contains(&place.as_str());
            if place.starts_with("/spec/variants/") || names && wrong.is_object() {
                continue;
            }
            let mut changed = document.clone();
            *changed.pointer_mut(place).unwrap() = wrong.clone();
            let mut files: Vec<(String, String)> =
                documents.iter().enumerate().map(|(n, it)| (format!("m/{n}.yaml"), it.to_string())).collect();
            files[number].1 = changed.to_string();
            let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
            let found = problems(&files);
            let own = files[number].0;
            // What is of the right shape but says something else is a mistake elsewhere, and rightly.
            let field = parse::dotted(place);
            let shape = |problem: &&Problem| {
                problem.file == own && problem.field.starts_with(&field) && !problem.message.starts_with("there is no ")
            };
            if !found.iter().any(|problem| shape(&problem)) {
                continue;
            }
            tried += 1;
            let others = found.iter().filter(|problem| problem.file != own);
            blamed.extend(others.map(|problem| format!("{place} = {wrong} of {}: {problem}", document["kind"])));
        }
    }
    assert!(tried > 400, "only {tried}");
    assert!(blamed.is_empty(), "{tried} tried: {blamed:#?}");
}
