//! What must hold between documents: names that lead somewhere, and what a schema cannot say. One file a subject.
//!
//! Must not know: how documents are read, the time.

mod checklists;
mod datasets;
mod flags;
mod gates;
mod people;
mod plan_steps;
mod plans;
mod records;
mod requires;
mod results;
mod schedules;
mod stages;
#[cfg(test)]
mod tests;
mod thresholds;

pub use gates::KPIS;

use std::collections::BTreeMap;

use super::{
    BuildOptions, ProgramDesired,
    documents::{Documents, written},
    error::Problem,
    nearest::{nearest, one_of},
    parse::Document,
};
use crate::resources::{Kind, LONGEST_JOB, Source, Span};

/// A name as it stands in a JSON pointer.
fn token(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// Whether a text can be the name of an environment variable.
fn is_variable(name: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || c == '_';
    !name.is_empty() && name.chars().all(good) && !name.starts_with(|c: char| c.is_ascii_digit())
}

/// The path of a file that a document names: beside the document, else in its root folder, else from the top.
pub(super) fn named_by(document: &str, path: &str, exists: &dyn Fn(&str) -> bool) -> Option<String> {
    let own = document.rsplit_once('/').map_or("", |(folder, _)| folder);
    let root = document.split_once('/').map_or("", |(folder, _)| folder);
    let name = path.trim_start_matches("./");
    [own, root, ""].into_iter().map(|folder| below(folder, name)).find(|path| exists(path))
}

fn below(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

/// The route groups that can be kept online.
pub const ROUTE_GROUPS: &[&str] = &["privacy", "compliance", "auth", "flags", "health", "events"];

/// Checks every rule of every program, and fills in the order in which gates seal.
pub(super) fn check(
    programs: &mut BTreeMap<String, ProgramDesired>,
    documents: &Documents,
    options: &BuildOptions<'_>,
) -> Vec<Problem> {
    let mut problems = flags::compiled(programs, documents);
    for program in programs.values_mut() {
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
    datasets::one_a_table(programs, documents, &mut problems);
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
        self.unknown(document, pointer, format!("there is no {what} '{name}'"), name, known)
    }

    /// A name that leads nowhere, with what could have stood there. Always false, as the answer to whether it is known.
    fn unknown(
        &mut self,
        document: Option<&Document>,
        pointer: &str,
        message: String,
        name: &str,
        known: Vec<&str>,
    ) -> bool {
        if let Some(document) = document {
            let mut problem = document.problem(pointer, message);
            if !known.is_empty() && known.len() <= 20 {
                problem = problem.expected(one_of(known.iter().copied()));
            }
            self.problems.push(problem.nearest(nearest(name, known)));
        }
        false
    }

    /// A name of a resource of the same program. One that stands in a broken document is no second mistake.
    fn resource(&mut self, document: Option<&Document>, pointer: &str, kind: Kind, name: &str) -> bool {
        let there = match kind {
            Kind::Cohort => self.program.cohorts.contains_key(name),
            Kind::Flag => self.program.flags.contains_key(name),
            Kind::Gate => self.program.gates.contains_key(name),
            Kind::Rollout => self.program.rollouts.contains_key(name),
            Kind::RollbackPlan => self.program.plans.contains_key(name),
            Kind::Workload => self.program.workloads.contains_key(name),
            Kind::Dataset => self.program.datasets.contains_key(name),
            _ => false,
        };
        if there {
            return true;
        }
        let mut names: Vec<&'a str> = match kind {
            Kind::Cohort => self.program.cohorts.keys().map(String::as_str).collect(),
            Kind::Flag => self.program.flags.keys().map(String::as_str).collect(),
            Kind::Gate => self.program.gates.keys().map(String::as_str).collect(),
            Kind::Rollout => self.program.rollouts.keys().map(String::as_str).collect(),
            Kind::RollbackPlan => self.program.plans.keys().map(String::as_str).collect(),
            Kind::Workload => self.program.workloads.keys().map(String::as_str).collect(),
            Kind::Dataset => self.program.datasets.keys().map(String::as_str).collect(),
            _ => Vec::new(),
        };
        names.retain(|name| written(name));
        // One of another program is there, but not for this one; nobody knows what belongs to a program that could not be read.
        let own = self.program.name();
        let loose = self.documents.get(Kind::Program, own).is_none() || self.documents.given(Kind::Program, own);
        if self.documents.seen(kind, name) && (loose || !self.documents.sound(kind, name)) {
            return false;
        }
        // A flag whose key can't be made out may be this one, unless another is near.
        let keyless = kind == Kind::Flag && self.documents.any_doubtful(kind, &["/spec/key"]);
        if keyless && nearest(name, names.iter().copied()).is_none() {
            return false;
        }
        let what = kind.name().to_lowercase();
        let message = format!("there is no {what} '{name}' in program '{own}'");
        self.unknown(document, pointer, message, name, names)
    }

    /// Whether nobody knows what was meant at a place of the program's own document.
    fn doubted(&self, pattern: &str) -> bool {
        self.documents.doubtful(Kind::Program, self.program.name(), pattern)
    }

    fn person(&mut self, document: Option<&Document>, pointer: &str, name: &str) {
        if self.doubted("/spec/people") {
            return;
        }
        let people = &self.program.program.spec.people;
        self.known(document, pointer, "person", name, people.keys().map(String::as_str));
    }

    fn file(&mut self, document: Option<&Document>, pointer: &str, path: &str) {
        let outside = path.starts_with('/') || path.contains('\\') || path.split('/').any(|part| part == "..");
        if outside {
            self.problem(document, pointer, format!("'{path}' leads out of its folder"));
        } else if let Some(document) = document {
            let own = document.file.rsplit_once('/').map_or("", |(folder, _)| folder);
            if named_by(&document.file, path, self.options.file_exists).is_none() {
                let full = below(own, path.trim_start_matches("./"));
                self.problem(Some(document), pointer, format!("there is no file '{full}'"));
            }
        }
    }

    fn template(&mut self, document: Option<&Document>, pointer: &str, name: &str) {
        if name.is_empty() || name.contains(['/', '\\']) || name.starts_with('.') {
            self.problem(document, pointer, format!("'{name}' is no name of a template: no folder, no ending"));
            return;
        }
        let exists = |ending: &str| (self.options.file_exists)(&format!("cohorts/templates/{name}.{ending}"));
        if !exists("txt") && !exists("html") {
            self.problem(document, pointer, format!("there is no template 'cohorts/templates/{name}.txt' (or .html)"));
        }
    }

    fn warning(&mut self, document: Option<&Document>, pointer: &str, message: impl Into<String>) {
        if let Some(document) = document {
            self.problems.push(document.problem(pointer, message).warning());
        }
    }

    /// sev-1 to sev-4.
    fn severity(&mut self, document: Option<&Document>, pointer: &str, severity: &str) {
        if !matches!(severity, "sev-1" | "sev-2" | "sev-3" | "sev-4") {
            self.problem(document, pointer, format!("'{severity}' is no severity: sev-1 to sev-4"));
        }
    }

    /// A length of time that must not be nothing.
    fn lasting(&mut self, document: Option<&Document>, pointer: &str, span: Option<Span>) {
        if span.is_some_and(|span| span.duration().is_zero()) {
            self.problem(document, pointer, "it must be longer than nothing");
        }
    }

    /// A command of a check or a step, and how long it may take.
    fn command(&mut self, document: Option<&Document>, pointer: &str, command: &[String], timeout: Option<Span>) {
        if command.first().is_none_or(|program| program.trim().is_empty()) {
            self.problem(document, &format!("{pointer}/command"), "it needs a program to run");
        }
        let pointer = format!("{pointer}/timeout");
        self.lasting(document, &pointer, timeout);
        if timeout.is_some_and(|timeout| timeout > LONGEST_JOB) {
            self.problem(document, &pointer, format!("a job may take {LONGEST_JOB} at most"));
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
            Some(_) if self.doubted(&format!("/spec/sources/{}/*", token(name))) => {}
            Some(_) => self.problem(document, pointer, format!("source '{name}' is not {wanted}")),
            None if self.doubted("/spec/sources") => {}
            None => {
                let fitting = sources.iter().filter(|(_, source)| is(source)).map(|(name, _)| name.as_str());
                self.known(document, pointer, "source", name, fitting);
            }
        }
    }
}
