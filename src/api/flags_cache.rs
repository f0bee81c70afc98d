//! What an API process serves flags from: the compiled set and the index of members, in memory. It goes on serving when the database or the
//! controller is away, and says how old its answer is.
//!
//! Must not know: HTTP.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use betagate_core::flags::{Building, CompileProblem, FlagSet, Membership, cohort_key};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::{Mutex, watch};
use xxhash_rust::xxh3::xxh3_128;

use super::ofrep::{Answers, Counts};
use crate::clock::Clock;
use crate::store::flags::{self, Process};
use crate::store::members::{self, Change, Member, Position, Since};
use crate::store::push::Push;
use crate::store::{Store, StoreError};

/// How often the served revision is reported (architecture, "Verified").
const REPORT_EVERY: Duration = Duration::from_secs(5);
/// How often the database is asked for news that it did not push.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Not heard of the database for so long, an answer says how old it may be.
const STALE_AFTER: SignedDuration = SignedDuration::from_secs(5);

/// One snapshot, compiled: a request is answered from exactly one.
#[derive(Debug)]
pub struct Served {
    /// The snapshot's number; 0 before the first.
    pub revision: i64,
    /// The source's revision that it came from.
    pub source_revision: String,
    /// Its name in ETags: its number, and a part of the digest of its definitions and holds.
    pub name: String,
    /// The flags.
    pub flags: FlagSet,
    /// Their answers, written out.
    pub(super) answers: Answers,
    /// A digest of the environment variables that override flags in this process.
    pub(super) environment: u128,
    /// When it was published.
    pub published_at: Timestamp,
    /// When it was taken over.
    pub loaded_at: Timestamp,
}

/// The cache of one process.
pub struct FlagsCache {
    store: Store,
    clock: Clock,
    process: Process,
    served: ArcSwap<Served>,
    members: ArcSwap<Membership>,
    /// How far the changes of members were followed; none before they were read the first time. Held while they are followed: of two at once, the
    /// one that read less would put its index over the other's, and who came in between would be missing for good.
    position: Mutex<Option<Position>>,
    /// When the database last said what there is, in microseconds.
    heard_at: AtomicI64,
    /// The revision that is served, for whoever waits for a newer one.
    changed: watch::Sender<i64>,
    /// What was evaluated.
    pub counts: Counts,
}

impl FlagsCache {
    /// Loads the newest snapshot. A database that is away leaves an empty one, which `run` replaces.
    pub async fn load(store: Store, clock: Clock, process: Process) -> Arc<Self> {
        let now = clock.now();
        let empty = Served {
            revision: 0,
            source_revision: String::new(),
            name: String::new(),
            flags: FlagSet::default(),
            answers: Answers::default(),
            environment: 0,
            published_at: now,
            loaded_at: now,
        };
        let cache = Arc::new(Self {
            store,
            clock,
            process,
            served: ArcSwap::from_pointee(empty),
            members: ArcSwap::default(),
            position: Mutex::new(None),
            heard_at: AtomicI64::new(now.as_microsecond()),
            changed: watch::Sender::new(0),
            counts: Counts::default(),
        });
        if let Err(error) = cache.refresh_now().await {
            tracing::warn!(error = %error, "flags are not loaded yet");
        }
        cache
    }

    /// What is served now.
    pub fn served(&self) -> Arc<Served> {
        self.served.load_full()
    }

    /// Who is in which cohort now.
    pub fn members(&self) -> Arc<Membership> {
        self.members.load_full()
    }

    /// The revision that is served, and word of each newer one.
    pub fn changes(&self) -> watch::Receiver<i64> {
        self.changed.subscribe()
    }

    /// How long ago the database last said what there is.
    pub fn age(&self) -> SignedDuration {
        let heard = Timestamp::from_microsecond(self.heard_at.load(Ordering::Relaxed)).unwrap_or(Timestamp::UNIX_EPOCH);
        self.clock.now().duration_since(heard).max(SignedDuration::ZERO)
    }

    /// How old the answer may be, in seconds, where that is longer than a moment.
    pub fn stale_seconds(&self) -> Option<i64> {
        let age = self.age();
        (age > self.clock.of_real(STALE_AFTER)).then(|| age.as_secs())
    }

