//! What a pull request would do: two revisions compared, their lists and templates read. No server, no database, no measurement.
//!
//! Must not know: how it is shown, forges.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::path::Path;

use betagate_core::cohort::{ListOptions, Severity};
use betagate_core::dataset::{Difference, LiveRow, PUBLISHED};
use betagate_core::desired::error::{Position, Problem};
use betagate_core::desired::{Built, ProgramDesired, Resource};
use betagate_core::pull::{Change, ListBytes, ListChange, ProgramPull, Pull, RowsChange, TemplateChange, compare_list};
use betagate_core::resources::{CohortSpec, Edge, Moment, Step};
use jiff::{Timestamp, tz::TimeZone};

use super::dataset_files;
use super::lists::{Place, find_list, lists_beside, options};
use crate::source::Snapshot;
use crate::store::cohort_lists::{Beside, ListSource, survey_beside};

/// Where message templates lie.
const TEMPLATES: &str = "cohorts/templates/";
/// Problems told of one list; its first ones are enough to mend it.
const MOST_PROBLEMS: usize = 50;

/// One revision: its files, and what they say where they hold together.
pub struct Side<'a> {
    /// The files.
    pub snapshot: &'a Snapshot,
    /// What they want, or every problem in them.
    pub built: Result<&'a Built, &'a [Problem]>,
}

impl Side<'_> {
    fn program(&self, name: &str) -> Option<&ProgramDesired> {
        self.built.ok()?.desired.programs.get(name).map(|program| &**program)
    }
}

/// What a revision would do, compared with the one before. What is broken in it is told, and nothing else; a base that is broken itself
/// reads as empty. Blocking: lists are read through.
pub fn pull(before: &Side<'_>, after: &Side<'_>, data: &Path, now: Timestamp) -> Pull {
    let mut pull = Pull {
        base: before.snapshot.revision.short(),
        head: after.snapshot.revision.short(),
        base_problems: before.built.err().map_or(0, |problems| errors(problems).count()),
        ..Pull::default()
    };
    let built = match after.built {
        Ok(built) => built,
        Err(problems) => {
            pull.problems = problems.to_vec();
            return pull;
        }
    };
    // What was to be said before is nothing that this change does.
    let known = |warning: &&Problem| {
        let of_base = before.built.iter().flat_map(|built| &built.warnings);
        of_base.into_iter().any(|other| (&other.file, &other.message) == (&warning.file, &warning.message))
    };
    pull.problems = built.warnings.iter().filter(|warning| !known(warning)).cloned().collect();
    let before_names = before.built.iter().flat_map(|built| built.desired.programs.keys());
    let names: BTreeSet<&String> = built.desired.programs.keys().chain(before_names).collect();
    let templates = templates(before.snapshot, after.snapshot);
    for (place, name) in names.into_iter().enumerate() {
        let programs = (before.program(name), after.program(name));
        let lists = lists(before, after, programs, (data, now), &mut pull.problems);
        let templates = used(&templates, programs.1, place == 0, built);
        pull.programs.extend(ProgramPull::new(programs, lists, templates, &rows(before, after, programs)));
    }
    if errors(&pull.problems).next().is_some() {
        pull.programs.clear();
    }
    pull
}

fn errors(problems: &[Problem]) -> impl Iterator<Item = &Problem> {
    problems.iter().filter(|problem| problem.is_error())
}

/// Every dataset of a program whose file has other rows.
fn rows(
    before: &Side<'_>,
    after: &Side<'_>,
    (old, new): (Option<&ProgramDesired>, Option<&ProgramDesired>),
) -> Vec<RowsChange> {
    let mut changes = Vec::new();
    for (name, dataset) in new.into_iter().flat_map(|program| &program.datasets) {
        let Some((_, has)) = dataset_files::read(after.snapshot, dataset) else { continue };
        let had = old.and_then(|program| program.datasets.get(name));
        let had = had.and_then(|dataset| dataset_files::read(before.snapshot, dataset)).map(|(_, rows)| rows);
        let live = had.unwrap_or_default().rows.into_iter().map(|row| LiveRow {
            staged: Some(row.digest()),
            key: row.key,
            values: row.values,
            status: PUBLISHED.to_owned(),
        });
        let difference = Difference::between(&has, &live.collect::<Vec<_>>());
        if !difference.is_empty() {
            changes.push(RowsChange { dataset: name.clone(), delta: difference.told(&has.digest) });
        }
    }
    changes
}

