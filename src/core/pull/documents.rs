//! Two revisions of a program compared document by document, with what each change means.
//!
//! Must not know: lists' rows, how a change is shown.

use serde::Serialize;
use serde_json::{Value, json};

use super::fields::differences;
use super::{Change, FieldChange};
use crate::dataset::DatasetDelta;
use crate::desired::{ByName, Origin, ProgramDesired, Resource};
use crate::plan::{ShareChange, share_changes};
use crate::resources::{
    CohortSpec, FlagSpec, IncidentSpec, InviteSpec, Kind, ProgramSpec, RollbackPlanSpec, Says, SignoffSpec,
};

/// One document that differs.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DocumentChange {
    /// Its kind.
    pub kind: Kind,
    /// Its name; of a flag, its key.
    pub name: String,
    /// How.
    pub change: Change,
    /// Its file; at the base, when it is gone.
    pub file: String,
    /// The line its document starts on.
    pub line: u32,
    /// The fields that differ; none of a document that is new or gone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<FieldChange>,
    /// How many more fields differ.
    #[serde(skip_serializing_if = "super::is_zero")]
    pub more_fields: usize,
    /// What becomes of a flag's percentages.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub shares: Vec<ShareChange>,
    /// What it means.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<Note>,
}

/// What a change means, in a sentence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Note {
    /// Whether a reviewer should stop at it.
    pub warning: bool,
    /// The sentence.
    pub text: String,
}

impl Note {
    fn tell(text: impl Into<String>) -> Self {
        Self { warning: false, text: text.into() }
    }

    fn warn(text: impl Into<String>) -> Self {
        Self { warning: true, text: text.into() }
    }
}

/// The rows of a dataset's file differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowsChange {
    /// The dataset.
    pub dataset: String,
    /// How.
    pub delta: DatasetDelta,
}

/// Adds what becomes of a dataset's rows to its document, which may say what it said.
pub(super) fn tell_rows(found: &mut Vec<DocumentChange>, after: Option<&ProgramDesired>, rows: &RowsChange) {
    let Some(dataset) = after.and_then(|program| program.datasets.get(&rows.dataset)) else { return };
    let DatasetDelta { imports, updates, removes, first, .. } = &rows.delta;
    let (all, shown) = (imports + updates + removes, first.len() as u64);
    let more = if all > shown { format!(", and {} more", all - shown) } else { String::new() };
    let text =
        format!("rows: {imports} to import, {updates} to change, {removes} to take away ({}{more})", first.join(", "));
    let known = found.iter_mut().find(|change| change.kind == Kind::Dataset && change.name == rows.dataset);
    if let Some(known) = known {
        known.notes.push(Note::tell(text));
        return;
    }
    let Origin { file, line } = &dataset.origin;
    found.push(DocumentChange {
        kind: Kind::Dataset,
        name: rows.dataset.clone(),
        change: Change::Changed,
        file: file.to_string(),
        line: *line,
        fields: Vec::new(),
        more_fields: 0,
        shares: Vec::new(),
        notes: vec![Note::tell(text)],
    });
}

/// Every document in which two revisions of a program differ, in the order of kinds.
pub fn compare_documents(before: Option<&ProgramDesired>, after: Option<&ProgramDesired>) -> Vec<DocumentChange> {
    let mut found = Vec::new();
    let program = |program: Option<&ProgramDesired>| {
        program.map(|program| ByName::from([(program.name().to_owned(), program.program.clone())])).unwrap_or_default()
    };
    by_kind(Kind::Program, &program(before), &program(after), &program_notes, &mut found);
    macro_rules! kinds {
        ($($kind:ident $field:ident $notes:expr),+ $(,)?) => {
            $(
                let none = ByName::new();
                let old = before.map_or(&none, |program| &program.$field);
                let new = after.map_or(&none, |program| &program.$field);
                by_kind(Kind::$kind, old, new, $notes, &mut found);
            )+
        };
    }
    let flag_notes = |name: &str, old: Option<&FlagSpec>, new: Option<&FlagSpec>| flag_notes(name, old, new, after);
    kinds! {
        Cohort cohorts &cohort_notes,
        Invite invites &invite_notes,
        Flag flags &flag_notes,
        Gate gates &|_, _, _| Vec::new(),
        Rollout rollouts &|_, _, _| Vec::new(),
        RollbackPlan plans &plan_notes,
        Incident incidents &incident_notes,
        Signoff signoffs &signoff_notes,
        Workload workloads &|_, _, _| Vec::new(),
        Dataset datasets &|_, _, _| Vec::new(),
    }
    found
}

