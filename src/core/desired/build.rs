//! Puts it together: documents → shapes → specs → programs, then the rules. Nothing is answered unless everything holds.
//!
//! Must not know: the rules themselves (`rules`), files.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::de::DeserializeOwned;

use super::{
    Desired, Origin, ProgramDesired, Resource, Revision,
    error::{Problem, sorted},
    nearest::{nearest, one_of},
    parse::{Document, parse},
    rules, shape,
};
use crate::resources::{
    CohortSpec, DatasetSpec, FORMATS, FlagSpec, GateSpec, IncidentSpec, InviteSpec, Kind, RollbackPlanSpec,
    RolloutSpec, SignoffSpec, WorkloadSpec, schema,
};

/// What `build` cannot know by itself.
pub struct BuildOptions<'a> {
    /// The environment whose differences count.
    pub environment: Option<&'a str>,
    /// A Prometheus server is given from outside (`PROM_URL`), for checks that name none.
    pub default_prometheus: bool,
    /// Whether a file that a document names exists, by its path from the source's root.
    pub file_exists: &'a dyn Fn(&str) -> bool,
}

/// What came of a revision that can be taken.
#[derive(Debug)]
pub struct Built {
    /// The resources, resolved.
    pub desired: Desired,
    /// What is worth saying all the same.
    pub warnings: Vec<Problem>,
}

/// The documents of a revision, found by kind and name.
#[derive(Default)]
pub(super) struct Documents {
    all: Vec<Document>,
    by_name: HashMap<(Kind, String), usize>,
    /// Where each name first stood, in a sound document or not.
    first: HashMap<(Kind, String), Origin>,
    /// Names that stand in some document, be it sound or not: a reference to a broken document is no second mistake.
    seen: HashSet<(Kind, String)>,
}

impl Documents {
    pub(super) fn get(&self, kind: Kind, name: &str) -> Option<&Document> {
        self.by_name.get(&(kind, name.to_owned())).and_then(|place| self.all.get(*place))
    }

    pub(super) fn seen(&self, kind: Kind, name: &str) -> bool {
        self.seen.contains(&(kind, name.to_owned()))
    }

    /// Whether the document of this name, or of the flag with this key, could be taken and has its program.
    pub(super) fn sound(&self, kind: Kind, name: &str) -> bool {
        let text =
            |document: &Document, field: &str| document.root.at(field).and_then(|it| it.text()).map(str::to_owned);
        let keyed =
            |document: &&Document| document.kind == "Flag" && text(document, "/spec/key").as_deref() == Some(name);
        let found = match kind {
            Kind::Flag => self.all.iter().find(keyed).or_else(|| self.get(kind, name)),
            kind => self.get(kind, name),
        };
        let program = found.and_then(|document| text(document, "/spec/program"));
        program.is_some_and(|program| self.get(Kind::Program, &program).is_some())
    }

    fn see(&mut self, kind: Kind, document: &Document) {
        self.seen.insert((kind, document.name.clone()));
        if let Some(key) = document.root.get("spec").and_then(|spec| spec.get("key")).and_then(|key| key.text()) {
            self.seen.insert((kind, key.to_owned()));
        }
    }
}

