//! Calls of a program's http sources: a JSON body, posted under one `Idempotency-Key`. Redirects are not followed.
//!
//! Must not know: why a call is made, or where addresses are kept.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::{Client, StatusCode, redirect};
use serde_json::Value;

use super::{DeliveryError, Receipt, effect_digest};
use crate::signals::net::Endpoint;

/// How long one call may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// A call.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// What makes it the same call; sent along as `Idempotency-Key` and in the body as `key`, as a digest.
    pub effect_key: String,
    /// The path below the source's address.
    pub path: String,
    /// What is posted: a mapping.
    pub body: Value,
    /// When.
    pub at: Timestamp,
}

impl Call {
    /// Posts it.
    ///
    /// # Errors
    /// Later: not reached, or a fault over there. Never: refused. Uncertain: no answer. The address is never repeated.
    pub async fn deliver(mut self, endpoint: &Endpoint) -> Result<Receipt, DeliveryError> {
        let url = endpoint.below(&self.path).map_err(DeliveryError::never)?;
        let client = Client::builder().redirect(redirect::Policy::none()).timeout(PATIENCE).build();
        let client = client.map_err(|_| DeliveryError::never("the HTTP client can't be set up"))?;
        let key = effect_digest(&self.effect_key);
        self.body["key"] = Value::from(key.as_str());
        let request = endpoint.authorize(client.post(url)).header("Idempotency-Key", &key).json(&self.body);
        let name = endpoint.name();
        match request.send().await {
            Ok(answer) if answer.status().is_success() => Ok(Receipt {
                way: "http".to_owned(),
                reference: format!("{name} {}", answer.status().as_u16()),
                at: self.at,
            }),
            Ok(answer) => Err(refusal(name, answer.status())),
            Err(error) if error.is_connect() => Err(DeliveryError::later(format!("source {name} cannot be reached"))),
            // The error's own words hold the address.
            Err(_) => Err(DeliveryError::Uncertain { reason: format!("source {name} was lost before it answered") }),
        }
    }
}

fn refusal(name: &str, status: StatusCode) -> DeliveryError {
    let passing =
        status.is_server_error() || matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS);
    let said = format!("source {name} answered {}", status.as_u16());
    if passing { DeliveryError::later(said) } else { DeliveryError::never(said) }
}
