//! Who leads, by a Lease: what to do about it, given what was seen of it. Time is this process' own: the clocks of two machines need not agree.
//!
//! Must not know: how a lease is read or written.

use std::time::{Duration, Instant};

/// Who has not renewed for so long has lost it.
pub const DURATION: Duration = Duration::from_secs(15);
/// Who leads stops writing to the cluster so long after the last renewal, well before another may take over.
pub const RENEW_DEADLINE: Duration = Duration::from_secs(10);
/// How often it is renewed, or looked at.
pub const EVERY: Duration = Duration::from_secs(3);

/// A lease as this process saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// Who holds it; empty when it was given back.
    pub holder: String,
    /// How long the holder said it holds without a renewal.
    pub duration: Duration,
    /// When this process first saw it so: every renewal begins anew.
    pub since: Instant,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// There is none: make one.
    Create,
    /// Nobody holds it any more.
    Take,
    /// It is ours.
    Renew,
    /// Somebody holds it, until then at least.
    Wait(Instant),
}

/// What to do about a lease.
pub fn evaluate(lease: Option<&Observed>, now: Instant, me: &str) -> Decision {
    let Some(lease) = lease else { return Decision::Create };
    let until = lease.since + lease.duration;
    match lease.holder.as_str() {
        holder if holder == me => Decision::Renew,
        "" => Decision::Take,
        _ if now >= until => Decision::Take,
        _ => Decision::Wait(until),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_taken_when_nobody_holds_it_and_renewed_by_who_does() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let held = |holder: &str, seconds| Observed {
            holder: holder.to_owned(),
            duration: Duration::from_secs(seconds),
            since: begin,
        };
        let table = [
            ("none is there", None, 0, Decision::Create),
            ("it was given back", Some(held("", 15)), 0, Decision::Take),
            ("ours", Some(held("me", 15)), 1, Decision::Renew),
            ("ours, late, and nobody took it", Some(held("me", 15)), 60, Decision::Renew),
            ("another's, fresh", Some(held("other", 15)), 0, Decision::Wait(at(15))),
            ("another's, at its last moment", Some(held("other", 15)), 14, Decision::Wait(at(15))),
            ("another's, run out", Some(held("other", 15)), 15, Decision::Take),
            ("another's, which said it holds longer", Some(held("other", 60)), 15, Decision::Wait(at(60))),
            ("a name that only begins like ours", Some(held("me-2", 15)), 0, Decision::Wait(at(15))),
        ];
        for (case, lease, now, expected) in table {
            assert_eq!(evaluate(lease.as_ref(), at(now), "me"), expected, "{case}");
        }
    }

    /// Whoever takes over waits, from a moment at or after the leader's last renewal, longer than the leader goes on writing after it.
    #[test]
    fn the_leader_stops_before_another_may_begin() {
        const { assert!(RENEW_DEADLINE.as_secs() + EVERY.as_secs() < DURATION.as_secs()) };
    }
}
