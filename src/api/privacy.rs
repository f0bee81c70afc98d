//! Privacy requests and the compliance queue: what a rollback keeps online.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::auth::{Admin, SignedIn};
use super::{ApiState, Problem};
use crate::store::people;
use crate::store::privacy::{self, NewRequest, PrivacyError, Request, RequestKind};

pub fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(submit, own))
        .routes(routes!(one))
        .routes(routes!(queue))
        .route("/v1/privacy/health", axum::routing::get(alive))
        .route("/v1/compliance/health", axum::routing::get(alive))
}

/// What administrators write.
pub fn administration() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(decide))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Submit {
    /// export or erase.
    #[schema(value_type = String)]
    kind: RequestKind,
    /// Anything to add.
    #[serde(default)]
    note: String,
    /// The gym it is about.
    gym_id: Option<String>,
    /// The program it is about: the one that the person is in, or the only one, when left out.
    program: Option<String>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Decide {
    /// triage, fulfil or reject.
    decision: String,
    /// Why, of a rejection.
    reason: Option<String>,
}

#[derive(Deserialize, IntoParams)]
struct Of {
    program: Option<String>,
    /// At most so many; 100 when left out.
    limit: Option<i64>,
}

/// Hands a privacy request in. Asking again while one of that kind is open gives the open one.
#[utoipa::path(post, path = "/v1/privacy/requests", tag = "privacy", request_body = Submit, responses((status = 201, description = "The request, with its due date")))]
async fn submit(
    State(state): State<ApiState>,
    signed: SignedIn,
    Json(request): Json<Submit>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let new = NewRequest {
        program: program_of(&state, signed.user.id, request.program).await?,
        user_id: Some(signed.user.id),
        contact: None,
        gym_id: request.gym_id,
        kind: request.kind,
        note: request.note,
    };
    let mut tx = state.store.begin().await?;
    let by = format!("person/{}", signed.user.id);
    let made = privacy::submit(&mut tx, &new, &by, state.clock.now()).await.map_err(wrong)?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(shown(&state, &made))))
}

/// The program that a request is about: the named one, the person's first, the only one. Empty when none of these is known: nobody is turned
/// away for that, since everybody may ask about their data.
async fn program_of(state: &ApiState, user: Uuid, named: Option<String>) -> Result<String, Problem> {
    if named.is_some() {
        return super::admin::program(state, named).await;
    }
    if let Some(member) = people::memberships(&state.store, user).await?.into_iter().next() {
        return Ok(member.program);
    }
    let all = super::admin::programs(state).await?;
    Ok(if let [only] = all.as_slice() { only.clone() } else { String::new() })
}

/// One's own requests.
#[utoipa::path(get, path = "/v1/privacy/requests", tag = "privacy", responses((status = 200, description = "Own requests")))]
async fn own(State(state): State<ApiState>, signed: SignedIn) -> Result<Json<Value>, Problem> {
    let all = privacy::of_person(&state.store, signed.user.id).await?;
    Ok(Json(json!({ "requests": all.iter().map(|request| shown(&state, request)).collect::<Vec<_>>() })))
}

/// One of one's own requests. A fulfilled export has the copy of the person's data in `result`, for 30 days.
#[utoipa::path(get, path = "/v1/privacy/requests/{id}", tag = "privacy", responses((status = 200, description = "The request, with its result")))]
async fn one(State(state): State<ApiState>, signed: SignedIn, Path(id): Path<Uuid>) -> Result<Json<Value>, Problem> {
    let found = privacy::get(&state.store, id).await?.filter(|request| request.user_id == Some(signed.user.id));
    let request = found.ok_or_else(|| Problem::missing("request"))?;
    let mut body = shown(&state, &request);
    body["result"] = json!(request.result);
    Ok(Json(body))
}

/// The compliance queue with its service-level badges.
#[utoipa::path(get, path = "/v1/compliance/queue", tag = "privacy", params(Of), responses((status = 200, description = "Open requests, the most urgent first")))]
async fn queue(State(state): State<ApiState>, _: Admin, Query(of): Query<Of>) -> Result<Json<Value>, Problem> {
    let program = super::admin::program(&state, of.program).await?;
    let queue = privacy::queue(&state.store, &program, of.limit.unwrap_or(100).clamp(1, 1000)).await?;
    let metrics = privacy::metrics(&state.store, &program, state.clock.now()).await?;
    Ok(Json(
        json!({ "queue": queue.iter().map(|request| shown(&state, request)).collect::<Vec<_>>(), "metrics": metrics }),
    ))
}

/// Takes a request on, fulfils it, or rejects it with a reason. To fulfil an export makes the copy, which only the person can fetch; to fulfil
/// an erasure erases the person.
#[utoipa::path(post, path = "/v1/compliance/requests/{id}", tag = "privacy", request_body = Decide, responses((status = 200, description = "The request")))]
async fn decide(
    State(state): State<ApiState>,
    admin: Admin,
    Path(id): Path<Uuid>,
    Json(request): Json<Decide>,
) -> Result<Json<Value>, Problem> {
    let now = state.clock.now();
    let mut tx = state.store.begin().await?;
    let done = match (request.decision.as_str(), &request.reason) {
        ("triage", _) => privacy::triage(&mut tx, id, &admin.actor, now).await,
        ("fulfil", _) => privacy::fulfil(&mut tx, &state.keys, id, &admin.actor, now).await,
        ("reject", Some(reason)) => privacy::reject(&mut tx, id, &admin.actor, reason, now).await,
        ("reject", None) => return Err(Problem::bad("a rejection needs a reason")),
        _ => return Err(Problem::bad("decision is triage, fulfil or reject")),
    };
    let done = done.map_err(wrong)?;
    tx.commit().await?;
    // The answer may be kept under an idempotency key: without the person's own words.
    Ok(Json(shown(&state, &Request { note: String::new(), contact: None, ..done })))
}

/// Answers while the requests' table can be read.
async fn alive(State(state): State<ApiState>) -> Result<Json<Value>, Problem> {
    privacy::queue(&state.store, "", 1).await?;
    Ok(Json(json!({ "status": "ok" })))
}

/// A request without its result: that may be long, and is for nobody's eyes but the person's.
fn shown(state: &ApiState, request: &Request) -> Value {
    let mut body = json!(request);
    if let Some(body) = body.as_object_mut() {
        body.remove("result");
    }
    body["badge"] = json!(request.badge(state.clock.now()));
    body
}

fn wrong(error: PrivacyError) -> Problem {
    match error {
        PrivacyError::Store(error) => error.into(),
        other => Problem::new(StatusCode::CONFLICT, "privacy", other.to_string()),
    }
}
