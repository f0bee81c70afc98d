//! OFREP over loopback, against a fresh database.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use jiff::Timestamp;
use serde_json::Value;
use uuid::Uuid;

use super::*;
use crate::store::flags::{Process, publish};
use crate::store::{Store, testing::on_each};

async fn published(store: &Store, body: &Value, digest: &str, source: &str) {
    let mut tx = store.begin().await.unwrap();
    publish(&mut tx, body.clone(), &json!([]), digest, source, Timestamp::UNIX_EPOCH).await.unwrap();
    tx.commit().await.unwrap();
}

async fn cache(store: &Store) -> Arc<FlagsCache> {
    let clock = Clock::manual(Timestamp::UNIX_EPOCH);
    cache_at(store, &clock).await
}

async fn cache_at(store: &Store, clock: &Clock) -> Arc<FlagsCache> {
    let process = Process::starting("api", 1, None, clock.now());
    FlagsCache::load(store.clone(), clock.clone(), process).await
}

async fn serve(cache: Arc<FlagsCache>) -> String {
    serve_to(cache, Clock::manual(Timestamp::UNIX_EPOCH), Access::Open, PATIENCE).await
}

async fn serve_to(cache: Arc<FlagsCache>, clock: Clock, access: Access, patience: Duration) -> String {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}/ofrep/v1/evaluate/flags", listener.local_addr().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let keys = Arc::new(Keys::load_or_create(folder.path()).unwrap());
    let streams = Streams::new(tokio::sync::watch::Sender::new(false).subscribe());
    let state = OfrepState { cache, clock, access, keys, streams, patience };
    let app = Front::new(state.clone(), router(state));
    tokio::spawn(crate::apply::processes::serve(listener, app, std::future::pending()));
    base
}

