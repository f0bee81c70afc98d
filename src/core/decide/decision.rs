//! What `decide` answers: the effective state, what to remember, verdicts, messages, and when to look again.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{GateVerdict, Memory, SealedReview};
use crate::resources::{CallWebhook, RunJob, Undo, WorkloadVersion};

/// What should be true now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decision {
    /// What to remember.
    pub memory: Memory,
    /// What should be so.
    pub effective: Effective,
    /// The live verdict of each gate.
    pub verdicts: BTreeMap<String, GateVerdict>,
    /// Reviews that were sealed now.
    pub sealed: Vec<SealedReview>,
    /// What should leave.
    pub messages: Vec<Message>,
    /// What happened, for the record.
    pub events: Vec<Event>,
    /// The state of each object in a word and a line, by `Kind/name`.
    pub states: BTreeMap<String, ObjectState>,
    /// The next time at which something could change by the clock alone.
    pub look_again_at: Option<Timestamp>,
}

/// What should be so, in one program.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Effective {
    /// Cohorts by name.
    pub cohorts: BTreeMap<String, CohortState>,
    /// Freezes that should stand: cohort (none for all) and holder.
    pub freezes: BTreeMap<(Option<String>, String), String>,
    /// The flag definitions to serve, by key, in the form that `flags` compiles.
    pub flags: BTreeMap<String, Value>,
    /// The holds that are in `flags` (`RUN/STEP`).
    pub flag_holds: BTreeSet<String>,
    /// The versions that stages gave workloads, by workload.
    pub versions: BTreeMap<String, StageVersion>,
    /// Whether reviews are held.
    pub reviews_held: bool,
    /// Whose unused invites are taken back, once: cohort (none for all), holder and why, by effect key.
    pub revocations: BTreeMap<String, Revocation>,
    /// Pauses of ingestion that should stand: holder and why.
    pub pauses: BTreeMap<String, String>,
    /// How workloads are held, by name.
    pub workloads: BTreeMap<String, WorkloadHold>,
    /// The datasets that are undone, once, by effect key.
    pub restores: BTreeMap<String, Restore>,
    /// The datasets whose tables are left as they are, or that have files that may not be brought in.
    pub datasets: BTreeMap<String, DatasetHold>,
}

/// A dataset that a step undoes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restore {
    /// The dataset.
    pub dataset: String,
    /// How.
    pub how: Undo,
    /// `RUN/STEP`.
    pub holder: String,
    /// Why.
    pub reason: String,
}

/// What runs leave of a dataset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DatasetHold {
    /// The step (`RUN/STEP`) that holds its table as it is.
    pub holder: Option<String>,
    /// Files that were undone and may not be brought in by themselves: by digest, the run.
    pub quarantined: BTreeMap<String, String>,
}

/// A version that a stage gave a workload.
#[derive(Clone, Debug, PartialEq)]
pub struct StageVersion {
    /// The rollout.
    pub rollout: String,
    /// The stage.
    pub stage: String,
    /// The version.
    pub version: WorkloadVersion,
}

impl std::fmt::Display for StageVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of stage {} ({})", self.version, self.stage, self.rollout)
    }
}

/// Invites that a step takes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// The cohort; none for all.
    pub cohort: Option<String>,
    /// `RUN/STEP`.
    pub holder: String,
    /// Why.
    pub reason: String,
}

/// How runs hold a workload: the oldest hold of each sort counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkloadHold {
    /// So many run.
    pub replicas: Option<u32>,
    /// This revision runs.
    pub revision: Option<String>,
    /// The processes that are to be replaced, by the step that asks for it (`RUN/STEP`).
    pub restarts: BTreeMap<String, BTreeSet<String>>,
    /// The holds that count.
    pub holders: BTreeSet<String>,
    /// Those of them that hold the revision.
    pub reverts: BTreeSet<String>,
}

impl WorkloadHold {
    /// The holds that are left where the revision can't be had.
    pub fn without_revision(&self) -> BTreeSet<String> {
        self.holders.difference(&self.reverts).cloned().collect()
    }
}

/// Whether a cohort takes redemptions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CohortState {
    /// The current stage of a rollout lists it.
    pub open: bool,
    /// A stage has listed it: its invites exist.
    pub opened_before: bool,
}

/// Something that leaves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// `run/episode/step/recipient`: what makes it the same message.
    pub effect_key: String,
    /// What it is.
    pub what: MessageKind,
    /// By when it must have left.
    pub deadline: Option<Timestamp>,
}

/// What leaves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum MessageKind {
    /// A note to a channel, from a template.
    Note {
        /// The channel's name.
        channel: String,
        /// The template's name.
        template: String,
        /// What it is filled with.
        variables: BTreeMap<String, String>,
        /// Whether it is one of a drill, and says so.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        drill: bool,
    },
    /// A page to a person.
    Page {
        /// The person's name.
        person: String,
        /// What it says.
        text: String,
    },
    /// A cause document.
    Document {
        /// The run.
        run: String,
        /// Who answers for it.
        owner: String,
        /// What it begins with, in Markdown: trigger, timeline, readings.
        body: String,
    },
    /// A change proposed in the Git repository of the documents.
    Proposal {
        /// The branch.
        branch: String,
        /// The commit's message.
        message: String,
        /// The run.
        run: String,
        /// The effect key of the cause document that is proposed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        document: Option<String>,
        /// The commit that is taken back.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        revert: Option<String>,
    },
    /// A pull request for a branch that was proposed.
    Pull {
        /// The branch.
        branch: String,
        /// Its title.
        title: String,
        /// What it says, in Markdown.
        body: String,
    },
    /// A tag in the Git repository of the documents.
    Tag {
        /// Its name.
        name: String,
        /// The commit.
        revision: String,
        /// What it says.
        message: String,
    },
    /// The minutes of a decision call.
    Minutes {
        /// Which call: names the file.
        call: String,
        /// What they say, in Markdown.
        body: String,
    },
    /// A command of a step.
    Job {
        /// The step, `RUN/STEP`.
        holder: String,
        /// The command.
        job: RunJob,
    },
    /// A call of a step.
    Call {
        /// The step, `RUN/STEP`.
        holder: String,
        /// Whom.
        call: CallWebhook,
        /// What is said beside the step's own fields.
        about: BTreeMap<String, String>,
    },
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// `Kind/name`.
    pub object: String,
    /// A word for programs, such as StageOpened.
    pub reason: String,
    /// A sentence for people.
    pub message: String,
}

/// The state of an object.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ObjectState {
    /// In a word.
    pub state: String,
    /// In a line.
    pub summary: String,
    /// What it waits for, and who can give it.
    pub waits: Vec<Wait>,
    /// Whether somebody has to do something about it now: it is held or failed, overdue, or all that it still waits for is somebody's word.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub needs_somebody: bool,
}

/// Something that is waited for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wait {
    /// What.
    pub on: String,
    /// Who or what can give it.
    pub from: String,
}
