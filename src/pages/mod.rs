//! The operator console and the tester pages.
//!
//! Must not know: SQL text.
