//! Who is on duty, shift by shift, and where nobody is.
//!
//! Shifts shorter than a day begin anew at each midnight of the program's zone, so that their hours stay the same when clocks change.
//!
//! Must not know: who is paged, or why.

use jiff::{SignedDuration, Timestamp, Zoned, civil::Date, tz::TimeZone};

use crate::resources::Duty;

const HOUR: SignedDuration = SignedDuration::from_hours(1);
const DAY_SECONDS: i64 = 24 * 3600;

/// Who is on duty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OnDuty<'a> {
    /// Who is called first.
    pub primary: Option<&'a str>,
    /// Who is called next.
    pub backup: Option<&'a str>,
}

/// Who is on duty at an instant; none when that hour is not staffed. Whoever is away is passed over: the next one takes the turn.
pub fn on_duty<'a>(duty: &'a Duty, day0: Date, zone: &TimeZone, at: Timestamp) -> Option<OnDuty<'a>> {
    let local = at.to_zoned(zone.clone());
    if duty.hours.is_some_and(|hours| !hours.contains(local.time())) {
        return None;
    }
    let day = local.date();
    let away = |person: &str| duty.away.iter().any(|away| away.person == person && away.days.contains(day));
    let turn = turn(duty, day0, &local);
    let count = i64::try_from(duty.people.len()).unwrap_or(i64::MAX).max(1);
    let mut there: Vec<&str> = Vec::new();
    for step in 0..count {
        let place = usize::try_from((turn + step).rem_euclid(count)).unwrap_or_default();
        if let Some(person) = duty.people.get(place).map(String::as_str)
            && !away(person)
            && !there.contains(&person)
        {
            there.push(person);
        }
    }
    Some(OnDuty { primary: there.first().copied(), backup: there.get(1).copied() })
}

/// How many staffed hours, of those that begin from `from` on and before `until`, have no primary or no backup.
pub fn holes(duty: &Duty, day0: Date, zone: &TimeZone, (from, until): (Timestamp, Timestamp)) -> u32 {
    let mut holes = 0;
    let mut hour = from;
    while hour < until {
        if on_duty(duty, day0, zone, hour).is_some_and(|on| on.primary.is_none() || on.backup.is_none()) {
            holes += 1;
        }
        let Ok(next) = hour.checked_add(HOUR) else { break };
        hour = next;
    }
    holes
}

/// The number of the shift, counted from day 0.
fn turn(duty: &Duty, day0: Date, local: &Zoned) -> i64 {
    let seconds = duty.shifts.duration().as_secs().max(1);
    let days = local.date().since(day0).map_or(0, |span| i64::from(span.get_days()));
    let since_midnight = i64::from(local.hour()) * 3600 + i64::from(local.minute()) * 60 + i64::from(local.second());
    if seconds >= DAY_SECONDS {
        return (days * DAY_SECONDS + since_midnight).div_euclid(seconds);
    }
    let in_a_day = (DAY_SECONDS + seconds - 1) / seconds;
    days * in_a_day + since_midnight / seconds
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]
    use super::*;

    fn duty(text: &str) -> Duty {
        serde_saphyr::from_str(text).unwrap()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    const DAY0: Date = Date::constant(2026, 3, 2);

    #[test]
    fn shifts_turn_and_keep_their_hours_when_clocks_change() {
        let duty = duty("{shifts: 4h, people: [ana, bob, eve]}");
        let rome = TimeZone::get("Europe/Rome").unwrap();
        let who = |instant: &str| {
            let on = on_duty(&duty, DAY0, &rome, at(instant)).unwrap();
            (on.primary.unwrap(), on.backup.unwrap())
        };
        assert_eq!(who("2026-03-01T23:00:00Z"), ("ana", "bob"));
        assert_eq!(who("2026-03-02T02:59:59Z"), ("ana", "bob"));
        assert_eq!(who("2026-03-02T03:00:00Z"), ("bob", "eve"));
        // Six shifts a day, three people: whoever has the first one of a day has it every day, also on the day of 23 hours.
        assert_eq!(who("2026-03-28T23:00:00Z"), ("ana", "bob"));
        assert_eq!(who("2026-03-29T02:00:00Z"), ("bob", "eve"), "04:00 in summer time");
        assert_eq!(who("2026-03-29T22:00:00Z"), ("ana", "bob"));
    }

    #[test]
    fn an_hour_without_primary_or_backup_is_a_hole_and_one_that_is_not_staffed_is_none() {
        let week = (at("2026-03-02T00:00:00Z"), at("2026-03-09T00:00:00Z"));
        let count = |text: &str| holes(&duty(text), DAY0, &TimeZone::UTC, week);
        assert_eq!(count("{shifts: 4h, people: [ana, bob]}"), 0);
        assert_eq!(count("{shifts: 4h, people: [ana]}"), 168);
        assert_eq!(count("{shifts: 4h, people: [ana, ana]}"), 168);
        assert_eq!(count("{shifts: 4h, people: [ana], hours: 08:00-20:00}"), 84);
        assert_eq!(count("{shifts: 1w, people: [ana, bob], away: [{person: bob, days: 2026-03-04}]}"), 24);
        assert_eq!(
            count("{shifts: 4h, people: [ana, bob, eve], away: [{person: bob, days: 2026-03-04/2026-03-05}]}"),
            0
        );
        let two = "{shifts: 4h, people: [ana, bob, eve], hours: 10:00-12:00, away: [{person: bob, days: SAT}, {person: ana, days: 2026-03-07}]}";
        assert_eq!(count(two), 2);
    }
}
