//! Bad input: every problem of a repository in one run, each with file, line, column, field, what was expected and the nearest name.

use crate::support::{Betagate, TestRepo};

/// What is broken, and a piece of what must be said of it.
const CASES: [(&str, &str, &str, &str); 12] = [
    ("manifests/kruxt/rollout.yaml", "cohorts: [pavia]", "cohorts: [pavvia]", "did you mean pavia"),
    ("manifests/kruxt/weekly-kpis.yaml", "kpi: retention_w4", "kpi: retention_w5", "did you mean retention_w4"),
    ("manifests/kruxt/weekly-kpis.yaml", "0 17 * * FRI", "0 99 * * FRI", "is not a schedule"),
    ("manifests/kruxt/weekly-kpis.yaml", "pass: \">= 45%\"", "pass: \"=> 45%\"", "is not a threshold"),
    ("manifests/kruxt/program.yaml", "timeZone: Europe/Rome", "timeZone: Europe/Rom", "is not a time zone"),
    ("manifests/kruxt/program.yaml", "timeZone: Europe/Rome", "timezone: Europe/Rome", "did you mean timeZone"),
    ("flags/ml-recommendations.yaml", "safeVariant: \"off\"", "safeVariant: \"of\"", "there is no variant"),
    ("flags/ml-recommendations.yaml", "kind: Flag", "kind: Flga", "did you mean Flag"),
    (
        "manifests/kruxt/rollback.yaml",
        "provider_oura_enabled",
        "provider_uora_enabled",
        "did you mean provider_oura_enabled",
    ),
    ("cohorts/pavia.yaml", "program: kruxt", "program: kruxxt", "did you mean kruxt"),
    ("cohorts/pavia.yaml", "csv: pavia.csv", "csv: pavla.csv", "there is no file"),
    ("manifests/kruxt/expansion.yaml", "kind: Gate", "kind: Gate\n  bad: [", "not readable as YAML"),
];

#[test]
fn each_mistake_is_named_with_its_place() {
    for (file, good, bad, said) in CASES {
        let repo = TestRepo::of_this_project();
        repo.replace(file, good, bad);
        let outcome = Betagate::new(["validate"]).within(repo.path()).run().expect_code(1);
        let line = outcome.stderr.lines().find(|line| line.starts_with(&format!("{file}:")));
        let line = line.unwrap_or_else(|| panic!("{file} with '{bad}' is not named:\n{}", outcome.stderr));
        assert!(outcome.stderr.contains(said), "'{said}' is not said of '{bad}':\n{}", outcome.stderr);
        let place: Vec<&str> = line.split(':').collect();
        assert!(place[1].parse::<u32>().is_ok() && place[2].parse::<u32>().is_ok(), "{line}");
    }
}

#[test]
fn all_of_them_are_named_in_one_run() {
    let repo = TestRepo::of_this_project();
    // Two of them change the same place.
    let cases = || CASES.iter().filter(|(_, _, bad, _)| *bad != "timezone: Europe/Rome");
    for (file, good, bad, _) in cases() {
        repo.replace(file, good, bad);
    }
    repo.replace("cohorts/us-canary.csv", "\nmarcus.whitfield@example.com", "\nmarcus.whitfield@@example.com");
    let outcome = Betagate::new(["validate", "-o", "json"]).within(repo.path()).run().expect_code(1);
    let problems: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    let files: Vec<&str> =
        problems.as_array().unwrap().iter().map(|problem| problem["file"].as_str().unwrap()).collect();
    for (file, _, bad, said) in cases() {
        // In that file, in that field's own words; what hides behind another mistake of the same document is told of another.
        let own: Vec<_> = problems.as_array().unwrap().iter().filter(|problem| problem["file"] == *file).collect();
        let named = |problem: &&&serde_json::Value| match said.strip_prefix("did you mean ") {
            Some(near) => problem["nearest"] == near,
            None => problem["message"].as_str().unwrap().contains(said),
        };
        assert!(own.iter().any(|problem| named(&problem)), "nothing is said of '{bad}' in {file}: {problems:#}");
    }
    assert!(files.contains(&"cohorts/us-canary.csv"), "lists are looked at in the same run: {files:?}");
}

#[test]
fn a_list_is_checked_by_line_with_an_exit_code_of_its_own() {
    let repo = TestRepo::of_this_project();
    Betagate::new(["validate", "--cohort", "pavia"]).within(repo.path()).run().expect_code(0);
    let list = repo.read("cohorts/pavia.csv");
    let few: Vec<&str> = list.lines().take(30).collect();
    repo.write("cohorts/pavia.csv", &few.join("\n"));
    Betagate::new(["validate", "--cohort", "pavia"]).within(repo.path()).run().expect_code(2);
    repo.write("cohorts/pavia.csv", &format!("{list}not an address,listener-x,founder,listener\n"));
    let outcome = Betagate::new(["validate", "--cohort", "pavia"]).within(repo.path()).run().expect_code(1);
    assert!(outcome.stderr.contains("cohorts/pavia.csv:62: "), "{}", outcome.stderr);
    // Also among everything else that is wrong.
    repo.write("cohorts/eu-canary.csv", "email\nnobody\n");
    let outcome = Betagate::new(["validate"]).within(repo.path()).run().expect_code(1);
    for place in ["cohorts/pavia.csv:62:1: ", "cohorts/eu-canary.csv:2:1: "] {
        assert!(outcome.stderr.contains(place), "{}", outcome.stderr);
    }
}

#[test]
fn words_that_are_no_command_are_wrong_usage() {
    Betagate::new(["bogus"]).run().expect_code(64);
    Betagate::new(["validate", "--no-such-option"]).run().expect_code(64);
    Betagate::new(["--help"]).run().expect_code(0);
}

#[test]
fn what_is_no_yaml_hides_the_rest_of_its_own_document_alone() {
    let repo = TestRepo::of_this_project();
    let gate = |name: &str, rest: &str| {
        format!(
            "kind: Gate\nmetadata: {{ name: {name} }}\nspec:\n  program: kruxt\n  checks: [ {{ name: a, signoff: {{}} }} ]\n{rest}"
        )
    };
    let torn = gate("torn", "  owner: [\n  ownre: founder\n");
    let text = [gate("before", "  ownre: founder\n"), torn, gate("after", "  desicion: x\n")].join("---\n");
    repo.write("manifests/kruxt/three.yaml", &text);
    let outcome = Betagate::new(["validate", "-o", "json"]).within(repo.path()).run().expect_code(1);
    let problems: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    let own = problems.as_array().unwrap().iter().filter(|problem| problem["file"] == "manifests/kruxt/three.yaml");
    let said: Vec<(u64, &str)> =
        own.map(|problem| (problem["line"].as_u64().unwrap(), problem["message"].as_str().unwrap())).collect();
    let at =
        |line: std::ops::Range<u64>, what: &str| said.iter().any(|(at, said)| line.contains(at) && said.contains(what));
    assert_eq!(said.len(), 3, "{said:?}");
    assert!(at(1..7, "ownre") && at(8..16, "not readable as YAML") && at(15..22, "desicion"), "{said:?}");
}
