//! The doors: register with an invite's code, ask for a link, join with another code.
//!
//! Must not know: SQL text, what a page says.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use betagate_core::flags::{Context, FlagSet, Membership};
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::accounts::{PASSWORD, hash, sign_in, tokens_body};
use super::auth::SignedIn;
use super::once::REPLAYED;
use super::repeatable::Repeatable;
use super::{ApiState, Problem, Source};
use crate::store::invites::{RedeemError, Redeemed, Refusal, Registration, join, register_in};
use crate::store::sessions::{self, Lifetimes, Tokens};

pub fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(register_account))
        .routes(routes!(invite_link))
        .routes(routes!(join_cohort))
        .route("/auth/register", axum::routing::post(register_account))
        .route("/auth/invite-link", axum::routing::post(invite_link))
        .route("/auth/join", axum::routing::post(join_cohort))
}

/// Someone at the door.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Register {
    /// The address.
    pub email: String,
    /// The password: 10 to 256 bytes.
    #[schema(value_type = String)]
    pub password: SecretString,
    /// The code of the invite.
    #[serde(default)]
    pub invite: Option<String>,
}

/// Registers with an invite's code; the code, the address and the cohort's freeze are checked in the same transaction. Without a code, where
/// one is needed, everybody gets the same answer, and whoever is invited a link.
#[utoipa::path(post, path = "/v1/auth/register", tag = "accounts", request_body = Register,
    params(("Idempotency-Key" = Option<String>, Header, description = "The same request again within a day lets the same person in again")),
    responses((status = 201, description = "In: tokens"), (status = 202, description = "No code: if the address is invited, a link is on its way"),
        (status = 403, description = "Not let in: invalid, used, revoked, expired, frozen, …"),
        (status = 409, description = "Nobody can register with this address"), (status = 429, description = "Too often")))]
async fn register_account(
    State(state): State<ApiState>,
    _: Source,
    headers: HeaderMap,
    Json(request): Json<Register>,
) -> Result<Response, Problem> {
    let password = request.password.expose_secret();
    let asked = [&request.email, password, request.invite.as_deref().unwrap_or_default()];
    let repeatable = Repeatable::of(&state, &headers, ("register", &request.email), &asked)?;
    let signed_up = match let_in(&state, &request, repeatable.as_ref()).await? {
        Entered::In(signed_up) => signed_up,
        Entered::LinkAsked => return Ok(asked_for_link().into_response()),
    };
    let mut body = tokens_body(&signed_up.tokens);
    if let Some(Place { program, cohort }) = &signed_up.place {
        body["program"] = json!(program);
        body["cohort"] = json!(cohort);
    }
    let mut response = (StatusCode::CREATED, Json(body)).into_response();
    if signed_up.again {
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// What became of someone who registers.
pub enum Entered {
    /// In, and signed in.
    In(Box<SignedUp>),
    /// They have no code and need one; if they are invited, a link is on its way.
    LinkAsked,
}

/// Someone who registered.
pub struct SignedUp {
    /// Where to.
    pub place: Option<Place>,
    /// A session's tokens.
    pub tokens: Tokens,
    /// Whether they had registered with the same request before.
    pub again: bool,
}

/// A cohort of a program.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Place {
    /// The program.
    pub program: String,
    /// The cohort.
    pub cohort: String,
}

impl Place {
    fn of(redeemed: &Redeemed) -> Self {
        Self { program: redeemed.program.clone(), cohort: redeemed.cohort.clone() }
    }
}

/// Registers someone; also behind the sign-up page.
pub async fn let_in(state: &ApiState, request: &Register, repeatable: Option<&Repeatable>) -> Result<Entered, Problem> {
    state.limits.address(&request.email)?;
    let password = request.password.expose_secret();
    if !PASSWORD.contains(&password.len()) {
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "password", "a password has 10 to 256 characters"));
    }
    if let Some(entered) = entered_before(state, request, repeatable).await? {
        return Ok(entered);
    }
    let hash = hash(state, password.to_owned()).await?;
    let now = state.clock.now();
    let person = Registration {
        email: request.email.trim(),
        password_hash: &hash,
        code: request.invite.as_deref(),
        invites_required: &|published| invites_required(published, now),
    };
    match admit(state, person, repeatable, now).await {
        Ok(signed_up) => {
            state.metrics.registered();
            index_members(state, signed_up.place.is_some()).await;
            Ok(Entered::In(Box::new(signed_up)))
        }
        Err(RedeemError::Refused(Refusal::InviteRequired)) => {
            state.metrics.refused("invite-required");
            // Who is asked for too often gets no more links, and the same answer.
            if state.limits.link(&request.email).is_ok() {
                state.links.ask(request.email.trim());
            }
            Ok(Entered::LinkAsked)
        }
        // The same request may have come in meanwhile.
        Err(error) => match entered_before(state, request, repeatable).await? {
            Some(entered) => Ok(entered),
            None => Err(refused(state, error)),
        },
    }
}

