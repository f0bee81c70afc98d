//! Rest: as long as nothing is written to the database and nothing changes where workloads and resources are, there is nothing that a pass could find, but
//! what is due by the clock, which the loop sleeps until.
//!
//! Must not know: what a pass does.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use betagate_core::decide::RunMemory;

use super::Controller;
use super::from_git::FromGit;
use crate::apply::from_git::Report;
use crate::apply::workloads::{Obstacle, Running};
use crate::source::cluster::Watched;
use crate::store::push::tide;

/// How long the loop rests at most: files that are mounted (secrets, lists) tell nobody that they changed.
const LONGEST: Duration = Duration::from_secs(15);
/// On a cluster, where such files are minutes behind anyway, and the documents are watched.
const LONGEST_ON_CLUSTER: Duration = Duration::from_secs(60);

/// All that a pass depends on and that nobody tells of.
#[derive(PartialEq)]
pub(super) struct Moment {
    tide: i64,
    running: Vec<Running>,
    obstacles: BTreeMap<String, Obstacle>,
    /// Of the resources of a cluster, and of what is brought there from Git.
    seen: Option<u64>,
    brought: Option<Report>,
}

impl Controller {
    /// How things are; none where that can't be told cheaply, or where it must be looked all the same: processes of this machine, a run in force, a
    /// clock that runs fast.
    pub(super) async fn moment(&self) -> Option<Moment> {
        let decisions = self.programs.values().filter_map(|state| state.decision.as_ref());
        let in_force = decisions.flat_map(|decision| decision.memory.runs.values()).any(RunMemory::in_force);
        if in_force || self.settings.supervisor.is_some() || self.settings.clock.is_demo() || !self.in_flight.is_empty()
        {
            return None;
        }
        let tide = tide(&self.settings.store).await.ok().flatten()?;
        let seen = self.settings.source.watched().map(Watched::version);
        let brought = self.git.as_ref().map(FromGit::reported);
        Some(Moment { tide, running: self.target.observed(), obstacles: self.target.obstacles(), seen, brought })
    }

    /// How long it rests at most.
    pub(super) fn longest(&self) -> Duration {
        if self.settings.source.watched().is_some() { LONGEST_ON_CLUSTER } else { LONGEST }
    }

    /// Sleeps for `usual`, and on as long as it is as it was before the last pass.
    pub(super) async fn rest(&self, usual: Duration, before: Option<&Moment>) {
        let begun = Instant::now();
        loop {
            tokio::time::sleep(usual).await;
            if before.is_none() || begun.elapsed() >= self.longest() || self.moment().await.as_ref() != before {
                return;
            }
        }
    }
}
