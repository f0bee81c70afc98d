//! How a Job stands, from what the API server says of it, its pods and what kept it from having one.
//!
//! Must not know: what is done about it.

use jiff::Timestamp;
use serde_json::Value;

use super::super::observe::{condition, pod_obstacle};
use super::build::{CONTAINER, ENDED, WELL};
use crate::apply::processes::{Ended, NOT_STARTED};

/// The signal by which a container ends that took more memory than it may.
const KILL: i32 = 9;
/// A container that ended by a signal has this and the signal as its exit code.
const BY_SIGNAL: i32 = 128;
/// The greatest signal.
const LAST_SIGNAL: i32 = 64;

/// How a Job stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stand {
    /// It ended; the pod whose log has its output, where there is one.
    Ended(Ended, Option<String>),
    /// It ended without its command having come to an end of its own.
    Broken(String),
    /// Its command runs.
    Running,
    /// It does not start, and somebody has to mend that.
    Stuck(String),
    /// It has not started yet, and why.
    Waiting(String),
}

/// Judges a Job by its pods and by the API server's words for why it got none.
pub(super) fn judge(job: &Value, pods: &[Value], refused: Option<&str>) -> Stand {
    if job["metadata"]["annotations"][ENDED] == WELL {
        return Stand::Ended(Ended::Code(0, String::new()), None);
    }
    let failed = condition(job, "FailureTarget", "True").or_else(|| condition(job, "Failed", "True"));
    let born = |pod: &&Value| pod["metadata"]["creationTimestamp"].as_str().unwrap_or_default().to_owned();
    let newest = pods.iter().max_by_key(born);
    // Its pod is ended for it, which looks like an end by a signal, unless its command had ended before.
    if let Some(late) = failed.as_ref().filter(|failed| failed["reason"] == "DeadlineExceeded") {
        return match newest.filter(|pod| ended_before(pod, &late["lastTransitionTime"])) {
            Some(pod) => by_pod(pod),
            None => Stand::Ended(Ended::TimedOut, None),
        };
    }
    if let Some(pod) = newest {
        return by_pod(pod);
    }
    if condition(job, "Complete", "True").is_some() {
        // Somebody took its pod away; what it said is gone, that it ended well is not.
        return Stand::Ended(Ended::Code(0, String::new()), None);
    }
    match (failed, refused) {
        (Some(failed), _) => Stand::Broken(failed["message"].as_str().unwrap_or("it failed").to_owned()),
        (None, Some(why)) => Stand::Stuck(why.to_owned()),
        (None, None) => Stand::Waiting("it has no pod yet".to_owned()),
    }
}

/// The state of the container in which its command runs.
fn own_state(pod: &Value) -> &Value {
    let statuses = pod["status"]["containerStatuses"].as_array().into_iter().flatten();
    let own = statuses.into_iter().find(|status| status["name"] == CONTAINER);
    own.map_or(&Value::Null, |own| &own["state"])
}

/// Whether its command came to its own end before a moment: another container went on beside it.
fn ended_before(pod: &Value, moment: &Value) -> bool {
    let time = |text: &Value| text.as_str().and_then(|text| text.parse::<Timestamp>().ok());
    let ended = time(&own_state(pod)["terminated"]["finishedAt"]);
    ended.zip(time(moment)).is_some_and(|(ended, moment)| ended < moment)
}

fn by_pod(pod: &Value) -> Stand {
    let state = own_state(pod);
    if state["terminated"].is_object() {
        let name = pod["metadata"]["name"].as_str().map(str::to_owned);
        return Stand::Ended(ended(&state["terminated"]), name);
    }
    if matches!(pod["status"]["phase"].as_str(), Some("Failed" | "Succeeded")) {
        let reason = pod["status"]["reason"].as_str().unwrap_or("its pod is gone");
        return Stand::Broken(reason.to_owned());
    }
    if state["running"].is_object() {
        return Stand::Running;
    }
    if state["waiting"]["reason"] == "RunContainerError" {
        return Stand::Ended(not_started(), None);
    }
    match pod_obstacle(pod) {
        Some((why, true)) => Stand::Stuck(why),
        Some((why, false)) => Stand::Waiting(why),
        None => Stand::Waiting("its pod has not started yet".to_owned()),
    }
}

/// How a container ended, as a command on one machine would have.
fn ended(terminated: &Value) -> Ended {
    let number = |field: &str| terminated[field].as_i64().and_then(|number| i32::try_from(number).ok());
    let code = number("exitCode").unwrap_or_default();
    match (terminated["reason"].as_str(), number("signal")) {
        // The runtime could not start it: what it says may hold arguments.
        (Some("StartError" | "ContainerCannotRun"), _) => not_started(),
        (Some("OOMKilled"), _) => Ended::Signal(KILL),
        (_, Some(signal @ 1..)) => Ended::Signal(signal),
        _ if (BY_SIGNAL + 1..=BY_SIGNAL + LAST_SIGNAL).contains(&code) => Ended::Signal(code - BY_SIGNAL),
        _ => Ended::Code(code, String::new()),
    }
}

fn not_started() -> Ended {
    Ended::Code(NOT_STARTED[1], String::new())
}

/// Why a Job got no pod, in words that stay the same however often it is tried: a pod's name ends by chance.
pub(super) fn refusal(note: &str, job: &str) -> String {
    let beginning = format!("{job}-");
    let mut said = String::with_capacity(note.len());
    let mut rest = note;
    while let Some((before, after)) = rest.split_once(&beginning) {
        said.push_str(before);
        said.push_str(job);
        rest = after.trim_start_matches(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    }
    said.push_str(rest);
    said
}
