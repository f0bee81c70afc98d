//! The words and views of gates and stages over the command line: stopping the line, taking note of incidents, decision calls, the ✅ ⚪ 🔴 view, late data.

use betagate::store::{audit, incidents};
use serde_json::Value;

use crate::support::beta::{ADMIN, Beta};
use crate::support::{Betagate, Outcome, TestRepo, databases};

fn repo() -> TestRepo {
    let repo = TestRepo::empty();
    repo.write(
        "manifests/program.yaml",
        "kind: Program
metadata: { name: soft }
spec:
  timeZone: UTC
  startsOn: 2026-03-02
  people: { ana: { git: [ana@gym.example] }, bob: {} }
  channels: { crew: { email: [crew@example.com] } }
---
kind: Gate
metadata: { name: monitor }
spec:
  program: soft
  review: { cron: '0 */4 * * *', from: +0d }
  cohorts: [fifty]
  checks:
    - { name: reports, incidents: { severity: sev-2, unacknowledgedFor: 1h }, pass: '== 0' }
    - { name: sync, kpi: sync_success_rate, pass: '>= 95%' }
    - { name: triage, signoff: {} }
---
kind: Rollout
metadata: { name: all }
spec:
  program: soft
  stages:
    - name: first
      cohorts: [fifty]
      announce: [ { to: [crew], template: opened } ]
    - name: public
      enter: { signoffs: { from: [ana, bob], call: { at: +18h } } }
",
    );
    repo.write(
        "cohorts/fifty.yaml",
        "kind: Cohort\nmetadata: { name: fifty }\nspec: { program: soft, members: { csv: fifty.csv } }\n",
    );
    repo.write("cohorts/fifty.csv", "email,label\nada@example.com,listener-a\n");
    repo.write(
        "cohorts/templates/opened.txt",
        "Subject: {{ stage }} of {{ program }} is open\n\n{{ cohort }} until {{ expiry }}\n",
    );
    repo
}

