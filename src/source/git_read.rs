//! Reading a repository's commits without a work tree: the files of a revision, and what two revisions differ in.
//!
//! Must not know: how commits got into the repository.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use git2::{Commit, DiffOptions, ErrorCode, ObjectType, Oid, Repository, Tree};
use jiff::Timestamp;

use super::SourceError;
use super::select::{ROOTS, belongs, is_document, skips_folder};
use super::snapshot::{Author, Content, File, MAX_DOCUMENT, MAX_HELD, Revision, Snapshot};

/// How deep folders are followed.
const MAX_DEPTH: usize = 16;
/// The mode of a symbolic link, and the bits of a program's, as Git keeps them.
const LINK: i32 = 0o120_000;
const EXECUTABLE: i32 = 0o111;

/// What happened to a file between two revisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is new.
    Added,
    /// Its bytes differ.
    Changed,
    /// It is gone.
    Removed,
}

/// The snapshot of a revision (commit, tag, branch, `HEAD~2`, or the name of a branch of `origin`) of the repository that
/// `folder` is in; `path` is the folder within the repository, `""` for all of it. Blocking.
///
/// # Errors
/// [`SourceError::NoRevision`], [`SourceError::NoFolder`], [`SourceError::TooLarge`], [`SourceError::Git`].
pub fn at(folder: &Path, revision: &str, path: &str) -> Result<Snapshot, SourceError> {
    let repository = open(folder)?;
    let commit = resolve(&repository, revision)?;
    snapshot(&repository, &commit, path, None)
}

/// Where the history of a revision and of what is checked out parted: what a branch itself changes is told from there. None when they have
/// nothing in common, or not enough of the history is here. Blocking.
///
/// # Errors
/// [`SourceError::NoRevision`], [`SourceError::Git`].
pub fn parted_from(folder: &Path, revision: &str) -> Result<Option<String>, SourceError> {
    let repository = open(folder)?;
    let base = resolve(&repository, revision)?.id();
    let Ok(head) = repository.head().and_then(|head| head.peel_to_commit()) else { return Ok(None) };
    Ok(repository.merge_base(base, head.id()).ok().map(|commit| commit.to_string()))
}

/// The files (of those that belong to a source) that differ between two revisions, by path within the repository. Blocking.
///
/// # Errors
/// [`SourceError::NoRevision`], [`SourceError::Git`].
pub fn changed_files(folder: &Path, from: &str, to: &str, path: &str) -> Result<BTreeMap<String, Change>, SourceError> {
    let repository = open(folder)?;
    let tree = |revision: &str| resolve(&repository, revision)?.tree().map_err(git);
    let (from, to) = (tree(from)?, tree(to)?);
    let mut options = DiffOptions::new();
    let path = clean(path)?;
    if !path.is_empty() {
        options.disable_pathspec_match(true).pathspec(path.as_str());
    }
    let diff = repository.diff_tree_to_tree(Some(&from), Some(&to), Some(&mut options)).map_err(git)?;
    let changes = diff.deltas().filter_map(|delta| {
        let (file, change) = match delta.status() {
            git2::Delta::Added => (delta.new_file(), Change::Added),
            git2::Delta::Deleted => (delta.old_file(), Change::Removed),
            _ => (delta.new_file(), Change::Changed),
        };
        let file = std::str::from_utf8(file.path_bytes()?).ok()?;
        belongs(file).then(|| (file.to_owned(), change))
    });
    Ok(changes.collect())
}

pub(super) fn open(folder: &Path) -> Result<Repository, SourceError> {
    Repository::discover(folder).map_err(git)
}

pub(super) fn resolve<'r>(repository: &'r Repository, revision: &str) -> Result<Commit<'r>, SourceError> {
    let found = repository
        .revparse_single(revision)
        .or_else(|_| repository.revparse_single(&format!("refs/remotes/origin/{revision}")))
        .and_then(|object| object.peel_to_commit());
    found.map_err(|_| SourceError::NoRevision(revision.to_owned()))
}

