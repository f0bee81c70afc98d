//! Statuses where the resources live: written by server-side apply of the status alone, when they differ from what is there, with conditions
//! that keep their times; runs of plans as `Rollback` resources; what came in elsewhere, as resources for people to see; events with constant text.
//!
//! Writing goes on beside the passes, a few at once, so that ten thousand statuses or a slow API server hold up no protection. Nothing is
//! written at rest. Must not know: how a state came about.

mod conditions;
mod events;
mod records;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use betagate_core::resources::{API_VERSION, Kind, ResourceStatus};
use futures_util::StreamExt as _;
use jiff::Timestamp;
use kube::Api;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, Preconditions};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

pub use conditions::{Applied, Wanted};
pub use events::Told;
pub use records::Record;

use crate::apply::resources::ADMIN_MANAGER;
use crate::clock::Clock;
use crate::cluster::LONGEST_PAUSE;
use crate::source::Source;
use crate::source::cluster::{Key, RECORD_MANAGER, Seen, Watched};

/// The field manager of statuses.
pub const STATUS_MANAGER: &str = "betagate-status";
/// The field manager of resources that the controller makes.
pub const MANAGER: &str = "betagate-controller";

/// On cohorts whose invites exist: a deletion waits until the unused ones are taken back.
pub const FINALIZER: &str = "betagate.dev/invites";

/// Writes under way at once.
const AT_ONCE: usize = 8;
/// How long one write may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// What could not be written is tried again after this, twice as long each time up to the longest.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// What is to be said of resources.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wish {
    /// By resource; those that say it already may be left out ([`Teller::says`]).
    pub resources: BTreeMap<Key, Wanted>,
    /// Runs that are in force, by name: the resource's `spec`.
    pub runs: BTreeMap<String, Value>,
    /// What came in elsewhere and is shown as resources.
    pub records: BTreeMap<Key, Record>,
    /// What was said elsewhere of resources that people declared: fields of their specs.
    pub said_elsewhere: BTreeMap<Key, Value>,
    /// Those of them that somebody else changed.
    pub taken_over: BTreeSet<Key>,
    /// Those of them that are to be shown no more.
    pub withdrawn: BTreeSet<Key>,
}

/// Whoever writes statuses. Ends with it.
pub struct Teller {
    wish: watch::Sender<Arc<Wish>>,
    writer: Arc<Writer>,
    events: mpsc::UnboundedSender<Told>,
    _tasks: JoinSet<()>,
}

impl Teller {
    /// Begins to write, where the source is a cluster.
    pub fn start(source: Arc<Source>, clock: Clock, holder: &str) -> Option<Self> {
        let cluster = source.watched()?.cluster().clone();
        let (wish, wishes) = watch::channel(Arc::default());
        let (events, told) = mpsc::unbounded_channel();
        let mut tasks = JoinSet::new();
        tasks.spawn(events::publish(cluster, holder.to_owned(), told));
        let events_too = events.clone();
        let known = Known::default();
        let writer = Arc::new(Writer { source, clock, events: events_too, known });
        tasks.spawn(writer.clone().run(wishes));
        Some(Self { wish, writer, events, _tasks: tasks })
    }

    /// Whether a resource is known to say what it should, so that there is nothing to wish.
    pub fn says(&self, key: &Key, wanted: &Wanted, seen: &Seen) -> bool {
        wanted.waits.is_none_or(|waits| waits == has_finalizer(seen)) && self.writer.known.is_right(key, wanted, seen)
    }

    /// Forgets what is no longer there.
    pub fn keep(&self, there: &[(Key, Arc<Seen>)]) {
        self.writer.known.keep(there);
    }

    /// Says what is to be said from now on.
    pub fn wish(&self, wish: Wish) {
        self.wish.send_replace(Arc::new(wish));
    }

    /// Tells of something that happened.
    pub fn tell(&self, told: Told) {
        let _ = self.events.send(told);
    }
}

struct Writer {
    source: Arc<Source>,
    clock: Clock,
    events: mpsc::UnboundedSender<Told>,
    known: Known,
}

