//! Puts it together: documents → shapes → specs → programs, then the rules. Nothing is answered unless everything holds.
//!
//! Must not know: the rules themselves (`rules`), files.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::{
    Desired, Origin, ProgramDesired, Resource, Revision,
    documents::Documents,
    error::{Problem, sorted},
    nearest::{nearest, one_of},
    parse::{Document, Parsed, parse},
    rules::{self, named_by},
};
use crate::resources::{
    API_VERSION, CohortSpec, DatasetSpec, FlagSpec, GateSpec, IncidentSpec, InviteSpec, Kind, RollbackPlanSpec,
    RolloutSpec, SignoffSpec, WorkloadSpec,
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

/// Reads a revision's documents and resolves them.
///
/// # Errors
/// Every problem of every document, by file and line; then nothing of the revision counts.
pub fn build<'a>(
    files: impl IntoIterator<Item = (&'a str, &'a str)>,
    revision: Revision,
    options: &BuildOptions<'_>,
) -> Result<Built, Vec<Problem>> {
    let (desired, problems) = survey(files, revision, options);
    if problems.iter().any(Problem::is_error) { Err(problems) } else { Ok(Built { desired, warnings: problems }) }
}

/// Reads a revision's documents and resolves them as far as can be: what of them is wrong is mended, left out, or said. Only for
/// looking at what else is wrong; nothing of it may count unless no problem is an error.
pub fn survey<'a>(
    files: impl IntoIterator<Item = (&'a str, &'a str)>,
    revision: Revision,
    options: &BuildOptions<'_>,
) -> (Desired, Vec<Problem>) {
    let mut problems = Vec::new();
    let mut documents = Documents::default();
    let mut all: Vec<(&str, Parsed)> = files.into_iter().map(|(file, text)| (file, parse(file, text))).collect();
    let rows = files_of_rows(&all, options);
    all.retain(|(file, _)| !rows.contains(*file));
    for (_, parsed) in all {
        parsed.broken.iter().for_each(|broken| documents.miss(broken));
        problems.extend(parsed.problems);
        for document in parsed.documents {
            documents.accept(document, &mut problems);
        }
    }
    let mut assembly = Assembly {
        programs: BTreeMap::new(),
        documents: &documents,
        options,
        keys: HashMap::new(),
        real: Vec::new(),
        problems: Vec::new(),
    };
    // Programs first, so that everything else finds its own whatever the order of files.
    for (kind, document) in documents.all().filter(|(kind, _)| *kind == Kind::Program) {
        assembly.insert(kind, document);
    }
    assembly.stand_in();
    for (kind, document) in documents.all().filter(|(kind, _)| *kind != Kind::Program) {
        assembly.insert(kind, document);
    }
    let Assembly { mut programs, problems: mut found, .. } = assembly;
    found.extend(rules::check(&mut programs, &documents, options));
    problems.extend(documents.without_consequences(found));
    programs.values_mut().for_each(|program| program.content = program.digest());
    let programs = programs.into_iter().map(|(name, program)| (name, Arc::new(program))).collect();
    (Desired { revision, programs }, sorted(problems))
}

/// A document as it stands in a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Written {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub origin: Origin,
    /// All of it.
    pub document: serde_json::Value,
}

/// The documents of a revision as they stand in its files, for whoever hands them on unchanged. Only what [`build`] has taken: what is wrong with a
/// document is not said here.
pub fn written<'a>(
    files: impl IntoIterator<Item = (&'a str, &'a str)>,
    file_exists: &dyn Fn(&str) -> bool,
) -> Vec<Written> {
    let mut all: Vec<(&str, Parsed)> = files.into_iter().map(|(file, text)| (file, parse(file, text))).collect();
    let rows = files_of_rows(&all, &BuildOptions { environment: None, default_prometheus: false, file_exists });
    all.retain(|(file, _)| !rows.contains(*file));
    let documents = all.into_iter().flat_map(|(_, parsed)| parsed.documents);
    let ours = documents.filter(|document| document.api_version.as_deref().is_none_or(|api| api == API_VERSION));
    let known = ours.filter_map(|document| {
        let kind = Kind::ALL.iter().copied().find(|kind| kind.name() == document.kind && *kind != Kind::Rollback)?;
        let origin = Origin { file: document.file.clone(), line: document.root.at.line };
        Some(Written { kind, origin, document: document.root.to_json(), name: document.name })
    });
    known.collect()
}

/// The JSON files that hold the rows of a dataset, and no documents.
fn files_of_rows(all: &[(&str, Parsed)], options: &BuildOptions<'_>) -> BTreeSet<String> {
    let documents = all.iter().flat_map(|(_, parsed)| &parsed.documents);
    let datasets = documents.filter(|document| document.kind == Kind::Dataset.name());
    let named = datasets.filter_map(|document| Some((document, document.root.at("/spec/file")?.text()?)));
    named.filter_map(|(document, name)| named_by(&document.file, name, options.file_exists)).collect()
}

