//! Carries a plan out, one file a target; idempotent; the inverse is knowable.
//!
//! Must not know: why an action is wanted.

pub mod cluster;
pub mod datasets;
pub mod documents;
pub mod from_git;
pub mod machine;
pub mod processes;
pub mod resources;
pub mod workloads;
