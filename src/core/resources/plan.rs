//! `RollbackPlan`: when to pull back, and the ordered steps.

use std::{borrow::Cow, collections::BTreeMap};

use kube::{CustomResource, KubeSchema};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{
    CallWebhook, PauseIngestion, ResourceStatus, RestartWorkload, RestoreDataset, RevertWorkload, RevokeInvites, Risk,
    RunJob, ScaleWorkload, Span,
};

/// When to pull back, and how.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "betagate.dev",
    version = "v1alpha1",
    kind = "RollbackPlan",
    namespaced,
    status = "ResourceStatus",
    derive = "PartialEq",
    category = "betagate",
    selectable = ".spec.program",
    shortname = "rbp",
    printcolumn(name = "Program", type_ = "string", json_path = ".spec.program"),
    printcolumn(name = "State", type_ = "string", json_path = ".status.state"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Summary", type_ = "string", json_path = ".status.summary"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RollbackPlanSpec {
    /// The program it belongs to.
    pub program: String,
    /// Any of these starts a run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub when: Vec<Trigger>,
    /// The steps, which come into force strictly in order.
    #[schemars(length(min = 1, max = 100))]
    pub steps: Vec<Step>,
}

/// What starts a run: exactly one of the kinds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("has(self.incident) != has(self.gate)").message("a trigger is exactly one of incident, gate"))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Trigger {
    /// An incident that lasts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incident: Option<IncidentTrigger>,
    /// A gate's live verdict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<GateTrigger>,
}

/// An incident that lasts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IncidentTrigger {
    /// Its severity.
    pub severity: String,
    /// It must be open for *more* than this.
    pub active_for: Span,
}

/// A gate's live verdict.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GateTrigger {
    /// The gate.
    pub name: String,
    /// Only Fail can pull back.
    #[serde(default)]
    pub verdict: TriggerVerdict,
    /// Only a Fail on a critical check.
    #[serde(default)]
    pub critical: bool,
}

/// The verdict that pulls back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TriggerVerdict {
    /// Fail.
    #[default]
    Fail,
}

/// One step: exactly one action, and how long it may take.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("[has(self.freezeInvites), has(self.disableFlags), has(self.keepOnline), has(self.routeToFallback), has(self.publishNote), has(self.captureRootCause), has(self.holdReviews), has(self.revokeInvites), has(self.pauseIngestion), has(self.scaleWorkload), has(self.revertWorkload), has(self.restartWorkload), has(self.restoreDataset), has(self.runJob), has(self.callWebhook)].filter(x, x).size() == 1").message("a step is exactly one of freezeInvites, disableFlags, keepOnline, routeToFallback, publishNote, captureRootCause, holdReviews, revokeInvites, pauseIngestion, scaleWorkload, revertWorkload, restartWorkload, restoreDataset, runJob, callWebhook"))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Step {
    /// No new invite can be redeemed or sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub freeze_invites: Option<FreezeInvites>,
    /// These flags serve their safe variant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disable_flags: Option<DisableFlags>,
    /// These route groups answer throughout (guarded from the run's first moment; the step records it).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_online: Option<Vec<String>>,
    /// Flags of this risk or more route to their fallback path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route_to_fallback: Option<RouteToFallback>,
    /// A note goes out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publish_note: Option<PublishNote>,
    /// A cause document is written, which people complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capture_root_cause: Option<CaptureRootCause>,
    /// Reviews seal nothing until it was stable for long enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_reviews: Option<HoldReviews>,
    /// Unused invites are taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoke_invites: Option<RevokeInvites>,
    /// No product events are taken in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause_ingestion: Option<PauseIngestion>,
    /// So many processes of a workload run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale_workload: Option<ScaleWorkload>,
    /// An earlier revision of a workload runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revert_workload: Option<RevertWorkload>,
    /// The processes of a workload are replaced, once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart_workload: Option<RestartWorkload>,
    /// A dataset is undone, once, as its document says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore_dataset: Option<RestoreDataset>,
    /// A command is run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_job: Option<RunJob>,
    /// An address is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call_webhook: Option<CallWebhook>,
    /// How long the step may take until it is verified; 5m when left out (publishNote: its `within`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Span>,
    /// What an overdue step does to those after it.
    #[serde(default, skip_serializing_if = "OnFailure::is_go_on")]
    pub on_failure: OnFailure,
}

/// What an overdue step does to those after it. It is retried either way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum OnFailure {
    /// The next step comes into force.
    #[default]
    GoOn,
    /// The steps after it wait.
    Stop,
}

impl OnFailure {
    fn is_go_on(&self) -> bool {
        *self == Self::GoOn
    }
}

/// Which cohorts are frozen.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FreezeInvites {
    /// `all`, or a list of names.
    #[serde(default)]
    pub cohorts: Names,
}

/// `all`, or a list of names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Names {
    /// Everything there is.
    #[default]
    All,
    /// Only these.
    Listed(Vec<String>),
}

impl Serialize for Names {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::All => serializer.serialize_str("all"),
            Self::Listed(names) => names.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Word(String),
            List(Vec<String>),
        }
        match Written::deserialize(deserializer) {
            Ok(Written::Word(word)) if word == "all" => Ok(Self::All),
            Ok(Written::List(names)) => Ok(Self::Listed(names)),
            _ => Err(serde::de::Error::custom("expected `all` or a list of names")),
        }
    }
}

