//! What a controller that runs without an API answers on a port of its own: whether it lives, whether it can work, whether it leads.
//!
//! Must not know: what it works on. Nothing here changes anything or tells anything of a program, so nobody has to say who they are.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::Problem;
use crate::store::{Store, flags};

/// Whether a controller leads, as it says itself.
pub type Leads = Arc<dyn Fn() -> bool + Send + Sync>;

#[derive(Clone)]
struct Standing {
    store: Store,
    leads: Leads,
}

/// Answers at an address for as long as the process lives: `/healthz`, `/readyz`, `/metrics`.
///
/// # Errors
/// When the address can't be listened on.
pub async fn answer_for(address: SocketAddr, store: Store, leads: Leads) -> io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    let routes = router(store, leads);
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, routes).await {
            tracing::error!(%error, "the controller's health is no longer answered");
        }
    });
    Ok(())
}

fn router(store: Store, leads: Leads) -> Router {
    Router::new()
        .route("/healthz", get(async || Json(json!({ "status": "ok" }))))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(Standing { store, leads })
}

/// One that stands by is ready too: it can take over.
async fn readyz(State(standing): State<Standing>) -> Result<Json<Value>, Problem> {
    flags::newest_revision(&standing.store).await?;
    Ok(Json(json!({ "status": "ready", "leads": (standing.leads)() })))
}

async fn metrics(State(standing): State<Standing>) -> Response {
    let mut registry = Registry::with_prefix("betagate");
    let leads: Gauge = Gauge::default();
    leads.set(i64::from((standing.leads)()));
    registry.register("controller_leads", "Whether this controller is the one that works", leads);
    let mut text = String::new();
    match encode(&mut text, &registry) {
        Ok(()) => {
            ([("content-type", "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
