//! What this test binary does as a child: one mode each, chosen by a variable.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use betagate::apply::processes::graceful::asked_to_end;
use betagate::apply::processes::{FolderLock, announce_ready, listener_from_stdin, serve};
use jiff::Timestamp;

use crate::workloads::{CHILD_MODE, child, listener, script, supervisor, until};

/// The head of a child; as an ordinary test it does nothing.
#[test]
fn entry() {
    let Ok(mode) = std::env::var(CHILD_MODE) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        match mode.as_str() {
            "api" => api(listener_from_stdin().unwrap()).await,
            "own-port" => {
                let port: u16 = std::env::var("PORT").unwrap().parse().unwrap();
                api(std::net::TcpListener::bind(("127.0.0.1", port)).unwrap()).await;
            }
            "family" => family().await,
            "up" => up().await,
            "holder" => holder().await,
            other => panic!("no such child: {other}"),
        }
    });
}

async fn api(listener: std::net::TcpListener) {
    let end = asked_to_end().unwrap();
    let app = Router::new()
        .route(
            "/pid",
            get(|| async {
                // Long enough that some requests are under way whenever the process is asked to end.
                tokio::time::sleep(Duration::from_millis(2)).await;
                std::process::id().to_string()
            }),
        )
        .route("/echo", post(|body: String| async move { format!("{} {body}", std::process::id()) }));
    announce_ready().unwrap();
    serve(listener, app, end).await.unwrap();
}

/// Starts one process in its own group and one that leaves it, then waits.
#[allow(clippy::zombie_processes, reason = "what it leaves behind is what the test is about")]
async fn family() {
    let _near = Command::new("sleep").arg("1000").stdin(Stdio::null()).spawn().unwrap();
    let _far = Command::new("setsid").args(["sleep", "1000"]).stdin(Stdio::null()).spawn().unwrap();
    // Only a third process that has given up its parent belongs to nobody but the shim.
    Command::new("sh").args(["-c", "setsid sleep 1000 & exit 0"]).stdin(Stdio::null()).status().unwrap();
    announce_ready().unwrap();
    std::future::pending().await
}

/// An `up` in small: supervises a family and an API process, tells its own readiness and the port, then waits.
async fn up() {
    let socket = listener();
    let port = socket.address().port();
    let supervisor = supervisor(Some(socket));
    let mut api = child("api", "api");
    api.listens = betagate::apply::processes::Listens::Shared;
    let nosy =
        script("nosy", "echo \"secret: [$BETAGATE_SECRET_CHAT]\"; echo READY $BETAGATE_REVISION; exec sleep 1000");
    supervisor.set_desired(vec![api, child("family", "family"), nosy]).await.unwrap();
    let ready = |s: &betagate::apply::processes::ProcessStatus| {
        s.state == betagate::apply::processes::ProcessState::Ready && s.pid.is_some()
    };
    let seen = until(&supervisor, |all| all.len() == 3 && all.iter().all(ready)).await;
    for status in seen {
        println!("saw {} {:?}", status.workload, status.output);
    }
    println!("up on {port}");
    std::io::stdout().flush().unwrap();
    std::future::pending().await
}

/// Holds a data folder.
async fn holder() {
    let folder = PathBuf::from(std::env::var("BETAGATE_TEST_FOLDER").unwrap());
    let now: Timestamp = "2026-03-02T09:00:00Z".parse().unwrap();
    let lock = FolderLock::take(&folder, now).unwrap();
    lock.publish("127.0.0.1:1".parse().unwrap(), &folder.join("admin.token"), now).unwrap();
    println!("holding");
    std::io::stdout().flush().unwrap();
    std::future::pending::<()>().await;
}
