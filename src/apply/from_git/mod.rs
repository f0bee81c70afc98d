//! The documents of a Git revision as resources of a namespace.
//!
//! ```text
//!  a revision that holds ──► objects: what it wants, pure ──► keeper: applies what differs, prunes what the revision has no more
//!                                                                ▲  │
//!                          what was seen (source/cluster) ───────┘  └──► write ──► API server
//! ```
//!
//! - Each object is applied server-side under a field manager of its own, and carries a label: what has both is the inventory. The mark comes and goes
//!   with the object in one write, so that nothing is ever orphaned, whenever a controller dies.
//! - What somebody changed by hand is put back, or only shown. What another tool *applies* is told and left alone, all of that document: half of it is
//!   one that nobody wrote. Who changes the same thing again and again is such a tool too.
//! - Nothing is written while everything is as it should be.
//!
//! Must not know: whether a revision holds, stages, the database.

mod compare;
mod judge;
mod keeper;
mod objects;
mod write;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

pub use objects::{Object, Revised};

use crate::source::Source;
use crate::source::cluster::Key;

/// What is done about a field that Git says and somebody changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Drift {
    /// It is put back.
    #[default]
    PutBack,
    /// It is shown, and left as it is until the document changes.
    Show,
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Orders {
    /// Counts the orders.
    pub number: u64,
    /// What should be there.
    pub wanted: Arc<Revised>,
    /// What is done about drift.
    pub drift: Drift,
    /// The `suspend` of each resource that has one, with the words for it while it is in force.
    pub suspended: BTreeMap<Key, (Value, Option<String>)>,
}

/// Why an object is not as Git says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// The API server is away, or asks to be left alone for a moment; or this process does not lead.
    #[error("it waits for the API server: {0}")]
    Away(String),
    /// It refuses the object.
    #[error("the API server refuses it: {0}")]
    Refused(String),
    /// Another applies the same fields.
    #[error("{managers} applies the same fields ({fields}): it is left alone")]
    Contested {
        /// Who.
        managers: String,
        /// Which fields.
        fields: String,
    },
    /// Somebody changes it again each time.
    #[error(
        "it was put back {0} times and changed again each time, as another tool would: it is left alone until its document changes"
    )]
    Fought(u32),
    /// Somebody changed it, and it is only shown.
    #[error("it was changed by hand, which is only shown (--drift show)")]
    Drifted,
    /// Somebody suspended it.
    #[error("it is left alone: {0}")]
    Suspended(String),
    /// It is being deleted.
    #[error("it is being deleted; it is made anew when it is gone")]
    Deleting,
}

impl Trouble {
    /// In a word, for a condition.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Away(_) => "Waiting",
            Self::Refused(_) => "Refused",
            Self::Contested { .. } | Self::Fought(_) => "Contested",
            Self::Drifted => "Drifted",
            Self::Suspended(_) => "Suspended",
            Self::Deleting => "Deleting",
        }
    }

    /// Whether it is tried again by itself.
    fn passes(&self) -> bool {
        matches!(self, Self::Away(_) | Self::Refused(_))
    }
}

/// What came of the orders.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The orders that it is about.
    pub number: u64,
    /// Whether nothing is left to try again.
    pub finished: bool,
    /// What is not as Git says, and why.
    pub troubles: BTreeMap<Key, Trouble>,
}

/// Whoever applies. Ends with it.
pub struct Keeper {
    orders: watch::Sender<Option<Arc<Orders>>>,
    report: Arc<Mutex<Report>>,
    _task: JoinSet<()>,
}

impl Keeper {
    /// Begins to apply, where the source is a cluster; `done` is notified after each round.
    pub fn start(source: Arc<Source>, done: Arc<Notify>) -> Self {
        let (orders, asked) = watch::channel(None);
        let report = Arc::<Mutex<Report>>::default();
        let mut task = JoinSet::new();
        task.spawn(keeper::keep(source, asked, report.clone(), done));
        Self { orders, report, _task: task }
    }

    /// Wants this from now on.
    pub fn order(&self, orders: Orders) {
        self.orders.send_replace(Some(Arc::new(orders)));
    }

    /// What came of it so far.
    pub fn report(&self) -> Report {
        lock(&self.report).clone()
    }
}

fn lock(report: &Mutex<Report>) -> MutexGuard<'_, Report> {
    report.lock().unwrap_or_else(PoisonError::into_inner)
}