/// Reads a revision's documents and resolves them.
///
/// # Errors
/// Every problem of every document, by file and line; then nothing of the revision counts.
pub fn build<'a>(
    files: impl IntoIterator<Item = (&'a str, &'a str)>,
    revision: Revision,
    options: &BuildOptions<'_>,
) -> Result<Built, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut documents = Documents::default();
    let mut kinds = Vec::new();
    for (file, text) in files {
        let parsed = parse(file, text);
        for broken in &parsed.broken {
            let kind = broken.kind.as_deref().and_then(|kind| kind.parse::<Kind>().ok());
            documents.seen.extend(kind.zip(broken.name.clone()));
        }
        problems.extend(parsed.problems);
        for document in parsed.documents {
            if let Some(kind) = kind_of(&document, &mut problems) {
                accept(kind, document, &mut documents, &mut kinds, &mut problems);
            }
        }
    }
    let mut desired = Desired { revision, programs: BTreeMap::new() };
    let mut orphans = Vec::new();
    let mut keys = HashMap::new();
    // Programs first, so that everything else finds its own whatever the order of files.
    for pass in [true, false] {
        if !pass {
            stand_in(&documents, &mut desired);
        }
        for (kind, document) in kinds.iter().zip(&documents.all).filter(|(kind, _)| (**kind == Kind::Program) == pass) {
            insert(*kind, document, options, &mut desired, &mut keys, &mut orphans, &mut problems);
        }
    }
    for (document, program) in orphans {
        if !documents.seen(Kind::Program, &program) {
            let known: Vec<&str> = desired.programs.keys().map(String::as_str).collect();
            let mut problem = document.problem("/spec/program", format!("there is no program '{program}'"));
            if !known.is_empty() {
                problem = problem.expected(one_of(known.iter().copied()));
            }
            problems.push(problem.nearest(nearest(&program, known)));
        }
    }
    problems.extend(rules::check(&mut desired, &documents, options));
    let problems = sorted(problems);
    if problems.iter().any(Problem::is_error) { Err(problems) } else { Ok(Built { desired, warnings: problems }) }
}

/// An empty program for each that could not be read, so that what belongs to it is checked in the same run as far as it can be.
/// It goes no further: the program's own problem refuses the revision.
fn stand_in(documents: &Documents, desired: &mut Desired) {
    for (_, name) in documents.seen.iter().filter(|(kind, _)| *kind == Kind::Program) {
        if let Ok(spec) = serde_json::from_value(serde_json::json!({ "timeZone": "UTC" })) {
            let origin = Origin { file: "".into(), line: 0 };
            let empty = || ProgramDesired::new(Resource { name: name.clone(), spec, origin });
            desired.programs.entry(name.clone()).or_insert_with(empty);
        }
    }
}

fn kind_of(document: &Document, problems: &mut Vec<Problem>) -> Option<Kind> {
    let group = document.api_version.as_deref().unwrap_or(crate::resources::API_VERSION);
    if !group.starts_with("betagate.dev/") {
        problems.push(
            document.problem("/apiVersion", format!("'{group}' is not betagate's; the document is left out")).warning(),
        );
        return None;
    }
    if group != crate::resources::API_VERSION {
        let problem = document.problem("/apiVersion", format!("there is no version '{group}'"));
        problems.push(problem.expected(crate::resources::API_VERSION));
        return None;
    }
    let found = Kind::ALL.iter().find(|kind| kind.name() == document.kind).copied();
    match found {
        None => {
            let written = Kind::ALL.iter().filter(|kind| **kind != Kind::Rollback).map(|kind| kind.name());
            let names: Vec<&str> = written.collect();
            let problem = document.problem("/kind", format!("there is no kind '{}'", document.kind));
            let problem = problem.expected(one_of(names.iter().copied()));
            problems.push(problem.nearest(nearest(&document.kind, names)));
            None
        }
        Some(Kind::Rollback) => {
            problems.push(
                document.problem(
                    "/kind",
                    "a Rollback is written by the controller; start one with `betagate rollback start`",
                ),
            );
            None
        }
        found => found,
    }
}

fn accept(
    kind: Kind,
    document: Document,
    documents: &mut Documents,
    kinds: &mut Vec<Kind>,
    problems: &mut Vec<Problem>,
) {
    documents.see(kind, &document);
    let found = shape::check(&document, schema(kind), FORMATS);
    let sound = !found.iter().any(Problem::is_error);
    problems.extend(found);
    let key = (kind, document.name.clone());
    if document.name.is_empty() {
        return;
    }
    if let Some(other) = documents.first.get(&key) {
        let message = format!("there is already a {kind} '{}' in {}, line {}", document.name, other.file, other.line);
        problems.push(document.problem("/metadata/name", message));
        return;
    }
    documents.first.insert(key.clone(), Origin { file: document.file.clone(), line: document.root.at.line });
    if sound {
        documents.by_name.insert(key, documents.all.len());
        documents.all.push(document);
        kinds.push(kind);
    }
}

