//! Pacing: how soon the next message may leave, by program, cohort and receiving domain.
//!
//! Each of the three is a bucket by its own: what a rate allows flows in evenly and is kept for one length of time at most (the generic cell
//! rate algorithm: all that is remembered is when the next one is free). Must not know: whose messages these are, the clock.

use std::collections::BTreeMap;

use betagate_core::resources::Rate;
use jiff::{SignedDuration, Timestamp};

/// Domains that are remembered at most; those that owe nothing are forgotten first.
const DOMAINS: usize = 10_000;

/// The rates of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rates {
    /// Of the program.
    pub(super) program: Rate,
    /// Of the cohort.
    pub(super) cohort: Rate,
    /// Of each receiving domain.
    pub(super) domain: Rate,
}

/// What has left lately.
#[derive(Debug, Default)]
pub(super) struct Pace {
    program: Option<Timestamp>,
    cohorts: BTreeMap<String, Timestamp>,
    domains: BTreeMap<String, Timestamp>,
}

impl Pace {
    /// When a message to this cohort and domain may leave: not before the latest of the three.
    pub(super) fn free_at(&self, cohort: &str, domain: &str) -> Option<Timestamp> {
        [self.program, self.cohorts.get(cohort).copied(), self.domains.get(domain).copied()].into_iter().flatten().max()
    }

    /// Whether nothing of the program may leave, and until when.
    pub(super) fn program_free_at(&self) -> Option<Timestamp> {
        self.program
    }

    /// A message leaves, or left, at `at`.
    pub(super) fn take(&mut self, cohort: &str, domain: &str, rates: Rates, at: Timestamp) {
        self.program = Some(next(self.program, rates.program, at));
        let free = next(self.cohorts.get(cohort).copied(), rates.cohort, at);
        self.cohorts.insert(cohort.to_owned(), free);
        if self.domains.len() >= DOMAINS {
            self.domains.retain(|_, free| *free > at);
        }
        let free = next(self.domains.get(domain).copied(), rates.domain, at);
        self.domains.insert(domain.to_owned(), free);
    }
}

fn each(rate: Rate) -> SignedDuration {
    SignedDuration::from_secs(i64::from(rate.seconds)) / i32::try_from(rate.count.max(1)).unwrap_or(i32::MAX)
}

fn next(free: Option<Timestamp>, rate: Rate, at: Timestamp) -> Timestamp {
    let each = each(rate);
    let kept = SignedDuration::from_secs(i64::from(rate.seconds)) - each;
    let earliest = at.checked_sub(kept).unwrap_or(at);
    let free = free.map_or(at, |free| free.max(earliest));
    free.checked_add(each).unwrap_or(free)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + seconds).unwrap()
    }

    fn rates(program: &str, cohort: &str, domain: &str) -> Rates {
        let [program, cohort, domain] = [program, cohort, domain].map(|rate| rate.parse().unwrap());
        Rates { program, cohort, domain }
    }

    /// How many messages leave in a stretch of seconds when whoever may go goes.
    fn sent(pace: &mut Pace, rates: Rates, to: &[(&str, &str)], seconds: std::ops::Range<i64>) -> Vec<usize> {
        let mut counts = vec![0; to.len()];
        for second in seconds {
            for (index, (cohort, domain)) in to.iter().enumerate() {
                while pace.free_at(cohort, domain).is_none_or(|free| free <= at(second)) {
                    pace.take(cohort, domain, rates, at(second));
                    counts[index] += 1;
                }
            }
        }
        counts
    }

    #[test]
    fn a_cohort_goes_out_evenly_and_what_was_not_used_is_kept_for_one_length_of_time() {
        let rates = rates("1000/min", "30/min", "1000/min");
        let mut pace = Pace::default();
        assert_eq!(sent(&mut pace, rates, &[("pavia", "example.com")], 0..60), [30]);
        assert_eq!(
            sent(&mut pace, rates, &[("pavia", "example.com")], 3600..3601),
            [30],
            "an hour of silence is worth a minute"
        );
        assert_eq!(sent(&mut pace, rates, &[("pavia", "example.com")], 3601..3661), [30]);
    }

    #[test]
    fn a_slow_domain_holds_up_nobody_else_and_the_program_bounds_all() {
        let rates = rates("40/min", "1000/min", "6/min");
        let to = [("pavia", "slow.example.com"), ("pavia", "example.org"), ("lyon", "example.net")];
        assert_eq!(sent(&mut Pace::default(), rates, &to, 0..60), [6, 6, 6]);
        let many: Vec<(&str, String)> = (0..20).map(|number| ("pavia", format!("d{number}.example.com"))).collect();
        let many: Vec<(&str, &str)> = many.iter().map(|(cohort, domain)| (*cohort, domain.as_str())).collect();
        let all = sent(&mut Pace::default(), rates, &many, 0..60);
        assert!((40..=41).contains(&all.iter().sum::<usize>()), "{all:?}");
        assert!(all.iter().all(|count| *count <= 7), "{all:?}");
    }
}
