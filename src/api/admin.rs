//! Administration: where things stand, people's words, incidents, rollbacks by hand, the record.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use betagate_core::resources::SignoffSpec;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::auth::Admin;
use super::desk::answer;
use super::{ApiState, Problem};
use crate::desk::Request;
use crate::store::audit::{self, Entry};
use crate::store::status;

pub fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(statuses))
        .routes(routes!(of_kind))
        .routes(routes!(of_name))
        .routes(routes!(sign))
        .routes(routes!(open_incident))
        .routes(routes!(close_incident))
        .routes(routes!(start_rollback))
        .routes(routes!(set_flag))
        .routes(routes!(asked_for))
        .routes(routes!(log))
}

/// The programs that there are.
pub async fn programs(state: &ApiState) -> Result<Vec<String>, Problem> {
    let all = status::all_good(&state.store).await?;
    Ok(all.into_iter().filter(|good| good.kind == "Program").map(|good| good.name).collect())
}

/// The program that is meant: named, or the only one.
pub async fn program(state: &ApiState, named: Option<String>) -> Result<String, Problem> {
    let programs = programs(state).await?;
    match named {
        Some(named) if programs.contains(&named) => Ok(named),
        Some(named) => Err(Problem::new(StatusCode::NOT_FOUND, "not-found", format!("there is no program '{named}'"))),
        None => match programs.as_slice() {
            [only] => Ok(only.clone()),
            _ => Err(Problem::bad(format!("name the program: {}", programs.join(", ")))),
        },
    }
}

/// The status of everything.
#[utoipa::path(get, path = "/v1/admin/status", tag = "administration", responses((status = 200, description = "Statuses and sources")))]
async fn statuses(State(state): State<ApiState>, admin: Admin) -> Result<Json<Value>, Problem> {
    Ok(Json(answer(&state, admin, Request::Status).await?))
}

/// The status of every resource of a kind.
#[utoipa::path(get, path = "/v1/admin/resources/{kind}", tag = "administration", params(("kind" = String, Path)),
    responses((status = 200, description = "Statuses")))]
async fn of_kind(
    State(state): State<ApiState>,
    admin: Admin,
    Path(kind): Path<String>,
) -> Result<Json<Value>, Problem> {
    let all = answer(&state, admin, Request::Get { kind, name: None }).await?;
    Ok(Json(json!({ "resources": all })))
}

/// The status of one resource, with what it waits for.
#[utoipa::path(get, path = "/v1/admin/resources/{kind}/{name}", tag = "administration",
    params(("kind" = String, Path), ("name" = String, Path)),
    responses((status = 200, description = "The status"), (status = 404, description = "No such resource")))]
async fn of_name(
    State(state): State<ApiState>,
    admin: Admin,
    Path((kind, name)): Path<(String, String)>,
) -> Result<Json<Value>, Problem> {
    Ok(Json(answer(&state, admin, Request::Get { kind, name: Some(name) }).await?))
}

