//! The floor: bare axum handlers that answer constant bytes, in a process of their own like the server's.

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderName, StatusCode, header};
use axum::routing::post;

const JSON: [(HeaderName, &str); 1] = [(header::CONTENT_TYPE, "application/json")];

/// Serves on `port`: `/single` and `/bulk` answer so many bytes of JSON (`/bulk` parses its body first), `/unchanged` answers 304.
pub fn serve(port: u16, single: usize, bulk: usize) {
    let (single, bulk) = (text(single), text(bulk));
    let app = Router::new()
        .route("/single", post(move || async move { (JSON, single.clone()) }))
        .route(
            "/bulk",
            post(move |body: Bytes| async move {
                let parsed: Result<serde_json::Value, _> = serde_json::from_slice(&body);
                match parsed {
                    Ok(value) if value.is_object() => (StatusCode::OK, JSON, bulk.clone()),
                    _ => (StatusCode::BAD_REQUEST, JSON, Bytes::new()),
                }
            }),
        )
        .route("/unchanged", post(|| async { (StatusCode::NOT_MODIFIED, [(header::ETAG, "\"a\"")]) }));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        axum::serve(listener, app).await.unwrap();
    });
}

fn text(bytes: usize) -> Bytes {
    format!("{{\"a\":\"{}\"}}", "x".repeat(bytes.saturating_sub(8))).into()
}
