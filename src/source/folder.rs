//! A folder as a source: `manifests/`, `cohorts/` and `flags/` under it, else all of it.
//!
//! Must not know: what the files mean, or who is waiting for a change (that is `wake`).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use git2::{ObjectType, Oid, Repository, StatusOptions};
use notify::event::ModifyKind;
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};

use super::SourceError;
use super::git_read::commit_facts;
use super::select::{ROOTS, belongs, is_document, skips_folder};
use super::snapshot::{Content, File, MAX_DOCUMENT, MAX_HELD, Revision, Seen, Snapshot};
use super::wake::Wake;

/// How deep folders are followed.
const MAX_DEPTH: usize = 16;

/// Reads a folder once, without watching it. A single document may be given in a folder's place; the files it names are
/// looked for beside it. Blocking.
///
/// # Errors
/// [`SourceError::NoFolder`], [`SourceError::TooLarge`], [`SourceError::Io`].
pub fn read(path: &Path) -> Result<Snapshot, SourceError> {
    Folder::new(path.to_owned()).read()
}

/// A folder, and what is remembered of it between two looks.
pub(super) struct Folder {
    path: PathBuf,
    /// Large files are hashed again only when they look different.
    hashed: Mutex<HashMap<PathBuf, (Seen, Oid)>>,
    watch: Mutex<Option<Watch>>,
}

struct Watch {
    watcher: RecommendedWatcher,
    folders: HashSet<PathBuf>,
    /// What was removed or renamed since the last look.
    gone: Arc<Mutex<Vec<PathBuf>>>,
}

