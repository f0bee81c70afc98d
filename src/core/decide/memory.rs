//! What `decide` remembers from one time to the next. Kept by the store as one document an object; only changed ones are written.
//!
//! Must not know: where it is kept.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp, civil::Date};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Reading, Verdict};
use crate::resources::Step;

/// What is remembered of one program.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// The program itself.
    pub program: ProgramMemory,
    /// Gates by name.
    pub gates: BTreeMap<String, GateMemory>,
    /// Rollouts by name.
    pub rollouts: BTreeMap<String, RolloutMemory>,
    /// Plans by name.
    pub plans: BTreeMap<String, PlanMemory>,
    /// Runs by id (`PLAN-EPISODE`).
    pub runs: BTreeMap<String, RunMemory>,
}

/// What is remembered of the program itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProgramMemory {
    /// When the controller first saw it.
    pub first_seen: Option<Timestamp>,
    /// Day 0 of relative dates.
    pub day0: Option<Date>,
    /// Incidents that came and went unseen, and were paged.
    #[serde(default)]
    pub paged_incidents: BTreeSet<String>,
    /// Requests that were carried out.
    #[serde(default)]
    pub done_requests: BTreeSet<String>,
    /// The digest of what the documents wanted last, incidents, invites and words aside.
    #[serde(default)]
    pub content: Option<String>,
    /// The person who authored that change, where it is known.
    #[serde(default)]
    pub changed_by: Option<String>,
    /// Open incidents whose document was removed: they stay open.
    #[serde(default)]
    pub kept_incidents: BTreeSet<String>,
}

/// What is remembered of a gate.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GateMemory {
    /// Since when each check has been missed without a break.
    #[serde(default)]
    pub missed_since: BTreeMap<String, Timestamp>,
    /// Who authored the change that was in force when the miss began, where that is known.
    #[serde(default)]
    pub missed_under: BTreeMap<String, Option<String>>,
    /// What checks that compare read before the stage that opened last.
    #[serde(default)]
    pub baselines: BTreeMap<String, Reading>,
    /// When each phase of a checklist that goes in order began.
    #[serde(default)]
    pub phases: BTreeMap<String, Timestamp>,
    /// What was told of each phase last.
    #[serde(default)]
    pub told: BTreeMap<String, ToldPhase>,
    /// Phases that were told to be overdue.
    #[serde(default)]
    pub overdue: BTreeSet<String>,
    /// The review that is due and not sealed yet.
    #[serde(default)]
    pub due: Option<DueReview>,
    /// The last schedule time that was dealt with.
    #[serde(default)]
    pub reviewed_until: Option<Timestamp>,
    /// Sealed reviews in a row that passed (Pass, or Conditional), counted from the last reset.
    #[serde(default)]
    pub passes_in_row: u32,
    /// The last sealed review.
    #[serde(default)]
    pub last_sealed: Option<SealedSummary>,
}

/// What was told of a phase of a checklist.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToldPhase {
    /// When it began, or began anew.
    pub since: Timestamp,
    /// That all of it is done.
    pub done: bool,
}

/// A review that waits for its verdict.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DueReview {
    /// When it was due.
    pub due_at: Timestamp,
    /// Whether it is the one that a lifted `holdReviews` re-opened.
    pub reopened: bool,
    /// Whether it is that of a decision call, which waits for a measurement of its own.
    #[serde(default)]
    pub call: bool,
}

/// A sealed review, in short.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SealedSummary {
    /// When it was due.
    pub due_at: Timestamp,
    /// When it was sealed.
    pub sealed_at: Timestamp,
    /// Its verdict.
    pub verdict: Verdict,
}

/// What is remembered of a rollout.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RolloutMemory {
    /// The stage that is open, by name.
    pub current: Option<String>,
    /// When each stage opened.
    #[serde(default)]
    pub opened: BTreeMap<String, Timestamp>,
    /// Since when the next stage has been the next one: words about it count from here.
    #[serde(default)]
    pub next_since: Option<Timestamp>,
    /// How far each flag's share has grown in the stage that is open, by key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ramps: BTreeMap<String, RampMemory>,
    /// The newest decision call of each stage.
    #[serde(default)]
    pub calls: BTreeMap<String, CallMemory>,
    /// The calls that a rollback put off, by stage: until when it did, once that is known.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub put_off: BTreeMap<String, Option<Timestamp>>,
    /// Tags that are to be made, or were asked for, by stage.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, TagMemory>,
    /// Announcements that were sent, or are too late to be.
    #[serde(default)]
    pub announced: BTreeSet<String>,
}

/// A tag that a stage asks for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TagMemory {
    /// Its name.
    pub name: String,
    /// The commit that was live when the stage opened.
    pub revision: String,
    /// When it is to be made.
    pub at: Timestamp,
    /// Whether it was asked for.
    pub asked: bool,
}

/// How far a flag's share has grown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RampMemory {
    /// The stage.
    pub stage: String,
    /// The share's place among those that the stage names.
    pub place: usize,
    /// Since when it is this one.
    pub since: Timestamp,
    /// Whether something keeps it from growing at all: its time begins anew after that.
    #[serde(default)]
    pub stopped: bool,
}

