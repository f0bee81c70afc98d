//! What makes a source look again: something changed, somebody asked, or it is time. Waiting may be given up and begun
//! again at any moment without losing a change or starting the time anew.
//!
//! Must not know: what is looked at.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// Changes that come this close to one another are one (an editor's several writes, a checkout).
const QUIET: Duration = Duration::from_millis(150);
/// A stream of changes without pause is looked at this often.
const LONGEST: Duration = Duration::from_secs(2);

/// The waiting of one source. Real time, not the injected clock's: it is about a disk or a network that knows no other.
#[derive(Debug)]
pub(super) struct Wake {
    waits: Mutex<Waits>,
    notify: Notify,
}

#[derive(Debug, Default)]
struct Waits {
    /// When the first and the last of the changes came that nobody looked at yet. Kept here, as a loop that has other things to do gives up waiting
    /// more often than changes are waited for to be over: of a quiet time that began anew each time, none would ever end.
    changed: Option<(Instant, Instant)>,
    due: Option<Instant>,
}

impl Wake {
    pub(super) fn new() -> Self {
        Self { waits: Mutex::default(), notify: Notify::new() }
    }

    fn waits(&self) -> MutexGuard<'_, Waits> {
        self.waits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something changed, or somebody asked.
    pub(super) fn mark(&self) {
        self.waits().mark(Instant::now());
        self.notify.notify_one();
    }

    /// Looks again after this time at the latest.
    pub(super) fn due_in(&self, wait: Duration) {
        self.waits().due = Some(Instant::now() + wait);
    }

    /// Waits for the next reason to look; `usual` is the time after that when nobody says otherwise.
    pub(super) async fn next(&self, usual: Duration) {
        loop {
            let waits = self.waits().take(Instant::now(), usual);
            let Err(until) = waits else { return };
            tokio::select! {
                () = self.notify.notified() => {}
                () = sleep_until(until) => {}
            }
        }
    }
}

impl Waits {
    fn mark(&mut self, now: Instant) {
        self.changed = Some((self.changed.map_or(now, |(first, _)| first), now));
    }

    /// Takes the reason to look, if there is one now; else says until when there is none, unless something changes.
    fn take(&mut self, now: Instant, usual: Duration) -> Result<(), Instant> {
        let due = *self.due.get_or_insert(now + usual);
        let until = self.changed.map_or(due, |(first, last)| due.min(last + QUIET).min(first + LONGEST));
        if now < until {
            return Err(until);
        }
        *self = Self { changed: None, due: Some(now + usual) };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USUAL: Duration = Duration::from_secs(60);

    /// When a reason is there for somebody who gives up and asks again all the time.
    fn heard(waits: &mut Waits, begin: Instant, mut meanwhile: impl FnMut(&mut Waits, Instant)) -> Duration {
        let mut after = Duration::ZERO;
        while waits.take(begin + after, USUAL).is_err() {
            after += Duration::from_millis(50);
            meanwhile(waits, begin + after);
        }
        after
    }

    #[test]
    fn who_gives_up_waiting_all_the_time_hears_of_a_change_all_the_same() {
        let (mut waits, begin) = (Waits::default(), Instant::now());
        waits.mark(begin);
        assert_eq!(heard(&mut waits, begin, |_, _| ()), QUIET);
        let again = begin + QUIET;
        assert_eq!(heard(&mut waits, again, |_, _| ()), USUAL, "of nothing it hears when it is time to look again");
    }

    #[test]
    fn changes_without_a_pause_are_looked_at_all_the_same() {
        let (mut waits, begin) = (Waits::default(), Instant::now());
        waits.mark(begin);
        assert_eq!(heard(&mut waits, begin, Waits::mark), LONGEST);
    }
}
