//! Whether the API server lets people give their own word only, and since when: by the admission policy that the chart installs.
//!
//! What is trusted is what stands in the cluster, not that somebody meant to install it. Only who may write policies of the whole cluster could
//! deceive this, and they could speak as anyone anyway. Must not know: what a word is about.

use std::time::Duration;

use betagate_core::resources::{GROUP, Kind};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::admissionregistration::v1::{
    MatchResources, NamedRuleWithOperations, ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use kube::api::Api;

use super::Cluster;

/// A policy is in force a moment after it was written, and so is what it looks at: each API server reads it by itself.
pub const TAKES_HOLD: SignedDuration = SignedDuration::from_secs(10);
/// How long one question may take: a pass waits for it.
const PATIENCE: Duration = Duration::from_secs(5);
/// How a policy asks who it is.
const WHO_ASKS: &str = "request.userInfo.username";
/// By what the API server calls a namespace.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// What is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bound {
    /// Words are bound to whoever gives them, unchanged since then.
    Since(Timestamp),
    /// They are not, and why.
    Not(String),
    /// It can't be known now, and why.
    Unknown(String),
}

/// Asks the API server whether all the policies bind words in the namespace.
pub async fn bound(cluster: &Cluster) -> Bound {
    let mut all = None;
    for name in cluster.signoff_policies() {
        all = match (ask(cluster, name).await, all) {
            (Bound::Since(since), before) => before.max(Some(since)),
            (otherwise, _) => return otherwise,
        };
    }
    all.map_or_else(|| Bound::Not("no admission policy binds it to whoever applied it".to_owned()), Bound::Since)
}

async fn ask(cluster: &Cluster, name: &str) -> Bound {
    let policies: Api<ValidatingAdmissionPolicy> = Api::all(cluster.client().clone());
    let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(cluster.client().clone());
    let asked = async { tokio::try_join!(policies.get_opt(name), bindings.get_opt(name)) };
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Ok((policy, binding))) => judge(policy.as_ref(), binding.as_ref(), name, cluster.namespace()),
        Ok(Err(kube::Error::Api(status))) if status.code == 403 => {
            Bound::Not(format!("the controller may not look at the admission policy {name}"))
        }
        Ok(Err(kube::Error::Api(status))) => Bound::Unknown(format!("the API server answers {}", status.code)),
        Ok(Err(_)) | Err(_) => Bound::Unknown("the API server does not answer".to_owned()),
    }
}

fn judge(
    policy: Option<&ValidatingAdmissionPolicy>,
    binding: Option<&ValidatingAdmissionPolicyBinding>,
    name: &str,
    namespace: &str,
) -> Bound {
    let not = |why: &str| Bound::Not(format!("the admission policy {name} {why}"));
    let (Some(policy), Some(binding)) = (policy, binding) else {
        return not(if policy.is_none() { "is not there" } else { "is bound to nothing" });
    };
    if !asks_who_signs(policy) {
        return not("does not ask who gives a sign-off");
    }
    if !denies(binding, name, namespace) {
        return not(&format!("denies nothing in namespace {namespace}"));
    }
    match (unchanged_since(&policy.metadata), unchanged_since(&binding.metadata)) {
        (Some(policy), Some(binding)) => Bound::Since(policy.max(binding)),
        _ => not("is being changed"),
    }
}

/// Whether it looks at every sign-off that is written, and at who does it; what it can't judge is refused.
fn asks_who_signs(policy: &ValidatingAdmissionPolicy) -> bool {
    let Some(spec) = &policy.spec else { return false };
    let about = spec.match_constraints.as_ref();
    let all = about.is_some_and(|about| everything(about.namespace_selector.as_ref()) && looks_at_all(about));
    let rules = about.and_then(|about| about.resource_rules.as_ref()).into_iter().flatten();
    let writes = |rule: &NamedRuleWithOperations| {
        let has = |list: &Option<Vec<String>>, one: &str| list.iter().flatten().any(|it| it == one || it == "*");
        has(&rule.api_groups, GROUP)
            && has(&rule.resources, Kind::Signoff.plural())
            && has(&rule.operations, "CREATE")
            && has(&rule.operations, "UPDATE")
            && rule.resource_names.as_ref().is_none_or(Vec::is_empty)
    };
    let asks = spec.validations.iter().flatten().any(|one| one.expression.contains(WHO_ASKS));
    all && rules.into_iter().any(writes) && asks && spec.failure_policy.as_deref().is_none_or(|policy| policy == "Fail")
}

/// Whether the binding makes the policy refuse, in this namespace.
fn denies(binding: &ValidatingAdmissionPolicyBinding, name: &str, namespace: &str) -> bool {
    let Some(spec) = &binding.spec else { return false };
    let here = |about: &MatchResources| {
        let selector = about.namespace_selector.as_ref();
        let only = |selector: &LabelSelector| {
            let labels = selector.match_labels.iter().flatten();
            selector.match_expressions.as_ref().is_none_or(Vec::is_empty)
                && labels.into_iter().all(|(label, value)| label == NAME_LABEL && value == namespace)
        };
        selector.is_none_or(only) && looks_at_all(about)
    };
    spec.policy_name.as_deref() == Some(name)
        && spec.validation_actions.iter().flatten().any(|action| action == "Deny")
        && spec.match_resources.as_ref().is_none_or(here)
}