/// Every cohort of a program whose people differ.
fn lists(
    before: &Side<'_>,
    after: &Side<'_>,
    (old, new): (Option<&ProgramDesired>, Option<&ProgramDesired>),
    (data, now): (&Path, Timestamp),
    problems: &mut Vec<Problem>,
) -> Vec<ListChange> {
    let cohorts_of = |program: Option<&ProgramDesired>| -> Vec<String> {
        program.map(|program| program.cohorts.keys().cloned().collect()).unwrap_or_default()
    };
    let names: BTreeSet<String> = cohorts_of(old).into_iter().chain(cohorts_of(new)).collect();
    let mut changes = Vec::new();
    for name in names {
        let of = |side: &Side<'_>, program: Option<&ProgramDesired>| -> Option<Result<Version, Box<Problem>>> {
            let program = program?;
            let cohort = program.cohorts.get(&name)?;
            Some(Version::find(side.snapshot, program, cohort, data))
        };
        let (had, has) = match (of(before, old), of(after, new)) {
            (_, Some(Err(problem))) => {
                problems.push(*problem);
                continue;
            }
            // A list that was not to be had before is new now.
            (had, has) => (had.and_then(Result::ok), has.and_then(Result::ok)),
        };
        if had.as_ref().zip(has.as_ref()).is_some_and(|(had, has)| had.same(has)) {
            continue;
        }
        match one(&name, (had, has), (old, new), now) {
            Ok((change, broken)) => {
                problems.extend(broken);
                changes.extend(change);
            }
            Err(error) => {
                let origin = new.or(old).and_then(|program| program.cohorts.get(&name)).map(|cohort| &cohort.origin);
                let (file, line) = origin.map_or(("", 1), |origin| (&*origin.file, origin.line));
                let message = format!("the list of cohort {name} can't be read: {error}");
                problems.push(Problem::new(file, Position::new(line, 1), "spec.members", message));
            }
        }
    }
    changes
}

/// One version of a list.
struct Version {
    source: ListSource,
    digest: String,
    options: ListOptions,
    place: Place,
    /// The lists of other cohorts, where people in two are to be told.
    beside: Vec<Beside>,
}

impl Version {
    fn find(
        snapshot: &Snapshot,
        program: &ProgramDesired,
        cohort: &Resource<CohortSpec>,
        data: &Path,
    ) -> Result<Self, Box<Problem>> {
        let found = find_list(snapshot, cohort, data).map_err(|reason| {
            let message = format!("the people of cohort {} are not compared: {reason}", cohort.name);
            let at = Position::new(cohort.origin.line, 1);
            Box::new(Problem::new(&cohort.origin.file, at, "spec.members", message).warning())
        })?;
        let beside = lists_beside(snapshot, program, &cohort.name, data);
        let options = options(program, &cohort.spec);
        Ok(Self { source: found.source, digest: found.digest, options, place: found.place, beside })
    }

    fn same(&self, other: &Self) -> bool {
        self.digest == other.digest && self.options.read_as == other.options.read_as
    }

    fn open(&self) -> io::Result<Box<dyn Read + Send>> {
        self.source.open()
    }

    /// Looks the list through; what stands in other cohorts' lists too matters only of the version that is to come.
    fn look<'a>(
        &self,
        open: &'a dyn Fn() -> io::Result<Box<dyn Read + Send>>,
        beside: &[Beside],
    ) -> io::Result<ListBytes<'a>> {
        let survey = survey_beside(&self.source, &self.options, beside)?;
        Ok(ListBytes { open, read_as: self.options.read_as, survey })
    }
}

