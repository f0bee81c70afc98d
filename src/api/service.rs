//! Health, readiness, metrics.

use std::sync::atomic::AtomicU64;

use axum::Json;
use axum::extract::{MatchedPath, Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{ApiState, Problem};
use crate::store::flags;

pub fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(healthz))
        .routes(routes!(health))
        .routes(routes!(readyz))
        .routes(routes!(metrics))
        .route("/v1/auth/health", axum::routing::get(readyz))
        .route("/v1/events/health", axum::routing::get(readyz))
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RouteLabels {
    method: String,
    route: String,
    status: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

/// The counters of one process.
pub struct Metrics {
    registry: Registry,
    requests: Family<RouteLabels, Counter>,
    refused: Family<ReasonLabels, Counter>,
    registered: Counter,
    events: Counter,
    flag_revision: Gauge<i64, std::sync::atomic::AtomicI64>,
    flag_age: Gauge<f64, AtomicU64>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("betagate"),
            requests: Family::default(),
            refused: Family::default(),
            registered: Counter::default(),
            events: Counter::default(),
            flag_revision: Gauge::default(),
            flag_age: Gauge::default(),
        };
        let registry = &mut metrics.registry;
        registry.register("http_requests", "Requests answered", metrics.requests.clone());
        registry.register("registrations_refused", "Registrations refused, by reason", metrics.refused.clone());
        registry.register("registrations", "People who registered", metrics.registered.clone());
        registry.register("events", "Product events taken in", metrics.events.clone());
        registry.register("flag_revision", "The flag snapshot that is served", metrics.flag_revision.clone());
        registry.register(
            "flag_age_seconds",
            "How long ago the database last said which one is the newest",
            metrics.flag_age.clone(),
        );
        metrics
    }
}

impl Metrics {
    pub(super) fn registered(&self) {
        self.registered.inc();
    }

    pub(super) fn refused(&self, reason: &'static str) {
        self.refused.get_or_create(&ReasonLabels { reason }).inc();
    }

    pub(super) fn events(&self, count: u64) {
        self.events.inc_by(count);
    }
}

/// Counts each request by its route, never by its path or query: those can hold codes.
pub async fn count(State(state): State<ApiState>, request: Request, next: Next) -> Response {
    let method = request.method().to_string();
    let route =
        request.extensions().get::<MatchedPath>().map_or_else(|| "none".to_owned(), |path| path.as_str().to_owned());
    let response = next.run(request).await;
    let labels = RouteLabels { method, route, status: response.status().as_u16() };
    state.metrics.requests.get_or_create(&labels).inc();
    response
}

/// The process lives.
#[utoipa::path(get, path = "/healthz", tag = "service", responses((status = 200, description = "It lives")))]
async fn healthz() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

/// The process and its database live.
#[utoipa::path(get, path = "/api/v1/health", tag = "service", responses((status = 200, description = "ok, or degraded while the database is away")))]
async fn health(State(state): State<ApiState>) -> Json<Value> {
    let status = if flags::newest_revision(&state.store).await.is_ok() { "ok" } else { "degraded" };
    Json(json!({ "status": status }))
}

/// The process can do all it is for.
#[utoipa::path(get, path = "/readyz", tag = "service", responses((status = 200, description = "Ready"), (status = 503, description = "The database is away")))]
async fn readyz(State(state): State<ApiState>) -> Result<Json<Value>, Problem> {
    let newest = flags::newest_revision(&state.store).await?;
    Ok(Json(json!({ "status": "ready", "flagRevision": state.cache.served().revision, "newestFlagRevision": newest })))
}

/// Counters for Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "service", responses((status = 200, description = "OpenMetrics text")))]
async fn metrics(State(state): State<ApiState>) -> Response {
    let served = state.cache.served();
    state.metrics.flag_revision.set(served.revision);
    state.metrics.flag_age.set(state.cache.age().as_secs_f64());
    let mut text = String::new();
    let parts = encode_registry(&mut text, &state.metrics.registry).and_then(|()| state.cache.counts.write(&mut text));
    match parts.and_then(|()| encode_eof(&mut text)) {
        Ok(()) => {
            ([("content-type", "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
