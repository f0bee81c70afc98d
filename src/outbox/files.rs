//! Files that only their owner can read.
//!
//! Must not know: what is in them.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

const OWNER_ONLY: u32 = 0o600;

/// Makes a folder and those above it, for their owner only.
pub(super) fn folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Writes a file in one step: it is there with all of its text, or as it was before.
pub(super) fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    let fresh = beside(path);
    let mut file = File::options().write(true).create(true).truncate(true).mode(OWNER_ONLY).open(&fresh)?;
    file.write_all(text)?;
    file.sync_data()?;
    fs::rename(&fresh, path)
}

/// Writes a file in one step, unless there is one of that name; whether it was written.
pub(super) fn create(path: &Path, text: &[u8]) -> io::Result<bool> {
    let fresh = beside(path);
    let mut file = File::options().write(true).create(true).truncate(true).mode(OWNER_ONLY).open(&fresh)?;
    file.write_all(text)?;
    file.sync_data()?;
    // A link, unlike a renaming, refuses a name that is taken.
    let linked = fs::hard_link(&fresh, path);
    fs::remove_file(&fresh)?;
    match linked {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

/// Adds a line at the end of a file.
pub(super) fn append(path: &Path, line: &str) -> io::Result<()> {
    let mut file = File::options().append(true).create(true).mode(OWNER_ONLY).open(path)?;
    // One write, so that lines of several writers do not mix.
    file.write_all(format!("{line}\n").as_bytes())
}

/// A name in the same folder that nobody else uses.
fn beside(path: &Path) -> std::path::PathBuf {
    path.with_file_name(format!(".{}.new", uuid::Uuid::now_v7()))
}