    /// Takes the newest snapshot and members over now, and reports it.
    ///
    /// # Errors
    /// The database's; what was served goes on.
    pub async fn refresh_now(&self) -> Result<(), StoreError> {
        // Flags first: a hold must not wait for the members, nor fail with them.
        let flags = self.refresh_flags().await;
        let members = self.refresh_members().await;
        flags.and(members)?;
        self.report().await
    }

    /// Takes over at once who came in or left, and nothing else: for whoever was just let in here.
    ///
    /// # Errors
    /// The database's; what was served goes on.
    pub async fn refresh_members_now(&self) -> Result<(), StoreError> {
        self.refresh_members().await
    }

    /// Says whether there was a newer one.
    async fn refresh_flags(&self) -> Result<bool, StoreError> {
        let newest = flags::newest_revision(&self.store).await?;
        self.heard_at.store(self.clock.now().as_microsecond(), Ordering::Relaxed);
        // Not only a higher one: a restored database may have gone back.
        if newest == self.served.load().revision {
            return Ok(false);
        }
        let Some(snapshot) = flags::newest(&self.store).await? else { return Ok(false) };
        let definitions = snapshot.body["flags"].as_object();
        let definitions = definitions.into_iter().flatten().map(|(key, flag)| (key.as_str(), flag));
        let environment = Environment::default();
        let (flags, problems) = FlagSet::compile(definitions, &|name| environment.read(name));
        for CompileProblem { flag, pointer, message, .. } in problems {
            tracing::warn!(%flag, %pointer, %message, "a flag answers with an error");
        }
        let served = Served {
            revision: snapshot.revision,
            answers: Answers::new(&flags, &snapshot.source_revision),
            environment: environment.digest(),
            source_revision: snapshot.source_revision,
            name: format!("{}-{}", snapshot.revision, snapshot.digest.chars().take(8).collect::<String>()),
            flags,
            published_at: snapshot.created_at,
            loaded_at: self.clock.now(),
        };
        self.served.store(Arc::new(served));
        self.changed.send_replace(snapshot.revision);
        Ok(true)
    }

    async fn refresh_members(&self) -> Result<(), StoreError> {
        let mut followed = self.position.lock().await;
        let since = match *followed {
            Some(from) => members::since(&self.store, from).await?,
            None => Since::Lost,
        };
        let (index, position) = match since {
            Since::Changes(changes, position) => (self.with(changes), position),
            Since::Lost => {
                // First, so that who joins while they are read is told again.
                let position = members::position(&self.store).await?;
                let mut building = Building::default();
                members::each(&self.store, |Member { user, address, program, cohort }| {
                    let cohort = cohort_key(program, cohort);
                    let mut text = uuid::Uuid::encode_buffer();
                    building.add(user.hyphenated().encode_lower(&mut text), &cohort);
                    building.add(address, &cohort);
                })
                .await?;
                (Some(building.finish()), position)
            }
        };
        if let Some(index) = index {
            self.members.store(Arc::new(index));
        }
        *followed = Some(position);
        Ok(())
    }

    /// The index with these changes; none when there are none.
    fn with(&self, changes: Vec<Change>) -> Option<Membership> {
        if changes.is_empty() {
            return None;
        }
        let mut index = Membership::clone(&self.members.load());
        for change in changes {
            let (Change::Joined(member) | Change::Left(member)) = &change;
            let cohort = cohort_key(&member.program, &member.cohort);
            for key in [member.user.to_string().as_str(), member.address.as_str()] {
                match change {
                    Change::Joined(_) => index.add(key, &cohort),
                    Change::Left(_) => index.remove(key, &cohort),
                }
            }
        }
        Some(index)
    }

    /// Keeps up with the database until `stop`.
    pub async fn run(self: Arc<Self>, stop: impl Future<Output = ()>) {
        let word = watch::Sender::new(());
        tokio::select! {
            () = stop => {}
            () = self.keep_listening(&word) => {}
            // Beside each other: reading all members anew delays no flag.
            () = self.keep_flags(word.subscribe()) => {}
            () = self.keep_members(word.subscribe()) => {}
            () = self.keep_reporting() => {}
        }
        let _ = flags::forget_process(&self.store, self.process.id).await;
    }