fn http() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
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
        let http = http();
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
async fn what_is_asked_is_counted_by_flag_variant_and_reason() {
    on_each(async |store| {
        published(&store, &flags(), "d1", "abc").await;
        let cache = cache(&store).await;
        let base = serve(cache.clone()).await;
        let http = http();
        for path in ["/ratio", "/ratio", "/wrong", "/nothing", ""] {
            http.post(format!("{base}{path}")).body("{}").send().await.unwrap();
        }
        let mut told = String::new();
        cache.counts.write(&mut told).unwrap();
        for line in [
            r#"betagate_flag_evaluations_total{flag="ratio",variant="one",reason="STATIC"} 3"#,
            r#"betagate_flag_requests_refused_total{code="PARSE_ERROR",status="400"} 2"#,
            r#"betagate_flag_requests_refused_total{code="FLAG_NOT_FOUND",status="404"} 1"#,
            "betagate_flag_bulk_answers_total 1",
            "betagate_flag_bulk_unchanged_total 0",
        ] {
            assert!(told.lines().any(|told| told == line), "{line} is not in {told}");
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
        let http = http();
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

#[tokio::test]
async fn a_key_may_have_slashes_and_any_letters_and_any_other_address_is_answered_in_kind() {
    on_each(async |store| {
        let named = json!({ "flags": { "a/b": { "variants": { "x": 1 }, "defaultVariant": "x" }, "größe": { "variants": { "x": 2 }, "defaultVariant": "x" } } });
        published(&store, &named, "d1", "abc").await;
        let base = serve(cache(&store).await).await;
        for (path, status) in [("a/b", 200), ("a%2Fb", 200), ("gr%C3%B6%C3%9Fe", 200), ("%FF", 400), ("c/d", 404)] {
            let answer = http().post(format!("{base}/{path}")).body("{}").send().await.unwrap();
            assert_eq!(answer.status().as_u16(), status, "{path}");
            assert!(answer.json::<Value>().await.unwrap()["metadata"].is_object());
        }
        let elsewhere = http().get(format!("{base}/a")).send().await.unwrap();
        assert_eq!(elsewhere.headers()["content-type"], "application/json");
        assert!(elsewhere.json::<Value>().await.unwrap()["errorDetails"].is_string());
    })
    .await;
}

async fn tag_of(base: &str, context: &Value) -> String {
    let answer = http().post(base).json(&json!({ "context": context })).send().await.unwrap();
    answer.headers()["etag"].to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_tag_is_of_what_the_flags_read_of_a_context_in_any_order_and_of_the_persons_cohorts() {
    on_each(async |store| {
        let mut flags = flags();
        flags["flags"]["ratio"]["targeting"] = json!({ "if": [{ "==": [{ "var": "a" }, { "var": "b" }] }, "one", "one"] });
        published(&store, &flags, "d1", "abc").await;
        let cache = cache(&store).await;
        let base = serve(cache.clone()).await;
        let user = Uuid::now_v7();
        let one = tag_of(&base, &json!({ "targetingKey": user, "a": 1, "b": 2 })).await;
        assert_eq!(one, tag_of(&base, &json!({ "b": 2, "targetingKey": user, "a": 1 })).await);
        assert_ne!(one, tag_of(&base, &json!({ "b": 1, "targetingKey": user, "a": 2 })).await);
        // What no flag reads changes no answer.
        assert_eq!(one, tag_of(&base, &json!({ "targetingKey": user, "a": 1, "b": 2, "c": 3 })).await);
        let mut tx = store.begin().await.unwrap();
        let now = Timestamp::UNIX_EPOCH;
        let insert = "INSERT INTO users (id, email, email_norm, password_hash, is_admin, created_at) VALUES ($1, 'a', 'a', '', $2, $3)";
        tx.execute(insert, crate::args![user, false, now]).await.unwrap();
        let insert = "INSERT INTO cohort_members (program, cohort, user_id, email_norm, joined_at) VALUES ('p', 'c', $1, 'a', $2)";
        tx.execute(insert, crate::args![user, now]).await.unwrap();
        tx.commit().await.unwrap();
        cache.refresh_now().await.unwrap();
        assert_ne!(one, tag_of(&base, &json!({ "targetingKey": user, "a": 1, "b": 2 })).await);
    })
    .await;
}

#[tokio::test]
async fn an_answer_is_never_older_than_asked() {
    on_each(async |store| {
        published(&store, &flags(), "d1", "abc").await;
        let cache = cache(&store).await;
        let base = serve(cache.clone()).await;
        let asking = http().post(format!("{base}?flagConfigEtag=%222-d2%22")).body("{}").send();
        let publishing = async {
            published(&store, &flags(), "d2", "def").await;
            cache.refresh_now().await.unwrap();
        };
        let (answer, ()) = tokio::join!(asking, publishing);
        assert_eq!(answer.unwrap().json::<Value>().await.unwrap()["metadata"]["version"], "def");
    })
    .await;
}

#[tokio::test]
async fn a_configuration_that_does_not_come_is_answered_with_when_to_ask_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&format!("sqlite:{}", folder.path().join("betagate.db").display())).await.unwrap();
    store.migrate().await.unwrap();
    let clock = Clock::manual(Timestamp::UNIX_EPOCH);
    let base = serve_to(cache(&store).await, clock, Access::Open, Duration::from_millis(20)).await;
    let answer = http().post(format!("{base}?flagConfigEtag=%227-x%22")).body("{}").send().await.unwrap();
    assert_eq!((answer.status().as_u16(), &answer.headers()["retry-after"]), (429, &"1".parse().unwrap()));
}

#[tokio::test]
async fn a_stream_tells_of_each_change_and_of_one_that_came_before_it_was_opened() {
    on_each(async |store| {
        published(&store, &flags(), "d1", "abc").await;
        let cache = cache(&store).await;
        let base = serve(cache.clone()).await;
        let bulk: Value = http().post(&base).body("{}").send().await.unwrap().json().await.unwrap();
        let stream = &bulk["eventStreams"][0];
        assert_eq!(stream["type"], "sse");
        let address = base.replace("/ofrep/v1/evaluate/flags", stream["endpoint"]["requestUri"].as_str().unwrap());
        published(&store, &flags(), "d2", "def").await;
        cache.refresh_now().await.unwrap();
        let mut events = http().get(address).send().await.unwrap();
        assert_eq!(events.headers()["content-type"], "text/event-stream");
        let first = String::from_utf8(events.chunk().await.unwrap().unwrap().to_vec()).unwrap();
        assert!(
            first.contains("event: message") && first.contains("id: \"2-d2\"") && first.contains("refetchEvaluation"),
            "{first}"
        );
        published(&store, &flags(), "d3", "ghi").await;
        cache.refresh_now().await.unwrap();
        let second = String::from_utf8(events.chunk().await.unwrap().unwrap().to_vec()).unwrap();
        assert!(second.contains("3-d3"), "{second}");
    })
    .await;
}

#[tokio::test]
async fn elsewhere_a_token_that_may_read_flags_is_needed_and_a_browser_gets_a_signed_address() {
    on_each(async |store| {
        published(&store, &flags(), "d1", "abc").await;
        let clock = Clock::manual(Timestamp::UNIX_EPOCH);
        let mut tx = store.begin().await.unwrap();
        for (token, scope) in [("reads", "flags:read"), ("writes", "events:write")] {
            crate::store::tokens::create(
                &mut tx,
                token,
                &crate::api::token_digest(token),
                &[scope.to_owned()],
                clock.now(),
            )
            .await
            .unwrap();
        }
        tx.commit().await.unwrap();
        let access = Access::tokens(store.clone(), Some(crate::api::token_digest("admin")));
        let base = serve_to(cache_at(&store, &clock).await, clock.clone(), access, PATIENCE).await;
        for (header, value, status) in [
            ("x-nothing", "", 401),
            ("authorization", "Bearer reads", 200),
            ("x-api-key", "reads", 200),
            ("authorization", "Bearer admin", 200),
            ("authorization", "Bearer writes", 403),
            ("authorization", "Bearer unknown", 401),
        ] {
            let answer = http().post(format!("{base}/ratio")).header(header, value).body("{}").send().await.unwrap();
            assert_eq!(answer.status().as_u16(), status, "{header} {value}");
        }
        let answer = http().post(&base).header("x-api-key", "reads").body("{}").send().await.unwrap();
        let bulk: Value = answer.json().await.unwrap();
        let uri = bulk["eventStreams"][0]["endpoint"]["requestUri"].as_str().unwrap();
        let address = base.replace("/ofrep/v1/evaluate/flags", uri);
        let listen = async |address: &str| http().get(address).send().await.unwrap().status().as_u16();
        assert_eq!(listen(&address).await, 200);
        assert_eq!(listen(&address.replace("until=", "until=9")).await, 401);
        assert_eq!(listen(&base.replace("evaluate/flags", "events")).await, 401);
        clock.advance(jiff::SignedDuration::from_hours(3));
        assert_eq!(listen(&address).await, 401);
    })
    .await;
}

#[tokio::test]
async fn a_revoked_token_is_refused_and_with_the_database_away_known_ones_go_on() {
    on_each(async |store| {
        published(&store, &flags(), "d1", "abc").await;
        let clock = Clock::manual(Timestamp::UNIX_EPOCH);
        let digest = crate::api::token_digest("reads");
        let mut tx = store.begin().await.unwrap();
        let id =
            crate::store::tokens::create(&mut tx, "t", &digest, &["flags:read".to_owned()], clock.now()).await.unwrap();
        tx.commit().await.unwrap();
        let access = Access::tokens(store.clone(), None);
        let base = serve_to(cache_at(&store, &clock).await, clock.clone(), access, PATIENCE).await;
        let ask = async || {
            let answer = http().post(format!("{base}/ratio")).bearer_auth("reads").body("{}").send().await.unwrap();
            (answer.status().as_u16(), answer.text().await.unwrap())
        };
        assert_eq!(ask().await.0, 200);
        clock.advance(jiff::SignedDuration::from_secs(10));
        store.execute("ALTER TABLE tokens RENAME TO away", &[]).await.unwrap();
        let (status, answer) = ask().await;
        assert_eq!(status, 200);
        assert!(answer.contains("\"betagate.staleSeconds\":10"), "{answer}");
        assert!(serde_json::from_str::<Value>(&answer).is_ok(), "{answer}");
        store.execute("ALTER TABLE away RENAME TO tokens", &[]).await.unwrap();
        let mut tx = store.begin().await.unwrap();
        crate::store::tokens::revoke(&mut tx, id, clock.now()).await.unwrap();
        tx.commit().await.unwrap();
        clock.advance(jiff::SignedDuration::from_secs(10));
        assert_eq!(ask().await.0, 401);
    })
    .await;
}

#[tokio::test]
async fn a_stream_tells_of_a_scheduled_change_at_its_moment() {
    on_each(async |store| {
        let flags = json!({ "flags": { "sale": { "variants": { "on": true, "off": false }, "defaultVariant": "off",
            "schedule": [{ "from": "1970-01-01T01:00:00Z", "variant": "on" }] } } });
        published(&store, &flags, "d1", "abc").await;
        let clock = Clock::manual(Timestamp::UNIX_EPOCH);
        let cache = cache_at(&store, &clock).await;
        let base = serve_to(cache, clock.clone(), Access::Open, PATIENCE).await;
        let before = http().post(&base).body("{}").send().await.unwrap().headers()["etag"].clone();
        let mut events = http().get(base.replace("evaluate/flags", "events")).send().await.unwrap();
        clock.advance(jiff::SignedDuration::from_hours(1));
        let told = String::from_utf8(events.chunk().await.unwrap().unwrap().to_vec()).unwrap();
        assert!(told.contains("refetchEvaluation"), "{told}");
        let asked = http().post(&base).header("if-none-match", before).body("{}").send().await.unwrap();
        assert_eq!(asked.status().as_u16(), 200, "another era, another tag");
        assert_eq!(asked.json::<Value>().await.unwrap()["flags"][0]["value"], true);
    })
    .await;
}
