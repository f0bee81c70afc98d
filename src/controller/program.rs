//! What the controller keeps of one program between passes, so that the cost of a pass grows with what changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use betagate_core::cohort::Outcome;
use betagate_core::decide::{Decision, OnlineFact, Reading};
use betagate_core::desired::ProgramDesired;
use betagate_core::plan::Plan;
use jiff::Timestamp;
use serde_json::Value;

use super::datasets::KnownDataset;
use super::lists::{GoneList, WaitingList};
use crate::source::cluster::Key;
use crate::status::cluster::Record;
use crate::store::memory::Document;

/// One program as it was decided last.
#[derive(Default)]
pub struct ProgramState {
    /// What is remembered, as the database has it.
    pub(super) documents: Option<Vec<Document>>,
    /// The last decision.
    pub decision: Option<Decision>,
    /// The last plan that was not empty, and what is still to be done.
    pub plan: Plan,
    /// When each check was measured last, and what came of it.
    pub(super) measured: BTreeMap<(String, String), (Timestamp, Reading)>,
    /// The statuses that were written last, by `Kind/name`; none before the first decision of this process.
    pub(super) statuses: Option<BTreeMap<String, String>>,
    /// The lists that are in the database, as they were seen.
    pub(super) lists: BTreeMap<String, String>,
    /// The revision of published flags that was found to have this program's as they were decided, and which those are.
    pub(super) published: Option<(i64, u64)>,
    /// The last probe of each route group.
    pub(super) online: BTreeMap<String, OnlineFact>,
    /// Always-online groups are probed again from then on.
    pub(super) probe_at: Option<Timestamp>,
    /// The program whose records (incidents, sign-offs, invites) are in the database.
    pub(super) recorded: Option<Arc<ProgramDesired>>,
    /// What came in elsewhere and is to be seen as resources, on a cluster; none before it was looked up once.
    pub(super) records: Option<BTreeMap<Key, Record>>,
    /// What was said elsewhere of declared incidents (that they are over, that somebody took note), on a cluster: fields of their resources.
    pub(super) said_elsewhere: BTreeMap<Key, Value>,
    /// From when on it is asked again who said its words.
    pub(super) prove_again: Option<Instant>,
    /// The lists that wait, by cohort.
    pub waiting_lists: BTreeMap<String, WaitingList>,
    /// The cohorts whose documents are gone and whose invites wait to be taken back.
    pub(super) gone: BTreeMap<String, GoneList>,
    /// The datasets, as they were seen.
    pub(super) datasets: BTreeMap<String, KnownDataset>,
    /// The cohorts without a document whose unused invites are not taken back yet, and the revision of which that is known.
    pub(super) untaken: (String, BTreeSet<String>),
    /// What the check of each list came to, and of what.
    pub(super) outcomes: BTreeMap<String, (String, Outcome)>,
}
