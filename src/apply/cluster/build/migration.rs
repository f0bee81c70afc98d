//! The Job that runs to its end before pods of a new image are started: `migrate` of the document; for another version of betagate, its own
//! migration. betagate's very own image needs none: the controller migrated when it started.

use betagate_core::resources::WorkloadSpec;
use serde_json::{Map, json};

use super::{Described, It, Own, Sort, digest, is_own, pinned, pod};
use crate::apply::cluster::MIGRATES_LABEL;
use crate::apply::workloads::Wanted;

/// How often it is tried before it counts as failed.
const TRIES: u32 = 3;
/// How long it may take.
const DEADLINE_SECONDS: u32 = 1800;

/// Its name: another one for another image or command. None for an earlier revision: what a newer one migrated is not undone, and an older
/// migration would not know it.
pub(crate) fn job_name(wanted: &Wanted, own: &Own) -> Option<String> {
    if wanted.earlier {
        return None;
    }
    let spec = pinned(&wanted.spec, own);
    let command = command(&spec, own)?;
    let mut short = digest(&json!([spec.image, command]));
    short.truncate(8);
    Some(format!("{}-migrate-{short}", wanted.workload))
}

/// What runs, and whether that is betagate's own migration.
fn command(spec: &WorkloadSpec, own: &Own) -> Option<(Vec<String>, bool)> {
    if let Some(command) = &spec.migrate {
        return Some((command.clone(), false));
    }
    let another = spec.image.as_ref() != Some(&own.image);
    (is_own(spec, own) && another).then(|| (vec!["migrate".to_owned()], true))
}

pub(super) fn job(it: &It<'_>) -> Option<Described> {
    let name = job_name(it.wanted, it.own)?;
    let (command, own) = command(it.spec, it.own)?;
    let field = if own { "args" } else { "command" };
    let container = json!({ "name": "migrate", "image": it.spec.image, field: super::literals(&command) });
    let labels = it.labels();
    // Its pods are none that the Service reaches and the Deployment owns.
    let mut pod_labels: Map<_, _> =
        labels.clone().into_iter().filter(|(name, _)| name != super::WORKLOAD_LABEL).collect();
    pod_labels.insert(MIGRATES_LABEL.to_owned(), json!(it.name()));
    // Whatever the document's own command is, in betagate's image too: it is no part of betagate, and is given no key.
    let given = It { is_own: own, ..*it };
    let spec = json!({
        "backoffLimit": TRIES - 1,
        "activeDeadlineSeconds": DEADLINE_SECONDS,
        "template": { "metadata": { "labels": pod_labels }, "spec": pod(&given, container, "Never") },
    });
    Some(it.described(Sort::Job, name, labels, Map::new(), spec))
}
