//! Invites through a real mail server that throttles, refuses, hangs up and goes away: nobody gets two, and what became of each is known.

use std::collections::BTreeMap;

use betagate::store::freezes::{self, Freeze};
use betagate::store::invites::{self, Filter, Invite, MailState, State};
use jiff::SignedDuration;
use uuid::Uuid;

use crate::support::beta::Beta;
use crate::support::small::{rows, small};
use crate::support::{SmtpServer, TestDb, databases};

pub const SEND: &str = "{ send: true, from: Beta <beta@example.com>, smtpRef: smtp }";
pub const QUICK: &str = "6000/min";

pub async fn start(db: &TestDb, server: &SmtpServer, addresses: &[&str], rate: &str) -> Beta {
    let beta = Beta::start(db, small(&rows(addresses), SEND, rate), "2026-03-02T08:00:00Z").await;
    send_to(&beta, &server.url());
    beta
}

pub fn send_to(beta: &Beta, url: &str) {
    std::fs::create_dir_all(beta.data.join("secrets")).unwrap();
    std::fs::write(beta.data.join("secrets/smtp"), url).unwrap();
}

pub async fn all(beta: &Beta) -> BTreeMap<String, Invite> {
    let found = invites::list(&beta.store, &Filter { limit: 1000, ..Filter::default() }).await.unwrap();
    found.into_iter().map(|invite| (invite.email.clone().unwrap(), invite)).collect()
}

pub async fn states(beta: &Beta) -> BTreeMap<String, Option<MailState>> {
    let all = all(beta).await;
    let states = invites::mail_states(&beta.store, all.values().map(|invite| invite.id).collect()).await.unwrap();
    all.into_iter().map(|(email, invite)| (email, states.get(&invite.id).copied())).collect()
}

/// Passes, a while apart, so that pacing and backoff let go on what may.
pub async fn pass_for(beta: &mut Beta, times: usize, apart: SignedDuration) {
    for _ in 0..times {
        beta.pass().await;
        beta.clock.advance(apart);
    }
}

