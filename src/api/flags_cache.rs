//! What an API process serves flags from: the compiled set and the index of members, in memory. It goes on serving when the database or the
//! controller is away, and says how old its answer is.
//!
//! Must not know: HTTP.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use betagate_core::flags::{CompileProblem, FlagSet, Membership, cohort_key};
use jiff::Timestamp;

use crate::clock::Clock;
use crate::store::flags::{self, Changes, Process};
use crate::store::{Store, StoreError, members};

/// How often the served revision is reported (architecture, "Verified").
const REPORT_EVERY: Duration = Duration::from_secs(5);
/// How often the database is asked for a newer snapshot, where it does not push.
const POLL_EVERY: Duration = Duration::from_millis(200);
/// How often the index of members is compared with the database.
const MEMBERS_EVERY: Duration = Duration::from_secs(1);

/// One snapshot, compiled: a request is answered from exactly one.
#[derive(Debug)]
pub struct Served {
    /// The snapshot's number; 0 before the first.
    pub revision: i64,
    /// The source's revision that it came from.
    pub source_revision: String,
    /// The digest of its definitions and holds.
    pub digest: String,
    /// The flags.
    pub flags: FlagSet,
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
    /// What the members looked like when they were read last.
    stamp: Mutex<(i64, i64)>,
}

impl FlagsCache {
    /// Loads the newest snapshot. A database that is away leaves an empty one, which `run` replaces.
    pub async fn load(store: Store, clock: Clock, process: Process) -> Arc<Self> {
        let empty = Served {
            revision: 0,
            source_revision: String::new(),
            digest: String::new(),
            flags: FlagSet::default(),
            loaded_at: clock.now(),
        };
        let cache = Arc::new(Self {
            store,
            clock,
            process,
            served: ArcSwap::from_pointee(empty),
            members: ArcSwap::default(),
            stamp: Mutex::new((-1, -1)),
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

    /// Who is in which cohort now.
    pub fn members(&self) -> Arc<Membership> {
        self.members.load_full()
    }

    async fn refresh_flags(&self) -> Result<(), StoreError> {
        let Some(snapshot) = flags::newest(&self.store).await? else { return Ok(()) };
        if snapshot.revision == self.served().revision {
            return Ok(());
        }
        let definitions = snapshot.body["flags"].as_object();
        let definitions = definitions.into_iter().flatten().map(|(key, flag)| (key.as_str(), flag));
        let (flags, problems) = FlagSet::compile(definitions, &environment);
        for CompileProblem { flag, pointer, message } in problems {
            tracing::warn!(%flag, %pointer, %message, "a flag answers with an error");
        }
        let served = Served {
            revision: snapshot.revision,
            source_revision: snapshot.source_revision,
            digest: snapshot.digest,
            flags,
            loaded_at: self.clock.now(),
        };
        self.served.store(Arc::new(served));
        Ok(())
    }

    async fn refresh_members(&self) -> Result<(), StoreError> {
        let stamp = members::stamp(&self.store).await?;
        if *self.stamp.lock().unwrap_or_else(PoisonError::into_inner) == stamp {
            return Ok(());
        }
        let mut index = Membership::default();
        members::each(&self.store, |user, address, program, cohort| {
            let cohort = cohort_key(program, cohort);
            index.add(user, &cohort);
            index.add(address, &cohort);
        })
        .await?;
        self.members.store(Arc::new(index));
        *self.stamp.lock().unwrap_or_else(PoisonError::into_inner) = stamp;
        Ok(())
    }

    /// Keeps up with the database until `stop`.
    pub async fn run(self: Arc<Self>, stop: impl Future<Output = ()>) {
        tokio::select! {
            () = stop => {}
            // Beside each other: reading all members anew delays no flag.
            () = self.keep_flags() => {}
            () = self.keep_members() => {}
        }
        let _ = flags::forget_process(&self.store, self.process.id).await;
    }

    async fn keep_members(&self) {
        let mut members = tokio::time::interval(MEMBERS_EVERY);
        loop {
            members.tick().await;
            if let Err(error) = self.refresh_members().await {
                tracing::debug!(error = %error, "the database is away; the members that are known stay");
            }
        }
    }

    async fn keep_flags(&self) {
        let mut changes = Changes::after(self.store.clone(), self.served().revision, POLL_EVERY);
        let mut report = tokio::time::interval(REPORT_EVERY);
        loop {
            let done = tokio::select! {
                changed = changes.next() => {
                    let taken = match changed {
                        Ok(_) => self.refresh_flags().await,
                        Err(error) => Err(error),
                    };
                    if taken.is_err() {
                        // The change counts as seen already: look again from what is served, or it would be lost.
                        changes = Changes::after(self.store.clone(), self.served().revision, POLL_EVERY);
                        tokio::time::sleep(POLL_EVERY).await;
                    }
                    match taken {
                        Ok(()) => self.report().await,
                        failed => failed,
                    }
                },
                _ = report.tick() => self.report().await,
            };
            if let Err(error) = done {
                tracing::debug!(error = %error, "the database is away; what is served goes on");
            }
        }
    }

    async fn report(&self) -> Result<(), StoreError> {
        let (reported_at, flag_revision) = (self.clock.now(), self.served().revision);
        flags::report_process(&self.store, &Process { reported_at, flag_revision, ..self.process.clone() }).await
    }
}

/// An environment variable that overrides a flag, logged as operators search for it (seed 003).
fn environment(name: &str) -> Option<String> {
    let value = std::env::var(name).ok()?;
    tracing::info!(variable = name, "Feature flag override from environment");
    Some(value)
}
