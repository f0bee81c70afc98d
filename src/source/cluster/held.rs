//! What was seen in a namespace: each resource as a document with what a status needs to know of it, and the files of ConfigMaps.
//!
//! The server's bookkeeping (managed fields, annotations) is let go at once: ten thousand resources are to fit into a small pod.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use betagate_core::resources::{API_VERSION, Kind};
use data_encoding::HEXLOWER;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DynamicObject, ObjectMeta};
use kube::runtime::watcher::Event;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::super::snapshot::{File, Revision, Snapshot};
use super::super::wake::Wake;
use super::super::{SourceError, lock};
use super::files::{Maps, doubled, files_of, is_cause};
use super::marks::Marks;
use super::shared::Shared;
use super::{CARRIED_LABEL, OWN_MANAGERS, RECORD_MANAGER, RECORDED_ANNOTATION, RECORDED_LABEL};

/// A watch tells of failures only, not that it works again without news: one that has not failed for longer than its longest pause and a page of a list that nobody
/// answers works.
const FAILS_FOR: Duration = Duration::from_secs(80);

/// Which resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: String,
}

impl Key {
    /// Where its document stands in the snapshot.
    pub fn path(&self) -> String {
        format!("{}/{}.yaml", self.kind.plural(), self.name)
    }

    /// The resource whose document stands there.
    pub fn of_path(path: &str) -> Option<Self> {
        let (plural, file) = path.split_once('/')?;
        Some(Self { kind: plural.parse().ok()?, name: file.strip_suffix(".yaml")?.to_owned() })
    }
}

/// A resource as it was seen.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Which one of its name it is.
    pub uid: String,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// Counts the changes of its spec.
    pub generation: Option<i64>,
    /// Counts all its changes.
    pub resource_version: String,
    /// Somebody asked for its deletion.
    pub deleting: bool,
    /// Who must agree before it is gone.
    pub finalizers: Vec<String>,
    /// Written by the controller for people to see, and as it wrote it: the digest of what it says.
    pub recorded: Option<String>,
    /// Written by the controller for people to see, and changed by somebody else since.
    pub taken_over: bool,
    /// Applied by somebody who carries the word of others: a tool that says so, or the controller.
    pub carried: bool,
    /// The program it belongs to, as it says itself.
    pub program: String,
    /// Its status, as text: a tree of values is many times as large. Shared with whoever says the same.
    status: Arc<str>,
    /// What its bookkeeping says of who applied it; only where documents are brought from Git.
    pub marks: Option<Box<Marks>>,
    file: File,
}

impl Seen {
    /// Its document.
    pub fn document(&self) -> Value {
        let bytes = self.file.read().unwrap_or_default();
        serde_json::from_slice(&bytes).unwrap_or_default()
    }

    /// Of its document: equal exactly if it says the same.
    pub fn digest(&self) -> &str {
        self.file.digest()
    }

    /// Its status; null where it has none.
    pub fn status(&self) -> Value {
        serde_json::from_str(&self.status).unwrap_or_default()
    }
}

/// What is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum What {
    Kind(Kind),
    Files,
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kind(kind) => write!(f, "{kind} ({API_VERSION})"),
            Self::Files => write!(f, "ConfigMap"),
        }
    }
}

pub(super) struct Held {
    state: Mutex<State>,
    /// What statuses say.
    texts: Mutex<Shared>,
    wake: Arc<Wake>,
    version: AtomicU64,
    /// Whether documents are brought from Git.
    from_git: bool,
}

/// What Git brings beside resources.
#[derive(PartialEq)]
struct Laid {
    files: BTreeMap<String, File>,
    revision: Option<Revision>,
}

#[derive(Default)]
struct State {
    laid: Option<Laid>,
    resources: BTreeMap<Key, Arc<Seen>>,
    files: Maps,
    /// What a list that is under way has brought.
    listed: BTreeMap<Kind, BTreeMap<Key, Arc<Seen>>>,
    listed_files: Option<Maps>,
    complete: BTreeSet<What>,
    failing: BTreeMap<What, (Instant, String)>,
}

impl Held {
    pub(super) fn new(wake: Arc<Wake>, from_git: bool) -> Self {
        Self { state: Mutex::default(), texts: Mutex::default(), wake, version: AtomicU64::new(0), from_git }
    }

