//! Documents that come one by one, as a cluster brings them: what of them can count together. A document that is wrong keeps what it said
//! when it was last accepted, one that names something missing waits for it, and the others go on.
//!
//! What was accepted before held together. So there is always something to fall back on: with the worst of changes, nothing changes.
//! Must not know: where documents come from, or how they are kept.

use std::collections::{BTreeMap, BTreeSet};

use super::Built;
use super::error::Problem;

/// Problems of one document that are said.
const SAID: usize = 5;

/// How a document stands.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Standing {
    /// It counts as it is.
    Accepted,
    /// It counts, and so does something it names that was deleted.
    Lingers(String),
    /// It names what is not there yet.
    Pending {
        /// What it waits for.
        why: String,
        /// Whether what it said before counts meanwhile.
        kept: bool,
    },
    /// It is wrong.
    Refused {
        /// What is wrong.
        why: String,
        /// Whether what it said before counts on.
        kept: bool,
    },
}

impl Standing {
    /// Whether what the document says now counts.
    pub fn counts(&self) -> bool {
        matches!(self, Self::Accepted | Self::Lingers(_))
    }
}

/// What came of it.
#[derive(Debug)]
pub struct Settled<D> {
    /// The documents that count, by path.
    pub documents: BTreeMap<String, D>,
    /// What they want together.
    pub built: Built,
    /// How each document that is there stands, by path.
    pub standing: BTreeMap<String, Standing>,
}

/// Settles which documents count, given those that are there and those that were accepted before. `same` compares two of them,
/// `survey` builds what some want together and says what is wrong with them.
pub fn settle<D: Clone>(
    current: &BTreeMap<String, D>,
    accepted: &BTreeMap<String, D>,
    same: impl Fn(&D, &D) -> bool,
    survey: impl FnMut(&BTreeMap<String, D>) -> Built,
) -> Settled<D> {
    let changed = |(path, document): &(&String, &D)| !accepted.get(*path).is_some_and(|before| same(before, document));
    let changed: BTreeSet<&str> = current.iter().filter(changed).map(|(path, _)| path.as_str()).collect();
    let standing = current.keys().map(|path| (path.clone(), Standing::Accepted)).collect();
    Settling { current, accepted, changed, survey, standing }.settle()
}

struct Settling<'a, D, S> {
    current: &'a BTreeMap<String, D>,
    accepted: &'a BTreeMap<String, D>,
    changed: BTreeSet<&'a str>,
    survey: S,
    standing: BTreeMap<String, Standing>,
}

type Errors = BTreeMap<String, Vec<Problem>>;

