//! An HTTP server that takes everything, and remembers each request's path, `Idempotency-Key` and body.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What one request said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    pub path: String,
    pub key: String,
    pub body: String,
}

/// A server on loopback; it ends when this is dropped.
pub struct Sink {
    pub url: String,
    heard: Arc<Mutex<Vec<Heard>>>,
    task: JoinHandle<()>,
}

impl Sink {
    pub async fn start() -> Sink {
        Self::on(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    /// Listens again where one listened before.
    pub async fn at(url: &str) -> Sink {
        let address = url.trim_start_matches("http://").to_owned();
        let listener = super::wait_for("the sink's port", std::time::Duration::from_secs(20), || {
            std::net::TcpListener::bind(&address).ok()
        });
        listener.set_nonblocking(true).unwrap();
        Self::on(TcpListener::from_std(listener).unwrap())
    }

    /// Listens no longer.
    pub async fn stop(&mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }

    fn on(listener: TcpListener) -> Sink {
        let url = format!("http://{}", listener.local_addr().unwrap());
        let heard = Arc::new(Mutex::new(Vec::new()));
        let taken = heard.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let taken = taken.clone();
                tokio::spawn(async move {
                    if let Some(heard) = answer(stream).await {
                        taken.lock().unwrap().push(heard);
                    }
                });
            }
        });
        Sink { url, heard, task }
    }

    /// The requests to a path so far.
    pub fn heard(&self, path: &str) -> Vec<Heard> {
        self.heard.lock().unwrap().iter().filter(|heard| heard.path == path).cloned().collect()
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Reads one request and answers it; it is remembered as soon as it is whole, whether or not the client waits for the answer.
async fn answer(mut stream: TcpStream) -> Option<Heard> {
    let mut bytes = Vec::new();
    let mut chunk = [0_u8; 4096];
    let (head, length) = loop {
        let read = stream.read(&mut chunk).await.ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(&chunk[..read]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some(end) = text.find("\r\n\r\n") {
            let length = header(&text[..end], "content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
            break (end + 4, length);
        }
    };
    while bytes.len() < head + length {
        let read = stream.read(&mut chunk).await.ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(&chunk[..read]);
    }
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let path = text.split(' ').nth(1)?.to_owned();
    let key = header(&text[..head], "idempotency-key").unwrap_or_default();
    let heard = Heard { path, key, body: text[head..].to_owned() };
    let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").await;
    Some(heard)
}

fn header(head: &str, name: &str) -> Option<String> {
    head.lines().find_map(|line| {
        let (field, value) = line.split_once(':')?;
        field.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    })
}
