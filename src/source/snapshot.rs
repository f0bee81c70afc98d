//! A [`Snapshot`]: the files of one revision. Documents are held in memory; large lists are handles that stream.
//!
//! Must not know: what the files mean, or how they were fetched.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::{self, BufReader, Cursor, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use data_encoding::HEXLOWER;
use git2::{ObjectType, Oid};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::SourceError;
use super::cluster::Key;
use super::select::is_document;

/// The most bytes a document may have.
pub(super) const MAX_DOCUMENT: u64 = 16 << 20;
/// Other files up to this size are held in memory, larger ones are streamed.
pub(super) const MAX_HELD: u64 = 256 << 10;

/// Who wrote a commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Author {
    /// As the commit says.
    pub name: String,
    /// As the commit says.
    pub email: String,
    /// Whether the commit's signature was checked against a known key. Without that, anybody can write any name.
    pub verified: bool,
}

/// Which revision it is, for status, plans and the record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Revision {
    /// The commit's id, or for a folder the digest of its files.
    pub id: String,
    /// The digest of the files alone: two commits that differ elsewhere have the same.
    pub content: String,
    /// For a folder in a Git work tree: the commit it stands on, with `+dirty` if its files differ from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// The committer's date.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub committed_at: Option<Timestamp>,
    /// The author's date.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authored_at: Option<Timestamp>,
    /// The commit's author.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<Author>,
    /// The first line of the commit's message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
}

impl Revision {
    /// Short enough for a line of status: `1f2e3d4c`, `1f2e3d4c+dirty`, or for a folder outside Git the digest's start.
    pub fn short(&self) -> String {
        let shown = self.commit.as_deref().unwrap_or(&self.id);
        let (id, dirty) = shown.split_once('+').map_or((shown, false), |(id, _)| (id, true));
        let id: String = id.chars().take(8).collect();
        if dirty { format!("{id}+dirty") } else { id }
    }
}

/// The files of one revision. Paths are relative, with forward slashes.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Which revision.
    pub revision: Revision,
    /// What stands before the paths to make them relative to the repository (`""`, or `sub/folder/`).
    pub prefix: String,
    /// The documents, and the other files that documents may name.
    pub files: BTreeMap<String, File>,
    /// Whether its documents are resources of a cluster, which count one by one: a file beside them may end as it likes.
    pub of_resources: bool,
    /// What is wrong with the files themselves, in words.
    pub problems: Vec<String>,
}

impl Snapshot {
    /// Puts a snapshot together; `commit` fills in what only Git knows. A folder's id is its content digest.
    pub(super) fn new(prefix: String, files: BTreeMap<String, File>, commit: Option<Revision>) -> Self {
        let mut digest = Sha256::new();
        for (path, file) in &files {
            for part in [path.as_str(), file.digest()] {
                digest.update((part.len() as u64).to_be_bytes());
                digest.update(part);
            }
            // Once it can be read there is something to be done.
            if file.is_away() {
                digest.update("away");
            }
        }
        let content = HEXLOWER.encode(&digest.finalize());
        let mut revision = commit.unwrap_or_default();
        if revision.id.is_empty() {
            revision.id.clone_from(&content);
        }
        revision.content = content;
        Self { revision, prefix, files, of_resources: false, problems: Vec::new() }
    }

    /// The same with what is wrong with its files. That is another revision: there is something to be told.
    #[must_use]
    pub(super) fn with_problems(mut self, problems: Vec<String>) -> Self {
        if !problems.is_empty() {
            let before = self.revision.content;
            self.revision.content = HEXLOWER.encode(&Sha256::digest(format!("{before}\n{}", problems.join("\n"))));
            if self.revision.id == before {
                self.revision.id.clone_from(&self.revision.content);
            }
            self.problems = problems;
        }
        self
    }

    /// A snapshot of files that were read elsewhere.
    pub fn of_files(files: BTreeMap<String, File>) -> Self {
        Self::new(String::new(), files, None)
    }

    /// Whether the file at a path holds documents: by its ending (`*.yaml`, `*.yml`, `*.json`), or in a cluster because it stands for a resource.
    pub fn is_document(&self, path: &str) -> bool {
        if self.of_resources { Key::of_path(path).is_some() } else { is_document(path) }
    }