/// Records a person's word. It is the token's subject's; who it names is recorded as unverified.
#[utoipa::path(post, path = "/v1/admin/signoffs", tag = "administration", request_body = Value, responses((status = 201, description = "Recorded")))]
async fn sign(
    State(state): State<ApiState>,
    admin: Admin,
    Json(spec): Json<SignoffSpec>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let request = Request::Sign { program: Some(spec.program.clone()), word: Box::new(spec) };
    Ok((StatusCode::CREATED, Json(answer(&state, admin, request).await?)))
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Opened {
    program: Option<String>,
    name: String,
    severity: String,
    #[serde(default)]
    category: String,
    title: String,
    /// Since when; now when left out.
    #[schema(value_type = Option<String>)]
    started_at: Option<Timestamp>,
}

/// Opens an incident.
#[utoipa::path(post, path = "/v1/admin/incidents", tag = "administration", request_body = Opened, responses((status = 201, description = "Open")))]
async fn open_incident(
    State(state): State<ApiState>,
    admin: Admin,
    Json(opened): Json<Opened>,
) -> Result<StatusCode, Problem> {
    let Opened { program, name, severity, category, title, started_at } = opened;
    let by = String::new();
    let request = Request::OpenIncident { program, name, severity, title, category, ago: None, started_at, by };
    answer(&state, admin, request).await?;
    Ok(StatusCode::CREATED)
}

#[derive(Deserialize, IntoParams)]
struct Of {
    program: Option<String>,
    /// At most so many; 100 when left out.
    limit: Option<i64>,
    /// Only those with a number below this one.
    before: Option<i64>,
}

/// Closes an incident.
#[utoipa::path(post, path = "/v1/admin/incidents/{name}/close", tag = "administration", params(Of), responses((status = 204, description = "Closed")))]
async fn close_incident(
    State(state): State<ApiState>,
    admin: Admin,
    Path(name): Path<String>,
    Query(of): Query<Of>,
) -> Result<StatusCode, Problem> {
    let by = String::new();
    answer(&state, admin, Request::CloseIncident { program: of.program, name, by }).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Start {
    program: Option<String>,
    plan: String,
    reason: String,
}

/// Asks the controller to start a rollback plan; `GET` its status to see the run.
#[utoipa::path(post, path = "/v1/admin/rollbacks", tag = "administration", request_body = Start, responses((status = 202, description = "Asked for")))]
async fn start_rollback(
    State(state): State<ApiState>,
    admin: Admin,
    Json(start): Json<Start>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let Start { program, plan, reason } = start;
    let asked = answer(&state, admin, Request::StartRollback { program, plan, reason, by: String::new() }).await?;
    Ok((StatusCode::ACCEPTED, Json(asked)))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Variant {
    /// The variant that is the default from now on.
    variant: String,
}

/// Asks the controller to write another default variant where the flag stands (a folder's file; a Git repository takes a commit). What became
/// of it: `GET /v1/admin/intents/{id}`.
#[utoipa::path(put, path = "/v1/admin/flags/{key}", tag = "administration", params(("key" = String, Path)), request_body = Variant,
    responses((status = 202, description = "Asked for"), (status = 404, description = "No such flag"), (status = 409, description = "It is held")))]
async fn set_flag(
    State(state): State<ApiState>,
    admin: Admin,
    Path(key): Path<String>,
    Json(Variant { variant }): Json<Variant>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let asked = answer(&state, admin, Request::SetFlag { key, variant, by: String::new() }).await?;
    Ok((StatusCode::ACCEPTED, Json(asked)))
}

/// What became of something that the controller was asked for: `waiting`, `done`, or `refused` with the reason.
#[utoipa::path(get, path = "/v1/admin/intents/{id}", tag = "administration", params(("id" = String, Path)),
    responses((status = 200, description = "Its state and result"), (status = 404, description = "Nothing was asked for by that id")))]
async fn asked_for(
    State(state): State<ApiState>,
    admin: Admin,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    Ok(Json(answer(&state, admin, Request::Intent { id }).await?))
}

/// The record, newest first.
#[utoipa::path(get, path = "/v1/admin/audit", tag = "administration", params(Of), responses((status = 200, description = "A page of entries")))]
async fn log(State(state): State<ApiState>, _: Admin, Query(of): Query<Of>) -> Result<Json<Value>, Problem> {
    let filter = audit::Filter {
        program: of.program,
        before: of.before,
        limit: Some(of.limit.unwrap_or(100).clamp(1, 1000)),
        ..audit::Filter::default()
    };
    let entries = audit::list(&state.store, &filter).await?;
    let entries: Vec<Value> = entries.iter().map(|kept| {
        let Entry { at, program, actor, action, object, detail } = &kept.entry;
        json!({ "seq": kept.seq, "at": at, "program": program, "actor": actor, "action": action, "object": object, "detail": detail })
    }).collect();
    Ok(Json(json!({ "entries": entries })))
}
