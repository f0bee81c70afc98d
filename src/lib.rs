//! betagate: beta programs as code.
//!
//! # The map of the house
//!
//! ```text
//!  source/  ──►  desired (core)  ──►  decide (core)  ──►  plan (core)  ──►  apply/  ──►  status/
//!  folder·Git    parse, resolve,      effective state,    ordered,          database·     conditions,
//!                validate             verdicts, memory    guarded actions   processes·    events
//!                                         ▲    ▲                            outbox
//!                              signals/ ──┘    └── store/
//!                              readings            memory
//! ```
//!
//! `controller/` is the loop around that flow. `core` (the crate `betagate-core`) is pure: no client, no database, no clock.
//!
//! Invariants:
//! - Only [`apply`], [`outbox`] and [`store`] have effects; only [`status`] writes a status.
//! - Time comes in through [`clock`]; nothing else reads the system clock.
//! - Every external effect has an idempotency key; an unknown reading is a value of its own, never zero.

pub use betagate_core as core;

pub mod api;
pub mod apply;
pub mod cli;
pub mod clock;
pub mod coach;
pub mod controller;
pub mod keys;
pub mod outbox;
pub mod pages;
pub mod signals;
pub mod source;
pub mod status;
pub mod store;
pub mod worker;
