//! What was measured: a value with its counts, or a typed reason why it is not known.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// One measurement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// What came of it.
    pub outcome: Outcome,
    /// When it was measured.
    pub at: Timestamp,
    /// The time it speaks of, from and until (exclusive).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<(Timestamp, Timestamp)>,
}

/// A value, or why there is none. A query that failed is never a zero.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// It was measured.
    Value {
        /// The value; a ratio as 0 to 1.
        value: f64,
        /// The count above the line, of a ratio.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        numerator: Option<f64>,
        /// The count below the line, of a ratio.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        denominator: Option<f64>,
        /// How many samples it rests on; the denominator when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        samples: Option<u64>,
    },
    /// It is not known.
    Unknown(Why),
}

/// Why a reading is not known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Why {
    /// The source answered that there is nothing.
    NoData,
    /// The last value is too old.
    Stale,
    /// It rests on too little.
    TooFewSamples {
        /// How many there are.
        have: u64,
        /// How many are asked for.
        need: u64,
    },
    /// The source did not answer, or not with a number.
    SourceError(String),
    /// The measurement was ended before it answered.
    Terminated,
}

impl Reading {
    /// A plain value.
    pub fn value(value: f64, at: Timestamp) -> Self {
        Self { outcome: Outcome::Value { value, numerator: None, denominator: None, samples: None }, at, window: None }
    }

    /// A ratio of two counts; no data when nothing was counted below the line.
    pub fn ratio(numerator: i64, denominator: i64, at: Timestamp) -> Self {
        #[allow(clippy::cast_precision_loss, reason = "counts of people and events stay far below 2^52")]
        let (n, d) = (numerator as f64, denominator as f64);
        let outcome = if denominator == 0 {
            Outcome::Unknown(Why::NoData)
        } else {
            Outcome::Value { value: n / d, numerator: Some(n), denominator: Some(d), samples: None }
        };
        Self { outcome, at, window: None }
    }

    /// An unknown.
    pub fn unknown(why: Why, at: Timestamp) -> Self {
        Self { outcome: Outcome::Unknown(why), at, window: None }
    }
}

impl std::fmt::Display for Why {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoData => f.write_str("no data"),
            Self::Stale => f.write_str("stale"),
            Self::TooFewSamples { have, need } => write!(f, "too few samples ({have} of {need})"),
            Self::SourceError(error) => write!(f, "source error: {error}"),
            Self::Terminated => f.write_str("terminated"),
        }
    }
}