type Notes<'n, S> = &'n dyn Fn(&str, Option<&S>, Option<&S>) -> Vec<Note>;

fn by_kind<S: Serialize>(
    kind: Kind,
    before: &ByName<S>,
    after: &ByName<S>,
    notes: Notes<'_, S>,
    found: &mut Vec<DocumentChange>,
) {
    let names = after.keys().chain(before.keys().filter(|name| !after.contains_key(*name)));
    for name in names {
        found.extend(one(kind, name, (before.get(name), after.get(name)), notes));
    }
}

fn one<S: Serialize>(
    kind: Kind,
    name: &str,
    (before, after): (Option<&Resource<S>>, Option<&Resource<S>>),
    notes: Notes<'_, S>,
) -> Option<DocumentChange> {
    let Origin { file, line } = &after.or(before)?.origin;
    let change = match (before, after) {
        (None, _) => Change::Added,
        (_, None) => Change::Removed,
        _ => Change::Changed,
    };
    let (mut fields, mut more_fields, mut shares) = (Vec::new(), 0, Vec::new());
    if let (Some(before), Some(after)) = (before, after) {
        let (old, new) = (value(kind, &before.spec), value(kind, &after.spec));
        if old == new {
            return None;
        }
        (fields, more_fields) = differences(&old, &new);
        if kind == Kind::Flag {
            shares = share_changes(&old, &new);
        }
    }
    let notes = notes(name, before.map(|before| &before.spec), after.map(|after| &after.spec));
    let (file, line, name) = (file.to_string(), *line, name.to_owned());
    Some(DocumentChange { kind, name, change, file, line, fields, more_fields, shares, notes })
}

/// A document as it is compared. Members that stand in it are compared as a list, person by person.
fn value<S: Serialize>(kind: Kind, spec: &S) -> Value {
    let mut value = serde_json::to_value(spec).unwrap_or_default();
    if kind == Kind::Cohort
        && let Some(members) = value["members"].as_object_mut()
        && let Some(inline) = members.get_mut("inline")
    {
        *inline = json!("in this document");
    }
    value
}

fn program_notes(_: &str, before: Option<&ProgramSpec>, after: Option<&ProgramSpec>) -> Vec<Note> {
    let mut notes = Vec::new();
    let Some(old) = before else { return notes };
    let Some(new) = after else {
        return vec![Note::warn("the program is gone: its cohorts take nobody in, its flags are served as not found")];
    };
    for invariant in old.invariants.iter().filter(|invariant| !new.invariants.contains(invariant)) {
        notes.push(Note::warn(format!("{} no longer has to be {}", invariant.flag, invariant.is)));
    }
    for group in old.always_online.iter().filter(|group| !new.always_online.contains(group)) {
        notes.push(Note::warn(format!("a rollback may take {group} down from now on")));
    }
    let sends = |spec: &ProgramSpec| spec.mail.as_ref().is_some_and(|mail| mail.send);
    match (sends(old), sends(new)) {
        (false, true) => notes.push(Note::warn("mail leaves from now on; until now it was written out for review")),
        (true, false) => notes.push(Note::tell("mail is written out for review from now on, and nothing leaves")),
        _ => {}
    }
    if old.starts_on != new.starts_on {
        notes.push(Note::warn("every date that is counted from the program's first day moves with it"));
    }
    if old.time_zone != new.time_zone {
        notes.push(Note::warn("the time zone is meant to stay: days that were counted would change"));
    }
    notes
}

