//! The data folder of `up`: who holds it, and where the running server is found.
//!
//! The lock is the kernel's (`flock`), so it is gone with its holder, whatever way that dies; the file's text only tells who holds it.
//! `server.json` can outlive a killed `up`: it names a process by id *and* start, and is ignored when that one is gone.
//!
//! Must not know: what is in the folder besides.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Seek, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::ProcessError;

const LOCK_FILE: &str = "lock";
const SERVER_FILE: &str = "server.json";
/// Readable and writable by their owner only.
const OWNER_ONLY: u32 = 0o600;
/// The longest text of a lock file that is read, in bytes.
const HOLDER_BYTES: u64 = 200;

/// The held data folder. Dropping it takes `server.json` away and lets the folder go.
#[derive(Debug)]
pub struct FolderLock {
    folder: PathBuf,
    /// The lock lives as long as this file is open. Children do not inherit it.
    _file: File,
}

/// What `server.json` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerFile {
    /// Where the server listens.
    pub address: SocketAddr,
    /// The process id of `up`.
    pub pid: u32,
    /// When that process was started, in the kernel's ticks since boot: ids are used again, pairs are not.
    pub pid_started: u64,
    /// The file with the administrator's token.
    pub admin_token_file: PathBuf,
    /// Since when it serves.
    pub since: Timestamp,
}

impl FolderLock {
    /// Takes the folder, making it (owner only) when it is not there.
    ///
    /// # Errors
    /// [`ProcessError::FolderHeld`] when another process has it; [`ProcessError::Folder`] when it can't be used.
    pub fn take(folder: &Path, now: Timestamp) -> Result<Self, ProcessError> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|e| trouble(folder, e))?;
        let path = folder.join(LOCK_FILE);
        let failed = |error: io::Error| trouble(&path, error);
        let mut options = File::options();
        // Not truncated on opening: until the lock is ours, the text is another's.
        let mut file =
            options.read(true).write(true).create(true).truncate(false).mode(OWNER_ONLY).open(&path).map_err(failed)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                let mut holder = String::new();
                let _ = file.take(HOLDER_BYTES).read_to_string(&mut holder);
                let holder = if holder.is_empty() { "another betagate".into() } else { holder.trim_end().to_owned() };
                return Err(ProcessError::FolderHeld { folder: folder.to_owned(), holder });
            }
            Err(error) => return Err(failed(error.into())),
        }
        file.set_len(0).and_then(|()| file.rewind()).map_err(failed)?;
        writeln!(file, "betagate with process id {}, since {now}", std::process::id()).map_err(failed)?;
        Ok(Self { folder: folder.to_owned(), _file: file })
    }

    /// Tells other commands where this process serves: writes `server.json` (owner only, replaced in one step).
    ///
    /// # Errors
    /// [`ProcessError::Folder`] when it can't be written.
    pub fn publish(&self, address: SocketAddr, admin_token_file: &Path, since: Timestamp) -> Result<(), ProcessError> {
        let pid = std::process::id();
        let path = self.folder.join(SERVER_FILE);
        let failed = |error: io::Error| trouble(&path, error);
        let pid_started = started(pid).ok_or_else(|| failed(io::Error::other("this process is not in /proc")))?;
        let admin_token_file = admin_token_file.to_owned();
        let text = serde_json::to_vec_pretty(&ServerFile { address, pid, pid_started, admin_token_file, since });
        let fresh = self.folder.join(format!(".{SERVER_FILE}.{pid}"));
        let _ = fs::remove_file(&fresh);
        let mut file = File::options().write(true).create_new(true).mode(OWNER_ONLY).open(&fresh).map_err(failed)?;
        file.write_all(&text.map_err(|e| failed(e.into()))?).map_err(failed)?;
        fs::rename(&fresh, &path).map_err(failed)
    }

    /// The folder held.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for FolderLock {
    fn drop(&mut self) {
        // Before the lock goes, so that it can only be our own. One that stays is ignored by its readers.
        let _ = fs::remove_file(self.folder.join(SERVER_FILE));
    }
}

impl ServerFile {
    /// The server of a data folder; `None` when none is running (no file, or one that was left behind).
    ///
    /// # Errors
    /// [`ProcessError::Folder`] when the file is there and can't be read.
    pub fn read(folder: &Path) -> Result<Option<Self>, ProcessError> {
        let path = folder.join(SERVER_FILE);
        match fs::read(&path) {
            Ok(text) => {
                let found: Option<Self> = serde_json::from_slice(&text).ok();
                Ok(found.filter(|server| started(server.pid) == Some(server.pid_started)))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(trouble(&path, error)),
        }
    }
}

fn trouble(path: &Path, source: io::Error) -> ProcessError {
    ProcessError::Folder { path: path.to_owned(), source }
}

/// When a process was started, in ticks since boot; `None` when there is none of that id, or only its remains.
fn started(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in parentheses and may hold anything; after it, field 3 is the state and field 22 the start.
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    (state != "Z").then(|| fields.nth(18))??.parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_second_holder_is_refused_and_told_who_has_the_folder() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("data");
        let now: Timestamp = "2026-03-02T09:00:00Z".parse().unwrap();
        let held = FolderLock::take(&folder, now).unwrap();
        let said = FolderLock::take(&folder, now).unwrap_err().to_string();
        assert!(said.contains(&format!("process id {}, since 2026-03-02T09:00:00Z", std::process::id())), "{said}");
        assert_eq!((mode(&folder), mode(&folder.join(LOCK_FILE))), (0o700, 0o600));
        drop(held);
        FolderLock::take(&folder, now).unwrap();
    }

    #[test]
    fn the_server_file_is_private_found_and_gone_with_its_server() {
        let place = tempfile::tempdir().unwrap();
        let now: Timestamp = "2026-03-02T09:00:00Z".parse().unwrap();
        let held = FolderLock::take(place.path(), now).unwrap();
        assert_eq!(ServerFile::read(place.path()).unwrap(), None);
        let address: SocketAddr = "127.0.0.1:8080".parse().unwrap();
        held.publish(address, Path::new("admin.token"), now).unwrap();
        held.publish(address, Path::new("admin.token"), now).unwrap();
        let found = ServerFile::read(place.path()).unwrap().unwrap();
        assert_eq!((found.address, found.pid), (address, std::process::id()));
        assert_eq!(mode(&place.path().join(SERVER_FILE)), 0o600);
        drop(held);
        assert_eq!(ServerFile::read(place.path()).unwrap(), None);
    }

    #[test]
    fn a_server_file_left_behind_is_ignored_also_when_its_process_id_is_used_again() {
        let place = tempfile::tempdir().unwrap();
        let server = |pid_started| ServerFile {
            address: "127.0.0.1:8080".parse().unwrap(),
            pid: std::process::id(),
            pid_started,
            admin_token_file: "admin.token".into(),
            since: Timestamp::UNIX_EPOCH,
        };
        let mine = started(std::process::id()).unwrap();
        let write = |text: &str| fs::write(place.path().join(SERVER_FILE), text).unwrap();
        write(&serde_json::to_string(&server(mine)).unwrap());
        assert!(ServerFile::read(place.path()).unwrap().is_some());
        write(&serde_json::to_string(&server(mine + 1)).unwrap());
        assert_eq!(ServerFile::read(place.path()).unwrap(), None);
        write("half a fi");
        assert_eq!(ServerFile::read(place.path()).unwrap(), None);
    }
}
