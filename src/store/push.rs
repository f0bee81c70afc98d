//! Word that something changed, as soon as it is committed: `NOTIFY` from PostgreSQL, a change of SQLite's file, and a look now and then
//! where neither came.
//!
//! Must not know: what changed; whoever waits looks.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use sqlx::postgres::PgListener;
use tokio::sync::Notify;

use super::{Dialect, Store, StoreError, Tx};
use crate::args;

/// The channel on which PostgreSQL says so.
pub(super) const CHANNEL: &str = "betagate_changes";
/// The channel on which PostgreSQL tells the controller of what people and other systems say: incidents, sign-offs, requests, freezes by hand.
const WORDS: &str = "betagate_words";
/// How long after a change of the file SQLite's readers surely see it: the file changes a moment before the commit is theirs.
const ECHO: Duration = Duration::from_millis(8);
/// Where listening failed, it is tried again after this.
const LISTEN_AGAIN: Duration = Duration::from_secs(1);
/// Changes of the file that come together are one.
const TOGETHER: Duration = Duration::from_millis(1);

/// Waits for changes of one database.
pub struct Push {
    store: Store,
    every: Duration,
    from: From,
    channel: &'static str,
    /// The file changed just now: look once more.
    echo: bool,
}

enum From {
    Postgres(Option<PgListener>),
    File(Option<(RecommendedWatcher, Arc<Notify>)>),
}

impl Push {
    /// Waits no longer than `every` at once, whether there was word or not.
    pub fn new(store: Store, every: Duration) -> Self {
        let from = match store.sqlite_file() {
            Some(file) => From::File(watch(&file)),
            None => From::Postgres(None),
        };
        Self { store, every, from, channel: CHANNEL, echo: false }
    }

    /// Waits for what a controller must act on at once. A SQLite file changes with everything, the controller's own writes too, and one machine looks
    /// often enough.
    pub fn of_words(store: Store, every: Duration) -> Self {
        let from = if store.sqlite_file().is_some() { From::File(None) } else { From::Postgres(None) };
        Self { store, every, from, channel: WORDS, echo: false }
    }

    /// Begins to listen, where that takes a connection. What is committed from here on is told by [`Push::wait`]. Without a listener the
    /// looking goes on by itself, so a failure is no error.
    pub async fn listen(&mut self) {
        let From::Postgres(listener @ None) = &mut self.from else { return };
        let Some(pool) = self.store.postgres() else { return };
        let Ok(mut made) = PgListener::connect_with(pool).await else { return };
        if made.listen(self.channel).await.is_ok() {
            *listener = Some(made);
        }
    }

    /// Returns when something may have changed. May be dropped while it waits; nothing is lost.
    pub async fn wait(&mut self) {
        match &mut self.from {
            From::Postgres(Some(listener)) => {
                // A lost connection is `Ok(None)` or an error: look now, and listen anew.
                if let Ok(Ok(None) | Err(_)) = tokio::time::timeout(self.every, listener.try_recv()).await {
                    self.from = From::Postgres(None);
                    tokio::time::sleep(self.every.min(Duration::from_millis(200))).await;
                }
                self.listen().await;
            }
            From::Postgres(None) => {
                tokio::time::sleep(self.every.min(LISTEN_AGAIN)).await;
                self.listen().await;
            }
            From::File(Some((_, changed))) => {
                let longest = if self.echo { ECHO.min(self.every) } else { self.every };
                self.echo = tokio::time::timeout(longest, changed.notified()).await.is_ok();
                if self.echo {
                    tokio::time::sleep(TOGETHER).await;
                }
            }
            From::File(None) => tokio::time::sleep(self.every).await,
        }
    }
}

