//! A decision call is written down: who said what, every row as it stood, what follows. After a unanimous GO the tag of the release is made in the repository of
//! the documents at the time of day that the stage names; not while the line is stopped (seed 004).

use std::path::Path;

use betagate::store::outbox;

use crate::support::beta::{ADMIN, Beta};
use crate::support::{Betagate, Outcome, TestRepo, databases};

const LAUNCH: &str = "kind: Program
metadata: { name: launch }
spec: { timeZone: Europe/Rome, startsOn: 2026-03-02, people: { ana: {}, bob: {} } }
---
kind: Gate
metadata: { name: rows }
spec:
  program: launch
  review: { cron: '0 12 * * *', from: +0d }
  checks:
    - { name: no-sev-1, incidents: { severity: sev-1, open: true }, pass: '== 0' }
    - { name: 'wording', signoff: {} }
---
kind: Rollout
metadata: { name: all }
spec:
  program: launch
  stages:
    - { name: first }
    - name: public
      enter: { gates: [ { name: rows, passes: 1 } ], signoffs: { from: [ana, bob], call: { at: +18h } } }
      tag: { name: v2.0.0-public, at: '09:00' }
";

fn ask(beta: &Beta, words: &[&str]) -> Outcome {
    let server = format!("http://{}", beta.address());
    Betagate::new(words.iter().copied().chain(["--server", &server, "--token", ADMIN])).run()
}

/// The minutes that are there, the older ones first.
fn minutes(data: &Path) -> Vec<String> {
    let all = std::fs::read_dir(data.join("documents")).into_iter().flatten().flatten();
    let mut all: Vec<_> =
        all.filter(|entry| entry.file_name().to_string_lossy().starts_with("minutes-all-public-")).collect();
    all.sort_by_key(|entry| entry.metadata().unwrap().modified().unwrap());
    all.iter().map(|entry| std::fs::read_to_string(entry.path()).unwrap()).collect()
}

async fn launch(db: &crate::support::TestDb) -> (Beta, tempfile::TempDir, String) {
    let repo = TestRepo::empty();
    repo.write("manifests/launch.yaml", LAUNCH);
    let commit = repo.commit("the launch");
    let remote = tempfile::tempdir().unwrap();
    repo.git(&["clone", "--quiet", "--bare", ".", &remote.path().display().to_string()]);
    let mut beta = Beta::start(db, repo, "2026-03-02T08:00:00Z").await;
    beta.follow_git(remote.path()).await;
    beta.pass().await;
    ask(&beta, &["signoff", "done", "--gate", "rows", "--check", "wording", "--by", "bob"]).expect_code(0);
    // 18:00 in Rome.
    beta.at("2026-03-02T17:00:00Z");
    beta.pass().await;
    beta.pass().await;
    (beta, remote, commit)
}

fn go(beta: &Beta, by: &str) {
    ask(beta, &["signoff", "go", "--rollout", "all", "--stage", "public", "--by", by]).expect_code(0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_unanimous_go_is_written_down_and_tagged_the_next_morning() {
    for db in databases() {
        let (mut beta, remote, commit) = launch(&db).await;
        let remote = remote.path().display().to_string();
        let there = |beta: &Beta, words: &[&str]| beta.repo.git(&[&["--git-dir", remote.as_str()], words].concat());
        let no = [
            "signoff",
            "no-go",
            "--rollout",
            "all",
            "--stage",
            "public",
            "--by",
            "bob",
            "--note",
            "the | upload\nbreaks",
            "--until",
            "2026-03-02T18:00:00Z",
        ];
        ask(&beta, &no).expect_code(0);
        beta.pass().await;
        beta.pass().await;
        let written = minutes(&beta.data);
        assert_eq!(written.len(), 1);
        for said in [
            "- Decision: NO-GO by bob: the \\| upload breaks; next call at 2026-03-02T18:00:00Z",
            "| bob | NO-GO | 2026-03-02T17:00:00Z | the \\| upload breaks (next call at 2026-03-02T18:00:00Z) |",
            "| ana | nothing | | |",
            "## Gate rows: Pass",
            "| ✅ | no-sev-1 | 0 | == 0 |",
            "| ✅ | wording |  |  | signed by bob |",
        ] {
            assert!(written[0].contains(said), "{said}: {}", written[0]);
        }

        beta.at("2026-03-02T18:00:00Z");
        beta.pass().await;
        beta.pass().await;
        go(&beta, "ana");
        go(&beta, "bob");
        beta.pass().await;
        beta.pass().await;
        let written = minutes(&beta.data);
        assert_eq!(written.len(), 2, "the next call has minutes of its own");
        assert!(
            written[1].contains("- Decision: GO by ana, bob; rows Pass") && written[1].contains(&commit),
            "{}",
            written[1]
        );
        assert!(written[1].contains("then tag v2.0.0-public at 09:00"), "{}", written[1]);
        let status = ask(&beta, &["get", "rollout", "all"]).stdout;
        assert!(status.contains("tag v2.0.0-public at 2026-03-03T08:00:00Z"), "nine in Rome: {status}");

        // The line is stopped over night: no tag at nine, and one when it goes on.
        ask(&beta, &["stop", "--reason", "a doubt", "--by", "ana"]).expect_code(0);
        beta.at("2026-03-03T08:00:00Z");
        beta.pass().await;
        beta.pass().await;
        assert_eq!(there(&beta, &["tag", "--list"]), "");
        ask(&beta, &["resume", "--by", "ana"]).expect_code(0);
        beta.pass().await;
        beta.pass().await;
        assert_eq!(there(&beta, &["rev-parse", "v2.0.0-public^{commit}"]), commit);
        assert_eq!(there(&beta, &["cat-file", "-t", "v2.0.0-public"]), "tag");
        beta.pass().await;
        let why = ask(&beta, &["why", "rollout/all"]).stdout;
        assert!(why.contains(&format!("tag: tag v2.0.0-public {commit}")) && why.contains("minutes: "), "{why}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tag_that_means_another_commit_is_left_alone_and_that_is_said() {
    for db in databases() {
        let (mut beta, remote, commit) = launch(&db).await;
        let remote = remote.path().display().to_string();
        beta.repo.write("other", "x");
        let other = beta.repo.commit("somebody's own release");
        beta.repo.git(&["push", "--quiet", &remote, &format!("{other}:refs/tags/v2.0.0-public")]);
        go(&beta, "ana");
        go(&beta, "bob");
        beta.pass().await;
        beta.at("2026-03-03T08:00:00Z");
        // Longer than a next try would wait.
        for _ in 0..4 {
            beta.pass().await;
            beta.clock.advance(jiff::SignedDuration::from_hours(2));
        }
        let there = beta.repo.git(&["--git-dir", &remote, "rev-parse", "v2.0.0-public"]);
        assert!(there == other && there != commit);
        let why = ask(&beta, &["why", "rollout/all"]).stdout;
        assert!(
            why.contains("tag: not delivered: there is a tag v2.0.0-public already, and it means another commit"),
            "{why}"
        );
        let asked = outbox::list(&beta.store, "launch", &[outbox::State::Failed], 10).await.unwrap();
        let asked: Vec<_> = asked.iter().map(|one| (one.intent.kind.as_str(), one.attempts)).collect();
        assert_eq!(asked, [("tag", 1)], "it is asked for once");
    }
}
