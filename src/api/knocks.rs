//! How many refusals are listed one by one: so many a minute, the others by their number.
//!
//! Must not know: who was refused, or what is listed.

use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};

/// Listed one by one in each span.
const LISTED: u64 = 60;
/// The span.
const SPAN: SignedDuration = SignedDuration::from_secs(60);

/// The refusals of one process.
#[derive(Debug, Default)]
pub struct Knocks(Mutex<Count>);

#[derive(Debug, Default)]
struct Count {
    since: Option<Timestamp>,
    listed: u64,
    unlisted: u64,
}

impl Knocks {
    /// One more was refused. To be listed: how many before it were not. None: it only counts.
    pub fn one_more(&self, now: Timestamp) -> Option<u64> {
        let mut count = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if count.since.is_none_or(|since| now.duration_since(since) >= SPAN || now < since) {
            count.since = Some(now);
            count.listed = 0;
        }
        if count.listed >= LISTED {
            count.unlisted += 1;
            return None;
        }
        count.listed += 1;
        Some(std::mem::take(&mut count.unlisted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_flood_the_first_are_listed_and_the_next_one_says_how_many_there_were() {
        let knocks = Knocks::default();
        let at = |second: i64| Timestamp::UNIX_EPOCH + SignedDuration::from_secs(second);
        let listed = (0..1000).filter(|_| knocks.one_more(at(0)).is_some()).count();
        assert_eq!(listed, 60);
        assert_eq!(knocks.one_more(at(59)), None);
        assert_eq!(knocks.one_more(at(60)), Some(941));
        assert_eq!(knocks.one_more(at(61)), Some(0));
        // A clock that was put back begins anew.
        assert_eq!(knocks.one_more(at(1)), Some(0));
    }
}
