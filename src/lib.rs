//! betagate: beta programs as code.
//!
//! # The map of the house
//!
//! ```text
//!  source/  ──►  desired (core)  ──►  decide (core)  ──►  plan (core)  ──►  apply/  ──►  status/
//!  folder·Git·   parse, resolve,      effective state,    ordered,          database·     conditions,
//!  cluster       validate, settle     verdicts, memory    guarded actions   processes·    events
//!                                         ▲    ▲                            outbox
//!                              signals/ ──┘    └── store/
//!                              readings            memory
//! ```
//!
//! `controller/` is the loop around that flow: `carry.rs` is one program once through it, `commit.rs` writes one decision (memory, freezes,
//! flags, cohorts, messages, reviews, statuses, audit entries) in one transaction, `lists/` brings lists in, `dispatch/` lets
//! messages leave beside the passes, `measure.rs` asks for readings beside the passes. `core` (the crate `betagate-core`) is pure: no client, no database,
//! no clock.
//!
//! | looking for | room |
//! |---|---|
//! | a field of a document, the CRDs | `core/resources/`, one file a kind |
//! | a mistake in a document and its words | `core/desired/rules/` |
//! | a verdict, a stage, a step, a hold | `core/decide/` |
//! | quiet days, a line that is stopped | `core/decide/brakes.rs`, `store/stops.rs`, `desk/line.rs` |
//! | a checklist's phases | `core/decide/phase.rs`; on the board: `desk/marks.rs` |
//! | a decision call, its minutes, the tag after it | `core/decide/call.rs`, `minutes.rs`, `tag.rs` |
//! | a drill | `core/simulate/rehearse.rs`, `controller/rehearse.rs` |
//! | commands, calls and proposals of steps | `controller/dispatch/jobs.rs`, `outbox/call.rs`; branches, pull requests and tags: `controller/dispatch/proposals.rs`, `source/git_propose.rs`, `outbox/forge/pull.rs` |
//! | a workload's revisions | `core/decide/workloads.rs`, `controller/workloads.rs` |
//! | a mistake in a document that is mended as it is read | `core/desired/mend.rs` |
//! | what a plan says | `core/plan/` |
//! | what a pull request shows | `core/pull/`, `controller/pull.rs`; saying it on a forge: `outbox/forge.rs` |
//! | what a history would have led to | `core/simulate/` |
//! | how a flag is evaluated, and why | `core/flags/` |
//! | definitions of other flag servers | `core/import/` |
//! | rules of lists, addresses and codes | `core/cohort/` |
//! | reference rows: tables, files, differences | `core/dataset/`; bringing them in and undoing: `apply/datasets.rs`, when: `controller/datasets.rs`, from which file: `controller/dataset_files.rs` |
//! | a table, a query | `store/`, `migrations/` |
//! | a resource of a cluster as a document | `source/cluster/`; which of them count: `core/desired/settle.rs`, `controller/settle.rs`, read program by program: `controller/apart.rs` |
//! | Git applied to a cluster: which revision, what is told | `controller/from_git.rs`; applying, pruning, drift: `apply/from_git/`; whose a resource is: `source/cluster/marks.rs` |
//! | when the loop need not look | `controller/rest.rs` |
//! | whether it is known who said a word | `cluster/bound.rs`, `controller/proofs.rs`; words and incidents from elsewhere seen as resources: `controller/records.rs` |
//! | a status in a resource, an event, a Rollback resource | `status/cluster/`; what they say: `controller/told.rs` |
//! | the way to a cluster, the Lease | `cluster/` |
//! | where a reading comes from | `signals/` |
//! | a command that a check or a step runs | `signals/job.rs`, `controller/dispatch/jobs.rs`; under a shim by `apply/processes/once.rs`, as a Job of a cluster by `apply/cluster/commands/` |
//! | what an alerting system tells | `api/alert_hooks.rs`, `store/incident_feeds.rs` |
//! | a secret by its name | `secrets.rs` |
//! | a process of this machine | `apply/machine.rs`, `apply/processes/` |
//! | a Deployment, what of a cluster is ours | `apply/cluster/`; what both targets have in common: `apply/workloads.rs` |
//! | a message on its way | `outbox/` |
//! | the archive that shows what a rollback did | `evidence/` |
//! | moments at which a test stops a controller | `controller/faults.rs` |
//! | a route | `api/`, one file a resource; pages in `pages/` |
//! | a command | `cli/`, one file a group: words in, text out; what it asks and says is answered at the `desk/`, also over HTTP |
//!
//! Invariants:
//! - Effects go through [`store`], [`outbox`] and [`apply`] alone, and what is proposed or tagged where the documents live through [`source`], asked by the
//!   outbox's sender; only [`status`] writes a status.
//! - A decision and what of it lies in the database are one transaction, fenced by the leader's epoch.
//! - Time comes in through [`clock`]; nothing else reads the system clock.
//! - Every external effect has an idempotency key; an unknown reading is a value of its own, never zero.

pub use betagate_core as core;

pub mod api;
pub mod apply;
pub mod cli;
pub mod clock;
pub mod cluster;
pub mod coach;
pub mod controller;
pub mod desk;
pub mod evidence;
pub mod keys;
pub mod outbox;
pub mod pages;
pub mod secrets;
pub mod signals;
pub mod source;
pub mod status;
pub mod store;
pub mod worker;
