//! What is wanted: text to documents, documents to resolved and validated resources, with every error at once.
//!
//! Must not know: where the text came from, or what time it is.

mod build;
pub mod circles;
mod documents;
pub mod error;
mod mend;
mod model;
pub mod nearest;
pub mod parse;
mod parse_node;
mod rules;
pub mod settle;
pub mod shape;
mod shape_choice;
mod shape_scalar;
mod shape_schema;

pub use build::{BuildOptions, Built, Written, build, survey, written};
pub use model::*;
pub use rules::KPIS;

#[cfg(test)]
mod build_tests;
