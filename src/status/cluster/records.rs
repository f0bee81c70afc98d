//! Sign-offs and incidents that came in elsewhere (over HTTP, on a command line) as resources for people to see. The row of the database is what counts;
//! the resource is written again when it is deleted, and taken away when the row is no more to be shown.
//!
//! Where somebody changed what such a resource says, that is what counts from then on: its marks are taken off, and it is a document like any other.
//! What was said elsewhere of an incident that somebody declared is written into its resource, field by field, as a flag's default is.
//! Must not know: which rows are shown.

use betagate_core::resources::API_VERSION;
use serde_json::{Value, json};

use super::{What, Wish, Write, owners};
use crate::source::cluster::{Key, RECORDED_ANNOTATION, RECORDED_LABEL, Watched, digest};

/// A row as a resource.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Where it came in: `api`, `cli`, `alertmanager`.
    pub source: String,
    /// What it says.
    pub spec: Value,
}

/// What differs from what was seen. A resource that somebody else declared under the name of a record is left alone.
pub(super) fn writes(watched: &Watched, wish: &Wish) -> Vec<Write> {
    let differing = wish.records.iter().filter_map(|(key, record)| match watched.resource(key.kind, &key.name) {
        None => Some(written(watched, key, record)),
        Some(seen) => {
            let other = seen.recorded.as_ref().is_some_and(|said| *said != digest(&record.spec));
            (other && !seen.deleting).then(|| written(watched, key, record))
        }
    });
    let taken_over = wish.taken_over.iter().filter_map(|key| {
        let seen = watched.resource(key.kind, &key.name).filter(|seen| seen.taken_over && !seen.deleting)?;
        Some(without_marks(key, &seen.uid))
    });
    let withdrawn = wish.withdrawn.iter().filter_map(|key| {
        let seen = watched.resource(key.kind, &key.name).filter(|seen| seen.recorded.is_some() && !seen.deleting)?;
        Some(Write { key: key.clone(), body: Value::Null, what: What::Withdrawn(seen.uid.clone()) })
    });
    let said_elsewhere = wish.said_elsewhere.iter().filter_map(|(key, fields)| {
        let seen = watched.resource(key.kind, &key.name).filter(|seen| seen.recorded.is_none() && !seen.deleting)?;
        let metadata = json!({ "name": key.name, "uid": seen.uid });
        let body = json!({ "apiVersion": API_VERSION, "kind": key.kind.name(), "metadata": metadata, "spec": fields });
        Some(Write { key: key.clone(), body, what: What::SaidElsewhere })
    });
    differing.chain(said_elsewhere).chain(taken_over).chain(withdrawn).collect()
}

fn written(watched: &Watched, key: &Key, Record { source, spec }: &Record) -> Write {
    let body = json!({
        "apiVersion": API_VERSION,
        "kind": key.kind.name(),
        "metadata": {
            "name": key.name,
            "labels": { RECORDED_LABEL: source },
            "annotations": { RECORDED_ANNOTATION: digest(spec) },
            "ownerReferences": owners(watched, spec),
        },
        "spec": spec,
    });
    Write { key: key.clone(), body, what: What::Record }
}

fn without_marks(key: &Key, uid: &str) -> Write {
    let marks = json!({ "uid": uid, "labels": { RECORDED_LABEL: null }, "annotations": { RECORDED_ANNOTATION: null } });
    Write { key: key.clone(), body: json!({ "metadata": marks }), what: What::TakenOver }
}
