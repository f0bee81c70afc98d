//! Gates and rollouts.

use super::*;

#[test]
fn gates() {
    let gate = |checks: &str| {
        format!("{{ kind: Gate, metadata: {{ name: g }}, spec: {{ program: p, checks: [ {checks} ] }} }}")
    };
    for (checks, said) in [
        ("{ name: a, signoff: {} }, { name: ¦a, signoff: {} }", "already a check 'a'"),
        ("{ name: a, kpi: ¦sync_sucess_rate, pass: \">= 1\" }", "did you mean sync_success_rate?"),
        ("{ name: a, fact: ¦duty.hole, pass: \"== 0\" }", "did you mean duty.holes?"),
        ("{ name: a, fact: flag.value, of: ¦biling, pass: \"== 0\" }", "did you mean billing?"),
        ("{ name: a, fact: ¦flag.value, pass: \"== 0\" }", "needs `of`"),
        ("{ name: a, kpi: retention_w4, of: ¦x, pass: \"== 0\" }", "only for facts"),
        ("{ name: a, fact: duty.holes, label: ¦x, pass: \"== 0\" }", "only for funnel facts"),
        ("{ name: a, fact: funnel.used, outOf: ¦active, pass: \">= 5%\" }", "a share of an earlier one"),
        ("{ name: a, fact: funnel.used, pass: ¦\">= 5%\" }", "per cent of what?"),
        ("{ name: a, fact: ¦invites.arrival, pass: \"<= 5m\" }", "needs `of`"),
        ("{ name: a, kpi: retention_w4, for: ¦5m, pass: \"== 0\" }", "only for critical checks"),
        ("{ name: a, kpi: retention_w4, pass: ¦\"=> 5\" }", "is not a threshold"),
        ("{ name: a, sql: { source: ¦bd, query: select 1 }, pass: \"== 0\" }", "did you mean db?"),
        ("{ name: a, sql: { source: ¦web, query: select 1 }, pass: \"== 0\" }", "is not a database"),
        ("{ name: a, http: { source: ¦db, path: / }, pass: \"== 0\" }", "is not an HTTP host"),
        ("{ name: a, prometheus: up, source: ¦web, pass: \"== 0\" }", "is not a Prometheus server"),
        ("{ name: a, kpi: retention_w4, pass: ¦\"> 100%\" }", "nothing can meet > 100%"),
        ("{ name: a, incidents: { severity: sev-1, within: 7d }, pass: ¦\"< 0\" }", "it is never below 0"),
        ("{ name: a, job: { command: ¦[\"\"] } }", "it needs a program to run"),
        ("{ name: a, job: { command: [x], timeout: ¦11m } }", "may take 10m at most"),
        ("{ name: a, job: { command: [x], timeout: ¦0s } }", "longer than nothing"),
        ("{ name: a, job: { command: [x], image: ¦'a b' } }", "not of the right form"),
        ("{ name: a, job: { command: [x], serviceAccount: ¦../pods } }", "not of the right form"),
        ("{ name: a, job: { command: [x], env: { ¦A-B: x } } }", "no name for an environment variable"),
        ("{ name: a, job: { command: [x], env: { A: x }, secretEnv: { ¦A: x } } }", "stands in env too"),
        ("{ name: a, kpi: retention_w4, per: ¦x, pass: \"== 0\" }", "only for prometheus checks"),
        ("{ name: a, http: { source: web, path: /, per: ¦/b }, pass: \"== 0\" }", "needs `pointer`"),
        (
            "{ name: a, http: { source: web, path: /, pointer: /a, per: ¦/b, is: 1 }, pass: \"== 0\" }",
            "give one of them",
        ),
        (
            "{ name: a, http: { source: web, path: /, pointer: /a }, minSamples: ¦3, pass: \"== 0\" }",
            "how many samples",
        ),
        ("{ name: a, phase: ¦x, signoff: {} }", "no phase in this gate 'x'"),
        ("{ name: a, signoff: {}, vs: ¦before-stage }", "only what is measured can be compared"),
        ("{ name: a, kpi: retention_w4, vs: before-stage, pass: ¦\"<= 5m\" }", "a share of what was before"),
        ("{ name: a, incidents: { severity: ¦major }, pass: \"== 0\" }", "is no severity"),
        ("{ name: a, gate: { name: ¦weeky } }", "did you mean weekly?"),
        ("{ name: a, gate: { name: ¦g } }", "in a circle: g → g"),
        ("{ name: a, gate: { name: weekly, phases: [¦one] } }", "no phase in that gate 'one'"),
        ("{ name: a, signoff: { from: [¦anna] } }", "did you mean ana?"),
    ] {
        added(&[(&gate(checks), &[said])]);
    }
    added(&[
        (
            "{ kind: Gate, metadata: { name: g }, spec: { program: p, review: { cron: ¦\"0 99 * * FRI\" }, checks: [ { name: a, signoff: {} } ] } }",
            &["is not a schedule"],
        ),
        (
            "{ kind: Gate, metadata: { name: g }, spec: { program: p, owner: ¦eve, checks: [ { name: a, signoff: {} } ] } }",
            &["no person 'eve'"],
        ),
        (
            "{ kind: Gate, metadata: { name: g }, spec: { program: p, cohorts: [¦rome], checks: [ { name: a, signoff: {} } ] } }",
            &["no cohort 'rome' in program 'p'"],
        ),
        (
            "{ kind: Gate, metadata: { name: g }, spec: { program: p, measure: { every: ¦0s }, checks: [ { name: a, signoff: {} } ] } }",
            &["longer than nothing"],
        ),
        (
            "{ kind: Gate, metadata: { name: g }, spec: { program: p, checks: [ { name: a, signoff: {} } ], conditional: { missed: ¦2 } } }",
            &["warning: spec.conditional.missed: only 1 checks are not critical"],
        ),
    ]);
}

