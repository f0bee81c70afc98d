//! Administration: where things stand, people's words, incidents, rollbacks by hand, the record.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use betagate_core::resources::{Kind, SignoffSpec};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::auth::Admin;
use super::{ApiState, Problem};
use crate::controller::{START_ROLLBACK, in_its_calendar};
use crate::store::audit::{self, Entry};
use crate::store::{incidents, intents, signoffs, status};

pub fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(statuses))
        .routes(routes!(of_kind))
        .routes(routes!(of_name))
        .routes(routes!(sign))
        .routes(routes!(open_incident))
        .routes(routes!(close_incident))
        .routes(routes!(start_rollback))
        .routes(routes!(log))
}

/// The program that is meant: named, or the only one.
pub async fn program(state: &ApiState, named: Option<String>) -> Result<String, Problem> {
    let all = status::all_good(&state.store).await?;
    let programs: Vec<String> = all.into_iter().filter(|good| good.kind == "Program").map(|good| good.name).collect();
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
async fn statuses(State(state): State<ApiState>, _: Admin) -> Result<Json<Value>, Problem> {
    let all = status::list(&state.store, None).await?;
    let sources = status::sources(&state.store).await?;
    let sources: Vec<Value> = sources
        .iter()
        .map(|source| json!({ "revision": source.revision, "state": source.body, "updatedAt": source.updated_at }))
        .collect();
    Ok(Json(json!({ "resources": all.iter().map(shown).collect::<Vec<_>>(), "sources": sources })))
}

/// The status of every resource of a kind.
#[utoipa::path(get, path = "/v1/admin/resources/{kind}", tag = "administration", responses((status = 200, description = "Statuses")))]
async fn of_kind(State(state): State<ApiState>, _: Admin, Path(kind): Path<String>) -> Result<Json<Value>, Problem> {
    let kind: Kind = kind.parse().map_err(Problem::bad)?;
    let all = status::list(&state.store, Some(kind.name())).await?;
    Ok(Json(json!({ "resources": all.iter().map(shown).collect::<Vec<_>>() })))
}

/// The status of one resource, with what it waits for.
#[utoipa::path(get, path = "/v1/admin/resources/{kind}/{name}", tag = "administration", responses((status = 200, description = "The status")))]
async fn of_name(
    State(state): State<ApiState>,
    _: Admin,
    Path((kind, name)): Path<(String, String)>,
) -> Result<Json<Value>, Problem> {
    let kind: Kind = kind.parse().map_err(Problem::bad)?;
    let found = status::get(&state.store, kind.name(), &name).await?;
    found.map(|status| Json(shown(&status))).ok_or_else(|| Problem::missing("resource"))
}

fn shown(status: &status::ResourceStatus) -> Value {
    json!({ "kind": status.kind, "name": status.name, "program": status.program, "status": status.status, "updatedAt": status.updated_at })
}

/// Records a person's word. It is the token's subject's; who it names is recorded as unverified.
#[utoipa::path(post, path = "/v1/admin/signoffs", tag = "administration", request_body = Value, responses((status = 201, description = "Recorded")))]
async fn sign(
    State(state): State<ApiState>,
    admin: Admin,
    Json(spec): Json<SignoffSpec>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let program = program(&state, Some(spec.program.clone())).await?;
    let spec = in_its_calendar(&state.store, &program, spec).await?;
    let now = state.clock.now();
    let name = format!("recorded-{}", Uuid::now_v7());
    let word = signoffs::Signoff::recorded(&name, &spec, now, "api");
    let mut tx = state.store.begin().await?;
    signoffs::record(&mut tx, &word).await?;
    note(&mut tx, &admin, &program, "signoff.recorded", format!("Signoff/{name}"), json!(spec), now).await?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(json!({ "name": name }))))
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
    if !matches!(opened.severity.as_str(), "sev-1" | "sev-2" | "sev-3" | "sev-4") {
        return Err(Problem::bad("severity is sev-1 to sev-4"));
    }
    let program = program(&state, opened.program).await?;
    let now = state.clock.now();
    let incident = incidents::Incident {
        program: program.clone(),
        name: opened.name,
        severity: opened.severity,
        category: opened.category,
        title: opened.title,
        started_at: opened.started_at.unwrap_or(now),
        resolved_at: None,
        acknowledged_at: None,
        source: "api".to_owned(),
        first_seen: now,
    };
    let mut tx = state.store.begin().await?;
    incidents::open(&mut tx, &incident).await?;
    note(
        &mut tx,
        &admin,
        &program,
        "incident.opened",
        format!("Incident/{}", incident.name),
        json!({ "severity": incident.severity, "title": incident.title }),
        now,
    )
    .await?;
    tx.commit().await?;
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
    let program = program(&state, of.program).await?;
    let now = state.clock.now();
    let mut tx = state.store.begin().await?;
    if !incidents::close(&mut tx, &program, &name, now).await? {
        return Err(Problem::missing("open incident"));
    }
    note(&mut tx, &admin, &program, "incident.closed", format!("Incident/{name}"), json!({}), now).await?;
    tx.commit().await?;
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
    let program = program(&state, start.program).await?;
    let body = json!({ "program": program, "plan": start.plan, "reason": start.reason });
    let now = state.clock.now();
    let mut tx = state.store.begin().await?;
    let id = intents::submit(&mut tx, START_ROLLBACK, &admin.actor, &body, now).await?;
    note(&mut tx, &admin, &program, "rollback.requested", format!("RollbackPlan/{}", start.plan), body, now).await?;
    tx.commit().await?;
    Ok((StatusCode::ACCEPTED, Json(json!({ "intent": id }))))
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

async fn note(
    tx: &mut crate::store::Tx,
    admin: &Admin,
    program: &str,
    action: &str,
    object: String,
    detail: Value,
    now: Timestamp,
) -> Result<(), Problem> {
    let entry = Entry {
        at: now,
        program: program.to_owned(),
        actor: admin.actor.clone(),
        action: action.to_owned(),
        object,
        detail,
    };
    audit::append(tx, entry).await?;
    Ok(())
}
