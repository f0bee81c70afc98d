#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

use std::os::unix::fs::PermissionsExt;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::*;

fn mail(to: &str, key: &str) -> Mail {
    let template = Template {
        name: "invite".into(),
        text: "Subject: Your place, {{ name }}\n\nYour code is {{ code }}.\n".into(),
        html: Some("<p>Your code is <code>{{ code }}</code>.</p>".into()),
    };
    let given = [("name", "Adá"), ("code", "K7QW")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    Mail {
        effect_key: key.into(),
        from: "KRUXT beta <beta@kruxt.example>".into(),
        to: to.into(),
        template,
        variables: BTreeMap::from(given),
        at: "2026-03-02T09:00:00Z".parse().unwrap(),
        unsubscribe: None,
        test: false,
    }
}

fn owner_only(path: &Path) -> bool {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o077 == 0
}

#[test]
fn a_message_has_text_and_html_and_an_identity_of_its_effect() {
    let rendered = mail("ada@example.com", "invite/1/2").render().unwrap();
    let text = String::from_utf8(rendered.bytes).unwrap();
    for part in [
        "From: \"KRUXT beta\" <beta@kruxt.example>",
        "To: ada@example.com",
        "Date: Mon, 02 Mar 2026 09:00:00 +0000",
        "Auto-Submitted: auto-generated",
        "Content-Type: multipart/alternative",
        "Content-Type: text/plain; charset=utf-8",
        "Your code is K7QW.",
        "<code>K7QW</code>",
        &format!("Message-ID: {}", rendered.message_id),
    ] {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
    assert_eq!(rendered.message_id, format!("<{}@kruxt.example>", effect_digest("invite/1/2")));
    assert_ne!(mail("ada@example.com", "invite/1/3").render().unwrap().message_id, rendered.message_id);
}

#[tokio::test]
async fn a_dry_run_writes_private_files_and_a_line_a_recipient_and_repeats_itself_exactly() {
    let data = tempfile::tempdir().unwrap();
    let mailer = Mailer::dry_run(data.path());
    let first = mailer.deliver(&mail("Ada <ada@example.com>", "a")).await.unwrap();
    let again = mailer.deliver(&mail("Ada <ada@example.com>", "a")).await.unwrap();
    mailer.deliver(&mail("x/y@example.com", "b")).await.unwrap();
    let mut unfilled = mail("eve@example.com", "c");
    unfilled.variables.remove("code");
    assert!(mailer.deliver(&unfilled).await.unwrap_err().to_string().contains("nothing fills code"));
    assert!(mailer.deliver(&mail("nobody", "d")).await.is_err());
    mailer.end_batch("2026-03-02T09:00:00Z".parse().unwrap(), 5, 2).unwrap();
    assert_eq!((first.way.as_str(), &first), ("file", &again));
    assert!(!mailer.sends());
    let files: Vec<_> = std::fs::read_dir(data.path().join("mail")).unwrap().map(|f| f.unwrap().path()).collect();
    assert_eq!(files.len(), 2);
    assert!(files.iter().all(|file| owner_only(file)));
    assert!(data.path().join(&first.reference).ends_with(format!("ada@example.com-{}.eml", &effect_digest("a")[..8])));
    let log = data.path().join("dispatch.log");
    assert!(owner_only(&log));
    let lines: Vec<String> = std::fs::read_to_string(log).unwrap().lines().map(str::to_owned).collect();
    assert_eq!(lines[0], "2026-03-02T09:00:00Z ada@example.com rendered");
    assert_eq!(lines[3], "2026-03-02T09:00:00Z eve@example.com refused");
    assert_eq!(lines.last().unwrap(), "2026-03-02T09:00:00Z dispatched 5 failed 2");
}

/// An SMTP server for one message: answers the recipient with `to_recipient`, the message with `to_message` (or hangs up).
async fn server(
    to_recipient: &'static str,
    to_message: Option<&'static str>,
) -> (SecretString, UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("smtp://127.0.0.1:{}", listener.local_addr().unwrap().port());
    let (said, heard) = unbounded_channel();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let (read, mut write) = stream.into_split();
        let mut lines = BufReader::new(read).lines();
        write.write_all(b"220 ready\r\n").await.unwrap();
        let mut message = false;
        while let Ok(Some(line)) = lines.next_line().await {
            let answer = match line.split([' ', ':']).next().unwrap_or_default() {
                "." if message => {
                    message = false;
                    let Some(answer) = to_message else { return };
                    answer
                }
                _ if message => "",
                "EHLO" => "250 here",
                "RCPT" => to_recipient,
                "DATA" => {
                    message = true;
                    "354 go on"
                }
                "QUIT" => "221 bye",
                _ => "250 ok",
            };
            let _ = said.send(line);
            if !answer.is_empty() {
                write.write_all(format!("{answer}\r\n").as_bytes()).await.unwrap();
            }
        }
    });
    (SecretString::from(url), heard)
}

