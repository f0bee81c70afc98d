//! What a gate says, with everything that it was read from; and a review whose verdict stays.
//!
//! Must not know: how a verdict is come to.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Reading;
use crate::resources::Threshold;

/// What a gate says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// Everything mandatory is met.
    Pass,
    /// What is missed is within bounds, and its mitigation accepted.
    Conditional,
    /// Something mandatory is unknown, or waits for its mitigation.
    #[default]
    Pending,
    /// A critical check is missed, or more than may be.
    Fail,
    /// Reviews are held by a rollback.
    Held,
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(self, f)
    }
}

/// A gate's verdict with its inputs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GateVerdict {
    /// The verdict.
    pub verdict: Verdict,
    /// Whether a critical check made it Fail.
    pub critical: bool,
    /// Why, in a line.
    pub reason: String,
    /// Whether it is Pending because a miss waits for its mitigation.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub waits_for_mitigation: bool,
    /// Each check.
    pub checks: Vec<CheckResult>,
    /// The phases of a checklist, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub phases: Vec<PhaseState>,
}

/// How far a phase of a checklist is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PhaseState {
    /// Its name.
    pub name: String,
    /// When it began, or began anew; none before it has begun, and when it is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// By when all of it is to be done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<Timestamp>,
    /// How many of its checks are done.
    pub done: usize,
    /// How many it has.
    pub of: usize,
    /// Whether something is still to be done although it should be done by now.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub overdue: bool,
    /// Since when it is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over: Option<Timestamp>,
    /// What it waits for, where it has not begun.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub waits: String,
}

impl PhaseState {
    /// Where it stands, in words.
    pub fn words(&self) -> String {
        match self.since {
            None => self.over.map_or_else(|| self.waits.clone(), |over| format!("over since {over}")),
            Some(_) if self.done == self.of => "done".to_owned(),
            Some(_) if self.overdue => format!("{} of {} done, overdue", self.done, self.of),
            Some(_) => format!("{} of {} done", self.done, self.of),
        }
    }
}

/// A check as the verdict saw it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckResult {
    /// Its name.
    pub name: String,
    /// How it reads.
    pub state: CheckState,
    /// The threshold.
    pub pass: Option<Threshold>,
    /// Whether a miss is critical.
    pub critical: bool,
    /// What was measured.
    pub reading: Option<Reading>,
    /// More, in words.
    pub detail: String,
    /// The phase of the checklist that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// When that phase began, or began anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase_since: Option<Timestamp>,
}

/// How a check reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CheckState {
    /// ✅
    Met,
    /// 🔴
    Missed,
    /// 🔴 with an accepted mitigation.
    Mitigated,
    /// ⚪
    Unknown,
    /// ⚪ and not mandatory.
    Ignored,
    /// `-`: not due yet.
    NotDue,
    /// Not asked for, by a waiver.
    Waived,
}

impl CheckState {
    /// The mark on boards.
    pub const fn mark(self) -> &'static str {
        match self {
            Self::Met => "✅",
            Self::Missed | Self::Mitigated => "🔴",
            Self::Unknown | Self::Ignored => "⚪",
            Self::NotDue | Self::Waived => "-",
        }
    }
}

/// A review whose verdict stays.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SealedReview {
    /// The gate.
    pub gate: String,
    /// When it was due.
    pub due_at: Timestamp,
    /// When it was sealed.
    pub sealed_at: Timestamp,
    /// The cohorts that were open.
    pub cohorts: Vec<String>,
    /// The verdict with its inputs. `Held` and the Pending rows before the first gate seal nothing, and are rows of the board all the same.
    pub verdict: GateVerdict,
}
