//! What a resource's status says, after kstatus: `Accepted`, `Ready`, `Reconciling`, `Stalled`. Pure.
//!
//! Must not know: how it is written.

use betagate_core::desired::settle::Standing;
use betagate_core::resources::{Condition, ResourceStatus};
use jiff::Timestamp;
use serde_json::Value;

/// The longest message: a status is looked at by every watch.
const LONGEST: usize = 1000;
/// A person asked for the deletion, and it waits.
const DELETING: &str = "Deleting";

/// What is to be said of a resource, without the times of its conditions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Wanted {
    /// The generation that this is about.
    pub generation: Option<i64>,
    /// Its state in a word.
    pub state: Option<String>,
    /// In a line.
    pub summary: Option<String>,
    /// What a run holds.
    pub holds: Vec<String>,
    /// How its document stands.
    pub standing: Option<Standing>,
    /// Its deletion was asked for.
    pub deleting: bool,
    /// Whether its deletion is to wait for what it made to be taken back; none leaves that as it is.
    pub waits: Option<bool>,
    /// Whether the program it belongs to was decided with it.
    pub decided: bool,
    /// Whether it is as Git says, where there is something to say of that.
    pub applied: Option<Applied>,
    /// How many of a workload run.
    pub replicas: Option<u32>,
    /// Which pods are a workload's.
    pub selector: Option<String>,
}

/// The condition `Applied`: whether a resource that is brought from Git is as Git says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Applied {
    /// True, False or Unknown.
    pub status: &'static str,
    /// In a word.
    pub reason: String,
    /// In a line.
    pub message: String,
}

/// A condition without its time.
type Said = (&'static str, &'static str, String, String);

