//! The small languages of calendars: days (`SAT`, `2026-12-24`, `2026-12-24/2027-01-06`) and hours of a day (`08:00-20:00`).
//!
//! Must not know: what they are used for.

use std::{borrow::Cow, fmt, str::FromStr};

use jiff::civil::{Date, Time, Weekday};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::scalar::{Scalar, text_scalar};

const WEEKDAYS: [(&str, Weekday); 7] = [
    ("MON", Weekday::Monday),
    ("TUE", Weekday::Tuesday),
    ("WED", Weekday::Wednesday),
    ("THU", Weekday::Thursday),
    ("FRI", Weekday::Friday),
    ("SAT", Weekday::Saturday),
    ("SUN", Weekday::Sunday),
];

/// Days of a calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Days {
    /// Every such day of the week.
    Weekly(Weekday),
    /// From one day to another, both included.
    Between(Date, Date),
}

impl Days {
    /// Whether a day is one of them.
    pub fn contains(self, day: Date) -> bool {
        match self {
            Self::Weekly(weekday) => day.weekday() == weekday,
            Self::Between(from, until) => (from..=until).contains(&day),
        }
    }
}

impl Scalar for Days {
    const FORMAT: &'static str = "betagate-days";
    const PATTERN: &'static str = "^([A-Za-z]{3}|[0-9]{4}-[0-9]{2}-[0-9]{2}(/[0-9]{4}-[0-9]{2}-[0-9]{2})?)$";
    const MEANING: &'static str =
        "Days: a weekday (SAT), a date (2026-12-24), or from one date to another (2026-12-24/2027-01-06).";
}
text_scalar!(Days);

impl FromStr for Days {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("'{text}' is no day, such as SAT, 2026-12-24 or 2026-12-24/2027-01-06");
        if let Some((_, weekday)) = WEEKDAYS.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)) {
            return Ok(Self::Weekly(*weekday));
        }
        let (from, until) = text.split_once('/').unwrap_or((text, text));
        let (from, until): (Date, Date) = (from.parse().map_err(|_| wrong())?, until.parse().map_err(|_| wrong())?);
        if until < from {
            return Err(format!("'{text}' ends before it begins"));
        }
        Ok(Self::Between(from, until))
    }
}

impl fmt::Display for Days {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Weekly(weekday) => {
                f.write_str(WEEKDAYS.iter().find(|(_, day)| day == weekday).map_or("", |(name, _)| name))
            }
            Self::Between(from, until) if from == until => write!(f, "{from}"),
            Self::Between(from, until) => write!(f, "{from}/{until}"),
        }
    }
}

/// Hours of a day: from one time up to, and not including, another; over midnight when the second is the earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hours {
    from: Time,
    until: Time,
}

impl Hours {
    /// Whether a time of day lies in them.
    pub fn contains(self, time: Time) -> bool {
        if self.from < self.until {
            (self.from..self.until).contains(&time)
        } else {
            time >= self.from || time < self.until
        }
    }
}

impl Scalar for Hours {
    const FORMAT: &'static str = "betagate-hours";
    const PATTERN: &'static str = "^[0-9]{2}:[0-9]{2}-[0-9]{2}:[0-9]{2}$";
    const MEANING: &'static str = "Hours of a day: 08:00-20:00.";
}
text_scalar!(Hours);

impl FromStr for Hours {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("'{text}' are no hours of a day, such as 08:00-20:00");
        let (from, until) = text.split_once('-').ok_or_else(wrong)?;
        let time = |text: &str| text.parse::<Time>().ok().filter(|_| text.len() == 5).ok_or_else(wrong);
        Ok(Self { from: time(from)?, until: time(until)? })
    }
}

impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (from, until) = (self.from, self.until);
        write!(f, "{:02}:{:02}-{:02}:{:02}", from.hour(), from.minute(), until.hour(), until.minute())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]
    use super::*;

    #[test]
    fn days_are_weekdays_dates_and_what_lies_between_two() {
        let holds = |days: &str, day: &str| days.parse::<Days>().unwrap().contains(day.parse().unwrap());
        assert!(holds("SAT", "2026-03-07") && !holds("sat", "2026-03-08"));
        assert!(holds("2026-12-24", "2026-12-24") && !holds("2026-12-24", "2026-12-25"));
        for (day, within) in [("2026-12-23", false), ("2026-12-24", true), ("2027-01-06", true), ("2027-01-07", false)]
        {
            assert_eq!(holds("2026-12-24/2027-01-06", day), within, "{day}");
        }
        for text in ["SAT", "2026-12-24", "2026-12-24/2027-01-06"] {
            assert_eq!(text.parse::<Days>().unwrap().to_string(), text);
        }
        for wrong in ["", "Saturday", "2026-02-30", "2026-12-24/", "2027-01-06/2026-12-24"] {
            assert!(wrong.parse::<Days>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn hours_include_their_first_minute_and_may_pass_midnight() {
        let holds = |hours: &str, time: &str| hours.parse::<Hours>().unwrap().contains(time.parse().unwrap());
        for (time, within) in [("07:59:59", false), ("08:00", true), ("19:59:59", true), ("20:00", false)] {
            assert_eq!(holds("08:00-20:00", time), within, "{time}");
        }
        for (time, within) in [("21:59", false), ("22:00", true), ("00:00", true), ("05:59", true), ("06:00", false)] {
            assert_eq!(holds("22:00-06:00", time), within, "{time}");
        }
        assert_eq!("08:00-20:00".parse::<Hours>().unwrap().to_string(), "08:00-20:00");
        for wrong in ["8-20", "08:00", "08:00-24:00", "8:00-20:00"] {
            assert!(wrong.parse::<Hours>().is_err(), "{wrong}");
        }
    }
}
