//! A plan as people read it: text for terminals, Markdown for pull requests.

use std::fmt::Write as _;

use super::{Action, ListDelta, Moves, Plan, RunningWorkload, ShareChange, VariantShare};
use crate::dataset::DatasetDelta;
use crate::resources::Undo;

/// A plan as text, one action a line.
pub fn text(plan: &Plan) -> String {
    let mut text = String::new();
    for action in &plan.actions {
        let _ = writeln!(text, "{} {}", sign(action), sentence(action));
        for line in more(action) {
            let _ = writeln!(text, "    {line}");
        }
    }
    text
}

/// A plan as a Markdown list.
pub fn markdown(plan: &Plan) -> String {
    let mut text = String::new();
    for action in &plan.actions {
        let _ = writeln!(text, "- {}", sentence(action));
        let more = more(action);
        if !more.is_empty() {
            let _ = writeln!(text, "  ```diff\n  {}\n  ```", more.join("\n  "));
        }
    }
    text
}

fn sign(action: &Action) -> char {
    match action {
        Action::Freeze { .. }
        | Action::PauseIngestion { .. }
        | Action::RevokeInvites { .. }
        | Action::RestoreDataset { .. }
        | Action::CloseCohort { .. }
        | Action::StopWorkload { .. } => '-',
        Action::OpenCohort { .. } | Action::Unfreeze { .. } | Action::ResumeIngestion { .. } => '+',
        Action::SetWorkload { from: None, .. } => '+',
        Action::SetFlag { .. }
        | Action::SetCapacity { .. }
        | Action::SyncList { .. }
        | Action::SyncDataset { .. }
        | Action::SetWorkload { .. } => '~',
    }
}

fn sentence(action: &Action) -> String {
    let whose = |cohort: &Option<String>| {
        cohort.clone().map_or_else(|| "all cohorts".to_owned(), |name| format!("cohort {name}"))
    };
    match action {
        Action::Freeze { cohort, holder, reason } => {
            format!("freeze invites of {} ({holder}: {reason})", whose(cohort))
        }
        Action::Unfreeze { cohort, holder } => format!("lift the freeze of {} held by {holder}", whose(cohort)),
        Action::PauseIngestion { holder, reason } => format!("pause ingestion ({holder}: {reason})"),
        Action::ResumeIngestion { holder } => format!("lift the pause of ingestion held by {holder}"),
        Action::RevokeInvites { cohort, holder, reason, .. } => {
            format!("take back the unused invites of {} ({holder}: {reason})", whose(cohort))
        }
        Action::SetFlag { key, change, .. } => format!("flag {key}: {change}"),
        Action::CloseCohort { cohort } => format!("close cohort {cohort}: no new redemptions, its members stay"),
        Action::OpenCohort { cohort } => format!("open cohort {cohort}"),
        Action::SetCapacity { cohort, from, to } => {
            let places = |count: &Option<i64>| count.map_or_else(|| "no bound".to_owned(), |count| count.to_string());
            format!("places in cohort {cohort}: {} → {}", places(from), places(to))
        }
        Action::SyncList { cohort, delta } => list_sentence(cohort, delta),
        Action::SyncDataset { dataset, delta } => dataset_sentence(dataset, delta),
        Action::RestoreDataset { dataset, how, holder, reason, .. } => {
            let what = match how {
                Undo::Truncate => "empty its tables, a dump is kept",
                Undo::Restore => "put its last dump back",
                Undo::Reseed => "empty its tables and fill them again from its file",
            };
            format!("undo dataset {dataset}: {what} ({holder}: {reason})")
        }
        Action::SetWorkload { workload, from, to, version } => {
            let version = version.as_ref().map(|version| format!(" ({version})")).unwrap_or_default();
            match from {
                None => format!("start workload {workload}: {}{version}", running(to)),
                Some(from) => format!("change workload {workload}: {} → {}{version}", running(from), running(to)),
            }
        }
        Action::StopWorkload { workload } => format!("stop workload {workload}"),
    }
}

fn list_sentence(cohort: &str, delta: &ListDelta) -> String {
    let mut text = format!(
        "list of cohort {cohort}: {} to add, {} to revoke, {} to change",
        delta.added, delta.removed, delta.changed
    );
    if delta.members_removed > 0 {
        let _ = write!(text, "; {} member(s) left the list and stay in", delta.members_removed);
    }
    if let Some(guard) = &delta.guard {
        let _ = write!(text, "; waits: {guard} (digest {})", delta.digest);
    }
    text
}

fn dataset_sentence(dataset: &str, delta: &DatasetDelta) -> String {
    let DatasetDelta { imports, updates, publishes, removes, .. } = delta;
    let mut text = format!(
        "dataset {dataset}: {imports} to import, {publishes} to publish, {updates} to change, {removes} to take away"
    );
    if let Some(waits) = &delta.waits {
        let _ = write!(text, "; waits: {waits}");
    }
    text
}

fn more(action: &Action) -> Vec<String> {
    match action {
        Action::SyncList { delta, .. } => {
            let mut lines = delta.first.clone();
            let all = delta.added + delta.removed + delta.changed;
            let shown = delta.first.len() as u64;
            if all > shown {
                lines.push(format!("… and {} more", all - shown));
            }
            lines
        }
        Action::SyncDataset { delta, .. } => {
            let mut lines = delta.first.clone();
            let (all, shown) = (delta.imports + delta.updates + delta.removes, delta.first.len() as u64);
            lines.extend((all > shown).then(|| format!("… and {} more", all - shown)));
            lines
        }
        Action::SetFlag { shares, moves, .. } => {
            shares.iter().flat_map(share_lines).chain(moves.as_ref().map(moves_line)).collect()
        }
        _ => Vec::new(),
    }
}

/// What becomes of one percentage, in lines.
pub fn share_lines(change: &ShareChange) -> Vec<String> {
    let at = &change.pointer;
    let mut lines = Vec::new();
    if change.anew {
        lines.push(format!("{at}: everyone is picked anew: another seed, bucketing or bucket-by"));
    }
    lines.extend(change.variants.iter().map(|share| {
        let VariantShare { variant, before, after, lose } = share;
        let who = match (change.anew, *lose > 0.0) {
            (true, _) => String::new(),
            (false, false) => ": nobody who has it loses it".to_owned(),
            (false, true) => format!(": {lose:.1} % of people lose it"),
        };
        format!("{at}: {variant} {before:.1} % → {after:.1} %{who}")
    }));
    lines
}

fn moves_line(moves: &Moves) -> String {
    let Moves { members, moved, changes } = moves;
    let mut line = format!("moves {moved} of {members} cohort members");
    for (place, (change, count)) in changes.iter().enumerate() {
        let _ = write!(line, "{} {change} {count}", if place == 0 { ":" } else { "," });
    }
    line
}

fn running(workload: &RunningWorkload) -> String {
    let short: String = workload.revision.chars().take(8).collect();
    let short = if short.is_empty() { "another revision" } else { &short };
    format!("{} × {short}", workload.replicas)
}
