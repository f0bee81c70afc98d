//! The pauses before the API server is asked again after it did not answer.
//!
//! Must not know: what is asked.

use std::time::{Duration, Instant};

use kube::runtime::utils::Backoff;

/// The longest pause before it is asked again. However long it was away, what waits for it waits no longer than this once it is back.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(8);
const FIRST: Duration = Duration::from_millis(500);
/// One that has not failed for so long works: its next pause is a short one. Longer than a try takes that nobody answers, and the pause before it.
const WORKS_AFTER: Duration = Duration::from_secs(90);

/// The pauses of a watch that breaks. They are short again once it has worked for a while; that something came says nothing of it: a watch tells that it
/// begins to list before it asks.
#[derive(Default)]
pub struct Pauses {
    failures: u32,
    last: Option<Instant>,
}

impl Pauses {
    fn after(&mut self, failure: Instant) -> Duration {
        if self.last.is_some_and(|last| failure.saturating_duration_since(last) > WORKS_AFTER) {
            self.failures = 0;
        }
        let pause = FIRST.saturating_mul(1 << self.failures.min(8)).min(LONGEST_PAUSE);
        self.failures = self.failures.saturating_add(1);
        self.last = Some(failure);
        pause
    }
}

impl Iterator for Pauses {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let pause = self.after(Instant::now());
        // Not all watches at once.
        Some(pause.mul_f64(0.75 + 0.5 * rand::random::<f64>()))
    }
}

impl Backoff for Pauses {
    fn reset(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pauses_of_a_watch_that_fails_grow_until_it_has_worked_for_a_while() {
        let begin = Instant::now();
        let mut pauses = Pauses::default();
        let mut after = |seconds| {
            // What comes between two failures: that a list begins.
            pauses.reset();
            pauses.after(begin + Duration::from_secs(seconds)).as_millis()
        };
        // A page of a list that nobody answers takes 65 s to fail.
        assert_eq!([0, 1, 2, 4, 8, 16, 89].map(&mut after), [500, 1000, 2000, 4000, 8000, 8000, 8000]);
        assert_eq!([180, 181].map(after), [500, 1000]);
    }
}
