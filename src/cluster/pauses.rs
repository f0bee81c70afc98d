//! The pauses before the API server is asked again after it did not answer.
//!
//! Must not know: what is asked.

use std::time::Duration;

use kube::runtime::utils::Backoff;

/// The longest pause before it is asked again. However long it was away, what waits for it waits no longer than this once it is back.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(8);
const FIRST: Duration = Duration::from_millis(500);

/// The pauses of a watch that breaks: short again as soon as something came, so that after an outage, when its place in history is gone besides, it does
/// not wait as long as it had come to wait.
#[derive(Default)]
pub struct Pauses(u32);

impl Iterator for Pauses {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let pause = FIRST.saturating_mul(1 << self.0.min(8)).min(LONGEST_PAUSE);
        self.0 = self.0.saturating_add(1);
        // Not all watches at once.
        Some(pause.mul_f64(0.75 + 0.5 * rand::random::<f64>()))
    }
}

impl Backoff for Pauses {
    fn reset(&mut self) {
        self.0 = 0;
    }
}
