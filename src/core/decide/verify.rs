//! Whether a step has taken effect: always a reading, never the absence of an error.
//!
//! Must not know: how an effect is carried out.

use super::{
    RunMemory, StepMemory,
    pass::Pass,
    run::{effect_base, holder},
};
use crate::resources::{Action, Names};

/// What tells that a step has taken back the unused invites of a cohort (none: of all).
pub(super) fn revocation_key(holder: &str, cohort: Option<&str>) -> String {
    format!("{holder}/{}", cohort.unwrap_or("*"))
}

/// The key of an effect that is for the run's first episode alone.
fn first_effect(id: &str, run: &RunMemory, place: usize, what: &str) -> impl Iterator<Item = String> {
    let key = run.episodes.first().map(|first| format!("{}/{what}", effect_base(id, first.number, place)));
    key.into_iter()
}

impl Pass<'_> {
    /// Whether a reading says that a step has taken effect; else what it waits for.
    pub(super) fn verified(&self, id: &str, run: &RunMemory, place: usize, step: &StepMemory) -> Result<(), String> {
        match step.step.action() {
            Some(Action::FreezeInvites(freeze)) => {
                let holder = holder(id, place);
                let stands = |cohort: Option<&str>| {
                    self.readings
                        .freezes
                        .iter()
                        .any(|freeze| freeze.holder == holder && freeze.cohort.as_deref() == cohort)
                };
                let all = match &freeze.cohorts {
                    Names::All => stands(None),
                    Names::Listed(names) => names.iter().all(|name| stands(Some(name))),
                };
                if all { Ok(()) } else { Err("the freeze is not in the database yet".to_owned()) }
            }
            Some(Action::DisableFlags(_) | Action::RouteToFallback(_)) => self.served_everywhere(&holder(id, place)),
            Some(Action::KeepOnline(groups)) => self.probed(groups, step),
            Some(Action::PublishNote(note)) => {
                let keys = note.to.iter().flat_map(|channel| {
                    run.episodes.iter().map(move |e| format!("{}/{channel}", effect_base(id, e.number, place)))
                });
                self.receipted(keys)
            }
            Some(Action::CaptureRootCause(_)) => {
                let keys = run.episodes.iter().map(|e| format!("{}/document", effect_base(id, e.number, place)));
                let missing: Vec<_> = keys.filter(|key| !self.readings.documents.contains_key(key)).collect();
                if missing.is_empty() { Ok(()) } else { Err("the cause document is not written yet".to_owned()) }
            }
            Some(Action::RevokeInvites(revoke)) => {
                let done =
                    |cohort: Option<&str>| self.readings.effects.contains(&revocation_key(&holder(id, place), cohort));
                let all = match &revoke.cohorts {
                    Names::All => done(None),
                    Names::Listed(names) => names.iter().all(|name| done(Some(name))),
                };
                if all { Ok(()) } else { Err("the invites are not taken back yet".to_owned()) }
            }
            Some(Action::PauseIngestion(_)) => {
                let stands = self.readings.pauses.contains(&holder(id, place));
                if stands { Ok(()) } else { Err("the pause is not in the database yet".to_owned()) }
            }
            Some(Action::ScaleWorkload(scale)) => self.runs_as_held(&holder(id, place), &scale.workload),
            Some(Action::RevertWorkload(revert)) if step.target.is_none() => {
                Err(format!("no earlier revision of {} is known that stayed up", revert.workload))
            }
            Some(Action::RevertWorkload(revert)) => self.runs_as_held(&holder(id, place), &revert.workload),
            Some(Action::RestartWorkload(restart)) => self.replaced(step, &restart.workload),
            Some(Action::RestoreDataset(restore)) => self.undone(&holder(id, place), step, &restore.dataset),
            Some(Action::RunJob(_)) => self.receipted(first_effect(id, run, place, "job")),
            Some(Action::CallWebhook(_)) => self.receipted(first_effect(id, run, place, "call")),
            // Holding reviews is a decision, which this pass reads back from memory.
            Some(Action::HoldReviews(_)) | None => Ok(()),
        }
    }

    fn served_everywhere(&self, holder: &str) -> Result<(), String> {
        if self.readings.api.is_empty() {
            return Err("no API process is known".to_owned());
        }
        let behind =
            self.readings.api.iter().filter(|api| !api.serves.as_ref().is_some_and(|holds| holds.contains(holder)));
        let behind: Vec<_> = behind.map(|api| api.id.as_str()).collect();
        if behind.is_empty() {
            Ok(())
        } else {
            Err(format!(
                "{} of {} API processes do not serve it yet: {}",
                behind.len(),
                self.readings.api.len(),
                behind.join(", ")
            ))
        }
    }

    fn probed(&self, groups: &[String], step: &StepMemory) -> Result<(), String> {
        let since = step.in_force_at.unwrap_or(self.now);
        let down = groups
            .iter()
            .filter(|group| !self.readings.online.get(*group).is_some_and(|fact| fact.up && fact.at >= since));
        let down: Vec<_> = down.map(String::as_str).collect();
        if down.is_empty() { Ok(()) } else { Err(format!("no answer yet from {}", down.join(", "))) }
    }

    fn receipted(&self, keys: impl Iterator<Item = String>) -> Result<(), String> {
        let mut waiting = Vec::new();
        for key in keys {
            match self.readings.receipts.get(&key) {
                Some(receipt) if receipt.done => {}
                Some(receipt) => waiting.push(receipt.error.clone().unwrap_or_else(|| "not sent yet".to_owned())),
                None => waiting.push("not sent yet".to_owned()),
            }
        }
        if waiting.is_empty() {
            Ok(())
        } else {
            Err(format!("{} message(s) on their way: {}", waiting.len(), waiting[0]))
        }
    }
}
