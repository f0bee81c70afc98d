//! Accounts: sign in, refresh, sign out, who am I. How somebody comes in is `doors`'.

use argon2::Argon2;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::auth::{SignedIn, refuse_at};
use super::{ApiState, HASH_PATIENCE, Problem, Source};
use crate::store::people;
use crate::store::sessions::{self, Lifetimes, Tokens};

/// A password is at least this long, and no longer than that (in bytes), so that hashing stays bounded.
pub(super) const PASSWORD: std::ops::RangeInclusive<usize> = 10..=256;
/// Verified for an unknown address, so that it takes as long as a wrong password.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$YmV0YWdhdGUgbm9ib2R5IQ$0Mss7CmTf5Ixc8v1qZk1QyQ9dJdP1iYB1sWz9Y5N2qk";

pub fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(login))
        .routes(routes!(refresh))
        .routes(routes!(logout))
        .routes(routes!(me))
        .route("/auth/login", axum::routing::post(login))
        .route("/auth/refresh", axum::routing::post(refresh))
        .route("/auth/logout", axum::routing::post(logout))
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
    match sign_in(&state, &request.email, &request.password).await? {
        Some(tokens) => Ok(Json(tokens_body(&tokens))),
        None => {
            let problem = Problem::new(StatusCode::UNAUTHORIZED, "credentials", "unknown address or wrong password");
            Err(refuse_at(&state, "POST /v1/auth/login", problem).await)
        }
    }
}

/// A session, for an address and its password.
pub(super) async fn sign_in(state: &ApiState, email: &str, password: &SecretString) -> Result<Option<Tokens>, Problem> {
    if password.expose_secret().len() > *PASSWORD.end() {
        return Ok(None);
    }
    let found = people::by_email(&state.store, email.trim()).await?;
    let hash = found.as_ref().map_or_else(|| NOBODY.to_owned(), |login| login.password_hash.clone());
    let password = password.clone();
    let right = blocking(state, move || {
        let parsed = argon2::PasswordHash::new(&hash);
        parsed.is_ok_and(|hash| Argon2::default().verify_password(password.expose_secret().as_bytes(), &hash).is_ok())
    });
    let right = right.await?;
    let Some(login) = found.filter(|_| right) else { return Ok(None) };
    let mut tx = state.store.begin().await?;
    let tokens = sessions::start(&mut tx, login.user.id, Lifetimes::default(), state.clock.now()).await?;
    tx.commit().await?;
    Ok(Some(tokens))
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

pub(super) fn tokens_body(tokens: &Tokens) -> Value {
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
