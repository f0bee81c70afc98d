//! Datasets under rollbacks: how a step undoes one, whether that has taken effect, and which files may not be brought in again by themselves.
//!
//! Must not know: tables, files.

use std::collections::BTreeMap;

use super::{DatasetHold, GoneBack, StepMemory, pass::Pass, run::holder};
use crate::dataset::counted;
use crate::resources::{Action, Edge, Says, Undo};

/// What tells that a step has undone a dataset.
pub(super) fn restore_key(holder: &str, dataset: &str) -> String {
    format!("{holder}/{dataset}")
}

impl Pass<'_> {
    /// How a step undoes its dataset is written down once, and with it the file that was live: a later commit changes neither.
    pub(super) fn aim_at_datasets(&mut self, id: &str) {
        let (datasets, facts, now) = (&self.program.datasets, &self.readings.datasets, self.now);
        let Some(run) = self.memory.runs.get_mut(id) else { return };
        for step in run.steps.iter_mut().filter(|step| step.holds() && step.target.is_none()) {
            let Some(restore) = &step.step.restore_dataset else { continue };
            let Some(how) = datasets.get(&restore.dataset).map(|dataset| dataset.spec.undo) else { continue };
            // A file that was committed since, and waits, was never live.
            let live = facts.get(&restore.dataset).and_then(|fact| fact.live.clone().or_else(|| fact.digest.clone()));
            if let Some(from) = live.filter(|_| how != Undo::Reseed) {
                step.quarantined.retain(|gone| gone.from != from);
                step.quarantined.push(GoneBack { from, to: how.name().to_owned(), at: now });
            }
            step.target = Some(how.name().to_owned());
        }
    }

    /// Who holds each dataset's table as it is, and the files that runs have undone: those stay out after the run is lifted, until another one
    /// comes or somebody says that this one may come back.
    pub(super) fn dataset_holds(&self) -> BTreeMap<String, DatasetHold> {
        let mut holds: BTreeMap<String, DatasetHold> = BTreeMap::new();
        for (id, run) in &self.memory.runs {
            for (place, step) in run.steps.iter().enumerate() {
                let Some(Action::RestoreDataset(restore)) = step.step.action() else { continue };
                if run.in_force() && step.holds() {
                    let hold = holds.entry(restore.dataset.clone()).or_default();
                    hold.holder.get_or_insert_with(|| holder(id, place));
                }
                for gone in step.quarantined.iter().filter(|gone| !self.may_come_back(&restore.dataset, gone)) {
                    let hold = holds.entry(restore.dataset.clone()).or_default();
                    hold.quarantined.insert(gone.from.clone(), id.clone());
                }
            }
        }
        holds
    }

    /// Whether somebody said, since it was undone, that a file may be brought in again.
    fn may_come_back(&self, dataset: &str, gone: &GoneBack) -> bool {
        let object = format!("Dataset/{dataset}");
        let words = self.words(|spec| {
            let it = (spec.object.as_deref(), spec.digest.as_deref().map(str::trim));
            spec.says == Says::Acknowledge && it == (Some(object.as_str()), Some(gone.from.as_str()))
        });
        words.into_iter().any(|word| {
            let until = word.spec.until.map(|until| self.resolve(until, Edge::End));
            word.first_seen >= gone.at && until.is_none_or(|until| self.now < until)
        })
    }

    /// Whether a step has undone its dataset, and the table holds what it held right after that.
    pub(super) fn undone(&self, holder: &str, step: &StepMemory, dataset: &str) -> Result<(), String> {
        if step.target.is_none() {
            return Err(format!("there is no dataset {dataset} any more"));
        }
        let (key, fact) = (restore_key(holder, dataset), self.readings.datasets.get(dataset));
        let after = fact.and_then(|fact| fact.after.get(&key));
        match (fact, after) {
            (Some(fact), Some((done_at, after))) if self.readings.effects.contains(&key) => {
                // What was done before an earlier lift is not repeated, and others have had their hands on the table since.
                let earlier = step.in_force_at.is_some_and(|in_force| *done_at < in_force);
                if earlier || fact.counts == *after {
                    return Ok(());
                }
                let (now, then) = (counted(&fact.counts), counted(after));
                Err(format!("its table has {now}, and had {then} when it was undone"))
            }
            (fact, _) => {
                let failed = fact.and_then(|fact| fact.failed.clone());
                Err(failed.unwrap_or_else(|| format!("dataset {dataset} is not undone yet")))
            }
        }
    }
}
