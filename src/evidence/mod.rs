//! The evidence of a rollback: one archive with everything that shows what happened and why, which anyone can check on another machine.
//!
//! | module | what it knows |
//! |---|---|
//! | `gather` | what belongs to a run, from the record |
//! | `archive` | the archive as a tar file |
//! | `check` | whether an archive fits together; what doesn't |
//!
//! Every file is named in `manifest.json` with its digest; the digest of that manifest is an entry of the audit log, and `chain.jsonl` is the part of the log
//! from the run's first entry up to that one, each entry named by a hash over everything before it. Whoever changes a file must change the chain's end, which
//! is told when the archive is made, and by `betagate audit verify` where the record is.
//!
//! Must not know: HTTP, the command line.

mod archive;
mod check;
mod gather;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

pub use archive::{ArchiveError, read, write};
pub use check::{Checked, check};
pub use gather::{GatherError, gather};

/// The files of an archive, by name.
pub type Files = BTreeMap<String, String>;

/// The list of files.
pub const MANIFEST: &str = "manifest.json";
/// The part of the audit log.
pub const CHAIN: &str = "chain.jsonl";
/// What left, with what the other side said.
pub const RECEIPTS: &str = "receipts.json";
/// What is written about an archive in the log, and what it is about.
pub const MADE: &str = "bundle.made";
/// The version of the archive's form.
const FORM: u32 = 1;

/// What an archive holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Manifest {
    /// The version of the archive's form.
    pub form: u32,
    /// The program.
    pub program: String,
    /// The run.
    pub run: String,
    /// When it was put together.
    pub at: jiff::Timestamp,
    /// The digest (SHA-256) of every file but this one and the chain.
    pub files: BTreeMap<String, String>,
}

/// A place in the chain: its number, and the hash that names it and everything before it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The number.
    pub link: i64,
    /// The hash, in hexadecimal digits.
    pub hash: String,
}

impl std::fmt::Display for Head {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.link, self.hash)
    }
}

fn digest(text: &str) -> String {
    data_encoding::HEXLOWER.encode(&Sha256::digest(text.as_bytes()))
}
