//! The sign-up page: the code of a message filled in, a way in, and a way to a new link, in the tester's language; without JavaScript.
//!
//! Looking at it consumes nothing. Must not know: SQL text, why somebody is refused.

use askama::Template;
use axum::Router;
use axum::extract::{Form, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use axum::routing::{get, post};
use secrecy::SecretString;
use serde::Deserialize;

use super::html;
use super::texts::{Texts, texts_for};
use crate::api::{ApiState, Entered, Problem, Register, Source, ask_for_link, let_in};
use crate::store::invites;

/// The page.
pub fn routes() -> Router<ApiState> {
    Router::new().route("/signup", get(show).post(sign_up)).route("/signup/link", post(new_link))
}

#[derive(Template)]
#[template(path = "signup.html")]
struct Signup<'a> {
    texts: &'static Texts,
    code: &'a str,
    email: &'a str,
    /// Why they are not in.
    problem: &'a str,
    /// Good news instead of the form.
    done: Done,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Done {
    Nothing,
    In,
    LinkAsked,
}

impl<'a> Signup<'a> {
    fn form(texts: &'static Texts, code: &'a str, email: &'a str, problem: &'a str) -> Self {
        Self { texts, code, email, problem, done: Done::Nothing }
    }

    fn done(texts: &'static Texts, email: &'a str, done: Done) -> Self {
        Self { texts, code: "", email, problem: "", done }
    }
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

#[derive(Deserialize)]
struct Asked {
    email: String,
}

/// The form, with the code filled in. Looking at it consumes nothing: mail scanners open links too.
async fn show(
    State(state): State<ApiState>,
    source: Result<Source, Problem>,
    headers: HeaderMap,
    Query(invited): Query<Invited>,
) -> Response {
    let code = invited.invite.trim();
    if let Err(problem) = source {
        return refused(&problem, Signup::form(texts_for(None, &headers), code, "", ""));
    }
    let texts = texts_of(&state, code, &headers).await;
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
    let problem = if code.is_empty() { texts.need_code } else { "" };
    html(StatusCode::OK, &Signup::form(texts, code, "", problem))
}

/// Only this lets anyone in.
async fn sign_up(
    State(state): State<ApiState>,
    source: Result<Source, Problem>,
    headers: HeaderMap,
    Form(filled): Form<Filled>,
) -> Response {
    let (code, email) = (filled.invite.trim().to_owned(), filled.email.trim().to_owned());
    if let Err(problem) = source {
        return refused(&problem, Signup::form(texts_for(None, &headers), &code, &email, ""));
    }
    let texts = texts_of(&state, &code, &headers).await;
    let form = |problem| Signup::form(texts, &code, &email, problem);
    if code.is_empty() {
        return html(StatusCode::UNPROCESSABLE_ENTITY, &form(texts.need_code));
    }
    let request = Register { email: email.clone(), password: filled.password, invite: Some(code.clone()) };
    match let_in(&state, &request, None).await {
        Ok(Entered::In(_)) => html(StatusCode::CREATED, &Signup::done(texts, &email, Done::In)),
        Ok(Entered::LinkAsked) => html(StatusCode::ACCEPTED, &Signup::done(texts, &email, Done::LinkAsked)),
        Err(problem) => refused(&problem, form("")),
    }
}

/// A new link for whoever is invited, and the same page for everybody.
async fn new_link(
    State(state): State<ApiState>,
    source: Result<Source, Problem>,
    headers: HeaderMap,
    Form(asked): Form<Asked>,
) -> Response {
    let texts = texts_for(None, &headers);
    let email = asked.email.trim();
    match source.and_then(|_| ask_for_link(&state, email)) {
        Ok(()) => html(StatusCode::ACCEPTED, &Signup::done(texts, email, Done::LinkAsked)),
        Err(problem) => refused(&problem, Signup::form(texts, "", email, "")),
    }
}

/// The texts for whoever holds a code: in its invite's language, where it has one.
async fn texts_of(state: &ApiState, code: &str, headers: &HeaderMap) -> &'static Texts {
    let locale = invites::locale_of(&state.store, code).await.unwrap_or_default();
    texts_for(locale.as_deref(), headers)
}

/// The form again, with what is wrong in words that a tester understands.
fn refused(problem: &Problem, form: Signup<'_>) -> Response {
    let words = form.texts.refusal(problem.code()).unwrap_or(form.texts.other);
    let status = match problem.status() {
        status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => status,
        _ => StatusCode::UNPROCESSABLE_ENTITY,
    };
    let mut response = html(status, &Signup { problem: words, ..form });
    if let Some(seconds) = problem.retry_after() {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    response
}
