//! The operator console and the tester pages. So far: the sign-up page, and the one that ends mail.
//!
//! Must not know: SQL text.

mod signup;
mod texts;
mod unsubscribe;

use askama::Template;
use axum::Router;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};

use crate::api::ApiState;

/// The pages.
pub fn routes() -> Router<ApiState> {
    signup::routes().merge(unsubscribe::routes())
}

/// A page that is kept nowhere, runs nothing and tells other sites nothing.
fn html(status: StatusCode, page: &impl Template) -> Response {
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