/// Resources whose statuses say what they should, so that ten thousand of them need not be compared because of one.
#[derive(Default)]
struct Known {
    hashing: RandomState,
    /// What was last found right, or written, with the version of the resource that has it.
    right: Mutex<HashMap<Key, u64>>,
}

impl Known {
    fn right(&self) -> MutexGuard<'_, HashMap<Key, u64>> {
        self.right.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hash(&self, wanted: &Wanted, version: &str) -> u64 {
        self.hashing.hash_one((wanted, version))
    }

    fn is_right(&self, key: &Key, wanted: &Wanted, seen: &Seen) -> bool {
        self.right().get(key).is_some_and(|known| *known == self.hash(wanted, &seen.resource_version))
    }

    /// What differs; nothing of what was compared before.
    fn differing(&self, key: &Key, wanted: &Wanted, seen: &Seen, now: Timestamp) -> Option<ResourceStatus> {
        if self.is_right(key, wanted, seen) {
            return None;
        }
        let differing = wanted.differing(&seen.status(), now);
        if differing.is_none() {
            self.right().insert(key.clone(), self.hash(wanted, &seen.resource_version));
        }
        differing
    }

    /// What was written is as right as the server lets it be: a definition that lacks a field would have it written for ever.
    fn wrote(&self, key: &Key, wanted: &Wanted, object: &DynamicObject) {
        let version = object.metadata.resource_version.as_deref().unwrap_or_default();
        self.right().insert(key.clone(), self.hash(wanted, version));
    }

    /// Forgets what is gone.
    fn keep(&self, there: &[(Key, Arc<Seen>)]) {
        let mut right = self.right();
        if right.len() > there.len() {
            let there: HashSet<&Key> = there.iter().map(|(key, _)| key).collect();
            right.retain(|key, _| there.contains(key));
        }
    }
}

/// Something to be written.
enum Task {
    /// A run that has no resource.
    Run(String),
    /// What came in elsewhere.
    Record(Box<Write>),
    /// Our finalizer, put on a resource or taken off.
    Finalizer(Key, bool),
    /// A status that differs.
    Status(Key),
}

/// One write.
struct Write {
    key: Key,
    body: Value,
    what: What,
}

/// What is written.
enum What {
    /// The status that it brings, and the resource as it was before.
    Status(ResourceStatus, Arc<Seen>),
    /// A run, or our finalizer.
    Ours,
    /// What came in elsewhere.
    Record,
    /// What was said elsewhere of a resource that somebody declared.
    SaidElsewhere,
    /// What came in elsewhere, and counts as somebody changed it.
    TakenOver,
    /// What is to be shown no more: the resource of this uid.
    Withdrawn(String),
}

impl Writer {
    async fn run(self: Arc<Self>, mut wishes: watch::Receiver<Arc<Wish>>) {
        let mut failures = 0_u32;
        loop {
            if failures == 0 {
                if wishes.changed().await.is_err() {
                    return;
                }
            } else {
                let pause = FIRST_RETRY.saturating_mul(1 << failures.min(5).saturating_sub(1)).min(LONGEST_PAUSE);
                tokio::time::sleep(pause.mul_f64(0.8 + 0.4 * rand::random::<f64>())).await;
            }
            let wish = wishes.borrow_and_update().clone();
            let tasks = self.tasks(&wish);
            let later = self.clone().carry_out(wish, tasks, wishes.clone()).await;
            failures = if later { failures.saturating_add(1) } else { 0 };
        }
    }

