//! Where the program names its forge, what a cause step proposes becomes a pull request: one, whatever dies on the way. A forge that is unwell is asked again, that
//! is shown, and nothing of the run waits for it.
//!
//! The repository is a real one; the forge answers as GitHub and Gitea document it (`src/outbox/forge_tests.rs` holds the requests to that).

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::Request;
use axum::http::{StatusCode, Uri};
use axum::response::IntoResponse;
use betagate::store::{audit, outbox};
use serde_json::{Value, json};

use crate::support::beta::{ADMIN, Beta};
use crate::support::{Betagate, Outcome, TestRepo, databases};

const TOKEN: &str = "gta_a-token-that-nobody-may-see";

/// What a forge has, and how it is.
#[derive(Default)]
struct Forge {
    pulls: Vec<Value>,
    /// It is away.
    away: bool,
    /// So many answers are lost, after what was asked for is done.
    lose: usize,
    refused: usize,
    url: String,
}

impl Forge {
    fn answer(&mut self, method: &str, uri: &Uri, body: &Value) -> (StatusCode, Value) {
        if self.away {
            self.refused += 1;
            return (StatusCode::SERVICE_UNAVAILABLE, json!({}));
        }
        match (method, uri.path()) {
            ("GET", "/api/v1/repos/ana/beta") => (StatusCode::OK, json!({ "default_branch": "main" })),
            ("GET", "/api/v1/repos/ana/beta/pulls") => {
                let first = uri.query().unwrap_or_default().ends_with("&page=1");
                (StatusCode::OK, json!(if first { self.pulls.clone() } else { Vec::new() }))
            }
            ("POST", "/api/v1/repos/ana/beta/pulls") => {
                let number = self.pulls.len() + 1;
                let url = format!("{}/ana/beta/pulls/{number}", self.url);
                let head = json!({ "ref": body["head"], "repo": { "full_name": "ana/beta" } });
                let pull = json!({ "number": number, "html_url": url, "head": head, "base": { "ref": body["base"] },
                    "title": body["title"], "body": body["body"] });
                self.pulls.insert(0, pull.clone());
                if self.lose > 0 {
                    self.lose -= 1;
                    return (StatusCode::BAD_GATEWAY, json!({}));
                }
                (StatusCode::CREATED, pull)
            }
            other => panic!("{other:?}"),
        }
    }
}