async fn sent_to(to_recipient: &'static str, to_message: Option<&'static str>) -> Result<Receipt, DeliveryError> {
    let data = tempfile::tempdir().unwrap();
    let (url, _heard) = server(to_recipient, to_message).await;
    Mailer::smtp(data.path(), &url, None).unwrap().deliver(&mail("ada@example.com", "a")).await
}

#[tokio::test]
async fn smtp_takes_a_message_and_its_receipt_is_the_message_id() {
    let data = tempfile::tempdir().unwrap();
    let (url, mut heard) = server("250 ok", Some("250 queued")).await;
    let receipt = Mailer::smtp(data.path(), &url, None).unwrap().deliver(&mail("ada@example.com", "a")).await.unwrap();
    assert_eq!(
        (receipt.way.as_str(), receipt.reference.as_str()),
        ("smtp", &*format!("<{}@kruxt.example>", effect_digest("a")))
    );
    let mut lines = Vec::new();
    while let Some(line) = heard.recv().await {
        lines.push(line);
    }
    assert!(lines.contains(&"RCPT TO:<ada@example.com>".to_owned()));
    assert!(lines.contains(&format!("Message-ID: {}", receipt.reference)));
    let log = std::fs::read_to_string(data.path().join("dispatch.log")).unwrap();
    assert_eq!(log, "2026-03-02T09:00:00Z ada@example.com sent\n");
}

