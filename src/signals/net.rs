//! One bounded way to ask a named source over HTTP: its own host only, a deadline, a limit on the body, retries.
//!
//! Must not know: what the answers mean. No address is ever logged or put into an error: it may carry credentials.

use std::error::Error as _;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};
use reqwest::redirect::{Attempt, Policy};
use reqwest::{Client, RequestBuilder, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

/// The largest body that is read.
const BODY_LIMIT_BYTES: usize = 1024 * 1024;
/// How many redirects are followed, all on the same host.
const REDIRECTS: usize = 3;
/// How often a call is tried again within its deadline.
const RETRIES: usize = 4;

/// A named place that answers over HTTP.
#[derive(Clone)]
pub struct Endpoint {
    name: String,
    base: Url,
    user: Option<(String, SecretString)>,
    token: Option<SecretString>,
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Endpoint({})", self.name)
    }
}

impl Endpoint {
    /// A source by its address (`http` or `https`; user and password in it are sent as basic authentication) and an optional
    /// bearer token.
    ///
    /// # Errors
    /// In words that do not repeat the address.
    pub fn new(name: &str, address: &str, token: Option<SecretString>) -> Result<Self, String> {
        let mut base = Url::parse(address.trim()).map_err(|_| format!("source {name}: its address cannot be read"))?;
        if !matches!(base.scheme(), "http" | "https") || !base.has_host() {
            return Err(format!("source {name}: its address must start with http:// or https://"));
        }
        let user = (!base.username().is_empty() || base.password().is_some())
            .then(|| (decoded(base.username()), decoded(base.password().unwrap_or_default()).into()));
        // Neither fails on an address with a host.
        let _ = base.set_username("");
        let _ = base.set_password(None);
        base.set_query(None);
        base.set_fragment(None);
        Ok(Self { name: name.to_owned(), base, user, token })
    }

    /// The source's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A request with what this source is told of who asks.
    pub fn authorize(&self, mut request: RequestBuilder) -> RequestBuilder {
        if let Some((user, password)) = &self.user {
            request = request.basic_auth(user, Some(password.expose_secret()));
        }
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.expose_secret());
        }
        request
    }

    /// The address of a path (with its query, if any) below this source's address.
    ///
    /// # Errors
    /// When the path leads away from it.
    pub fn below(&self, path: &str) -> Result<Url, String> {
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
        if !path.is_empty() && !path.starts_with('/') {
            return Err("the path must start with /".into());
        }
        let root = self.base.path().trim_end_matches('/').to_owned();
        let mut url = self.base.clone();
        url.set_path(&format!("{root}{path}"));
        url.set_query(query);
        let inside = url.path() == root || url.path().starts_with(&format!("{root}/"));
        if inside { Ok(url) } else { Err("the path leads out of the source's address".into()) }
    }
}

fn decoded(part: &str) -> String {
    // `form_urlencoded` also turns + into a space, which userinfo does not mean.
    let escaped = part.replace('+', "%2B");
    url::form_urlencoded::parse(format!("v={escaped}").as_bytes())
        .next()
        .map_or_else(String::new, |(_, value)| value.into_owned())
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The whole body.
    pub body: Vec<u8>,
}

/// The HTTP client of all sources.
#[derive(Clone, Debug)]
pub struct Net {
    client: Client,
    deadline: Duration,
}

enum Failure {
    /// It may go better the next time; the answer, if there was one.
    Retry(String, Option<Answer>),
    Final(String),
}

impl Net {
    /// A client whose every call, retries included, is over after `deadline`. The process's TLS provider must be installed.
    ///
    /// # Errors
    /// When the client cannot be built (no TLS provider, no root certificates).
    pub fn new(deadline: Duration) -> Result<Self, String> {
        let client = Client::builder()
            .user_agent(concat!("betagate/", env!("CARGO_PKG_VERSION")))
            .redirect(Policy::custom(same_host))
            .connect_timeout(deadline / 2)
            .timeout(deadline / 2)
            .build()
            .map_err(|error| format!("no HTTP client: {}", rooted(&error)))?;
        Ok(Self { client, deadline })
    }

    /// Gets `url`, which must come from [`Endpoint::below`] of the same endpoint. Connections that fail, timeouts and 429, 502,
    /// 503 and 504 are tried again with backoff and jitter until the deadline; the last such answer is given back as it is.
    ///
    /// # Errors
    /// In words that do not repeat the address.
    pub async fn get(&self, endpoint: &Endpoint, url: &Url) -> Result<Answer, String> {
        let backoff = ExponentialBuilder::default()
            .with_jitter()
            .with_min_delay(Duration::from_millis(100))
            .with_max_delay(Duration::from_secs(2))
            .with_max_times(RETRIES);
        let tries = (|| self.once(endpoint, url)).retry(backoff).when(|failure| matches!(failure, Failure::Retry(..)));
        match tokio::time::timeout(self.deadline, tries).await {
            Ok(Ok(answer) | Err(Failure::Retry(_, Some(answer)))) => Ok(answer),
            Ok(Err(Failure::Retry(why, None) | Failure::Final(why))) => Err(why),
            Err(_) => Err(format!("no answer within {:?}", self.deadline)),
        }
    }

    async fn once(&self, endpoint: &Endpoint, url: &Url) -> Result<Answer, Failure> {
        let request = endpoint.authorize(self.client.get(url.clone()).header("accept", "application/json"));
        let mut response = request.send().await.map_err(|error| failure(&error))?;
        let status = response.status();
        if status.is_redirection() {
            return Err(Failure::Final("it redirects to another host, or too often".into()));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| failure(&error))? {
            if body.len() + chunk.len() > BODY_LIMIT_BYTES {
                return Err(Failure::Final(format!("the answer is larger than {BODY_LIMIT_BYTES} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        let answer = Answer { status, body };
        if matches!(status.as_u16(), 429 | 502..=504) {
            return Err(Failure::Retry(format!("answered {}", status.as_u16()), Some(answer)));
        }
        Ok(answer)
    }
}

/// Follows a redirect on the same host only, and never from https to http.
fn same_host(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    let follow = attempt.previous().len() <= REDIRECTS
        && attempt.previous().first().is_some_and(|first| {
            let down = first.scheme() == "https" && attempt.url().scheme() != "https";
            let port = first.scheme() == attempt.url().scheme()
                && first.port_or_known_default() != attempt.url().port_or_known_default();
            first.host() == attempt.url().host() && !down && !port
        });
    if follow { attempt.follow() } else { attempt.stop() }
}

fn failure(error: &reqwest::Error) -> Failure {
    let why = rooted(error);
    if error.is_builder() { Failure::Final(why) } else { Failure::Retry(why, None) }
}

/// What is wrong in a few words: the kind, and the operating system's own words where there are any. Never the address.
fn rooted(error: &reqwest::Error) -> String {
    let kind = match error {
        e if e.is_timeout() => "timed out",
        e if e.is_connect() => "cannot connect",
        e if e.is_body() || e.is_decode() => "the answer broke off",
        e if e.is_builder() => "the request cannot be made",
        _ => "the connection failed",
    };
    let mut cause = error.source();
    while let Some(inner) = cause {
        if let Some(io) = inner.downcast_ref::<std::io::Error>() {
            return format!("{kind} ({})", io.kind());
        }
        cause = inner.source();
    }
    kind.to_owned()
}
