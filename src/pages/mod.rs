//! The operator console and the tester pages. So far: the sign-up page.
//!
//! Must not know: SQL text.

use askama::Template;
use axum::Router;
use axum::extract::{Form, Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use secrecy::SecretString;
use serde::Deserialize;

use crate::api::{ApiState, Problem};
use crate::store::invites;

/// The pages.
pub fn routes() -> Router<ApiState> {
    Router::new().route("/signup", get(show).post(sign_up))
}

#[derive(Template)]
#[template(path = "signup.html")]
struct Signup<'a> {
    code: &'a str,
    email: &'a str,
    problem: &'a str,
    done: bool,
}

#[derive(Deserialize)]
struct Invited {
    #[serde(default)]
    invite: String,
}

#[derive(Deserialize)]
struct Filled {
    email: String,
    password: SecretString,
    #[serde(default)]
    invite: String,
}

/// The form, with the code filled in. Looking at it consumes nothing: mail scanners open links too.
async fn show(State(state): State<ApiState>, Query(invited): Query<Invited>) -> Response {
    let code = invited.invite.trim();
    if !code.is_empty() {
        let opened = async {
            let mut tx = state.store.begin().await?;
            invites::mark_opened(&mut tx, code, state.clock.now()).await?;
            tx.commit().await
        };
        if let Err(error) = opened.await {
            tracing::warn!(error = %error, "that a page was opened could not be recorded");
        }
    }
    let problem =
        if code.is_empty() { "You need an invite: open the link in your message, or enter its code." } else { "" };
    page(StatusCode::OK, &Signup { code, email: "", problem, done: false })
}

/// Only this lets anyone in.
async fn sign_up(State(state): State<ApiState>, Form(filled): Form<Filled>) -> Response {
    let code = filled.invite.trim();
    if code.is_empty() {
        let problem = "You need an invite: enter the code of your message.";
        return page(StatusCode::UNPROCESSABLE_ENTITY, &Signup { code, email: &filled.email, problem, done: false });
    }
    let request =
        crate::api::Register { email: filled.email.clone(), password: filled.password, invite: Some(code.to_owned()) };
    match crate::api::let_in(&state, &request).await {
        Ok(_) => page(StatusCode::CREATED, &Signup { code: "", email: &filled.email, problem: "", done: true }),
        Err(problem) => page(
            StatusCode::UNPROCESSABLE_ENTITY,
            &Signup { code, email: &filled.email, problem: words(&problem), done: false },
        ),
    }
}

/// A refusal in words that a tester understands.
fn words(problem: &Problem) -> &str {
    match problem.code() {
        "invite-invalid" => {
            "This code does not go with this address. Use the address your invite was sent to, and check the code."
        }
        "invite-used" => "This invite was used already. If that was you, sign in instead.",
        "invite-revoked" => "This invite was taken back. Whoever invited you can tell you more.",
        "invite-expired" => "This invite has expired. Ask for a new one.",
        "frozen" => "Sign-up is paused for the moment. Your invite stays good: please try again later.",
        "cohort-closed" => "Sign-up for your group is not open now.",
        "full" => "Every place is taken. You are on the waiting list.",
        "account-exists" => "There is an account for this address already: sign in instead.",
        _ => problem.detail(),
    }
}

fn page(status: StatusCode, page: &Signup<'_>) -> Response {
    match page.render() {
        Ok(html) => {
            let mut response = (status, Html(html)).into_response();
            let headers = response.headers_mut();
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            // The address holds the code: it must not travel on to other sites.
            headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
            headers.insert(
                header::CONTENT_SECURITY_POLICY,
                HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"),
            );
            response
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
