//! Pods as facts: which workload and revision each is of, whether it is ready, and what keeps it from being so.
//!
//! Must not know: what is wanted.

use jiff::Timestamp;
use serde_json::Value;

use super::{MIGRATES_LABEL, REVISION_LABEL, WORKLOAD_LABEL};
use crate::apply::workloads::{Obstacle, RunState, Running};

/// What is known of a pod of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pod {
    /// As one of its workload's; a migration's is none.
    pub running: Option<Running>,
    /// The Job of a migration that it is of.
    pub migrates: Option<String>,
    /// What keeps it from starting.
    pub obstacle: Option<Obstacle>,
}

/// A pod of ours; none of one that has ended.
pub(super) fn pod(pod: &Value) -> Option<Pod> {
    if matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed")) {
        return None;
    }
    let labels = &pod["metadata"]["labels"];
    let of = |label: &str| labels[label].as_str().map(str::to_owned);
    let migrates = of(MIGRATES_LABEL).and_then(|_| of("batch.kubernetes.io/job-name"));
    Some(Pod { running: running(pod), migrates, obstacle: obstacle(pod) })
}

/// A pod of a workload; none of others.
fn running(pod: &Value) -> Option<Running> {
    let meta = &pod["metadata"];
    let label = |name: &str| meta["labels"][name].as_str().map(str::to_owned);
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

/// What keeps a pod from starting. The words stay the same however often it is tried: each change of them is a write of a status.
fn obstacle(pod: &Value) -> Option<Obstacle> {
    let name = pod["metadata"]["name"].as_str()?;
    let (why, stuck) = pod_obstacle(pod)?;
    Some(Obstacle { why: format!("pod {name}: {why}"), stuck })
}

/// The same without the pod's name, and whether somebody has to mend it.
pub(super) fn pod_obstacle(pod: &Value) -> Option<(String, bool)> {
    let list = |field: &str| pod["status"][field].as_array().cloned().unwrap_or_default();
    let containers = list("containerStatuses").into_iter().chain(list("initContainerStatuses"));
    let found = containers.filter_map(|status| container_obstacle(&status));
    // A cluster may yet grow a node.
    let nowhere = condition(pod, "PodScheduled", "False").filter(|one| one["reason"] == "Unschedulable");
    let found = found.chain(nowhere.map(|one| (said("Unschedulable", &one["message"]), false)));
    let found = found.chain(lost_node(pod).map(|node| (format!("node {node} is not heard of"), false)));
    found.max_by_key(|(_, stuck)| *stuck)
}

/// The node of a pod, where nobody knows how the pod is: Kubernetes calls it not ready when its kubelet says nothing any more, and leaves what that said
/// of the containers. A kubelet itself says both at once, gates of others aside.
fn lost_node(pod: &Value) -> Option<&str> {
    let gated = pod["spec"]["readinessGates"].as_array().is_some_and(|gates| !gates.is_empty());
    let (unready, well) = (condition(pod, "Ready", "False"), condition(pod, "ContainersReady", "True"));
    unready.and(well).filter(|_| !gated).and_then(|_| pod["spec"]["nodeName"].as_str())
}

/// What keeps a container from running, and whether somebody has to mend it: its image, or what it names. One that crashes may be well the next time.
fn container_obstacle(status: &Value) -> Option<(String, bool)> {
    let (waiting, ended) = (&status["state"]["waiting"], &status["lastState"]["terminated"]);
    let (reason, image) = (waiting["reason"].as_str().unwrap_or_default(), status["image"].as_str().unwrap_or("?"));
    match reason {
        // The two alternate.
        "ImagePullBackOff" | "ErrImagePull" => return Some((format!("ImagePullBackOff: {image}"), true)),
        "ErrImageNeverPull" | "InvalidImageName" => return Some((format!("{reason}: {image}"), true)),
        "CreateContainerConfigError" => return Some((said(reason, &waiting["message"]), true)),
        "CreateContainerError" | "RunContainerError" => return Some((reason.to_owned(), true)),
        _ => {}
    }
    if status["ready"] == true || !ended.is_object() {
        return None;
    }
    // As between the tries of one that can't be started.
    if matches!(ended["reason"].as_str(), Some("StartError" | "ContainerCannotRun")) {
        return Some(("RunContainerError".to_owned(), true));
    }
    let (reason, code) = (ended["reason"].as_str().unwrap_or("Error"), ended["exitCode"].as_i64().unwrap_or_default());
    Some((format!("CrashLoopBackOff: it ended before ({reason}, exit code {code})"), false))
}

fn said(reason: &str, message: &Value) -> String {
    match message.as_str().unwrap_or_default().trim() {
        "" => reason.to_owned(),
        message => format!("{reason}: {message}"),
    }
}

/// What keeps a Deployment from going on, in the API server's words: pods that are not let in, a rollout that gets no further.
pub(super) fn stalled(deployment: &Value) -> Option<Obstacle> {
    let refused = condition(deployment, "ReplicaFailure", "True");
    let stuck = refused.or_else(|| condition(deployment, "Progressing", "False"))?;
    Some(Obstacle { why: stuck["message"].as_str()?.to_owned(), stuck: true })
}

/// A condition of an object, if it stands so.
pub(super) fn condition(object: &Value, kind: &str, status: &str) -> Option<Value> {
    let conditions = object["status"]["conditions"].as_array().into_iter().flatten();
    conditions.into_iter().find(|one| one["type"] == kind && one["status"] == status).cloned()
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
        assert_eq!(super::pod(&pod(json!({ "status/phase": "Failed" }))), None);
    }

    #[test]
    fn a_pod_that_is_well_but_not_ready_is_on_a_node_that_is_not_heard_of() {
        let said = |ready: &str, containers: &str, gates: Value| {
            let conditions =
                json!([{ "type": "Ready", "status": ready }, { "type": "ContainersReady", "status": containers }]);
            let spec = json!({ "nodeName": "node1", "readinessGates": gates });
            let found =
                pod(&json!({ "metadata": { "name": "api-1" }, "spec": spec, "status": { "conditions": conditions } }));
            found.and_then(|pod| pod.obstacle).map(|one| (one.why, one.stuck))
        };
        let lost = Some(("pod api-1: node node1 is not heard of".to_owned(), false));
        assert_eq!(said("False", "True", Value::Null), lost);
        assert_eq!(said("False", "False", Value::Null), None, "it is about to start, or to end");
        assert_eq!(said("True", "True", Value::Null), None);
        assert_eq!(
            said("False", "True", json!([{ "conditionType": "example.com/balanced" }])),
            None,
            "it waits for another"
        );
    }

    #[test]
    fn an_image_or_a_name_is_for_somebody_to_mend_and_a_crash_may_pass() {
        let said = |status: Value, conditions: Value| {
            let status = json!({ "containerStatuses": [status], "conditions": conditions });
            let found = pod(&json!({ "metadata": { "name": "api-1" }, "status": status }));
            found.and_then(|pod| pod.obstacle).map(|one| (one.why, one.stuck))
        };
        let waits = |reason: &str| json!({ "image": "x:1", "state": { "waiting": { "reason": reason, "message": "secret \"a\" not found" } } });
        let told = |why: &str, stuck: bool| Some((format!("pod api-1: {why}"), stuck));
        assert_eq!(said(waits("ErrImagePull"), json!([])), told("ImagePullBackOff: x:1", true));
        assert_eq!(said(waits("ImagePullBackOff"), json!([])), told("ImagePullBackOff: x:1", true));
        assert_eq!(
            said(waits("CreateContainerConfigError"), json!([])),
            told("CreateContainerConfigError: secret \"a\" not found", true)
        );
        assert_eq!(said(waits("ContainerCreating"), json!([])), None);
        let crashed = json!({ "ready": false, "state": { "waiting": { "reason": "CrashLoopBackOff", "message": "back-off 40s" } },
            "lastState": { "terminated": { "exitCode": 1, "reason": "Error" } } });
        let tried = json!({ "ready": false, "state": { "running": {} }, "lastState": crashed["lastState"] });
        assert_eq!(said(crashed, json!([])), told("CrashLoopBackOff: it ended before (Error, exit code 1)", false));
        assert_eq!(
            said(tried, json!([])),
            told("CrashLoopBackOff: it ended before (Error, exit code 1)", false),
            "the same words while it is tried"
        );
        let no_room =
            json!([{ "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes" }]);
        assert_eq!(said(json!({}), no_room), told("Unschedulable: 0/1 nodes", false));
    }
}
