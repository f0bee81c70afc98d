//! PostgreSQL behind a proxy that the test cuts: passes fail and are worth trying again, flags go on being served, and when the database is back
//! the controller goes on where it was.

use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use url::Url;

use super::a_program_runs_from_yaml_to_an_ordered_rollback_and_back::kruxt;
use crate::support::beta::Beta;
use crate::support::{postgres, wait_for};

/// A proxy on loopback; aborting the task cuts every connection through it.
async fn proxy(listen: u16, server: String) -> (u16, JoinHandle<()>) {
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
    // SQLite is a file of the same machine: it does not go away.
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
    wait_for("the proxy's port", std::time::Duration::from_secs(20), || {
        std::net::TcpListener::bind(("127.0.0.1", port)).ok()
    });
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