/// Asked of the server, whose clock is the test's.
fn ask(beta: &Beta, words: &[&str]) -> Outcome {
    let server = format!("http://{}", beta.address());
    Betagate::new(words.iter().copied().chain(["--server", &server, "--token", ADMIN])).run()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_is_stopped_and_goes_on_and_both_are_in_the_record() {
    for db in databases() {
        let mut beta = Beta::start(&db, repo(), "2026-03-02T00:00:00Z").await;
        let stage = |beta: &Beta| {
            let decision = beta.controller.programs()["soft"].decision.as_ref().unwrap();
            decision.memory.rollouts["all"].current.clone()
        };
        // The program is known after its first pass, so it is stopped before the second stage.
        beta.pass().await;
        assert_eq!(stage(&beta).as_deref(), Some("first"));
        assert!(
            ask(&beta, &["stop", "--all", "--reason", "outage", "--by", "eve"])
                .expect_code(1)
                .stderr
                .contains("no person 'eve'")
        );
        ask(&beta, &["stop", "--all", "--reason", "outage", "--by", "ana"]).expect_code(0);
        assert!(
            ask(&beta, &["stop", "--all", "--reason", "again", "--by", "bob"])
                .expect_code(0)
                .stdout
                .contains("was stopped already")
        );
        ask(&beta, &["stop", "--reason", "a hunch", "--by", "bob"]).expect_code(0);
        beta.at("2026-03-02T18:00:00Z");
        beta.pass().await;
        for by in ["ana", "bob"] {
            ask(&beta, &["signoff", "go", "--rollout", "all", "--stage", "public", "--by", by]).expect_code(0);
        }
        beta.pass().await;
        assert_eq!(stage(&beta).as_deref(), Some("first"));
        let why = ask(&beta, &["why", "rollout/all"]).stdout;
        assert!(
            why.contains("stopped for every program")
                && why.contains("by ana: outage")
                && why.contains("by bob: a hunch"),
            "{why}"
        );
        ask(&beta, &["resume", "--all", "--by", "bob"]).expect_code(0);
        assert!(ask(&beta, &["resume", "--all", "--by", "bob"]).expect_code(1).stderr.contains("not stopped"));
        beta.pass().await;
        assert_eq!(stage(&beta).as_deref(), Some("first"), "the program's own stop stands");
        ask(&beta, &["resume", "--by", "ana"]).expect_code(0);
        beta.pass().await;
        assert_eq!(stage(&beta).as_deref(), Some("public"));
        let log = audit::list(&beta.store, &audit::Filter::default()).await.unwrap();
        let count = |action: &str| log.iter().filter(|kept| kept.entry.action == action).count();
        assert_eq!((count("line.stopped"), count("line.resumed")), (3, 2));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_no_go_needs_its_scope_and_the_next_call_and_an_announcement_is_rendered() {
    for db in databases() {
        let mut beta = Beta::start(&db, repo(), "2026-03-02T00:00:00Z").await;
        beta.pass().await;
        beta.pass().await;
        let mails: Vec<String> = std::fs::read_dir(beta.data.join("mail"))
            .unwrap()
            .map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap())
            .filter(|text| text.contains("To: crew@example.com"))
            .collect();
        assert_eq!(mails.len(), 1);
        assert!(
            mails[0].contains("Subject: first of soft is open")
                && mails[0].contains("fifty until 2026-03-16 00:00 UTC"),
            "{}",
            mails[0]
        );
        beta.at("2026-03-02T18:00:00Z");
        beta.pass().await;
        let no_go = ["signoff", "no-go", "--rollout", "all", "--stage", "public", "--by", "bob"];
        assert!(ask(&beta, &no_go).expect_code(64).stderr.contains("--note"));
        let with_note = [&no_go[..], &["--note", "mend the upload"]].concat();
        assert!(ask(&beta, &with_note).expect_code(64).stderr.contains("--until"));
        ask(&beta, &[&with_note[..], &["--until", "2026-03-04T18:00"]].concat()).expect_code(0);
        beta.pass().await;
        let why = ask(&beta, &["why", "rollout/all"]).stdout;
        assert!(why.contains("NO-GO from bob: mend the upload, until 2026-03-04T18:00:00Z"), "{why}");
        assert!(why.contains("next call at 2026-03-04T18:00:00Z"), "{why}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_marks_of_the_last_reviews_stand_beside_those_of_now() {
    for db in databases() {
        let mut beta = Beta::start(&db, repo(), "2026-03-02T00:00:01Z").await;
        beta.pass().await;
        ask(&beta, &["incident", "open", "slow", "--severity", "sev-2", "--title", "Slow", "--by", "ana"])
            .expect_code(0);
        for instant in ["2026-03-02T01:00:01Z", "2026-03-02T01:00:02Z"] {
            beta.at(instant);
            beta.pass().await;
            let shown = ask(&beta, &["board", "--gate", "monitor", "--marks", "--format", "csv"]);
            let mark = if instant.ends_with("01Z") { "✅" } else { "🔴" };
            assert!(shown.stdout.contains(&format!("reports,{mark},")), "{instant}: {}", shown.stdout);
            // Somebody may look after it until exactly an hour has passed.
            assert_eq!(shown.code, Some(if mark == "🔴" { 2 } else { 0 }));
        }
        ask(&beta, &["incident", "ack", "slow", "--by", "bob"]).expect_code(0);
        assert!(ask(&beta, &["incident", "ack", "slow", "--by", "bob"]).expect_code(1).stderr.contains("before"));
        assert!(
            ask(&beta, &["incident", "ack", "slwo", "--by", "bob"])
                .expect_code(1)
                .stderr
                .contains("did you mean slow?")
        );
        assert!(incidents::get(&beta.store, "soft", "slow").await.unwrap().unwrap().acknowledged_at.is_some());
        beta.at("2026-03-02T04:00:00Z");
        beta.pass().await;
        let shown = ask(&beta, &["board", "--gate", "monitor", "--marks", "--format", "markdown"]).stdout;
        assert!(shown.contains("| Check | 03-02 04:00 | Now |"), "{shown}");
        assert!(shown.contains("| sync | ⚪ | ⚪ | no data |"), "{shown}");
        assert!(shown.contains("monitor is Pending: 1 ✅ 2 ⚪ 0 🔴"), "{shown}");
        let json: Value =
            serde_json::from_str(&ask(&beta, &["board", "--gate", "monitor", "--marks", "-o", "json"]).stdout).unwrap();
        assert_eq!(json[2]["Check"], "triage");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn late_data_leaves_what_was_sealed_and_the_difference_is_shown() {
    for db in databases() {
        let repo = repo();
        repo.write(
            "manifests/weekly.yaml",
            "kind: Gate\nmetadata: { name: weekly }\nspec:\n  program: soft\n  review: { cron: '0 17 * * *', from: +0d }\n  checks:\n    \
             - { name: sev-1, kpi: sev1_incidents, pass: '== 0' }\n",
        );
        let mut beta = Beta::start(&db, repo, "2026-03-02T08:00:00Z").await;
        beta.pass().await;
        beta.at("2026-03-02T17:00:00Z");
        beta.pass().await;
        assert!(!ask(&beta, &["gate", "show", "weekly"]).stdout.contains("late data"));
        // Somebody tells the next day what happened an hour before the review.
        beta.at("2026-03-03T08:00:00Z");
        let ago = ["--severity", "sev-1", "--title", "Down", "--ago", "16h", "--by", "ana"];
        ask(&beta, &[&["incident", "open", "down"][..], &ago].concat()).expect_code(0);
        beta.pass().await;
        let shown = ask(&beta, &["gate", "show", "weekly"]).stdout;
        let line = "late data: the review of 2026-03-02T17:00:00Z (Pass) sealed sev-1 at 0.0 of 1.0 ✅; now it is 1.0 of 1.0 🔴";
        assert!(shown.contains(line), "{shown}");
        assert!(
            shown.contains("weekly is Pending") || shown.contains("weekly is Fail"),
            "the live verdict moved: {shown}"
        );
    }
}
