//! The one place that reads the system clock; everything else is handed a [`Clock`].
//!
//! Must not know: who asks, or why.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::Notify;

/// A source of instants: the system's, one moved by hand (tests, `simulate`), or a fast one for tours.
#[derive(Clone, Debug)]
pub struct Clock(Kind);

#[derive(Clone, Debug)]
enum Kind {
    System,
    Manual { micros: Arc<AtomicI64>, moved: Arc<Notify> },
    Demo { start: Timestamp, real_start: Timestamp, rate: f64 },
}

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        Self(Kind::System)
    }

    /// A clock that stands at `at` until it is moved with [`Clock::set`] or [`Clock::advance`].
    pub fn manual(at: Timestamp) -> Self {
        Self(Kind::Manual { micros: Arc::new(AtomicI64::new(at.as_microsecond())), moved: Arc::new(Notify::new()) })
    }

    /// A clock that reads `start` now and runs `rate` times as fast as the system's.
    pub fn demo(start: Timestamp, rate: f64) -> Self {
        Self(Kind::Demo { start, real_start: Timestamp::now(), rate })
    }

    /// The instant it is now, in whole microseconds (what both databases keep).
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Kind::System => whole_micros(Timestamp::now()),
            Kind::Manual { micros, .. } => {
                Timestamp::from_microsecond(micros.load(Ordering::SeqCst)).unwrap_or(Timestamp::UNIX_EPOCH)
            }
            Kind::Demo { start, real_start, rate } => {
                let real = Timestamp::now().duration_since(*real_start).as_secs_f64();
                let virtual_time = SignedDuration::try_from_secs_f64(real * rate).unwrap_or(SignedDuration::MAX);
                whole_micros(start.checked_add(virtual_time).unwrap_or(Timestamp::MAX))
            }
        }
    }

    /// Moves a manual clock to `at`; any other clock is left as it is.
    pub fn set(&self, at: Timestamp) {
        if let Kind::Manual { micros, moved } = &self.0 {
            micros.store(at.as_microsecond(), Ordering::SeqCst);
            moved.notify_waiters();
        }
    }

    /// Moves a manual clock on by `by`.
    pub fn advance(&self, by: SignedDuration) {
        self.set(self.now().checked_add(by).unwrap_or(Timestamp::MAX));
    }

    /// Waits until this clock reads `at` or later.
    pub async fn sleep_until(&self, at: Timestamp) {
        loop {
            let wait = match &self.0 {
                Kind::Manual { moved, .. } => {
                    let moved = moved.notified();
                    tokio::pin!(moved);
                    moved.as_mut().enable();
                    if self.now() >= at {
                        return;
                    }
                    moved.await;
                    continue;
                }
                Kind::System => at.duration_since(self.now()),
                Kind::Demo { rate, .. } => {
                    let left = at.duration_since(self.now()).as_secs_f64() / rate.max(f64::EPSILON);
                    SignedDuration::try_from_secs_f64(left).unwrap_or(SignedDuration::MAX)
                }
            };
            if wait <= SignedDuration::ZERO {
                return;
            }
            // A bounded nap, so that a system clock that is set forward is noticed.
            let nap = Duration::try_from(wait).unwrap_or_default().min(Duration::from_secs(60));
            tokio::time::sleep(nap).await;
        }
    }
}

fn whole_micros(at: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(at.as_microsecond()).unwrap_or(at)
}