#[tokio::test]
async fn a_throttled_recipient_comes_later_a_refused_one_never_and_a_lost_server_leaves_it_uncertain() {
    let throttled = sent_to("451 slow down ada@example.com", Some("250 queued")).await.unwrap_err();
    assert!(throttled.retryable(), "{throttled}");
    let refused = sent_to("550 no such ada@example.com", Some("250 queued")).await.unwrap_err();
    assert_eq!(refused, DeliveryError::never("the mail server refuses it (550)"));
    let lost = sent_to("250 ok", None).await.unwrap_err();
    assert!(lost.uncertain(), "{lost}");
    let full = sent_to("250 ok", Some("452 disk full")).await.unwrap_err();
    assert!(full.retryable());
    for error in [throttled, refused, lost, full] {
        assert!(!error.to_string().contains("ada@"), "{error}");
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_tried_later_and_its_password_is_not_told() {
    let data = tempfile::tempdir().unwrap();
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let url = SecretString::from(format!("smtp://user:hunter2@127.0.0.1:{closed}?tls=required"));
    let said = Mailer::smtp(data.path(), &url, None).unwrap().deliver(&mail("ada@example.com", "a")).await.unwrap_err();
    assert!(said.retryable(), "{said}");
    assert!(!format!("{said} {said:?}").contains("hunter2"));
    for wrong in ["hunter2", "smtp://user:hunter2@127.0.0.1"] {
        let none = Mailer::smtp(data.path(), &SecretString::from(wrong), None).err().unwrap();
        assert!(!none.retryable() && !none.to_string().contains("hunter2"));
    }
    let good = SecretString::from("smtps://127.0.0.1");
    for wrong in ["", "hunter2", "-----BEGIN CERTIFICATE-----\nhunter2\n-----END CERTIFICATE-----\n"] {
        let wrong = SecretString::from(wrong);
        let none = Mailer::smtp(data.path(), &good, Some(&wrong)).err().unwrap();
        assert!(!none.retryable() && !none.to_string().contains("hunter2"));
    }
}

#[tokio::test]
async fn a_program_gets_the_message_and_its_exit_code_tells_what_became_of_it() {
    let data = tempfile::tempdir().unwrap();
    let copy = data.path().join("copy");
    let script = |name: &str, text: &str| {
        let path = data.path().join(name);
        std::fs::write(&path, text).unwrap();
        format!("sh {}", path.display())
    };
    let outcome = async |command: &str| {
        Mailer::command(data.path(), command).unwrap().deliver(&mail("ada@example.com", "a")).await
    };
    let receipt = outcome(&script("good", &format!("cat > {}", copy.display()))).await.unwrap();
    assert_eq!(receipt.way, "command");
    assert!(std::fs::read_to_string(copy).unwrap().contains(&receipt.reference));
    assert!(outcome(&script("later", "exit 75")).await.unwrap_err().retryable());
    assert!(!outcome(&script("never", "exit 78")).await.unwrap_err().retryable());
    assert!(outcome(&script("killed", "kill -9 $$")).await.unwrap_err().uncertain());
    assert!(outcome("/no/such/program -t").await.unwrap_err().retryable());
    assert!(Mailer::command(data.path(), "  ").is_err());
}

#[tokio::test]
async fn one_connection_carries_what_is_taken_and_what_is_refused_and_an_address_it_cannot_write_is_refused_alone() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = SecretString::from(format!("smtp://127.0.0.1:{}", listener.local_addr().unwrap().port()));
    let connections = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let (read, mut write) = stream.into_split();
        let mut lines = BufReader::new(read).lines();
        write.write_all(b"220 ready\r\n").await.unwrap();
        let (mut message, mut taken) = (false, 0);
        while let Ok(Some(line)) = lines.next_line().await {
            let answer = match line.split([' ', ':']).next().unwrap_or_default() {
                "." if message => {
                    (message, taken) = (false, taken + 1);
                    "250 queued"
                }
                _ if message => continue,
                "RCPT" if line.contains("gone@") => "550 no such mailbox",
                "DATA" => {
                    message = true;
                    "354 go on"
                }
                _ => "250 ok",
            };
            write.write_all(format!("{answer}\r\n").as_bytes()).await.unwrap();
        }
        taken
    });
    let data = tempfile::tempdir().unwrap();
    let mailer = Mailer::smtp(data.path(), &url, None).unwrap();
    mailer.ready().await.unwrap();
    mailer.deliver(&mail("ada@example.com", "a")).await.unwrap();
    let refused = mailer.deliver(&mail("gone@example.com", "b")).await.unwrap_err();
    assert!(!refused.retryable(), "{refused}");
    let unwritable = mailer.deliver(&mail("ädä@example.com", "c")).await.unwrap_err();
    assert_eq!(unwritable, DeliveryError::never("the mail server takes no address in this alphabet"));
    mailer.deliver(&mail("bob@example.com", "d")).await.unwrap();
    drop(mailer);
    assert_eq!(connections.await.unwrap(), 2, "the one connection that was ever accepted took both");
}

#[tokio::test]
async fn a_server_that_hangs_up_before_the_content_has_surely_not_sent_it_and_one_that_wants_a_password_is_about_nobody()
 {
    let data = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = SecretString::from(format!("smtp://127.0.0.1:{}", listener.local_addr().unwrap().port()));
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let (read, mut write) = stream.into_split();
        let mut lines = BufReader::new(read).lines();
        write.write_all(b"220 ready\r\n").await.unwrap();
        while let Ok(Some(line)) = lines.next_line().await {
            if line.starts_with("RCPT") {
                return;
            }
            write.write_all(b"250 ok\r\n").await.unwrap();
        }
    });
    let lost = Mailer::smtp(data.path(), &url, None).unwrap().deliver(&mail("ada@example.com", "a")).await.unwrap_err();
    assert!(lost.retryable() && !lost.uncertain(), "{lost}");
    let wants_password = sent_to("530 sign in first", None).await.unwrap_err();
    assert!(matches!(wants_password, DeliveryError::Away { .. }), "{wants_password}");
    let offers_no_encryption = async {
        let (url, _heard) = server("250 ok", Some("250 queued")).await;
        let url = SecretString::from(format!("{}?tls=required", secrecy::ExposeSecret::expose_secret(&url)));
        Mailer::smtp(data.path(), &url, None).unwrap().ready().await.unwrap_err()
    };
    assert!(matches!(offers_no_encryption.await, DeliveryError::Away { .. }));
}
