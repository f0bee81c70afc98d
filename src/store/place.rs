//! Whether a SQLite file still stands at its place. A file that was moved or deleted lives on for whoever has it open, and what is written to
//! it then is lost: a connection to such a file is closed, and until there is a file again the database is away.
//!
//! Must not know: any table.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Device and number of a file.
type Identity = (u64, u64);

/// A path, and the file that was last seen there.
pub(super) struct Place {
    path: PathBuf,
    seen: Mutex<Seen>,
}

struct Seen {
    file: Option<Identity>,
    /// When another file, or none, was found there. The age of connections is told by the same clock, which nobody sets.
    changed: Option<Instant>,
}

impl Place {
    /// The file that stands there now.
    pub(super) fn of(path: &Path) -> Self {
        let seen = Seen { file: identity(path), changed: None };
        Self { path: path.to_owned(), seen: Mutex::new(seen) }
    }

    /// Whether a connection that was made so long ago speaks to the file that stands there.
    pub(super) fn is_of(&self, age: Duration) -> bool {
        let file = identity(&self.path);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.file != file {
            *seen = Seen { file, changed: Some(Instant::now()) };
        }
        file.is_some() && seen.changed.is_none_or(|changed| age < changed.elapsed())
    }
}

fn identity(path: &Path) -> Option<Identity> {
    std::fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
}
