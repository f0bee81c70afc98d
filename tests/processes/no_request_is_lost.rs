//! Replacing API processes under load, on one shared socket.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

use betagate::apply::processes::{Listens, ProcessSpec, ProcessState, Supervisor};

use crate::workloads::{PATIENCE, child, listener, supervisor, until, until_ready};

/// The most requests one client sends.
const MOST: usize = 50_000;
/// How many replacements there are under load, and how many requests are answered before each.
const ROLLS: usize = 8;
const BETWEEN: usize = 100;

fn api(replicas: u32, version: &str) -> ProcessSpec {
    let mut spec = ProcessSpec { listens: Listens::Shared, replicas, ..child("api", "api") };
    spec.env.insert("VERSION".into(), version.into());
    spec.with_digest()
}

/// A client that repeats nothing: whatever goes wrong is a lost request.
struct Client {
    address: SocketAddr,
    connection: Option<BufReader<TcpStream>>,
}

impl Client {
    fn new(address: SocketAddr) -> Self {
        Self { address, connection: None }
    }

    fn connect(&mut self) -> &mut BufReader<TcpStream> {
        let address = self.address;
        self.connection.get_or_insert_with(|| {
            let stream = TcpStream::connect(address).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.set_nodelay(true).unwrap();
            BufReader::new(stream)
        })
    }

    fn get(&mut self, path: &str, keep: bool) -> (u16, String) {
        let connection = if keep { "keep-alive" } else { "close" };
        let request = format!("GET {path} HTTP/1.1\r\nHost: here\r\nConnection: {connection}\r\n\r\n");
        self.connect().get_mut().write_all(request.as_bytes()).unwrap();
        self.answer()
    }

    fn answer(&mut self) -> (u16, String) {
        let reader = self.connection.as_mut().unwrap();
        let (mut status, mut length, mut close) = (0, 0, false);
        for number in 0.. {
            let mut line = String::new();
            assert_ne!(reader.read_line(&mut line).unwrap(), 0, "the connection was closed without an answer");
            let line = line.trim_end().to_ascii_lowercase();
            if number == 0 {
                status = line.split(' ').nth(1).unwrap().parse().unwrap();
            } else if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.parse().unwrap();
            } else if line == "connection: close" {
                close = true;
            } else if line.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        if close {
            self.connection = None;
        }
        (status, String::from_utf8(body).unwrap())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rolling_replacements_under_load_answer_every_request() {
    let socket = listener();
    let address = socket.address();
    let supervisor = supervisor(Some(socket));
    let first = api(2, "1");
    supervisor.set_desired(vec![first.clone()]).await.unwrap();
    until_ready(&supervisor, 2, &first.revision).await;
    let done = AtomicBool::new(false);
    let (answered, answers) = mpsc::channel();
    let pids = std::thread::scope(|scope| {
        let done = &done;
        let clients: Vec<_> = (0..4)
            .map(|number| {
                let answered = answered.clone();
                // Half of the clients keep their connection for as long as they may, half take a new one each time.
                scope.spawn(move || {
                    let mut client = Client::new(address);
                    for _ in (0..MOST).take_while(|_| !done.load(Ordering::Relaxed)) {
                        let (status, pid) = client.get("/pid", number % 2 == 0);
                        assert_eq!(status, 200);
                        // Once the rolling is over nobody counts any more.
                        let _ = answered.send(pid);
                    }
                })
            })
            .collect();
        drop(answered);
        let roller = scope.spawn(|| roll_under_load(&supervisor, answers));
        let pids = roller.join();
        done.store(true, Ordering::Relaxed);
        clients.into_iter().for_each(|client| client.join().unwrap());
        pids.unwrap()
    });
    assert!(pids.len() > ROLLS, "the load never met the new processes: {pids:?}");
    supervisor.shutdown().await;
}

/// Replaces all processes again and again, each time with the load still coming in; the processes that answered.
fn roll_under_load(supervisor: &Supervisor, answers: mpsc::Receiver<String>) -> BTreeSet<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut pids = BTreeSet::new();
    for roll in 0..ROLLS {
        for _ in 0..BETWEEN {
            pids.insert(answers.recv_timeout(PATIENCE).unwrap());
        }
        let next = api(2, &format!("2.{roll}"));
        runtime.block_on(async {
            supervisor.set_desired(vec![next.clone()]).await.unwrap();
            until_ready(supervisor, 2, &next.revision).await;
        });
    }
    pids.extend(answers.try_iter());
    pids
}

#[tokio::test]
async fn a_request_half_sent_when_its_process_is_asked_to_end_is_answered_by_it() {
    let socket = listener();
    let address = socket.address();
    let supervisor = supervisor(Some(socket));
    let spec = api(1, "1");
    supervisor.set_desired(vec![spec.clone()]).await.unwrap();
    let old = until_ready(&supervisor, 1, &spec.revision).await[0].pid.unwrap();
    let mut client = Client::new(address);
    let head = "POST /echo HTTP/1.1\r\nHost: here\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n";
    client.connect().get_mut().write_all(head.as_bytes()).unwrap();
    // The interim answer proves that the process has the request; its body is still to come.
    let mut interim = [0; 25];
    client.connect().read_exact(&mut interim).unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    client.connect().get_mut().write_all(b"first").unwrap();
    supervisor.restart("api", None).await.unwrap();
    until(&supervisor, |all| {
        let state = |wanted: ProcessState| all.iter().any(|s| s.state == wanted);
        state(ProcessState::Stopping) && state(ProcessState::Ready)
    })
    .await;
    let (status, other) = Client::new(address).get("/pid", false);
    assert_eq!(status, 200);
    client.connect().get_mut().write_all(b" half").unwrap();
    assert_eq!(client.answer(), (200, format!("{old} first half")));
    let left = until_ready(&supervisor, 1, &spec.revision).await;
    // A new connection may still have reached the old process before its signal did; the next one can't.
    assert!(other == old.to_string() || left[0].pid.unwrap().to_string() == other);
    assert_eq!(left[0].last_exit.as_ref().unwrap().code, Some(0));
    supervisor.shutdown().await;
}

#[tokio::test]
async fn connections_wait_while_no_process_accepts() {
    let socket = listener();
    let address = socket.address();
    let supervisor = supervisor(Some(socket));
    let waiting = tokio::task::spawn_blocking(move || Client::new(address).get("/pid", false));
    supervisor.set_desired(vec![api(1, "1")]).await.unwrap();
    assert_eq!(waiting.await.unwrap().0, 200);
    supervisor.shutdown().await;
}
