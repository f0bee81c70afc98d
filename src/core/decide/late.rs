//! What a check that was sealed reads with the data that came after: judged as a verdict judges it.
//!
//! Must not know: where late data comes from. What was sealed stays.

use super::gate::{enough, judge_reading};
use super::versus::against;
use super::{CheckResult, CheckState, Outcome, Reading};
use crate::resources::Check;

/// How a sealed check reads now that `reading` is what was measured in its window: too few samples are unknown, and a comparison is with the same value from
/// before the stage as then. None where there was nothing to compare with.
pub fn read_again(check: &Check, then: &CheckResult, reading: Reading) -> Option<(CheckState, Reading)> {
    let reading = enough(check, reading);
    let sealed = then.reading.as_ref().map(|reading| &reading.outcome);
    let reading = match (check.vs, sealed) {
        (None, _) => reading,
        (Some(_), Some(Outcome::Value { denominator: Some(before), .. })) => against(reading, *before),
        (Some(_), _) => return None,
    };
    Some((judge_reading(check.pass.as_ref(), &reading), reading))
}
