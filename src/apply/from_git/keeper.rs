//! The task that keeps the resources as Git says: it wakes up with new orders, which every change in the namespace brings, and sleeps otherwise.
//!
//! Must not know: what an object says, how one is written.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use betagate_core::resources::Kind;
use futures_util::StreamExt as _;
use tokio::sync::{Notify, watch};

use super::judge::{Known, Verdict, judge, prune_waits};
use super::{Object, Orders, Report, Trouble, lock, write};
use crate::source::Source;
use crate::source::cluster::{Key, Marks, Seen, Watched};

/// Writes under way at once.
const AT_ONCE: usize = 8;
/// The pause after a first failure; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// What was made is not made again before its watch had the time to tell of it.
const NEWS_TAKE: Duration = Duration::from_secs(5);

/// What the keeper remembers from one round to the next.
#[derive(Default)]
struct Kept {
    known: BTreeMap<Key, Known>,
    /// What was made, and not seen yet.
    made: BTreeMap<Key, (String, Instant)>,
}

/// Everything that one round looks at.
struct Round<'a> {
    orders: &'a Orders,
    watched: &'a Watched,
    seen: BTreeMap<Key, Arc<Seen>>,
    troubles: BTreeMap<Key, Trouble>,
    /// Something is to be looked at again soon.
    again: bool,
}

/// Keeps what is wanted, for good.
pub(super) async fn keep(
    source: Arc<Source>,
    mut asked: watch::Receiver<Option<Arc<Orders>>>,
    report: Arc<Mutex<Report>>,
    done: Arc<Notify>,
) {
    let (mut kept, mut failures) = (Kept::default(), 0_u32);
    loop {
        let pause = FIRST_PAUSE.saturating_mul(1 << failures.saturating_sub(1).min(9)).min(LONGEST_PAUSE);
        let again = failures > 0;
        tokio::select! {
            changed = asked.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(pause.mul_f64(0.8 + 0.4 * rand::random::<f64>())), if again => {}
        }
        let orders = asked.borrow_and_update().clone();
        let (Some(orders), Some(watched)) = (orders, source.watched()) else { continue };
        if !watched.is_complete() {
            continue;
        }
        let said = once(&orders, watched, &mut kept).await;
        // What is refused is tried again more and more seldom; orders alone are no reason to begin anew.
        failures = if said.finished { 0 } else { failures.saturating_add(1) };
        *lock(&report) = said;
        done.notify_one();
    }
}

/// One round: what differs is applied, in the order in which documents name each other; then what Git has no more is taken away.
async fn once(orders: &Orders, watched: &Watched, kept: &mut Kept) -> Report {
    let seen = watched.resources().into_iter().collect();
    let mut round = Round { orders, watched, seen, troubles: BTreeMap::new(), again: false };
    kept.known.retain(|key, _| orders.wanted.objects.contains_key(key));
    kept.made.retain(|key, (_, at)| !round.seen.contains_key(key) && at.elapsed() < NEWS_TAKE);
    let mut ranked: BTreeMap<u8, Vec<(&Object, bool)>> = BTreeMap::new();
    for object in orders.wanted.objects.values() {
        match round.verdict(object, kept) {
            Verdict::Fine => {}
            Verdict::Wait => round.again = true,
            Verdict::Apply { drift } => ranked.entry(rank(object.key.kind)).or_default().push((object, drift)),
            Verdict::Leave(trouble) => drop(round.troubles.insert(object.key.clone(), trouble)),
        }
    }
    for (_, objects) in ranked {
        round.apply(objects, kept).await;
    }
    // What could not be brought may be the new name of what would go.
    if !round.again && !round.troubles.values().any(Trouble::passes) {
        round.prune().await;
    }
    let finished = !round.again && !round.troubles.values().any(Trouble::passes);
    Report { number: orders.number, finished, troubles: round.troubles }
}