    pub(super) fn lay(&self, files: BTreeMap<String, File>, revision: Option<Revision>) {
        let laid = Some(Laid { files, revision });
        let mut state = self.state();
        if state.laid != laid {
            state.laid = laid;
            drop(state);
            self.wake.mark();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    pub(super) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    pub(super) fn resources(&self) -> Vec<(Key, Arc<Seen>)> {
        self.state().resources.iter().map(|(key, seen)| (key.clone(), seen.clone())).collect()
    }

    pub(super) fn resource(&self, key: &Key) -> Option<Arc<Seen>> {
        self.state().resources.get(key).cloned()
    }

    pub(super) fn is_complete(&self) -> bool {
        self.state().is_complete()
    }

    /// A file of a certain ConfigMap: somebody may keep a copy beside it.
    pub(super) fn file(&self, map: &str, path: &str) -> Option<Arc<[u8]>> {
        self.state().files.get(map)?.get(path)?.read().ok()
    }

    /// A watch fails; whether that is news.
    pub(super) fn failing(&self, what: What, words: &str) -> bool {
        let before = self.state().failing.insert(what, (Instant::now(), words.to_owned()));
        let known = before.is_some_and(|(at, before)| before == words && at.elapsed() < FAILS_FOR);
        if !known {
            // The source says so in its state.
            self.wake.mark();
        }
        !known
    }

    pub(super) fn failure(&self) -> Option<SourceError> {
        let mut state = self.state();
        state.failing.retain(|_, (at, _)| at.elapsed() < FAILS_FOR);
        state.failing.values().next().map(|(_, words)| SourceError::Cluster(words.clone()))
    }

    pub(super) fn snapshot(&self) -> Result<Snapshot, SourceError> {
        let failure = self.failure();
        let state = self.state();
        if !state.is_complete() {
            let not_yet = || SourceError::Cluster("its resources were not all seen yet".to_owned());
            return Err(failure.unwrap_or_else(not_yet));
        }
        let wanted = state.resources.iter().filter(|(key, seen)| is_wanted(key, seen));
        let mut files: BTreeMap<String, File> = wanted.map(|(key, seen)| (key.path(), seen.file.clone())).collect();
        if self.from_git && state.laid.is_none() {
            return Err(SourceError::Cluster("what Git brings beside its resources is not known yet".to_owned()));
        }
        // What stands in the same commit as the document that names it is meant first.
        let laid = state.laid.iter().flat_map(|laid| &laid.files);
        let own = state.files.values().flatten().filter(|(path, _)| !is_cause(path));
        for (path, file) in laid.chain(own) {
            files.entry(path.clone()).or_insert_with(|| file.clone());
        }
        let revision = state.laid.as_ref().and_then(|laid| laid.revision.clone());
        // The commit that the documents were brought from, as for a folder that stands on one; what it is told by is what is there.
        let about = revision.map(|it| Revision { commit: Some(it.id), id: String::new(), ..it });
        let snapshot = Snapshot { of_resources: true, ..Snapshot::new(String::new(), files, about) };
        Ok(snapshot.with_problems(doubled(&state.files, state.laid.as_ref().map(|laid| &laid.files))))
    }

    /// Takes in what a watch of resources brought.
    pub(super) fn take(&self, kind: Kind, event: Event<DynamicObject>) {
        let mut state = self.state();
        let news = match event {
            Event::Init => {
                state.listed.insert(kind, BTreeMap::new());
                return;
            }
            Event::InitApply(object) => {
                let (key, seen) = self.seen(kind, object);
                state.listed.entry(kind).or_default().insert(key, Arc::new(seen));
                return;
            }
            Event::InitDone => state.replace(kind),
            Event::Apply(object) => {
                let (key, seen) = self.seen(kind, object);
                state.put(key, seen)
            }
            Event::Delete(object) => {
                let key = Key { kind, name: object.metadata.name.unwrap_or_default() };
                state.resources.remove(&key).is_some_and(|seen| is_wanted(&key, &seen))
            }
        };
        self.took(state, What::Kind(kind), news);
    }

    /// Takes in what the watch of ConfigMaps brought.
    pub(super) fn take_files(&self, event: Event<ConfigMap>) {
        let mut state = self.state();
        match event {
            Event::Init => {
                state.listed_files = Some(BTreeMap::new());
                return;
            }
            Event::InitApply(map) => {
                let name = map.metadata.name.clone().unwrap_or_default();
                state.listed_files.get_or_insert_default().insert(name, files_of(map));
                return;
            }
            Event::InitDone => state.files = state.listed_files.take().unwrap_or_default(),
            Event::Apply(map) => {
                let name = map.metadata.name.clone().unwrap_or_default();
                state.files.insert(name, files_of(map));
            }
            Event::Delete(map) => drop(state.files.remove(&map.metadata.name.unwrap_or_default())),
        }
        self.took(state, What::Files, true);
    }

    /// Takes in what a write answered; a watch that is behind does not undo it.
    pub(super) fn wrote(&self, kind: Kind, object: DynamicObject) {
        let (key, seen) = self.seen(kind, object);
        let mut state = self.state();
        // The answer may be slower than the watch that told of its deletion: it brings nothing back.
        if state.resources.get(&key).is_some_and(|known| known.uid == seen.uid) {
            // A status that was written may come back with a document that the watch has not told of yet.
            let news = state.put(key, seen);
            drop(state);
            self.version.fetch_add(1, Ordering::AcqRel);
            if news {
                self.wake.mark();
            }
        }
    }

    fn seen(&self, kind: Kind, object: DynamicObject) -> (Key, Seen) {
        let marks = self.from_git.then(|| Box::new(Marks::of(&object)));
        let (key, mut seen) = seen(kind, object);
        seen.status = lock(&self.texts).share(seen.status);
        (key, Seen { marks, ..seen })
    }

    fn took(&self, mut state: MutexGuard<'_, State>, what: What, news: bool) {
        let first = state.complete.insert(what);
        let recovered = state.failing.remove(&what).is_some();
        drop(state);
        self.version.fetch_add(1, Ordering::AcqRel);
        if news || first || recovered {
            self.wake.mark();
        }
    }
}

impl State {
    fn is_complete(&self) -> bool {
        self.complete.len() > Kind::ALL.len()
    }

    /// Says whether it is news to what is wanted: a status alone is not.
    fn put(&mut self, key: Key, seen: Seen) -> bool {
        let wanted = is_wanted(&key, &seen);
        match self.resources.entry(key) {
            Entry::Vacant(place) => {
                place.insert(Arc::new(seen));
                wanted
            }
            Entry::Occupied(mut place) => {
                let known = place.get();
                if known.uid == seen.uid && number(&known.resource_version) > number(&seen.resource_version) {
                    return false;
                }
                let news = known.file.digest() != seen.file.digest()
                    || known.deleting != seen.deleting
                    || known.marks != seen.marks;
                place.insert(Arc::new(seen));
                news
            }
        }
    }

    /// What a list did not bring is gone.
    fn replace(&mut self, kind: Kind) -> bool {
        let listed = self.listed.remove(&kind).unwrap_or_default();
        self.resources.retain(|key, _| key.kind != kind || listed.contains_key(key));
        for (key, seen) in listed {
            self.put(key, Arc::unwrap_or_clone(seen));
        }
        true
    }
}

fn number(version: &str) -> u64 {
    version.parse().unwrap_or_default()
}

/// Whether it is a document: what the controller wrote is none, and what is being deleted is as good as gone.
fn is_wanted(key: &Key, seen: &Seen) -> bool {
    key.kind != Kind::Rollback && seen.recorded.is_none() && !seen.deleting
}

fn seen(kind: Kind, mut object: DynamicObject) -> (Key, Seen) {
    let metadata = object.metadata;
    let spec = object.data["spec"].take();
    let ours = has_label(&metadata, RECORDED_LABEL) && is_managed(&metadata, |manager| manager == RECORD_MANAGER);
    let said = metadata.annotations.as_ref().and_then(|all| all.get(RECORDED_ANNOTATION));
    let recorded = said.filter(|said| ours && **said == digest(&spec)).cloned();
    let carried = has_label(&metadata, CARRIED_LABEL) || is_managed(&metadata, |by| by.starts_with(OWN_MANAGERS));
    let name = metadata.name.unwrap_or_default();
    let program = spec["program"].as_str().unwrap_or_default().to_owned();
    let document = json!({
        "apiVersion": API_VERSION,
        "kind": kind.name(),
        "metadata": { "name": name },
        "spec": spec,
    });
    let key = Key { kind, name };
    let seen = Seen {
        uid: metadata.uid.unwrap_or_default(),
        created: metadata.creation_timestamp.map(|time| time.0),
        generation: metadata.generation,
        resource_version: metadata.resource_version.unwrap_or_default(),
        deleting: metadata.deletion_timestamp.is_some(),
        finalizers: metadata.finalizers.unwrap_or_default(),
        taken_over: ours && recorded.is_none(),
        recorded,
        carried,
        program,
        status: text(&object.data["status"]),
        marks: None,
        file: File::of_bytes(&key.path(), document.to_string().into_bytes()),
    };
    (key, seen)
}

fn has_label(metadata: &ObjectMeta, label: &str) -> bool {
    metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(label))
}

/// Whether one of those who wrote it is one of `wanted`. Statuses are written by others.
fn is_managed(metadata: &ObjectMeta, wanted: impl Fn(&str) -> bool) -> bool {
    let writes = metadata.managed_fields.iter().flatten();
    let mut specs = writes.filter(|one| one.subresource.as_deref().unwrap_or_default().is_empty());
    specs.any(|one| one.manager.as_deref().is_some_and(&wanted))
}

/// The digest of what a resource says, in whatever order.
pub fn digest(spec: &Value) -> String {
    let mut spec = spec.clone();
    spec.sort_all_objects();
    HEXLOWER.encode(&Sha256::digest(spec.to_string()))
}

fn text(status: &Value) -> Arc<str> {
    if status.is_null() { Arc::default() } else { status.to_string().into() }
}
