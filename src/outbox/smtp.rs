//! One open conversation with a mail server, kept from message to message.
//!
//! It knows how far each message got: what breaks before the content has surely not sent it, what breaks after may have. Small packets leave
//! at once: the client library writes the end of a message by itself, and waiting for the other side's acknowledgement would cost 40 ms a
//! message. A password leaves over an encrypted connection only. Must not know: what a message says.

use std::time::Duration;

use lettre::address::Envelope;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt, Rset};
use lettre::transport::smtp::extension::{ClientId, Extension, MailBodyParameter, MailParameter};
use lettre::transport::smtp::{self, SMTP_PORT, SUBMISSION_PORT, SUBMISSIONS_PORT};
use percent_encoding::percent_decode_str;
use secrecy::{ExposeSecret, SecretString};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};
use url::Url;

use super::DeliveryError;

/// How long a server may take for one step; for the end of a message it may take [`CONTENT_PATIENCE`].
const PATIENCE: Duration = Duration::from_secs(60);
/// RFC 5321 has ten minutes here; a server that needs more than two is as good as lost.
const CONTENT_PATIENCE: Duration = Duration::from_secs(120);
/// A conversation that was silent for so long is asked whether it goes on.
const SILENCE: Duration = Duration::from_secs(5);
/// What a server answers about its sender and not about a recipient: it wants another way to sign in.
const ABOUT_THE_SENDER: [&str; 4] = ["530", "534", "535", "538"];

/// A mail server, and the conversation with it if one is open.
pub(super) struct Smtp {
    host: String,
    port: u16,
    tls: Tls,
    /// The server's name, and whom to believe about its certificate.
    parameters: TlsParameters,
    credentials: Option<Credentials>,
    open: Mutex<Option<Open>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Tls {
    Never,
    /// STARTTLS where the server offers it.
    Offered,
    /// STARTTLS, or nothing is sent.
    Required,
    /// From the first byte.
    Always,
}

struct Open {
    connection: AsyncSmtpConnection,
    used: Instant,
}

impl Smtp {
    /// From `smtp://` (`?tls=required` or `?tls=opportunistic` for STARTTLS) or `smtps://`; `authority` is the certificate (PEM) of who vouches
    /// for the server's.
    pub(super) fn at(url: &SecretString, authority: Option<&SecretString>) -> Result<Self, DeliveryError> {
        let wrong =
            || DeliveryError::never("the mail server's address must be smtp:// or smtps://, a host and perhaps a port");
        let url = Url::parse(url.expose_secret()).map_err(|_| wrong())?;
        let asked = url.query_pairs().find(|(name, _)| name == "tls").map(|(_, value)| value.into_owned());
        let (tls, usual) = match (url.scheme(), asked.as_deref()) {
            ("smtp", None) => (Tls::Never, SMTP_PORT),
            ("smtp", Some("opportunistic")) => (Tls::Offered, SUBMISSION_PORT),
            ("smtp", Some("required")) => (Tls::Required, SUBMISSION_PORT),
            ("smtps", _) => (Tls::Always, SUBMISSIONS_PORT),
            _ => return Err(wrong()),
        };
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(wrong)?.to_owned();
        let plain = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let credentials = url.password().map(|password| Credentials::new(plain(url.username()), plain(password)));
        if credentials.is_some() && tls == Tls::Never {
            return Err(DeliveryError::never(
                "the mail server's address has a password, which leaves encrypted only: use smtps://, or smtp:// with ?tls=required",
            ));
        }
        let none = || DeliveryError::never("what should vouch for the mail server is no certificate in PEM form");
        let mut parameters = TlsParameters::builder(host.clone());
        if let Some(pem) = authority.map(|pem| pem.expose_secret()) {
            let certificate = Certificate::from_pem(pem.as_bytes()).ok();
            let certificate = certificate.filter(|_| pem.contains("-----BEGIN CERTIFICATE-----")).ok_or_else(none)?;
            parameters = parameters.add_root_certificate(certificate);
        }
        let parameters = parameters.build().map_err(|_| none())?;
        Ok(Self { host, port: url.port().unwrap_or(usual), tls, parameters, credentials, open: Mutex::default() })
    }

    /// Whether the server is there and lets this sender in.
    pub(super) async fn ready(&self) -> Result<(), DeliveryError> {
        let mut open = self.open.lock().await;
        *open = Some(self.going_on(open.take()).await?);
        Ok(())
    }

    /// Hands one message over.
    pub(super) async fn send(&self, envelope: &Envelope, bytes: &[u8]) -> Result<(), DeliveryError> {
        let mut held = self.open.lock().await;
        let mut open = self.going_on(held.take()).await?;
        let sent = match announce(&mut open.connection, envelope, bytes).await {
            Ok(()) => finish(&mut open.connection, bytes).await,
            Err(error) => Err(error),
        };
        // Whoever was refused, the next one may be taken, over the same connection where it goes on.
        let goes_on = match &sent {
            Ok(()) => true,
            Err(DeliveryError::Uncertain { .. }) => false,
            Err(_) => matches!(timeout(PATIENCE, open.connection.command(Rset)).await, Ok(Ok(_))),
        };
        if goes_on {
            open.used = Instant::now();
            *held = Some(open);
        }
        sent
    }

