//! PostgreSQL behind a proxy that the test cuts: passes fail and are worth trying again, flags go on being served, and when the database is back
//! the controller goes on where it was.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use url::Url;

use super::a_program_runs_from_yaml_to_an_ordered_rollback_and_back::kruxt;
use crate::support::beta::Beta;
use crate::support::{Betagate, TestRepo, free_port, postgres, wait_for};

/// A proxy on loopback; aborting the task cuts every connection through it.
pub async fn proxy(listen: u16, server: String) -> (u16, JoinHandle<()>) {
    let listener = TcpListener::bind(("127.0.0.1", listen)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let task = tokio::spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((mut client, _)) = listener.accept().await {
            let server = server.clone();
            connections.spawn(async move {
                if let Ok(mut upstream) = TcpStream::connect(server).await {
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut upstream).await;
                }
            });
        }
    });
    (port, task)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_database_may_go_away_and_come_back() {
    // A SQLite file is the next test's.
    let Some(mut db) = postgres() else { return };
    let mut url = Url::parse(&db.url).unwrap();
    let server = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap());
    let (port, cut) = proxy(0, server.clone()).await;
    url.set_port(Some(port)).unwrap();
    db.url = url.to_string();
    let mut beta = Beta::start(&db, kruxt(), "2026-03-03T08:00:00Z").await;
    for _ in 0..3 {
        beta.pass().await;
    }
    let (email, code) = beta.invitations().remove(0);
    assert_eq!(beta.register(&email, &code).await.0, 201);
    assert_eq!(beta.flag("ml_recommendations_enabled", &email).await["value"], true);

    cut.abort();
    let _ = cut.await;
    let error = beta.controller.pass().await.unwrap_err();
    assert!(error.retryable(), "{error}");
    assert_eq!(beta.flag("ml_recommendations_enabled", &email).await["value"], true, "flags go on being served");
    assert_eq!(beta.get("/readyz", None).await.0, 503);
    let (status, _) =
        beta.post("/v1/auth/login", None, &json!({ "email": email, "password": "a long enough password" })).await;
    assert_eq!(status, 503);

    // The port may be taken for a moment by a connection that is still closing.
    wait_for("the proxy's port", Duration::from_secs(20), || std::net::TcpListener::bind(("127.0.0.1", port)).ok());
    let (_, back) = proxy(port, server).await;
    beta.at("2026-03-03T09:00:00Z");
    for _ in 0..20 {
        if beta.controller.pass().await.is_ok() {
            break;
        }
    }
    beta.pass().await;
    assert_eq!(beta.get("/readyz", None).await.0, 200);
    assert!(betagate::store::audit::verify(&beta.store).await.unwrap().problem.is_none());
    beta.store.close().await;
    back.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sqlite_file_may_be_moved_away_and_come_back() {
    const PATIENCE: Duration = Duration::from_secs(60);
    let repo = TestRepo::of_this_project();
    let listen = format!("127.0.0.1:{}", free_port());
    let log = repo.path().join("up.log");
    let mut up = Betagate::new(["up", "--listen", &listen]).within(repo.path()).start_logging_to(&log);
    let ask = |words: &str| Betagate::new(words.split(' ')).within(repo.path()).run();
    wait_for("the pilot", PATIENCE, || ask("get rollouts").stdout.contains("stage pilot is open").then_some(()));
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let ready = async || http.get(format!("http://{listen}/readyz")).send().await.unwrap().status().as_u16();
    let flag = async || {
        let url = format!("http://{listen}/ofrep/v1/evaluate/flags/ml_recommendations_enabled");
        let answer =
            http.post(url).json(&json!({ "context": { "targetingKey": "stranger@example.org" } })).send().await;
        answer.unwrap().json::<Value>().await.unwrap()
    };
    assert_eq!(ready().await, 200);
    let (here, away) = (repo.path().join(".betagate/betagate.db"), repo.path().join("away.db"));
    std::fs::rename(&here, &away).unwrap();
    assert_eq!(ready().await, 503, "nobody writes into the void");
    // A reason to look at once.
    repo.replace("manifests/kruxt/program.yaml", "timeZone: Europe/Rome", "timeZone: Europe/Rome # looked at");
    wait_for("a word about it", PATIENCE, || {
        let said = std::fs::read_to_string(&log).unwrap();
        (said.contains("it is tried again") && said.contains("moved, or deleted?")).then_some(())
    });
    assert_eq!(flag().await["variant"], "off", "flags are served from memory");
    assert!(!here.exists(), "nothing is made in its place");
    std::fs::rename(&away, &here).unwrap();
    let mut back = ready().await;
    for _ in 0..100 {
        if back == 200 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        back = ready().await;
    }
    assert_eq!(back, 200);
    assert!(ask("audit verify").expect_code(0).stdout.contains("entries fit"));
    assert!(up.interrupt(PATIENCE).is_some_and(|status| status.success()), "it ran on");
}
