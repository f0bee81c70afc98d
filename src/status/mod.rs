//! Conditions that keep their transition times, events, bounded history: in the database, and in the resources of a cluster.
//!
//! Must not know: how a state came about.

pub mod cluster;
mod record;

pub use record::{kept, write};
