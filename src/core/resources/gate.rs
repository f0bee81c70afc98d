//! `Gate`: checks with thresholds, when they are measured and when they are reviewed.

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Cron, Moment, Phase, ResourceStatus, Span, Suspend, Threshold};

/// Checks that must hold before something may go on.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "betagate.dev",
    version = "v1alpha1",
    kind = "Gate",
    namespaced,
    status = "ResourceStatus",
    derive = "PartialEq",
    category = "betagate",
    shortname = "ga",
    selectable = ".spec.program",
    printcolumn(name = "Program", type_ = "string", json_path = ".spec.program"),
    printcolumn(name = "Verdict", type_ = "string", json_path = ".status.state"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Summary", type_ = "string", json_path = ".status.summary"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GateSpec {
    /// The program it belongs to.
    pub program: String,
    /// What it protects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// When a verdict is sealed. Left out: the gate has a live verdict only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub review: Option<Review>,
    /// The people every KPI here is about; left out: everyone in the program.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cohorts: Vec<String>,
    /// How often it is measured; every 5m when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measure: Option<Measure>,
    /// The phases of a checklist, in order: a check of a phase is not due before the phase begins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub phases: Vec<Phase>,
    /// Whether a phase waits until everything of the one before it is done.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub in_order: bool,
    /// What must hold.
    #[schemars(length(min = 1, max = 200))]
    pub checks: Vec<Check>,
    /// How much may be missed with an accepted mitigation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conditional: Option<Conditional>,
    /// How long a miss that may be mitigated waits for its mitigation before the review seals; 24h when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decide_within: Option<Span>,
    /// The person who accepts mitigations; left out: any person of the program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Leaves it as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<Suspend>,
}

/// When a verdict is sealed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Review {
    /// The schedule, in the program's zone.
    pub cron: Cron,
    /// Reviews before it are board rows, Pending, and seal nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Moment>,
}

/// How often a gate is measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Measure {
    /// The time between two measurements.
    pub every: Span,
}

/// How much may be missed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Conditional {
    /// This many missed checks may pass, each with an accepted mitigation.
    pub missed: u32,
}

/// One check: a name, what is measured (exactly one of nine kinds), and the threshold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("[has(self.kpi), has(self.sql), has(self.prometheus), has(self.http), has(self.incidents), has(self.gate), has(self.job), has(self.fact), has(self.signoff)].filter(x, x).size() == 1").message("a check is exactly one of kpi, sql, prometheus, http, incidents, gate, job, fact, signoff"))]
#[x_kube(validation = Rule::new("has(self.pass) || has(self.gate) || has(self.signoff) || has(self.job)").message("a measured check needs pass, such as \">= 45%\""))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Check {
    /// Its name, unique in the gate.
    pub name: String,
    /// What it asks, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Its column on the board; the name when left out; none when empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// The phase of the checklist that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// Compares: `pass` is then about the value's share of what it was before (`<= 150%`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vs: Option<Versus>,
    /// What the value must meet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pass: Option<Threshold>,
    /// A miss makes the verdict Fail, which a rollback plan may act on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub critical: bool,
    /// Not due before: prints `-` and is not mandatory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Moment>,
    /// How long a critical miss lasts before the live verdict is Fail.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub lasting: Option<Span>,
    /// Fewer samples than this read as unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_samples: Option<u64>,
    /// Whether an unknown takes the check out of the mandatory ones.
    #[serde(default, skip_serializing_if = "Missing::is_unknown")]
    pub missing: Missing,
    /// A reading older than this is stale; three measuring intervals when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stale_after: Option<Span>,
    /// One of betagate's KPIs, by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kpi: Option<String>,
    /// A query that answers one number, or `numerator` and `denominator`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sql: Option<SqlCheck>,
    /// A PromQL query that answers one number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prometheus: Option<String>,
    /// A second PromQL query that answers the count below the line: the check is about the ratio of both, and keeps both counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per: Option<String>,
    /// The name of the Prometheus source; the only one when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// A number in a JSON answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpCheck>,
    /// The number of incidents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incidents: Option<IncidentCheck>,
    /// Another gate's verdict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<GateCheck>,
    /// A command. Without `pass` its exit code is the answer: 0 met, 2 unknown, else missed. With `pass`, what it writes on its last line is: a
    /// number, or JSON with `value`, or `numerator` and `denominator`; any exit code but 0 reads unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobCheck>,
    /// Something betagate itself knows, by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fact: Option<String>,
    /// What the fact is about: a flag's key, a dataset, a cohort, a plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
    /// Only people who carry this label, of a funnel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Makes a funnel's count a share of an earlier step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub out_of: Option<FunnelStep>,
    /// A person's word that it is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signoff: Option<SignoffCheck>,
}

