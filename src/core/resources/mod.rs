//! The resources of `betagate.dev/v1alpha1`: one Rust type a kind, used unchanged for YAML files, CRDs, the command line and the API.
//!
//! Knows the shape of what an operator writes. Must not know any client or database, nor whether a reference leads anywhere (that is
//! [`crate::desired`]).

#![allow(clippy::duplicated_attributes, reason = "each printcolumn of a CRD repeats its parameters' names")]

mod cohort;
mod commands;
mod dataset;
mod days;
mod flag;
mod gate;
mod incident;
mod invite;
mod kind;
mod moment;
mod phase;
mod plan;
mod plan_steps;
mod program;
mod rollback;
mod rollout;
mod scalar;
mod signoff;
mod status;
mod workload;

pub use cohort::*;
pub use commands::*;
pub use dataset::*;
pub use days::*;
pub use flag::*;
pub use gate::*;
pub use incident::*;
pub use invite::*;
pub use kind::{API_VERSION, GROUP, Kind, crd, crds, schema};
pub use moment::*;
pub use phase::*;
pub use plan::*;
pub use plan_steps::*;
pub use program::*;
pub use rollback::*;
pub use rollout::*;
pub use scalar::*;
pub use signoff::*;
pub use status::*;
pub use workload::*;
