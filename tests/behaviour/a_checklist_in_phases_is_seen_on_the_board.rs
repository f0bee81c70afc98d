//! A gate with phases as people see it: on the board, in `status`, and in what `why` says is still to be done.

use crate::support::beta::{ADMIN, Beta};
use crate::support::{Betagate, Outcome, TestRepo, databases};

const LAUNCH: &str = "kind: Program
metadata: { name: launch }
spec: { timeZone: Europe/Rome, startsOn: 2026-03-02, people: { ana: {}, bob: {} } }
---
kind: Gate
metadata: { name: list }
spec:
  program: launch
  owner: ana
  phases:
    - { name: before, from: -3d, until: { rollout: all, stage: first } }
    - { name: day, from: +0d, until: { rollout: all, stage: first } }
    - { name: after, after: { rollout: all, stage: first, by: 1h }, within: 30m, undo: { how: take it back by hand } }
  checks:
    - { name: quiet, phase: before, incidents: { severity: sev-1, open: true }, pass: '== 0' }
    - { name: wording, phase: before, signoff: { from: [bob] } }
    - { name: hello, phase: after, signoff: {} }
    - { name: look, phase: day, signoff: { from: [ana] } }
---
kind: Rollout
metadata: { name: all }
spec: { program: launch, stages: [ { name: first, enter: { gates: [ { name: list, phases: [before, day] } ] } } ] }
";

fn ask(beta: &Beta, words: &[&str]) -> Outcome {
    let server = format!("http://{}", beta.address());
    Betagate::new(words.iter().copied().chain(["--server", &server, "--token", ADMIN])).run()
}

/// The lines of a table, each in its cells.
fn cells(text: &str) -> Vec<Vec<&str>> {
    text.lines().map(|line| line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checklist_in_phases_is_seen_on_the_board() {
    for db in databases() {
        let repo = TestRepo::empty();
        repo.write("manifests/launch.yaml", LAUNCH);
        let mut beta = Beta::start(&db, repo, "2026-02-27T12:00:00Z").await;
        beta.pass().await;
        let board = ask(&beta, &["board", "--gate", "list"]).expect_code(0).stdout;
        let rows = cells(&board);
        assert_eq!(rows[0], ["Phase", "Began", "Due", "Where it stands"], "{board}");
        assert_eq!(rows[1], ["before", "2026-02-27 00:00", "1 of 2 done"], "in the program's zone: {board}");
        assert_eq!(rows[2], ["day", "not due before 2026-03-01T23:00:00Z"]);
        assert_eq!(rows[3], ["after", "not due before stage first is open"]);

        let done = |beta: &Beta, check: &str, by: &str| {
            ask(beta, &["signoff", "done", "--gate", "list", "--check", check, "--by", by]).expect_code(0);
        };
        done(&beta, "wording", "bob");
        beta.at("2026-03-02T08:00:00Z");
        beta.pass().await;
        let why = ask(&beta, &["why", "gate/list"]).expect_code(2).stdout;
        assert!(why.contains("⚪ day: look: waits for ana") && !why.contains("hello"), "{why}");
        let why = ask(&beta, &["why", "rollout/all"]).expect_code(2).stdout;
        assert!(why.contains("gate list (before, day) is Pending"), "{why}");

        done(&beta, "look", "ana");
        beta.pass().await;
        beta.pass().await;
        beta.at("2026-03-02T09:30:00Z");
        beta.pass().await;
        let marks = ask(&beta, &["board", "--gate", "list", "--marks"]).expect_code(0).stdout;
        let rows = cells(&marks);
        assert_eq!(rows[0][..3], ["Phase", "Check", "Now"], "{marks}");
        let order: Vec<&str> = rows[1..5].iter().map(|row| row[1]).collect();
        assert_eq!(order, ["quiet", "wording", "look", "hello"], "phase by phase: {marks}");
        assert!(marks.contains("over since 2026-03-02T08:00:00Z") && marks.contains("0 of 1 done, overdue"), "{marks}");
        let status = ask(&beta, &["status"]).stdout;
        assert!(status.contains("after 0 of 1"), "{status}");
        let log = ask(&beta, &["audit", "list", "--limit", "100"]).stdout;
        for told in ["PhaseBegan", "PhaseDone", "PhaseOverdue"] {
            assert!(log.contains(told), "{told}: {log}");
        }
    }
}
