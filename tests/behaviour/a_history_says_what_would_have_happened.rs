//! `betagate simulate` replays a weekly board, or what a running system measured, through the same decisions: what a threshold would have done.

use crate::support::{Betagate, Outcome, TestRepo};

const BOARD: &str = "Week Of,Cohort,Booking Completion,Sync Success,Sev-1 Count,Gate Status
2026-03-13,Pavia,72.0%,97.2%,0,Pass
2026-03-20,Pavia,71.0%,94.8%,0,Conditional
";
const THRESHOLD: &str = "kpi: sync_success_rate, pass: \">= 95%\"";

fn simulate(repo: &TestRepo, words: &str) -> Outcome {
    let usual = "simulate --program kruxt --from 2026-03-02 --assume met,signed";
    Betagate::new(usual.split(' ').chain(words.split(' '))).within(repo.path()).run()
}

#[test]
fn a_board_is_replayed_and_a_changed_threshold_shows_in_what_it_would_have_done() {
    let repo = TestRepo::of_this_project();
    repo.commit("before");
    repo.write("board.csv", BOARD);
    let played = simulate(&repo, "--board board.csv").expect_code(0).stdout;
    let at = |what: &str| played.find(what).unwrap_or_else(|| panic!("{what} is not in {played}"));
    assert!(at("stage pilot is open") < at("step 1 freezeInvites"));
    assert!(at("step 1 freezeInvites") < at("step 7 holdReviews"));
    assert!(played.contains("2026-03-20: the board has Conditional, it would be Held"), "{played}");
    assert!(simulate(&repo, "--board board.csv --base HEAD").expect_code(0).stdout.is_empty());
    repo.replace("manifests/kruxt/weekly-kpis.yaml", THRESHOLD, &THRESHOLD.replace("95", "94"));
    let differs = simulate(&repo, "--board board.csv --base HEAD").expect_code(2).stdout;
    assert!(differs.lines().any(|line| line.starts_with('-') && line.contains("RollbackStarted")), "{differs}");
    assert!(!repo.path().join(".betagate").exists(), "nothing is written");
}

#[test]
fn readings_incidents_and_words_come_as_lines_of_json() {
    let repo = TestRepo::of_this_project();
    let history = [
        r#"{"at":"2026-03-13T15:00:00Z","gate":"weekly-kpis","check":"sync-success","numerator":93,"denominator":100}"#,
        r#"{"at":"2026-03-10T09:00:00Z","incident":{"name":"slow","severity":"sev-3"}}"#,
        r#"{"at":"2026-03-11T09:00:00Z","signoff":{"program":"kruxt","by":"founder","says":"no-go","rollout":"closed-beta","stage":"us-eu","note":"not yet"}}"#,
    ];
    repo.write("history.jsonl", &history.join("\n"));
    let played = simulate(&repo, "--history history.jsonl -o json").expect_code(0).stdout;
    let played: serde_json::Value = serde_json::from_str(&played).unwrap();
    let started =
        played["timeline"].as_array().unwrap().iter().find(|line| line["reason"] == "RollbackStarted").unwrap();
    assert_eq!(started["at"], "2026-03-13T15:00:00Z");

    repo.write(
        "wrong.jsonl",
        "{\"at\":\"2026-03-13T15:00:00Z\",\"gate\":\"weekly-kpi\",\"check\":\"x\",\"value\":1}\nnothing\n",
    );
    let wrong = simulate(&repo, "--history wrong.jsonl").expect_code(1).stderr;
    assert!(wrong.contains("wrong.jsonl:1: there is no gate 'weekly-kpi'; did you mean weekly-kpis?"), "{wrong}");
    assert!(wrong.contains("wrong.jsonl:2: "), "{wrong}");
}
