//! Accounts: register with an invite, sign in, refresh, sign out, who am I.

use argon2::Argon2;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use betagate_core::flags::{Context, FlagSet, Membership};
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::auth::SignedIn;
use super::{ApiState, HASH_PATIENCE, Problem, Source};
use crate::store::invites::{RedeemError, Redeemed, Refusal, Registered, Registration, join, register_in};
use crate::store::people;
use crate::store::sessions::{self, Lifetimes, Tokens};

/// A password is at least this long, and no longer than that (in bytes), so that hashing stays bounded.
const PASSWORD: std::ops::RangeInclusive<usize> = 10..=256;
/// Verified for an unknown address, so that it takes as long as a wrong password.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$YmV0YWdhdGUgbm9ib2R5IQ$0Mss7CmTf5Ixc8v1qZk1QyQ9dJdP1iYB1sWz9Y5N2qk";

pub fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(register_account))
        .routes(routes!(login))
        .routes(routes!(refresh))
        .routes(routes!(logout))
        .routes(routes!(me))
        .routes(routes!(invite_link))
        .routes(routes!(join_cohort))
        .route("/auth/register", axum::routing::post(register_account))
        .route("/auth/login", axum::routing::post(login))
        .route("/auth/invite-link", axum::routing::post(invite_link))
        .route("/auth/join", axum::routing::post(join_cohort))
        .route("/auth/refresh", axum::routing::post(refresh))
        .route("/auth/logout", axum::routing::post(logout))
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

/// An account's words.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Login {
    email: String,
    #[schema(value_type = String)]
    password: SecretString,
}

/// A refresh token.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Refresh {
    /// As it was given: `refreshToken` is taken too.
    #[schema(value_type = String)]
    #[serde(alias = "refreshToken")]
    refresh_token: SecretString,
}

/// Registers with an invite's code; the code, the address and the cohort's freeze are checked in the same transaction. Without a code, where
/// one is needed, everybody gets the same answer, and whoever is invited a new link.
#[utoipa::path(post, path = "/v1/auth/register", tag = "accounts", request_body = Register,
    responses((status = 201, description = "In: tokens"), (status = 202, description = "No code: if the address is invited, a link is on its way"),
        (status = 403, description = "Not let in: invalid, used, revoked, expired, frozen, …"), (status = 429, description = "Too often")))]
async fn register_account(
    State(state): State<ApiState>,
    _: Source,
    Json(request): Json<Register>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let registered = match let_in(&state, &request).await? {
        Entered::In(registered) => registered,
        Entered::LinkAsked => return Ok(asked_for_link()),
    };
    let mut body = tokens_body(&registered.tokens);
    if let Some(redeemed) = &registered.person.redeemed {
        body["program"] = json!(redeemed.program);
        body["cohort"] = json!(redeemed.cohort);
    }
    Ok((StatusCode::CREATED, Json(body)))
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
    /// Who, and where to.
    pub person: Registered,
    /// The first session's tokens.
    pub tokens: Tokens,
}

/// Registers someone; also behind the sign-up page.
pub async fn let_in(state: &ApiState, request: &Register) -> Result<Entered, Problem> {
    state.limits.address(&request.email)?;
    let password = request.password.expose_secret();
    if !PASSWORD.contains(&password.len()) {
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "password", "a password has 10 to 256 characters"));
    }
    let hash = hash(state, password.to_owned()).await?;
    let now = state.clock.now();
    let person = Registration {
        email: request.email.trim(),
        password_hash: &hash,
        code: request.invite.as_deref(),
        invites_required: &|published| invites_required(published, now),
    };
    match admit(state, person, now).await {
        Ok(signed_up) => {
            state.metrics.registered();
            index_members(state, signed_up.person.redeemed.as_ref()).await;
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
        Err(error) => Err(refused(state, error)),
    }
}

/// The account, the membership and the first session, in one transaction.
async fn admit(state: &ApiState, person: Registration<'_>, now: Timestamp) -> Result<SignedUp, RedeemError> {
    let mut tx = state.store.begin().await?;
    let person = register_in(&mut tx, &state.keys, person, now).await?;
    let tokens = sessions::start(&mut tx, person.user.id, Lifetimes::default(), now).await?;
    tx.commit().await?;
    Ok(SignedUp { person, tokens })
}

/// Whoever came in here is in for the next evaluation here.
async fn index_members(state: &ApiState, redeemed: Option<&Redeemed>) {
    if redeemed.is_some()
        && let Err(error) = state.cache.refresh_members_now().await
    {
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
    responses((status = 200, description = "In"), (status = 401, description = "Not signed in"),
        (status = 403, description = "Not let in: invalid, used, revoked, expired, frozen, …"), (status = 429, description = "Too often")))]
