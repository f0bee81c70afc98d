//! All flags for one person: from one snapshot, at least as fresh as asked, and not evaluated when the client has the answer already.
//!
//! Must not know: how a flag is evaluated.

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use betagate_core::flags::Asker;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::answers::{Refusal, json_response};
use super::counts::Counts;
use super::request::{self, Freshness};
use super::{OfrepState, etag, events};
use crate::api::flags_cache::Served;

pub(super) async fn bulk(
    state: &OfrepState,
    uri: &Uri,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<Response, Refusal> {
    state.access.check(headers, &state.clock).await?;
    let fresh = Freshness::of(uri)?;
    caught_up(state, &fresh).await?;
    let (served, members, now) = (state.cache.served(), state.cache.members(), state.clock.now());
    let context = request::context(body, served.flags.all_reads())?;
    let asker = Asker::new(&context, &members);
    let period = events::period(state, now);
    // A rule that reads the clock may answer otherwise by now, so the tag follows from the answer.
    let tag =
        (!served.flags.reads_clock()).then(|| etag::of_person(&served, &context, asker, served.flags.era(now), period));
    if let Some(tag) = &tag
        && is_known(headers, tag)
    {
        state.cache.counts.unchanged.inc();
        return Ok(tagged(StatusCode::NOT_MODIFIED.into_response(), tag));
    }
    let flags = evaluated(&served, asker, now, &state.cache.counts);
    let tag = tag.unwrap_or_else(|| format!("\"{}\"", &data_encoding::HEXLOWER.encode(&Sha256::digest(&flags))[..32]));
    if is_known(headers, &tag) {
        state.cache.counts.unchanged.inc();
        return Ok(tagged(StatusCode::NOT_MODIFIED.into_response(), &tag));
    }
    let mut metadata = json!({ "version": served.source_revision, "revision": served.revision });
    if let Some(seconds) = state.cache.stale_seconds() {
        metadata["betagate.staleSeconds"] = json!(seconds);
    }
    state.cache.counts.bulk.inc();
    let mut whole = flags;
    whole.extend_from_slice(b",\"metadata\":");
    whole.extend_from_slice(metadata.to_string().as_bytes());
    whole.extend_from_slice(b",\"eventStreams\":");
    whole.extend_from_slice(events::described(state, &served, now).to_string().as_bytes());
    whole.push(b'}');
    Ok(tagged(json_response(StatusCode::OK, whole), &tag))
}

/// `{"flags":[…]`: one flag's error never fails the others.
fn evaluated(served: &Served, asker: Asker<'_>, now: jiff::Timestamp, counts: &Counts) -> Vec<u8> {
    let mut text = Vec::with_capacity(served.flags.keys().len() * 192 + 256);
    text.extend_from_slice(b"{\"flags\":[");
    for (place, key) in served.flags.keys().iter().enumerate() {
        if place > 0 {
            text.push(b',');
        }
        match served.flags.evaluate_at(place, asker, now) {
            Ok(answer) => text.extend_from_slice(served.answers.give((place, key), &answer, counts)),
            Err(error) => {
                let refusal = Refusal::from(&error).counted(counts);
                text.extend_from_slice(refusal.body(Some(key)).to_string().as_bytes());
            }
        }
    }
    text.push(b']');
    text
}

/// Waits until what is served is as fresh as an event said; never answers with what is older.
async fn caught_up(state: &OfrepState, fresh: &Freshness) -> Result<(), Refusal> {
    let revision = fresh.flag_config_etag.as_deref().and_then(etag::revision);
    let published = fresh.flag_config_last_modified;
    let is_fresh = || {
        let served = state.cache.served();
        revision.is_none_or(|wanted| served.revision >= wanted)
            && published.is_none_or(|wanted| served.published_at.as_second() >= wanted)
    };
    if is_fresh() {
        return Ok(());
    }
    let mut changes = state.cache.changes();
    match tokio::time::timeout(state.patience, changes.wait_for(|_| is_fresh())).await {
        Ok(Ok(_)) => Ok(()),
        _ => Err(Refusal::later("the configuration that was asked for has not arrived here yet", 1)),
    }
}

fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    let known = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    known.is_some_and(|known| {
        known.split(',').map(str::trim).any(|known| known.trim_start_matches("W/") == tag || known == "*")
    })
}

fn tagged(mut response: Response, tag: &str) -> Response {
    if let Ok(tag) = HeaderValue::from_str(tag) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}