impl Round<'_> {
    fn program(&self, name: &str) -> Option<&Seen> {
        self.seen.get(&Key { kind: Kind::Program, name: name.to_owned() }).map(AsRef::as_ref)
    }

    fn verdict(&self, object: &Object, kept: &mut Kept) -> Verdict {
        if kept.made.get(&object.key).is_some_and(|(digest, _)| *digest == object.digest) {
            return Verdict::Wait;
        }
        let known = kept.known.entry(object.key.clone()).or_default();
        let seen = self.seen.get(&object.key).map(AsRef::as_ref);
        judge(object, seen, self.program(&object.program), known, self.orders)
    }

    async fn apply(&mut self, objects: Vec<(&Object, bool)>, kept: &mut Kept) {
        let none = BTreeSet::new();
        let cluster = self.watched.cluster();
        let mut writes = Vec::new();
        for (object, drift) in objects {
            let seen = self.seen.get(&object.key);
            let others = seen.and_then(|seen| seen.marks.as_deref()).map_or(&none, |marks| &marks.others);
            writes.push(async move { (object, drift, write::apply(cluster, object, others).await) });
        }
        let wrote: Vec<_> = futures_util::stream::iter(writes).buffer_unordered(AT_ONCE).collect().await;
        for (object, drift, applied) in wrote {
            let key = object.key.clone();
            let known = kept.known.entry(key.clone()).or_default();
            match applied {
                Ok(made) => {
                    known.applied(object, drift, made.metadata.generation, Marks::of(&made).owned);
                    if self.seen.contains_key(&key) {
                        self.watched.wrote(key.kind, made);
                    } else {
                        kept.made.insert(key, (object.digest.clone(), Instant::now()));
                        self.again = true;
                    }
                }
                Err(trouble) => {
                    tracing::warn!(kind = %key.kind, name = %key.name, %trouble, "a document of Git was not applied");
                    // What another applies is not asked for again before something changes.
                    if !trouble.passes() {
                        known.leave(object, self.seen.get(&key).map(AsRef::as_ref), trouble.clone());
                    }
                    self.troubles.insert(key, trouble);
                }
            }
        }
    }

    /// Takes away what carries our mark and is not wanted any more, last what others name.
    async fn prune(&mut self) {
        let wanted = &self.orders.wanted.objects;
        let ours = |seen: &Seen| seen.marks.as_ref().is_some_and(|marks| marks.ours) && !seen.deleting;
        let mut gone: Vec<(Key, Arc<Seen>)> = self
            .seen
            .iter()
            .filter(|(key, seen)| key.kind != Kind::Rollback && !wanted.contains_key(key) && ours(seen))
            .map(|(key, seen)| (key.clone(), seen.clone()))
            .collect();
        gone.sort_by_key(|(key, _)| std::cmp::Reverse(rank(key.kind)));
        for (key, seen) in gone {
            if let Some(trouble) = prune_waits(&key, &seen, self.program(&seen.program), self.orders) {
                self.troubles.insert(key, trouble);
                continue;
            }
            let cluster = self.watched.cluster();
            let shared = seen.marks.as_ref().is_some_and(|marks| !marks.others.is_empty());
            let done = match shared {
                true => write::give_up(cluster, &key, &seen).await.map(|left| self.watched.wrote(key.kind, left)),
                false => write::delete(cluster, &key, &seen).await,
            };
            if let Err(trouble) = done {
                tracing::warn!(kind = %key.kind, name = %key.name, %trouble, "what Git has no more was not taken away");
                self.troubles.insert(key, trouble);
            }
        }
    }
}

/// In which order documents come, so that what is named is there before what names it, and a plan before the stages that it guards.
fn rank(kind: Kind) -> u8 {
    match kind {
        Kind::Program => 0,
        Kind::Cohort | Kind::Flag | Kind::Dataset | Kind::Workload => 1,
        Kind::Gate => 2,
        Kind::RollbackPlan => 3,
        Kind::Rollout => 4,
        Kind::Incident | Kind::Signoff | Kind::Invite | Kind::Rollback => 5,
    }
}
