//! `plan --base`: people, mail, documents and whose word they need, told without a server; and the word that it asks for is the one that
//! counts.

use serde_json::{Value, json};

use super::a_program_runs_from_yaml_to_an_ordered_rollback_and_back::kruxt;
use crate::support::beta::Beta;
use crate::support::{Betagate, Outcome, TestRepo, databases};

const LIST: &str = "cohorts/pavia.csv";

fn plan(repo: &TestRepo, format: &str) -> Outcome {
    Betagate::new(["plan", "--base", "main", "--format", format]).within(repo.path()).run()
}

fn facts(repo: &TestRepo, code: i32) -> Value {
    serde_json::from_str(&plan(repo, "json").expect_code(code).stdout).unwrap()
}

/// A branch beside `main`, which has everything that is there.
fn branched(repo: TestRepo) -> TestRepo {
    repo.commit("What is live");
    repo.git(&["checkout", "--quiet", "-b", "lyon"]);
    repo
}

/// The list of Pavia without its first people, with others from Lyon on it.
fn change_list(repo: &TestRepo, without: usize, with: usize) {
    let list = repo.read(LIST);
    let (header, rows) = list.split_once('\n').unwrap();
    let mut lines: Vec<String> = vec![header.to_owned()];
    lines.extend(rows.lines().skip(without).map(str::to_owned));
    lines.extend((1..=with).map(|n| format!("lyon.{n:02}@example.com,listener-lyon,listener,ana@example.com,fr,")));
    repo.write(LIST, &format!("{}\n", lines.join("\n")));
}

#[test]
fn people_mail_documents_and_words_are_told_and_no_address_is() {
    let repo = branched(TestRepo::of_this_project());
    change_list(&repo, 15, 25);
    let list = repo.read(LIST).replacen("borgo-forge,listener", "borgo-forge,host", 1);
    repo.write(LIST, &format!("{list}late@mailinator.com,listener-lyon,listener,,fr,\n"));
    repo.replace("flags/ml-recommendations.yaml", "in_cohort: [pavia]", "in_cohort: [pavia, us-canary]");
    repo.replace("manifests/kruxt/weekly-kpis.yaml", "\">= 25%\"", "\">= 20%\"");
    repo.replace("cohorts/templates/beta-invite.txt", "Hello,", "Bonjour,");
    repo.remove("manifests/coach/movements.yaml");
    repo.remove("manifests/coach/movements.json");
    repo.write(
        "cohorts/ada.yaml",
        "kind: Invite\nmetadata: { name: ada }\nspec: { program: kruxt, cohort: pavia, email: ada.lovelace@example.com }\n",
    );
    repo.commit("Lyon");
    let shown = plan(&repo, "markdown").expect_code(2).stdout;
    insta::assert_snapshot!(anonymous(&repo, &shown));
    let json = plan(&repo, "json").expect_code(2).stdout;
    for address in ["ada.lovelace@", "lyon.01@", "chiara.bonetti@", "late@"] {
        assert!(!shown.contains(address) && !json.contains(address), "{address}");
    }
    let text = plan(&repo, "text").expect_code(2).stdout;
    assert!(text.contains("+ lyon.01@example.com (listener-lyon), line 47"), "the operator's own terminal: {text}");
}

/// Revisions differ from run to run.
fn anonymous(repo: &TestRepo, text: &str) -> String {
    let short = |revision: &str| repo.git(&["rev-parse", revision])[..8].to_owned();
    text.replace(&short("main"), "BASE").replace(&short("HEAD"), "HEAD")
}

