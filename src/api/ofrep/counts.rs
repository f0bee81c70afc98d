//! What was asked and answered since the process began, for Prometheus: by flag, variant and reason, and by kind of error.
//!
//! Must not know: who asked.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode_registry;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct AnswerLabels {
    flag: String,
    variant: String,
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RefusalLabels {
    code: &'static str,
    status: u16,
}

/// The counters of one process.
#[derive(Debug)]
pub struct Counts {
    registry: Registry,
    answers: Family<AnswerLabels, Counter>,
    refusals: Family<RefusalLabels, Counter>,
    /// Bulk answers that were sent whole.
    pub(super) bulk: Counter,
    /// Bulk answers that the client had already.
    pub(super) unchanged: Counter,
}

impl Default for Counts {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("betagate");
        let (answers, refusals) = (Family::default(), Family::default());
        let (bulk, unchanged) = (Counter::default(), Counter::default());
        let told = "Evaluations of a flag, alone or among all, by variant and reason";
        registry.register("flag_evaluations", told, answers.clone());
        registry.register("flag_requests_refused", "Requests for flags without an answer", refusals.clone());
        registry.register("flag_bulk_answers", "Answers with all flags", bulk.clone());
        let told = "Answers that all flags are as the client has them";
        registry.register("flag_bulk_unchanged", told, unchanged.clone());
        Self { registry, answers, refusals, bulk, unchanged }
    }
}

impl Counts {
    /// The counter of one answer; the same one in every snapshot. A series begins with its first evaluation.
    pub(super) fn of_answer(&self, flag: &str, variant: &str, reason: &'static str) -> Counter {
        let labels = AnswerLabels { flag: flag.to_owned(), variant: variant.to_owned(), reason };
        self.answers.get_or_create_owned(&labels)
    }

    pub(super) fn refused(&self, code: &'static str, status: u16) {
        self.refusals.get_or_create(&RefusalLabels { code, status }).inc();
    }

    /// Writes them as OpenMetrics text, without its end.
    ///
    /// # Errors
    /// The writer's.
    pub fn write(&self, into: &mut String) -> std::fmt::Result {
        encode_registry(into, &self.registry)
    }
}