    /// The documents with their bytes, by path.
    pub fn documents(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.files.iter().filter(|(path, _)| self.is_document(path)).filter_map(|(path, file)| match &file.content {
            Content::Held(bytes) => Some((path.as_str(), &**bytes)),
            _ => None,
        })
    }

    /// The files that hold documents, by path.
    pub fn document_files(&self) -> BTreeMap<String, File> {
        let documents = self.files.iter().filter(|(path, _)| self.is_document(path));
        documents.map(|(path, file)| (path.clone(), file.clone())).collect()
    }

    /// The same revision with other documents.
    #[must_use]
    pub fn with_documents(&self, documents: &BTreeMap<String, File>) -> Self {
        let others = self.files.iter().filter(|(path, _)| !self.is_document(path));
        let files = others.chain(documents).map(|(path, file)| (path.clone(), file.clone())).collect();
        let Self { revision, prefix, of_resources, problems, .. } = self;
        Self {
            revision: revision.clone(),
            prefix: prefix.clone(),
            files,
            of_resources: *of_resources,
            problems: problems.clone(),
        }
    }

    /// A file by its path.
    ///
    /// # Errors
    /// [`SourceError::NoFile`].
    pub fn file(&self, path: &str) -> Result<&File, SourceError> {
        self.files.get(path).ok_or_else(|| SourceError::NoFile(path.to_owned()))
    }

    /// A file that a document names: relative to the document's own folder, else to its root folder (`cohorts/`), else to
    /// the top.
    ///
    /// # Errors
    /// [`SourceError::NoFile`].
    pub fn named_by(&self, document: &str, name: &str) -> Result<(&str, &File), SourceError> {
        let own = document.rsplit_once('/').map_or("", |(folder, _)| folder);
        let root = document.split_once('/').map_or("", |(folder, _)| folder);
        let name = name.trim_start_matches("./");
        [own, root, ""]
            .into_iter()
            .map(|folder| if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") })
            .find_map(|path| self.files.get_key_value(&path))
            .map(|(path, file)| (path.as_str(), file))
            .ok_or_else(|| SourceError::NoFile(name.to_owned()))
    }
}

/// One file of a snapshot.
#[derive(Clone)]
pub struct File {
    path: Arc<str>,
    size: u64,
    digest: Arc<str>,
    executable: bool,
    content: Content,
}

#[derive(Clone)]
pub(super) enum Content {
    /// In memory.
    Held(Arc<[u8]>),
    /// In a folder: read when asked for, refused if it is no longer the same.
    OnDisk { path: PathBuf, seen: Seen },
    /// In a repository: read when asked for.
    InGit { repository: PathBuf, id: Oid },
    /// In a repository that did not answer so far: known by its digest alone.
    Away,
}

/// How a file on disk looked when it was hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    size: u64,
    modified: Option<SystemTime>,
}

impl Seen {
    pub(super) fn of(metadata: &fs::Metadata) -> Self {
        Self { size: metadata.len(), modified: metadata.modified().ok() }
    }
}

impl File {
    pub(super) fn new(path: &str, size: u64, id: Oid, content: Content) -> Self {
        Self { path: path.into(), size, digest: id.to_string().into(), executable: false, content }
    }

    /// The same file, of which it is said whether it can be run.
    pub(super) fn executable(self, executable: bool) -> Self {
        Self { executable, ..self }
    }

    /// Whether it can be run as a program.
    pub fn is_executable(&self) -> bool {
        self.executable
    }

    /// A file whose bytes are here.
    pub fn of_bytes(path: &str, bytes: Vec<u8>) -> Self {
        let id = Oid::hash_object(ObjectType::Blob, &bytes).unwrap_or(Oid::ZERO_SHA1);
        Self::new(path, bytes.len() as u64, id, Content::Held(Arc::from(bytes)))
    }

    /// A file of a repository that did not answer so far: it is there, and can't be read.
    pub fn away(path: &str, size: u64, digest: &str) -> Self {
        Self { path: path.into(), size, digest: digest.into(), executable: false, content: Content::Away }
    }

    /// Whether it is known by its digest alone.
    pub fn is_away(&self) -> bool {
        matches!(self.content, Content::Away)
    }

    /// Its size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Git's blob id of its bytes, in a folder too: equal exactly if the bytes are.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The same, to be kept.
    pub fn shared_digest(&self) -> Arc<str> {
        self.digest.clone()
    }

