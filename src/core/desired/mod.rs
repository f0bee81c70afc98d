//! From documents to what is wanted: parse, resolve references, validate; all problems at once, each with its place.
//!
//! Must not know: files and clients (it is handed text), the time.

mod model;

pub use model::*;
