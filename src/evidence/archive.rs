//! An archive as a tar file: the same files give the same bytes.
//!
//! Must not know: what the files say.

use std::io::{Read as _, Write};

use super::Files;

/// The largest archive that is read.
const MOST_BYTES: u64 = 256 << 20;

/// What keeps an archive from being read or written. Terminal.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The file.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// It is no archive of betagate.
    #[error("{0}")]
    Strange(String),
}

/// Writes the files as a tar archive.
///
/// # Errors
/// See [`ArchiveError`].
pub fn write(files: &Files, into: impl Write) -> Result<(), ArchiveError> {
    let mut tar = tar::Builder::new(into);
    for (name, text) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(text.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(0);
        tar.append_data(&mut header, name, text.as_bytes())?;
    }
    tar.into_inner()?.flush()?;
    Ok(())
}

/// Reads a tar archive. Only plain files with plain names are taken; nothing is unpacked.
///
/// # Errors
/// See [`ArchiveError`].
pub fn read(from: impl std::io::Read) -> Result<Files, ArchiveError> {
    let mut files = Files::new();
    let mut tar = tar::Archive::new(from.take(MOST_BYTES));
    for entry in tar.entries()? {
        let mut entry = entry?;
        let name = entry.path()?.display().to_string();
        if !entry.header().entry_type().is_file() {
            return Err(ArchiveError::Strange(format!("{name} is no plain file")));
        }
        let mut text = String::new();
        entry.read_to_string(&mut text).map_err(|error| ArchiveError::Strange(format!("{name}: {error}")))?;
        if files.insert(name.clone(), text).is_some() {
            return Err(ArchiveError::Strange(format!("{name} is there twice")));
        }
    }
    if files.is_empty() {
        return Err(ArchiveError::Strange("there is nothing in it".to_owned()));
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn what_is_written_is_read_and_the_same_files_give_the_same_bytes() {
        let files: Files =
            [("run.json", "{}\n"), ("documents/cause.md", "# ö\n")].map(|(n, t)| (n.to_owned(), t.to_owned())).into();
        let (mut one, mut other) = (Vec::new(), Vec::new());
        write(&files, &mut one).unwrap();
        write(&files, &mut other).unwrap();
        assert_eq!(one, other);
        assert_eq!(read(one.as_slice()).unwrap(), files);
        assert!(read(&one[..one.len() / 2]).is_err() || read(&one[..700]).is_err(), "a torn archive is refused");
        assert!(matches!(read([0_u8; 1024].as_slice()), Err(ArchiveError::Strange(_))));
    }
}
