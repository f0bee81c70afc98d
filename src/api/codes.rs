//! Codes that let several people into a cohort, for administrators.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use betagate_core::resources::Span;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::auth::Admin;
use super::desk::answer;
use super::{ApiState, Problem};
use crate::desk::Request;

pub fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(list, add)).routes(routes!(show)).routes(routes!(revoke))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Add {
    /// The program; the only one when left out.
    program: Option<String>,
    /// The cohort it lets into.
    cohort: String,
    /// How many it lets in.
    uses: i64,
    /// How long it works, such as `14d`; as long as the cohort's invites when left out.
    #[schema(value_type = Option<String>)]
    expires: Option<Span>,
    /// The label that those who come in with it get.
    #[serde(default)]
    label: String,
    /// What it is for.
    #[serde(default)]
    note: String,
}

#[derive(Deserialize, IntoParams)]
struct Of {
    program: Option<String>,
    cohort: Option<String>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Reason {
    /// Why.
    reason: String,
}

/// Makes a code for several people; it is in this answer, and can be made again.
#[utoipa::path(post, path = "/v1/admin/invites/codes", tag = "invites", request_body = Add,
    responses((status = 201, description = "The code"), (status = 404, description = "No such cohort")))]
async fn add(
    State(state): State<ApiState>,
    admin: Admin,
    Json(Add { program, cohort, uses, expires, label, note }): Json<Add>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let request = Request::AddCode { program, cohort, uses, expires, label, note, by: String::new() };
    Ok((StatusCode::CREATED, Json(answer(&state, admin, request).await?)))
}

/// The codes for several people, oldest first, without their texts.
#[utoipa::path(get, path = "/v1/admin/invites/codes", tag = "invites", params(Of), responses((status = 200, description = "All of them")))]
async fn list(State(state): State<ApiState>, admin: Admin, Query(of): Query<Of>) -> Result<Json<Value>, Problem> {
    let codes = answer(&state, admin, Request::ListCodes { program: of.program, cohort: of.cohort }).await?;
    Ok(Json(json!({ "codes": codes })))
}

/// A code with its text; that it was looked at is in the record.
#[utoipa::path(get, path = "/v1/admin/invites/codes/{id}", tag = "invites", params(("id" = Uuid, Path)),
    responses((status = 200, description = "The code"), (status = 404, description = "No such code")))]
async fn show(State(state): State<ApiState>, admin: Admin, Path(id): Path<Uuid>) -> Result<Json<Value>, Problem> {
    Ok(Json(answer(&state, admin, Request::ShowCode { id, by: String::new() }).await?))
}

/// Takes a code back; whoever came in with it stays in.
#[utoipa::path(post, path = "/v1/admin/invites/codes/{id}/revoke", tag = "invites", params(("id" = Uuid, Path)), request_body = Reason,
    responses((status = 200, description = "The code"), (status = 404, description = "No such code"), (status = 409, description = "Taken back before")))]
async fn revoke(
    State(state): State<ApiState>,
    admin: Admin,
    Path(id): Path<Uuid>,
    Json(Reason { reason }): Json<Reason>,
) -> Result<Json<Value>, Problem> {
    Ok(Json(answer(&state, admin, Request::RevokeCode { id, reason, by: String::new() }).await?))
}
