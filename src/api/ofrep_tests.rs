//! OFREP over loopback, against a fresh database.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use jiff::Timestamp;
use uuid::Uuid;

use super::*;
use crate::store::flags::{Process, publish};
use crate::store::{Store, testing::on_each};

async fn published(store: &Store, body: &Value, digest: &str, source: &str) {
    let mut tx = store.begin().await.unwrap();
    publish(&mut tx, body, &json!([]), digest, source, Timestamp::UNIX_EPOCH).await.unwrap();
    tx.commit().await.unwrap();
}

async fn cache(store: &Store) -> Arc<FlagsCache> {
    let now = Timestamp::UNIX_EPOCH;
    let workload = "api".to_owned();
    let process = Process { id: Uuid::now_v7(), workload, pid: 1, started_at: now, reported_at: now, flag_revision: 0 };
    FlagsCache::load(store.clone(), Clock::manual(now), process).await
}

async fn serve(cache: Arc<FlagsCache>) -> String {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}/ofrep/v1/evaluate/flags", listener.local_addr().unwrap());
    let state = OfrepState { cache, clock: Clock::manual(Timestamp::UNIX_EPOCH) };
    tokio::spawn(async move { axum::serve(listener, router(state)).await });
    base
}

fn flags() -> Value {
    json!({ "flags": {
        "ratio": { "state": "ENABLED", "variants": { "one": 1.0 }, "defaultVariant": "one" },
        "wrong": { "state": "ENABLED", "variants": { "on": true }, "defaultVariant": "on", "targeting": { "nope": [] } },
    } })
}

#[tokio::test]
async fn every_answer_has_what_clients_need() {
    on_each(async |store| {
        published(&store, &flags(), "d1", "abc").await;
        let base = serve(cache(&store).await).await;
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        for (key, sent, status, code) in [
            ("ratio", "{}".to_owned(), 200, None),
            ("nothing", "{}".to_owned(), 404, Some("FLAG_NOT_FOUND")),
            ("wrong", "{}".to_owned(), 400, Some("PARSE_ERROR")),
            ("ratio", "[".to_owned(), 400, Some("PARSE_ERROR")),
            ("ratio", r#"{"context":7}"#.to_owned(), 400, Some("INVALID_CONTEXT")),
            ("ratio", "x".repeat(MAX_BODY + 1), 413, Some("GENERAL")),
        ] {
            let answer = http.post(format!("{base}/{key}")).body(sent).send().await.unwrap();
            assert_eq!(answer.status().as_u16(), status, "{key}");
            let text = answer.text().await.unwrap();
            let body: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(body["key"], key);
            assert!(body["metadata"].is_object() && body["variant"].is_string(), "{text}");
            assert_eq!(body["errorCode"].as_str(), code);
            assert_eq!(body["errorDetails"].is_string(), code.is_some());
            assert!(code.is_some() || text.contains("\"value\":1.0"), "{text}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_bulk_answer_comes_again_only_when_it_changed() {
    on_each(async |store| {
        published(&store, &flags(), "d1", "abc").await;
        let cache = cache(&store).await;
        let base = serve(cache.clone()).await;
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let first = http.post(&base).header("origin", "https://app.example").body("{}").send().await.unwrap();
        assert_eq!(first.status().as_u16(), 200);
        assert!(first.headers()["access-control-expose-headers"].to_str().unwrap().contains("etag"));
        let etag = first.headers()["etag"].clone();
        let body: Value = first.json().await.unwrap();
        assert_eq!((body["flags"].as_array().unwrap().len(), &body["metadata"]["version"]), (2, &json!("abc")));
        let again = async || http.post(&base).header("if-none-match", &etag).body("{}").send().await.unwrap().status();
        assert_eq!(again().await.as_u16(), 304);
        let mut changed = flags();
        changed["flags"]["ratio"]["state"] = json!("DISABLED");
        published(&store, &changed, "d2", "def").await;
        cache.refresh_now().await.unwrap();
        assert_eq!(again().await.as_u16(), 200);
    })
    .await;
}

#[tokio::test]
async fn flags_change_even_when_the_members_cannot_be_read() {
    on_each(async |store| {
        published(&store, &flags(), "d1", "abc").await;
        let cache = cache(&store).await;
        store.execute("ALTER TABLE member_changes RENAME TO away", &[]).await.unwrap();
        published(&store, &flags(), "d2", "def").await;
        assert!(cache.refresh_now().await.is_err());
        assert_eq!(cache.served().source_revision, "def");
    })
    .await;
}
