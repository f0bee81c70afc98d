//! Operations by hand: taking events in is paused, and goes on (seed 000, "Rollback / safety levers").
//!
//! Must not know: what a rollback pauses. Its pause is its own, and goes when it is lifted.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use betagate_core::decide::BY_HAND;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::auth::Admin;
use super::{ApiState, Problem};
use crate::store::{Tx, audit, steps};

pub fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(pause)).routes(routes!(resume))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Pause {
    /// Why: whoever sends events meanwhile is told.
    reason: String,
    /// The program; the only one when left out.
    program: Option<String>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Resume {
    /// The program; the only one when left out.
    program: Option<String>,
}

/// Pauses the intake of product events of a program. They are answered with 503 and sent again later; nothing is lost.
#[utoipa::path(post, path = "/v1/admin/ops/ingestion/pause", tag = "administration", request_body = Pause,
    responses((status = 200, description = "Who holds it now, and why"), (status = 400, description = "Without a reason")))]
async fn pause(
    State(state): State<ApiState>,
    admin: Admin,
    Json(Pause { reason, program }): Json<Pause>,
) -> Result<Json<Value>, Problem> {
    if reason.trim().is_empty() {
        return Err(Problem::bad("say why: whoever sends events is told"));
    }
    let program = super::admin::program(&state, program).await?;
    let (now, holder) = (state.clock.now(), format!("{BY_HAND}{}", admin.actor));
    let mut tx = state.store.begin().await?;
    let pause = steps::Pause { holder, reason: reason.clone(), since: now };
    if steps::pause(&mut tx, &program, &pause).await? {
        tell(&mut tx, (&program, &admin.actor), "ingestion.paused", json!({ "reason": reason }), now).await?;
    }
    tx.commit().await?;
    Ok(Json(held(&state, &program).await?))
}

/// Lets events in again: lifts every pause by hand. The pause of a rollback stays until that is lifted.
#[utoipa::path(post, path = "/v1/admin/ops/ingestion/resume", tag = "administration", request_body = Resume,
    responses((status = 200, description = "Who still holds it"), (status = 409, description = "Nobody paused it by hand")))]
async fn resume(
    State(state): State<ApiState>,
    admin: Admin,
    Json(Resume { program }): Json<Resume>,
) -> Result<Json<Value>, Problem> {
    let program = super::admin::program(&state, program).await?;
    let now = state.clock.now();
    let by_hand = steps::pauses(&state.store, &program).await?.into_iter().map(|pause| pause.holder);
    let by_hand: Vec<String> = by_hand.filter(|holder| holder.starts_with(BY_HAND)).collect();
    let mut tx = state.store.begin().await?;
    let mut lifted = Vec::new();
    for holder in by_hand {
        if steps::resume(&mut tx, &program, &holder).await? {
            lifted.push(holder);
        }
    }
    if lifted.is_empty() {
        let words = "nobody paused it by hand; a rollback's pause goes when that is lifted";
        return Err(Problem::new(StatusCode::CONFLICT, "not-paused", words));
    }
    tell(&mut tx, (&program, &admin.actor), "ingestion.resumed", json!({ "lifted": lifted }), now).await?;
    tx.commit().await?;
    Ok(Json(held(&state, &program).await?))
}

async fn held(state: &ApiState, program: &str) -> Result<Value, Problem> {
    let pauses = steps::pauses(&state.store, program).await?.into_iter().map(|pause| {
        let steps::Pause { holder, reason, since } = pause;
        json!({ "holder": holder, "reason": reason, "since": since })
    });
    Ok(json!({ "program": program, "pauses": pauses.collect::<Vec<_>>() }))
}

async fn tell(
    tx: &mut Tx,
    (program, actor): (&str, &str),
    action: &str,
    detail: Value,
    at: jiff::Timestamp,
) -> Result<(), Problem> {
    let (program, object) = (program.to_owned(), format!("Program/{program}"));
    let entry = audit::Entry { at, program, actor: actor.to_owned(), action: action.to_owned(), object, detail };
    audit::append(tx, entry).await?;
    Ok(())
}
