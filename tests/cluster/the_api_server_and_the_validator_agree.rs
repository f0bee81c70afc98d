//! The custom resource definitions on a real API server: it takes what the repository has, and refuses what `betagate validate` refuses within one
//! document. One table goes through both.

use std::fs;
use std::path::Path;

use crate::support::{Betagate, TestRepo, repository_root};
use crate::{define, kubectl};

/// What is wrong, and a document with that one mistake. Names that other documents would have to bring are those of the repository's program.
const REFUSED: &[(&str, &str)] = &[
    (
        "an unknown field",
        "kind: Cohort\nmetadata: { name: x }\nspec: { program: kruxt, members: { inline: [] }, capcity: 5 }",
    ),
    ("a field that is missing", "kind: Cohort\nmetadata: { name: x }\nspec: { members: { inline: [] } }"),
    (
        "members in two ways",
        "kind: Cohort\nmetadata: { name: x }\nspec: { program: kruxt, members: { inline: [], secretRef: list } }",
    ),
    ("members in no way", "kind: Cohort\nmetadata: { name: x }\nspec: { program: kruxt, members: {} }"),
    (
        "a text for a number",
        "kind: Cohort\nmetadata: { name: x }\nspec: { program: kruxt, members: { inline: [] }, capacity: many }",
    ),
    (
        "a length of time that is none",
        "kind: Cohort\nmetadata: { name: x }\nspec: { program: kruxt, members: { inline: [] }, invites: { template: beta-invite, expireAfter: 14 days } }",
    ),
    (
        "a rate that is none",
        "kind: Cohort\nmetadata: { name: x }\nspec: { program: kruxt, members: { inline: [] }, invites: { template: beta-invite, rate: 30/fortnight } }",
    ),
    (
        "a moment that is none",
        "kind: Cohort\nmetadata: { name: x }\nspec: { program: kruxt, members: { inline: [] }, lockList: tomorrow }",
    ),
    (
        "a name that is none",
        "kind: Cohort\nmetadata: { name: Not_A_Name }\nspec: { program: kruxt, members: { inline: [] } }",
    ),
    (
        "an unknown risk",
        "kind: Flag\nmetadata: { name: x }\nspec: { program: kruxt, type: boolean, risk: severe, variants: { \"on\": true, \"off\": false }, defaultVariant: \"off\" }",
    ),
    (
        "a scheduled change of both ways",
        "kind: Flag\nmetadata: { name: x }\nspec: { program: kruxt, type: boolean, variants: { \"on\": true, \"off\": false }, defaultVariant: \"off\", schedule: [ { from: 2026-04-01, variant: \"on\", targeting: {} } ] }",
    ),
    (
        "a scheduled change without a time",
        "kind: Flag\nmetadata: { name: x }\nspec: { program: kruxt, type: boolean, variants: { \"on\": true, \"off\": false }, defaultVariant: \"off\", schedule: [ { variant: \"on\" } ] }",
    ),
    (
        "a check of two kinds",
        "kind: Gate\nmetadata: { name: x }\nspec: { program: kruxt, checks: [ { name: c, kpi: sync_success_rate, prometheus: up, pass: \">= 1\" } ] }",
    ),
    (
        "a service account that is none",
        "kind: Gate\nmetadata: { name: x }\nspec: { program: kruxt, checks: [ { name: c, job: { command: [x], serviceAccount: ../pods } } ] }",
    ),
    (
        "an image that is none",
        "kind: RollbackPlan\nmetadata: { name: x }\nspec: { program: kruxt, steps: [ { runJob: { command: [x], image: a b } } ] }",
    ),
    (
        "a check of no kind",
        "kind: Gate\nmetadata: { name: x }\nspec: { program: kruxt, checks: [ { name: c, pass: \">= 1\" } ] }",
    ),
    (
        "a check without a threshold",
        "kind: Gate\nmetadata: { name: x }\nspec: { program: kruxt, checks: [ { name: c, kpi: sync_success_rate } ] }",
    ),
    (
        "a threshold that is none",
        "kind: Gate\nmetadata: { name: x }\nspec: { program: kruxt, checks: [ { name: c, kpi: sync_success_rate, pass: at least 95% } ] }",
    ),
    (
        "a step of two kinds",
        "kind: RollbackPlan\nmetadata: { name: x }\nspec: { program: kruxt, when: [ { incident: { severity: sev-1, activeFor: 30m } } ], steps: [ { freezeInvites: { cohorts: all }, keepOnline: [privacy] } ] }",
    ),
    (
        "a trigger of two kinds",
        "kind: RollbackPlan\nmetadata: { name: x }\nspec: { program: kruxt, when: [ { incident: { severity: sev-1, activeFor: 30m }, gate: { name: weekly-kpis, verdict: Fail } } ], steps: [ { freezeInvites: { cohorts: all } } ] }",
    ),
    (
        "a severity that is none",
        "kind: Incident\nmetadata: { name: x }\nspec: { program: kruxt, severity: sev-9, title: Down, startedAt: 2026-03-10T09:00:00Z }",
    ),
    (
        "an incident that ends before it begins",
        "kind: Incident\nmetadata: { name: x }\nspec: { program: kruxt, severity: sev-1, title: Down, startedAt: 2026-03-10T09:00:00Z, resolvedAt: 2026-03-10T08:00:00Z }",
    ),
    (
        "an instant that is none",
        "kind: Incident\nmetadata: { name: x }\nspec: { program: kruxt, severity: sev-1, title: Down, startedAt: yesterday }",
    ),
    ("a word that is none", "kind: Signoff\nmetadata: { name: x }\nspec: { program: kruxt, by: founder, says: maybe }"),
    (
        "done without its check",
        "kind: Signoff\nmetadata: { name: x }\nspec: { program: kruxt, by: founder, says: done }",
    ),
    ("go without its stage", "kind: Signoff\nmetadata: { name: x }\nspec: { program: kruxt, by: founder, says: go }"),
    ("lift without its run", "kind: Signoff\nmetadata: { name: x }\nspec: { program: kruxt, by: founder, says: lift }"),
    (
        "a waiver without an end",
        "kind: Signoff\nmetadata: { name: x }\nspec: { program: kruxt, by: founder, says: waive, gate: weekly-kpis, check: sev1, note: because }",
    ),
    (
        "an acknowledgement without a digest",
        "kind: Signoff\nmetadata: { name: x }\nspec: { program: kruxt, by: founder, says: acknowledge, object: Cohort/pavia }",
    ),
    (
        "a channel that leads nowhere",
        "kind: Program\nmetadata: { name: x }\nspec: { timeZone: Europe/Rome, channels: { support: {} } }",
    ),
    (
        "a source of two kinds",
        "kind: Program\nmetadata: { name: x }\nspec: { timeZone: Europe/Rome, sources: { s: { prometheus: { url: \"http://127.0.0.1:9090\" }, http: { url: \"http://127.0.0.1\" } } } }",
    ),
];

