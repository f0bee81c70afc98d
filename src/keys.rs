//! The keys of an installation: made once in the data folder, readable by their owner only, or given as files.
//!
//! Must not know: what the keys are used for beyond their names. A key never appears in a message or a log.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::{ExposeSecret as _, SecretBox};
use sha2::{Digest as _, Sha256};

/// A key and the name by which it is told from its successors.
#[derive(Debug)]
pub struct Key {
    /// Eight hexadecimal digits that follow from the key and give nothing of it away.
    pub id: String,
    bytes: SecretBox<[u8; 32]>,
}

impl Key {
    /// A key from its bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        let mut named = Sha256::new_with_prefix(b"betagate key id\0");
        named.update(bytes);
        Self { id: HEXLOWER.encode(&named.finalize()[..4]), bytes: SecretBox::new(Box::new(bytes)) }
    }

    /// The bytes, for a keyed function and nothing else.
    pub fn expose(&self) -> &[u8; 32] {
        self.bytes.expose_secret()
    }

    /// HMAC-SHA256 of `message`: a stable name for something that must not be told.
    pub fn hash(&self, message: &[u8]) -> [u8; 32] {
        let mut hash = [0; 32];
        // An HMAC takes a key of any length: this cannot fail.
        if let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(self.expose()) {
            mac.update(message);
            hash.copy_from_slice(&mac.finalize().into_bytes());
        }
        hash
    }
}

/// Every key of an installation. Losing `invite` makes unsent codes unmakeable; `pseudonym` names people who are erased.
#[derive(Debug)]
pub struct Keys {
    /// Makes invite codes.
    pub invite: Key,
    /// Names people where their address must not stand.
    pub pseudonym: Key,
    /// Seals what is kept of outside accounts.
    pub credential: Key,
    /// Signs confirmation links and the like.
    pub token: Key,
}

/// Why the keys are not to be had. None of them passes by itself.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file can't be read or written.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Not 64 hexadecimal digits.
    #[error("{}: a key file holds 64 hexadecimal digits", .0.display())]
    Malformed(PathBuf),
    /// Others may read it.
    #[error("{}: readable by others than its owner; it must have mode 0600", .0.display())]
    Exposed(PathBuf),
}

impl Keys {
    /// The keys in `folder` (the data folder's `keys/`, or a secret mounted there); those that are missing are made. Several processes may do so at
    /// once: all of them get the same keys.
    ///
    /// # Errors
    /// [`KeyError`] when a file can't be read or made, is malformed, or is readable by others.
    pub fn load_or_create(folder: &Path) -> Result<Self, KeyError> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(at(folder))?;
        Self::each(|name| {
            let path = folder.join(format!("{name}.key"));
            if !path.try_exists().map_err(at(&path))? {
                create(folder, &path)?;
            }
            let about = fs::metadata(&path).map_err(at(&path))?;
            // A mounted secret belongs to somebody else, who lets our group read it.
            let ours = about.uid() == rustix::process::geteuid().as_raw();
            if about.permissions().mode() & if ours { 0o077 } else { 0o037 } != 0 {
                return Err(KeyError::Exposed(path));
            }
            read(path)
        })
    }

    /// The keys in `folder`, all of which must be there (a mounted secret, whose file modes are not ours).
    ///
    /// # Errors
    /// [`KeyError`] when a file is missing, can't be read or is malformed.
    pub fn load(folder: &Path) -> Result<Self, KeyError> {
        Self::each(|name| read(folder.join(format!("{name}.key"))))
    }

    fn each(mut key: impl FnMut(&str) -> Result<Key, KeyError>) -> Result<Self, KeyError> {
        Ok(Self {
            invite: key("invite")?,
            pseudonym: key("pseudonym")?,
            credential: key("credential")?,
            token: key("token")?,
        })
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> KeyError + use<'_> {
    move |source| KeyError::File { path: path.to_owned(), source }
}

fn read(path: PathBuf) -> Result<Key, KeyError> {
    let text = fs::read_to_string(&path).map_err(at(&path))?;
    let bytes = HEXLOWER.decode(text.trim().as_bytes()).ok().and_then(|bytes| bytes.try_into().ok());
    bytes.map(Key::new).ok_or(KeyError::Malformed(path))
}

/// Writes a new key beside `path` and links it there whole, unless another process was faster.
fn create(folder: &Path, path: &Path) -> Result<(), KeyError> {
    let draft = folder.join(format!(".{}", uuid::Uuid::now_v7()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft).map_err(at(&draft))?;
    let key = HEXLOWER.encode(&rand::random::<[u8; 32]>());
    let made =
        writeln!(file, "{key}").and_then(|()| file.sync_all()).and_then(|()| match fs::hard_link(&draft, path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other,
        });
    let tidied = fs::remove_file(&draft);
    made.and(tidied).map_err(at(path))?;
    fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(at(folder))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
mod tests {
    use super::*;

    #[test]
    fn keys_are_made_once_and_only_for_their_owner() {
        let folder = tempfile::tempdir().unwrap();
        let keys = folder.path().join("keys");
        let first = Keys::load_or_create(&keys).unwrap();
        let again = Keys::load_or_create(&keys).unwrap();
        assert_eq!(first.invite.expose(), again.invite.expose());
        assert_ne!(first.invite.expose(), first.pseudonym.expose());
        for entry in fs::read_dir(&keys).unwrap() {
            assert_eq!(entry.unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert_eq!(fs::read_dir(&keys).unwrap().count(), 4);
        let shown = format!("{first:?}");
        assert!(!shown.contains(&HEXLOWER.encode(first.invite.expose())) && shown.contains("REDACTED"), "{shown}");
    }

    #[test]
    fn many_processes_at_once_get_the_same_keys() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let made: Vec<String> = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..8).map(|_| scope.spawn(|| Keys::load_or_create(path).unwrap().invite.id)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(made.windows(2).all(|pair| pair[0] == pair[1]), "{made:?}");
    }

    #[test]
    fn an_exposed_or_broken_key_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        Keys::load_or_create(folder.path()).unwrap();
        let invite = folder.path().join("invite.key");
        fs::set_permissions(&invite, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(Keys::load_or_create(folder.path()), Err(KeyError::Exposed(_))));
        assert!(Keys::load(folder.path()).is_ok());
        fs::set_permissions(&invite, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&invite, "short").unwrap();
        assert!(matches!(Keys::load_or_create(folder.path()), Err(KeyError::Malformed(_))));
        assert!(matches!(Keys::load(Path::new("/nonexistent")), Err(KeyError::File { .. })));
    }
}