/// Counts what is written to this database by anybody: as long as it stays the same, nothing has changed. The server counts a moment late (ten seconds at most,
/// of a connection that is idle), so what is urgent is told in words. None where the database does not count.
///
/// # Errors
/// The database's.
pub async fn tide(store: &Store) -> Result<Option<i64>, StoreError> {
    if store.postgres().is_none() {
        return Ok(None);
    }
    let sql = "SELECT tup_inserted + tup_updated + tup_deleted AS tide FROM pg_stat_database WHERE datname = current_database()";
    store.one(sql, args![]).await?.get("tide").map(Some)
}

/// Tells the controller, when this transaction is committed, that there is something to act on.
pub(super) async fn word(tx: &mut Tx) -> Result<(), StoreError> {
    if tx.dialect() == Dialect::Postgres {
        tx.one("SELECT pg_notify($1, '') IS NULL AS told", args![WORDS]).await?;
    }
    Ok(())
}

/// Watches the folder for changes of the database's journal; none when the system can't.
fn watch(file: &Path) -> Option<(RecommendedWatcher, Arc<Notify>)> {
    let folder = file
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .map_or_else(|| PathBuf::from("."), Path::to_owned);
    let mut journal = file.file_name()?.to_owned();
    journal.push("-wal");
    let changed = Arc::new(Notify::new());
    let told = changed.clone();
    let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let Ok(event) = event else { return told.notify_one() };
        // Reading it (which opens and closes it) is no change.
        let written = event.kind.is_modify() || event.kind.is_create();
        if written && event.paths.iter().any(|path| path.file_name() == Some(&journal)) {
            told.notify_one();
        }
    });
    let mut watcher = watcher.ok()?;
    watcher.watch(&folder, RecursiveMode::NonRecursive).ok()?;
    Some((watcher, changed))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::time::Instant;

    use super::super::testing::on_each;
    use super::*;

    #[tokio::test]
    async fn a_controller_is_told_of_an_incident_without_asking_where_the_database_can_tell() {
        on_each(async |store| {
            if store.postgres().is_none() {
                return;
            }
            let mut push = Push::of_words(store.clone(), Duration::from_secs(600));
            push.listen().await;
            let incident = crate::store::incidents::Incident {
                program: "kruxt".into(),
                name: "down".into(),
                severity: "sev-1".into(),
                category: String::new(),
                title: "down".into(),
                started_at: jiff::Timestamp::UNIX_EPOCH,
                resolved_at: None,
                acknowledged_at: None,
                source: "test".into(),
                first_seen: jiff::Timestamp::UNIX_EPOCH,
            };
            let mut tx = store.begin().await.unwrap();
            crate::store::incidents::open(&mut tx, &incident).await.unwrap();
            tx.commit().await.unwrap();
            let begun = Instant::now();
            push.wait().await;
            assert!(begun.elapsed() < Duration::from_secs(300));
        })
        .await;
    }

    #[tokio::test]
    async fn whoever_waits_is_told_of_a_commit_without_asking() {
        on_each(async |store| {
            // Long enough that only word can end the wait.
            let mut push = Push::new(store.clone(), Duration::from_secs(600));
            push.listen().await;
            let write = async |digest: String| {
                let mut tx = store.begin().await.unwrap();
                let (nothing, none) = (serde_json::json!({}), serde_json::json!([]));
                let at = jiff::Timestamp::UNIX_EPOCH;
                crate::store::flags::publish(&mut tx, nothing, &none, &digest, "s", at).await.unwrap();
                tx.commit().await.unwrap();
            };
            let begun = Instant::now();
            let seen = async {
                while crate::store::flags::newest_revision(&store).await.unwrap() == 0 {
                    push.wait().await;
                }
            };
            // On a machine that is very busy SQLite's file may have changed so long before a commit can be read that only the next one is
            // told; a process looks once a second besides.
            let writing = async {
                for turn in 0_u64.. {
                    write(turn.to_string()).await;
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
            };
            tokio::select! {
                () = seen => {}
                () = writing => {}
            }
            assert!(begun.elapsed() < Duration::from_secs(300));
        })
        .await;
    }
}
