//! Whose word a pull request needs: acknowledgements before it is carried out, and what its stages and checklists ask of people later.
//!
//! Must not know: what was said elsewhere than in the documents.

use serde::Serialize;

use super::ListChange;
use crate::desired::ProgramDesired;
use crate::resources::{Says, SignoffRule, Verified};

/// Something that needs a person's word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Ask {
    /// What is to be said, of what.
    #[serde(flatten)]
    pub kind: AskKind,
    /// Why.
    pub why: String,
    /// Whose word counts.
    pub who: Vec<String>,
    /// Who said so in these documents.
    pub given_by: Vec<String>,
}

/// What is to be said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "says", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum AskKind {
    /// A warning or a mass change was seen. Until then the list stays as it is.
    Acknowledge {
        /// `Cohort/pavia`.
        object: String,
        /// What is signed.
        digest: String,
    },
    /// A stage may open.
    Go {
        /// The rollout.
        rollout: String,
        /// The stage.
        stage: String,
    },
    /// An item of a checklist is done.
    Done {
        /// The gate.
        gate: String,
        /// The check.
        check: String,
    },
}

impl Ask {
    /// Whether the change itself waits for it.
    pub fn blocks(&self) -> bool {
        matches!(self.kind, AskKind::Acknowledge { .. }) && self.given_by.is_empty()
    }
}

/// What a change of one program asks of people. `after` is none when the program is gone.
pub(super) fn asks(before: Option<&ProgramDesired>, after: Option<&ProgramDesired>, lists: &[ListChange]) -> Vec<Ask> {
    let Some(program) = after.or(before) else { return Vec::new() };
    let mut asks = acknowledgements(program, lists);
    if let Some(after) = after {
        asks.extend(goes(before, after));
        asks.extend(done(before, after));
    }
    asks
}

fn acknowledgements(program: &ProgramDesired, lists: &[ListChange]) -> Vec<Ask> {
    let everyone: Vec<String> = program.program.spec.people.keys().cloned().collect();
    // Who wrote a file is not proven here.
    let rules = program.program.spec.signoffs.as_ref();
    let unproven_counts = rules.is_none_or(|rules| rules.verified != Verified::Required);
    let mut asks = Vec::new();
    for list in lists {
        for waits in &list.waits {
            let (object, digest) = (format!("Cohort/{}", list.cohort), waits.digest.clone());
            let covering = |said: &str| said == digest || (waits.of_list && said == list.change_digest);
            let words = program.signoffs.values().filter(|word| {
                let spec = &word.spec;
                spec.says == Says::Acknowledge
                    && spec.object.as_ref() == Some(&object)
                    && spec.digest.as_deref().is_some_and(covering)
            });
            let given_by = words.filter(|_| unproven_counts).map(|word| word.spec.by.clone()).collect();
            let (why, who) = (waits.reasons.join("; "), everyone.clone());
            asks.push(Ask { kind: AskKind::Acknowledge { object, digest }, why, who, given_by });
        }
    }
    asks
}

/// Stages whose voices are new or others than before.
fn goes(before: Option<&ProgramDesired>, after: &ProgramDesired) -> Vec<Ask> {
    let mut asks = Vec::new();
    for (name, rollout) in &after.rollouts {
        for stage in &rollout.spec.stages {
            let Some(wanted) = stage.enter.as_ref().and_then(|enter| enter.signoffs.as_ref()) else { continue };
            let old = before.and_then(|before| before.rollouts.get(name));
            let old = old.and_then(|old| old.spec.stages.iter().find(|old| old.name == stage.name));
            if old.and_then(|old| old.enter.as_ref()).and_then(|enter| enter.signoffs.as_ref()) == Some(wanted) {
                continue;
            }
            let rule = match wanted.rule {
                SignoffRule::Unanimous => "all of them",
                SignoffRule::Any => "one of them",
            };
            asks.push(Ask {
                kind: AskKind::Go { rollout: name.clone(), stage: stage.name.clone() },
                why: format!("before the stage opens: {rule}"),
                who: wanted.from.clone(),
                given_by: Vec::new(),
            });
        }
    }
    asks
}

/// Items of checklists that are new, or that others than before sign.
fn done(before: Option<&ProgramDesired>, after: &ProgramDesired) -> Vec<Ask> {
    let mut asks = Vec::new();
    for (name, gate) in &after.gates {
        for check in &gate.spec.checks {
            let Some(wanted) = &check.signoff else { continue };
            let old = before.and_then(|before| before.gates.get(name));
            let old = old.and_then(|old| old.spec.checks.iter().find(|old| old.name == check.name));
            if old.and_then(|old| old.signoff.as_ref()) == Some(wanted) {
                continue;
            }
            let words = after.signoffs.values().filter(|word| {
                let spec = &word.spec;
                spec.says == Says::Done
                    && spec.gate.as_ref() == Some(name)
                    && spec.check.as_ref() == Some(&check.name)
                    && (wanted.from.is_empty() || wanted.from.contains(&spec.by))
            });
            let given_by: Vec<String> = words.map(|word| word.spec.by.clone()).collect();
            let who = if wanted.from.is_empty() {
                after.program.spec.people.keys().cloned().collect()
            } else {
                wanted.from.clone()
            };
            let why = check.description.clone().unwrap_or_else(|| "an item of a checklist".to_owned());
            let kind = AskKind::Done { gate: name.clone(), check: check.name.clone() };
            asks.push(Ask { kind, why: super::masked(&why), who, given_by });
        }
    }
    asks
}