async fn resend(beta: &Beta, id: Uuid) {
    let mut tx = beta.store.begin().await.unwrap();
    let until = beta.clock.now().checked_add(SignedDuration::from_hours(48)).unwrap();
    invites::resend(&mut tx, id, until, "person/p", beta.clock.now()).await.unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn throttled_refused_and_lost_messages_each_end_as_they_should_and_nobody_gets_two() {
    for db in databases() {
        let server = SmtpServer::start();
        let people = [
            "ada@example.com",
            "later2-bob@example.com",
            "refused-eve@example.org",
            "lost-joe@example.com",
            "full-kim@example.net",
            "zoe@example.com",
        ];
        let mut beta = start(&db, &server, &people, QUICK).await;
        pass_for(&mut beta, 30, SignedDuration::from_secs(20)).await;
        let wanted = [
            ("ada@example.com", MailState::Sent),
            ("full-kim@example.net", MailState::Waiting),
            ("later2-bob@example.com", MailState::Sent),
            ("lost-joe@example.com", MailState::Uncertain),
            ("refused-eve@example.org", MailState::Failed),
            ("zoe@example.com", MailState::Sent),
        ];
        let wanted: BTreeMap<_, _> = wanted.map(|(email, state)| (email.to_owned(), Some(state))).into();
        assert_eq!(states(&beta).await, wanted, "{}", db.name);
        let mut reached = server.recipients();
        reached.sort();
        assert_eq!(reached, ["ada@example.com", "later2-bob@example.com", "lost-joe@example.com", "zoe@example.com"]);
        let log = std::fs::read_to_string(beta.data.join("dispatch.log")).unwrap();
        for line in ["ada@example.com sent", "later2-bob@example.com deferred", "lost-joe@example.com uncertain"] {
            assert!(log.contains(line), "{line} is not in\n{log}");
        }
        assert!(log.contains("refused-eve@example.org failed") && log.lines().any(|line| line.contains(" failed ")));
        // A person decides about the one in doubt, who then has a new code.
        let joe = all(&beta).await["lost-joe@example.com"].clone();
        assert_eq!((joe.state, joe.generation), (State::Pending, 1));
        resend(&beta, joe.id).await;
        pass_for(&mut beta, 3, SignedDuration::from_secs(20)).await;
        assert_eq!(server.recipients().iter().filter(|to| to.starts_with("lost-joe")).count(), 2);
        let said = beta.store.clone();
        assert!(betagate::store::audit::chain(&said).await.is_ok());
        beta.store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_away_costs_nobody_anything_and_is_shown() {
    for db in databases() {
        let server = SmtpServer::start();
        let mut beta = start(&db, &server, &["ada@example.com", "bob@example.com"], QUICK).await;
        let port = crate::support::free_port();
        send_to(&beta, &format!("smtp://127.0.0.1:{port}"));
        pass_for(&mut beta, 5, SignedDuration::from_secs(1)).await;
        let waiting = invites::pauses(&beta.store, "small").await.unwrap();
        assert_eq!(waiting.len(), 1);
        assert_eq!((waiting[0].cohort.as_str(), waiting[0].until.is_some()), ("", true));
        assert!(waiting[0].reason.contains("the mail server cannot be reached"), "{}", waiting[0].reason);
        assert!(states(&beta).await.values().all(Option::is_none), "nobody was even claimed");
        assert!(server.recipients().is_empty());
        send_to(&beta, &server.url());
        pass_for(&mut beta, 3, SignedDuration::from_secs(1)).await;
        assert_eq!(server.recipients(), ["ada@example.com", "bob@example.com"]);
        assert!(invites::pauses(&beta.store, "small").await.unwrap().is_empty());
        beta.store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_leaves_while_its_cohort_is_frozen() {
    for db in databases() {
        let server = SmtpServer::start();
        let mut beta = start(&db, &server, &["ada@example.com", "bob@example.com"], "1/min").await;
        pass_for(&mut beta, 2, SignedDuration::from_secs(1)).await;
        assert_eq!(server.recipients(), ["ada@example.com"], "one a minute");
        let held = Freeze {
            program: "small".into(),
            cohort: "pavia".into(),
            holder: "hand:founder".into(),
            reason: "a test".into(),
            since: beta.clock.now(),
        };
        let mut tx = beta.store.begin().await.unwrap();
        freezes::freeze(&mut tx, &held).await.unwrap();
        tx.commit().await.unwrap();
        pass_for(&mut beta, 3, SignedDuration::from_secs(90)).await;
        assert_eq!(server.recipients().len(), 1);
        assert_eq!(states(&beta).await["bob@example.com"], None, "waiting, not lost");
        beta.store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_written_out_for_review_is_what_is_sent_when_sending_is_switched_on() {
    for db in databases() {
        let server = SmtpServer::start();
        let repo = small(&rows(&["ada@example.com", "bob@example.org"]), "{ send: false, smtpRef: smtp }", QUICK);
        let mut beta = Beta::start(&db, repo, "2026-03-02T08:00:00Z").await;
        send_to(&beta, &server.url());
        pass_for(&mut beta, 2, SignedDuration::from_secs(1)).await;
        let reviewed = beta.invitations();
        assert_eq!(reviewed.len(), 2);
        assert!(server.recipients().is_empty());
        let summary = std::fs::read_to_string(beta.data.join("mail-review-small.txt")).unwrap();
        for line in ["2 message(s)", "       2  pavia", "       1  example.org", "Refused: 0"] {
            assert!(summary.contains(line), "{line} is not in\n{summary}");
        }
        beta.repo.replace("manifests/program.yaml", "send: false", "send: true");
        pass_for(&mut beta, 3, SignedDuration::from_secs(1)).await;
        let sent: Vec<_> = server.taken();
        assert_eq!(sent.len(), 2, "{}", db.name);
        for taken in sent {
            let (_, code) = reviewed.iter().find(|(to, _)| *to == taken.to).unwrap();
            assert!(taken.text.contains(&format!("Your code is {code}.")), "the code that was reviewed");
            assert!(taken.headers["list-unsubscribe"].starts_with("<https://beta.example.com/unsubscribe?key="));
            assert_eq!(taken.headers["list-unsubscribe-post"], "List-Unsubscribe=One-Click");
        }
        beta.store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_template_that_cannot_be_filled_stops_its_cohort_before_anything_leaves() {
    for db in databases() {
        let server = SmtpServer::start();
        let mut beta = start(&db, &server, &["ada@example.com"], QUICK).await;
        beta.repo.replace("cohorts/templates/hello.txt", "{{ address }}", "{{ nickname }}");
        pass_for(&mut beta, 3, SignedDuration::from_secs(1)).await;
        let waiting = invites::pauses(&beta.store, "small").await.unwrap();
        assert!(waiting[0].reason.contains("nothing fills nickname"), "{}", waiting[0].reason);
        assert_eq!((waiting[0].cohort.as_str(), server.recipients().len()), ("pavia", 0));
        beta.repo.replace("cohorts/templates/hello.txt", "{{ nickname }}", "{{ address }}");
        pass_for(&mut beta, 3, SignedDuration::from_secs(1)).await;
        assert_eq!(server.recipients(), ["ada@example.com"]);
        assert!(invites::pauses(&beta.store, "small").await.unwrap().is_empty());
        beta.store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pacing_holds_by_cohort_and_domain_and_goes_on_after_a_restart() {
    for db in databases() {
        let server = SmtpServer::start();
        let people =
            ["a@example.com", "b@example.com", "c@example.com", "d@example.com", "e@example.org", "f@example.net"];
        let mail = "{ send: true, smtpRef: smtp, perDomain: 1/min }";
        let mut beta = Beta::start(&db, small(&rows(&people), mail, "3/min"), "2026-03-02T08:00:00Z").await;
        send_to(&beta, &server.url());
        // A cohort's next one is free after 20 s, a domain's after 60 s: whose domain has had enough stands in nobody's way.
        pass_for(&mut beta, 1, SignedDuration::ZERO).await;
        beta.pass().await;
        assert_eq!(server.recipients(), ["a@example.com"]);
        beta.restart_controller().await;
        pass_for(&mut beta, 2, SignedDuration::ZERO).await;
        assert_eq!(server.recipients().len(), 1, "a new controller knows what left lately");
        beta.clock.advance(SignedDuration::from_secs(20));
        pass_for(&mut beta, 2, SignedDuration::ZERO).await;
        assert_eq!(server.recipients()[1..], ["e@example.org"]);
        beta.clock.advance(SignedDuration::from_secs(20));
        beta.restart_controller().await;
        pass_for(&mut beta, 2, SignedDuration::ZERO).await;
        assert_eq!(server.recipients()[2..], ["f@example.net"]);
        for minute in 1..=3 {
            beta.clock.advance(SignedDuration::from_secs(60));
            pass_for(&mut beta, 2, SignedDuration::ZERO).await;
            assert_eq!(server.recipients().len(), 3 + minute, "{}", db.name);
        }
        beta.store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mail_server_that_never_answers_holds_up_no_pass() {
    for db in databases() {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut beta = Beta::start(&db, small(&rows(&["ada@example.com"]), SEND, QUICK), "2026-03-02T08:00:00Z").await;
        send_to(&beta, &format!("smtp://{}", silent.local_addr().unwrap()));
        beta.bring().await;
        let (passed, mut passes) = tokio::sync::watch::channel(0_u64);
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let running = async {
            let end = async {
                let _ = stopped.await;
            };
            beta.controller.run(end, |_| passed.send_modify(|passes| *passes += 1)).await.unwrap();
        };
        let watching = async {
            // The sender is in a conversation with a server that says nothing.
            let (held, _) = silent.accept().await.unwrap();
            let before = *passes.borrow_and_update();
            let more = passes.wait_for(|passes| *passes >= before + 3);
            let went_on = tokio::time::timeout(std::time::Duration::from_secs(30), more).await.is_ok();
            let _ = stop.send(());
            drop(held);
            went_on
        };
        let ((), went_on) = tokio::join!(running, watching);
        assert!(went_on, "{}: the controller waited for a mail server", db.name);
        beta.store.close().await;
    }
}
