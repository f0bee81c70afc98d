//! Mail: rendered, then written to a file for review (the default), handed to an SMTP server, or piped to a program.
//!
//! Every outcome is a line of `dispatch.log` (time, recipient, state), and every file is readable by its owner only: messages hold codes.
//!
//! Must not know: why a message is sent, how fast, or what a code is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use lettre::address::Envelope;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart, SinglePart};
use secrecy::SecretString;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::smtp::Smtp;
use super::{DeliveryError, Receipt, Template, effect_digest, files};

/// How long a program may take for one message.
const PATIENCE: Duration = Duration::from_secs(60);
/// Exit codes by which mail programs say that trying again can help (sysexits.h: no host, unavailable, temporary failure).
const TRY_AGAIN: [i32; 3] = [68, 69, 75];
/// One message to one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// What makes it the same message; the Message-ID is made from it.
    pub effect_key: String,
    /// The sender, `Name <address>` or an address.
    pub from: String,
    /// The recipient, likewise.
    pub to: String,
    /// What it says.
    pub template: Template,
    /// What fills the template.
    pub variables: BTreeMap<String, String>,
    /// Its date.
    pub at: Timestamp,
    /// Where its recipient can have no more of them, with one click (RFC 8058): an address to which a POST is sent.
    pub unsubscribe: Option<String>,
    /// Whether it only shows its sender what a message looks like; it says so.
    pub test: bool,
}

/// A message as it leaves.
pub struct Rendered {
    /// The Message-ID, with its angle brackets.
    pub message_id: String,
    /// Headers and body.
    pub bytes: Vec<u8>,
    /// The recipient's bare address.
    pub recipient: String,
    envelope: Envelope,
}

impl Mail {
    /// Renders the message: text, and HTML beside it when the template has it.
    ///
    /// # Errors
    /// [`DeliveryError::Never`] for an address that is none, and what [`Template::fill`] refuses.
    pub fn render(&self) -> Result<Rendered, DeliveryError> {
        let mailbox = |text: &str, whose: &str| {
            text.parse::<Mailbox>().map_err(|_| DeliveryError::never(format!("the {whose}'s address is not valid")))
        };
        let (from, to) = (mailbox(&self.from, "sender")?, mailbox(&self.to, "recipient")?);
        let filled = self.template.fill(&self.variables)?;
        let message_id = format!("<{}@{}>", effect_digest(&self.effect_key), from.email.domain());
        let subject = if self.test { format!("[TEST] {}", filled.subject) } else { filled.subject };
        let recipient = to.email.to_string();
        let header =
            |name: &'static str, value: &str| HeaderValue::new(HeaderName::new_from_ascii_str(name), value.to_owned());
        let mut builder = lettre::Message::builder()
            .from(from)
            .to(to)
            .subject(subject)
            .date(SystemTime::from(self.at))
            .message_id(Some(message_id.clone()))
            // Keeps away the answers of absence notes (RFC 3834).
            .raw_header(header("Auto-Submitted", "auto-generated"));
        if let Some(url) = &self.unsubscribe {
            builder = builder.raw_header(header("List-Unsubscribe", &format!("<{url}>")));
            builder = builder.raw_header(header("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"));
        }
        let message = match filled.html {
            Some(html) => builder.multipart(MultiPart::alternative_plain_html(filled.text, html)),
            None => builder.singlepart(SinglePart::builder().header(ContentType::TEXT_PLAIN).body(filled.text)),
        };
        let message = message.map_err(|_| DeliveryError::never("the message can't be put together"))?;
        let (bytes, envelope) = (message.formatted(), message.envelope().clone());
        Ok(Rendered { message_id, bytes, recipient, envelope })
    }
}

/// How mail leaves.
enum Way {
    File,
    Smtp(Box<Smtp>),
    Command(Vec<String>),
}

/// A way for mail to leave, and the data folder in which it leaves its traces.
pub struct Mailer {
    folder: PathBuf,
    way: Way,
}

impl Mailer {
    /// Writes messages to `mail/` in the data folder; nothing leaves.
    pub fn dry_run(data: &Path) -> Self {
        Self { folder: data.to_owned(), way: Way::File }
    }

    /// Hands messages to the server of an `smtp://` or `smtps://` address (`?tls=required` asks for STARTTLS); `authority` is the certificate
    /// of who vouches for it, where that is none whom everybody believes.
    ///
    /// # Errors
    /// [`DeliveryError::Never`] when the address is none. It is not repeated: it holds a password.
    pub fn smtp(data: &Path, url: &SecretString, authority: Option<&SecretString>) -> Result<Self, DeliveryError> {
        Ok(Self { folder: data.to_owned(), way: Way::Smtp(Box::new(Smtp::at(url, authority)?)) })
    }

    /// Pipes messages to a program such as `msmtp -t` (words by spaces, no shell).
    ///
    /// # Errors
    /// [`DeliveryError::Never`] when the command is empty.
    pub fn command(data: &Path, command: &str) -> Result<Self, DeliveryError> {
        let words: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
        if words.is_empty() {
            return Err(DeliveryError::never("the command that sends mail is empty"));
        }
        Ok(Self { folder: data.to_owned(), way: Way::Command(words) })
    }

    /// Whether messages leave (false: they are files for review).
    pub fn sends(&self) -> bool {
        !matches!(self.way, Way::File)
    }

