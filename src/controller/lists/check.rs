//! A cohort's list as it lies in a snapshot, before anything is live: what is wrong with it, who has acknowledged that, and what a person has to
//! say who does.
//!
//! Must not know: SQL text, how an answer is printed.

use std::path::Path;

use betagate_core::cohort::{Fault, Outcome, Problem, Severity, Survey, change_digest};
use betagate_core::decide::SignoffFact;
use betagate_core::desired::{Built, ProgramDesired};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use super::super::observe::signoff_fact;
use super::guard::Words;
use super::options;
use super::place::{Place, find_list, lists_beside};
use crate::source::Snapshot;
use crate::store::cohort_lists::{ListInForce, in_force, survey_beside};
use crate::store::{Store, StoreError, signoffs};

/// How many characters of a digest are enough to tell two sign-offs apart by their names.
const SHORT_DIGEST: usize = 12;

/// A list that was looked at.
pub struct CheckedList {
    /// The program.
    pub program: String,
    /// The cohort.
    pub cohort: String,
    /// Where it is.
    pub place: Place,
    /// Counts, problems, digest.
    pub survey: Survey,
    /// The sign-off in the snapshot that acknowledges its warnings.
    pub acknowledged_by: Option<String>,
    /// The people whose word may count, in order.
    people: Vec<String>,
}

/// A problem of a list, in fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ListProblem {
    /// The file, or `secret NAME`.
    pub file: String,
    /// The line in it, from 1; none when it is about the list as a whole.
    pub line: Option<u64>,
    /// `error` or `warning`.
    pub severity: &'static str,
    /// A name that does not change with the words.
    pub problem: &'static str,
    /// In words.
    pub message: String,
}

impl std::fmt::Display for ListProblem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        let warning = if self.severity == "warning" { "warning: " } else { "" };
        write!(f, ": {warning}{}", self.message)
    }
}

/// What a person says who has seen a list's warnings and takes it as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledgement {
    /// The file that it may stand in.
    pub file: String,
    /// The `Signoff`.
    pub document: Value,
    /// The same as YAML.
    pub yaml: String,
    /// The command that says the same to a running controller.
    pub command: String,
}

/// What is known of a cohort beside the snapshot: from which lists the one in it may come, and what people said to the record.
#[derive(Clone, Default)]
pub struct Known {
    /// The list that is in force.
    in_force: Option<ListInForce>,
    /// The digest of the list at the revision with which this one is compared.
    at_base: Option<String>,
    words: Vec<SignoffFact>,
}

impl Known {
    /// What the record knows.
    ///
    /// # Errors
    /// The database's.
    pub async fn of_record(store: &Store, program: &str, cohort: &str) -> Result<Self, StoreError> {
        let words = signoffs::list(store, program).await?.into_iter().filter_map(signoff_fact).collect();
        Ok(Self { in_force: in_force(store, program, cohort).await?, at_base: None, words })
    }

    /// The list of another revision counts as one that it may come from.
    #[must_use]
    pub fn compared_with(mut self, list: Option<String>) -> Self {
        self.at_base = list;
        self
    }

    /// The digests by which a list may have been acknowledged: its own, and those of the changes by which it comes or came in.
    fn digests(&self, list: &str) -> Vec<String> {
        let mut digests = vec![list.to_owned(), change_digest(None, list)];
        match &self.in_force {
            Some(known) if known.digest == list => digests.extend(known.change.clone()),
            Some(known) => digests.push(change_digest(Some(&known.digest), list)),
            None => {}
        }
        digests.extend(self.at_base.as_deref().map(|base| change_digest(Some(base), list)));
        digests
    }
}

/// Looks at a cohort's list; the words that acknowledge it are those of the same snapshot, and those that are known beside it.
///
/// # Errors
/// When the list can't be found or read.
pub fn check_list(
    snapshot: &Snapshot,
    built: &Built,
    (program, name): (&ProgramDesired, &str),
    known: &Known,
    (data, now): (&Path, Timestamp),
) -> Result<CheckedList, String> {
    let verified = built.desired.revision.verified;
    let recorded = known.words.iter().map(|word| (word.name.as_str(), &word.spec, word.verified));
    let said = program.signoffs.iter().map(|(name, word)| (name.as_str(), &word.spec, verified)).chain(recorded);
    let words = Words::new(program, said.collect(), program.program.spec.starts_on, now);
    check(snapshot, (program, name), known, data, &words)
}

