//! A forge's API, as far as a pull request needs it: a commit status, one comment that later runs write anew, and (`pull`) the request itself. GitHub's and Gitea's are
//! the same here (`/repos/OWNER/NAME/…` below `https://api.github.com`, or `https://HOST/api/v1`).
//!
//! Whatever can be written twice without harm is tried again: a status replaces the one before; before a comment is written, the one that
//! is there is looked for, each time anew. Must not know: what the comment says. The token never appears in an error.

mod pull;

pub use pull::{NewPull, OpenedPull};

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};
use reqwest::header::{ACCEPT, HeaderMap, RETRY_AFTER};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, redirect};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use serde_json::{Value, json};
use url::Url;

/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often a request is tried again.
const RETRIES: usize = 5;
/// The first wait before another try; it doubles up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// No forge is waited for any longer at a time, whatever it asks for.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// Comments asked for at once, and pages of them at most.
const PAGE: usize = 100;
const MOST_PAGES: usize = 50;
/// The longest line that GitHub takes as a status, in characters.
const LINE: usize = 140;
/// What one answer may say of itself, in an error.
const REASON: usize = 200;
/// Who writes for a workflow whose token can't be asked whose it is.
const ROBOTS: [&str; 2] = ["github-actions[bot]", "gitea-actions"];

/// The state of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CommitState {
    /// Somebody's word is missing.
    Pending,
    /// It can go in.
    Success,
    /// It can't.
    Failure,
}

/// A status to be written under a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitStatus {
    /// How it stands.
    pub state: CommitState,
    /// Whose word it is: a later one of the same name replaces it.
    pub context: String,
    /// In a line; cut where it is longer than a forge takes.
    pub description: String,
    /// Where more is told.
    pub target: Option<String>,
}

/// A comment that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posted {
    /// Where it can be read.
    pub url: String,
    /// Whether it stood there before.
    pub again: bool,
}

