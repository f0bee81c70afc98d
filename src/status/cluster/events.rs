//! Events of Kubernetes about what happened, for `kubectl describe` and `kubectl events`. Their text is constant, so that the same news is
//! counted and not repeated; what exactly happened is in the status and in the audit log, which is the record.
//!
//! Must not know: why anything happened.

use std::sync::Arc;

use betagate_core::resources::API_VERSION;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use tokio::sync::mpsc::UnboundedReceiver;

use crate::cluster::Cluster;
use crate::source::cluster::Key;

/// Something that happened to a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Which.
    pub key: Key,
    /// Which one of its name.
    pub uid: String,
    /// A word for programs, such as StageOpened.
    pub reason: String,
}

/// Publishes what it is told. One that can't be published is dropped: an event is a hint.
pub(super) async fn publish(cluster: Arc<Cluster>, holder: String, mut told: UnboundedReceiver<Told>) {
    let reporter = Reporter { controller: "betagate.dev/controller".to_owned(), instance: Some(instance(&holder)) };
    let recorder = Recorder::new(cluster.client().clone(), reporter);
    while let Some(Told { key, uid, reason }) = told.recv().await {
        if !cluster.may_act() {
            continue;
        }
        let about = ObjectReference {
            api_version: Some(API_VERSION.to_owned()),
            kind: Some(key.kind.name().to_owned()),
            name: Some(key.name),
            namespace: Some(cluster.namespace().to_owned()),
            uid: Some(uid),
            ..ObjectReference::default()
        };
        let (type_, note) = note(&reason);
        let event = Event { type_, action: reason.clone(), reason, note: Some(note.to_owned()), secondary: None };
        if let Err(error) = recorder.publish(&event, &about).await {
            tracing::debug!(%error, "an event was not published");
        }
    }
}

/// At most 128 characters are taken.
fn instance(holder: &str) -> String {
    holder.chars().take(128).collect()
}

fn note(reason: &str) -> (EventType, &'static str) {
    use EventType::{Normal, Warning};
    match reason {
        "NotAccepted" => (Warning, "What the resource says now does not count; its condition Accepted says why."),
        "Accepted" => (Normal, "What the resource says counts again."),
        "Stalled" => (Warning, "It gets no further by itself; its condition Stalled says why."),
        "GoesOn" => (Normal, "What kept it from going on is over."),
        "RollbackStarted" => (Warning, "A rollback has begun; its status says what it holds."),
        "EpisodeJoined" => (Warning, "Another cause joined the rollback that is in force."),
        "FreezeAdopted" => (Warning, "A freeze by hand was taken over as a run."),
        "StepInForce" => (Normal, "A step of the rollback came into force."),
        "StepVerified" => (Normal, "A step of the rollback was seen to have taken effect."),
        "StepOverdue" => (Warning, "A step of the rollback was not verified in time; it is tried on."),
        "Holding" => (Normal, "Every step of the rollback is in force."),
        "StepLifted" => (Normal, "A hold of the rollback was lifted."),
        "Lifting" => (Normal, "The holds of the rollback are being lifted."),
        "Lifted" => (Normal, "Every hold of the rollback is lifted."),
        "ReviewsReopened" => (Normal, "Reviews go on after a time without a breach."),
        "ReviewSealed" => (Normal, "A review was sealed; the status has its verdict."),
        "StageOpened" => (Normal, "A stage opened; the status says which."),
        "ShareGrew" => (Normal, "A flag is served to more people."),
        "PhaseOverdue" => (Warning, "A phase of the checklist is overdue."),
        "AnnouncementMissed" => (Warning, "An announcement was not made in time."),
        "PassedUnseen" => (Warning, "An incident came and went while no controller ran; nothing was pulled back."),
        "RequestRefused" => (Warning, "Something that was asked for can't be done."),
        _ => (Normal, "Something changed; the status has it."),
    }
}
