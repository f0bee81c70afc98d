//! The operator console and the tester pages. So far: the sign-up page.
//!
//! Must not know: SQL text.

mod signup;
mod texts;

pub use signup::routes;