/// Reads a document's `spec` into its type and puts it where it belongs.
fn insert<'d>(
    kind: Kind,
    document: &'d Document,
    options: &BuildOptions<'_>,
    desired: &mut Desired,
    keys: &mut HashMap<String, Origin>,
    orphans: &mut Vec<(&'d Document, String)>,
    problems: &mut Vec<Problem>,
) {
    macro_rules! into {
        ($field:ident, $spec:ty) => {
            if let Some(resource) = read::<$spec>(document, problems) {
                match desired.programs.get_mut(&resource.spec.program) {
                    Some(program) => {
                        program.$field.insert(document.name.clone(), resource);
                    }
                    None => orphans.push((document, resource.spec.program)),
                }
            }
        };
    }
    match kind {
        Kind::Program => {
            if let Some(program) = read(document, problems) {
                desired.programs.insert(document.name.clone(), ProgramDesired::new(program));
            }
        }
        Kind::Cohort => into!(cohorts, CohortSpec),
        Kind::Invite => into!(invites, InviteSpec),
        Kind::Flag => {
            if let Some(resource) = read::<FlagSpec>(document, problems) {
                insert_flag(document, resource, options, desired, keys, orphans, problems);
            }
        }
        Kind::Gate => into!(gates, GateSpec),
        Kind::Rollout => into!(rollouts, RolloutSpec),
        Kind::RollbackPlan => into!(plans, RollbackPlanSpec),
        Kind::Incident => into!(incidents, IncidentSpec),
        Kind::Signoff => into!(signoffs, SignoffSpec),
        Kind::Workload => into!(workloads, WorkloadSpec),
        Kind::Dataset => into!(datasets, DatasetSpec),
        Kind::Rollback => {}
    }
}

/// Flags stand under their key, which is unique over all programs, with the environment's differences in place.
fn insert_flag<'d>(
    document: &'d Document,
    mut resource: Resource<FlagSpec>,
    options: &BuildOptions<'_>,
    desired: &mut Desired,
    keys: &mut HashMap<String, Origin>,
    orphans: &mut Vec<(&'d Document, String)>,
    problems: &mut Vec<Problem>,
) {
    let key = resource.spec.key.clone().unwrap_or_else(|| resource.name.clone());
    if let Some(difference) = options.environment.and_then(|name| resource.spec.environments.get(name).cloned()) {
        let spec = &mut resource.spec;
        spec.state = difference.state.unwrap_or(spec.state);
        spec.default_variant = difference.default_variant.or_else(|| spec.default_variant.take());
        spec.targeting = difference.targeting.or_else(|| spec.targeting.take());
    }
    if let Some(other) = keys.get(&key) {
        let pointer = if resource.spec.key.is_some() { "/spec/key" } else { "/metadata/name" };
        let message = format!("flag key '{key}' is already taken in {}, line {}", other.file, other.line);
        problems.push(document.problem(pointer, message));
        return;
    }
    keys.insert(key.clone(), resource.origin.clone());
    match desired.programs.get_mut(&resource.spec.program) {
        Some(program) => {
            program.flags.insert(key, resource);
        }
        None => orphans.push((document, resource.spec.program)),
    }
}

fn read<S: DeserializeOwned>(document: &Document, problems: &mut Vec<Problem>) -> Option<Resource<S>> {
    let spec = document.root.get("spec")?.to_json();
    match serde_path_to_error::deserialize(spec) {
        Ok(spec) => {
            let origin = Origin { file: document.file.clone(), line: document.root.at.line };
            Some(Resource { name: document.name.clone(), spec, origin })
        }
        Err(error) => {
            let mut pointer = "/spec".to_owned();
            for segment in error.path() {
                use serde_path_to_error::Segment;
                match segment {
                    Segment::Seq { index } => pointer += &format!("/{index}"),
                    Segment::Map { key } => pointer += &format!("/{}", key.replace('~', "~0").replace('/', "~1")),
                    Segment::Enum { variant } => pointer += &format!("/{variant}"),
                    Segment::Unknown => {}
                }
            }
            problems.push(document.problem(&pointer, error.inner().to_string()));
            None
        }
    }
}
