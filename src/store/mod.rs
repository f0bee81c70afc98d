//! The database behind plain functions: PostgreSQL and SQLite, audit chain, job queue.
//!
//! Must not know: HTTP, Kubernetes.
//!
//! SQL is written once, in the portable subset: `$1` binds, `ON CONFLICT`, `RETURNING`, CTEs, window functions. Time is
//! bound, never asked of the database; civil time never enters SQL. Where the dialects must differ, two bodies stand
//! side by side in one file of this room.

pub mod accepted;
mod arg;
pub mod audit;
pub mod backup;
pub mod brought;
pub mod cohort_lists;
pub mod datasets;
mod error;
pub mod events;
pub mod flags;
pub mod freezes;
pub mod incident_feeds;
pub mod incidents;
pub mod intents;
pub mod invites;
pub mod jobs;
pub mod key_ids;
pub mod kpi;
pub mod leadership;
pub mod members;
pub mod memory;
mod migrate;
pub mod outbox;
pub mod people;
mod place;
mod pool;
pub mod privacy;
pub mod push;
pub mod readings;
pub mod repeated;
mod row;
pub mod sessions;
pub mod signoffs;
mod states;
pub mod status;
pub mod steps;
pub mod stops;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
pub mod tokens;
pub mod workloads;

pub use arg::{Arg, Kind};
pub use error::StoreError;
pub use migrate::{Applied, Migrated};
pub use pool::{Dialect, Store, Tx};
pub use row::{Column, Row};
pub use states::backoff;
