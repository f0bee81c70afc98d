//! What must hold between documents: names that lead somewhere, and what a schema cannot say. One file a subject.
//!
//! Must not know: how documents are read, the time.

mod flags;
mod gates;
mod people;
mod plans;
mod records;
mod stages;

use super::{
    BuildOptions, Desired, ProgramDesired,
    build::Documents,
    error::Problem,
    nearest::{nearest, one_of},
    parse::Document,
};
use crate::resources::{Kind, Source};

/// The route groups that can be kept online.
pub const ROUTE_GROUPS: &[&str] = &["privacy", "compliance", "auth", "flags", "health", "events"];

/// Checks every rule of every program, and fills in the order in which gates seal.
pub(super) fn check(desired: &mut Desired, documents: &Documents, options: &BuildOptions<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    for program in desired.programs.values_mut() {
        program.gate_order = gates::order(program, documents, &mut problems);
        let mut rules = Rules { program, documents, options, problems: &mut problems };
        rules.people();
        rules.cohorts();
        rules.flags();
        rules.gates();
        rules.stages();
        rules.plans();
        rules.records();
    }
    problems
}

/// The rules of one program.
pub(super) struct Rules<'a> {
    program: &'a ProgramDesired,
    documents: &'a Documents,
    options: &'a BuildOptions<'a>,
    problems: &'a mut Vec<Problem>,
}

impl<'a> Rules<'a> {
    fn document(&self, kind: Kind, name: &str) -> Option<&'a Document> {
        self.documents.get(kind, name)
    }

    fn problem(&mut self, document: Option<&Document>, pointer: &str, message: impl Into<String>) {
        if let Some(document) = document {
            self.problems.push(document.problem(pointer, message));
        }
    }

    /// A name that must be one of `known`.
    fn known<'n>(
        &mut self,
        document: Option<&Document>,
        pointer: &str,
        what: &str,
        name: &str,
        known: impl IntoIterator<Item = &'n str>,
    ) -> bool {
        let known: Vec<&str> = known.into_iter().collect();
        if known.contains(&name) {
            return true;
        }
        if let Some(document) = document {
            let mut problem = document.problem(pointer, format!("there is no {what} '{name}'"));
            if !known.is_empty() && known.len() <= 20 {
                problem = problem.expected(one_of(known.iter().copied()));
            }
            self.problems.push(problem.nearest(nearest(name, known)));
        }
        false
    }

    /// A name of a resource of the same program. One that stands in a broken document is no second mistake.
    fn resource(&mut self, document: Option<&Document>, pointer: &str, kind: Kind, name: &str) -> bool {
        let names: Vec<&'a str> = match kind {
            Kind::Cohort => self.program.cohorts.keys().map(String::as_str).collect(),
            Kind::Flag => self.program.flags.keys().map(String::as_str).collect(),
            Kind::Gate => self.program.gates.keys().map(String::as_str).collect(),
            Kind::Rollout => self.program.rollouts.keys().map(String::as_str).collect(),
            Kind::Workload => self.program.workloads.keys().map(String::as_str).collect(),
            Kind::Dataset => self.program.datasets.keys().map(String::as_str).collect(),
            _ => Vec::new(),
        };
        if !names.contains(&name) && self.documents.seen(kind, name) {
            return false;
        }
        let what = match kind {
            Kind::Flag => "flag with key".to_owned(),
            kind => kind.name().to_lowercase(),
        };
        self.known(
            document,
            pointer,
            &format!("{what} in program '{}'", self.program.name()).replace("with key in", "in"),
            name,
            names,
        )
    }

    fn person(&mut self, document: Option<&Document>, pointer: &str, name: &str) {
        let people = &self.program.program.spec.people;
        self.known(document, pointer, "person", name, people.keys().map(String::as_str));
    }

    fn file(&mut self, document: Option<&Document>, pointer: &str, path: &str) {
        if path.starts_with('/') || path.split('/').any(|part| part == "..") {
            self.problem(document, pointer, format!("'{path}' leads out of its folder"));
        } else if let Some(document) = document {
            let folder = document.file.rsplit_once('/').map_or("", |(folder, _)| folder);
            let full = if folder.is_empty() { path.to_owned() } else { format!("{folder}/{path}") };
            if !(self.options.file_exists)(&full) {
                self.problem(Some(document), pointer, format!("there is no file '{full}'"));
            }
        }
    }

    fn template(&mut self, document: Option<&Document>, pointer: &str, name: &str) {
        let exists = |ending: &str| (self.options.file_exists)(&format!("cohorts/templates/{name}.{ending}"));
        if !exists("txt") && !exists("html") {
            self.problem(document, pointer, format!("there is no template 'cohorts/templates/{name}.txt' (or .html)"));
        }
    }

    fn source(
        &mut self,
        document: Option<&Document>,
        pointer: &str,
        name: &str,
        wanted: &str,
        is: impl Fn(&Source) -> bool,
    ) {
        let sources = &self.program.program.spec.sources;
        match sources.get(name) {
            Some(source) if is(source) => {}
            Some(_) => self.problem(document, pointer, format!("source '{name}' is not {wanted}")),
            None => {
                let fitting = sources.iter().filter(|(_, source)| is(source)).map(|(name, _)| name.as_str());
                self.known(document, pointer, "source", name, fitting);
            }
        }
    }
}
