//! The documents of a revision by kind and name: those that are sound, those that were mended so that their rules are looked at in
//! the same run, and those of which only the name is known.
//!
//! Must not know: the rules, files.

use std::collections::{HashMap, HashSet};

use serde::de::DeserializeOwned;

use super::{
    Origin,
    error::Problem,
    mend,
    nearest::{nearest, one_of},
    parse::{Broken, Document, Node},
};
use crate::resources::{
    CohortSpec, DatasetSpec, FORMATS, FlagSpec, GateSpec, IncidentSpec, InviteSpec, Kind, ProgramSpec,
    RollbackPlanSpec, RolloutSpec, SignoffSpec, WorkloadSpec, schema,
};

/// The documents of a revision, found by kind and name.
#[derive(Default)]
pub(super) struct Documents {
    all: Vec<(Kind, Document)>,
    by_name: HashMap<(Kind, String), usize>,
    /// Where each name first stood, in a sound document or not.
    first: HashMap<(Kind, String), Origin>,
    /// Names that stand in some document, be it sound or not: a reference to a broken document is no second mistake.
    seen: HashSet<(Kind, String)>,
    /// Names in documents whose kind nobody knows.
    of_no_kind: HashSet<String>,
    /// Kinds of documents that could not be read at all.
    unread: HashSet<Kind>,
    /// Names given here, to documents that have none or one that is taken.
    given: HashSet<(Kind, String)>,
}

impl Documents {
    pub(super) fn all(&self) -> impl Iterator<Item = (Kind, &Document)> {
        self.all.iter().map(|(kind, document)| (*kind, document))
    }

    pub(super) fn get(&self, kind: Kind, name: &str) -> Option<&Document> {
        self.by_name.get(&(kind, name.to_owned())).and_then(|place| self.all.get(*place)).map(|(_, document)| document)
    }

    pub(super) fn seen(&self, kind: Kind, name: &str) -> bool {
        self.of_no_kind.contains(name) || self.seen.contains(&(kind, name.to_owned()))
    }

    /// Names of programs that stand in some document.
    pub(super) fn programs_seen(&self) -> impl Iterator<Item = &String> {
        self.seen.iter().filter(|(kind, _)| *kind == Kind::Program).map(|(_, name)| name)
    }

    /// Whether a document has its name from here: it has none, or one that another has already.
    pub(super) fn given(&self, kind: Kind, name: &str) -> bool {
        self.given.contains(&(kind, name.to_owned()))
    }

    /// Whether nobody knows what was meant at a place of a document, or the document itself could not be read.
    pub(super) fn doubtful(&self, kind: Kind, name: &str, pattern: &str) -> bool {
        self.get(kind, name).is_none_or(|document| document.doubtful(pattern))
    }

    /// Whether there may be more of a kind than is known, or other values at a place of one of them.
    pub(super) fn any_doubtful(&self, kind: Kind, patterns: &[&str]) -> bool {
        let doubted = |document: &Document| patterns.iter().any(|pattern| document.doubtful(pattern));
        self.unread.contains(&kind) || self.all().any(|(other, document)| other == kind && doubted(document))
    }

    /// Whether the document of this name, or of the flag with this key, could be taken and has its program.
    pub(super) fn sound(&self, kind: Kind, name: &str) -> bool {
        let text =
            |document: &Document, field: &str| document.root.at(field).and_then(|it| it.text()).map(str::to_owned);
        let keyed = |(kind, document): &(Kind, &Document)| {
            *kind == Kind::Flag && text(document, "/spec/key").as_deref() == Some(name)
        };
        let found = match kind {
            Kind::Flag => self.all().find(keyed).map(|(_, document)| document).or_else(|| self.get(kind, name)),
            kind => self.get(kind, name),
        };
        let program = found.and_then(|document| text(document, "/spec/program"));
        program.is_some_and(|program| self.get(Kind::Program, &program).is_some())
    }

    /// Leaves out what only follows from what is known to be wrong with the document it was found in.
    pub(super) fn without_consequences(&self, mut found: Vec<Problem>) -> Vec<Problem> {
        if self.all.iter().any(|(_, document)| !document.damage.is_empty()) {
            found.retain(|problem| {
                let here =
                    |document: &&Document| *document.file == *problem.file && document.root.at.line <= problem.line;
                let holder = self.all().map(|(_, document)| document).filter(here).max_by_key(|it| it.root.at.line);
                holder.is_none_or(|document| !document.explains(problem))
            });
        }
        found
    }

