//! What a revision of Git wants in a namespace: an object for each document, and the files that documents name where their resources look for them. Pure.
//!
//! Must not know: what is there, how anything is written.

use std::collections::BTreeMap;
use std::sync::Arc;

use betagate_core::desired::error::{Position, Problem};
use betagate_core::desired::{Written, written};
use betagate_core::resources::{API_VERSION, Kind};
use data_encoding::HEXLOWER;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::source::cluster::{APPLIED, FILE, FROM_GIT, FROM_GIT_LABEL, Key};
use crate::source::{File, Revision, Snapshot, is_document};

/// Labels and annotations of ours, which documents don't set.
const OWN: &str = "betagate.dev/";
/// Templates are looked for there, by whatever names them.
const TEMPLATES: &str = "cohorts/templates/";
/// So many digits of a digest tell what was applied.
const DIGITS: usize = 16;

/// A document of Git as an object of the namespace.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// Which.
    pub key: Key,
    /// The program it belongs to.
    pub program: String,
    /// The file in which it stands.
    pub file: Arc<str>,
    /// What is applied.
    pub body: Value,
    /// The digest of that.
    pub digest: String,
}

/// What a revision wants.
#[derive(Clone, Debug)]
pub struct Revised {
    /// Which revision.
    pub revision: Revision,
    /// Its objects.
    pub objects: BTreeMap<Key, Object>,
    /// The files, by the paths at which the resources name them.
    pub files: BTreeMap<String, File>,
}

impl Revised {
    /// Reads them out of a revision that holds by itself.
    ///
    /// # Errors
    /// What can't be in this namespace as it stands in the files.
    pub fn of(snapshot: &Snapshot, namespace: &str) -> Result<Self, Vec<Problem>> {
        let texts: Vec<_> =
            snapshot.documents().map(|(path, bytes)| (path, String::from_utf8_lossy(bytes).into_owned())).collect();
        let texts = texts.iter().map(|(path, text)| (*path, text.as_str()));
        let documents = written(texts, &|path| snapshot.files.contains_key(path));
        let mut revised =
            Self { revision: snapshot.revision.clone(), objects: BTreeMap::new(), files: BTreeMap::new() };
        let mut problems = Vec::new();
        for (path, file) in snapshot.files.iter().filter(|(path, _)| path.starts_with(TEMPLATES) && !is_document(path))
        {
            revised.files.insert(path.clone(), file.clone());
        }
        for document in documents {
            let problem = |field: &str, message: String| {
                Problem::new(&document.origin.file, Position::new(document.origin.line, 1), field, message)
            };
            let meant = document.document.pointer("/metadata/namespace").and_then(Value::as_str);
            if let Some(meant) = meant.filter(|meant| *meant != namespace) {
                let words = format!("it is for namespace {meant}, and this controller serves {namespace}");
                problems.push(problem("metadata.namespace", words));
            }
            if let Err(words) = revised.bring_file(snapshot, &document) {
                problems.push(problem("spec", words));
            }
            let object = object(&document);
            revised.objects.insert(object.key.clone(), object);
        }
        if !revised.objects.keys().any(|key| key.kind == Kind::Program) {
            // More often a mistake than a wish.
            let words = "the source holds no program: what is there goes on";
            problems.push(Problem::new("", Position::START, "", words));
        }
        if problems.is_empty() { Ok(revised) } else { Err(problems) }
    }

    /// The file that a document names, where its resource will look for it.
    fn bring_file(&mut self, snapshot: &Snapshot, document: &Written) -> Result<(), String> {
        let field = match document.kind {
            Kind::Cohort => "/spec/members/csv",
            Kind::Dataset => "/spec/file",
            _ => return Ok(()),
        };
        let Some(name) = document.document.pointer(field).and_then(Value::as_str) else { return Ok(()) };
        let (_, file) = snapshot.named_by(&document.origin.file, name).map_err(|error| error.to_string())?;
        let path = format!("{}/{}", document.kind.plural(), name.trim_start_matches("./"));
        match self.files.insert(path.clone(), file.clone()) {
            Some(other) if other.digest() != file.digest() => {
                Err(format!("two documents name a file {name}, and mean two: in a cluster both would be {path}"))
            }
            _ => Ok(()),
        }
    }

    /// The same as the cluster will tell it.
    pub fn as_told(&self) -> Snapshot {
        let documents = self.objects.values().map(|object| {
            let (path, text) = (object.key.path(), told(object).to_string());
            (path.clone(), File::of_bytes(&path, text.into_bytes()))
        });
        Snapshot::of_files(
            self.files.iter().map(|(path, file)| (path.clone(), file.clone())).chain(documents).collect(),
        )
    }
}

fn told(object: &Object) -> Value {
    json!({
        "apiVersion": API_VERSION,
        "kind": object.key.kind.name(),
        "metadata": { "name": object.key.name },
        "spec": object.body["spec"],
    })
}

fn object(document: &Written) -> Object {
    let texts = |field: &str| -> Map<String, Value> {
        let all = document.document.pointer(field).and_then(Value::as_object).into_iter().flatten();
        all.filter(|(name, _)| !name.starts_with(OWN)).map(|(name, text)| (name.clone(), text.clone())).collect()
    };
    let (mut labels, mut annotations) = (texts("/metadata/labels"), texts("/metadata/annotations"));
    labels.insert(FROM_GIT_LABEL.to_owned(), FROM_GIT.into());
    annotations.insert(FILE.to_owned(), json!(document.origin.file));
    let mut body = json!({
        "apiVersion": API_VERSION,
        "kind": document.kind.name(),
        "metadata": { "name": document.name, "labels": labels, "annotations": annotations },
        "spec": document.document.get("spec").cloned().unwrap_or_else(|| json!({})),
    });
    let mut digest = HEXLOWER.encode(&Sha256::digest(body.to_string().as_bytes()));
    digest.truncate(DIGITS);
    body["metadata"]["annotations"][APPLIED] = json!(digest);
    let key = Key { kind: document.kind, name: document.name.clone() };
    let program = match document.kind {
        Kind::Program => document.name.clone(),
        _ => body["spec"]["program"].as_str().unwrap_or_default().to_owned(),
    };
    Object { key, program, file: document.origin.file.clone(), body, digest }
}

#[cfg(test)]
#[path = "objects_tests.rs"]
mod tests;
