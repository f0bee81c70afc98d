//! The small languages inside strings: durations, moments, thresholds, rates. Each type keeps the text it was written as.
//!
//! Knows how each is written and read. Must not know what they are used for.

use std::{borrow::Cow, fmt, str::FromStr, sync::Arc};

use jiff::{SignedDuration, Timestamp, civil::Date, tz::TimeZone};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Days, Hours, moment::Moment};

/// A scalar that is written as text: how it is called in schemas, and how a reader would write one.
pub trait Scalar: FromStr<Err = String> + fmt::Display {
    /// The `format` under which the shape check finds its parser.
    const FORMAT: &'static str;
    /// A regular expression for the API server, never stricter than the parser.
    const PATTERN: &'static str;
    /// What it is, with an example, for help and errors.
    const MEANING: &'static str;
}

macro_rules! text_scalar {
    ($type:ident) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }
            fn inline_schema() -> bool {
                true
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "format": Self::FORMAT, "pattern": Self::PATTERN, "description": Self::MEANING })
            }
        }
    };
}

pub(super) use text_scalar;

/// A parser of one scalar language, as the shape check calls it.
pub type Reader = fn(&str) -> Result<(), String>;

/// Every scalar format and its parser, for the shape check.
pub const FORMATS: &[(&str, Reader)] = &[
    (Span::FORMAT, |s| s.parse::<Span>().map(drop)),
    (Moment::FORMAT, |s| s.parse::<Moment>().map(drop)),
    (Threshold::FORMAT, |s| s.parse::<Threshold>().map(drop)),
    (Rate::FORMAT, |s| s.parse::<Rate>().map(drop)),
    (Cron::FORMAT, |s| s.parse::<Cron>().map(drop)),
    (Days::FORMAT, |s| s.parse::<Days>().map(drop)),
    (Hours::FORMAT, |s| s.parse::<Hours>().map(drop)),
    ("betagate-zone", |s| {
        // A machine without any (an image from scratch) must not blame the document.
        let any = || TimeZone::get("Europe/Rome").is_ok();
        TimeZone::get(s).map(drop).map_err(|_| match any() {
            true => format!("'{s}' is not a time zone, such as Europe/Rome"),
            false => format!("'{s}' is not to be had: no time zones are installed here (tzdata)"),
        })
    }),
    ("betagate-instant", |s| {
        s.parse::<Timestamp>().map(drop).map_err(|_| format!("'{s}' is not an instant, such as 2026-03-10T09:00:00Z"))
    }),
    ("betagate-date", |s| s.parse::<Date>().map(drop).map_err(|_| format!("'{s}' is not a date, such as 2026-03-02"))),
];

/// Longer ones are slips of the finger, and reach beyond what calendars and databases count.
const LONGEST: SignedDuration = SignedDuration::from_hours(100 * 8766);

/// A length of time: `30m`, `48h`, `14d`, `1h30m`. A day is 24 hours, a week 7 days.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub(super) SignedDuration);

impl Span {
    /// A span of whole seconds.
    pub const fn seconds(seconds: i64) -> Self {
        Self(SignedDuration::from_secs(seconds))
    }
    /// As jiff's type.
    pub fn duration(self) -> SignedDuration {
        self.0
    }
    /// `at` plus this span; saturates at the end of time.
    pub fn after(self, at: Timestamp) -> Timestamp {
        at.checked_add(self.0).unwrap_or(Timestamp::MAX)
    }
    /// `at` less this span.
    pub fn before(self, at: Timestamp) -> Timestamp {
        at.checked_sub(self.0).unwrap_or(Timestamp::MIN)
    }
}

impl Scalar for Span {
    const FORMAT: &'static str = "betagate-duration";
    const PATTERN: &'static str = "^([0-9]+(ms|s|m|h|d|w))+$";
    const MEANING: &'static str = "A length of time: number and unit (s, m, h, d, w), such as 30m or 14d.";
}
text_scalar!(Span);

/// Why a text is no length of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SpanFault {
    /// It is written otherwise.
    Malformed,
    /// It reaches too far.
    TooLong,
}