    async fn keep_listening(&self, word: &watch::Sender<()>) {
        let mut push = Push::new(self.store.clone(), LOOK_EVERY);
        push.listen().await;
        loop {
            word.send_replace(());
            push.wait().await;
        }
    }

    async fn keep_members(&self, mut word: watch::Receiver<()>) {
        while word.changed().await.is_ok() {
            if let Err(error) = self.refresh_members().await {
                tracing::debug!(error = %error, "the database is away; the members that are known stay");
            }
        }
    }

    async fn keep_flags(&self, mut word: watch::Receiver<()>) {
        while word.changed().await.is_ok() {
            let done = match self.refresh_flags().await {
                Ok(true) => self.report().await,
                Ok(false) => Ok(()),
                Err(error) => Err(error),
            };
            if let Err(error) = done {
                tracing::debug!(error = %error, "the database is away; what is served goes on");
            }
        }
    }

    async fn keep_reporting(&self) {
        let mut every = tokio::time::interval(REPORT_EVERY);
        loop {
            every.tick().await;
            if let Err(error) = self.report().await {
                tracing::debug!(error = %error, "the database is away; what is served goes on");
            }
        }
    }

    async fn report(&self) -> Result<(), StoreError> {
        let (reported_at, flag_revision) = (self.clock.now(), self.served().revision);
        flags::report_process(&self.store, &Process { reported_at, flag_revision, ..self.process.clone() }).await
    }
}

/// The environment variables that were read while flags were compiled.
#[derive(Default)]
struct Environment(RefCell<Vec<u8>>);

impl Environment {
    /// A variable that overrides a flag, logged as operators search for it (seed 003).
    fn read(&self, name: &str) -> Option<String> {
        let value = std::env::var(name).ok()?;
        tracing::info!(variable = name, "Feature flag override from environment");
        for part in [name, &value] {
            self.0.borrow_mut().extend_from_slice(part.as_bytes());
            self.0.borrow_mut().push(0);
        }
        Some(value)
    }

    fn digest(&self) -> u128 {
        xxh3_128(&self.0.borrow())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use futures_util::future::join_all;
    use uuid::Uuid;

    use super::*;
    use crate::args;
    use crate::store::testing::on_each;

    async fn join(store: &Store, user: Uuid) {
        let (now, address) = (Timestamp::UNIX_EPOCH, format!("{user}@example.com"));
        let mut tx = store.begin().await.unwrap();
        let insert = "INSERT INTO users (id, email, email_norm, password_hash, is_admin, created_at) VALUES ($1, $2, $2, '', $3, $4)";
        tx.execute(insert, args![user, &address, false, now]).await.unwrap();
        let insert = "INSERT INTO cohort_members (program, cohort, user_id, email_norm, joined_at) VALUES ('p', 'c', $1, $2, $3)";
        tx.execute(insert, args![user, &address, now]).await.unwrap();
        tx.commit().await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn nobody_who_came_in_is_lost_between_two_looks_at_once() {
        on_each(async |store| {
            let process = Process::starting("api", 1, None, Timestamp::UNIX_EPOCH);
            let cache = FlagsCache::load(store.clone(), Clock::system(), process).await;
            let people: Vec<Uuid> = (0..60).map(|_| Uuid::now_v7()).collect();
            // As after a registration: each looks by itself, and word of it comes too.
            let each = people.iter().map(|user| {
                let (store, cache, user) = (store.clone(), cache.clone(), *user);
                tokio::spawn(async move {
                    join(&store, user).await;
                    cache.refresh_members_now().await.unwrap();
                    let index = cache.members();
                    assert!(index.of(&user.to_string()).is_some(), "whoever was let in is in");
                })
            });
            for done in join_all(each).await {
                done.unwrap();
            }
            let index = cache.members();
            let missing = people.iter().filter(|user| index.of(&user.to_string()).is_none());
            assert_eq!(missing.count(), 0);
        })
        .await;
    }
}
