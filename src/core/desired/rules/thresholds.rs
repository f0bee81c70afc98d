//! Thresholds that nothing can meet: a slip of the finger that would hold a stage for ever.

use super::Rules;
use crate::desired::parse::Document;
use crate::resources::{Check, Comparison, Unit};

/// The KPIs that are no share of a whole.
const NO_SHARES: [&str; 2] = ["feed_interactions_per_active_user", "sev1_incidents"];

impl Rules<'_> {
    /// Counts are never below zero, and shares of a whole never above it; what is compared with an earlier time may be.
    pub(super) fn reachable(&mut self, document: Option<&Document>, check: &Check, pointer: &str) {
        let Some(pass) = &check.pass else { return };
        // A flag's value is whatever its variant says.
        let fact = check.fact.as_deref().filter(|fact| *fact != "flag.value");
        let least = (check.kpi.is_some() || fact.is_some() || check.incidents.is_some()).then_some(0.0);
        let share = fact.is_some() || check.kpi.as_ref().is_some_and(|kpi| !NO_SHARES.contains(&kpi.as_str()));
        let whole = share && check.vs.is_none() && pass.unit == Unit::Percent;
        let most = whole.then_some(100.0);
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
