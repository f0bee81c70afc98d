//! Notes to a chat: Slack, Discord, or plain JSON, told apart by the address, which is itself a secret.
//!
//! Must not know: why a note is sent, or where the address is kept.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Client, StatusCode, redirect};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use url::Url;

use super::{DeliveryError, Receipt, effect_digest};

/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(15);
/// The longest message that Discord takes, in characters.
const DISCORD_CHARACTERS: usize = 2000;
/// The longest text that Slack shows whole, in characters.
const SLACK_CHARACTERS: usize = 40_000;

/// A note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// What makes it the same note; sent along as `Idempotency-Key`, as a digest.
    pub effect_key: String,
    /// Its title, one line.
    pub title: String,
    /// Its text.
    pub text: String,
    /// When it was written.
    pub at: Timestamp,
}

/// What the other side understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// `{"text": …}`
    Slack,
    /// `{"content": …}`
    Discord,
    /// `{"title", "text", "key", "at"}`
    Json,
}

/// A webhook.
pub struct Webhook {
    url: SecretString,
    shape: Shape,
    client: Client,
}

impl Shape {
    fn of(url: &Url) -> Self {
        let host = url.host_str().unwrap_or_default();
        match host {
            "hooks.slack.com" | "hooks.slack-gov.com" => Self::Slack,
            "discord.com" | "discordapp.com" | "ptb.discord.com" | "canary.discord.com"
                if url.path().starts_with("/api/webhooks/") =>
            {
                Self::Discord
            }
            _ => Self::Json,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Slack => "slack",
            Self::Discord => "discord",
            Self::Json => "json",
        }
    }

    /// The note as the other side understands it. Nothing in it can mention or notify anyone.
    fn body(self, note: &Note) -> Value {
        match self {
            Self::Slack => {
                let escape = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
                json!({ "text": cut(&format!("*{}*\n{}", escape(&note.title), escape(&note.text)), SLACK_CHARACTERS) })
            }
            Self::Discord => json!({
                "content": cut(&format!("**{}**\n{}", note.title, note.text), DISCORD_CHARACTERS),
                "allowed_mentions": { "parse": [] },
            }),
            Self::Json => json!({
                "title": note.title, "text": note.text, "key": effect_digest(&note.effect_key), "at": note.at.to_string(),
            }),
        }
    }
}

fn cut(text: &str, characters: usize) -> String {
    if text.chars().count() <= characters {
        return text.to_owned();
    }
    text.chars().take(characters - 1).chain(std::iter::once('…')).collect()
}

impl Webhook {
    /// A webhook at an address, `http://` or `https://`. Redirects are not followed: the address is what was agreed.
    ///
    /// # Errors
    /// [`DeliveryError::Never`] when the address is none. It is not repeated.
    pub fn new(url: SecretString) -> Result<Self, DeliveryError> {
        let parsed = Url::parse(url.expose_secret()).ok();
        let parsed = parsed.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let Some(parsed) = parsed else {
            return Err(DeliveryError::never("the webhook's address must begin with http:// or https://"));
        };
        let client = Client::builder().redirect(redirect::Policy::none()).timeout(PATIENCE).build();
        let client = client.map_err(|_| DeliveryError::never("the HTTP client can't be set up"))?;
        Ok(Self { shape: Shape::of(&parsed), url, client })
    }

    /// What the other side understands.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Sends a note.
    ///
    /// # Errors
    /// Later: not reached, throttled (with the wait that is asked for), or a fault over there. Never: refused. Uncertain: no answer.
    pub async fn deliver(&self, note: &Note) -> Result<Receipt, DeliveryError> {
        let body = self.shape.body(note).to_string();
        let request = self.client.post(self.url.expose_secret()).header(CONTENT_TYPE, "application/json");
        let key = effect_digest(&note.effect_key);
        match request.header("Idempotency-Key", &key).body(body).send().await {
            Ok(answer) if answer.status().is_success() => {
                Ok(Receipt { way: self.shape.name().to_owned(), reference: key, at: note.at })
            }
            Ok(answer) => {
                let after = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
                let after = after.and_then(|text| text.parse().ok()).map(Duration::from_secs);
                Err(refusal(answer.status(), after))
            }
            Err(error) if error.is_connect() => Err(DeliveryError::later("the webhook cannot be reached")),
            Err(error) if error.is_builder() => Err(DeliveryError::never("the webhook's address can't be used")),
            // The error's own words hold the address, which is a secret.
            Err(_) => Err(DeliveryError::Uncertain { reason: "the webhook was lost before it answered".into() }),
        }
    }
}

fn refusal(status: StatusCode, after: Option<Duration>) -> DeliveryError {
    let passing = status.is_server_error()
        || matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS | StatusCode::TOO_EARLY);
    if passing {
        DeliveryError::Later { reason: format!("the webhook says later ({})", status.as_u16()), after }
    } else {
        DeliveryError::never(format!("the webhook refuses it ({})", status.as_u16()))
    }
}

#[cfg(test)]
#[path = "webhook_tests.rs"]
mod tests;
