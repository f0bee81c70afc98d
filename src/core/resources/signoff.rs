//! `Signoff`: a person's recorded word. Immutable; a person's latest word wins.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Moment, ResourceStatus};

/// A person's recorded word.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "betagate.dev",
    version = "v1alpha1",
    kind = "Signoff",
    namespaced,
    status = "ResourceStatus",
    derive = "PartialEq",
    category = "betagate",
    selectable = ".spec.program",
    selectable = ".spec.says",
    selectable = ".spec.by",
    shortname = "so",
    printcolumn(name = "By", type_ = "string", json_path = ".spec.by"),
    printcolumn(name = "Says", type_ = "string", json_path = ".spec.says"),
    printcolumn(name = "State", type_ = "string", json_path = ".status.state"),
    printcolumn(name = "Accepted", type_ = "string", json_path = ".status.conditions[?(@.type==\"Accepted\")].status"),
    printcolumn(name = "Summary", type_ = "string", json_path = ".status.summary"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[x_kube(validation = Rule::new("self == oldSelf").message("a sign-off is immutable: record another one"))]
#[x_kube(validation = Rule::new("!(self.says in ['done', 'waive', 'accept-mitigation']) || (has(self.gate) && has(self.check))").message("done, waive and accept-mitigation name gate and check"))]
#[x_kube(validation = Rule::new("!(self.says in ['go', 'no-go']) || (has(self.rollout) && has(self.stage))").message("go and no-go name rollout and stage"))]
#[x_kube(validation = Rule::new("self.says != 'lift' || has(self.run)").message("lift names run"))]
#[x_kube(validation = Rule::new("self.says != 'acknowledge' || (has(self.object) && has(self.digest))").message("acknowledge names object and the digest that plan printed"))]
#[x_kube(validation = Rule::new("!(self.says in ['waive', 'accept-mitigation']) || (has(self.note) && has(self.until))").message("mitigations and waivers carry a note and until"))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SignoffSpec {
    /// The program it concerns.
    pub program: String,
    /// Who: a name from the program's people.
    pub by: String,
    /// What.
    pub says: Says,
    /// The gate, for done, waive, accept-mitigation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<String>,
    /// The check, for done, waive, accept-mitigation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<String>,
    /// The rollout, for go, no-go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<String>,
    /// The stage, for go, no-go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// The run, for lift.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// The object (`Kind/name`), for acknowledge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// The digest that `plan` printed, for acknowledge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Until when it counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Moment>,
}

impl SignoffSpec {
    /// Whether it is a GO or a NO-GO for a stage.
    pub fn is_vote_on(&self, rollout: &str, stage: &str) -> bool {
        matches!(self.says, Says::Go | Says::NoGo)
            && self.rollout.as_deref() == Some(rollout)
            && self.stage.as_deref() == Some(stage)
    }

    /// Whether it says this of a check of a gate.
    pub fn is_about(&self, says: Says, gate: &str, check: &str) -> bool {
        self.says == says && self.gate.as_deref() == Some(gate) && self.check.as_deref() == Some(check)
    }

    /// What it says, of what. Not its note, which is the person's own.
    pub fn in_words(&self) -> String {
        let says = serde_json::to_value(self.says).unwrap_or_default();
        let of = [&self.gate, &self.check, &self.rollout, &self.stage, &self.run, &self.object];
        let of: Vec<&str> = of.into_iter().flatten().map(String::as_str).collect();
        format!("{} of {}", says.as_str().unwrap_or_default(), of.join("/"))
    }

    /// What a NO-GO still has to say, as fields and in words: what is to be mended, and, in a decision call, when the next call is.
    pub fn no_go_lacks(&self, in_a_call: bool) -> Vec<(&'static str, &'static str)> {
        let mut lacks = Vec::new();
        if self.note.as_deref().is_none_or(|note| note.trim().is_empty()) {
            lacks.push(("note", "what is to be mended"));
        }
        if in_a_call && self.until.is_none() {
            lacks.push(("until", "when the next call is"));
        }
        lacks
    }

    /// A word about nothing yet: what it is about is filled in by who says it.
    pub fn bare(program: impl Into<String>, by: impl Into<String>, says: Says) -> Self {
        Self {
            program: program.into(),
            by: by.into(),
            says,
            gate: None,
            check: None,
            rollout: None,
            stage: None,
            run: None,
            object: None,
            digest: None,
            note: None,
            until: None,
        }
    }

    /// That a run's holds may go.
    pub fn lift(
        program: impl Into<String>,
        by: impl Into<String>,
        run: impl Into<String>,
        note: impl Into<String>,
    ) -> Self {
        Self { run: Some(run.into()), note: Some(note.into()), ..Self::bare(program, by, Says::Lift) }
    }
}

/// What a person says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Says {
    /// An item of a checklist is done.
    Done,
    /// A stage may open.
    Go,
    /// A stage may not open.
    NoGo,
    /// A missed check may pass once, with what the note says.
    AcceptMitigation,
    /// A check is not asked for, until it runs out.
    Waive,
    /// A warning or a mass change was seen.
    Acknowledge,
    /// A rollback's holds may go.
    Lift,
}
