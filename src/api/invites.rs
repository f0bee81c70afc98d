//! Invites for administrators (seed 000, "Generate invites").

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::auth::Admin;
use super::desk::answer;
use super::{ApiState, Problem};
use crate::desk::{Request, state_of_invite, with_mail};
use crate::store::invites::{self, Filter};

pub fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(revoke)).routes(routes!(resend))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Create {
    /// The person's address.
    email: String,
    /// Why this person.
    #[serde(default)]
    note: String,
    /// The cohort; the only open one when left out.
    cohort: Option<String>,
    /// The program; the only one when left out.
    program: Option<String>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Revoke {
    /// The person's address: every invite of it, membership included.
    email: Option<String>,
    /// Instead of an address: every unused invite of this cohort. Whoever is in stays in.
    cohort: Option<String>,
    /// Why.
    reason: String,
    /// Only in this program.
    program: Option<String>,
}

#[derive(Deserialize, IntoParams)]
struct Page {
    /// Only those that can still let somebody in.
    #[serde(default)]
    active_only: bool,
    program: Option<String>,
    cohort: Option<String>,
    /// In this state: `waiting`, `pending`, `sent`, `opened`, `used`, `expired` or `revoked`.
    state: Option<String>,
    /// Of this address, compared as each cohort compares addresses.
    email: Option<String>,
    /// With this label.
    label: Option<String>,
    /// The last id of the page before.
    after: Option<Uuid>,
    /// At most so many; 100 when left out.
    limit: Option<i64>,
}

/// Invites someone, as `betagate invite add` does; the code is in this answer, and the log says who was shown it.
#[utoipa::path(post, path = "/v1/admin/invites", tag = "invites", request_body = Create, responses((status = 201, description = "The invite and its code"), (status = 409, description = "Invited already, or erased")))]
async fn create(
    State(state): State<ApiState>,
    admin: Admin,
    Json(request): Json<Create>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let (program, cohort) = place(&state, request.program.clone(), request.cohort.clone()).await?;
    let Create { email, note, .. } = request;
    let request = Request::AddInvite { program: Some(program), cohort, email, note, by: String::new() };
    Ok((StatusCode::CREATED, Json(answer(&state, admin, request).await?)))
}

/// The invites, newest last, in pages.
#[utoipa::path(get, path = "/v1/admin/invites", tag = "invites", params(Page), responses((status = 200, description = "A page")))]
async fn list(State(state): State<ApiState>, _: Admin, Query(page): Query<Page>) -> Result<Json<Value>, Problem> {
    let limit = page.limit.unwrap_or(100).clamp(1, 1000);
    let filter = Filter {
        program: page.program,
        cohort: page.cohort,
        state: page.state.as_deref().map(state_of_invite).transpose()?,
        active_only: page.active_only,
        email: page.email,
        label: page.label,
        after: page.after,
        limit,
    };
    let found = invites::list(&state.store, &filter).await?;
    let next = (found.len() == usize::try_from(limit).unwrap_or(usize::MAX))
        .then(|| found.last().map(|invite| invite.id))
        .flatten();
    Ok(Json(json!({ "invites": with_mail(&state.store, &found).await?, "next": next })))
}

/// Takes back every invite of an address, membership included; or every unused invite of a cohort.
#[utoipa::path(post, path = "/v1/admin/invites/revoke", tag = "invites", request_body = Revoke,
    responses((status = 200, description = "How many"), (status = 404, description = "No such invite or cohort")))]
async fn revoke(
    State(state): State<ApiState>,
    admin: Admin,
    Json(Revoke { email, cohort, reason, program }): Json<Revoke>,
) -> Result<Json<Value>, Problem> {
    let by = String::new();
    let request = match (email, cohort) {
        (Some(email), None) => Request::RevokeInvites { program, email, reason, by },
        (None, Some(cohort)) => Request::RevokeCohort { program, cohort, reason, by },
        _ => return Err(Problem::bad("name either an email or a cohort")),
    };
    Ok(Json(answer(&state, admin, request).await?))
}

/// Sends an invite again: a new code, good for as long as a first one. The older code stops working.
#[utoipa::path(post, path = "/v1/admin/invites/{id}/resend", tag = "invites", params(("id" = Uuid, Path)),
    responses((status = 200, description = "The invite"), (status = 404, description = "No such invite"), (status = 409, description = "Used, or taken back")))]
async fn resend(State(state): State<ApiState>, admin: Admin, Path(id): Path<Uuid>) -> Result<Json<Value>, Problem> {
    let request = Request::ResendInvites { program: None, id: Some(id), email: None, by: String::new() };
    let mut resent = answer(&state, admin, request).await?;
    Ok(Json(resent["invites"][0].take()))
}

/// The program and cohort that are meant: named, or the only ones.
async fn place(state: &ApiState, program: Option<String>, cohort: Option<String>) -> Result<(String, String), Problem> {
    let program = super::admin::program(state, program).await?;
    let cohorts = invites::cohorts(&state.store, &program).await?;
    match cohort {
        Some(cohort) if cohorts.iter().any(|known| known.cohort == cohort) => Ok((program, cohort)),
        Some(cohort) => Err(Problem::new(
            StatusCode::NOT_FOUND,
            "not-found",
            format!("there is no cohort '{cohort}' in program '{program}' yet"),
        )),
        None => match cohorts.iter().filter(|known| known.open).collect::<Vec<_>>().as_slice() {
            [only] => Ok((program, only.cohort.clone())),
            _ => Err(Problem::bad("name the cohort: not exactly one is open")),
        },
    }
}