impl Wanted {
    /// The status, if it differs from the one that is there. A condition that stays keeps its time.
    pub fn differing(&self, live: &Value, now: Timestamp) -> Option<ResourceStatus> {
        let known: ResourceStatus = serde_json::from_value(live.clone()).unwrap_or_default();
        let from_git = self.applied.iter().map(|it| ("Applied", it.status, it.reason.clone(), it.message.clone()));
        let conditions = self.conditions().into_iter().chain(from_git).map(|(r#type, status, reason, message)| {
            let before = known.conditions.iter().find(|before| before.r#type == r#type && before.status == status);
            Condition {
                r#type: r#type.to_owned(),
                status: status.to_owned(),
                reason,
                message: short(message),
                // To the second, as every other controller writes it.
                last_transition_time: before
                    .map_or_else(|| format!("{now:.0}"), |before| before.last_transition_time.clone()),
            }
        });
        let (state, summary) = self.in_a_line();
        let status = ResourceStatus {
            observed_generation: self.generation,
            state,
            summary: summary.map(short),
            holds: self.holds.clone(),
            conditions: conditions.collect(),
            replicas: self.replicas,
            selector: self.selector.clone(),
        };
        (status != known).then_some(status)
    }

    /// What `kubectl get` shows: where a change does not count, why not.
    fn in_a_line(&self) -> (Option<String>, Option<String>) {
        let (word, why, goes_on) = match &self.standing {
            Some(Standing::Refused { why, kept }) => ("Invalid", why, *kept),
            Some(Standing::Pending { why, kept }) => ("Pending", why, *kept),
            _ => return (self.state.clone(), self.summary.clone()),
        };
        let state = self.state.clone().unwrap_or_else(|| word.to_owned());
        (Some(state), Some(still(why, goes_on)))
    }

    fn conditions(&self) -> Vec<Said> {
        let said = |kind, yes: bool, reason: &str, message: &str| -> Said {
            (kind, if yes { "True" } else { "False" }, reason.to_owned(), message.to_owned())
        };
        let summary = self.summary.clone().unwrap_or_default();
        let state = self.state.clone().unwrap_or_else(|| "CarriedOut".to_owned());
        if self.deleting {
            let gone = "its deletion was asked for; what it made is taken back first";
            return vec![
                said("Ready", false, DELETING, &summary),
                said("Reconciling", true, DELETING, gone),
                said("Stalled", false, DELETING, ""),
            ];
        }
        match &self.standing {
            Some(Standing::Refused { why, kept }) => {
                let why = still(why, *kept);
                vec![
                    said("Accepted", false, "Invalid", &why),
                    said("Ready", false, "Invalid", &why),
                    said("Reconciling", false, "Invalid", ""),
                    said("Stalled", true, "Invalid", &why),
                ]
            }
            Some(Standing::Pending { why, kept }) => {
                let why = still(why, *kept);
                vec![
                    said("Accepted", false, "ReferenceMissing", &why),
                    said("Ready", false, "ReferenceMissing", &why),
                    said("Reconciling", true, "ReferenceMissing", &why),
                    said("Stalled", false, "ReferenceMissing", ""),
                ]
            }
            _ if !self.decided => vec![
                said("Accepted", true, "Accepted", ""),
                said("Ready", false, "Deciding", ""),
                said("Reconciling", true, "Deciding", ""),
                said("Stalled", false, "Deciding", ""),
            ],
            standing => {
                let accepted = match standing {
                    Some(Standing::Lingers(why)) => said("Accepted", true, "ReferenceDeleted", why),
                    _ => said("Accepted", true, "Accepted", ""),
                };
                // What still rolls out is on its way, and what is stalled waits for somebody; what is held, closed or failed is as it should be.
                let (rolls, stalled) = (state == "Rolling", state == "Stalled");
                let ready = !rolls && !stalled;
                let reason = if ready { "Steady" } else { state.as_str() };
                let why = if stalled { summary.as_str() } else { "" };
                vec![
                    accepted,
                    said("Ready", ready, &state, &summary),
                    said("Reconciling", rolls, reason, ""),
                    said("Stalled", stalled, reason, why),
                ]
            }
        }
    }
}

/// Whether a status says that a condition holds, if it says anything of it.
pub fn says(status: &ResourceStatus, kind: &str) -> Option<bool> {
    status.conditions.iter().find(|condition| condition.r#type == kind).map(|condition| condition.status == "True")
}

fn still(why: &str, kept: bool) -> String {
    if kept { format!("{why}; what it said before goes on") } else { why.to_owned() }
}

fn short(text: String) -> String {
    if text.chars().count() <= LONGEST {
        return text;
    }
    let mut cut: String = text.chars().take(LONGEST - 1).collect();
    cut.push('…');
    cut
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn condition<'a>(status: &'a ResourceStatus, kind: &str) -> &'a Condition {
        status.conditions.iter().find(|condition| condition.r#type == kind).unwrap()
    }

    #[test]
    fn a_status_that_says_the_same_is_not_written_again() {
        let wanted = Wanted {
            generation: Some(2),
            state: Some("Open".to_owned()),
            summary: Some("the current stage lists it".to_owned()),
            standing: Some(Standing::Accepted),
            decided: true,
            ..Wanted::default()
        };
        let first = wanted.differing(&Value::Null, at(10)).unwrap();
        assert_eq!(condition(&first, "Ready").status, "True");
        assert_eq!(condition(&first, "Ready").reason, "Open");
        let live = serde_json::to_value(&first).unwrap();
        assert_eq!(wanted.differing(&live, at(99)), None);
    }

    #[test]
    fn a_condition_keeps_its_time_until_it_turns() {
        let accepted = Wanted { standing: Some(Standing::Accepted), decided: true, ..Wanted::default() };
        let first = serde_json::to_value(accepted.differing(&Value::Null, at(10)).unwrap()).unwrap();
        let refused = Standing::Refused { why: "no".to_owned(), kept: true };
        let refused = Wanted { generation: Some(2), standing: Some(refused), ..accepted.clone() };
        let second = refused.differing(&first, at(20)).unwrap();
        assert_eq!(second.summary.as_deref(), Some("no; what it said before goes on"), "kubectl get says so too");
        assert_eq!(condition(&second, "Ready").last_transition_time, "1970-01-01T00:00:20Z");
        assert_eq!(condition(&second, "Reconciling").last_transition_time, "1970-01-01T00:00:10Z");
        assert!(condition(&second, "Stalled").message.contains("what it said before goes on"));
        let third = Wanted { generation: Some(3), ..refused };
        let third = third.differing(&serde_json::to_value(&second).unwrap(), at(30)).unwrap();
        assert_eq!(condition(&third, "Stalled").last_transition_time, "1970-01-01T00:00:20Z");
    }

    #[test]
    fn what_rolls_is_on_its_way_and_what_is_stalled_waits_for_somebody() {
        let said = |state: &str| {
            let wanted = Wanted {
                state: Some(state.to_owned()),
                summary: Some("the image is nowhere".to_owned()),
                standing: Some(Standing::Accepted),
                decided: true,
                ..Wanted::default()
            };
            let status = wanted.differing(&Value::Null, at(1)).unwrap();
            ["Ready", "Reconciling", "Stalled"].map(|kind| says(&status, kind).unwrap())
        };
        assert_eq!(said("Rolling"), [false, true, false]);
        assert_eq!(said("Stalled"), [false, false, true]);
        assert_eq!(said("Held"), [true, false, false]);
    }

    #[test]
    fn a_status_that_somebody_else_spoilt_is_put_right() {
        let wanted = Wanted { standing: Some(Standing::Accepted), decided: true, ..Wanted::default() };
        let spoilt = serde_json::json!({ "conditions": [ { "type": "Ready", "status": "Unknown" } ] });
        assert!(wanted.differing(&spoilt, at(1)).is_some());
    }
}