/// The account, the membership, the first session and what a repetition is told, in one transaction.
async fn admit(
    state: &ApiState,
    person: Registration<'_>,
    repeatable: Option<&Repeatable>,
    now: Timestamp,
) -> Result<SignedUp, RedeemError> {
    let mut tx = state.store.begin().await?;
    let person = register_in(&mut tx, &state.keys, person, now).await?;
    let tokens = sessions::start(&mut tx, person.user.id, Lifetimes::default(), now).await?;
    let place = person.redeemed.as_ref().map(Place::of);
    if let Some(repeatable) = repeatable {
        repeatable.answer(&mut tx, StatusCode::CREATED, &json!(place), now).await?;
    }
    tx.commit().await?;
    Ok(SignedUp { place, tokens, again: false })
}

/// Who came in with this very request before is signed in again.
async fn entered_before(
    state: &ApiState,
    request: &Register,
    repeatable: Option<&Repeatable>,
) -> Result<Option<Entered>, Problem> {
    let Some(kept) = Repeatable::answered(repeatable, state).await? else { return Ok(None) };
    // The password may have been changed since.
    let Some(tokens) = sign_in(state, &request.email, &request.password).await? else { return Ok(None) };
    let place = serde_json::from_value(kept).ok();
    Ok(Some(Entered::In(Box::new(SignedUp { place, tokens, again: true }))))
}

/// Whoever came in here is in for the next evaluation here.
async fn index_members(state: &ApiState, has_joined: bool) {
    if has_joined && let Err(error) = state.cache.refresh_members_now().await {
        tracing::warn!(error = %error, "the index of members follows later");
    }
}

fn refused(state: &ApiState, error: RedeemError) -> Problem {
    match error {
        RedeemError::Store(error) => error.into(),
        RedeemError::Refused(refusal) => {
            let (status, code) = refusal_code(refusal);
            state.metrics.refused(code);
            Problem::new(status, code, refusal.to_string())
        }
    }
}

/// An address.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Address {
    email: String,
}

/// Asks for a link: if the address is invited, its invite is sent again, with the code that works, or a new one when it ran out. Everybody gets
/// the same answer.
#[utoipa::path(post, path = "/v1/auth/invite-link", tag = "accounts", request_body = Address,
    responses((status = 202, description = "If the address is invited, a link is on its way"), (status = 429, description = "Too often")))]
async fn invite_link(
    State(state): State<ApiState>,
    _: Source,
    Json(Address { email }): Json<Address>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    ask_for_link(&state, &email)?;
    Ok(asked_for_link())
}

/// Asks for a new link for an address; also behind the sign-up page.
pub fn ask_for_link(state: &ApiState, email: &str) -> Result<(), Problem> {
    state.limits.link(email)?;
    state.links.ask(email.trim());
    Ok(())
}

