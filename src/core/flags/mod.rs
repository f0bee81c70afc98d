//! Flags: definitions compiled once, evaluated for one person; the index of cohort members.
//!
//! The semantics are flagd's (JsonLogic with `fractional`, `sem_ver`, `starts_with`, `ends_with`, shared evaluators), and `in_cohort`.
//!
//! Must not know: HTTP, databases, the time (it is handed in).

mod answer;
mod bucket;
mod checked;
mod clock;
mod compile;
mod eval;
mod explain;
mod fractional;
mod interpreted;
mod items;
mod javascript;
mod membership;
mod python;
mod reads;
mod requires;
mod rule;
mod schedule;
mod set;
#[cfg(test)]
mod tests;
mod version;

pub use answer::{CompileProblem, Context, Evaluation, EvaluationError, Reason};
pub use bucket::{Generation, MAX_TOTAL};
pub use compile::override_variant;
pub use explain::{Answered, Bucket, Condition, Explanation, Layer, Place, Prerequisite, RulePath, explain};
pub use membership::{Building, Cohorts, Membership, cohort_key};
pub use reads::Reads;
pub use requires::{MAX_EVALUATIONS, too_many};
pub use set::{Asker, FlagSet};
