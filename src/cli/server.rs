//! A server that commands are sent to.
//!
//! Must not know: what a command asks. The token never appears in an error.

use std::io::ErrorKind;
use std::time::Duration;

use reqwest::StatusCode;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use url::Url;

use super::CliError;
use crate::desk::Request;

/// How long a server may take.
const PATIENCE: Duration = Duration::from_secs(30);
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// Where it is, and what it asks for.
pub(super) struct Server {
    pub url: Url,
    pub token: Option<SecretString>,
}

impl Server {
    pub(super) async fn ask(&self, request: &Request) -> Result<Value, CliError> {
        let http = reqwest::Client::builder().timeout(PATIENCE).connect_timeout(CONNECT_WITHIN).no_proxy().build();
        let address = self.url.join("/v1/admin/desk").map_err(CliError::failed)?;
        let mut asked = http.map_err(CliError::failed)?.post(address).json(request);
        if let Some(token) = &self.token {
            asked = asked.bearer_auth(token.expose_secret());
        }
        let answer = asked.send().await.map_err(|error| self.unreachable(&error))?;
        let status = answer.status();
        let body: Value = answer.json().await.unwrap_or_default();
        if status.is_success() {
            return Ok(body);
        }
        let why = body["detail"].as_str().map_or_else(|| format!("the server answered {status}"), str::to_owned);
        Err(match status {
            StatusCode::BAD_REQUEST => CliError::Usage(why),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                CliError::Failed(format!("{} refuses: {why} (--token, --token-file)", self.url))
            }
            _ => CliError::Failed(why),
        })
    }

    fn unreachable(&self, error: &reqwest::Error) -> CliError {
        CliError::Failed(format!("{}: {}", self.url, why(error)))
    }
}

/// Why a server was not reached, or did not answer as one.
fn why(error: &reqwest::Error) -> &'static str {
    let causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    let (mut io, mut words) = (None, String::new());
    for cause in causes {
        io = cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind).or(io);
        words += &format!(" {cause}").to_lowercase();
    }
    match io {
        _ if error.is_timeout() => "it does not answer in time",
        Some(ErrorKind::ConnectionRefused) => "nothing listens there",
        Some(ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable) => "there is no way to it from here",
        _ if words.contains("dns") || words.contains("lookup") => "there is no host of that name",
        _ if words.contains("certificate") => "its certificate is not one that is trusted here",
        _ if words.contains("tls") || words.contains("corrupt message") => "it does not speak TLS: is it http://?",
        _ if error.is_connect() => "the connection can't be made",
        _ => "what answers there is no betagate, or it broke the connection off",
    }
}
