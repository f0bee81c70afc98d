//! Readings of the product's KPIs, counted by the store.
//!
//! Must not know: how they are counted.

use jiff::Timestamp;

use super::{Reading, Why};
use crate::store::Store;
use crate::store::kpi::{Kpi, KpiQuery, count};

/// Reads a KPI by name. Nothing below the line is no data; both counts are kept.
pub async fn measure(store: &Store, name: &str, query: &KpiQuery, at: Timestamp) -> Reading {
    let kpi = match Kpi::from_name(name) {
        Ok(kpi) => kpi,
        Err(why) => return Reading::unknown(Why::SourceError(why), at),
    };
    match count(store, kpi, query).await {
        Ok(counts) => Reading { window: query.window(kpi), ..Reading::ratio(counts.numerator, counts.denominator, at) },
        Err(error) => Reading::unknown(Why::SourceError(error.to_string()), at),
    }
}