#[test]
fn phases() {
    let gate = |rest: &str| {
        format!(
            "{{ kind: Gate, metadata: {{ name: g }}, spec: {{ program: p, {rest}, checks: [ {{ name: a, phase: x, signoff: {{}} }} ] }} }}"
        )
    };
    for (rest, said) in [
        ("phases: [ { name: x }, { name: ¦x } ]", "already a phase 'x'"),
        ("phases: [ { name: x, within: ¦0s } ]", "longer than nothing"),
        ("phases: [ { name: x, after: { rollout: ¦bta, stage: pilot } } ]", "did you mean beta?"),
        ("phases: [ { name: x, after: { rollout: beta, stage: ¦pilto } } ]", "did you mean pilot?"),
        ("phases: [ { name: x, until: { rollout: beta, stage: ¦pilto } } ]", "did you mean pilot?"),
        ("phases: [ { name: x, undo: { plan: ¦bakc } } ]", "did you mean back?"),
        ("phases: [ { name: x } ], inOrder: ¦true", "an order needs two phases"),
        ("phases: [ { name: x }, ¦{ name: z } ]", "warning: spec.phases[1]: no check belongs to phase 'z'"),
    ] {
        added(&[(&gate(rest), &[said])]);
    }
}

#[test]
fn announcements() {
    let rollout = |window: &str, announce: &str| {
        format!(
            "{{ kind: Rollout, metadata: {{ name: r }}, spec: {{ program: p, stages: [ {{ name: a, {window} announce: [ {{ {announce} }} ] }} ] }} }}"
        )
    };
    let window = "window: { from: +0d },";
    for (window, announce, said) in [
        (window, "at: -24h, event: window, to: [¦suport], template: hello", "did you mean support?"),
        (window, "at: -24h, event: window, to: [support], template: ¦hallo", "no template"),
        (window, "at: ¦-24h, to: [support], template: hello", "say `event: window`"),
        (window, "at: ¦2026-03-02, to: [support], template: hello", "it counts from what happens"),
        (window, "event: ¦overdue, to: [support], template: hello", "no window that ends"),
        ("", "event: ¦window, to: [support], template: hello", "no window that begins"),
    ] {
        added(&[(&rollout(window, announce), &[said])]);
    }
}

#[test]
fn a_no_go_in_a_decision_call_says_what_is_to_be_mended_and_when_the_next_call_is() {
    let rollout = "{ kind: Rollout, metadata: { name: r }, spec: { program: p, stages: [ { name: a, enter: { signoffs: { from: [ana], call: { at: +18h } } } } ] } }\n---\n";
    let word = |rest: &str| {
        format!(
            "{rollout}{{ kind: Signoff, metadata: {{ name: w }}, spec: {{ program: p, by: ana, says: ¦no-go, rollout: r, stage: a {rest} }} }}"
        )
    };
    added(&[(&word(", note: x"), &["names until"])]);
    added(&[(&word(", until: 2026-03-20"), &["names note"])]);
}

