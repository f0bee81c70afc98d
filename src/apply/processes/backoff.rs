//! How long to wait before a process that ended is started again.
//!
//! Must not know: the clock, or what ended.

use std::time::Duration;

/// The wait after the first failure.
pub(super) const FIRST: Duration = Duration::from_millis(200);
/// The longest wait.
pub(super) const LONGEST: Duration = Duration::from_secs(30);
/// A process that was ready for this long starts counting its failures anew.
pub(super) const STABLE: Duration = Duration::from_secs(30);

/// The wait after `failures` failures in a row (1 or more): doubling from [`FIRST`] to [`LONGEST`], then up to a fifth shorter or
/// longer by `jitter` (0.0 to 1.0), so that several processes that died together do not come back together.
pub(super) fn delay(failures: u32, jitter: f64) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let wait = FIRST.saturating_mul(1 << doublings).min(LONGEST);
    wait.mul_f64(0.8 + 0.4 * jitter.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_half_a_minute_and_jitter_moves_them_by_a_fifth() {
        let waits: Vec<u128> = (1..=10).map(|n| delay(n, 0.5).as_millis()).collect();
        assert_eq!(waits, [200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000]);
        assert_eq!(delay(u32::MAX, 0.5), LONGEST);
        assert_eq!(delay(1, 0.0).as_millis(), 160);
        assert_eq!(delay(1, 1.0).as_millis(), 240);
    }
}
