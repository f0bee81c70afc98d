//! Everything `decide` is told about the world, as values: each with when and from where. `decide` never asks.
//!
//! Must not know: how anything was found out.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Reading;
use crate::resources::SignoffSpec;

/// A check of a gate.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CheckRef {
    /// The gate's name.
    pub gate: String,
    /// The check's name.
    pub check: String,
}

impl CheckRef {
    /// A check of a gate, by their names.
    pub fn new(gate: &str, check: &str) -> Self {
        Self { gate: gate.to_owned(), check: check.to_owned() }
    }
}

/// What was measured and seen of one program.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Readings {
    /// The newest reading of each measured check (kpi, sql, prometheus, http, job, fact).
    pub checks: BTreeMap<CheckRef, Reading>,
    /// Incidents, declared and recorded.
    pub incidents: Vec<IncidentFact>,
    /// Sign-offs, declared and recorded.
    pub signoffs: Vec<SignoffFact>,
    /// The freezes that stand in the database.
    pub freezes: Vec<FreezeFact>,
    /// The API processes that are expected to run.
    pub api: Vec<ApiFact>,
    /// Whether each always-online route group answered its last probe, and when that was.
    pub online: BTreeMap<String, OnlineFact>,
    /// What became of messages and documents, by effect key.
    pub receipts: BTreeMap<String, Receipt>,
    /// Cause documents, by run.
    pub documents: BTreeMap<String, DocumentFact>,
    /// What people asked for that a controller carries out.
    pub requests: Vec<Request>,
    /// Who pauses ingestion (`RUN/STEP`, or `hand:WHO`).
    pub pauses: BTreeSet<String>,
    /// Effects on the database that are done once and recorded, by effect key.
    pub effects: BTreeSet<String>,
    /// The workloads that are wanted, and what runs of them.
    pub workloads: BTreeMap<String, WorkloadFact>,
    /// Who stopped the line, of this program or of all.
    pub stops: Vec<StopFact>,
    /// What is known of datasets, by name.
    pub datasets: BTreeMap<String, DatasetFact>,
}

/// A dataset: what its file says, and what its table holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DatasetFact {
    /// The digest of the rows that its document's file has; none where that is not to be had.
    pub digest: Option<String>,
    /// The digest of the rows that were brought in last; none where that is not known.
    pub live: Option<String>,
    /// The rows of its table, by status.
    pub counts: BTreeMap<String, u64>,
    /// When each step undid it, and what was counted right after that, by effect key.
    pub after: BTreeMap<String, (Timestamp, BTreeMap<String, u64>)>,
    /// Why a step could not undo it, last.
    pub failed: Option<String>,
}

/// A workload: what is wanted with the holds that were known, and what runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkloadFact {
    /// The revision that its document describes.
    pub document: String,
    /// The revision that is wanted: the document's, or a hold's.
    pub revision: String,
    /// How many are wanted.
    pub replicas: u32,
    /// The holds (`RUN/STEP`) that are in what is wanted.
    pub holders: BTreeSet<String>,
    /// The last other revision that stayed up.
    pub previous: Option<String>,
    /// Why it runs otherwise than its document says, beside holds.
    pub kept_back: Option<String>,
    /// What keeps it from running as it is wanted.
    pub trouble: Option<String>,
    /// Whether that stays so until somebody does something.
    pub stuck: bool,
    /// What runs.
    pub processes: Vec<ProcessFact>,
}

/// A process, or a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessFact {
    /// Its id.
    pub id: String,
    /// The revision it runs.
    pub revision: String,
    /// Whether it is ready.
    pub ready: bool,
}

/// An incident.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IncidentFact {
    /// Its name.
    pub name: String,
    /// sev-1 to sev-4.
    pub severity: String,
    /// Such as security.
    pub category: Option<String>,
    /// In a few words.
    pub title: String,
    /// Since when.
    pub started_at: Timestamp,
    /// Until when; none while it is open.
    pub resolved_at: Option<Timestamp>,
    /// When somebody took it.
    pub acknowledged_at: Option<Timestamp>,
}

impl IncidentFact {
    /// Whether it is open at `now`.
    pub fn open_at(&self, now: Timestamp) -> bool {
        self.started_at <= now && self.resolved_at.is_none_or(|resolved| resolved > now)
    }
}

/// A person's word, and when it was first seen.
#[derive(Clone, Debug, PartialEq)]
pub struct SignoffFact {
    /// Its name.
    pub name: String,
    /// What it says.
    pub spec: SignoffSpec,
    /// When the controller first saw it.
    pub first_seen: Timestamp,
    /// Whether it is known who said it.
    pub verified: bool,
    /// Why it is, or is not; empty while nobody has looked.
    pub proof: String,
}

/// A freeze that stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FreezeFact {
    /// The cohort; none for all.
    pub cohort: Option<String>,
    /// Who holds it: `RUN/STEP`, or `hand:WHO`.
    pub holder: String,
    /// Why.
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
}

/// A line that is stopped: no stage opens until somebody lets it go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StopFact {
    /// Whether every program's line is stopped.
    pub everywhere: bool,
    /// Why.
    pub reason: String,
    /// Who stopped it.
    pub by: String,
    /// When.
    pub since: Timestamp,
}

/// An API process that is expected to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiFact {
    /// Its id.
    pub id: String,
    /// The holds (`RUN/STEP`) in the flag snapshot that it serves; none while it has not reported for 15 s.
    pub serves: Option<BTreeSet<String>>,
}

/// A route group's last probe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OnlineFact {
    /// Whether it answered.
    pub up: bool,
    /// When.
    pub at: Timestamp,
}

/// What became of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Whether it got there.
    pub done: bool,
    /// When that was last known.
    pub at: Timestamp,
    /// What went wrong, last.
    pub error: Option<String>,
}

/// What is known of a cause document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentFact {
    /// Whether the root cause is filled in and every action item has an owner.
    pub complete: bool,
    /// What is still missing, in words.
    pub missing: Vec<String>,
}

/// Something that a person asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Its id; each is carried out once.
    pub id: String,
    /// What.
    pub what: RequestKind,
    /// Who asked.
    pub by: String,
}

/// What a person can ask of a controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestKind {
    /// Start a rollback plan by hand.
    StartRollback {
        /// The plan.
        plan: String,
        /// Why.
        reason: String,
    },
}
