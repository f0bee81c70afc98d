//! The page behind a message's unsubscribing link. Looking at it changes nothing: mail scanners open links too. The POST is what mail programs
//! send by themselves (RFC 8058), and what the page's button sends. In the language of the invite, else of the browser.
//!
//! Must not know: SQL text.

use askama::Template;
use axum::Router;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::get;
use serde::Deserialize;
use uuid::Uuid;

use super::html;
use super::texts::{Texts, texts_for};
use crate::api::ApiState;
use crate::outbox::unsubscribe;
use crate::store::invites;

#[derive(Template)]
#[template(path = "unsubscribe.html")]
struct Page<'a> {
    texts: &'static Texts,
    key: &'a str,
    state: PageState,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum PageState {
    Asked,
    Done,
    Unknown,
    Away,
}

#[derive(Deserialize)]
struct Link {
    #[serde(default)]
    key: String,
}

/// The page.
pub fn routes() -> Router<ApiState> {
    Router::new().route("/unsubscribe", get(show).post(carry_out))
}

/// The page with its button.
async fn show(State(state): State<ApiState>, headers: HeaderMap, Query(link): Query<Link>) -> Response {
    let invite = invite_of(&state, &link);
    let texts = texts_of(&state, invite, &headers).await;
    match invite {
        Some(_) => page(StatusCode::OK, texts, &link, PageState::Asked),
        None => page(StatusCode::NOT_FOUND, texts, &link, PageState::Unknown),
    }
}

/// Does it; doing it again changes nothing.
async fn carry_out(State(state): State<ApiState>, headers: HeaderMap, Query(link): Query<Link>) -> Response {
    let invite = invite_of(&state, &link);
    let texts = texts_of(&state, invite, &headers).await;
    let Some(invite) = invite else {
        return page(StatusCode::NOT_FOUND, texts, &link, PageState::Unknown);
    };
    let done = async {
        let mut tx = state.store.begin().await?;
        let known = invites::unsubscribe(&mut tx, &state.keys, invite, state.clock.now()).await?;
        tx.commit().await?;
        Ok::<_, crate::store::StoreError>(known)
    };
    match done.await {
        Ok(true) => page(StatusCode::OK, texts, &link, PageState::Done),
        Ok(false) => page(StatusCode::NOT_FOUND, texts, &link, PageState::Unknown),
        Err(error) => {
            tracing::warn!(error = %error, "somebody could not unsubscribe");
            page(StatusCode::SERVICE_UNAVAILABLE, texts, &link, PageState::Away)
        }
    }
}

fn invite_of(state: &ApiState, link: &Link) -> Option<Uuid> {
    unsubscribe::read(&state.keys.token, &link.key)
}

async fn texts_of(state: &ApiState, invite: Option<Uuid>, headers: &HeaderMap) -> &'static Texts {
    let invite = match invite {
        Some(id) => invites::get(&state.store, id).await.ok().flatten(),
        None => None,
    };
    texts_for(invite.as_ref().map(|invite| invite.locale.as_str()).filter(|locale| !locale.is_empty()), headers)
}

fn page(status: StatusCode, texts: &'static Texts, link: &Link, state: PageState) -> Response {
    html(status, &Page { texts, key: &link.key, state })
}
