//! Against a small server: what is a value, what is no data, what is an error; and that nothing leaves the source's own host.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::RawQuery;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use betagate_core::resources::HttpCheck;
use jiff::Timestamp;
use secrecy::SecretString;
use serde_json::{Value, json};

use super::super::net::{Endpoint, Net};
use super::super::{Outcome, Why};
use super::{measure, value_at};

const HEALTH: &str = r#"{"status":"ok","up":true,"drives":{"online":4},"open":[1,2],"zero":0,"none":null}"#;

/// Answers as Sentry does: a list of issues, for this query.
async fn sentry(headers: HeaderMap, RawQuery(query): RawQuery) -> impl IntoResponse {
    let asked = query.as_deref() == Some("query=is%3Aunresolved%20priority%3Ahigh&limit=100");
    if headers.get("authorization").is_none() || !asked {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    json!([{ "id": "1", "level": "error", "status": "unresolved" }, { "id": "2", "level": "fatal", "status": "unresolved" }])
        .to_string()
        .into_response()
}

/// Answers as PagerDuty does: one page of incidents, and how many there are.
async fn pagerduty(headers: HeaderMap, RawQuery(query): RawQuery) -> impl IntoResponse {
    let query = query.unwrap_or_default();
    let asked = query.contains("total=true") && query.contains("triggered") && query.contains("acknowledged");
    if headers.get("authorization").is_none() || !asked {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    json!({ "incidents": [{ "id": "PT4KHLK" }], "limit": 1, "offset": 0, "total": 3, "more": true })
        .to_string()
        .into_response()
}

async fn serve() -> (SocketAddr, Arc<AtomicUsize>) {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let flaky = move || async move {
        let first = counted.fetch_add(1, Ordering::SeqCst) < 2;
        if first { StatusCode::SERVICE_UNAVAILABLE.into_response() } else { HEALTH.into_response() }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let to = |place: String| move || async move { (StatusCode::FOUND, [(header::LOCATION, place)]).into_response() };
    let who = |headers: HeaderMap| async move {
        let said = headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
        json!({ "authorization": said }).to_string()
    };
    let app = Router::new()
        .route("/api/health", get(|| async { HEALTH }))
        .route("/api/away", get(to(format!("http://localhost:{}/api/health", address.port()))))
        .route("/api/near", get(to("/api/health".into())))
        .route("/api/round", get(to("/api/round".into())))
        .route("/api/slow", get(|| async { std::future::pending::<String>().await }))
        .route("/api/big", get(|| async { vec![b' '; 2 * 1024 * 1024] }))
        .route("/api/broken", get(|| async { (StatusCode::INTERNAL_SERVER_ERROR, HEALTH) }))
        .route("/api/flaky", get(flaky))
        .route("/api/who", get(who))
        .route("/api/0/organizations/ORG/issues/", get(sentry))
        .route("/incidents", get(pagerduty))
        .route("/secret", get(|| async { "1" }));
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    (address, calls)
}

fn net(deadline: Duration) -> Net {
    drop(rustls::crypto::ring::default_provider().install_default());
    Net::new(deadline).unwrap()
}

fn check(path: &str, pointer: Option<&str>, is: Option<Value>) -> HttpCheck {
    HttpCheck { source: "health".into(), path: path.into(), pointer: pointer.map(String::from), per: None, is }
}

fn value(value: f64) -> Outcome {
    Outcome::Value { value, numerator: None, denominator: None, samples: None }
}

fn says(outcome: &Outcome, word: &str) {
    match outcome {
        Outcome::Unknown(Why::SourceError(error)) => {
            assert!(error.contains(word), "{error}");
            assert!(!error.contains("127.0.0.1") && !error.contains("hunter2"), "an address was said: {error}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_pointer_reads_a_value_and_no_pointer_the_status() {
    let (address, _) = serve().await;
    let net = net(Duration::from_secs(10));
    let source = Endpoint::new("health", &format!("http://{address}/api/"), None).unwrap();
    let ask = async |check: HttpCheck| measure(&net, &source, &check, Timestamp::UNIX_EPOCH).await.outcome;
    assert_eq!(ask(check("/health", None, None)).await, value(1.0));
    assert_eq!(ask(check("/broken", None, None)).await, value(0.0));
    assert_eq!(ask(check("/health", Some("/drives/online"), None)).await, value(4.0));
    assert_eq!(ask(check("/health", Some("/up"), None)).await, value(1.0));
    assert_eq!(ask(check("/health", Some("/open"), None)).await, value(2.0));
    assert_eq!(ask(check("/health", Some("/status"), Some(json!("ok")))).await, value(1.0));
    assert_eq!(ask(check("/health", Some("/status"), Some(json!("green")))).await, value(0.0));
    assert_eq!(ask(check("/near", Some("/drives/online"), None)).await, value(4.0));
    assert_eq!(ask(check("/health", Some("/nothing"), None)).await, Outcome::Unknown(Why::NoData));
    assert_eq!(ask(check("/health", Some("/none"), None)).await, Outcome::Unknown(Why::NoData));
    says(&ask(check("/health", Some("/status"), None)).await, "is:");
    says(&ask(check("/broken", Some("/up"), None)).await, "answered 500");
    says(&ask(check("/health", Some("up"), None)).await, "JSON pointer");
}

#[tokio::test]
async fn two_pointers_are_a_ratio_that_keeps_its_counts() {
    let (address, _) = serve().await;
    let net = net(Duration::from_secs(10));
    let source = Endpoint::new("health", &format!("http://{address}/api"), None).unwrap();
    let ask = async |pointer: &str, per: &str| {
        let check = HttpCheck { per: Some(per.into()), ..check("/health", Some(pointer), None) };
        measure(&net, &source, &check, Timestamp::UNIX_EPOCH).await.outcome
    };
    let half = Outcome::Value { value: 0.5, numerator: Some(2.0), denominator: Some(4.0), samples: None };
    assert_eq!(ask("/open", "/drives/online").await, half);
    assert_eq!(ask("/nothing", "/drives/online").await, Outcome::Unknown(Why::NoData));
    assert_eq!(ask("/open", "/nothing").await, Outcome::Unknown(Why::NoData));
    assert_eq!(ask("/open", "/zero").await, Outcome::Unknown(Why::NoData));
    says(&ask("/open", "/status").await, "is:");
}

#[tokio::test]
async fn the_presets_for_sentry_and_pagerduty_count_what_is_open() {
    let (address, _) = serve().await;
    let net = net(Duration::from_secs(10));
    let token = Some(SecretString::from("abc".to_owned()));
    let source = Endpoint::new("saas", &format!("http://{address}"), token).unwrap();
    let issues = "/api/0/organizations/ORG/issues/?query=is%3Aunresolved%20priority%3Ahigh&limit=100";
    let pages = "/incidents?statuses[]=triggered&statuses[]=acknowledged&total=true&limit=1";
    for (path, pointer, open) in [(issues, "", 2.0), (pages, "/total", 3.0)] {
        let outcome = measure(&net, &source, &check(path, Some(pointer), None), Timestamp::UNIX_EPOCH).await.outcome;
        assert_eq!(outcome, value(open), "{path}");
    }
    let stranger = Endpoint::new("saas", &format!("http://{address}"), None).unwrap();
    let outcome = measure(&net, &stranger, &check(pages, Some("/total"), None), Timestamp::UNIX_EPOCH).await.outcome;
    says(&outcome, "answered 401");
}

#[tokio::test]
async fn nothing_leaves_the_source_and_everything_is_bounded() {
    let (address, _) = serve().await;
    let source = Endpoint::new("health", &format!("http://{address}/api"), None).unwrap();
    let patient = net(Duration::from_secs(10));
    let hasty = net(Duration::from_millis(300));
    let ask = async |net: &Net, path: &str| {
        measure(net, &source, &check(path, Some("/up"), None), Timestamp::UNIX_EPOCH).await.outcome
    };
    says(&ask(&patient, "/away").await, "redirects");
    says(&ask(&patient, "/round").await, "redirects");
    says(&ask(&patient, "/big").await, "larger");
    says(&ask(&patient, "/../secret").await, "leads out");
    says(&ask(&patient, "/%2e%2e/secret").await, "leads out");
    says(&ask(&patient, "@example.com/").await, "start with /");
    says(&ask(&hasty, "/slow").await, "no answer within");
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let gone = Endpoint::new("health", &format!("http://ada:hunter2@{gone}/"), None).unwrap();
    let outcome = measure(&hasty, &gone, &check("/", None, None), Timestamp::UNIX_EPOCH).await.outcome;
    says(&outcome, "");
    assert_eq!(format!("{gone:?}"), "Endpoint(health)");
}

#[tokio::test]
async fn a_passing_failure_is_tried_again() {
    let (address, calls) = serve().await;
    let source = Endpoint::new("health", &format!("http://{address}/api"), None).unwrap();
    let net = net(Duration::from_secs(20));
    let reading = measure(&net, &source, &check("/flaky", Some("/up"), None), Timestamp::UNIX_EPOCH).await;
    assert_eq!(reading.outcome, value(1.0));
    assert_eq!(calls.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_token_and_a_password_are_sent_and_not_shown() {
    let (address, _) = serve().await;
    let net = net(Duration::from_secs(10));
    let basic = Endpoint::new("health", &format!("http://ada:p%40ss+1@{address}/api"), None).unwrap();
    let bearer =
        Endpoint::new("health", &format!("http://{address}/api"), Some(SecretString::from("abc".to_owned()))).unwrap();
    for (source, sent) in [(basic, "Basic YWRhOnBAc3MrMQ=="), (bearer, "Bearer abc")] {
        let check = check("/who", Some("/authorization"), Some(json!(sent)));
        assert_eq!(measure(&net, &source, &check, Timestamp::UNIX_EPOCH).await.outcome, value(1.0), "{sent}");
    }
    assert!(Endpoint::new("x", "file:///etc/passwd", None).is_err());
    assert!(!Endpoint::new("x", "http://ada:hunter2@[", None).unwrap_err().contains("hunter2"));
}

#[test]
fn numbers_are_equal_as_numbers() {
    assert_eq!(value_at(&json!({"n": 1.0}), "/n", Some(&json!(1))), Ok(Some(1.0)));
    assert_eq!(value_at(&json!({"n": {}}), "/n", None).unwrap_err(), "`/n` is an object, not a value");
}