async fn join_cohort(
    State(state): State<ApiState>,
    _: Source,
    signed: SignedIn,
    Json(Code { invite }): Json<Code>,
) -> Result<Json<Value>, Problem> {
    state.limits.address(&signed.user.email)?;
    let now = state.clock.now();
    let joined = async {
        let mut tx = state.store.begin().await?;
        let redeemed = join(&mut tx, &state.keys, &invite, signed.user.id, now).await?;
        tx.commit().await?;
        Ok(redeemed)
    };
    let redeemed = joined.await.map_err(|error| refused(&state, error))?;
    index_members(&state, Some(&redeemed)).await;
    Ok(Json(json!({ "program": redeemed.program, "cohort": redeemed.cohort })))
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

/// A password's hash, computed beside the other requests, so many at once.
pub async fn hash(state: &ApiState, password: String) -> Result<String, Problem> {
    blocking(state, move || Argon2::default().hash_password(password.as_bytes()).map(|hash| hash.to_string()).ok())
        .await?
        .ok_or_else(|| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the password could not be hashed"))
}

async fn blocking<T: Send + 'static>(
    state: &ApiState,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    let busy = || {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "too many people sign in at once; try again in a moment")
    };
    let turn = tokio::time::timeout(HASH_PATIENCE, state.hashing.clone().acquire_owned()).await;
    let turn = turn.map_err(|_| busy())?.map_err(|_| busy())?;
    let done = tokio::task::spawn_blocking(move || {
        let done = work();
        drop(turn);
        done
    });
    done.await.map_err(|_| busy())
}

/// Signs in. An unknown address and a wrong password get the same answer, in the same time.
#[utoipa::path(post, path = "/v1/auth/login", tag = "accounts", request_body = Login,
    responses((status = 200, description = "Tokens"), (status = 401, description = "Unknown address or wrong password")))]
async fn login(State(state): State<ApiState>, _: Source, Json(request): Json<Login>) -> Result<Json<Value>, Problem> {
    state.limits.address(&request.email)?;
    let wrong = || Problem::new(StatusCode::UNAUTHORIZED, "credentials", "unknown address or wrong password");
    if request.password.expose_secret().len() > *PASSWORD.end() {
        return Err(wrong());
    }
    let found = people::by_email(&state.store, request.email.trim()).await?;
    let hash = found.as_ref().map_or_else(|| NOBODY.to_owned(), |login| login.password_hash.clone());
    let password = request.password.clone();
    let right = blocking(&state, move || {
        let parsed = argon2::PasswordHash::new(&hash);
        parsed.is_ok_and(|hash| Argon2::default().verify_password(password.expose_secret().as_bytes(), &hash).is_ok())
    });
    let right = right.await?;
    let Some(login) = found.filter(|_| right) else { return Err(wrong()) };
    let mut tx = state.store.begin().await?;
    let tokens = sessions::start(&mut tx, login.user.id, Lifetimes::default(), state.clock.now()).await?;
    tx.commit().await?;
    Ok(Json(tokens_body(&tokens)))
}

/// Trades a refresh token for new tokens; the old one stops working, and using it again ends the session.
#[utoipa::path(post, path = "/v1/auth/refresh", tag = "accounts", request_body = Refresh,
    responses((status = 200, description = "Tokens"), (status = 401, description = "Unknown, run out, or used before")))]
async fn refresh(State(state): State<ApiState>, Json(request): Json<Refresh>) -> Result<Json<Value>, Problem> {
    let token = request.refresh_token.expose_secret();
    match sessions::refresh(&state.store, token, Lifetimes::default(), state.clock.now()).await? {
        Ok(tokens) => Ok(Json(tokens_body(&tokens))),
        Err(refused) => Err(Problem::new(StatusCode::UNAUTHORIZED, "refresh", refused.to_string())),
    }
}

/// Ends the session.
#[utoipa::path(post, path = "/v1/auth/logout", tag = "accounts", responses((status = 204, description = "Signed out")))]
async fn logout(State(state): State<ApiState>, signed: SignedIn) -> Result<StatusCode, Problem> {
    let mut tx = state.store.begin().await?;
    sessions::end(&mut tx, signed.session, state.clock.now()).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Who is signed in, and which cohorts they are in.
#[utoipa::path(get, path = "/me", tag = "accounts", responses((status = 200, description = "The account")))]
async fn me(State(state): State<ApiState>, signed: SignedIn) -> Result<Json<Value>, Problem> {
    let memberships = people::memberships(&state.store, signed.user.id).await?;
    let memberships: Vec<Value> = memberships
        .iter()
        .map(|member| json!({ "program": member.program, "cohort": member.cohort, "joinedAt": member.joined_at }))
        .collect();
    Ok(Json(
        json!({ "id": signed.user.id, "email": signed.user.email, "isAdmin": signed.user.is_admin, "memberships": memberships }),
    ))
}

fn tokens_body(tokens: &Tokens) -> Value {
    json!({
        "userId": tokens.user_id,
        "accessToken": tokens.access.expose_secret(),
        "refreshToken": tokens.refresh.expose_secret(),
        "accessExpiresAt": tokens.access_expires_at,
        "refreshExpiresAt": tokens.refresh_expires_at,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use argon2::password_hash::phc::PasswordHash;

    #[test]
    fn nobodys_hash_takes_as_long_as_anybodys() {
        let ours = Argon2::default().hash_password(b"a long enough password").unwrap().to_string();
        let (ours, nobodys) = (PasswordHash::new(&ours).unwrap(), PasswordHash::new(NOBODY).unwrap());
        assert_eq!((nobodys.algorithm, &nobodys.params), (ours.algorithm, &ours.params));
        assert_eq!(nobodys.hash.unwrap().as_bytes().len(), ours.hash.unwrap().as_bytes().len());
        assert!(Argon2::default().verify_password(b"a long enough password", &nobodys).is_err());
    }
}