async fn forge() -> (String, Arc<Mutex<Forge>>) {
    let forge: Arc<Mutex<Forge>> = Arc::default();
    let here = forge.clone();
    let app = Router::new().fallback(move |request: Request| {
        let here = here.clone();
        async move {
            let (parts, body) = request.into_parts();
            assert_eq!(parts.headers["authorization"], format!("Bearer {TOKEN}"));
            let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
            let body = serde_json::from_slice(&body).unwrap_or_default();
            let (status, answer) = here.lock().unwrap().answer(parts.method.as_str(), &parts.uri, &body);
            (status, axum::Json(answer)).into_response()
        }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    forge.lock().unwrap().url.clone_from(&url);
    tokio::spawn(async move { axum::serve(listener, app).await });
    (url, forge)
}

fn documents(forge: &str, boost: &str) -> String {
    format!(
        "kind: Program
metadata: {{ name: small }}
spec:
  timeZone: UTC
  startsOn: 2026-03-02
  people: {{ founder: {{}} }}
  forge: {{ api: '{forge}/api/v1', repository: ana/beta, tokenRef: forge-token }}
---
kind: Flag
metadata: {{ name: boost }}
spec: {{ program: small, type: boolean, variants: {{ 'on': true, 'off': false }}, defaultVariant: '{boost}', safeVariant: 'off' }}
---
kind: RollbackPlan
metadata: {{ name: back }}
spec:
  program: small
  when: [ {{ incident: {{ severity: sev-1, activeFor: 30m }} }} ]
  steps:
    - freezeInvites: {{ cohorts: all }}
    - captureRootCause: {{ owner: founder, propose: [document, revert] }}
"
    )
}

fn ask(beta: &Beta, words: &[&str]) -> Outcome {
    let server = format!("http://{}", beta.address());
    Betagate::new(words.iter().copied().chain(["--server", &server, "--token", ADMIN])).run()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proposed_revert_becomes_one_pull_request() {
    for db in databases() {
        let (url, forge) = forge().await;
        let repo = TestRepo::empty();
        repo.write("manifests/small.yaml", &documents(&url, "off"));
        repo.commit("the program");
        repo.write("manifests/small.yaml", &documents(&url, "on"));
        let bad = repo.commit("boost everyone");
        let remote = tempfile::tempdir().unwrap();
        let remote = remote.path().display().to_string();
        repo.git(&["clone", "--quiet", "--bare", ".", &remote]);
        let mut beta = Beta::start(&db, repo, "2026-03-02T12:00:00Z").await;
        beta.follow_git(std::path::Path::new(&remote)).await;
        std::fs::create_dir_all(beta.data.join("secrets")).unwrap();
        std::fs::write(beta.data.join("secrets/forge-token"), TOKEN).unwrap();
        beta.pass().await;

        forge.lock().unwrap().away = true;
        ask(
            &beta,
            &["incident", "open", "down", "--severity", "sev-1", "--title", "Down", "--ago", "31m", "--by", "founder"],
        )
        .expect_code(0);
        beta.until("the run holds", |controller| {
            let decision = controller.programs()["small"].decision.as_ref().unwrap();
            decision.states.get("Rollback/back-1").is_some_and(|run| run.state == "Holding")
        })
        .await;
        for _ in 0..3 {
            beta.pass().await;
        }
        assert!(forge.lock().unwrap().refused > 0, "the forge was asked, and the run did not wait for it");
        let why = ask(&beta, &["why", "rollback/back-1"]).expect_code(2).stdout;
        assert!(
            why.contains("the pull request of the proposed revert: not delivered yet: the forge says later (503)"),
            "{why}"
        );

        // It is back; the answer to the first pull request that is opened is lost.
        {
            let mut forge = forge.lock().unwrap();
            (forge.away, forge.lose) = (false, 1);
        }
        for _ in 0..6 {
            beta.clock.advance(jiff::SignedDuration::from_mins(11));
            beta.pass().await;
        }
        let pulls = forge.lock().unwrap().pulls.clone();
        let mut heads: Vec<&str> = pulls.iter().map(|pull| pull["head"]["ref"].as_str().unwrap()).collect();
        heads.sort_unstable();
        assert_eq!(heads, ["betagate/cause-back-1-1", "betagate/revert-back-1"], "each once");
        let revert = pulls.iter().find(|pull| pull["head"]["ref"] == "betagate/revert-back-1").unwrap();
        assert_eq!((&revert["title"], &revert["base"]["ref"]), (&json!(format!("Take back {bad}")), &json!("main")));
        assert!(revert["body"].as_str().unwrap().contains("`betagate rollback show back-1`"), "{revert}");

        let shown = ask(&beta, &["rollback", "show", "back-1"]).stdout;
        let there = revert["html_url"].as_str().unwrap();
        assert!(shown.contains(&format!("pull request: {there}")) && !shown.contains("yet"), "{shown}");
        let sent = outbox::by_prefix(&beta.store, "back-1/").await.unwrap();
        let pull = sent.iter().find(|message| message.intent.effect_key.ends_with("/pull-revert")).unwrap();
        assert_eq!(pull.receipt.as_ref().unwrap()["reference"], there);
        let log = audit::list(&beta.store, &audit::Filter::default()).await.unwrap();
        let everything = format!("{sent:?} {log:?} {shown} {why}");
        assert!(!everything.contains(TOKEN), "the token is written down nowhere");
    }
}