#[test]
fn a_prometheus_check_needs_a_server_from_the_program_or_from_outside() {
    let text = BASE.replace("    prom: { prometheus: { url: http://127.0.0.1:9090 } }\n", "");
    let gate = "{ kind: Gate, metadata: { name: g }, spec: { program: p, checks: [ { name: a, prometheus: up, pass: \"== 1\" } ] } }";
    let files = [("m/base.yaml", text.as_str()), ("m/x.yaml", gate)];
    assert!(problems(&files)[0].message.contains("PROM_URL is not set"));
    let options = BuildOptions { environment: None, default_prometheus: true, file_exists: &exists };
    assert!(build(files, Revision::default(), &options).is_ok());
}

#[test]
fn a_circle_of_gates_is_named_once_and_what_waits_for_it_is_not() {
    let gate = |name: &str, other: &str| {
        format!(
            "{{ kind: Gate, metadata: {{ name: {name} }}, spec: {{ program: p, checks: [ {{ name: a, gate: {{ name: {other} }} }} ] }} }}\n---\n"
        )
    };
    let text = gate("a", "¦b") + &gate("b", "c") + &gate("c", "a") + &gate("aa", "a") + &gate("d", "weekly");
    added(&[(&text, &["in a circle: a → b → c → a"])]);
    let sound = gate("a", "b") + &gate("b", "weekly");
    let order = built(&[("m/base.yaml", BASE), ("m/x.yaml", &sound)]).unwrap().desired.programs["p"].gate_order.clone();
    assert_eq!(order, ["ready", "weekly", "b", "a"]);
}

#[test]
fn stages() {
    let rollout = |stages: &str| {
        format!("{{ kind: Rollout, metadata: {{ name: r }}, spec: {{ program: p, stages: [ {stages} ] }} }}")
    };
    for (stages, said) in [
        ("{ name: a }, { name: ¦a }", "already a stage 'a'"),
        ("{ name: a, window: { from: +5d, until: ¦+4d } }", "ends (+4d) before it begins (+5d)"),
        ("{ name: a, window: { from: 2026-03-02, until: ¦2026-03-01 } }", "before it begins"),
        ("{ name: a, window: { from: +5d } }, { name: b, window: { from: ¦+4d } }", "before that of 'a'"),
        ("{ name: a, cohorts: [¦paiva] }", "did you mean pavia?"),
        ("{ name: a, workloads: { apo: ¦x } }", "did you mean api?"),
        ("{ name: a, workloads: { api: ¦{} } }", "it needs an image, a command or settings"),
        ("{ name: a, workloads: { api: ¦'a b' } }", "it needs an image, a command or settings"),
        ("{ name: a, workloads: { api: { command: ¦[] } } }", "the command is empty"),
        ("{ name: a, workloads: { api: { env: { A-B: ¦1 } } } }", "no name for an environment variable"),
        ("{ name: a, flags: { bost_enabled: ¦\"on\" } }", "did you mean boost_enabled?"),
        ("{ name: a, flags: { boost_enabled: ¦maybe } }", "no variant 'maybe'"),
        ("{ name: a, flags: { billing: ¦\"on\" } }", "invariant for 'billing' forbids it"),
        ("{ name: a, enter: { gates: [ { name: ¦redy } ] } }", "did you mean ready?"),
        ("{ name: a, enter: { gates: [ { name: ready, passes: ¦2 } ] } }", "has no review"),
        ("{ name: a, enter: { gates: [ { name: ready, phases: [¦one] } ] } }", "no phase in that gate 'one'"),
        ("{ name: a, enter: { signoffs: { from: [¦anna] } } }", "did you mean ana?"),
        (
            "{ name: a, tag: { name: v1 } }, { name: b, tag: { name: ¦v1 } }",
            "tag v1 is made by stage a of rollout r already",
        ),
    ] {
        added(&[(&rollout(stages), &[said])]);
    }
    let two = rollout("{ name: a, flags: { boost_enabled: \"on\" } }")
        + "\n---\n{ kind: Rollout, metadata: { name: s }, spec: { program: p, stages: [ { name: a, flags: { boost_enabled: ¦\"on\" } } ] } }";
    added(&[(&two, &["two rollouts may not set the same flag"])]);
    let two = rollout("{ name: a, workloads: { api: x:1 } }, { name: b, workloads: { api: x:2 } }")
        + "\n---\n{ kind: Rollout, metadata: { name: s }, spec: { program: p, stages: [ { name: a, workloads: { api: ¦x:3 } } ] } }";
    added(&[(&two, &["rollout 'r' gives workload 'api' a version already"])]);
}