/// Whether it leaves nothing out by label or name.
fn looks_at_all(about: &MatchResources) -> bool {
    everything(about.object_selector.as_ref()) && about.exclude_resource_rules.as_ref().is_none_or(Vec::is_empty)
}

fn everything(selector: Option<&LabelSelector>) -> bool {
    selector.is_none_or(|selector| *selector == LabelSelector::default())
}

/// Since when it says what it says. Its first generation was made with it; later ones when somebody last wrote it.
fn unchanged_since(metadata: &ObjectMeta) -> Option<Timestamp> {
    if metadata.deletion_timestamp.is_some() {
        return None;
    }
    let made = metadata.creation_timestamp.as_ref()?.0;
    if metadata.generation == Some(1) {
        return Some(made);
    }
    let writes =
        metadata.managed_fields.iter().flatten().filter(|one| one.subresource.as_deref().unwrap_or_default() == "");
    let last = writes.filter_map(|one| one.time.as_ref()).map(|time| time.0).max();
    // Who wrote it must be known: else it may have been a moment ago.
    last.map(|last| last.max(made))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use serde_json::{Value, json};

    use super::*;

    fn policy() -> Value {
        json!({
            "metadata": { "name": "words", "generation": 1, "creationTimestamp": "2026-03-01T10:00:00Z" },
            "spec": {
                "failurePolicy": "Fail",
                "matchConstraints": { "namespaceSelector": {}, "objectSelector": {}, "resourceRules": [
                    { "apiGroups": ["betagate.dev"], "apiVersions": ["v1alpha1"], "resources": ["signoffs"], "operations": ["CREATE", "UPDATE"] } ] },
                "validations": [ { "expression": "request.userInfo.username in variables.users" } ],
            },
        })
    }

    fn binding() -> Value {
        json!({
            "metadata": { "name": "words", "generation": 1, "creationTimestamp": "2026-03-01T10:00:05Z" },
            "spec": { "policyName": "words", "validationActions": ["Deny"],
                "matchResources": { "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": "beta" } } } },
        })
    }

    fn judged(policy: Value, binding: Value) -> Bound {
        let policy: Option<ValidatingAdmissionPolicy> = serde_json::from_value(policy).unwrap();
        let binding: Option<ValidatingAdmissionPolicyBinding> = serde_json::from_value(binding).unwrap();
        judge(policy.as_ref(), binding.as_ref(), "words", "beta")
    }

    fn at(text: &str) -> Bound {
        Bound::Since(text.parse().unwrap())
    }

    #[test]
    fn words_are_bound_since_both_the_policy_and_its_binding_say_so() {
        assert_eq!(judged(policy(), binding()), at("2026-03-01T10:00:05Z"));
        let mut changed = policy();
        changed["metadata"]["generation"] = json!(3);
        changed["metadata"]["managedFields"] = json!([
            { "manager": "helm", "operation": "Update", "time": "2026-03-04T08:00:00Z" },
            { "manager": "controller", "operation": "Update", "subresource": "status", "time": "2026-03-09T08:00:00Z" } ]);
        assert_eq!(judged(changed.clone(), binding()), at("2026-03-04T08:00:00Z"), "a status binds nobody");
        changed["metadata"]["managedFields"] = json!([]);
        assert!(matches!(judged(changed, binding()), Bound::Not(_)), "nobody knows when it was changed");
    }

    #[test]
    fn whatever_lets_somebody_through_binds_nobody() {
        let cases = [
            ("no policy", "/", Value::Null, false),
            ("what it can't judge is let in", "/spec/failurePolicy", json!("Ignore"), false),
            (
                "updates are not looked at",
                "/spec/matchConstraints/resourceRules/0/operations",
                json!(["CREATE"]),
                false,
            ),
            ("other resources", "/spec/matchConstraints/resourceRules/0/resources", json!(["flags"]), false),
            (
                "labelled ones only",
                "/spec/matchConstraints/objectSelector",
                json!({ "matchLabels": { "a": "b" } }),
                false,
            ),
            ("nobody is asked", "/spec/validations/0/expression", json!("true"), false),
            ("it is being deleted", "/metadata/deletionTimestamp", json!("2026-03-02T10:00:00Z"), false),
            ("no binding", "/", Value::Null, true),
            ("it only warns", "/spec/validationActions", json!(["Warn", "Audit"]), true),
            ("another policy", "/spec/policyName", json!("flags"), true),
            (
                "another namespace",
                "/spec/matchResources/namespaceSelector/matchLabels/kubernetes.io~1metadata.name",
                json!("other"),
                true,
            ),
        ];
        for (case, path, value, of_binding) in cases {
            let (mut policy, mut binding) = (policy(), binding());
            let changed = if of_binding { &mut binding } else { &mut policy };
            match changed.pointer_mut(path) {
                Some(place) => *place = value,
                None if path == "/" => *changed = value,
                None => changed["metadata"]["deletionTimestamp"] = value,
            }
            assert!(matches!(judged(policy, binding), Bound::Not(_)), "{case}");
        }
    }
}
