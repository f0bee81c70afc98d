//! What makes a source look again: something changed, somebody asked, or it is time. Waiting may be given up and begun
//! again at any moment without losing a change or starting the time anew.
//!
//! Must not know: what is looked at.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout};

/// Changes that come this close to one another are one (an editor's several writes, a checkout).
const QUIET: Duration = Duration::from_millis(150);
/// A stream of changes without pause is looked at this often.
const LONGEST: Duration = Duration::from_secs(2);

/// The waiting of one source. Real time, not the injected clock's: it is about a disk or a network that knows no other.
#[derive(Debug)]
pub(super) struct Wake {
    changed: AtomicBool,
    notify: Notify,
    due: Mutex<Option<Instant>>,
}

impl Wake {
    pub(super) fn new() -> Self {
        Self { changed: AtomicBool::new(false), notify: Notify::new(), due: Mutex::new(None) }
    }

    /// Something changed, or somebody asked.
    pub(super) fn mark(&self) {
        self.changed.store(true, Ordering::SeqCst);
        self.notify.notify_one();
    }

    /// Looks again after this time at the latest.
    pub(super) fn due_in(&self, wait: Duration) {
        *self.due.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + wait);
    }

    /// Waits for the next reason to look; `usual` is the time after that when nobody says otherwise.
    pub(super) async fn next(&self, usual: Duration) {
        let due = {
            let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
            *due.get_or_insert_with(|| Instant::now() + usual)
        };
        tokio::select! {
            () = self.until_changed() => self.until_quiet().await,
            () = sleep_until(due) => {}
        }
        self.changed.store(false, Ordering::SeqCst);
        self.due_in(usual);
    }

    async fn until_changed(&self) {
        while !self.changed.load(Ordering::SeqCst) {
            self.notify.notified().await;
        }
    }

    async fn until_quiet(&self) {
        let last = Instant::now() + LONGEST;
        while Instant::now() < last && timeout(QUIET, self.notify.notified()).await.is_ok() {}
    }
}