    /// Whether the server is there and lets this sender in; asked before anything is sent, so that its refusal is nobody's. Opens the
    /// connection that the messages then use.
    ///
    /// # Errors
    /// [`DeliveryError::Away`].
    pub async fn ready(&self) -> Result<(), DeliveryError> {
        match &self.way {
            Way::Smtp(smtp) => smtp.ready().await,
            _ => Ok(()),
        }
    }

    /// Renders a message and lets it leave. Delivering the same message again writes the same file, or sends the same Message-ID.
    ///
    /// # Errors
    /// See [`DeliveryError`]; a throttled recipient (4xx) comes later, a refused one (5xx) never.
    pub async fn deliver(&self, mail: &Mail) -> Result<Receipt, DeliveryError> {
        let rendered = match mail.render() {
            Ok(rendered) => rendered,
            Err(error) => {
                self.log(mail.at, &mail.to, "refused")?;
                return Err(error);
            }
        };
        let sent = match &self.way {
            Way::File => self.write(mail, &rendered),
            Way::Smtp(smtp) => {
                let sent = smtp.send(&rendered.envelope, &rendered.bytes).await;
                sent.map(|()| ("smtp", rendered.message_id.clone()))
            }
            Way::Command(words) => pipe(words, &rendered).await,
        };
        let state = match &sent {
            Ok(_) if self.sends() => "sent",
            Ok(_) => "rendered",
            Err(DeliveryError::Later { .. } | DeliveryError::Away { .. } | DeliveryError::Waits { .. }) => "deferred",
            Err(DeliveryError::Uncertain { .. }) => "uncertain",
            Err(DeliveryError::Never { .. }) => "failed",
        };
        // A message that has left has left, whatever becomes of the log.
        if let Err(error) = self.log(mail.at, &rendered.recipient, state) {
            tracing::warn!(%error, "dispatch.log cannot be written");
        }
        let (way, reference) = sent?;
        Ok(Receipt { way: way.to_owned(), reference, at: mail.at })
    }

    /// Ends a batch in `dispatch.log` with its counts, the failed ones last.
    ///
    /// # Errors
    /// [`DeliveryError::Later`] when the log can't be written.
    pub fn end_batch(&self, at: Timestamp, dispatched: u64, failed: u64) -> Result<(), DeliveryError> {
        self.log(at, &format!("dispatched {dispatched}"), &format!("failed {failed}"))
    }

    /// Writes what a person reads before sending is switched on to `mail-review-NAME.txt` in the data folder.
    ///
    /// # Errors
    /// [`DeliveryError::Later`] when the file can't be written.
    pub fn write_review(&self, name: &str, text: &str) -> Result<(), DeliveryError> {
        let file = format!("mail-review-{name}.txt");
        let written =
            files::folder(&self.folder).and_then(|()| files::replace(&self.folder.join(&file), text.as_bytes()));
        written.map_err(|error| DeliveryError::later(format!("{file}: {error}")))
    }

    fn log(&self, at: Timestamp, recipient: &str, state: &str) -> Result<(), DeliveryError> {
        // A recipient that is no address must still not break the lines.
        let recipient: String = recipient.chars().filter(|c| !c.is_control()).collect();
        let written = files::folder(&self.folder)
            .and_then(|()| files::append(&self.folder.join("dispatch.log"), &format!("{at} {recipient} {state}")));
        written.map_err(|error| DeliveryError::later(format!("dispatch.log: {error}")))
    }

    fn write(&self, mail: &Mail, rendered: &Rendered) -> Result<(&'static str, String), DeliveryError> {
        let folder = self.folder.join("mail");
        let name = file_name(&rendered.recipient, &mail.effect_key);
        files::folder(&folder)
            .and_then(|()| files::replace(&folder.join(&name), &rendered.bytes))
            // The file's name is not told: it begins with the address.
            .map_err(|error| DeliveryError::later(format!("the message's file in mail/ can't be written: {error}")))?;
        Ok(("file", format!("mail/{name}")))
    }
}

/// `ada@example.com-0123abcd.eml`: found by who reviews, and the same for the same message.
fn file_name(recipient: &str, effect_key: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "@.+-_".contains(c) { c } else { '_' };
    let name: String = recipient.trim_start_matches('.').chars().take(80).map(plain).collect();
    format!("{name}-{}.eml", &effect_digest(effect_key)[..8])
}

async fn pipe(words: &[String], mail: &Rendered) -> Result<(&'static str, String), DeliveryError> {
    let (program, arguments) = words.split_first().ok_or_else(|| DeliveryError::never("no command"))?;
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| DeliveryError::away(format!("{program} cannot be started: {error}")))?;
    let talk = async {
        if let Some(mut input) = child.stdin.take() {
            // A program that ends without reading everything says why by its exit code.
            let _ = input.write_all(&mail.bytes).await;
        }
        child.wait().await
    };
    let unsure = |reason: String| DeliveryError::Uncertain { reason };
    let status = match tokio::time::timeout(PATIENCE, talk).await {
        Ok(Ok(status)) => status,
        Ok(Err(error)) => return Err(unsure(format!("{program} was lost: {error}"))),
        Err(_) => return Err(unsure(format!("{program} did not end within {} s", PATIENCE.as_secs()))),
    };
    match status.code() {
        Some(0) => Ok(("command", mail.message_id.clone())),
        Some(code) if TRY_AGAIN.contains(&code) => {
            Err(DeliveryError::later(format!("{program} says later (exit code {code})")))
        }
        Some(code) => Err(DeliveryError::never(format!("{program} failed (exit code {code})"))),
        None => Err(unsure(format!("{program} was killed"))),
    }
}

#[cfg(test)]
#[path = "mail_tests.rs"]
mod tests;