impl SpanFault {
    /// In words.
    pub(super) fn told(self, text: &str) -> String {
        match self {
            Self::Malformed => format!("'{text}' is not a length of time, such as 30m, 48h or 14d"),
            Self::TooLong => format!("'{text}' is longer than {} years", LONGEST.as_hours() / 8766),
        }
    }
}

impl Span {
    /// Reads a length of time, and says why one is none.
    pub(super) fn read(text: &str) -> Result<Self, SpanFault> {
        let mut rest = text;
        let mut total = SignedDuration::ZERO;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or(SpanFault::Malformed)?;
            let number: i64 = rest[..digits].parse().map_err(|_| SpanFault::Malformed)?;
            rest = &rest[digits..];
            let end = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
            let millis_each = match &rest[..end] {
                "ms" => 1,
                "s" => 1_000,
                "m" => 60_000,
                "h" => 3_600_000,
                "d" => 86_400_000,
                "w" => 7 * 86_400_000,
                _ => return Err(SpanFault::Malformed),
            };
            rest = &rest[end..];
            let part = number.checked_mul(millis_each).ok_or(SpanFault::TooLong)?;
            total = total.checked_add(SignedDuration::from_millis(part)).ok_or(SpanFault::TooLong)?;
        }
        match total {
            _ if text.is_empty() => Err(SpanFault::Malformed),
            total if total > LONGEST => Err(SpanFault::TooLong),
            total => Ok(Self(total)),
        }
    }
}

impl FromStr for Span {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::read(text).map_err(|fault| fault.told(text))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = self.0.as_millis();
        if left == 0 {
            return f.write_str("0s");
        }
        for (unit, millis) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)] {
            if left >= millis {
                write!(f, "{}{unit}", left / millis)?;
                left %= millis;
            }
        }
        Ok(())
    }
}

/// How a measured value is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `>=`
    AtLeast,
    /// `>`
    Above,
    /// `<=`
    AtMost,
    /// `<`
    Below,
    /// `==`
    Equal,
    /// `!=`
    Different,
}

/// What a threshold's number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A plain number.
    Number,
    /// Hundredths of a ratio: 45 % is the value 0.45.
    Percent,
    /// Seconds.
    Seconds,
}

/// A comparison that a reading must meet: `>= 45%`, `== 0`, `<= 24h`.
#[derive(Clone, Debug, PartialEq)]
pub struct Threshold {
    /// How to compare.
    pub comparison: Comparison,
    /// The bound, as written (45 for `45%`), in seconds for a length of time.
    pub bound: f64,
    /// What the bound counts.
    pub unit: Unit,
    text: String,
}

impl Threshold {
    /// Whether a value (a ratio as 0…1 for percentages, seconds for lengths of time) meets it.
    pub fn met_by(&self, value: f64) -> bool {
        self.compare(value, self.scaled())
    }

    /// Whether a ratio of two counts meets it, without rounding at the threshold: the product is compared, not the quotient.
    pub fn met_by_ratio(&self, numerator: f64, denominator: f64) -> bool {
        match self.unit {
            Unit::Percent => self.compare(numerator * 100.0, self.bound * denominator),
            _ => self.compare(numerator, self.bound * denominator),
        }
    }

    /// A value that meets it, as near to the bound as may be.
    pub fn a_value_that_meets(&self) -> f64 {
        let beside = if self.unit == Unit::Percent { 0.001 } else { 1.0 };
        match self.comparison {
            Comparison::AtLeast | Comparison::AtMost | Comparison::Equal => self.scaled(),
            Comparison::Above | Comparison::Different => self.scaled() + beside,
            Comparison::Below => self.scaled() - beside,
        }
    }

    fn scaled(&self) -> f64 {
        if self.unit == Unit::Percent { self.bound / 100.0 } else { self.bound }
    }

    fn compare(&self, left: f64, right: f64) -> bool {
        match self.comparison {
            Comparison::AtLeast => left >= right,
            Comparison::Above => left > right,
            Comparison::AtMost => left <= right,
            Comparison::Below => left < right,
            Comparison::Equal => left == right,
            Comparison::Different => left != right,
        }
    }
}