/// Why a forge did not take something.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForgeError {
    /// What it was told to ask makes no sense. Terminal.
    #[error("{0}")]
    Settings(String),
    /// The token is none that it knows. Terminal.
    #[error("the forge does not know the token (401): it is wrong, or has run out")]
    Unauthorized,
    /// The token may not do this. Terminal.
    #[error(
        "the token may not {0} (403){1}: it needs the rights `statuses: write` and `pull-requests: write` (on Gitea: `write:repository` and `write:issue`); \
         a workflow started from a fork has none of them"
    )]
    Forbidden(&'static str, String),
    /// It is not there, or hidden from the token. Terminal.
    #[error("the forge has no {0} (404), or hides it from this token")]
    NotFound(String),
    /// It refuses. Terminal.
    #[error("the forge refuses to {0} ({1}){2}")]
    Refused(&'static str, u16, String),
    /// It is not there, not well, or wants to be asked later. Retryable.
    #[error("{reason}")]
    Later {
        /// Why.
        reason: String,
        /// The wait that it asks for.
        after: Option<Duration>,
    },
}

impl ForgeError {
    /// Whether the same may work later.
    pub fn retryable(&self) -> bool {
        matches!(self, Self::Later { .. })
    }

    fn later(reason: impl Into<String>) -> Self {
        Self::Later { reason: reason.into(), after: None }
    }
}

/// A repository of a forge.
pub struct Forge {
    api: Url,
    repository: String,
    token: SecretString,
    client: Client,
    first_wait: Duration,
}

impl Forge {
    /// A repository (`OWNER/NAME`) below the address of a forge's API. Redirects are not followed: a token goes where it was meant to.
    ///
    /// # Errors
    /// [`ForgeError::Settings`].
    pub fn new(api: &str, repository: &str, token: SecretString) -> Result<Self, ForgeError> {
        let wrong = |why: String| ForgeError::Settings(why);
        let mut url = Url::parse(api.trim()).map_err(|_| wrong(format!("'{api}' is no address of a forge's API")))?;
        let plain = matches!(url.scheme(), "http" | "https") && url.has_host() && url.username().is_empty();
        if !plain || url.password().is_some() || url.cannot_be_a_base() {
            return Err(wrong("a forge's API is at http://… or https://…, without user or password".to_owned()));
        }
        url.set_query(None);
        url.set_fragment(None);
        let part = |part: &str| {
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            !part.is_empty() && part.chars().all(plain) && !part.starts_with('.')
        };
        let named = repository.split_once('/').is_some_and(|(owner, name)| part(owner) && part(name));
        if !named {
            return Err(wrong(format!("'{repository}' is no repository, such as ana/beta")));
        }
        let client = Client::builder()
            .user_agent(concat!("betagate/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .timeout(PATIENCE)
            .build()
            .map_err(|_| wrong("the HTTP client can't be set up".to_owned()))?;
        Ok(Self { api: url, repository: repository.to_owned(), token, client, first_wait: FIRST_WAIT })
    }

    /// Waits so long before it asks again for the first time.
    #[must_use]
    pub fn first_wait(mut self, wait: Duration) -> Self {
        self.first_wait = wait;
        self
    }

    /// Writes a status under a commit.
    ///
    /// # Errors
    /// See [`ForgeError`]; what is retryable was tried again before.
    pub async fn status(&self, commit: &str, status: &CommitStatus) -> Result<(), ForgeError> {
        if commit.is_empty() || !commit.chars().all(|c| c.is_ascii_hexdigit()) {
            return Err(ForgeError::Settings(format!("'{commit}' is no commit")));
        }
        let body = json!({
            "state": status.state,
            "context": status.context,
            "description": cut(&status.description, LINE),
            "target_url": status.target.as_deref().unwrap_or_default(),
        });
        let place = format!("statuses/{commit}");
        let what = What { does: "write a commit status", missing: format!("commit {commit} in {}", self.repository) };
        self.patiently(async || self.ask(Method::POST, &place, Some(&body), &what).await.map(drop)).await
    }

    /// Writes a comment under a pull request: over the one of ours that begins with `marker`, else a new one.
    ///
    /// # Errors
    /// See [`ForgeError`]; what is retryable was tried again before.
    pub async fn comment(&self, pull: u64, marker: &str, body: &str) -> Result<Posted, ForgeError> {
        // A comment that was written although its answer was lost is found at the next try.
        self.patiently(async || self.comment_once(pull, marker, body).await).await
    }

    async fn comment_once(&self, pull: u64, marker: &str, body: &str) -> Result<Posted, ForgeError> {
        let body = json!({ "body": format!("{marker}\n{body}") });
        let what =
            What { does: "comment on a pull request", missing: format!("pull request {pull} in {}", self.repository) };
        let found = self.comment_of_ours(pull, marker, &what).await?;
        let (method, place) = match &found {
            Some(id) => (Method::PATCH, format!("issues/comments/{id}")),
            None => (Method::POST, format!("issues/{pull}/comments")),
        };
        let written = self.ask(method, &place, Some(&body), &what).await?;
        Ok(Posted { url: written["html_url"].as_str().unwrap_or_default().to_owned(), again: found.is_some() })
    }

    /// The oldest comment that begins with the marker and is of whoever the token is: a marker in somebody else's proves nothing.
    async fn comment_of_ours(&self, pull: u64, marker: &str, what: &What) -> Result<Option<u64>, ForgeError> {
        let mut me: Option<Option<String>> = None;
        let mut first_of_last = None;
        for page in 1..=MOST_PAGES {
            // Gitea calls the size of a page `limit`, and gives all comments at once whatever is asked for.
            let place = format!("issues/{pull}/comments?per_page={PAGE}&limit={PAGE}&page={page}");
            let answer = self.ask(Method::GET, &place, None, what).await?;
            let comments = answer.as_array().map(Vec::as_slice).unwrap_or_default();
            let first = comments.first().and_then(|comment| comment["id"].as_u64());
            if first.is_none() || first == first_of_last {
                return Ok(None);
            }
            for comment in comments {
                if !comment["body"].as_str().is_some_and(|body| body.starts_with(marker)) {
                    continue;
                }
                if me.is_none() {
                    me = Some(self.me().await?);
                }
                if is_ours(comment, me.as_ref().and_then(Option::as_deref)) {
                    return Ok(comment["id"].as_u64());
                }
            }
            if comments.len() < PAGE {
                return Ok(None);
            }
            first_of_last = first;
        }
        Ok(None)
    }

    /// Whose the token is; none where it can't be asked (a workflow's own token).
    async fn me(&self) -> Result<Option<String>, ForgeError> {
        let what = What { does: "ask whose it is", missing: "user".to_owned() };
        let asked = self.send(self.client.request(Method::GET, self.at("user"))).await?;
        match self.answer(asked, &what).await {
            Ok(user) => Ok(user["login"].as_str().map(str::to_owned)),
            Err(error) if error.retryable() => Err(error),
            Err(_) => Ok(None),
        }
    }

    async fn ask(&self, method: Method, place: &str, body: Option<&Value>, what: &What) -> Result<Value, ForgeError> {
        let mut request = self.client.request(method, self.at(&format!("repos/{}/{place}", self.repository)));
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = self.send(request).await?;
        self.answer(answer, what).await
    }

    fn at(&self, place: &str) -> String {
        format!("{}/{place}", self.api.as_str().trim_end_matches('/'))
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, ForgeError> {
        let request = request
            .bearer_auth(self.token.expose_secret())
            .header(ACCEPT, "application/vnd.github+json, application/json")
            .header("X-GitHub-Api-Version", "2022-11-28");
        request.send().await.map_err(|error| {
            let host = self.api.host_str().unwrap_or_default();
            let why = if error.is_connect() { "can't be reached" } else { "was lost before it answered" };
            ForgeError::later(format!("the forge at {host} {why}"))
        })
    }

    async fn answer(&self, answer: Response, what: &What) -> Result<Value, ForgeError> {
        let (status, after) = (answer.status(), wait_of(answer.headers()));
        let limited = is_limited(answer.headers());
        // A forge that is away may send a page: what is no JSON says nothing.
        let body: Value = answer.json().await.unwrap_or_default();
        if status.is_success() {
            return Ok(body);
        }
        let message = body["message"].as_str().unwrap_or_default();
        let message = message.replace(self.token.expose_secret(), "…");
        let said = if message.is_empty() { String::new() } else { format!(": {}", cut(&message, REASON)) };
        Err(match status {
            StatusCode::UNAUTHORIZED => ForgeError::Unauthorized,
            // GitHub says 403 where others say 429.
            StatusCode::FORBIDDEN if limited => later(status, after),
            StatusCode::FORBIDDEN => ForgeError::Forbidden(what.does, said),
            StatusCode::NOT_FOUND | StatusCode::GONE => ForgeError::NotFound(what.missing.clone()),
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS | StatusCode::TOO_EARLY => later(status, after),
            status if status.is_server_error() => later(status, after),
            status if status.is_redirection() => ForgeError::Settings(format!(
                "{} has moved ({}): name where it is now",
                self.repository,
                status.as_u16()
            )),
            status => ForgeError::Refused(what.does, status.as_u16(), said),
        })
    }

    /// Tries again what may work later, with the waits that the forge asks for.
    async fn patiently<T>(&self, attempt: impl AsyncFn() -> Result<T, ForgeError>) -> Result<T, ForgeError> {
        let waits = ExponentialBuilder::default()
            .with_min_delay(self.first_wait)
            .with_max_delay(LONGEST_WAIT)
            .with_max_times(RETRIES)
            .with_jitter();
        (async || attempt().await)
            .retry(waits)
            .when(ForgeError::retryable)
            .adjust(|error, wait| match error {
                ForgeError::Later { after: Some(after), .. } => wait.map(|wait| wait.max((*after).min(LONGEST_WAIT))),
                _ => wait,
            })
            .notify(|error, wait| tracing::warn!(%error, wait_ms = wait.as_millis(), "asking the forge again"))
            .await
    }
}

/// What is asked, for errors.
struct What {
    does: &'static str,
    missing: String,
}

fn is_ours(comment: &Value, me: Option<&str>) -> bool {
    let user = &comment["user"];
    let login = user["login"].as_str().unwrap_or_default();
    match me {
        Some(me) => login.eq_ignore_ascii_case(me),
        None => ROBOTS.contains(&login) || user["type"] == "Bot",
    }
}

fn later(status: StatusCode, after: Option<Duration>) -> ForgeError {
    ForgeError::Later { reason: format!("the forge says later ({})", status.as_u16()), after }
}

/// How long a forge asks to be left alone.
fn wait_of(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

/// Whether a refusal is about too many requests.
fn is_limited(headers: &HeaderMap) -> bool {
    headers.contains_key(RETRY_AFTER) || headers.get("x-ratelimit-remaining").is_some_and(|left| left == "0")
}

/// What a forge said, in a line that a database keeps.
fn cut(text: &str, characters: usize) -> String {
    let text = text.replace(char::is_control, " ");
    if text.chars().count() <= characters {
        return text;
    }
    text.chars().take(characters - 1).chain(['…']).collect()
}

#[cfg(test)]
#[path = "forge_tests.rs"]
mod tests;