    /// What differs from what was seen.
    fn tasks(&self, wish: &Wish) -> Vec<Task> {
        let Some(watched) = self.source.watched() else { return Vec::new() };
        let missing = wish.runs.keys().filter(|name| watched.resource(Kind::Rollback, name).is_none());
        let mut tasks: Vec<Task> = missing.cloned().map(Task::Run).collect();
        tasks.extend(records::writes(watched, wish).into_iter().map(|write| Task::Record(Box::new(write))));
        let now = self.clock.now();
        let (mut first, mut last) = (Vec::new(), Vec::new());
        for (key, wanted) in &wish.resources {
            let Some(seen) = watched.resource(key.kind, &key.name) else { continue };
            if let Some(waits) = wanted.waits.filter(|waits| *waits != has_finalizer(&seen)) {
                tasks.push(Task::Finalizer(key.clone(), waits));
            }
            if self.known.differing(key, wanted, &seen, now).is_some() {
                // Single invites are many, and seldom what is looked at first.
                let line = if key.kind == Kind::Invite { &mut last } else { &mut first };
                line.push(Task::Status(key.clone()));
            }
        }
        tasks.extend(first.into_iter().chain(last));
        tasks
    }

    /// What is sent for it; nothing where it is no longer to be written.
    fn write_of(&self, wish: &Wish, task: Task) -> Option<Write> {
        let watched = self.source.watched()?;
        match task {
            Task::Run(name) => Some(run(watched, &name, wish.runs.get(&name)?)),
            Task::Record(write) => Some(*write),
            Task::Finalizer(key, waits) => {
                let seen = watched.resource(key.kind, &key.name)?;
                Some(finalizer(&key, &seen, waits))
            }
            Task::Status(key) => {
                let wanted = wish.resources.get(&key)?;
                let seen = watched.resource(key.kind, &key.name)?;
                // One that has changed since comes with the next wish.
                let same = wanted.generation.is_none() || seen.generation == wanted.generation;
                let status = self.known.differing(&key, wanted, &seen, self.clock.now()).filter(|_| same)?;
                let body = json!({
                    "apiVersion": API_VERSION,
                    "kind": key.kind.name(),
                    "metadata": { "name": key.name, "uid": seen.uid },
                    "status": status,
                });
                Some(Write { key, body, what: What::Status(status, seen) })
            }
        }
    }

    /// Writes a few at once; says whether something is left for later. What a newer wish overtakes is left to that.
    async fn carry_out(self: Arc<Self>, wish: Arc<Wish>, tasks: Vec<Task>, newer: watch::Receiver<Arc<Wish>>) -> bool {
        let wrote = futures_util::stream::iter(tasks).map(|task| {
            let (writer, wish, newer) = (self.clone(), wish.clone(), newer.clone());
            async move {
                if newer.has_changed().unwrap_or(true) {
                    return true;
                }
                match writer.write_of(&wish, task) {
                    Some(write) => writer.write(&wish, write).await,
                    None => true,
                }
            }
        });
        let later = wrote.buffer_unordered(AT_ONCE).fold(false, async |later, done| later || !done);
        later.await
    }

    /// Says whether it is done with.
    async fn write(&self, wish: &Wish, Write { key, body, what }: Write) -> bool {
        let Some(watched) = self.source.watched().filter(|watched| watched.cluster().may_act()) else { return false };
        let (kind, name) = (key.kind, key.name.as_str());
        let (api, patch) = (watched.cluster().resources(kind), Patch::Apply(&body));
        let ours = |manager| PatchParams::apply(manager).force();
        let asked = async {
            Ok(match &what {
                What::Status(..) => Some(say(&api, name, &body).await?),
                What::Ours => Some(api.patch(name, &ours(MANAGER), &patch).await?),
                What::Record => Some(api.patch(name, &ours(RECORD_MANAGER), &patch).await?),
                What::SaidElsewhere => Some(api.patch(name, &ours(ADMIN_MANAGER), &patch).await?),
                What::TakenOver => Some(api.patch(name, &PatchParams::default(), &Patch::Merge(&body)).await?),
                What::Withdrawn(uid) => {
                    let this = Preconditions { uid: Some(uid.clone()), resource_version: None };
                    api.delete(name, &DeleteParams { preconditions: Some(this), ..DeleteParams::default() }).await?;
                    None
                }
            })
        };
        match tokio::time::timeout(PATIENCE, asked).await {
            Ok(Ok(object)) => {
                if let (What::Status(..), Some(wanted), Some(object)) = (&what, wish.resources.get(&key), &object) {
                    self.known.wrote(&key, wanted, object);
                }
                object.into_iter().for_each(|object| watched.wrote(kind, object));
                if let What::Status(status, before) = &what {
                    self.tell_of_turning(&key, before, status);
                }
                true
            }
            // What the definitions refuse stays a row alone: trying again changes nothing.
            Ok(Err(kube::Error::Api(refusal))) if refusal.code == 422 && matches!(what, What::Record) => {
                tracing::warn!(%kind, name, "what came in elsewhere can't be shown as a resource; betagate get shows it");
                true
            }
            // Gone, or another of its name meanwhile: the watch tells.
            Ok(Err(kube::Error::Api(refusal))) if matches!(refusal.code, 404 | 409) => true,
            Ok(Err(error)) => {
                tracing::warn!(%kind, name, %error, "a resource could not be written; it is tried again");
                false
            }
            Err(_) => {
                tracing::warn!(%kind, name, "the API server took too long; it is tried again");
                false
            }
        }
    }