    /// Whether it is held in memory.
    pub fn is_held(&self) -> bool {
        matches!(self.content, Content::Held(_))
    }

    /// Where it lies, if it is not held in memory and a folder has it.
    pub fn on_disk(&self) -> Option<&Path> {
        match &self.content {
            Content::OnDisk { path, .. } => Some(path),
            Content::Held(_) | Content::InGit { .. } | Content::Away => None,
        }
    }

    /// Its bytes from the start, as a stream. Blocking; a file on disk that is no longer the one of the snapshot ends in an
    /// error of kind `InvalidData`, never in a silent mixture.
    ///
    /// # Errors
    /// [`SourceError::Changed`], [`SourceError::Io`], [`SourceError::Git`].
    pub fn open(&self) -> Result<Box<dyn Read + Send>, SourceError> {
        match &self.content {
            Content::Held(bytes) => Ok(Box::new(Cursor::new(bytes.clone()))),
            Content::OnDisk { path, seen } => {
                let file = fs::File::open(path).map_err(|error| SourceError::io(&*self.path, &error))?;
                let now = file.metadata().map_err(|error| SourceError::io(&*self.path, &error))?;
                if Seen::of(&now) != *seen {
                    return Err(SourceError::Changed(self.path.to_string()));
                }
                Ok(Box::new(Watchful { file: BufReader::new(file), path: path.clone(), seen: *seen }))
            }
            Content::InGit { repository, id } => self.open_blob(repository, *id),
            Content::Away => Err(SourceError::Away(self.path.to_string())),
        }
    }

    /// All its bytes. Blocking unless it is held; meant for templates and the like, not for lists.
    ///
    /// # Errors
    /// As [`File::open`].
    pub fn read(&self) -> Result<Arc<[u8]>, SourceError> {
        if let Content::Held(bytes) = &self.content {
            return Ok(bytes.clone());
        }
        let mut bytes = Vec::new();
        self.open()?.read_to_end(&mut bytes).map_err(|error| match error.kind() {
            io::ErrorKind::InvalidData => SourceError::Changed(self.path.to_string()),
            _ => SourceError::io(&*self.path, &error),
        })?;
        Ok(bytes.into())
    }

    /// Git unpacks a blob as a whole; it is put into a nameless file at once, so that its memory is free while it is read.
    fn open_blob(&self, repository: &Path, id: Oid) -> Result<Box<dyn Read + Send>, SourceError> {
        let git = |error: git2::Error| SourceError::Git(error.message().to_owned());
        let opened = git2::Repository::open(repository).map_err(git)?;
        let blob = opened.find_blob(id).map_err(git)?;
        if blob.content().len() as u64 <= MAX_DOCUMENT {
            return Ok(Box::new(Cursor::new(blob.content().to_vec())));
        }
        let spill = || -> io::Result<fs::File> {
            let path = opened.path().join(format!("betagate-{}-{}", std::process::id(), uuid::Uuid::now_v7().simple()));
            let mut file = fs::File::options().read(true).write(true).create_new(true).open(&path)?;
            fs::remove_file(&path)?;
            io::Write::write_all(&mut file, blob.content())?;
            file.seek(SeekFrom::Start(0))?;
            Ok(file)
        };
        let file = spill().map_err(|error| SourceError::io(&*self.path, &error))?;
        Ok(Box::new(BufReader::new(file)))
    }
}

/// The same bytes in the same place, and as much of them to be had.
impl PartialEq for File {
    fn eq(&self, other: &Self) -> bool {
        self.path == other.path && self.digest == other.digest && self.is_away() == other.is_away()
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("File")
            .field("path", &self.path)
            .field("size", &self.size)
            .field("digest", &self.digest)
            .finish()
    }
}

/// A file that says so at its end if it was changed while it was read.
struct Watchful {
    file: BufReader<fs::File>,
    path: PathBuf,
    seen: Seen,
}

impl Read for Watchful {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        if read == 0 && !buffer.is_empty() {
            let same =
                |metadata: io::Result<fs::Metadata>| metadata.is_ok_and(|metadata| Seen::of(&metadata) == self.seen);
            if !same(self.file.get_ref().metadata()) || !same(fs::metadata(&self.path)) {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "the file changed while it was read"));
            }
        }
        Ok(read)
    }
}
