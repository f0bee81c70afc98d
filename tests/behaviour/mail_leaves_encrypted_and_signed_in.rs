//! A password leaves over an encrypted connection only, to a server whose certificate somebody vouches for: by STARTTLS or from the first byte,
//! with a real mail server. Otherwise everything waits, nothing is in doubt, and the status says why.

use betagate::store::invites;
use jiff::SignedDuration;

use crate::an_invite_leaves_at_most_once::{QUICK, pass_for, send_to, states};
use crate::support::beta::Beta;
use crate::support::small::{rows, small};
use crate::support::{Certificate, Guarded, SmtpServer, TestDb, databases};

const USER: (&str, &str) = ("beta", "a word: with/signs");
/// The same, as it stands in an address.
const SIGNED: &str = "beta:a%20word%3A%20with%2Fsigns";
const PEOPLE: [&str; 2] = ["ada@example.com", "bob@example.org"];

/// Whom the program believes, where it sends, why nothing leaves, and which tries to sign in the server saw.
type Case<'a> = (Option<&'a Certificate>, &'a dyn Fn(u16) -> String, &'a str, &'a [(bool, bool)]);

/// A program that sends, and that believes this authority if there is one.
async fn start(db: &TestDb, authority: Option<&Certificate>, url: &str) -> Beta {
    let more = if authority.is_some() { ", caRef: smtp-ca" } else { "" };
    let mail = format!("{{ send: true, from: Beta <beta@example.com>, smtpRef: smtp{more} }}");
    let beta = Beta::start(db, small(&rows(&PEOPLE), &mail, QUICK), "2026-03-02T08:00:00Z").await;
    send_to(&beta, url);
    if let Some(authority) = authority {
        std::fs::write(beta.data.join("secrets/smtp-ca"), authority.authority()).unwrap();
    }
    beta
}

/// Nobody's message was even claimed; why they wait.
async fn waiting(beta: &mut Beta) -> String {
    // Tried once: aiosmtpd answers nobody any more after a handshake that its client broke off.
    pass_for(beta, 3, SignedDuration::ZERO).await;
    assert!(states(beta).await.values().all(Option::is_none), "nobody's message is in doubt or lost");
    let mut pauses = invites::pauses(&beta.store, "small").await.unwrap();
    assert_eq!(pauses.len(), 1, "{pauses:?}");
    assert!(!pauses[0].reason.contains("signs"), "a password is nobody's to read: {}", pauses[0].reason);
    pauses.remove(0).reason
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_starttls_and_from_the_first_byte() {
    let certificate = Certificate::make();
    for (kind, scheme, asked) in
        [("starttls", "smtp", "?tls=required"), ("starttls", "smtp", "?tls=opportunistic"), ("smtps", "smtps", "")]
    {
        let db = databases().remove(0);
        let guarded = Guarded { tls: Some((kind, &certificate)), user: Some(USER) };
        let server = SmtpServer::start_guarded(0, 0.0, guarded);
        let url = format!("{scheme}://{SIGNED}@localhost:{}{asked}", server.port());
        let mut beta = start(&db, Some(&certificate), &url).await;
        pass_for(&mut beta, 3, SignedDuration::from_secs(10)).await;
        let taken = server.taken();
        assert_eq!(taken.len(), 2, "{kind}{asked}: {:?}", invites::pauses(&beta.store, "small").await.unwrap());
        assert!(taken.iter().all(|taken| taken.encrypted));
        assert_eq!(server.signed_in(), [(true, true)], "{kind}: once, over the connection that both messages took");
        beta.store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_nobody_vouches_for_and_a_wrong_password_let_nothing_leave() {
    let (certificate, other) = (Certificate::make(), Certificate::make());
    for (kind, scheme) in [("starttls", "smtp"), ("smtps", "smtps")] {
        let right = |port| format!("{scheme}://{SIGNED}@localhost:{port}?tls=required");
        let guessed = |port| format!("{scheme}://beta:guessed@localhost:{port}?tls=required");
        let unknown = "nobody vouches for its certificate";
        let cases: [Case<'_>; 3] = [
            (None, &right, unknown, &[]),
            (Some(&other), &right, unknown, &[]),
            (Some(&certificate), &guessed, "does not let this sender in (535)", &[(false, true)]),
        ];
        for (authority, url, words, tries) in cases {
            let db = databases().remove(0);
            let guarded = Guarded { tls: Some((kind, &certificate)), user: Some(USER) };
            let server = SmtpServer::start_guarded(0, 0.0, guarded);
            let mut beta = start(&db, authority, &url(server.port())).await;
            let why = waiting(&mut beta).await;
            assert!(why.contains(words), "{kind}: {why}");
            assert_eq!(server.signed_in(), tries, "{kind}: a password goes to nobody unknown");
            assert!(server.taken().is_empty());
            beta.store.close().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_is_never_sent_in_the_clear() {
    let server = SmtpServer::start_guarded(0, 0.0, Guarded { tls: None, user: Some(USER) });
    let address = format!("{SIGNED}@localhost:{}", server.port());
    for (asked, words) in [
        ("", "use smtps://, or smtp:// with ?tls=required"),
        ("?tls=opportunistic", "offers no encryption, and the password is not sent without"),
        ("?tls=required", "have no way to sign in or to encrypt in common"),
    ] {
        let db = databases().remove(0);
        let mut beta = start(&db, None, &format!("smtp://{address}{asked}")).await;
        let why = waiting(&mut beta).await;
        assert!(why.contains(words), "{asked}: {why}");
        beta.store.close().await;
    }
    assert!(server.signed_in().is_empty() && server.taken().is_empty(), "this server would have taken it");
}
