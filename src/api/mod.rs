//! The HTTP API: axum routers, one file a resource; authentication; problem documents.
//!
//! Must not know: SQL text.

#![allow(unused_qualifications, reason = "utoipa's path macro repeats the types of parameters")]

mod accounts;
mod admin;
mod alert_hooks;
mod auth;
mod codes;
mod desk;
mod doors;
mod events;
mod explain;
pub mod flags_cache;
pub mod groups;
mod hooks;
mod invites;
mod knocks;
mod limits;
mod links;
mod mail_hooks;
pub mod ofrep;
mod once;
mod openapi;
mod ops;
mod privacy;
mod problem;
mod repeatable;
mod serve;
mod service;
mod standing;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use secrecy::SecretString;
use serde_json::Value;
use tokio::sync::{Semaphore, watch};
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use crate::clock::Clock;
use crate::keys::Keys;
use crate::store::Store;
use flags_cache::FlagsCache;
use ofrep::Front;

pub use accounts::hash;
pub use auth::token_digest;
#[cfg(test)]
pub use doors::refusal_word;
pub use doors::{Entered, Register, ask_for_link, let_in};
pub use limits::{Limits, Rate, Rates, Source};
pub use links::Links;
pub use problem::Problem;
pub use serve::{ServeSettings, serve_child};
pub use service::Metrics;
pub use standing::{Leads, answer_for};

/// A larger request is refused, events aside.
const MAX_BODY: usize = 1 << 20;

/// What every route works with. Cheap to clone.
#[derive(Clone)]
pub struct ApiState {
    /// The database.
    pub store: Store,
    /// The time.
    pub clock: Clock,
    /// The keys.
    pub keys: Arc<Keys>,
    /// What flags are served from.
    pub cache: Arc<FlagsCache>,
    /// The SHA-256 of the administration token.
    pub admin_token: Option<[u8; 32]>,
    /// What signs `POST /hooks/git`.
    pub hook_secret: Option<SecretString>,
    /// What signs `POST /hooks/mail`.
    pub mail_hook_secret: Option<SecretString>,
    /// What opens the doors to alerting systems.
    pub alert_hooks: AlertHooks,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Who may read flags.
    pub flag_access: ofrep::Access,
    /// Says that the process is ending.
    pub ending: watch::Receiver<bool>,
    /// Password hashes under way: each takes 19 MiB.
    pub hashing: Arc<Semaphore>,
    /// How often the doors may be tried.
    pub limits: Arc<Limits>,
    /// Where one asks for a new link.
    pub links: Links,
}

/// The secrets of alerting systems; without one, its door stays shut.
#[derive(Clone, Debug, Default)]
pub struct AlertHooks {
    /// The token of `POST /hooks/alertmanager`.
    pub alertmanager: Option<SecretString>,
    /// What signs `POST /hooks/pagerduty`.
    pub pagerduty: Option<SecretString>,
}

#[derive(OpenApi)]
#[openapi(info(
    title = "betagate",
    description = "Beta programs as code: accounts, invites, events, privacy, flags, administration. Errors are problem documents (RFC 9457)."
))]
struct Description;

/// All that is served: evaluation in front, every route behind it.
pub fn service(state: ApiState) -> Front<Router> {
    let (flags, routes, _) = parts(state);
    Front::new(flags, routes)
}

/// What evaluates flags, the routes behind it, and the description of all of it.
fn parts(state: ApiState) -> (ofrep::OfrepState, Router, Arc<Value>) {
    let flags = ofrep::OfrepState {
        cache: state.cache.clone(),
        clock: state.clock.clone(),
        access: state.flag_access.clone(),
        keys: state.keys.clone(),
        streams: ofrep::Streams::new(state.ending.clone()),
        patience: ofrep::PATIENCE,
    };
    let administration = OpenApiRouter::new()
        .merge(admin::routes())
        .merge(invites::routes())
        .merge(codes::routes())
        .merge(desk::routes())
        .merge(events::administration())
        .merge(ops::routes())
        .merge(privacy::administration())
        .route_layer(axum::middleware::from_fn_with_state(state.clone(), once::once));
    let described = OpenApiRouter::with_openapi(Description::openapi())
        .merge(accounts::routes())
        .merge(alert_hooks::routes())
        .merge(doors::routes())
        .merge(administration)
        .merge(events::routes())
        .merge(explain::routes())
        .merge(hooks::routes())
        .merge(mail_hooks::routes())
        .merge(privacy::routes())
        .merge(service::routes());
    let (routes, description) = described.split_for_parts();
    let description = Arc::new(openapi::complete(&description));
    let told = description.clone();
    let routes = routes
        .route("/openapi.json", axum::routing::get(move || async move { axum::Json((*told).clone()) }))
        .merge(crate::pages::routes())
        .layer(axum::middleware::from_fn_with_state(state.clone(), service::count))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(state)
        .merge(ofrep::router(flags.clone()))
        .layer(CatchPanicLayer::new())
        .layer(axum::middleware::map_response(problem::in_our_form));
    (flags, routes, description)
}

/// How many password hashes one process computes at once.
pub(crate) const HASHES_AT_ONCE: usize = 2;
/// How long one request waits for its turn to hash.
pub(crate) const HASH_PATIENCE: Duration = Duration::from_secs(20);