/// A decision call.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CallMemory {
    /// When it began.
    pub began: Timestamp,
    /// What came of it so far, in a line; empty while it goes on.
    #[serde(default)]
    pub outcome: String,
    /// How often minutes were written: an outcome that changes gets new ones.
    #[serde(default)]
    pub minutes: u32,
}

/// What is remembered of a plan's triggers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PlanMemory {
    /// The number of the last episode.
    pub episode: u64,
    /// By the trigger's place in the plan: the episode that is under way.
    #[serde(default)]
    pub active: BTreeMap<String, u64>,
}

/// One run of a plan: a durable record with its own copy of the steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunMemory {
    /// The plan's name.
    pub plan: String,
    /// Where it stands.
    pub phase: RunPhase,
    /// The episodes that started and joined it; the first one started it.
    pub episodes: Vec<Episode>,
    /// When it started.
    pub started_at: Timestamp,
    /// The revision that was live then.
    #[serde(default)]
    pub revision: String,
    /// Whoever authored the change that was in force then: their word lifts nothing.
    #[serde(default)]
    pub author: Option<String>,
    /// The steps, as they were when it started.
    pub steps: Vec<StepMemory>,
    /// Gates whose re-opened review lifts the other holds.
    #[serde(default)]
    pub gates: BTreeSet<String>,
    /// Flags as they were when they were held: what is served if one is deleted or renamed meanwhile.
    #[serde(default)]
    pub held_flags: BTreeMap<String, Value>,
    /// How long it has been stable.
    #[serde(default)]
    pub stability: Stability,
    /// When `holdReviews` was lifted.
    #[serde(default)]
    pub reviews_reopened_at: Option<Timestamp>,
    /// Why the holds are being lifted, once they are.
    #[serde(default)]
    pub lift_reason: Option<String>,
    /// When the last hold was lifted.
    #[serde(default)]
    pub lifted_at: Option<Timestamp>,
}

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub enum RunPhase {
    Running,
    Holding,
    Lifted,
}

/// One unbroken truth of a trigger.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Episode {
    /// Its number.
    pub number: u64,
    /// When it was seen.
    pub since: Timestamp,
    /// What was true, in a sentence.
    pub reason: String,
    /// The gate and check that were missed, of a gate's trigger.
    #[serde(default)]
    pub missed: Option<MissedChecks>,
}

/// The checks that a gate's trigger saw missed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MissedChecks {
    /// The gate.
    pub gate: String,
    /// Its critical checks that were missed.
    pub checks: Vec<String>,
}

/// A step of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepMemory {
    /// What it does.
    pub step: Step,
    /// Where it stands.
    pub state: StepState,
    /// When it came into force.
    #[serde(default)]
    pub in_force_at: Option<Timestamp>,
    /// When it was verified.
    #[serde(default)]
    pub verified_at: Option<Timestamp>,
    /// When its hold was lifted.
    #[serde(default)]
    pub lifted_at: Option<Timestamp>,
    /// How many people were paged because it was overdue.
    #[serde(default)]
    pub pages: u32,
    /// What it waits for, in words.
    #[serde(default)]
    pub detail: String,
    /// Always-online groups that did not answer when it was verified.
    #[serde(default)]
    pub offline: BTreeSet<String>,
    /// The processes that ran when it came into force, of a step that replaces them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<BTreeSet<String>>,
    /// The revision it goes back to, or how it undoes a dataset, chosen once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The revisions (or files of a dataset, by digest) that it went back from, one an episode at most: they are in quarantine from then on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub quarantined: Vec<GoneBack>,
    /// The flags that it routes and where to, as they were when it came into force: no commit takes one away.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub routed: BTreeMap<String, String>,
}

/// A revision that a step went back from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GoneBack {
    /// The revision.
    pub from: String,
    /// The one that it went back to.
    pub to: String,
    /// When: words about it that were said before count for nothing.
    pub at: Timestamp,
}

/// Where a step stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub enum StepState {
    Waiting,
    InForce,
    Verified,
    Overdue,
    Lifted,
}

/// The clock of stability: it runs, stops while data is missing, and starts again after a breach.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stability {
    /// What was counted before the clock last stopped.
    #[serde(default)]
    pub counted: SignedDuration,
    /// Since when it runs.
    #[serde(default)]
    pub running_since: Option<Timestamp>,
    /// Since when data is missing.
    #[serde(default)]
    pub missing_since: Option<Timestamp>,
    /// Whether that was paged.
    #[serde(default)]
    pub paged: bool,
}

impl Stability {
    /// How long it has been stable at `now`.
    pub fn at(&self, now: Timestamp) -> SignedDuration {
        let running = self.running_since.map_or(SignedDuration::ZERO, |since| now.duration_since(since));
        self.counted.saturating_add(running.max(SignedDuration::ZERO))
    }
}

impl RunMemory {
    /// Whether anything is still held by it.
    pub fn in_force(&self) -> bool {
        self.phase != RunPhase::Lifted
    }
}
