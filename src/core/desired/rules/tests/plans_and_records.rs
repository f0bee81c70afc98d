//! Rollback plans, lists, sign-offs, incidents, workloads, datasets.

use super::*;

#[test]
fn rollback_plans() {
    let plan =
        |rest: &str| format!("{{ kind: RollbackPlan, metadata: {{ name: r }}, spec: {{ program: p, {rest} }} }}");
    for (rest, said) in [
        ("steps: [ { freezeInvites: { cohorts: [¦rome] } } ]", "'rome'"),
        ("steps: [ { disableFlags: { keys: [¦bost_enabled] } } ]", "did you mean boost_enabled?"),
        ("steps: [ { disableFlags: { keys: [¦billing] } } ]", "has no safeVariant"),
        ("steps: [ { keepOnline: [¦privcy] } ]", "did you mean privacy?"),
        ("steps: [ { publishNote: { to: [¦suport], template: hello } } ]", "did you mean support?"),
        ("steps: [ { publishNote: { to: [support], template: ¦helo } } ]", "no template 'cohorts/templates/helo.txt'"),
        ("steps: [ { publishNote: { to: [support], template: ¦../hello } } ]", "is no name of a template"),
        ("steps: [ { captureRootCause: { owner: ¦eve } } ]", "no person 'eve'"),
        ("steps: [ { holdReviews: { untilStableFor: 2d, severity: ¦bad } } ]", "is no severity"),
        ("steps: [ { freezeInvites: {}, ¦keepOnline: [privacy] } ]", "exactly one"),
        ("steps: [ { runJob: { command: ¦[' '] } } ]", "it needs a program to run"),
        ("steps: [ { runJob: { command: [mend], timeout: ¦0s } } ]", "longer than nothing"),
        ("steps: [ { runJob: { command: [mend], timeout: ¦601s } } ]", "a job may take 10m at most"),
        ("steps: [ { runJob: { command: [mend], image: ¦'' } } ]", "not of the right form"),
        ("steps: [ { runJob: { command: [mend], serviceAccount: ¦Admin } } ]", "not of the right form"),
        (
            "when: [ { incident: { severity: ¦sev-9, activeFor: 30m } } ], steps: [ { freezeInvites: {} } ]",
            "is no severity",
        ),
        ("when: [ { gate: { name: ¦weekli } } ], steps: [ { freezeInvites: {} } ]", "did you mean weekly?"),
        (
            "when: [ { gate: { name: ready, critical: ¦true } } ], steps: [ { freezeInvites: {} } ]",
            "has no critical check",
        ),
    ] {
        let (text, marks) = unmarked(&plan(rest));
        let found = problems(&[("m/base.yaml", BASE), ("m/x.yaml", &text)]);
        let hit = found.iter().any(|p| (p.line, p.column) == marks[0] && p.to_string().contains(said));
        assert!(hit, "{rest}\n{found:#?}");
    }
    let route = "kind: RollbackPlan\nmetadata: { name: r }\nspec:\n  program: p\n  steps:\n    - routeToFallback: ¦{ risk: high }\n";
    let (text, marks) = unmarked(route);
    for (fallback, said) in
        [("/v1/privacy/x", "always-online group 'privacy'"), ("/api/v1/privacy", "always-online group")]
    {
        let base = BASE.replace("fallback: /plain", &format!("fallback: {fallback}"));
        expect(fallback, &problems(&[("m/base.yaml", &base), ("m/x.yaml", &text)]), "m/x.yaml", &marks, &[said]);
    }
    let none = BASE.replace(", fallback: /plain", "");
    assert!(problems(&[("m/base.yaml", &none), ("m/x.yaml", &text)])[0].message.contains("has a fallback"));
}

#[test]
fn people_and_lists() {
    added(&[
        (
            "{ kind: Cohort, metadata: { name: c }, spec: { program: p, members: { csv: ¦rome.csv } } }",
            &["there is no file 'm/rome.csv'"],
        ),
        ("{ kind: Cohort, metadata: { name: c }, spec: { program: p, members: { csv: old/list.csv } } }", &[]),
        (
            "{ kind: Cohort, metadata: { name: c }, spec: { program: p, members: { csv: ¦../pavia.csv } } }",
            &["leads out"],
        ),
        (
            "{ kind: Cohort, metadata: { name: c }, spec: { program: p, members: { csv: ¦/etc/passwd } } }",
            &["leads out"],
        ),
        (
            "{ kind: Cohort, metadata: { name: c }, spec: { program: p, members: { csv: pavia.csv }, invites: { template: ¦bye, expireAfter: ¦0d } } }",
            &["no template", "longer than nothing"],
        ),
        (
            "{ kind: Invite, metadata: { name: i }, spec: { program: p, cohort: ¦paiva, email: a@b.example } }",
            &["did you mean pavia?"],
        ),
        (
            "{ kind: Invite, metadata: { name: i }, spec: { program: p, cohort: pavia, email: ¦nobody } }",
            &["exactly one @"],
        ),
        (
            "{ kind: Invite, metadata: { name: i }, spec: { program: p, cohort: pavia, email: a@b.example } }\n---\n{ kind: Invite, metadata: { name: j }, spec: { program: p, cohort: pavia, email: ¦A@b.example } }",
            &["invite 'i' is for the same address"],
        ),
    ]);
}