/// Programs as they are put together.
struct Assembly<'a> {
    programs: BTreeMap<String, ProgramDesired>,
    documents: &'a Documents,
    options: &'a BuildOptions<'a>,
    /// Keys of flags, and where they stand.
    keys: HashMap<String, Origin>,
    /// The programs that there are, those included that could not be read.
    real: Vec<String>,
    problems: Vec<Problem>,
}

impl Assembly<'_> {
    /// An empty program for each that could not be read, so that what belongs to it is checked in the same run as far as it can be.
    /// It goes no further: the program's own problem refuses the revision.
    fn stand_in(&mut self) {
        let seen: Vec<String> = self.documents.programs_seen().cloned().collect();
        seen.iter().filter(|name| !name.is_empty()).for_each(|name| self.empty_program(name));
        let own = |name: &&String| !self.documents.given(Kind::Program, name) && !name.is_empty();
        self.real = self.programs.keys().filter(own).cloned().collect();
    }

    fn empty_program(&mut self, name: &str) {
        if let Ok(spec) = serde_json::from_value(serde_json::json!({ "timeZone": "UTC" })) {
            let origin = Origin { file: "".into(), line: 0 };
            let empty = || ProgramDesired::new(Resource { name: name.to_owned(), spec, origin });
            self.programs.entry(name.to_owned()).or_insert_with(empty);
        }
    }

    /// The program that a document belongs to. One that there is not is named; the document then goes where it was probably meant to
    /// be, for the sake of what else is wrong in it.
    fn home(&mut self, document: &Document, program: &str) -> String {
        if self.real.iter().any(|name| name == program) || self.documents.seen(Kind::Program, program) {
            self.empty_program(program);
            return program.to_owned();
        }
        let known = || self.real.iter().map(String::as_str);
        let near = nearest(program, known());
        let mut problem = document.problem("/spec/program", format!("there is no program '{program}'"));
        if !self.real.is_empty() {
            problem = problem.expected(one_of(known()));
        }
        let home = match (near, self.real.as_slice()) {
            (Some(near), _) => near.to_owned(),
            (None, [only]) => only.clone(),
            (None, _) => program.to_owned(),
        };
        self.problems.push(problem.nearest(near));
        self.empty_program(&home);
        home
    }

    /// Reads a document's `spec` into its type and puts it where it belongs.
    fn insert(&mut self, kind: Kind, document: &Document) {
        macro_rules! into {
            ($field:ident, $spec:ty) => {
                if let Some(resource) = read::<$spec>(document, &mut self.problems) {
                    let home = self.home(document, &resource.spec.program);
                    if let Some(program) = self.programs.get_mut(&home) {
                        program.$field.insert(document.name.clone(), resource);
                    }
                }
            };
        }
        match kind {
            Kind::Program => {
                if let Some(program) = read(document, &mut self.problems) {
                    self.programs.insert(document.name.clone(), ProgramDesired::new(program));
                }
            }
            Kind::Cohort => into!(cohorts, CohortSpec),
            Kind::Invite => into!(invites, InviteSpec),
            Kind::Flag => {
                if let Some(resource) = read::<FlagSpec>(document, &mut self.problems) {
                    self.insert_flag(document, resource);
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
    fn insert_flag(&mut self, document: &Document, mut resource: Resource<FlagSpec>) {
        let own = self.documents.given(Kind::Flag, &resource.name) && resource.spec.key.is_none();
        let mut key = resource.spec.key.clone().unwrap_or_else(|| resource.name.clone());
        if let Some(difference) =
            self.options.environment.and_then(|name| resource.spec.environments.get(name).cloned())
        {
            let spec = &mut resource.spec;
            spec.state = difference.state.unwrap_or(spec.state);
            spec.default_variant = difference.default_variant.or_else(|| spec.default_variant.take());
            spec.targeting = difference.targeting.or_else(|| spec.targeting.take());
        }
        if let Some(other) = self.keys.get(&key).filter(|_| !own) {
            let pointer = if resource.spec.key.is_some() { "/spec/key" } else { "/metadata/name" };
            let message = format!("flag key '{key}' is already taken in {}, line {}", other.file, other.line);
            // A document that is there twice is one mistake.
            if !self.documents.given(Kind::Flag, &resource.name) {
                self.problems.push(document.problem(pointer, message));
            }
            key = format!("{key} ({}:{})", document.file, document.root.at.line);
        }
        self.keys.insert(key.clone(), resource.origin.clone());
        let home = self.home(document, &resource.spec.program);
        if let Some(program) = self.programs.get_mut(&home) {
            program.flags.insert(key, resource);
        }
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
