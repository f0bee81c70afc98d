//! Readings, one file a source.
//!
//! Must not know: thresholds.
//!
//! A [`Signals`] measures the checks of a program that ask something outside `decide`: `kpi`, `sql`, `prometheus`, `http` and `job`.
//! Whatever goes wrong becomes a reading that says so: an unknown is a value of its own, never zero. Errors name the source,
//! never its address.

pub mod facts;
mod guard;
pub mod http;
pub mod job;
pub mod kpi;
pub mod net;
pub mod probe;
pub mod prometheus;
mod sources;
pub mod sql;

use std::time::Duration;

pub use betagate_core::decide::{Outcome, Reading, Why};
use betagate_core::resources::Check;
use jiff::Timestamp;

pub use job::{Asker, Jobs};
pub use sources::{Source, Sources};

use crate::store::Store;
use crate::store::kpi::KpiQuery;

/// How long one measurement may take, retries included, when nothing else is said.
pub const DEADLINE: Duration = Duration::from_secs(10);
/// The longest word of a source that is kept in a reading.
const LONGEST_ERROR: usize = 300;

/// Measures checks.
#[derive(Clone, Debug)]
pub struct Signals {
    store: Store,
    net: net::Net,
    deadline: Duration,
}

impl Signals {
    /// Measures against this store, each measurement over after `deadline`. The process's TLS provider must be installed.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn new(store: Store, deadline: Duration) -> Result<Self, String> {
        Ok(Self { store, net: net::Net::new(deadline)?, deadline })
    }

    /// Measures one check; `None` when its kind is not measured here (`incidents`, `gate`, `fact`, `signoff`).
    /// `about` says whom and which days a KPI is about, `asker` whose check it is, `at` is the time the reading carries.
    pub async fn measure(
        &self,
        sources: &Sources,
        check: &Check,
        (about, asker): (&KpiQuery, &Asker),
        at: Timestamp,
    ) -> Option<Reading> {
        if let Some(name) = &check.kpi {
            return Some(kpi::measure(&self.store, name, about, at).await);
        }
        if let Some(asked) = &check.job {
            return Some(job::measure(sources.jobs(), asked, asker, (check.pass.is_some(), at)).await);
        }
        let reading = if let Some(query) = &check.prometheus {
            match (sources.prometheus(check.source.as_deref()), &check.per) {
                (Ok(source), None) => prometheus::measure(&self.net, source, query, None, at).await,
                (Ok(source), Some(per)) => prometheus::ratio(&self.net, source, (query, per), at).await,
                (Err(why), _) => Reading::unknown(Why::SourceError(why), at),
            }
        } else if let Some(asked) = &check.http {
            match sources.http(&asked.source) {
                Ok(source) => http::measure(&self.net, source, asked, at).await,
                Err(why) => Reading::unknown(Why::SourceError(why), at),
            }
        } else {
            let asked = check.sql.as_ref()?;
            match sources.database(&asked.source) {
                Ok(source) => sql::measure(source, &asked.query, self.deadline, at).await,
                Err(why) => Reading::unknown(Why::SourceError(why), at),
            }
        };
        Some(reading)
    }
}

/// The ratio of two counts, which are kept; no data when nothing is below the line.
fn ratio(numerator: f64, denominator: f64, at: Timestamp) -> Reading {
    Reading { outcome: ratio_of(numerator, denominator), at, window: None }
}

fn ratio_of(numerator: f64, denominator: f64) -> Outcome {
    if denominator == 0.0 {
        return Outcome::Unknown(Why::NoData);
    }
    let value = numerator / denominator;
    Outcome::Value { value, numerator: Some(numerator), denominator: Some(denominator), samples: None }
}

/// A reading that says what is wrong with which source.
fn source_error(source: &str, why: &str, at: Timestamp) -> Reading {
    // Whoever answered may have said anything; it is shown in a line, and a database keeps no NUL.
    let mut text = format!("{source}: {why}").replace(char::is_control, " ");
    if text.len() > LONGEST_ERROR {
        let end = (0..=LONGEST_ERROR).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    Reading::unknown(Why::SourceError(text), at)
}

#[cfg(test)]
mod tests;
