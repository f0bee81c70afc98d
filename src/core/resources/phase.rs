//! The phases of a `Gate` that is a checklist: when each begins, begins anew and is over, and how it is taken back.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Moment, Span};

/// A part of a checklist that begins at a time of its own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("!(has(self.from) && has(self.after))").message("a phase begins from a moment, or after a stage: give one of them"))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Phase {
    /// Its name, unique in the gate.
    pub name: String,
    /// What it is about, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// When it begins, such as -3d; left out, and without `after`: at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Moment>,
    /// It begins so long after a stage opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<AfterStage>,
    /// By when after its beginning all of it is to be done; later the gate's owner is paged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<Span>,
    /// It is over so long after a stage opened: nothing of it is asked for any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<AfterStage>,
    /// It begins anew so often: what was signed before counts no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<Span>,
    /// How what it did is taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo: Option<PhaseUndo>,
}

/// A time after a stage opened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AfterStage {
    /// The rollout.
    pub rollout: String,
    /// Its stage.
    pub stage: String,
    /// How long after it; at once when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Span>,
}

/// How a phase is taken back: by a plan, or by what people do.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("has(self.plan) || has(self.how)").message("undo needs plan or how"))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PhaseUndo {
    /// The rollback plan that takes it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
    /// What people do, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub how: Option<String>,
}
