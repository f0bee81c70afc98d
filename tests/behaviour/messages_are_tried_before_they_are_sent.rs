//! What a message looks like is seen before anybody gets it: previews in each language, a test to the operator's own address; and where things stand.

use betagate::store::invites;
use jiff::SignedDuration;
use serde_json::Value;

use super::an_invite_leaves_at_most_once::{QUICK, SEND, pass_for, send_to, states};
use crate::support::beta::Beta;
use crate::support::small::{rows, small};
use crate::support::{Betagate, Outcome, SmtpServer, TestRepo, databases};

fn in_italian(repo: &TestRepo) {
    repo.write(
        "cohorts/templates/hello.it.txt",
        "Subject: Benvenuti\n\nPer {{ address }}: {{ link }}\n\nYour code is {{ code }}.\n",
    );
    repo.write("cohorts/templates/hello.it.html", "<p>Per {{ address }}: <a href=\"{{ link }}\">entra</a></p>");
}

fn say(beta: &Beta, words: &[&str]) -> Outcome {
    let data = beta.data.display().to_string();
    let place = ["--data", &data, "--database", &beta.url];
    Betagate::new(words.iter().chain(&place).copied()).run()
}

#[test]
fn a_preview_shows_each_language_with_a_code_that_is_none() {
    let repo = small(&rows(&["ada@example.com"]), SEND, QUICK);
    in_italian(&repo);
    let preview = |words: &[&str]| {
        let all = ["invite", "preview", "--cohort", "pavia"].iter().chain(words).copied();
        Betagate::new(all).within(repo.path()).run()
    };
    let plain = preview(&[]).expect_code(0).stdout;
    assert!(
        plain.contains("Template: hello\n")
            && plain.contains("Subject: Come in")
            && plain.contains("someone@example.com")
    );
    let italian = preview(&["--locale", "it-CH", "--email", "ada@example.com"]).expect_code(0).stdout;
    assert!(
        italian.contains("Template: hello.it\n")
            && italian.contains("Per ada@example.com: https://beta.example.com/signup")
    );
    assert!(italian.contains("NOT-A-CODE"));
    assert!(preview(&["--locale", "it", "--html"]).expect_code(0).stdout.starts_with("<p>Per someone@example.com"));
    assert!(
        preview(&["--locale", "fr"]).expect_code(0).stdout.contains("Subject: Come in"),
        "no French: the plain one"
    );
    let json: Value = serde_json::from_str(&preview(&["-o", "json"]).expect_code(0).stdout).unwrap();
    assert_eq!((&json["subject"], &json["html"]), (&"Come in".into(), &Value::Null));
    assert!(preview(&["--email", "nobody"]).expect_code(1).stderr.contains("recipient's address"));
    repo.replace("cohorts/templates/hello.it.txt", "{{ address }}", "{{ nickname }}");
    assert!(preview(&["--locale", "it"]).expect_code(1).stderr.contains("template hello.it: nothing fills nickname"));
    let none = Betagate::new(["invite", "preview", "--cohort", "lyon"]).within(repo.path()).run().expect_code(1);
    assert!(none.stderr.contains("there is no cohort 'lyon'"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everyone_is_written_to_in_their_language_and_a_test_goes_to_the_operator_alone() {
    for db in databases() {
        let server = SmtpServer::start();
        let people =
            ["ada@example.com,listener-pavia,it-CH".to_owned(), "bob@example.com,listener-pavia,de".to_owned()];
        let repo = small(&people, "{ send: false, smtpRef: smtp }", QUICK);
        in_italian(&repo);
        let mut beta = Beta::start(&db, repo, "2026-03-02T08:00:00Z").await;
        send_to(&beta, &server.url());
        pass_for(&mut beta, 2, SignedDuration::from_secs(10)).await;
        let (data, url) = (beta.data.display().to_string(), beta.url.clone());
        let sending = std::thread::spawn(move || {
            let words = ["invite", "send", "--test", "Ops@example.net", "--cohort", "pavia", "--locale", "it"];
            Betagate::new(words.iter().chain(&["--data", &data, "--database", &url]).copied()).run()
        });
        while !sending.is_finished() {
            beta.pass().await;
        }
        let said = sending.join().unwrap().expect_code(0);
        assert!(said.stdout.contains("took hello.it for Ops@example.net"), "{said:?}");
        let taken = server.taken();
        assert_eq!(taken.len(), 1, "also while sending is off, and to nobody else");
        assert_eq!(
            (taken[0].to.as_str(), taken[0].headers["subject"].as_str()),
            ("ops@example.net", "[TEST] Benvenuti")
        );
        assert!(taken[0].text.contains("NOT-A-CODE"));
        assert!(states(&beta).await.values().all(Option::is_none), "no row was touched");
        beta.repo.replace("manifests/program.yaml", "send: false", "send: true");
        pass_for(&mut beta, 3, SignedDuration::from_secs(10)).await;
        let taken = server.taken();
        let subjects = taken[1..].iter().map(|taken| (taken.to.clone(), taken.headers["subject"].clone()));
        let wanted = [("ada@example.com", "Benvenuti"), ("bob@example.com", "Come in")];
        let wanted = wanted.map(|(to, subject)| (to.to_owned(), subject.to_owned()));
        assert_eq!(subjects.collect::<Vec<_>>(), wanted, "{}", db.name);
        beta.store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_mail_stands_is_in_the_list_and_in_the_status() {
    for db in databases() {
        let server = SmtpServer::start();
        let people = ["ada@example.com", "lost-joe@example.com", "refused-eve@example.com"];
        let mut beta = Beta::start(&db, small(&rows(&people), SEND, QUICK), "2026-03-02T08:00:00Z").await;
        send_to(&beta, &server.url());
        pass_for(&mut beta, 4, SignedDuration::from_secs(10)).await;
        let listed = say(&beta, &["invite", "list"]).expect_code(0).stdout;
        for (email, state) in people.iter().zip(["sent", "uncertain", "failed"]) {
            let line = listed.lines().find(|line| line.contains(email)).unwrap();
            assert!(line.contains(state), "{line}");
        }
        let status = say(&beta, &["status"]).expect_code(2).stdout;
        assert!(status.contains("mail of small/pavia: 1 failed, 1 sent, 1 uncertain"), "{status}");
        assert_eq!(
            say(&beta, &["invite", "send", "--uncertain", "--cohort", "pavia", "--by", "founder"]).code,
            Some(0)
        );
        let counts = invites::mail_counts(&beta.store, Some("small")).await.unwrap();
        assert!(counts.iter().all(|(_, _, state, _)| *state != invites::MailState::Uncertain), "in line again");
        pass_for(&mut beta, 3, SignedDuration::from_secs(10)).await;
        assert_eq!(server.recipients().iter().filter(|to| to.starts_with("lost-joe")).count(), 2);
        let port = crate::support::free_port();
        send_to(&beta, &format!("smtp://127.0.0.1:{port}"));
        say(&beta, &["invite", "send", "ada@example.com", "--by", "founder"]).expect_code(0);
        pass_for(&mut beta, 2, SignedDuration::from_secs(10)).await;
        let status = say(&beta, &["status"]).expect_code(2).stdout;
        assert!(
            status.contains("mail of small waits since") && status.contains("cannot be reached; tried again at"),
            "{status}"
        );
        beta.store.close().await;
    }
}
