//! The HTTP API: axum routers, one file a resource; authentication; problem documents.
//!
//! Must not know: SQL text.

pub mod groups;
