//! Bounces and complaints are taken in by a webhook, and who unsubscribes gets no more: each is shown, is in the record, and costs nobody the invite.

use betagate::store::audit;
use betagate::store::invites::MailState;
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::SignedDuration;
use sha2::Sha256;

use super::an_invite_leaves_at_most_once::{QUICK, SEND, pass_for, send_to, states};
use crate::support::beta::{ADMIN, Beta, MAIL_HOOK_SECRET};
use crate::support::small::{list, rows, small};
use crate::support::{Betagate, SmtpServer, TestDb, databases};

const PEOPLE: [&str; 3] = ["ada@example.com", "bob@example.com", "eve@example.org"];

async fn sent(db: &TestDb, server: &SmtpServer) -> Beta {
    let mut beta = Beta::start(db, small(&rows(&PEOPLE), SEND, QUICK), "2026-03-02T08:00:00Z").await;
    send_to(&beta, &server.url());
    pass_for(&mut beta, 3, SignedDuration::from_secs(10)).await;
    assert_eq!(server.recipients(), PEOPLE);
    beta
}

/// Sends again, as a person says it on the command line; says with which exit code that ended.
fn send_again(beta: &Beta, words: &[&str]) -> Option<i32> {
    let data = beta.data.display().to_string();
    let place = ["--by", "founder", "--data", &data, "--database", &beta.url];
    Betagate::new(["invite", "send"].iter().chain(words).chain(&place).copied()).run().code
}

async fn actions(beta: &Beta) -> Vec<String> {
    let kept = audit::list(&beta.store, &audit::Filter::default()).await.unwrap();
    let text = serde_json::to_string(&kept.iter().map(|kept| &kept.entry.detail).collect::<Vec<_>>()).unwrap();
    assert!(!text.contains("@example"), "no address is in the record");
    kept.into_iter().map(|kept| kept.entry.action).collect()
}