/// How far people got, each step among those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum FunnelStep {
    /// Invited, and not taken back.
    Invited,
    /// Their message was handed to a mail server.
    Sent,
    /// They looked at the sign-up page.
    Opened,
    /// They came in.
    Used,
    /// They came in, and did something in the last seven days.
    Active,
}

impl FunnelStep {
    /// The step that a fact counts, such as `funnel.used`.
    pub fn of_fact(fact: &str) -> Option<Self> {
        Some(match fact.strip_prefix("funnel.")? {
            "invited" => Self::Invited,
            "sent" => Self::Sent,
            "opened" => Self::Opened,
            "used" => Self::Used,
            "active" => Self::Active,
            _ => return None,
        })
    }
}

impl Check {
    /// Whether it is measured from time to time; else it is known at every moment.
    pub fn is_measured(&self) -> bool {
        self.signoff.is_none() && self.gate.is_none() && self.incidents.is_none()
    }
}

/// What a value is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Versus {
    /// The last value from before the stage that opened last. How long the window is that it speaks of, the query says.
    BeforeStage,
}

/// Whether a check without a reading is mandatory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Missing {
    /// It reads unknown, and the verdict is Pending.
    #[default]
    Unknown,
    /// It is left out, and the verdict says so.
    Ignore,
}

impl Missing {
    fn is_unknown(&self) -> bool {
        *self == Self::Unknown
    }
}

/// A bounded query.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SqlCheck {
    /// A database source; `betagate` is its own store, through the `checks` views only.
    pub source: String,
    /// One statement that answers one row.
    pub query: String,
}

/// A value in a JSON answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpCheck {
    /// An HTTP source.
    pub source: String,
    /// The path below its address.
    pub path: String,
    /// A JSON pointer to the value; left out: the answer's status, 1 for 2xx and else 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// A JSON pointer to the count below the line: the check is about the ratio of both, and keeps both counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per: Option<String>,
    /// The value that counts as 1 (anything else as 0), for strings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::kind::anything")]
    pub is: Option<Value>,
}

/// Which incidents are counted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IncidentCheck {
    /// Only of this severity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<String>,
    /// Only of this category.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// Started or still open within this length of time before now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<Span>,
    /// Only those that are open.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub open: bool,
    /// Only those that nobody has acknowledged for longer than this; with `within`, also those that somebody acknowledged too late.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unacknowledged_for: Option<Span>,
}

/// What another gate's verdict must be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GateCheck {
    /// The other gate.
    pub name: String,
    /// Only these phases of its checklist; all of it when left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub phases: Vec<String>,
    /// Which verdicts are met.
    #[serde(default)]
    pub is: GateIs,
}

/// Which verdicts of another gate are met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum GateIs {
    /// Pass.
    Pass,
    /// Pass, or a Conditional whose mitigation was accepted.
    #[default]
    PassOrConditional,
    /// No check missed; unknowns are accepted (seed 004's monitor view).
    NoMiss,
}

/// A command that answers: by its exit code, or with a number on the last line of its output.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JobCheck {
    /// The program and its arguments, no shell between. On one machine it runs in the folder of the documents.
    #[schemars(length(min = 1))]
    pub command: Vec<String>,
    /// The image it runs in, on a cluster; the installation's own for commands when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^\S+$"))]
    pub image: Option<String>,
    /// The service account it runs under, on a cluster: one with the label `betagate.dev/jobs: allowed`. The installation's own for commands when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub service_account: Option<String>,
    /// How long it may take; 60s when left out, 10m at most. Then it is ended, and reads unknown (terminated).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// Its environment. Of betagate's own it sees PATH, HOME, USER, LANG, TZ and TMPDIR, and nothing else.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 100))]
    pub env: BTreeMap<String, String>,
    /// Variables whose values are secrets, by the secrets' names. On a cluster the Secret's key is `value`, or the one after a slash (`mail/password`), and the
    /// Secret has the label `betagate.dev/jobs: allowed`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 100))]
    pub secret_env: BTreeMap<String, String>,
}

/// A person's word.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SignoffCheck {
    /// Whose word counts; left out: any person of the program.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<String>,
}
