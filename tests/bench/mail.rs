//! Invites to a local SMTP server (aiosmtpd), one connection: what the sender does (claim, render, send, receipt, each durable) beside a plain loop
//! of the same library that renders and sends the same messages.

use std::time::Instant;

use jiff::SignedDuration;
use lettre::message::header::ContentType;
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};

use crate::support::beta::Beta;
use crate::support::small::small;
use crate::support::{SmtpServer, TestDb, postgres, sqlite};

const ROUNDS: usize = 3;

fn people() -> usize {
    std::env::var("BETAGATE_ROWS").ok().and_then(|rows| rows.parse().ok()).unwrap_or(2_000)
}

pub fn measure() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    println!("mail: {} invites to a local SMTP server over one connection", people());
    for db in [Some(sqlite()), postgres()].into_iter().flatten() {
        // By turns, so that both see the same machine; the middle of each.
        let (mut plain, mut ours) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            plain.push(runtime.block_on(plain_loop()));
            ours.push(runtime.block_on(sender(&db)));
        }
        plain.sort_by(f64::total_cmp);
        ours.sort_by(f64::total_cmp);
        let (plain, ours) = (plain[ROUNDS / 2], ours[ROUNDS / 2]);
        println!(
            "  {:<10} ours {ours:>7.0} a second, the plain loop {plain:>7.0}: ours is {:.2} of it",
            db.name,
            ours / plain
        );
    }
}

/// Messages a second that the library alone sends, one after the other.
async fn plain_loop() -> f64 {
    let server = SmtpServer::start();
    let transport = AsyncSmtpTransport::<Tokio1Executor>::from_url(&server.url()).unwrap().build();
    assert!(transport.test_connection().await.unwrap());
    let begun = Instant::now();
    for number in 0..people() {
        let to = address(number);
        let text = format!(
            "For {to} until 2026-03-16T08:00:00Z: https://beta.example.com/signup?invite=0123456789abcdefghijklmnopqrstuv\n\nYour code is 0123.\n"
        );
        let message = Message::builder()
            .from("beta@example.com".parse().unwrap())
            .to(to.parse().unwrap())
            .subject("Come in")
            .header(ContentType::TEXT_PLAIN)
            .body(text)
            .unwrap();
        transport.send(message).await.unwrap();
    }
    let taken = begun.elapsed().as_secs_f64();
    assert_eq!(server.recipients().len(), people());
    people() as f64 / taken
}

/// Messages a second that the sender sends, its claims and receipts included.
async fn sender(db: &TestDb) -> f64 {
    let server = SmtpServer::start();
    let rows: Vec<String> = (0..people()).map(|number| format!("{},listener-pavia,", address(number))).collect();
    let mail = "{ send: true, from: beta@example.com, smtpRef: smtp, rate: 1000000/min, perDomain: 1000000/min }";
    let repo = small(&rows, mail, "1000000/min");
    let db = match db.name {
        "sqlite" => sqlite(),
        _ => postgres().unwrap(),
    };
    let mut beta = Beta::start(&db, repo, "2026-03-02T08:00:00Z").await;
    std::fs::create_dir_all(beta.data.join("secrets")).unwrap();
    std::fs::write(beta.data.join("secrets/smtp"), server.url()).unwrap();
    // The first passes bring the list in and send one; an hour later the rate holds nobody up.
    while server.recipients().is_empty() {
        beta.pass().await;
    }
    let (before, begun) = (server.recipients().len(), Instant::now());
    let mut sent = before;
    while sent < people() {
        // A domain that gets its first message has nothing saved up: its next is free a moment later.
        beta.clock.advance(SignedDuration::from_hours(1));
        beta.pass().await;
        sent = server.recipients().len();
    }
    let taken = begun.elapsed().as_secs_f64();
    beta.store.close().await;
    (sent - before) as f64 / taken
}

fn address(number: usize) -> String {
    format!("tester.{number}@d{}.example.com", number % 50)
}