fn signature(body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(MAIL_HOOK_SECRET.as_bytes()).unwrap();
    mac.update(body.as_bytes());
    format!("sha256={}", data_encoding::HEXLOWER.encode(&mac.finalize().into_bytes()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bounce_is_shown_and_the_address_is_not_sent_to_again_until_a_person_says_so() {
    for db in databases() {
        let server = SmtpServer::start();
        let mut beta = sent(&db, &server).await;
        let id = server.taken()[0].headers["message-id"].clone();
        let body = format!("{{\"type\":\"bounce\",\"messageId\":\"{id}\",\"provider\":\"any\"}}");
        for (header, value) in
            [("x-other", "1"), ("authorization", "Bearer guessed"), ("x-hub-signature-256", "sha256=00")]
        {
            assert_eq!(beta.mail_hook(&body, (header, value)).await.0, 401);
        }
        assert_eq!(states(&beta).await["ada@example.com"], Some(MailState::Sent));
        let (status, answer) = beta.mail_hook(&body, ("x-hub-signature-256", &signature(&body))).await;
        assert_eq!((status, answer["known"].as_i64()), (200, Some(1)), "{answer}");
        // A list of them, with the secret as a token: a mailbox that is full today, and one that nobody knows.
        let token = format!("Bearer {MAIL_HOOK_SECRET}");
        let full = r#"[{"type":"bounce","recipient":"BOB@example.com","permanent":false},{"type":"bounce","recipient":"x@example.net"}]"#;
        let (status, answer) = beta.mail_hook(full, ("authorization", &token)).await;
        assert_eq!((status, answer["known"].as_i64()), (200, Some(1)), "{answer}");
        for broken in ["{}", "[]x", r#"{"type":"bounce"}"#, r#"{"type":"fax","recipient":"ada@example.com"}"#] {
            assert_eq!(beta.mail_hook(broken, ("authorization", &token)).await.0, 400, "{broken}");
        }
        assert_eq!(states(&beta).await["ada@example.com"], Some(MailState::Bounced));
        assert_eq!(states(&beta).await["bob@example.com"], Some(MailState::Bounced));
        for email in ["ada@example.com", "bob@example.com"] {
            assert_eq!(send_again(&beta, &[email]), Some(0));
        }
        pass_for(&mut beta, 3, SignedDuration::from_secs(10)).await;
        assert_eq!(server.recipients()[3..], ["bob@example.com"], "only the mailbox that exists");
        assert_eq!(states(&beta).await["ada@example.com"], Some(MailState::Bounced));
        assert_eq!(send_again(&beta, &["ada@example.com", "--despite-bounce"]), Some(0));
        pass_for(&mut beta, 3, SignedDuration::from_secs(10)).await;
        assert_eq!(server.recipients()[4..], ["ada@example.com"], "{}", db.name);
        let done = actions(&beta).await;
        assert_eq!(done.iter().filter(|action| *action == "invite.bounced").count(), 2);
        assert!(done.contains(&"mail.bounce-forgotten".to_owned()));
        beta.store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_unsubscribes_or_complains_gets_no_more_and_the_invite_stays_good() {
    for db in databases() {
        let server = SmtpServer::start();
        let mut beta = sent(&db, &server).await;
        let taken = server.taken();
        let link = taken[0].headers["list-unsubscribe"].trim_matches(['<', '>']).to_owned();
        assert!(!link.contains("example.com/unsubscribe?key=ada") && !link.contains('@'));
        let path = link.strip_prefix("https://beta.example.com").unwrap();
        let (status, page) = beta.page("GET", path, "").await;
        assert!(status == 200 && page.contains("<button>Send me no more</button>") && !page.contains("ada@"), "{page}");
        let wrong = format!("{}a", &path[..path.len() - 1]);
        let wrong = if wrong == path { format!("{}b", &path[..path.len() - 1]) } else { wrong };
        for (method, path) in [("GET", wrong.as_str()), ("POST", &wrong), ("POST", "/unsubscribe")] {
            assert_eq!(beta.page(method, path, "").await.0, 404, "{path}");
        }
        // In the language of the browser, where the invite names none; and of the invite, where it does.
        for (locale, asked, button) in
            [("", "it-CH, en;q=0.5", "Non mandarmene più"), ("fr", "it", "Ne plus m’en envoyer")]
        {
            let sql = "UPDATE beta_invites SET locale = $1";
            assert_eq!(beta.store.execute(sql, &[locale.into()]).await.unwrap(), 3);
            let page = beta.request("GET", path).header("accept-language", asked).send().await.unwrap();
            let page = page.text().await.unwrap();
            assert!(
                page.contains(button)
                    && page.contains(&format!("lang=\"{}\"", if locale.is_empty() { "it" } else { locale })),
                "{page}"
            );
        }
        beta.store.execute("UPDATE beta_invites SET locale = ''", &[]).await.unwrap();
        assert!(!actions(&beta).await.contains(&"mail.unsubscribed".to_owned()), "looking at it changes nothing");
        for _ in 0..2 {
            let (status, page) = beta.page("POST", path, "List-Unsubscribe=One-Click").await;
            assert!(status == 200 && page.contains("Done"), "{page}");
        }
        let complaint = r#"{"type":"complaint","recipient":"eve@example.org"}"#;
        assert_eq!(beta.mail_hook(complaint, ("x-hub-signature-256", &signature(complaint))).await.0, 200);
        for email in PEOPLE {
            assert_eq!(send_again(&beta, &[email, "--despite-bounce"]), Some(0));
        }
        pass_for(&mut beta, 3, SignedDuration::from_secs(10)).await;
        assert_eq!(server.recipients()[3..], ["bob@example.com"], "{}", db.name);
        let states = states(&beta).await;
        for email in ["ada@example.com", "eve@example.org"] {
            assert_eq!(states[email], Some(MailState::Unsubscribed));
        }
        let done = actions(&beta).await;
        for (action, times) in [("mail.unsubscribed", 1), ("invite.complained", 1), ("invite.not-sent", 2)] {
            assert_eq!(done.iter().filter(|done| *done == action).count(), times, "{action}");
        }
        let (_, shown) = beta.get("/v1/admin/invites?email=ada@example.com", Some(ADMIN)).await;
        assert_eq!(
            (&shown["invites"][0]["mail"], &shown["invites"][0]["state"]),
            (&"unsubscribed".into(), &"pending".into())
        );
        // The dry run knows them too.
        beta.repo.replace("manifests/program.yaml", "send: true", "send: false");
        let row = ["ada@example.com", "bob@example.com", "zoe@example.com", "eve@example.org"];
        beta.repo.write("cohorts/pavia.csv", &list(&rows(&row)));
        for email in ["ada@example.com", "eve@example.org"] {
            assert_eq!(send_again(&beta, &[email]), Some(0));
        }
        pass_for(&mut beta, 3, SignedDuration::from_secs(10)).await;
        let summary = std::fs::read_to_string(beta.data.join("mail-review-small.txt")).unwrap();
        assert!(summary.contains("small: 1 message(s)"), "{summary}");
        let refused = "Refused: 2\n  ada@example.com (pavia): unsubscribed\n  eve@example.org (pavia): complaint\n";
        assert!(summary.ends_with(refused), "{summary}");
        beta.store.close().await;
    }
}