    /// Notes what is known of a document that could not be read.
    pub(super) fn miss(&mut self, broken: &Broken) {
        let kind = broken.kind.as_deref().and_then(|kind| kind.parse::<Kind>().ok());
        match (kind, broken.name.clone()) {
            (Some(kind), name) => {
                self.unread.insert(kind);
                self.seen.extend(name.map(|name| (kind, name)));
            }
            (None, name) => self.of_no_kind.extend(name),
        }
    }

    /// Takes a document in, mended where it is wrong.
    pub(super) fn accept(&mut self, mut document: Document, problems: &mut Vec<Problem>) {
        let Some(kind) = self.kind_of(&document, problems) else { return };
        self.see(kind, &document);
        problems.extend(mend::checked(&mut document, schema(kind), FORMATS, &|spec| readable(kind, spec)));
        if let Some(other) = self.first.get(&(kind, document.name.clone())) {
            let message =
                format!("there is already a {kind} '{}' in {}, line {}", document.name, other.file, other.line);
            problems.push(document.problem("/metadata/name", message));
            self.name(kind, &mut document);
        } else if document.name.is_empty() {
            self.name(kind, &mut document);
        }
        let key = (kind, document.name.clone());
        self.first.insert(key.clone(), Origin { file: document.file.clone(), line: document.root.at.line });
        if document.root.get("spec").is_some_and(|spec| document.damage.is_empty() || readable(kind, spec)) {
            self.by_name.insert(key, self.all.len());
            self.all.push((kind, document));
        } else {
            self.unread.insert(kind);
        }
    }

    /// A name that is no other's and can't be written in a document.
    fn name(&mut self, kind: Kind, document: &mut Document) {
        document.name = format!("{} ({}:{})", document.name, document.file, document.root.at.line);
        self.given.insert((kind, document.name.clone()));
    }

    fn see(&mut self, kind: Kind, document: &Document) {
        self.seen.insert((kind, document.name.clone()));
        if let Some(key) = document.root.get("spec").and_then(|spec| spec.get("key")).and_then(|key| key.text()) {
            self.seen.insert((kind, key.to_owned()));
        }
    }

    /// The kind of a document; a mistyped one is taken for the nearest.
    fn kind_of(&mut self, document: &Document, problems: &mut Vec<Problem>) -> Option<Kind> {
        let group = document.api_version.as_deref().unwrap_or(crate::resources::API_VERSION);
        if !group.starts_with("betagate.dev/") {
            let message = format!("'{group}' is not betagate's; the document is left out");
            problems.push(document.problem("/apiVersion", message).warning());
            return None;
        }
        if group != crate::resources::API_VERSION {
            let problem = document.problem("/apiVersion", format!("there is no version '{group}'"));
            problems.push(problem.expected(crate::resources::API_VERSION));
        }
        if document.kind == Kind::Rollback.name() {
            let message = "a Rollback is written by the controller; start one with `betagate rollback start`";
            problems.push(document.problem("/kind", message));
            return None;
        }
        let mut written = Kind::ALL.iter().copied().filter(|kind| *kind != Kind::Rollback);
        if let Some(kind) = written.clone().find(|kind| kind.name() == document.kind) {
            return Some(kind);
        }
        let names: Vec<&str> = written.clone().map(|kind| kind.name()).collect();
        let near = nearest(&document.kind, names.iter().copied());
        let problem = document.problem("/kind", format!("there is no kind '{}'", document.kind));
        problems.push(problem.expected(one_of(names.iter().copied())).nearest(near));
        let meant = written.find(|kind| Some(kind.name()) == near);
        if meant.is_none() {
            self.of_no_kind.insert(document.name.clone());
        }
        meant
    }
}

/// Whether somebody wrote a name; one that was given here has a parenthesis, as no name has.
pub(super) fn written(name: &str) -> bool {
    !name.contains(" (")
}

/// Whether a `spec` can be read into its type.
fn readable(kind: Kind, spec: &Node) -> bool {
    fn reads<S: DeserializeOwned>(spec: &Node) -> bool {
        serde_json::from_value::<S>(spec.to_json()).is_ok()
    }
    match kind {
        Kind::Program => reads::<ProgramSpec>(spec),
        Kind::Cohort => reads::<CohortSpec>(spec),
        Kind::Invite => reads::<InviteSpec>(spec),
        Kind::Flag => reads::<FlagSpec>(spec),
        Kind::Gate => reads::<GateSpec>(spec),
        Kind::Rollout => reads::<RolloutSpec>(spec),
        Kind::RollbackPlan => reads::<RollbackPlanSpec>(spec),
        Kind::Incident => reads::<IncidentSpec>(spec),
        Kind::Signoff => reads::<SignoffSpec>(spec),
        Kind::Workload => reads::<WorkloadSpec>(spec),
        Kind::Dataset => reads::<DatasetSpec>(spec),
        Kind::Rollback => false,
    }
}
