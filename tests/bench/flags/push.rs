//! From a committed change to the moment at which each of five API processes serves it, on PostgreSQL: a thousand changes, one by one.

use std::time::{Duration, Instant};

use betagate::keys::Keys;
use betagate::store::flags;
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::{fifty, load};

const PROCESSES: usize = 5;
const CHANGES: usize = 1000;

pub fn measure() {
    let Ok(server) = std::env::var("BETAGATE_TEST_POSTGRES") else {
        println!("flags: no PostgreSQL (BETAGATE_TEST_POSTGRES is not set)");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    Keys::load_or_create(&folder.path().join("keys")).unwrap();
    let join = if server.contains('?') { '&' } else { '?' };
    let schema = format!("bench_{}", std::process::id());
    let url = format!("{server}{join}schema={schema}");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let store = load::publish(&url).await;
        let ports: Vec<u16> = (0..PROCESSES).map(|_| load::free_port()).collect();
        let _running: Vec<_> = ports.iter().map(|port| load::api(folder.path(), &url, *port, None)).collect();
        let (told, mut heard) = mpsc::unbounded_channel();
        for port in &ports {
            tokio::spawn(listen(*port, told.clone()));
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        let mut times = Vec::with_capacity(CHANGES * PROCESSES);
        for change in 0..CHANGES {
            let mut body = fifty();
            body["flags"]["feature_00"]["metadata"] = json!({ "change": change });
            let mut tx = store.begin().await.unwrap();
            let revision =
                flags::publish(&mut tx, body, &json!([]), &format!("d{change}"), "s", jiff::Timestamp::now()).await.unwrap();
            tx.commit().await.unwrap();
            let begun = Instant::now();
            for _ in 0..PROCESSES {
                let wait = tokio::time::timeout(Duration::from_secs(10), async {
                    while heard.recv().await.unwrap() != revision {}
                });
                wait.await.expect("a process did not serve the change within 10 s");
                times.push(begun.elapsed());
            }
        }
        times.sort();
        let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1000.0;
        println!(
            "flags: a change until {PROCESSES} API processes serve it and have said so, {CHANGES} changes: median {:.1} ms (goal 5), 99th {:.1} ms (goal 20), longest {:.1} ms",
            at(0.5), at(0.99), at(1.0)
        );
        store.execute(&format!("DROP SCHEMA {schema}, {schema}_checks CASCADE"), &[]).await.unwrap();
    });
}

/// Reads a process's event stream and passes the revisions on.
async fn listen(port: u16, told: mpsc::UnboundedSender<i64>) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.write_all(b"GET /ofrep/v1/events HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let mut lines = BufReader::new(stream).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let revision = line.strip_prefix("id: \"").and_then(|rest| rest.split('-').next()?.parse().ok());
        if let Some(revision) = revision
            && told.send(revision).is_err()
        {
            return;
        }
    }
}
