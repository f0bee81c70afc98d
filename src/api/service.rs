//! Health, readiness, metrics.

use std::sync::atomic::AtomicU64;

use axum::Json;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use jiff::{SignedDuration, Timestamp};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{ApiState, Problem};
use crate::desk::funnel;
use crate::store::{Store, flags, status};

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
    method: &'static str,
    route: String,
    status: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct FunnelLabels {
    program: String,
    cohort: String,
    step: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct LabelledFunnelLabels {
    program: String,
    cohort: String,
    label: String,
    step: &'static str,
}

/// Funnels are counted again when they are older than this: a scrape must not read a million invites each time.
const FUNNELS_EVERY: SignedDuration = SignedDuration::from_secs(60);
/// Cohorts that have series of their own.
const MOST_COHORTS: usize = 100;

/// The counters of one process.
pub struct Metrics {
    registry: Registry,
    funnels: Family<FunnelLabels, Gauge>,
    labelled_funnels: Family<LabelledFunnelLabels, Gauge>,
    /// When the funnels were counted; held while they are.
    funnels_at: Mutex<Option<Timestamp>>,
    requests: Family<RouteLabels, Counter>,
    refused: Family<ReasonLabels, Counter>,
    registered: Counter,
    events: Counter,
    flag_revision: Gauge<i64, std::sync::atomic::AtomicI64>,
    flag_age: Gauge<f64, AtomicU64>,
    /// Refusals that were listed, and those that were not.
    pub(super) knocks: super::knocks::Knocks,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("betagate"),
            funnels: Family::default(),
            labelled_funnels: Family::default(),
            funnels_at: Mutex::default(),
            requests: Family::default(),
            refused: Family::default(),
            registered: Counter::default(),
            events: Counter::default(),
            flag_revision: Gauge::default(),
            flag_age: Gauge::default(),
            knocks: super::knocks::Knocks::default(),
        };
        let registry = &mut metrics.registry;
        registry.register("http_requests", "Requests answered", metrics.requests.clone());
        registry.register("registrations_refused", "Registrations refused, by reason", metrics.refused.clone());
        registry.register("registrations", "People who registered", metrics.registered.clone());
        registry.register("events", "Product events taken in", metrics.events.clone());
        registry.register(
            "funnel_people",
            "People of a cohort who got so far: invited, sent, opened, used, active",
            metrics.funnels.clone(),
        );
        registry.register(
            "funnel_label_people",
            "The same for each of a cohort's largest labels",
            metrics.labelled_funnels.clone(),
        );
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

    /// Counts the funnels, where that is due. While the database is away, or another scrape counts, the last ones stand.
    async fn count_funnels(&self, store: &Store, now: Timestamp) {
        let Ok(mut counted_at) = self.funnels_at.try_lock() else { return };
        if counted_at.is_some_and(|at| now.duration_since(at).abs() < FUNNELS_EVERY) {
            return;
        }
        let found = match status::list(store, Some("Cohort")).await {
            Ok(mut cohorts) => {
                cohorts.truncate(MOST_COHORTS);
                funnel::of_cohorts(store, &cohorts, now).await
            }
            Err(error) => Err(error),
        };
        let found = match found {
            Ok(found) => found,
            Err(error) => return tracing::warn!(error = %error, "the funnels can't be counted"),
        };
        self.funnels.clear();
        self.labelled_funnels.clear();
        for one in found {
            let (program, cohort) = (&one.program, &one.cohort);
            for (step, count) in funnel::steps(&one.total) {
                let labels = FunnelLabels { program: program.clone(), cohort: cohort.clone(), step };
                self.funnels.get_or_create(&labels).set(count);
            }
            for (label, counts) in &one.labels {
                for (step, count) in funnel::steps(counts) {
                    let (program, cohort, label) = (program.clone(), cohort.clone(), label.clone());
                    let labels = LabelledFunnelLabels { program, cohort, label, step };
                    self.labelled_funnels.get_or_create(&labels).set(count);
                }
            }
        }
        *counted_at = Some(now);
    }

    pub(super) fn events(&self, count: u64) {
        self.events.inc_by(count);
    }
}

/// The method as a label. Whoever calls can make any word a method: one that no route has is `other`, so that nobody makes the series grow.
fn method_label(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}

/// Counts each request by its route, never by its path or query: those can hold codes.
pub async fn count(State(state): State<ApiState>, request: Request, next: Next) -> Response {
    let method = method_label(request.method());
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
    state.metrics.count_funnels(&state.store, state.clock.now()).await;
    let mut text = String::new();
    let parts = encode_registry(&mut text, &state.metrics.registry).and_then(|()| state.cache.counts.write(&mut text));
    match parts.and_then(|()| encode_eof(&mut text)) {
        Ok(()) => {
            ([("content-type", "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_that_no_route_has_makes_no_series_of_its_own() {
        assert_eq!(method_label(&Method::PUT), "PUT");
        for odd in ["BREW", "get", "PROPFIND", "X-1"] {
            assert_eq!(Method::from_bytes(odd.as_bytes()).as_ref().map(method_label).ok(), Some("other"));
        }
    }
}
