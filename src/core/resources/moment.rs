//! Points in time as an operator writes them: from the program's first day, on its calendar, or an instant.
//!
//! Must not know: what they are used for, which day the first one is.

use std::{borrow::Cow, fmt, str::FromStr};

use jiff::{
    SignedDuration, Timestamp,
    civil::{Date, DateTime},
    tz::TimeZone,
};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::scalar::{Scalar, Span, SpanFault, text_scalar};

/// Which end of a day a bare date means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edge {
    /// Its first instant.
    Start,
    /// The first instant of the day after it: "until the end of that day".
    End,
}

/// A point in time: `+11d` (days from the program's start), `-3d`, `2026-03-20`, `2026-03-20T09:00` (both in the program's zone), or an
/// instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Days (and a rest below a day) from the program's day 0.
    Relative(SignedDuration),
    /// A calendar day in the program's zone.
    Date(Date),
    /// A day and a time of day in the program's zone.
    Civil(DateTime),
    /// An instant.
    Instant(Timestamp),
}

impl Moment {
    /// The instant it means in a program that starts on `day0` in `zone`. Days are calendar days: `+30d` keeps its local hour across a
    /// change to daylight saving time.
    pub fn resolve(self, day0: Date, zone: &TimeZone, edge: Edge) -> Timestamp {
        let day_at = |date: Date| {
            let date = if edge == Edge::End { date.tomorrow().unwrap_or(date) } else { date };
            date.to_zoned(zone.clone()).map_or(Timestamp::MAX, |z| z.timestamp())
        };
        match self {
            Self::Instant(at) => at,
            Self::Date(date) => day_at(date),
            // A time that the clocks skip is the one after the gap; of one that comes twice, the first.
            Self::Civil(time) => time.to_zoned(zone.clone()).map_or(Timestamp::MAX, |z| z.timestamp()),
            Self::Relative(by) => {
                let days = by.as_secs().div_euclid(86_400);
                let rest = SignedDuration::from_secs(by.as_secs().rem_euclid(86_400));
                let date = day0.checked_add(jiff::Span::new().days(days)).unwrap_or(Date::MAX);
                if rest.is_zero() {
                    day_at(date)
                } else {
                    let midnight = date.to_zoned(zone.clone()).map_or(Timestamp::MAX, |z| z.timestamp());
                    midnight.checked_add(rest).unwrap_or(Timestamp::MAX)
                }
            }
        }
    }
}

impl Scalar for Moment {
    const FORMAT: &'static str = "betagate-moment";
    const PATTERN: &'static str = "^([+-]([0-9]+(s|m|h|d|w))+|[0-9]{4}-[0-9]{2}-[0-9]{2}([Tt ].*)?)$";
    const MEANING: &'static str = "A point in time: +11d (from the program's start), 2026-03-20, 2026-03-20T09:00 (in the program's zone), or 2026-03-20T18:00:00Z.";
}
text_scalar!(Moment);

impl FromStr for Moment {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "'{text}' is not a point in time, such as +11d, -3d, 2026-03-20, 2026-03-20T09:00 or 2026-03-20T18:00:00Z"
            )
        };
        let relative = |by: &str| match Span::read(by) {
            Ok(span) => Ok(span.duration()),
            Err(SpanFault::TooLong) => Err(SpanFault::TooLong.told(by)),
            Err(SpanFault::Malformed) => Err(wrong()),
        };
        match text.as_bytes().first() {
            Some(b'+') => relative(&text[1..]).map(Self::Relative),
            Some(b'-') => relative(&text[1..]).map(|by| Self::Relative(-by)),
            _ if text.len() == 10 => text.parse().map(Self::Date).map_err(|_| wrong()),
            _ => match text.parse() {
                Ok(instant) => Ok(Self::Instant(instant)),
                // A zone's name would be read and then not counted: the program's zone counts.
                Err(_) if text.contains(['[', '+', 'Z', 'z']) => Err(wrong()),
                Err(_) => text.parse().map(Self::Civil).map_err(|_| wrong()),
            },
        }
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Relative(by) if by.is_negative() => write!(f, "-{}", Span(-*by)),
            Self::Relative(by) => {
                if by.is_zero() {
                    f.write_str("+0d")
                } else {
                    write!(f, "+{}", Span(*by))
                }
            }
            Self::Date(date) => write!(f, "{date}"),
            Self::Civil(time) => write!(f, "{time}"),
            Self::Instant(at) => write!(f, "{at}"),
        }
    }
}