impl Scalar for Threshold {
    const FORMAT: &'static str = "betagate-threshold";
    const PATTERN: &'static str = "^(>=|<=|==|!=|>|<) *-?[0-9]+(\\.[0-9]+)? *(%|[a-z0-9]*)$";
    const MEANING: &'static str = "A comparison and a bound: >= 45%, == 0, <= 24h.";
}
text_scalar!(Threshold);

impl FromStr for Threshold {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        use Comparison::{Above, AtLeast, AtMost, Below, Different, Equal};
        let wrong = || format!("'{text}' is not a threshold, such as >= 45%, == 0 or <= 24h");
        let table = [(">=", AtLeast), ("<=", AtMost), ("==", Equal), ("!=", Different), (">", Above), ("<", Below)];
        let (mark, comparison) = table.into_iter().find(|(mark, _)| text.starts_with(mark)).ok_or_else(wrong)?;
        let bound = text[mark.len()..].trim();
        let finite = |text: &str| text.trim().parse::<f64>().ok().filter(|number| number.is_finite());
        let (bound, unit) = if let Some(percent) = bound.strip_suffix('%') {
            (finite(percent).ok_or_else(wrong)?, Unit::Percent)
        } else if let Some(number) = finite(bound) {
            (number, Unit::Number)
        } else {
            (bound.parse::<Span>().map_err(|_| wrong())?.duration().as_secs_f64(), Unit::Seconds)
        };
        Ok(Self { comparison, bound, unit, text: text.to_owned() })
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// So many in a length of time: `30/min`, `5/s`, `500/h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many.
    pub count: u32,
    /// In how many seconds.
    pub seconds: u32,
}

impl Scalar for Rate {
    const FORMAT: &'static str = "betagate-rate";
    const PATTERN: &'static str = "^[0-9]+/(s|min|h|d)$";
    const MEANING: &'static str = "So many in a length of time, such as 30/min.";
}
text_scalar!(Rate);

impl FromStr for Rate {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("'{text}' is not a rate, such as 30/min, 5/s or 500/h");
        let (count, unit) = text.split_once('/').ok_or_else(wrong)?;
        let seconds = match unit {
            "s" => 1,
            "min" => 60,
            "h" => 3_600,
            "d" => 86_400,
            _ => return Err(wrong()),
        };
        let count = count.parse().ok().filter(|count| *count > 0).ok_or_else(wrong)?;
        Ok(Self { count, seconds })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.seconds {
            1 => "s",
            60 => "min",
            3_600 => "h",
            _ => "d",
        };
        write!(f, "{}/{unit}", self.count)
    }
}

/// A schedule as cron writes it, five fields, in the program's zone: `0 17 * * FRI`.
#[derive(Clone, Debug)]
pub struct Cron {
    text: String,
    /// Read once: it is asked at every decision.
    read: Arc<croner::Cron>,
}

impl PartialEq for Cron {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Cron {}

impl Cron {
    /// The next time after `after`, in `zone`.
    pub fn next_after(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        self.read.find_next_occurrence(&after.to_zoned(zone.clone()), false).ok().map(|next| next.timestamp())
    }
}

impl Scalar for Cron {
    const FORMAT: &'static str = "betagate-cron";
    const PATTERN: &'static str = "^\\S+( +\\S+){4}$";
    const MEANING: &'static str = "A schedule in five cron fields, in the program's zone: 0 17 * * FRI.";
}
text_scalar!(Cron);

impl FromStr for Cron {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if text.split_whitespace().count() != 5 {
            return Err(format!("'{text}' is not a schedule of five fields, such as 0 17 * * FRI"));
        }
        let cron = croner::Cron::from_str(text).map_err(|error| format!("'{text}' is not a schedule: {error}"))?;
        // Whether it ever comes does not depend on when one asks: 31 February is on no calendar.
        if cron.find_next_occurrence(&Timestamp::UNIX_EPOCH.to_zoned(TimeZone::UTC), true).is_err() {
            return Err(format!("'{text}' never comes: there is no such day"));
        }
        Ok(Self { text: text.to_owned(), read: Arc::new(cron) })
    }
}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
#[path = "scalar_tests.rs"]
mod tests;