/// The snapshot of a commit. Files that `before` has with the same bytes are shared with it.
pub(super) fn snapshot(
    repository: &Repository,
    commit: &Commit<'_>,
    path: &str,
    before: Option<&Snapshot>,
) -> Result<Snapshot, SourceError> {
    let path = clean(path)?;
    let tree = top(repository, commit, &path)?;
    let mut walk = Walk { repository, before, files: BTreeMap::new() };
    let roots: Vec<(&str, Tree<'_>)> = ROOTS
        .into_iter()
        .filter_map(|root| {
            let entry = tree.get_name(root)?;
            Some((root, repository.find_tree(entry.id()).ok()?))
        })
        .collect();
    if roots.is_empty() {
        walk.tree(&tree, "", 0)?;
    }
    for (root, tree) in &roots {
        walk.tree(tree, &format!("{root}/"), 1)?;
    }
    let prefix = if path.is_empty() { path } else { format!("{path}/") };
    Ok(Snapshot::new(prefix, walk.files, Some(commit_facts(commit))))
}

/// The folder of a commit that holds the documents.
fn top<'r>(repository: &'r Repository, commit: &Commit<'r>, path: &str) -> Result<Tree<'r>, SourceError> {
    let tree = commit.tree().map_err(git)?;
    if path.is_empty() {
        return Ok(tree);
    }
    let entry = tree.get_path(Path::new(path)).map_err(|error| missing(&error, path))?;
    entry.to_object(repository).and_then(|object| object.peel_to_tree()).map_err(|error| missing(&error, path))
}

/// What of a commit is named from elsewhere, of whatever kind: files, and folders with all that is in them. A name that leads nowhere, or out of the
/// documents' folder, is passed over.
pub(super) fn named(
    repository: &Repository,
    commit: &Commit<'_>,
    path: &str,
    names: &BTreeSet<String>,
) -> Result<BTreeMap<String, File>, SourceError> {
    let tree = top(repository, commit, &clean(path)?)?;
    let mut files = BTreeMap::new();
    for name in names.iter().filter(|name| !name.is_empty() && !name.starts_with('/')) {
        let Ok(name) = clean(name) else { continue };
        if name.is_empty() {
            all_of(repository, &tree, "", 0, &mut files)?;
            continue;
        }
        // A word that can't be a path is none.
        let Ok(entry) = tree.get_path(Path::new(&name)) else { continue };
        match entry.kind() {
            Some(ObjectType::Tree) => {
                let tree = repository.find_tree(entry.id()).map_err(git)?;
                all_of(repository, &tree, &format!("{name}/"), 0, &mut files)?;
            }
            Some(ObjectType::Blob) if entry.filemode() != LINK => {
                let file = streamed(repository, &name, (entry.id(), entry.filemode()))?;
                files.insert(name, file);
            }
            _ => {}
        }
    }
    Ok(files)
}

fn all_of(
    repository: &Repository,
    tree: &Tree<'_>,
    prefix: &str,
    depth: usize,
    files: &mut BTreeMap<String, File>,
) -> Result<(), SourceError> {
    for entry in tree.iter().filter(|_| depth <= MAX_DEPTH) {
        let Ok(name) = entry.name() else { continue };
        let path = format!("{prefix}{name}");
        match entry.kind() {
            Some(ObjectType::Tree) => {
                let tree = repository.find_tree(entry.id()).map_err(git)?;
                all_of(repository, &tree, &format!("{path}/"), depth + 1, files)?;
            }
            Some(ObjectType::Blob) if entry.filemode() != LINK => {
                let file = streamed(repository, &path, (entry.id(), entry.filemode()))?;
                files.insert(path, file);
            }
            _ => {}
        }
    }
    Ok(())
}

/// A file that is read only when it is asked for.
fn streamed(repository: &Repository, path: &str, (id, mode): (Oid, i32)) -> Result<File, SourceError> {
    let (size, _) = repository.odb().and_then(|objects| objects.read_header(id)).map_err(git)?;
    let content = Content::InGit { repository: repository.path().to_owned(), id };
    Ok(File::new(path, size as u64, id, content).executable(mode & EXECUTABLE != 0))
}

struct Walk<'w> {
    repository: &'w Repository,
    before: Option<&'w Snapshot>,
    files: BTreeMap<String, File>,
}

impl Walk<'_> {
    fn tree(&mut self, tree: &Tree<'_>, prefix: &str, depth: usize) -> Result<(), SourceError> {
        for entry in tree.iter().filter(|_| depth <= MAX_DEPTH) {
            let Ok(name) = entry.name() else { continue };
            let path = format!("{prefix}{name}");
            match entry.kind() {
                Some(ObjectType::Tree) if !skips_folder(name) => {
                    let tree = self.repository.find_tree(entry.id()).map_err(git)?;
                    self.tree(&tree, &format!("{path}/"), depth + 1)?;
                }
                Some(ObjectType::Blob) if belongs(&path) && entry.filemode() != LINK => {
                    let file = self.file(&path, entry.id())?.executable(entry.filemode() & EXECUTABLE != 0);
                    self.files.insert(path, file);
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn file(&self, path: &str, id: Oid) -> Result<File, SourceError> {
        let before = self.before.and_then(|before| before.files.get(path));
        if let Some(same) = before.filter(|file| file.digest() == id.to_string()) {
            return Ok(same.clone());
        }
        let (size, _) = self.repository.odb().and_then(|objects| objects.read_header(id)).map_err(git)?;
        let size = size as u64;
        if is_document(path) && size > MAX_DOCUMENT {
            return Err(SourceError::TooLarge { file: path.to_owned(), size, most: MAX_DOCUMENT });
        }
        let content = if is_document(path) || size <= MAX_HELD {
            Content::Held(self.repository.find_blob(id).map_err(git)?.content().into())
        } else {
            Content::InGit { repository: self.repository.path().to_owned(), id }
        };
        Ok(File::new(path, size, id, content))
    }
}

/// What a commit says about itself.
pub(super) fn commit_facts(commit: &Commit<'_>) -> Revision {
    let instant = |time: git2::Time| Timestamp::from_second(time.seconds()).ok();
    let author = commit.author();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Revision {
        id: commit.id().to_string(),
        committed_at: instant(commit.time()),
        authored_at: instant(author.when()),
        // Signatures are not checked yet: whoever can push can write any name.
        author: Some(Author { name: text(author.name_bytes()), email: text(author.email_bytes()), verified: false }),
        subject: commit.summary_bytes().map(text),
        ..Revision::default()
    }
}

/// A path within the repository, without slashes around it; one that leads out of it is refused.
pub(super) fn clean(path: &str) -> Result<String, SourceError> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if parts.contains(&"..") {
        return Err(SourceError::Settings(format!("the path `{path}` leads out of the repository")));
    }
    Ok(parts.join("/"))
}

fn missing(error: &git2::Error, path: &str) -> SourceError {
    match error.code() {
        ErrorCode::NotFound | ErrorCode::Peel | ErrorCode::InvalidSpec => SourceError::NoFolder(path.to_owned()),
        _ => SourceError::Git(error.message().to_owned()),
    }
}

pub(super) fn git(error: git2::Error) -> SourceError {
    SourceError::Git(error.message().to_owned())
}
