//! Why a flag answers one person as it does.
//!
//! Must not know: how flags are evaluated, SQL.

use axum::Json;
use axum::extract::{Path, Query, State};
use betagate_core::flags::{Context, explain};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::auth::Admin;
use super::{ApiState, Problem};
use crate::store::flags;

pub fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(asked, posted))
}

#[derive(Deserialize, IntoParams)]
struct Asked {
    /// The context, as JSON; empty when left out.
    context: Option<String>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Posted {
    /// The context, as OFREP takes it.
    #[serde(default)]
    #[schema(value_type = Object)]
    context: Value,
}

/// Explains a flag's answer to one person: the layer that decided, the way through the rule, the bucket, the cohorts, the commit.
#[utoipa::path(get, path = "/v1/flags/{key}/explain", tag = "administration", params(("key" = String, Path), Asked), responses((status = 200, description = "The explanation"), (status = 404, description = "No such flag")))]
async fn asked(
    State(state): State<ApiState>,
    _: Admin,
    Path(key): Path<String>,
    Query(asked): Query<Asked>,
) -> Result<Json<Value>, Problem> {
    let context = asked.context.as_deref().unwrap_or("{}");
    let context = serde_json::from_str(context).map_err(|error| Problem::bad(format!("context: {error}")))?;
    explained(&state, &key, context).await
}

/// Explains a flag's answer to one person, whose context is no word for a log.
#[utoipa::path(post, path = "/v1/flags/{key}/explain", tag = "administration", params(("key" = String, Path)), request_body = Posted, responses((status = 200, description = "The explanation"), (status = 404, description = "No such flag")))]
async fn posted(
    State(state): State<ApiState>,
    _: Admin,
    Path(key): Path<String>,
    Json(posted): Json<Posted>,
) -> Result<Json<Value>, Problem> {
    explained(&state, &key, posted.context).await
}

async fn explained(state: &ApiState, key: &str, context: Value) -> Result<Json<Value>, Problem> {
    let context = if context.is_null() { json!({}) } else { context };
    let context = Context::new(context).map_err(Problem::bad)?;
    // The definitions as they are published: what is served keeps none, and this process is never far behind.
    let snapshot = flags::newest(&state.store).await?.ok_or_else(|| Problem::missing("flag"))?;
    let definitions = snapshot.body["flags"].as_object().ok_or_else(|| Problem::missing("flag"))?;
    let env = |name: &str| std::env::var(name).ok();
    let explanation = explain(definitions, key, &context, &state.cache.members(), &env, state.clock.now());
    let explanation = explanation.ok_or_else(|| Problem::missing("flag"))?;
    let mut body = json!(explanation);
    body["revision"] = json!(snapshot.revision);
    body["version"] = json!(snapshot.source_revision);
    Ok(Json(body))
}