impl<D: Clone, S: FnMut(&BTreeMap<String, D>) -> Built> Settling<'_, D, S> {
    fn look(&mut self, documents: &BTreeMap<String, D>) -> (Built, Errors) {
        let built = (self.survey)(documents);
        let mut errors = Errors::new();
        for problem in built.warnings.iter().filter(|problem| problem.is_error()) {
            errors.entry(problem.file.clone()).or_default().push(problem.clone());
        }
        (built, errors)
    }

    fn done(self, documents: BTreeMap<String, D>, built: Built) -> Settled<D> {
        Settled { documents, built, standing: self.standing }
    }

    /// First what is usual: documents that changed are wrong by themselves, and go back to what they were.
    fn settle(mut self) -> Settled<D> {
        let mut documents = self.current.clone();
        let (mut built, mut errors) = self.look(&documents);
        let mut back = BTreeSet::new();
        while !errors.is_empty() {
            let wrong = |path: &&String| self.changed.contains(path.as_str()) && !back.contains(*path);
            let wrong: Vec<String> = errors.keys().filter(wrong).cloned().collect();
            if wrong.is_empty() {
                return self.one_by_one();
            }
            for path in wrong {
                self.judge(&path, &errors);
                match self.accepted.get(&path) {
                    Some(before) => documents.insert(path.clone(), before.clone()),
                    None => documents.remove(&path),
                };
                back.insert(path);
            }
            (built, errors) = self.look(&documents);
        }
        self.done(documents, built)
    }

    /// A change broke what it does not stand in: from what was accepted, change by change as far as it goes.
    fn one_by_one(mut self) -> Settled<D> {
        let kept = |(path, _): &(&String, &D)| self.current.contains_key(*path);
        let here: BTreeMap<String, D> =
            self.accepted.iter().filter(kept).map(|(path, document)| (path.clone(), document.clone())).collect();
        let (mut built, mut errors) = self.look(&here);
        let mut base = here;
        let lacking = std::mem::take(&mut errors);
        if !lacking.is_empty() {
            base.clone_from(self.accepted);
            (built, errors) = self.look(&base);
        }
        // Accepted by an earlier betagate, and refused by this one.
        while !errors.is_empty() {
            let before = base.len();
            for path in errors.keys() {
                base.remove(path);
            }
            if base.len() == before {
                break;
            }
            errors.keys().cloned().collect::<Vec<_>>().iter().for_each(|path| self.judge(path, &errors));
            (built, errors) = self.look(&base);
        }
        let mut waiting: Vec<String> = self.changed.iter().map(|path| (*path).to_owned()).collect();
        while !waiting.is_empty() {
            let before = waiting.len();
            waiting = self.add(&mut base, &mut built, waiting);
            if waiting.len() == before {
                break;
            }
        }
        self.let_go(&mut base, &mut built, &lacking);
        self.done(base, built)
    }

    /// Adds changes that hold together with what is there, and gives those that do not.
    fn add(&mut self, base: &mut BTreeMap<String, D>, built: &mut Built, paths: Vec<String>) -> Vec<String> {
        let mut tried = base.clone();
        for path in &paths {
            tried.extend(self.current.get(path).map(|document| (path.clone(), document.clone())));
        }
        let (all, errors) = self.look(&tried);
        if errors.is_empty() {
            for path in &paths {
                self.standing.insert(path.clone(), Standing::Accepted);
            }
            (*base, *built) = (tried, all);
            return Vec::new();
        }
        let [only] = paths.as_slice() else {
            let (first, second) = paths.split_at(paths.len() / 2);
            let mut left = self.add(base, built, first.to_vec());
            left.extend(self.add(base, built, second.to_vec()));
            return left;
        };
        if errors.contains_key(only) {
            self.judge(only, &errors);
        } else {
            let why = format!("it does not fit what else is there: {}", words(errors.values().flatten()));
            let kept = self.accepted.contains_key(only);
            self.standing.insert(only.clone(), Standing::Refused { why, kept });
        }
        paths
    }

    /// Lets go of deleted documents that nothing names any more; what still names one says so.
    fn let_go(&mut self, base: &mut BTreeMap<String, D>, built: &mut Built, lacking: &Errors) {
        let gone: Vec<String> = base.keys().filter(|path| !self.current.contains_key(*path)).cloned().collect();
        if gone.is_empty() {
            return;
        }
        let mut tried = base.clone();
        tried.retain(|path, _| self.current.contains_key(path));
        let (all, errors) = self.look(&tried);
        if errors.is_empty() {
            (*base, *built) = (tried, all);
            return;
        }
        for (path, problems) in lacking.iter().chain(&errors) {
            if let Some(standing) = self.standing.get_mut(path).filter(|standing| standing.counts()) {
                let why = format!("what it names was deleted, and goes on for it: {}", words(problems.iter()));
                *standing = Standing::Lingers(why);
            }
        }
    }

    fn judge(&mut self, path: &str, errors: &Errors) {
        let problems = errors.get(path).map(Vec::as_slice).unwrap_or_default();
        let why = words(problems.iter());
        let kept = self.accepted.contains_key(path);
        let standing = if problems.iter().all(is_missing) {
            Standing::Pending { why, kept }
        } else {
            Standing::Refused { why, kept }
        };
        // One that is not there any more has no status to say it in.
        if let Some(known) = self.standing.get_mut(path) {
            *known = standing;
        }
    }
}

/// Whether it is about another resource, or a file, that is not there so far.
fn is_missing(problem: &Problem) -> bool {
    const OTHERS: [&str; 11] =
        ["program", "cohort", "flag", "gate", "rollout", "plan", "workload", "dataset", "incident", "file", "template"];
    let what = problem.message.strip_prefix("there is no ").and_then(|rest| rest.split(' ').next());
    what.is_some_and(|what| OTHERS.contains(&what))
}

/// Problems in a line, without the place in a text that nobody sees.
fn words<'a>(problems: impl Iterator<Item = &'a Problem>) -> String {
    let all: Vec<String> = problems.map(said).collect();
    let more = all.len().saturating_sub(SAID);
    let mut text = all.into_iter().take(SAID).collect::<Vec<_>>().join("; ");
    if more > 0 {
        text += &format!("; and {more} more");
    }
    text
}

fn said(problem: &Problem) -> String {
    let mut text = match problem.field.as_str() {
        "" => String::new(),
        field => format!("{field}: "),
    };
    // A status is read by many, and people's addresses by few.
    if problem.message.contains('@') {
        return text + "is not right";
    }
    text += &problem.message;
    match (&problem.expected, &problem.nearest) {
        (_, Some(nearest)) => text += &format!(" (did you mean {nearest}?)"),
        (Some(expected), None) => text += &format!(" (expected {expected})"),
        (None, None) => {}
    }
    text
}

#[cfg(test)]
#[path = "settle_tests.rs"]
mod tests;