    /// The conversation as it is, or a new one.
    async fn going_on(&self, open: Option<Open>) -> Result<Open, DeliveryError> {
        if let Some(mut open) = open {
            let fresh = open.used.elapsed() < SILENCE;
            if fresh || matches!(timeout(PATIENCE, open.connection.test_connected()).await, Ok(true)) {
                return Ok(open);
            }
        }
        match timeout(PATIENCE, self.begin()).await {
            Ok(Ok(connection)) => Ok(Open { connection, used: Instant::now() }),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(DeliveryError::away("the mail server does not answer")),
        }
    }

    async fn begin(&self) -> Result<AsyncSmtpConnection, DeliveryError> {
        let away = |_| DeliveryError::away("the mail server cannot be reached");
        let hello = ClientId::default();
        let address = (self.host.as_str(), self.port);
        let tls = || self.parameters.clone();
        let mut connection = if self.tls == Tls::Always {
            let connected = AsyncSmtpConnection::connect_tokio1(address, Some(PATIENCE), &hello, Some(tls()), None);
            connected.await.map_err(|error| not_encrypted(&error))?
        } else {
            let stream = TcpStream::connect(address).await.map_err(away)?;
            stream.set_nodelay(true).map_err(away)?;
            let connected = AsyncSmtpConnection::connect_with_transport(Box::new(stream), &hello);
            connected.await.map_err(|error| not_let_in(&error))?
        };
        if self.tls == Tls::Required || (self.tls == Tls::Offered && connection.can_starttls()) {
            connection.starttls(tls(), &hello).await.map_err(|error| not_encrypted(&error))?;
        }
        if let Some(credentials) = &self.credentials {
            // Whoever stands between may have taken the offer of STARTTLS out.
            if !connection.is_encrypted() {
                return Err(DeliveryError::away(
                    "the mail server offers no encryption, and the password is not sent without",
                ));
            }
            let signed_in = connection.auth(DEFAULT_MECHANISMS, credentials).await;
            signed_in.map_err(|error| not_let_in(&error))?;
        }
        Ok(connection)
    }
}

/// Everything before the content: whatever fails here, the message has surely not left.
async fn announce(
    connection: &mut AsyncSmtpConnection,
    envelope: &Envelope,
    bytes: &[u8],
) -> Result<(), DeliveryError> {
    let mut parameters = Vec::new();
    let offers = |connection: &AsyncSmtpConnection, what| connection.server_info().supports_feature(what);
    let ascii = |address: &lettre::Address| AsRef::<str>::as_ref(address).is_ascii();
    if !envelope.from().into_iter().chain(envelope.to()).all(ascii) {
        if !offers(connection, Extension::SmtpUtfEight) {
            return Err(DeliveryError::never("the mail server takes no address in this alphabet"));
        }
        parameters.push(MailParameter::SmtpUtfEight);
    }
    if !bytes.is_ascii() {
        if !offers(connection, Extension::EightBitMime) {
            return Err(DeliveryError::never("the mail server takes no message in this alphabet"));
        }
        parameters.push(MailParameter::Body(MailBodyParameter::EightBitMime));
    }
    step(connection.command(Mail::new(envelope.from().cloned(), parameters))).await?;
    for to in envelope.to() {
        step(connection.command(Rcpt::new(to.clone(), Vec::new()))).await?;
    }
    step(connection.command(Data)).await
}

async fn step<T>(asked: impl Future<Output = Result<T, smtp::Error>>) -> Result<(), DeliveryError> {
    match timeout(PATIENCE, asked).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => {
            Err(refusal(&error).unwrap_or_else(|| DeliveryError::later("the mail server was lost before the message")))
        }
        Err(_) => Err(DeliveryError::later("the mail server was lost before the message")),
    }
}

/// The content: from its first byte on nobody knows, until the server has answered.
async fn finish(connection: &mut AsyncSmtpConnection, bytes: &[u8]) -> Result<(), DeliveryError> {
    let lost = || DeliveryError::Uncertain { reason: "the mail server was lost before it answered".into() };
    match timeout(CONTENT_PATIENCE, connection.message(bytes)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(refusal(&error).unwrap_or_else(lost)),
        Err(_) => Err(lost()),
    }
}

/// What the server's answer means; none when it gave none. Its words are left out: they often repeat the recipient.
fn refusal(error: &smtp::Error) -> Option<DeliveryError> {
    let code = error.status().map(|code| code.to_string())?;
    Some(if ABOUT_THE_SENDER.contains(&code.as_str()) {
        DeliveryError::away(format!("the mail server does not let this sender in ({code})"))
    } else if error.is_permanent() {
        DeliveryError::never(format!("the mail server refuses it ({code})"))
    } else {
        DeliveryError::later(format!("the mail server says later ({code})"))
    })
}

/// Why there is no encrypted conversation. The library does not tell a certificate that nobody vouches for from a server that is gone.
fn not_encrypted(error: &smtp::Error) -> DeliveryError {
    if error.status().is_some() || error.is_client() || error.is_timeout() {
        return not_let_in(error);
    }
    DeliveryError::away(
        "no encrypted connection to the mail server came about: it can't be reached, or nobody vouches for its certificate (caRef)",
    )
}

/// Why there is no conversation: nobody's message can leave.
fn not_let_in(error: &smtp::Error) -> DeliveryError {
    match error.status() {
        Some(code) => DeliveryError::away(format!("the mail server does not let this sender in ({code})")),
        None if error.is_client() => {
            DeliveryError::away("the mail server and this program have no way to sign in or to encrypt in common")
        }
        None => DeliveryError::away("the mail server cannot be reached"),
    }
}