/// The same, hearing these words.
pub(super) fn check(
    snapshot: &Snapshot,
    (program, name): (&ProgramDesired, &str),
    known: &Known,
    data: &Path,
    words: &Words<'_>,
) -> Result<CheckedList, String> {
    let cohort = program.cohorts.get(name).ok_or_else(|| format!("there is no cohort '{name}'"))?;
    let found = find_list(snapshot, cohort, data)?;
    let beside = lists_beside(snapshot, program, name, data);
    let survey =
        survey_beside(&found.source, &options(program, &cohort.spec), &beside).map_err(|error| error.to_string())?;
    let digests = known.digests(&survey.digest_hex());
    let digests: Vec<&str> = digests.iter().map(String::as_str).collect();
    let acknowledged_by = words.acknowledging(name, &digests).map(str::to_owned);
    Ok(CheckedList {
        program: program.name().to_owned(),
        cohort: name.to_owned(),
        place: found.place,
        survey,
        acknowledged_by,
        people: program.program.spec.people.keys().cloned().collect(),
    })
}

/// Checks a cohort's list as it lies in a snapshot.
///
/// # Errors
/// When the list can't be found or read.
pub fn survey_list(snapshot: &Snapshot, program: &ProgramDesired, name: &str, data: &Path) -> Result<Survey, String> {
    let cohort = program.cohorts.get(name).ok_or_else(|| format!("there is no cohort '{name}'"))?;
    let found = find_list(snapshot, cohort, data)?;
    survey_beside(&found.source, &options(program, &cohort.spec), &[]).map_err(|error| error.to_string())
}

impl CheckedList {
    /// What the check came to, acknowledgements heard.
    pub fn outcome(&self) -> Outcome {
        match self.survey.outcome() {
            Outcome::NeedsAcknowledgement if self.acknowledged_by.is_some() => Outcome::Clean,
            outcome => outcome,
        }
    }

    /// Its problems, by line.
    pub fn problems(&self) -> impl Iterator<Item = ListProblem> {
        self.survey.problems.iter().map(|problem| self.problem(problem))
    }

    fn problem(&self, problem: &Problem) -> ListProblem {
        let fault = match &problem.fault {
            Fault::Duplicate { first } => Fault::Duplicate { first: self.place.line(*first) },
            fault => fault.clone(),
        };
        ListProblem {
            file: self.place.name(),
            line: problem.line.map(|line| self.place.line(line)),
            severity: match fault.severity() {
                Severity::Error => "error",
                Severity::Warning => "warning",
            },
            problem: fault.name(),
            message: fault.to_string(),
        }
    }

    /// What lets it through, where a word would.
    pub fn acknowledgement(&self) -> Option<Acknowledgement> {
        if self.outcome() != Outcome::NeedsAcknowledgement {
            return None;
        }
        let Self { program, cohort, .. } = self;
        let (digest, by) = (self.survey.digest_hex(), self.people.first().map_or("NAME", String::as_str));
        // A name is at most 63 characters long.
        let name: String = cohort.chars().take(63 - "acknowledge--".len() - SHORT_DIGEST).collect();
        let name = format!("acknowledge-{name}-{}", &digest[..SHORT_DIGEST]);
        let document = json!({
            "apiVersion": "betagate.dev/v1alpha1", "kind": "Signoff", "metadata": { "name": name },
            "spec": { "program": program, "by": by, "says": "acknowledge", "object": format!("Cohort/{cohort}"), "digest": digest },
        });
        let others = match self.people.len() {
            0 => "   # a name from the program's people, of which there is none yet".to_owned(),
            1 => String::new(),
            _ => format!("   # whoever says it: {}", self.people.join(", ")),
        };
        let yaml = format!(
            "apiVersion: betagate.dev/v1alpha1\nkind: Signoff\nmetadata: {{ name: {name} }}\nspec:\n  program: {program}\n  by: {by}{others}\n  says: acknowledge\n  \
             object: Cohort/{cohort}\n  digest: \"{digest}\"\n"
        );
        let command = format!(
            "betagate signoff acknowledge --program {program} --by {by} --object Cohort/{cohort} --digest {digest}"
        );
        Some(Acknowledgement { file: format!("cohorts/{name}.yaml"), document, yaml, command })
    }
}