/// The change of one cohort's people, and what is broken in its list.
fn one(
    name: &str,
    (had, has): (Option<Version>, Option<Version>),
    (old, new): (Option<&ProgramDesired>, Option<&ProgramDesired>),
    now: Timestamp,
) -> io::Result<(Option<ListChange>, Vec<Problem>)> {
    let open_had = || had.as_ref().map_or_else(|| Ok(empty()), Version::open);
    let open_has = || has.as_ref().map_or_else(|| Ok(empty()), Version::open);
    let before = had.as_ref().map(|version| version.look(&open_had, &[])).transpose()?;
    let after = has.as_ref().map(|version| version.look(&open_has, &version.beside)).transpose()?;
    let difference = compare_list(before, after)?;
    let mut broken = Vec::new();
    if let Some(version) = has.as_ref().filter(|_| difference.now.errors > 0) {
        let wrong = difference.now.problems.iter().filter(|problem| problem.fault.severity() == Severity::Error);
        broken.extend(wrong.take(MOST_PROBLEMS).map(|problem| {
            let line = version.place.line(problem.line.unwrap_or(1));
            let at = Position::new(u32::try_from(line).unwrap_or(1), 1);
            Problem::new(&version.place.name(), at, "", format!("cohort {name}: {}", problem.fault))
        }));
    }
    let locked = new.and_then(|program| locked(program, program.cohorts.get(name)?, now));
    if broken.is_empty() {
        broken.extend(new.and_then(|program| unknown_lock(program, program.cohorts.get(name)?)));
    }
    Ok((ListChange::new(name, (old, new), difference, locked), broken))
}

fn empty() -> Box<dyn Read + Send> {
    Box::new(io::empty())
}

/// A lock that counts from a first day which no document names: only the record knows it.
fn unknown_lock(program: &ProgramDesired, cohort: &Resource<CohortSpec>) -> Option<Problem> {
    let lock = cohort.spec.lock_list?;
    if program.program.spec.starts_on.is_some() || !matches!(lock, Moment::Relative(_)) {
        return None;
    }
    let message = format!(
        "whether the list of cohort {} is locked ({lock}) is not known here: the program has no startsOn, so that its first day stands \
         in the record; betagate plan, where that is, knows",
        cohort.name
    );
    let at = Position::new(cohort.origin.line, 1);
    Some(Problem::new(&cohort.origin.file, at, "spec.lockList", message).warning())
}

/// Since when a list is locked. Relative to a first day that is not written, nobody knows here.
fn locked(program: &ProgramDesired, cohort: &Resource<CohortSpec>, now: Timestamp) -> Option<Timestamp> {
    let spec = &program.program.spec;
    let zone = TimeZone::get(&spec.time_zone).unwrap_or(TimeZone::UTC);
    let lock = cohort.spec.lock_list?;
    let relative = matches!(lock, Moment::Relative(_));
    let day0 = if relative { spec.starts_on? } else { spec.starts_on.unwrap_or(jiff::civil::Date::ZERO) };
    let at = lock.resolve(day0, &zone, Edge::Start);
    (now >= at).then_some(at)
}

/// The template files that differ.
fn templates(before: &Snapshot, after: &Snapshot) -> BTreeMap<String, Change> {
    let files = after.files.keys().chain(before.files.keys()).filter(|path| path.starts_with(TEMPLATES));
    let differs = |path: &String| {
        let change = match (before.files.get(path), after.files.get(path)) {
            (None, _) => Change::Added,
            (_, None) => Change::Removed,
            (Some(had), Some(has)) if had.digest() != has.digest() => Change::Changed,
            _ => return None,
        };
        Some((path.clone(), change))
    };
    files.filter_map(differs).collect()
}

/// The changed templates that a program sends, and, with `rest`, those that no program does.
fn used(
    templates: &BTreeMap<String, Change>,
    program: Option<&ProgramDesired>,
    rest: bool,
    built: &Built,
) -> Vec<TemplateChange> {
    let Some(program) = program else { return Vec::new() };
    let told = templates.iter().filter_map(|(file, change)| {
        let used_by = users(program, file);
        let nobody = || built.desired.programs.values().all(|program| users(program, file).is_empty());
        let tell = !used_by.is_empty() || (rest && nobody());
        tell.then(|| TemplateChange { file: file.clone(), change: *change, used_by })
    });
    told.collect()
}

/// What sends a template: `Cohort/pavia`, `RollbackPlan/closed-beta`.
fn users(program: &ProgramDesired, file: &str) -> Vec<String> {
    let name = file.trim_start_matches(TEMPLATES).split('.').next().unwrap_or_default();
    let cohorts = program
        .cohorts
        .values()
        .filter(|cohort| cohort.spec.invites.as_ref().is_some_and(|invites| invites.template == name));
    let sends = |step: &Step| step.publish_note.as_ref().is_some_and(|note| note.template == name);
    let plans = program.plans.values().filter(|plan| plan.spec.steps.iter().any(sends));
    cohorts
        .map(|cohort| format!("Cohort/{}", cohort.name))
        .chain(plans.map(|plan| format!("RollbackPlan/{}", plan.name)))
        .collect()
}