fn for_the_cluster(document: &str) -> String {
    format!("apiVersion: betagate.dev/v1alpha1\n{}", document.trim_start_matches(['\n', ' ']))
}

/// The documents of a folder of this repository and below.
fn documents(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(documents(&path));
        } else if path.extension().is_some_and(|ending| ending == "yaml") {
            let text = fs::read_to_string(&path).unwrap();
            let parts = text.split("\n---").map(str::to_owned);
            found.extend(parts.filter(|part| part.lines().any(|line| line.starts_with("kind:"))));
        }
    }
    found
}

#[test]
fn the_api_server_and_the_validator_agree() {
    define(&repository_root().join("crds").display().to_string(), "");
    // All that this repository brings is taken.
    let ours: Vec<String> = ["manifests", "cohorts", "flags"]
        .iter()
        .flat_map(|folder| documents(&repository_root().join(folder)))
        .map(|document| for_the_cluster(&document))
        .collect();
    assert!(ours.len() > 20);
    let taken = kubectl("apply --dry-run=server --validate=strict -f -", &ours.join("\n---\n"));
    assert!(taken.done, "{}", taken.text);

    let mut disagree = Vec::new();
    for (mistake, document) in REFUSED {
        let repo = TestRepo::of_this_project();
        repo.write("manifests/kruxt/mistake.yaml", document);
        let validated = Betagate::new(["validate"]).within(repo.path()).run();
        let named = validated.code == Some(1) && validated.stderr.contains("mistake.yaml:");
        let asked = kubectl("apply --dry-run=server --validate=strict -f -", &for_the_cluster(document));
        if !named || asked.done {
            disagree.push(format!("{mistake}: validate {}; the API server: {}", validated.stderr, asked.text));
        }
    }
    assert!(disagree.is_empty(), "{}", disagree.join("\n"));
}

#[test]
fn what_is_said_stays_said() {
    define(&repository_root().join("crds").display().to_string(), "");
    let word = "kind: Signoff\nmetadata: { name: fixed }\nspec: { program: kruxt, by: founder, says: go, rollout: closed-beta, stage: pilot }";
    let first = kubectl("apply -f -", &for_the_cluster(word));
    assert!(first.done, "{}", first.text);
    let changed = kubectl("apply -f -", &for_the_cluster(&word.replace("founder", "ops-lead")));
    assert!(!changed.done && changed.text.contains("a sign-off is immutable"), "{}", changed.text);
    let program = "kind: Program\nmetadata: { name: moved }\nspec: { timeZone: Europe/Rome }";
    assert!(kubectl("apply -f -", &for_the_cluster(program)).done);
    let moved = kubectl("apply -f -", &for_the_cluster(&program.replace("Europe/Rome", "Asia/Tokyo")));
    assert!(!moved.done && moved.text.contains("timeZone is immutable"), "{}", moved.text);
}