#[test]
fn what_is_broken_is_told_by_file_and_line_and_nothing_else_is() {
    let repo = branched(TestRepo::of_this_project());
    repo.replace("manifests/kruxt/weekly-kpis.yaml", "kpi: retention_w4", "kpi: retention_w5");
    repo.commit("A KPI that is none");
    let shown = plan(&repo, "markdown").expect_code(1).stdout;
    assert!(shown.starts_with("### 🔴 betagate: 1 problem to mend: nothing of this would be applied"), "{shown}");
    let row =
        shown.lines().find(|line| line.contains("did you mean retention\\_w4?")).unwrap_or_else(|| panic!("{shown}"));
    assert!(row.starts_with("| `manifests/kruxt/weekly-kpis.yaml:"), "{row}");
    repo.replace("manifests/kruxt/weekly-kpis.yaml", "kpi: retention_w5", "kpi: retention_w4");
    let list = repo.read(LIST);
    let twice = list.lines().nth(1).unwrap();
    repo.write(LIST, &format!("{list}{twice}\nnot an address,creator-lyon\n"));
    let facts = facts(&repo, 1);
    assert_eq!((&facts["standing"], &facts["programs"]), (&json!("broken"), &json!([])), "{facts}");
    let places: Vec<_> = facts["problems"].as_array().unwrap().iter().map(|one| (&one["file"], &one["line"])).collect();
    assert_eq!(places, [(&json!(LIST), &json!(62)), (&json!(LIST), &json!(63))], "{facts}");
    assert!(
        plan(&repo, "text").expect_code(1).stderr.contains("cohorts/pavia.csv:62:1: cohort pavia: the same address")
    );
}

#[test]
fn what_mends_a_broken_main_reads_as_new() {
    let repo = TestRepo::of_this_project();
    repo.replace("manifests/kruxt/weekly-kpis.yaml", "kpi: retention_w4", "kpi: retention_w5");
    let repo = branched(repo);
    repo.replace("manifests/kruxt/weekly-kpis.yaml", "kpi: retention_w5", "kpi: retention_w4");
    let facts = facts(&repo, 2);
    assert_eq!(facts["baseProblems"], 1, "{facts}");
    assert_eq!(facts["programs"][0]["change"], "added");
}

#[test]
fn what_others_merged_meanwhile_is_no_part_of_it() {
    let repo = branched(TestRepo::of_this_project());
    assert_eq!(facts(&repo, 0)["headline"], "nothing changes");
    repo.git(&["checkout", "--quiet", "main"]);
    change_list(&repo, 20, 0);
    repo.commit("Twenty fewer");
    repo.git(&["checkout", "--quiet", "lyon"]);
    repo.replace("manifests/kruxt/weekly-kpis.yaml", "\">= 25%\"", "\">= 20%\"");
    repo.commit("A lower bar");
    assert_eq!(facts(&repo, 2)["headline"], "1 document");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_word_it_asks_for_is_the_one_that_counts() {
    for db in databases() {
        let repo = kruxt();
        repo.replace("cohorts/pavia.yaml", "  lockList: -3d", "  # lockList: -3d");
        let mut beta = Beta::start(&db, branched(repo), "2026-03-03T08:00:00Z").await;
        for _ in 0..3 {
            beta.pass().await;
        }
        change_list(&beta.repo, 15, 2);
        beta.repo.commit("A quarter fewer");
        let facts = facts(&beta.repo, 2);
        let asks = facts["programs"][0]["asks"].as_array().unwrap();
        let kinds: Vec<_> = asks.iter().map(|ask| ask["why"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["2 warnings of its list", "it revokes 25 % of the list, more than 20 %"], "{facts}");
        let waits = |beta: &Beta| {
            beta.controller.programs()["kruxt"].waiting_lists.get("pavia").map(|waits| waits.reason.clone())
        };
        beta.pass().await;
        let reason = waits(&beta).unwrap();
        assert!(reason.contains("warnings need") && reason.contains("revoke more than 20 %"), "{reason}");
        for (place, left) in [(0, Some("it would revoke more than 20 % of the list")), (1, None)] {
            let digest = asks[place]["digest"].as_str().unwrap();
            let word = format!(
                "kind: Signoff\nmetadata: {{ name: seen-{place} }}\nspec: {{ program: kruxt, by: founder, says: acknowledge, object: Cohort/pavia, digest: {digest} }}\n"
            );
            beta.repo.write(&format!("manifests/kruxt/seen-{place}.yaml"), &word);
            for _ in 0..2 {
                beta.pass().await;
            }
            let now = waits(&beta);
            assert_eq!(now.as_deref().and_then(|reason| reason.split(" (acknowledge").next()), left);
        }
        let plan = super::a_pull_request_shows_what_it_would_do::facts(&beta.repo, 2);
        assert_eq!(plan["standing"], "ready", "signed in the same pull request: {plan}");
        let rows = betagate::store::invites::cohort_state(&beta.store, "kruxt", "pavia").await.unwrap().unwrap().rows;
        assert_eq!(rows, 47);
        beta.store.close().await;
    }
}
