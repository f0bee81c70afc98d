//! Word of changes to clients, as server-sent events: they only say that it is time to ask again.
//!
//! Must not know: flags.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use data_encoding::BASE64URL_NOPAD;
use futures_util::stream::{self, StreamExt as _};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use subtle::ConstantTimeEq as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::answers::Refusal;
use super::{OfrepState, etag};
use crate::api::flags_cache::Served;
use crate::keys::Keys;

/// Streams open at once in one process; a further one is asked to come later, and polls meanwhile.
const STREAMS: usize = 10_000;
/// A client that has heard nothing for so long connects again.
const INACTIVITY_SECONDS: u64 = 120;
/// A comment keeps proxies from closing an idle stream.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// How long a signed address is handed out; it is good for one period more.
const PERIOD_SECONDS: i64 = 3600;

/// The event streams that are open, and whether the process is ending.
#[derive(Clone)]
pub struct Streams {
    open: Arc<Semaphore>,
    ending: watch::Receiver<bool>,
}

impl Streams {
    /// None open; all end when `ending` says so.
    pub fn new(ending: watch::Receiver<bool>) -> Self {
        Self { open: Arc::new(Semaphore::new(STREAMS)), ending }
    }

    async fn ended(&self) {
        // Nobody left to say so: it never does.
        if self.ending.clone().wait_for(|ending| *ending).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// The period for which an address is signed now: it changes with the signature, so that a client with an old address is given a new one;
/// 0 where none is needed.
pub(super) fn period(state: &OfrepState, now: Timestamp) -> u64 {
    if state.access.is_open() { 0 } else { now.as_second().div_euclid(PERIOD_SECONDS).unsigned_abs() }
}

/// Where whoever was just answered from `served` hears of changes. The address says from what, so that a change in between is told at once.
pub(super) fn described(state: &OfrepState, served: &Served, now: Timestamp) -> Value {
    let mut uri = format!("/ofrep/v1/events?since={}", served.revision);
    if !state.access.is_open() {
        let until = (now.as_second().div_euclid(PERIOD_SECONDS) + 2) * PERIOD_SECONDS;
        uri.push_str(&format!("&until={until}&signature={}", signature(&state.keys, until)));
    }
    json!([{ "type": "sse", "endpoint": { "requestUri": uri }, "inactivityDelaySec": INACTIVITY_SECONDS }])
}

fn signature(keys: &Keys, until: i64) -> String {
    BASE64URL_NOPAD.encode(&keys.token.hash(format!("event stream\0{until}").as_bytes()))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Asked {
    since: Option<i64>,
    until: Option<i64>,
    signature: Option<String>,
}

/// `GET /ofrep/v1/events`: an event for each change, at once for one that came after `since` (or `Last-Event-ID`). A slow reader is told
/// of the newest change only; what it does not read holds nobody up.
pub(super) async fn events(
    State(state): State<OfrepState>,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
) -> Response {
    if let Err(refusal) = may_listen(&state, &asked, &headers).await {
        return refusal.respond(None);
    }
    let Ok(permit) = state.streams.open.clone().try_acquire_owned() else {
        return Refusal::later("too many streams are open here", 30).respond(None);
    };
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok()).and_then(etag::revision);
    let known = last.or(asked.since).unwrap_or_else(|| state.cache.served().revision);
    let told = Told { changes: state.cache.changes(), known, state, _permit: permit };
    let stream = stream::unfold(told, Told::next).map(Ok::<_, Infallible>);
    Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response()
}

async fn may_listen(state: &OfrepState, asked: &Asked, headers: &HeaderMap) -> Result<(), Refusal> {
    if let (Some(until), Some(sent)) = (asked.until, &asked.signature) {
        let good: bool = signature(&state.keys, until).as_bytes().ct_eq(sent.as_bytes()).into();
        return if good && state.clock.now().as_second() < until {
            Ok(())
        } else {
            Err(Refusal::new(
                StatusCode::UNAUTHORIZED,
                "GENERAL",
                "the address has run out; ask for all flags to get a new one".to_owned(),
            ))
        };
    }
    state.access.check(headers, &state.clock).await
}

struct Told {
    state: OfrepState,
    changes: watch::Receiver<i64>,
    known: i64,
    _permit: OwnedSemaphorePermit,
}

impl Told {
    /// The next event: another configuration, or a scheduled change of the one that is served. None when the process ends.
    async fn next(mut self) -> Option<(Event, Self)> {
        let known = self.known;
        let clock = self.state.clock.clone();
        let boundary = self.state.cache.served().flags.next_boundary(clock.now());
        let newer = tokio::select! {
            newer = self.changes.wait_for(|revision| *revision != known) => *newer.ok()?,
            () = clock.sleep_until(boundary.unwrap_or(Timestamp::MAX)), if boundary.is_some() => known,
            () = self.state.streams.ended() => return None,
        };
        self.known = newer;
        let served = self.state.cache.served();
        let tag = etag::of_configuration(&served);
        let word = json!({ "type": "refetchEvaluation", "etag": tag, "lastModified": served.published_at.as_second() });
        Some((Event::default().id(tag).event("message").data(word.to_string()), self))
    }
}