impl JsonSchema for Names {
    fn schema_name() -> Cow<'static, str> {
        "Names".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "description": "`all`, or a list of names.", "x-kubernetes-preserve-unknown-fields": true })
    }
}

/// Which flags are disabled.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DisableFlags {
    /// Flag keys.
    #[schemars(length(min = 1))]
    pub keys: Vec<String>,
}

/// Which flags route to their fallback.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RouteToFallback {
    /// This risk, and above.
    pub risk: Risk,
}

/// A note to channels.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PublishNote {
    /// Channels of the program.
    #[schemars(length(min = 1))]
    pub to: Vec<String>,
    /// The template's name, without its ending, in cohorts/templates/.
    pub template: String,
    /// How long after the trigger at the latest; 30m when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<Span>,
    /// More variables for the template.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub variables: BTreeMap<String, String>,
}

/// Who answers for the cause document.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CaptureRootCause {
    /// A name from the program's people.
    pub owner: String,
    /// What is proposed in the Git repository of the documents, each on a branch of its own for people to look at. It is no part of the step's
    /// verification.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub propose: Vec<Propose>,
}

/// What is proposed in the Git repository of the documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Propose {
    /// The cause document, on the branch `betagate/cause-RUN-EPISODE`.
    Document,
    /// The revision that was live when the run began taken back, on the branch `betagate/revert-RUN`.
    Revert,
}

/// When reviews open again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HoldReviews {
    /// So long without an incident of the severity, in a row.
    pub until_stable_for: Span,
    /// The severity whose recurrence starts the clock again.
    pub severity: String,
}

/// What a step does.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs, reason = "named after the fields of Step")]
pub enum Action<'a> {
    FreezeInvites(&'a FreezeInvites),
    DisableFlags(&'a DisableFlags),
    KeepOnline(&'a [String]),
    RouteToFallback(&'a RouteToFallback),
    PublishNote(&'a PublishNote),
    CaptureRootCause(&'a CaptureRootCause),
    HoldReviews(&'a HoldReviews),
    RevokeInvites(&'a RevokeInvites),
    PauseIngestion(&'a PauseIngestion),
    ScaleWorkload(&'a ScaleWorkload),
    RevertWorkload(&'a RevertWorkload),
    RestartWorkload(&'a RestartWorkload),
    RestoreDataset(&'a RestoreDataset),
    RunJob(&'a RunJob),
    CallWebhook(&'a CallWebhook),
}

impl Step {
    /// What it does; none if it names no action, which validation refuses.
    pub fn action(&self) -> Option<Action<'_>> {
        self.actions().next()
    }

    /// Everything that it names: validation refuses all but exactly one.
    pub fn actions(&self) -> impl Iterator<Item = Action<'_>> {
        let found = [
            self.freeze_invites.as_ref().map(Action::FreezeInvites),
            self.disable_flags.as_ref().map(Action::DisableFlags),
            self.keep_online.as_deref().map(Action::KeepOnline),
            self.route_to_fallback.as_ref().map(Action::RouteToFallback),
            self.publish_note.as_ref().map(Action::PublishNote),
            self.capture_root_cause.as_ref().map(Action::CaptureRootCause),
            self.hold_reviews.as_ref().map(Action::HoldReviews),
            self.revoke_invites.as_ref().map(Action::RevokeInvites),
            self.pause_ingestion.as_ref().map(Action::PauseIngestion),
            self.scale_workload.as_ref().map(Action::ScaleWorkload),
            self.revert_workload.as_ref().map(Action::RevertWorkload),
            self.restart_workload.as_ref().map(Action::RestartWorkload),
            self.restore_dataset.as_ref().map(Action::RestoreDataset),
            self.run_job.as_ref().map(Action::RunJob),
            self.call_webhook.as_ref().map(Action::CallWebhook),
        ];
        found.into_iter().flatten()
    }

    /// Its action's name, as YAML writes it.
    pub fn name(&self) -> &'static str {
        match self.action() {
            Some(Action::FreezeInvites(_)) => "freezeInvites",
            Some(Action::DisableFlags(_)) => "disableFlags",
            Some(Action::KeepOnline(_)) => "keepOnline",
            Some(Action::RouteToFallback(_)) => "routeToFallback",
            Some(Action::PublishNote(_)) => "publishNote",
            Some(Action::CaptureRootCause(_)) => "captureRootCause",
            Some(Action::HoldReviews(_)) => "holdReviews",
            Some(Action::RevokeInvites(_)) => "revokeInvites",
            Some(Action::PauseIngestion(_)) => "pauseIngestion",
            Some(Action::ScaleWorkload(_)) => "scaleWorkload",
            Some(Action::RevertWorkload(_)) => "revertWorkload",
            Some(Action::RestartWorkload(_)) => "restartWorkload",
            Some(Action::RestoreDataset(_)) => "restoreDataset",
            Some(Action::RunJob(_)) => "runJob",
            Some(Action::CallWebhook(_)) => "callWebhook",
            None => "nothing",
        }
    }

    /// How long it may take until it is verified.
    pub fn time_allowed(&self) -> Span {
        let note = self.publish_note.as_ref().map(|note| note.within.unwrap_or(Span::seconds(30 * 60)));
        self.deadline.or(note).unwrap_or(Span::seconds(5 * 60))
    }
}
