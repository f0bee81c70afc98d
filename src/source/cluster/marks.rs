//! What the bookkeeping of a resource says of who applied it: whether it came from Git, which version of its document, who else applies fields of it.
//!
//! Only kept where documents are brought from Git. Must not know: what Git says now, nor what is done about a difference.

use std::collections::{BTreeMap, BTreeSet, hash_map::DefaultHasher};
use std::hash::{Hash as _, Hasher as _};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::api::DynamicObject;
use serde_json::Value;

/// The field manager of what is brought from Git.
pub const GIT_MANAGER: &str = "betagate-git";
/// Says of a resource that it is brought from Git, with [`FROM_GIT`]: what has it is the inventory.
pub const FROM_GIT_LABEL: &str = "betagate.dev/source";
/// The value of [`FROM_GIT_LABEL`].
pub const FROM_GIT: &str = "git";
/// The annotation with the digest of what was applied last.
pub const APPLIED: &str = "betagate.dev/applied";
/// The annotation with the file in which the document stands.
pub const FILE: &str = "betagate.dev/file";

/// Our own field managers begin so.
const OWN: &str = "betagate-";
/// What `kubectl apply` writes for itself, as large as the whole resource.
const OF_KUBECTL: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// What the bookkeeping of a resource says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// It has the label of what is brought from Git, and Git's field manager applies it: a label alone may be copied.
    pub ours: bool,
    /// The digest of what was applied last.
    pub applied: Option<String>,
    /// The file in which its document stands.
    pub file: Option<String>,
    /// Its labels, where it is ours.
    pub labels: BTreeMap<String, String>,
    /// Its annotations, where it is ours.
    pub annotations: BTreeMap<String, String>,
    /// Who else applies fields of it, rather than having changed them once.
    pub others: BTreeSet<String>,
    /// Differs when somebody came to own a field, or gave one up.
    pub owners: u64,
    /// Differs when Git's field manager came to own a field, or lost one.
    pub owned: u64,
    /// Its `spec.suspend`.
    pub suspend: Option<Value>,
    /// That came from Git.
    pub suspended_by_git: bool,
}

impl Marks {
    /// Reads them.
    pub fn of(object: &DynamicObject) -> Self {
        let metadata = &object.metadata;
        let fields = metadata.managed_fields.as_deref().unwrap_or_default();
        // Of a status somebody else is asked.
        let fields: Vec<&ManagedFieldsEntry> = fields.iter().filter(|entry| entry.subresource.is_none()).collect();
        let applies = |entry: &&&ManagedFieldsEntry| entry.operation.as_deref() == Some("Apply");
        let by_git = fields.iter().filter(applies).find(|entry| entry.manager.as_deref() == Some(GIT_MANAGER));
        let others = fields.iter().filter(applies).filter_map(|entry| entry.manager.clone());
        let (labels, annotations) = (metadata.labels.as_ref(), metadata.annotations.as_ref());
        let labelled = labels.is_some_and(|labels| labels.get(FROM_GIT_LABEL).is_some_and(|value| value == FROM_GIT));
        let ours = labelled && by_git.is_some();
        let annotation = |name: &str| annotations.and_then(|all| all.get(name)).cloned();
        let owned = by_git.and_then(|entry| entry.fields_v1.as_ref()).map(|fields| &fields.0);
        let suspend = &object.data["spec"]["suspend"];
        Self {
            ours,
            applied: annotation(APPLIED),
            file: annotation(FILE),
            labels: labels.filter(|_| ours).cloned().unwrap_or_default(),
            annotations: annotations.filter(|_| ours).map(without_kubectls).unwrap_or_default(),
            others: others.filter(|manager| !manager.starts_with(OWN)).collect(),
            owners: hash(fields.iter().map(|entry| said(entry))),
            owned: hash(owned.map(Value::to_string).into_iter()),
            suspend: suspend.is_object().then(|| suspend.clone()),
            suspended_by_git: owned.is_some_and(|fields| !fields["f:spec"]["f:suspend"].is_null()),
        }
    }
}

fn without_kubectls(all: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    all.iter().filter(|(name, _)| *name != OF_KUBECTL).map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Without its time, which says nothing.
fn said(entry: &ManagedFieldsEntry) -> String {
    let fields = entry.fields_v1.as_ref().map(|fields| fields.0.to_string());
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    [text(&entry.manager), text(&entry.operation), fields.unwrap_or_default()].join(" ")
}

fn hash(texts: impl Iterator<Item = String>) -> u64 {
    let mut hasher = DefaultHasher::new();
    texts.for_each(|text| text.hash(&mut hasher));
    hasher.finish()
}
