//! The pure part of betagate: no client, no database, no async, no system time.
//!
//! | module | what it knows |
//! |---|---|
//! | [`cohort`] | what a list must look like, its rows and digests, invite codes |
//! | [`resources`] | the YAML types, one file a kind, with schema and CEL rules |
//! | [`desired`] | parse, resolve references, validate: all errors at once |
//! | [`decide`] | gates, stages, rollbacks, holds: what should be true now |
//! | [`plan`] | the difference between what should be and what is, ordered and guarded |
//! | [`pull`] | what a pull request would do: people, mail, documents, and whose word it needs |
//! | [`simulate`] | what would have happened: `decide` over a history, on a virtual clock |
//! | [`import`] | other flag servers' definitions as documents |
//! | [`duty`] | who is on duty, shift by shift, and where nobody is |
//! | [`flags`] | compile and evaluate flags; the cohort membership index |

pub mod cohort;
pub mod dataset;
pub mod decide;
pub mod desired;
pub mod duty;
pub mod flags;
pub mod import;
pub mod plan;
pub mod pull;
pub mod resources;
pub mod simulate;
