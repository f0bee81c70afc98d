//! The one place that reads the system clock; everything else is handed a [`Clock`].
//!
//! Must not know: who asks, or why.

use std::str::FromStr;
use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::Notify;

/// The variable in which the processes of a tour find its clock.
pub const DEMO_VARIABLE: &str = "BETAGATE_DEMO_CLOCK";

/// `START@RATE`, such as `2026-03-02T08:00:00Z@600`: an instant, and how many times as fast as the system's the clock runs.
impl FromStr for Clock {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("'{text}' is no clock; START@RATE, such as 2026-03-02T08:00:00Z@600");
        let (start, rate) = text.rsplit_once('@').ok_or_else(wrong)?;
        let start: Timestamp = start.parse().map_err(|_| wrong())?;
        let rate: f64 = rate.parse().ok().filter(|rate| (1.0..=100_000.0).contains(rate)).ok_or_else(wrong)?;
        Ok(Self::demo(start, rate))
    }
}

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

    /// The clock of this process: the system's, or the fast one of the tour that it belongs to.
    pub fn of_process() -> Self {
        let handed = std::env::var(DEMO_VARIABLE).ok();
        handed.and_then(|text| Self::handed(&text)).unwrap_or_else(Self::system)
    }

    fn handed(text: &str) -> Option<Self> {
        let (clock, real_start) = text.rsplit_once('@')?;
        let (start, rate) = clock.rsplit_once('@')?;
        let (start, rate, real_start) = (start.parse().ok()?, rate.parse().ok()?, real_start.parse().ok()?);
        Some(Self(Kind::Demo { start, real_start, rate }))
    }

    /// What a fast clock hands down to the processes of its tour, in the variable [`DEMO_VARIABLE`]; nothing otherwise.
    pub fn handed_down(&self) -> Option<String> {
        match &self.0 {
            Kind::Demo { start, real_start, rate } => Some(format!("{start}@{rate}@{real_start}")),
            _ => None,
        }
    }

    /// Whether it is the fast clock of a tour.
    pub fn is_demo(&self) -> bool {
        matches!(self.0, Kind::Demo { .. })
    }

    /// How long it takes by this clock while a time of the system's passes: what waits for other processes, which live in real time.
    pub fn of_real(&self, real: SignedDuration) -> SignedDuration {
        match &self.0 {
            Kind::Demo { rate, .. } => {
                SignedDuration::try_from_secs_f64(real.as_secs_f64() * rate.max(1.0)).unwrap_or(SignedDuration::MAX)
            }
            _ => real,
        }
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn the_clock_of_a_tour_is_the_same_in_every_process_of_it() {
        let clock: Clock = "2026-03-02T08:00:00Z@600".parse().unwrap();
        let child = Clock::handed(&clock.handed_down().unwrap()).unwrap();
        let apart = child.now().duration_since(clock.now());
        assert!(apart < SignedDuration::from_mins(10), "{apart:#}");
        assert!(clock.now() >= "2026-03-02T08:00:00Z".parse().unwrap());
        assert_eq!(clock.of_real(SignedDuration::from_secs(15)), SignedDuration::from_secs(9000));
        for wrong in ["2026-03-02T08:00:00Z", "now@2", "2026-03-02T08:00:00Z@0", "2026-03-02T08:00:00Z@x"] {
            assert!(wrong.parse::<Clock>().is_err(), "{wrong}");
        }
    }
}
