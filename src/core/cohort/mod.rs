//! Cohort lists and invite codes: what a list must look like, which rows it holds, how a code is made.
//!
//! Knows the CSV form, addresses, roles, digests and codes. Must not know where a list lies, who may read it, or any
//! database: a list is a [`std::io::Read`], a key is bytes.

mod address;
mod blocks;
mod buckets;
mod code;
mod columns;
mod difference;
mod disposable;
mod fault;
#[cfg(test)]
mod fuzz;
mod hashed;
mod lines;
mod list;
mod report;
mod survey;
#[cfg(test)]
mod tests;

pub use address::{AddressFault, AddressRules, normalise};
pub use buckets::{BUCKETS, Buckets};
pub use code::InviteCode;
pub use difference::{NO_LIST, RowDifference, change_digest, row_difference};
pub use disposable::is_disposable;
pub use fault::{Fault, Problem, Severity};
pub use hashed::{hash_norm, hash_of_norm, hash_text};
pub use list::{Entry, ListOptions, ListRow, ReadAs, RowDigest, Rows, rows};
pub use report::{Needs, Outcome, Survey};
pub use survey::{Digesting, ListReport, parse_list, survey};