fn asked_for_link() -> (StatusCode, Json<Value>) {
    let detail = "if this address is invited, a message with a link is on its way to it";
    (StatusCode::ACCEPTED, Json(json!({ "status": "accepted", "detail": detail })))
}

/// A code.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Code {
    /// The code of the invite.
    invite: String,
}

/// Joins another cohort with a code: for someone who has an account, and is signed in.
#[utoipa::path(post, path = "/v1/auth/join", tag = "accounts", request_body = Code,
    params(("Idempotency-Key" = Option<String>, Header, description = "The same request again within a day gets the same answer")),
    responses((status = 200, description = "In"), (status = 401, description = "Not signed in"),
        (status = 403, description = "Not let in: invalid, used, revoked, expired, frozen, …"), (status = 429, description = "Too often")))]
async fn join_cohort(
    State(state): State<ApiState>,
    _: Source,
    headers: HeaderMap,
    signed: SignedIn,
    Json(Code { invite }): Json<Code>,
) -> Result<Json<Value>, Problem> {
    state.limits.address(&signed.user.email)?;
    let whose = signed.user.id.to_string();
    let repeatable = Repeatable::of(&state, &headers, ("join", &whose), &[&invite])?;
    if let Some(kept) = Repeatable::answered(repeatable.as_ref(), &state).await? {
        return Ok(Json(kept));
    }
    let now = state.clock.now();
    let joined = async {
        let mut tx = state.store.begin().await?;
        let place = json!(Place::of(&join(&mut tx, &state.keys, &invite, signed.user.id, now).await?));
        if let Some(repeatable) = &repeatable {
            repeatable.answer(&mut tx, StatusCode::OK, &place, now).await?;
        }
        tx.commit().await?;
        Ok(place)
    };
    match joined.await {
        Ok(place) => {
            index_members(&state, true).await;
            Ok(Json(place))
        }
        // The same request may have come in meanwhile.
        Err(error) => match Repeatable::answered(repeatable.as_ref(), &state).await? {
            Some(kept) => Ok(Json(kept)),
            None => Err(refused(&state, error)),
        },
    }
}

/// Each refusal has a word of its own.
fn refusal_code(refusal: Refusal) -> (StatusCode, &'static str) {
    match refusal {
        Refusal::Invalid => (StatusCode::FORBIDDEN, "invite-invalid"),
        Refusal::Used => (StatusCode::FORBIDDEN, "invite-used"),
        Refusal::Revoked => (StatusCode::FORBIDDEN, "invite-revoked"),
        Refusal::Expired => (StatusCode::FORBIDDEN, "invite-expired"),
        Refusal::Frozen => (StatusCode::FORBIDDEN, "frozen"),
        Refusal::CohortClosed => (StatusCode::FORBIDDEN, "cohort-closed"),
        Refusal::UsedUp => (StatusCode::FORBIDDEN, "code-used-up"),
        Refusal::NoPlace => (StatusCode::FORBIDDEN, "no-place"),
        Refusal::Full => (StatusCode::FORBIDDEN, "full"),
        Refusal::AccountExists => (StatusCode::CONFLICT, "account-exists"),
        Refusal::InviteRequired => (StatusCode::FORBIDDEN, "invite-required"),
        Refusal::AddressUnavailable => (StatusCode::CONFLICT, "address-unavailable"),
    }
}

/// What a definition of `system.invites_required` says; absent or unreadable means required.
fn invites_required(published: Option<&Value>, now: Timestamp) -> bool {
    const KEY: &str = "system.invites_required";
    let (Some(definition), Ok(context)) = (published, Context::new(json!({}))) else { return true };
    let (set, _) = FlagSet::compile([(KEY, definition)], &|name| std::env::var(name).ok());
    let answer = set.evaluate(KEY, &context, &Membership::default(), now);
    !answer.is_ok_and(|answer| answer.value == Some(&Value::Bool(false)))
}

/// The word for programs of a refusal.
#[cfg(test)]
pub fn refusal_word(refusal: Refusal) -> &'static str {
    refusal_code(refusal).1
}
