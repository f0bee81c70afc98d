//! What senders do for each program: its documents, and the cohorts that are open.
//!
//! Must not know: how anything is sent.

use std::collections::BTreeMap;
use std::sync::Arc;

use betagate_core::desired::ProgramDesired;

use super::super::{Controller, ControllerError};
use super::{BATCHES, Delivered};
use crate::source::Snapshot;

/// What a sender does for one program.
#[derive(Clone)]
pub(super) struct Order {
    pub(super) program: Arc<ProgramDesired>,
    pub(super) snapshot: Arc<Snapshot>,
    /// The open cohorts.
    pub(super) open: Vec<String>,
}

/// The orders of all programs, by name.
pub(super) type Orders = BTreeMap<String, Order>;

impl Controller {
    /// Has the senders know what a program says now, and wakes them: what a pass has just committed leaves by the channels and templates of its own
    /// revision, and waits for nothing that the pass still does, nor for what fails after it. Which cohorts are open stays as it was until
    /// [`Self::dispatch`]: what is to be taken back is taken back before an invite leaves.
    pub(in super::super) fn tell_senders(&self, name: &str) {
        self.brief(name, None);
        self.post.ring();
    }

    fn brief(&self, name: &str, open: Option<Vec<String>>) {
        let (Some(built), Some(snapshot)) = (&self.built, &self.built_from) else { return };
        let Some(program) = built.desired.programs.get(name) else { return };
        self.post.orders.send_if_modified(|orders| {
            let known = orders.len();
            orders.retain(|name, _| built.desired.programs.contains_key(name));
            let before = orders.get(name);
            let open = open.unwrap_or_else(|| before.map(|order| order.open.clone()).unwrap_or_default());
            let same = |order: &Order| order.open == open && order.snapshot.revision == snapshot.revision;
            if before.is_some_and(same) {
                return orders.len() != known;
            }
            // The others too, with nothing open until their own pass: a note of theirs may be due.
            for (other, program) in &built.desired.programs {
                if !orders.contains_key(other) {
                    let (program, snapshot) = (program.clone(), snapshot.clone());
                    orders.insert(other.clone(), Order { program, snapshot, open: Vec::new() });
                }
            }
            let order = Order { program: program.clone(), snapshot: snapshot.clone(), open };
            orders.insert(name.to_owned(), order);
            true
        });
    }

    /// Tells the senders what this pass came to. Protection comes first: this runs after what a pass decided is committed.
    pub(in super::super) async fn dispatch(&mut self, name: &str) -> Result<(), ControllerError> {
        let decided = self.programs.get(name).and_then(|state| state.decision.as_ref());
        let cohorts = decided.into_iter().flat_map(|decision| &decision.effective.cohorts);
        let open = cohorts.filter(|(_, state)| state.open).map(|(cohort, _)| cohort.clone()).collect();
        self.brief(name, Some(open));
        if self.patient {
            for batch in BATCHES {
                while self.post.deliver_messages(batch).await? == Delivered::Some {}
            }
            self.post.invite_all(name).await?;
        } else {
            self.post.ring();
        }
        Ok(())
    }
}
