//! Pods as facts: which workload and revision each is of, whether it is ready, and what keeps it from being so.
//!
//! Must not know: what is wanted.

use jiff::Timestamp;
use serde_json::Value;

use super::{REVISION_LABEL, WORKLOAD_LABEL};
use crate::apply::workloads::{RunState, Running};

/// Why containers wait that will hardly start by themselves.
const STUCK: [&str; 8] = [
    "ImagePullBackOff",
    "ErrImagePull",
    "ErrImageNeverPull",
    "InvalidImageName",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
    "CrashLoopBackOff",
];

/// A pod of a workload; none of others, or of one that has ended.
pub(super) fn running(pod: &Value) -> Option<Running> {
    let meta = &pod["metadata"];
    let label = |name: &str| meta["labels"][name].as_str().map(str::to_owned);
    if matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed")) {
        return None;
    }
    let ready = pod["status"]["conditions"].as_array().into_iter().flatten().find(|one| one["type"] == "Ready");
    let is_ready = ready.is_some_and(|ready| ready["status"] == "True");
    let time = |value: &Value| value.as_str().and_then(|at| at.parse::<Timestamp>().ok());
    let since = ready.and_then(|ready| time(&ready["lastTransitionTime"])).or_else(|| time(&meta["creationTimestamp"]));
    let state = match (meta["deletionTimestamp"].is_string(), is_ready) {
        (true, _) => RunState::Stopping,
        (false, true) => RunState::Ready,
        (false, false) => RunState::Starting,
    };
    let name = meta["name"].as_str()?.to_owned();
    let (workload, revision) = (label(WORKLOAD_LABEL)?, label(REVISION_LABEL)?);
    Some(Running { workload, id: Some(name.clone()), place: name, revision, state, since: since.unwrap_or_default() })
}

/// What keeps a pod from starting, in words.
pub(super) fn stuck(pod: &Value) -> Option<String> {
    let name = pod["metadata"]["name"].as_str()?;
    let statuses = |field: &str| pod["status"][field].as_array().cloned().unwrap_or_default();
    let waiting = statuses("containerStatuses").into_iter().chain(statuses("initContainerStatuses"));
    let waiting = waiting.map(|status| status["state"]["waiting"].clone());
    let reason = waiting.filter_map(|waiting| waiting["reason"].as_str().map(str::to_owned));
    let reason = reason.into_iter().find(|reason| STUCK.contains(&reason.as_str()));
    reason.map(|reason| format!("pod {name}: {reason}"))
}

/// What keeps a Deployment from going on, in the API server's words: pods that are not let in, a rollout that gets no further.
pub(super) fn stalled(deployment: &Value) -> Option<String> {
    let conditions = deployment["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let is = |one: &Value, kind: &str, status: &str| one["type"] == kind && one["status"] == status;
    let refused = conditions.iter().find(|one| is(one, "ReplicaFailure", "True"));
    let stuck = conditions.iter().find(|one| is(one, "Progressing", "False"));
    refused.or(stuck).and_then(|one| one["message"].as_str()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_is_ready_by_its_condition_and_leaves_with_its_deletion() {
        let pod = |more: Value| {
            let mut pod = json!({
                "metadata": { "name": "api-1", "creationTimestamp": "2026-03-02T08:00:00Z",
                    "labels": { "betagate.dev/workload": "api", "betagate.dev/revision": "abc" } },
                "status": { "phase": "Running" },
            });
            for (path, value) in more.as_object().into_iter().flatten() {
                let (room, field) = path.split_once('/').unwrap_or_default();
                pod[room][field] = value.clone();
            }
            pod
        };
        let state = |more: Value| running(&pod(more)).map(|pod| pod.state);
        assert_eq!(state(json!({})), Some(RunState::Starting));
        let ready = json!([{ "type": "Ready", "status": "True", "lastTransitionTime": "2026-03-02T08:00:09Z" }]);
        assert_eq!(state(json!({ "status/conditions": ready })), Some(RunState::Ready));
        let seen = running(&pod(json!({ "status/conditions": ready })));
        assert_eq!(
            seen.map(|pod| (pod.id, pod.revision, pod.since.to_string())),
            Some((Some("api-1".into()), "abc".into(), "2026-03-02T08:00:09Z".into()))
        );
        let leaving = json!({ "status/conditions": ready, "metadata/deletionTimestamp": "2026-03-02T09:00:00Z" });
        assert_eq!(state(leaving), Some(RunState::Stopping));
        assert_eq!(state(json!({ "status/phase": "Failed" })), None);
        let waits = json!([{ "state": { "waiting": { "reason": "ImagePullBackOff" } } }]);
        assert_eq!(
            stuck(&pod(json!({ "status/containerStatuses": waits }))).as_deref(),
            Some("pod api-1: ImagePullBackOff")
        );
        assert_eq!(stuck(&pod(json!({}))), None);
    }
}
