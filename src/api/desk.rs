//! The operator's desk over HTTP: what a command line that is elsewhere asks and says.
//!
//! Must not know: what a question means.

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use serde_json::Value;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::auth::Admin;
use super::{ApiState, Problem};
use crate::desk::{Bringer, Desk, DeskError, Request};

pub fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(ask))
}

/// Answers one command of the command line; `request` names it.
#[utoipa::path(post, path = "/v1/admin/desk", tag = "administration", request_body = Value,
    responses((status = 200, description = "The answer"), (status = 400, description = "Not understood"),
        (status = 404, description = "No such thing"), (status = 409, description = "Not as things are")))]
async fn ask(
    State(state): State<ApiState>,
    admin: Admin,
    request: Result<Json<Request>, JsonRejection>,
) -> Result<Json<Value>, Problem> {
    let Json(request) = request.map_err(|rejection| Problem::bad(rejection.body_text()))?;
    Ok(Json(answer(&state, admin, request).await?))
}

/// What the desk answers to an administrator.
pub(super) async fn answer(state: &ApiState, admin: Admin, request: Request) -> Result<Value, Problem> {
    let desk = Desk {
        store: &state.store,
        keys: Some(&state.keys),
        now: state.clock.now(),
        bringer: Bringer::Caller(admin.actor),
        env: &|name| std::env::var(name).ok(),
    };
    Ok(desk.answer(request).await?)
}

impl From<DeskError> for Problem {
    fn from(error: DeskError) -> Self {
        match error {
            DeskError::Unknown(why) => Self::new(StatusCode::NOT_FOUND, "not-found", why),
            DeskError::Usage(why) => Self::bad(why),
            DeskError::Refused(why) => Self::new(StatusCode::CONFLICT, "refused", why),
            DeskError::Store(error) => error.into(),
        }
    }
}
