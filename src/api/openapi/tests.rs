//! The description is what is served: every route of the router stands in it, and every operation in it is answered.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::ConnectInfo;
use axum::http::{Request, StatusCode};
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::{Semaphore, watch};
use tower::ServiceExt as _;
use uuid::Uuid;

use super::METHODS;
use crate::api::flags_cache::FlagsCache;
use crate::api::ofrep::{Access, Front};
use crate::api::{AlertHooks, ApiState, Limits, Links, Rate, Rates, parts};
use crate::clock::Clock;
use crate::keys::Keys;
use crate::store::flags::Process;
use crate::store::{Store, testing::on_each};

async fn state(store: &Store) -> ApiState {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let clock = Clock::manual(Timestamp::UNIX_EPOCH);
    let process = Process::starting("api", 1, None, clock.now());
    let folder = tempfile::tempdir().unwrap();
    let keys = Arc::new(Keys::load_or_create(folder.path()).unwrap());
    let ending = watch::Sender::new(false).subscribe();
    let (links, _) = Links::start(store.clone(), keys.clone(), clock.clone(), ending.clone());
    let often = Rate { burst: 1_000_000, each: Duration::from_nanos(1) };
    ApiState {
        limits: Arc::new(Limits::new(Rates { source: often, address: often, link: often }, &clock, Vec::new())),
        links,
        cache: FlagsCache::load(store.clone(), clock.clone(), process).await,
        store: store.clone(),
        clock,
        keys,
        admin_token: Some(crate::api::token_digest("a token for this test")),
        hook_secret: Some("secret".to_owned().into()),
        mail_hook_secret: Some("secret".to_owned().into()),
        alert_hooks: AlertHooks {
            alertmanager: Some("secret".to_owned().into()),
            pagerduty: Some("secret".to_owned().into()),
        },
        metrics: Arc::default(),
        flag_access: Access::Open,
        ending,
        hashing: Arc::new(Semaphore::new(2)),
    }
}

/// The operations of a description: by path, the methods.
fn operations(document: &Value) -> BTreeMap<&str, BTreeSet<&str>> {
    let paths = document["paths"].as_object().unwrap();
    let methods = |item: &Value| METHODS.into_iter().filter(|method| item.get(*method).is_some()).collect();
    paths.iter().map(|(path, item)| (path.as_str(), methods(item))).collect()
}

/// The paths of a router, as it tells of itself when it is debugged: there is no other way to ask.
fn paths_of(router: &axum::Router) -> BTreeSet<String> {
    let told = format!("{router:?}");
    let quoted = told.split('"').skip(1).step_by(2);
    // `/` is where the fallback stands.
    quoted.filter(|text| text.starts_with('/') && *text != "/").map(str::to_owned).collect()
}

/// A path with something in its places.
fn filled(path: &str) -> String {
    path.replace("{id}", &Uuid::nil().to_string())
        .replace("{kind}", "gates")
        .replace("{name}", "x")
        .replace("{key}", "x")
}

#[tokio::test]
async fn every_route_stands_in_the_description_and_nothing_else_does() {
    on_each(async |store| {
        let state = state(&store).await;
        let (flags, routes, document) = parts(state);
        let described = operations(&document);
        let served = paths_of(&routes);
        assert!(served.contains("/healthz") && served.len() > 40, "{served:?}");
        let left_out: Vec<_> =
            served.iter().filter(|path| !path.contains("{*") && !described.contains_key(path.as_str())).collect();
        assert!(left_out.is_empty(), "served, but not described: {left_out:?}");
        let front = Front::new(flags, routes);
        let mut wrong = Vec::new();
        for (path, methods) in &described {
            for method in METHODS {
                let request = Request::builder()
                    .method(method.to_uppercase().as_str())
                    .uri(filled(path))
                    .header("content-type", "application/json")
                    .extension(ConnectInfo(std::net::SocketAddr::from(([127, 0, 0, 1], 1))))
                    .body(Body::empty())
                    .unwrap();
                let response = front.clone().oneshot(request).await.unwrap();
                let status = response.status();
                let asks = response.headers().contains_key("www-authenticate");
                let streams = response.headers().get("content-type").is_some_and(|kind| kind == "text/event-stream");
                let body =
                    if streams { Vec::new() } else { to_bytes(response.into_body(), 1 << 22).await.unwrap().to_vec() };
                let body = String::from_utf8_lossy(&body);
                // OFREP's own words for what it does not answer.
                let nothing = status == StatusCode::METHOD_NOT_ALLOWED
                    || body.contains("there is nothing at this address")
                    || body.contains("nothing here answers");
                let mut expect = |good: bool, why: &str| {
                    if !good {
                        let said: String = body.chars().take(200).collect();
                        wrong.push(format!("{method} {path} answers {status} {said}: {why}"));
                    }
                };
                expect(
                    nothing != methods.contains(method),
                    "it is described and not served, or served and not described",
                );
                if status == StatusCode::METHOD_NOT_ALLOWED {
                    expect(body.contains("urn:betagate:problem:method-not-allowed"), "it is no problem document");
                }
                if methods.contains(method) {
                    let operation = &document["paths"][path][method];
                    let needed = operation["security"].as_array().unwrap();
                    let open = needed.is_empty() || needed.iter().any(|one| one == &serde_json::json!({}));
                    let hook = path.starts_with("/hooks/");
                    expect((status == StatusCode::UNAUTHORIZED) != open, "who may call it is described otherwise");
                    expect(hook || asks || open, "it does not say how to come in");
                    let code = status.as_u16().to_string();
                    let told = operation["responses"].get(&code).or_else(|| operation["responses"].get("default"));
                    expect(told.is_some(), "nothing is said of that answer");
                }
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    })
    .await;
}

#[tokio::test]
async fn every_reference_of_the_description_leads_somewhere_and_every_answer_has_a_schema() {
    on_each(async |store| {
        let (_, _, document) = parts(state(&store).await);
        let mut open = vec![&*document];
        let mut references = 0;
        while let Some(value) = open.pop() {
            if let Some(to) = value.get("$ref").and_then(Value::as_str) {
                references += 1;
                assert!(document.pointer(to.strip_prefix('#').unwrap()).is_some(), "{to} leads nowhere");
            }
            match value {
                Value::Object(fields) => open.extend(fields.values()),
                Value::Array(items) => open.extend(items),
                _ => {}
            }
        }
        assert!(references > 100, "{references}");
        let mut ids = BTreeSet::new();
        let mut bare = BTreeSet::new();
        for (path, methods) in operations(&document) {
            for method in methods {
                let operation = &document["paths"][path][method];
                assert!(ids.insert(operation["operationId"].as_str().unwrap()), "{method} {path} is there twice");
                assert!(operation["summary"].is_string() && operation["tags"][0].is_string(), "{method} {path}");
                let schemes =
                    operation["security"].as_array().unwrap().iter().flat_map(|one| one.as_object().unwrap().keys());
                for scheme in schemes {
                    assert!(document["components"]["securitySchemes"][scheme].is_object(), "{scheme}");
                }
                let good = operation["responses"].as_object().unwrap().iter().filter(|(code, _)| code.starts_with('2'));
                for (code, response) in good {
                    if response.get("content").is_none() && code != "204" {
                        bare.insert(format!("{method} {path} {code}"));
                    }
                }
            }
        }
        let bodyless = ["post /hooks/git 202", "post /v1/admin/incidents 201"].map(str::to_owned);
        assert_eq!(bare, BTreeSet::from(bodyless), "only these have an answer without a body");
    })
    .await;
}
