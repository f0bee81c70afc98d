//! Thresholds that nothing can meet: a slip of the finger that would hold a stage for ever.

use super::Rules;
use crate::desired::parse::Document;
use crate::resources::{Check, Comparison, Unit};

impl Rules<'_> {
    /// Counts are never below zero, and shares of a whole never above it.
    pub(super) fn reachable(&mut self, document: Option<&Document>, check: &Check, pointer: &str) {
        let Some(pass) = &check.pass else { return };
        let share = check.kpi.is_some() || check.fact.is_some();
        let counted = share || check.incidents.is_some();
        let least = counted.then_some(0.0);
        let most = (share && pass.unit == Unit::Percent).then_some(100.0);
        let met = match pass.comparison {
            Comparison::AtLeast => most.is_none_or(|most| pass.bound <= most),
            Comparison::Above => most.is_none_or(|most| pass.bound < most),
            Comparison::AtMost => least.is_none_or(|least| pass.bound >= least),
            Comparison::Below => least.is_none_or(|least| pass.bound > least),
            Comparison::Equal => {
                least.is_none_or(|least| pass.bound >= least) && most.is_none_or(|most| pass.bound <= most)
            }
            Comparison::Different => true,
        };
        if !met {
            let range = if most.is_some() { "it is 0 % to 100 %" } else { "it is never below 0" };
            self.problem(document, &format!("{pointer}/pass"), format!("nothing can meet {pass}: {range}"));
        }
    }
}