fn cohort_notes(_: &str, before: Option<&CohortSpec>, after: Option<&CohortSpec>) -> Vec<Note> {
    match (before, after) {
        (Some(_), None) => vec![Note::warn("its unused invites are revoked; who is in stays in")],
        (Some(old), Some(new)) => match (old.capacity, new.capacity) {
            (Some(old), Some(new)) if new > old => {
                vec![Note::tell(format!("{} more may be in: who waits is let in, in order", new - old))]
            }
            (Some(_), None) => vec![Note::tell("everyone who waits is let in")],
            (old, Some(new)) if old != Some(new) => {
                vec![Note::tell("nobody who has a seat loses it; who comes later waits")]
            }
            _ => Vec::new(),
        },
        _ => Vec::new(),
    }
}

fn invite_notes(_: &str, before: Option<&InviteSpec>, after: Option<&InviteSpec>) -> Vec<Note> {
    match (before, after) {
        (None, Some(new)) if new.revoked.is_none() => {
            let who = super::mask(&new.email);
            vec![Note::tell(format!("{who} is invited to cohort {}: one mail when it is open", new.cohort))]
        }
        (old, Some(new)) if new.revoked.is_some() && old.is_none_or(|old| old.revoked.is_none()) => {
            let who = super::mask(&new.email);
            vec![Note::warn(format!("{who} is out of cohort {}: invite, membership and sessions end", new.cohort))]
        }
        _ => Vec::new(),
    }
}

fn flag_notes(
    key: &str,
    before: Option<&FlagSpec>,
    after: Option<&FlagSpec>,
    program: Option<&ProgramDesired>,
) -> Vec<Note> {
    let mut notes = Vec::new();
    if after.is_none() {
        notes.push(Note::warn("it is served as not found: programs fall back to the default in their own code"));
    }
    let invariants = program.iter().flat_map(|program| &program.program.spec.invariants);
    for invariant in invariants.filter(|invariant| invariant.flag == key) {
        notes.push(Note::tell(format!("the program keeps it at {}, whatever this says", invariant.is)));
    }
    if let (Some(old), Some(new)) = (before, after) {
        if new.risk < old.risk {
            notes.push(Note::warn("it counts as less risky: a rollback that routes by risk may pass it by"));
        }
        if old.safe_variant != new.safe_variant {
            notes.push(Note::warn("a hold that stands keeps the safe variant it began with"));
        }
    }
    notes
}

fn plan_notes(_: &str, before: Option<&RollbackPlanSpec>, _: Option<&RollbackPlanSpec>) -> Vec<Note> {
    before.map(|_| Note::tell("a run under way keeps the steps it began with")).into_iter().collect()
}

fn incident_notes(_: &str, before: Option<&IncidentSpec>, after: Option<&IncidentSpec>) -> Vec<Note> {
    match (before, after) {
        (Some(old), None) if old.resolved_at.is_none() => {
            vec![Note::tell("an open incident whose file is removed stays open")]
        }
        (None, Some(new)) if new.resolved_at.is_none() => {
            vec![Note::warn(format!("an open {}: rollback plans act on it", new.severity))]
        }
        _ => Vec::new(),
    }
}

fn signoff_notes(_: &str, before: Option<&SignoffSpec>, after: Option<&SignoffSpec>) -> Vec<Note> {
    let Some(word) = after.filter(|after| before.is_none_or(|before| before != *after)) else { return Vec::new() };
    let says = serde_json::to_value(word.says).unwrap_or_default();
    let says = says.as_str().unwrap_or_default();
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    let about = match word.says {
        Says::Done | Says::AcceptMitigation | Says::Waive => format!("{}/{}", text(&word.gate), text(&word.check)),
        Says::Go | Says::NoGo => format!("{}/{}", text(&word.rollout), text(&word.stage)),
        Says::Acknowledge => format!("{} at {}", text(&word.object), text(&word.digest)),
        Says::Lift => text(&word.run),
    };
    vec![Note::tell(super::masked(&format!("{} says {says} for {about}", word.by)))]
}
