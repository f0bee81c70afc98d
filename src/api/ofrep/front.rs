//! Evaluation, in front of every route: what SDKs ask for a thousand times a second passes no router, no middleware, no copy of its headers.
//! Everything else goes on to the routes.
//!
//! Must not know: how a flag is evaluated.

use std::borrow::Cow;
use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::BoxError;
use axum::body::{Body, Bytes, HttpBody};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use axum::response::Response;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tower::Service;

use super::answers::{Refusal, json_response};
use super::{EXPOSED, MAX_BODY, OfrepState, bulk, single};

const EVALUATE: &str = "/ofrep/v1/evaluate/flags";
/// How long a client may take to send its context.
const BODY_WITHIN: Duration = Duration::from_secs(10);

/// Answers evaluations, and hands everything else to `rest`.
#[derive(Clone)]
pub struct Front<S> {
    state: Arc<OfrepState>,
    rest: S,
}

impl<S> Front<S> {
    /// In front of `rest`.
    pub fn new(state: OfrepState, rest: S) -> Self {
        Self { state: Arc::new(state), rest }
    }
}

impl<S, B> Service<Request<B>> for Front<S>
where
    S: Service<Request<Body>, Response = Response, Error = Infallible>,
    S::Future: Send + 'static,
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        let Ok(()) = ready!(self.rest.poll_ready(cx));
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let asked = request.uri().path().strip_prefix(EVALUATE);
        if request.method() != Method::POST || !asked.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
            return Box::pin(self.rest.call(request.map(Body::new)));
        }
        let state = self.state.clone();
        Box::pin(async move {
            let elsewhere = request.headers().contains_key(header::ORIGIN);
            // One request's panic is no other's: the connection goes on.
            let answered = AssertUnwindSafe(answer(&state, request)).catch_unwind().await;
            let mut response = answered.unwrap_or_else(|_| {
                Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "GENERAL", "the flag can't be evaluated".to_owned())
                    .respond(None)
            });
            if elsewhere {
                allow_elsewhere(response.headers_mut());
            }
            Ok(response)
        })
    }
}

async fn answer<B>(state: &OfrepState, request: Request<B>) -> Response
where
    B: HttpBody<Data = Bytes, Error: Into<BoxError>>,
{
    let (parts, body) = request.into_parts();
    let asked = parts.uri.path()[EVALUATE.len()..].strip_prefix('/');
    let key = asked.map(key);
    let body = match received(body).await {
        Ok(body) => body,
        Err(refusal) => return refusal.counted(&state.cache.counts).respond(key.flatten().as_deref().or(asked)),
    };
    match key {
        None => match bulk::bulk(state, &parts.uri, &parts.headers, &body).await {
            Ok(response) => response,
            Err(refusal) => refusal.counted(&state.cache.counts).respond(None),
        },
        Some(None) => Refusal::new(StatusCode::BAD_REQUEST, "PARSE_ERROR", "the flag's key is not readable".to_owned())
            .counted(&state.cache.counts)
            .respond(asked),
        Some(Some(key)) => match single(state, &key, &parts.headers, &body).await {
            Ok(answer) => json_response(StatusCode::OK, answer),
            Err(refusal) => refusal.counted(&state.cache.counts).respond(Some(&key)),
        },
    }
}

/// A key as it was sent: some clients encode it, some do not. None when it is no text.
fn key(path: &str) -> Option<Cow<'_, str>> {
    percent_encoding::percent_decode_str(path).decode_utf8().ok()
}

async fn received<B>(body: B) -> Result<Bytes, Refusal>
where
    B: HttpBody<Data = Bytes, Error: Into<BoxError>>,
{
    let mut collecting = std::pin::pin!(Limited::new(body, MAX_BODY).collect());
    // Most bodies are there already: only one that is not needs a timer.
    let collected = match futures_util::poll!(&mut collecting) {
        Poll::Ready(collected) => collected,
        Poll::Pending => tokio::time::timeout(BODY_WITHIN, collecting).await.map_err(|_| {
            Refusal::new(StatusCode::REQUEST_TIMEOUT, "GENERAL", "the request did not arrive in time".to_owned())
        })?,
    };
    let failed = |error: BoxError| {
        if error.is::<LengthLimitError>() {
            let details = format!("the request is larger than {MAX_BODY} bytes");
            return Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "GENERAL", details);
        }
        Refusal::new(StatusCode::BAD_REQUEST, "PARSE_ERROR", "the request did not arrive whole".to_owned())
    };
    collected.map(http_body_util::Collected::to_bytes).map_err(failed)
}

/// A page of any origin may read the answer; the routes behind say the same by their layer.
fn allow_elsewhere(headers: &mut HeaderMap) {
    const ALL: HeaderValue = HeaderValue::from_static("*");
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, ALL);
    let exposed = EXPOSED.map(|name: HeaderName| name.to_string()).join(",");
    if let Ok(exposed) = HeaderValue::from_str(&exposed) {
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    }
}