    /// Acceptance that turns is an event of its own, and so is what gets no further.
    fn tell_of_turning(&self, key: &Key, before: &Seen, status: &ResourceStatus) {
        let known = serde_json::from_value(before.status()).unwrap_or_default();
        let turned = |kind| (conditions::says(&known, kind), conditions::says(status, kind));
        let reason = match (turned("Accepted"), turned("Stalled")) {
            ((None | Some(true), Some(false)), _) => "NotAccepted",
            (_, (None | Some(false), Some(true))) => "Stalled",
            ((Some(false), Some(true)), _) => "Accepted",
            (_, (Some(true), Some(false))) => "GoesOn",
            _ => return,
        };
        let _ = self.events.send(Told { key: key.clone(), uid: before.uid.clone(), reason: reason.to_owned() });
    }
}

/// Writes a status. Where the cluster's definition is an older one, which lacks a field of it, all but that is said: the server takes it out.
async fn say(api: &Api<DynamicObject>, name: &str, body: &Value) -> kube::Result<DynamicObject> {
    let applied = api.patch_status(name, &PatchParams::apply(STATUS_MANAGER).force(), &Patch::Apply(body)).await;
    match applied {
        Err(kube::Error::Api(refusal)) if refusal.message.contains("field not declared in schema") => {
            tracing::warn!(name, refusal = %refusal.message, "the cluster's definitions are not this betagate's: betagate crd | kubectl apply --server-side -f -");
            let merged = PatchParams { field_manager: Some(STATUS_MANAGER.to_owned()), ..PatchParams::default() };
            api.patch_status(name, &merged, &Patch::Merge(body)).await
        }
        answer => answer,
    }
}

fn has_finalizer(seen: &Seen) -> bool {
    seen.finalizers.iter().any(|one| one == FINALIZER)
}

/// Our finalizer put on a resource, or taken off: those of others stay.
fn finalizer(key: &Key, seen: &Seen, waits: bool) -> Write {
    let ours: &[&str] = if waits { &[FINALIZER] } else { &[] };
    let body = json!({
        "apiVersion": API_VERSION,
        "kind": key.kind.name(),
        "metadata": { "name": key.name, "uid": seen.uid, "finalizers": ours },
    });
    Write { key: key.clone(), body, what: What::Ours }
}

/// A run as a resource, which goes with its program.
fn run(watched: &Watched, name: &str, spec: &Value) -> Write {
    let body = json!({
        "apiVersion": API_VERSION,
        "kind": "Rollback",
        "metadata": { "name": name, "ownerReferences": owners(watched, spec) },
        "spec": spec,
    });
    Write { key: Key { kind: Kind::Rollback, name: name.to_owned() }, body, what: What::Ours }
}

/// The program that something belongs to, as its owner: it goes with it.
fn owners(watched: &Watched, spec: &Value) -> Vec<Value> {
    let program = spec["program"].as_str().unwrap_or_default();
    let owner = watched.resource(Kind::Program, program);
    let owners = owner.iter();
    owners
        .map(|owner| json!({ "apiVersion": API_VERSION, "kind": "Program", "name": program, "uid": owner.uid }))
        .collect()
}
