//! The forms that GitHub documents, spoken to a listener on loopback: what only GitHub answers can't be had here. What Gitea and GitHub
//! share runs against a real Gitea in `tests/forge/`.
#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::Response as Answer;

use super::*;

const TOKEN: &str = "ghp_hunter2";

/// A request as it came: method and path, the headers that matter, body.
type Heard = Arc<Mutex<Vec<(String, HeaderMap, Value)>>>;

/// An answer: status, headers, body.
type Line = (u16, &'static [(&'static str, &'static str)], Value);

/// A listener that answers by a script, the last line again and again.
async fn listener(script: Vec<Line>) -> (Forge, Heard) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let heard: Heard = Arc::default();
    let (said, lines) = (heard.clone(), Arc::new(script));
    let app = Router::new().fallback(move |request: Request| {
        let (said, lines) = (said.clone(), lines.clone());
        async move {
            let (parts, body) = request.into_parts();
            let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
            let line = {
                let mut said = said.lock().unwrap();
                let path = parts.uri.path_and_query().unwrap().to_string();
                let body = serde_json::from_slice(&body).unwrap_or_default();
                said.push((format!("{} {path}", parts.method), parts.headers, body));
                said.len() - 1
            };
            let (status, headers, body) = &lines[line.min(lines.len() - 1)];
            let mut answer = Answer::builder().status(*status);
            for (name, value) in *headers {
                answer = answer.header(*name, *value);
            }
            answer.body(Body::from(body.to_string())).unwrap()
        }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    let forge = Forge::new(&format!("http://{address}/api/v3/"), "ana/beta", TOKEN.into()).unwrap();
    (forge.first_wait(Duration::from_millis(1)), heard)
}

fn status() -> CommitStatus {
    CommitStatus {
        state: CommitState::Pending,
        context: "betagate/plan".to_owned(),
        description: "é".repeat(200),
        target: Some("https://forge.example/c/1".to_owned()),
    }
}

fn paths(heard: &Heard) -> Vec<String> {
    heard.lock().unwrap().iter().map(|(path, ..)| path.clone()).collect()
}

#[tokio::test]
async fn a_status_has_the_form_that_github_documents_and_is_tried_again_while_the_forge_is_unwell() {
    let (forge, heard) = listener(vec![
        (502, &[], json!("<html>")),
        (403, &[("x-ratelimit-remaining", "0")], json!({ "message": "API rate limit exceeded" })),
        (201, &[], json!({ "id": 1 })),
    ])
    .await;
    forge.status("abc123", &status()).await.unwrap();
    let heard = heard.lock().unwrap();
    assert_eq!(heard.len(), 3);
    let (path, headers, body) = &heard[2];
    assert_eq!(path, "POST /api/v3/repos/ana/beta/statuses/abc123");
    assert_eq!(headers["authorization"], format!("Bearer {TOKEN}"));
    assert_eq!(headers["x-github-api-version"], "2022-11-28");
    assert!(headers["accept"].to_str().unwrap().starts_with("application/vnd.github+json"));
    assert!(headers["user-agent"].to_str().unwrap().starts_with("betagate/"));
    let line = body["description"].as_str().unwrap();
    assert_eq!((line.chars().count(), line.ends_with('…')), (LINE, true));
    assert_eq!((&body["state"], &body["context"]), (&json!("pending"), &json!("betagate/plan")));
}

#[tokio::test]
async fn only_a_comment_of_ours_is_written_over_on_whatever_page_it_stands() {
    let page = |first: u64, last: Value| {
        let mut all: Vec<Value> =
            (first..first + 99).map(|id| json!({ "id": id, "body": "hm", "user": { "login": "ana" } })).collect();
        all.push(last);
        json!(all)
    };
    let forged = json!({ "id": 100, "body": "<!-- m -->\nnot ours", "user": { "login": "mallory", "type": "User" } });
    let ours =
        json!({ "id": 7000, "body": "<!-- m -->\nold", "user": { "login": "github-actions[bot]", "type": "Bot" } });
    let (forge, heard) = listener(vec![
        (200, &[], page(1, forged)),
        (403, &[], json!({ "message": "Resource not accessible by integration" })),
        (200, &[], page(101, ours)),
        (200, &[], json!({ "html_url": "https://forge.example/c/7000" })),
    ])
    .await;
    let posted = forge.comment(12, "<!-- m -->", "new").await.unwrap();
    assert_eq!(posted, Posted { url: "https://forge.example/c/7000".to_owned(), again: true });
    assert_eq!(
        paths(&heard),
        [
            "GET /api/v3/repos/ana/beta/issues/12/comments?per_page=100&limit=100&page=1",
            "GET /api/v3/user",
            "GET /api/v3/repos/ana/beta/issues/12/comments?per_page=100&limit=100&page=2",
            "PATCH /api/v3/repos/ana/beta/issues/comments/7000",
        ]
    );
    assert_eq!(heard.lock().unwrap()[3].2["body"], "<!-- m -->\nnew");
}

#[tokio::test]
async fn a_comment_whose_answer_was_lost_is_looked_for_before_it_is_written_again() {
    let (forge, heard) = listener(vec![
        (200, &[], json!([])),
        (504, &[], json!(null)),
        (200, &[], json!([{ "id": 5, "body": "<!-- m -->\nx", "user": { "login": "ana" } }])),
        (200, &[], json!({ "login": "Ana" })),
        (200, &[], json!({ "html_url": "u" })),
    ])
    .await;
    assert!(forge.comment(12, "<!-- m -->", "x").await.unwrap().again);
    let last = paths(&heard).pop().unwrap();
    assert_eq!(last, "PATCH /api/v3/repos/ana/beta/issues/comments/5");
}

#[tokio::test]
async fn a_refusal_is_told_in_words_that_help_and_asked_once() {
    for (code, wanted) in [
        (401, "the forge does not know the token (401)"),
        (403, "the token may not write a commit status (403): no right, …: it needs the rights `statuses: write`"),
        (404, "the forge has no commit abc123 in ana/beta (404), or hides it from this token"),
        (422, "the forge refuses to write a commit status (422): no right, …"),
        (307, "ana/beta has moved (307)"),
    ] {
        let (forge, heard) = listener(vec![(code, &[], json!({ "message": format!("no right, {TOKEN}") }))]).await;
        let error = forge.status("abc123", &status()).await.unwrap_err();
        assert!(error.to_string().starts_with(wanted), "{error}");
        assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
        assert_eq!(heard.lock().unwrap().len(), 1, "{code}");
    }
}

#[tokio::test]
async fn a_forge_that_stays_away_is_given_up_and_no_error_holds_the_token() {
    let (forge, heard) = listener(vec![(503, &[], json!(null))]).await;
    let error = forge.status("abc123", &status()).await.unwrap_err();
    assert_eq!(error.to_string(), "the forge says later (503)");
    assert_eq!(heard.lock().unwrap().len(), RETRIES + 1);
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let gone = Forge::new(&format!("http://{closed}"), "ana/beta", TOKEN.into()).unwrap();
    let error = gone.first_wait(Duration::from_millis(1)).status("abc123", &status()).await.unwrap_err();
    assert_eq!(error.to_string(), "the forge at 127.0.0.1 can't be reached");
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_is_asked() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    for (api, repository) in [
        ("ftp://x", "ana/beta"),
        ("https://ana:hunter2@forge.example", "ana/beta"),
        ("https://forge.example", "beta"),
        ("https://forge.example", "ana/../beta"),
        ("https://forge.example", "ana/be ta"),
    ] {
        let error = Forge::new(api, repository, TOKEN.into()).err().unwrap();
        assert!(!error.to_string().contains("hunter2") && !error.retryable(), "{error}");
    }
}

fn proposed() -> NewPull {
    NewPull {
        branch: "betagate/revert-x-1".to_owned(),
        base: None,
        title: "Take back".to_owned(),
        body: "why".to_owned(),
    }
}

fn a_pull(number: u64, repository: &str, branch: &str) -> Value {
    json!({ "number": number, "html_url": format!("https://forge.example/p/{number}"), "state": "closed",
        "head": { "ref": branch, "repo": { "full_name": repository } } })
}

#[tokio::test]
async fn a_pull_request_is_opened_on_the_default_branch_when_the_branch_has_none_of_its_own() {
    let opened = json!({ "number": 7, "html_url": "https://forge.example/p/7" });
    let (forge, heard) = listener(vec![
        (200, &[], json!([a_pull(3, "mallory/beta", "betagate/revert-x-1"), a_pull(2, "ana/beta", "other")])),
        (200, &[], json!([])),
        (200, &[], json!({ "default_branch": "trunk" })),
        (201, &[], opened),
    ])
    .await;
    let done = forge.pull(&proposed()).await.unwrap();
    assert_eq!(done, OpenedPull { number: 7, url: "https://forge.example/p/7".to_owned(), again: false });
    assert_eq!(
        paths(&heard),
        [
            "GET /api/v3/repos/ana/beta/pulls?state=all&head=ana:betagate/revert-x-1&per_page=100&limit=100&page=1",
            "GET /api/v3/repos/ana/beta/pulls?state=all&head=ana:betagate/revert-x-1&per_page=100&limit=100&page=2",
            "GET /api/v3/repos/ana/beta",
            "POST /api/v3/repos/ana/beta/pulls",
        ]
    );
    let body = heard.lock().unwrap()[3].2.clone();
    assert_eq!(body, json!({ "title": "Take back", "head": "betagate/revert-x-1", "base": "trunk", "body": "why" }));
}

#[tokio::test]
async fn a_pull_request_that_was_closed_by_somebody_is_not_opened_again() {
    let (forge, heard) = listener(vec![(200, &[], json!([a_pull(9, "Ana/Beta", "betagate/revert-x-1")]))]).await;
    assert!(forge.pull(&proposed()).await.unwrap().again);
    assert_eq!(paths(&heard).len(), 1);
}

#[tokio::test]
async fn a_pull_request_that_somebody_opened_meanwhile_is_found_and_a_refusal_is_told() {
    let new = NewPull { base: Some("main".to_owned()), ..proposed() };
    for status in [409, 422] {
        let (forge, _) = listener(vec![
            (200, &[], json!([])),
            (status, &[], json!({ "message": "pull request already exists" })),
            (200, &[], json!([a_pull(4, "ana/beta", "betagate/revert-x-1")])),
        ])
        .await;
        assert_eq!(forge.pull(&new).await.unwrap().number, 4);
    }
    let refused = json!({ "message": "No commits between main and betagate/revert-x-1" });
    let (forge, _) = listener(vec![(200, &[], json!([])), (422, &[], refused), (200, &[], json!([]))]).await;
    let error = forge.pull(&new).await.unwrap_err();
    assert!(
        error.to_string().contains("open a pull request (422)") && error.to_string().contains("No commits"),
        "{error}"
    );
    let (forge, heard) = listener(vec![(503, &[], json!({}))]).await;
    assert!(forge.pull(&new).await.unwrap_err().retryable());
    assert_eq!(paths(&heard).len(), 1, "the outbox comes again by itself");
}