#[test]
fn signoffs_and_incidents() {
    let word =
        |rest: &str| format!("{{ kind: Signoff, metadata: {{ name: w }}, spec: {{ program: p, by: ana, {rest} }} }}");
    for (rest, said) in [
        ("says: ¦done, gate: weekly", "names check"),
        ("says: done, gate: ¦weeky, check: guide", "did you mean weekly?"),
        ("says: done, gate: weekly, check: ¦gide", "did you mean guide?"),
        ("says: done, gate: weekly, check: ¦sync", "warning: spec.check: check 'sync' is measured"),
        ("says: ¦waive, gate: weekly, check: sync, note: reason", "names until"),
        ("says: ¦accept-mitigation, gate: weekly, check: sync, until: 2026-03-20", "names note"),
        ("says: ¦go, rollout: beta", "names stage"),
        ("says: no-go, rollout: ¦bta, stage: pilot", "did you mean beta?"),
        ("says: go, rollout: beta, stage: ¦pilto", "did you mean pilot?"),
        ("says: ¦lift", "names run"),
        ("says: ¦acknowledge, object: Cohort/pavia", "names digest"),
    ] {
        added(&[(&word(rest), &[said])]);
    }
    added(&[
        (
            "{ kind: Signoff, metadata: { name: w }, spec: { program: p, by: ¦eve, says: lift, run: r } }",
            &["no person 'eve'"],
        ),
        (
            "{ kind: Signoff, metadata: { name: w }, spec: { program: p, by: ¦ben, says: done, gate: weekly, check: guide } }",
            &["warning: spec.by: check 'guide' asks for the word of ana"],
        ),
        (
            "{ kind: Incident, metadata: { name: i }, spec: { program: p, severity: ¦sev-0, title: t, startedAt: 2026-03-10T09:00:00Z } }",
            &[""],
        ),
        (
            "{ kind: Incident, metadata: { name: i }, spec: { program: p, severity: sev-1, title: t, startedAt: 2026-03-10T09:00:00Z, resolvedAt: ¦2026-03-10T08:00:00Z } }",
            &["resolved before it started"],
        ),
        (
            "{ kind: Incident, metadata: { name: i }, spec: { program: p, severity: sev-1, title: t, startedAt: 2026-03-10T09:00:00Z, acknowledgedAt: ¦2026-03-10T08:00:00Z } }",
            &["acknowledged before it started"],
        ),
    ]);
}

#[test]
fn workloads_and_datasets() {
    let workload =
        |rest: &str| format!("{{ kind: Workload, metadata: {{ name: w }}, spec: {{ program: p, {rest} }} }}");
    for (rest, said) in [
        ("component: ¦web", "needs an image or a command"),
        ("component: api, command: ¦[]", "empty"),
        ("component: worker, port: ¦8081", "workload 'api' has port 8081 already"),
        ("component: api, env: { A: ¦[1] }", "a string, a number or a boolean"),
        ("component: api, env: { ¦A-B: x }", "no name for an environment variable"),
        ("component: api, env: { A: x }, secretEnv: { ¦A: y }", "stands in env too"),
        ("component: api, health: { path: ¦ready }", "a path starts with /"),
    ] {
        let (text, marks) = unmarked(&workload(rest));
        let found = problems(&[("m/base.yaml", BASE), ("m/y.yaml", &text)]);
        let hit = found.iter().any(|p| (p.line, p.column) == marks[0] && p.to_string().contains(said));
        assert!(hit, "{rest}\n{found:#?}");
    }
    added(&[
        (
            "{ kind: Dataset, metadata: { name: z }, spec: { program: p, file: ¦no.json, table: ¦movement_library, key: movement_id } }",
            &["there is no file", "dataset 'moves' fills table movement_library already"],
        ),
        (
            "{ kind: Dataset, metadata: { name: z }, spec: { program: p, file: moves.json, table: ¦\"t; drop\", key: k } }",
            &["there is no table for a dataset 't; drop' (expected movement_library"],
        ),
        (
            "{ kind: Dataset, metadata: { name: z }, spec: { program: p, file: ¦pavia.csv, table: ¦movement_librari, key: k } }",
            &["is JSON", "did you mean movement_library"],
        ),
    ]);
    let base = BASE
        .replace("key: movement_id }", "key: id, staging: stage, audit: movement_audit_log, expect: { publishd: 8 } }");
    let found: Vec<String> = problems(&[("m/base.yaml", &base)]).iter().map(ToString::to_string).collect();
    for said in [
        "spec.key: 'id' does not belong to table movement_library (expected movement_id)",
        "spec.staging: 'stage' does not belong to table movement_library (expected movement_staging)",
        "did you mean published",
    ] {
        assert!(found.iter().any(|one| one.contains(said)), "{said}: {found:#?}");
    }
    assert_eq!(found.len(), 3, "{found:#?}");
}

#[test]
fn the_rows_of_a_dataset_are_no_documents_and_a_list_that_no_dataset_names_is() {
    let rows = "[ { \"movement_id\": \"a\" } ]";
    assert!(built(&[("m/base.yaml", BASE), ("m/moves.json", rows)]).is_ok());
    let found = problems(&[("m/base.yaml", BASE), ("m/other.json", rows)]);
    assert!(found[0].to_string().contains("a document must be a mapping"), "{found:#?}");
}