impl Folder {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, hashed: Mutex::default(), watch: Mutex::default() }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// From now on, changes in the folders that [`Folder::read`] visits mark `wake`. Returns whether the system can watch.
    pub(super) fn watch(&self, wake: Arc<Wake>) -> bool {
        let gone = Arc::<Mutex<Vec<PathBuf>>>::default();
        let removed = gone.clone();
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            // Reading a file is no change; an overflow or an error of the watch is a reason to look.
            match event {
                Ok(event) if event.kind.is_access() => return,
                Ok(Event { kind: EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)), paths, .. }) => {
                    lock(&removed).extend(paths);
                }
                _ => {}
            }
            wake.mark();
        });
        let watching = watcher.is_ok();
        *lock(&self.watch) = watcher.ok().map(|watcher| Watch { watcher, folders: HashSet::new(), gone });
        watching
    }

    /// Watches a folder before it is read, so that nothing can be added to it unseen.
    fn watch_folder(&self, folder: &Path) {
        if let Some(watch) = &mut *lock(&self.watch)
            && !watch.folders.contains(folder)
            && watch.watcher.watch(folder, RecursiveMode::NonRecursive).is_ok()
        {
            watch.folders.insert(folder.to_owned());
        }
    }

    /// Forgets folders that are gone: the system has dropped their watch, and a new one of the same name needs a new watch.
    fn forget_gone(&self) {
        let Some(watch) = &mut *lock(&self.watch) else { return };
        let gone = std::mem::take(&mut *lock(&watch.gone));
        let watcher = &mut watch.watcher;
        watch.folders.retain(|folder| {
            let here = folder.is_dir() && !gone.iter().any(|gone| folder.starts_with(gone));
            if !here {
                // It may be gone from the watcher as well, or live on elsewhere under another name.
                let _ = watcher.unwatch(folder);
            }
            here
        });
    }

    pub(super) fn read(&self) -> Result<Snapshot, SourceError> {
        self.forget_gone();
        let shown = self.path.display().to_string();
        let metadata = fs::metadata(&self.path).map_err(|_| SourceError::NoFolder(shown.clone()))?;
        let (top, only) = if metadata.is_file() {
            (
                self.path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")),
                Some(&*self.path),
            )
        } else {
            (&*self.path, None)
        };
        let top = top.canonicalize().map_err(|error| SourceError::io(shown, &error))?;
        let only = only.and_then(Path::file_name);
        self.watch_folder(&top);
        let roots: Vec<&str> = ROOTS.into_iter().filter(|root| only.is_none() && top.join(root).is_dir()).collect();
        let mut files = BTreeMap::new();
        if roots.is_empty() {
            self.walk(&top, &top, "", 0, &mut files)?;
        }
        for root in &roots {
            self.walk(&top, &top.join(root), &format!("{root}/"), 1, &mut files)?;
        }
        if let Some(only) = only.and_then(|only| only.to_str()) {
            files.retain(|path, _| path == only || !is_document(path));
        }
        Ok(Snapshot::new(String::new(), files, work_tree(&top, &roots)))
    }

    fn walk(
        &self,
        top: &Path,
        folder: &Path,
        prefix: &str,
        depth: usize,
        files: &mut BTreeMap<String, File>,
    ) -> Result<(), SourceError> {
        if depth > MAX_DEPTH {
            return Ok(());
        }
        self.watch_folder(folder);
        let entries = fs::read_dir(folder).map_err(|error| SourceError::io(prefix, &error))?;
        for entry in entries {
            let entry = entry.map_err(|error| SourceError::io(prefix, &error))?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            let path = format!("{prefix}{name}");
            let kind = entry.file_type().map_err(|error| SourceError::io(&*path, &error))?;
            if kind.is_dir() {
                if !skips_folder(name) {
                    self.walk(top, &entry.path(), &format!("{path}/"), depth + 1, files)?;
                }
                continue;
            }
            if !belongs(&path) || (kind.is_symlink() && !leads_inside(top, &entry.path())) {
                continue;
            }
            if let Some(file) = self.file(&path, &entry.path())? {
                files.insert(path, file);
            }
        }
        Ok(())
    }

    /// Reads a file, or only hashes it if it is large. One that vanished since its folder was read is passed over.
    fn file(&self, path: &str, on_disk: &Path) -> Result<Option<File>, SourceError> {
        let metadata = match fs::metadata(on_disk) {
            Ok(metadata) if metadata.is_file() => metadata,
            Ok(_) => return Ok(None),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(SourceError::io(path, &error)),
        };
        let (size, executable) = (metadata.len(), metadata.permissions().mode() & 0o111 != 0);
        if is_document(path) && size > MAX_DOCUMENT {
            return Err(SourceError::TooLarge { file: path.to_owned(), size, most: MAX_DOCUMENT });
        }
        let git = |error: git2::Error| SourceError::Git(error.message().to_owned());
        if is_document(path) || size <= MAX_HELD {
            let bytes = fs::read(on_disk).map_err(|error| SourceError::io(path, &error))?;
            let id = Oid::hash_object(ObjectType::Blob, &bytes).map_err(git)?;
            let file = File::new(path, bytes.len() as u64, id, Content::Held(bytes.into()));
            return Ok(Some(file.executable(executable)));
        }
        let seen = Seen::of(&metadata);
        let known = lock(&self.hashed).get(on_disk).filter(|(before, _)| *before == seen).map(|(_, id)| *id);
        let id = match known {
            Some(id) => id,
            None => Oid::hash_file(ObjectType::Blob, on_disk).map_err(git)?,
        };
        lock(&self.hashed).insert(on_disk.to_owned(), (seen, id));
        Ok(Some(File::new(path, size, id, Content::OnDisk { path: on_disk.to_owned(), seen }).executable(executable)))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A link is followed to a file of the same folder only (as a mounted ConfigMap has them).
fn leads_inside(top: &Path, link: &Path) -> bool {
    link.canonicalize().is_ok_and(|target| target.starts_with(top) && target.is_file())
}

/// The commit a folder's work tree stands on, if it is one; its author and dates only if the files are the commit's.
fn work_tree(top: &Path, roots: &[&str]) -> Option<Revision> {
    let repository = Repository::discover(top).ok()?;
    let inside = top.strip_prefix(repository.workdir()?.canonicalize().ok()?).ok()?.to_str()?.to_owned();
    let head = repository.head().ok()?.peel_to_commit().ok()?;
    let mut options = StatusOptions::new();
    options.include_untracked(true).recurse_untracked_dirs(true).exclude_submodules(true);
    if roots.is_empty() {
        if !inside.is_empty() {
            options.pathspec(&inside);
        }
    } else {
        for root in roots {
            options.pathspec(if inside.is_empty() { (*root).to_owned() } else { format!("{inside}/{root}") });
        }
    }
    let statuses = repository.statuses(Some(&mut options)).ok()?;
    let dirty = statuses.iter().any(|entry| entry.path().is_ok_and(belongs));
    let mut facts = if dirty { Revision::default() } else { commit_facts(&head) };
    facts.id = String::new();
    facts.commit = Some(if dirty { format!("{}+dirty", head.id()) } else { head.id().to_string() });
    Some(facts)
}

/// A folder's path within the repository whose work tree it is in.
pub(super) fn within_repository(folder: &Path) -> Result<String, SourceError> {
    let outside = || SourceError::NoRevision("the folder is not in a Git work tree".to_owned());
    let repository = Repository::discover(folder).map_err(|_| outside())?;
    let top = repository.workdir().and_then(|top| top.canonicalize().ok()).ok_or_else(outside)?;
    let folder = folder.canonicalize().map_err(|_| SourceError::NoFolder(folder.display().to_string()))?;
    let inside = folder.strip_prefix(top).map_err(|_| outside())?;
    inside.to_str().map(str::to_owned).ok_or_else(outside)
}

#[cfg(test)]
#[path = "folder_tests.rs"]
mod tests;
