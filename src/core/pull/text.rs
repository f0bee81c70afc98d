//! What a pull request would do, as text for terminals: the operator's own, so addresses stand as they are.
//!
//! Must not know: forges.

use std::fmt::Write as _;

use super::{Ask, AskKind, Change, DocumentChange, ListChange, Pull, grouped, people};
use crate::plan::share_lines;

/// All of it, in lines.
pub fn text(pull: &Pull) -> String {
    let mut text = String::new();
    for problem in &pull.problems {
        let _ = writeln!(text, "{problem}");
    }
    if pull.base_problems > 0 {
        let _ = writeln!(text, "{} has {} problem(s): everything reads as new", pull.base, pull.base_problems);
    }
    for program in &pull.programs {
        let _ = writeln!(text, "{} program {}", program.change.sign(), program.program);
        program.lists.iter().for_each(|change| list(&mut text, change));
        program.documents.iter().for_each(|change| document(&mut text, change));
        for template in &program.templates {
            let _ = writeln!(text, "  {} template {}", template.change.sign(), template.file);
        }
        program.asks.iter().for_each(|one| ask(&mut text, one));
    }
    let _ = writeln!(text, "{}", pull.headline());
    text
}

fn list(text: &mut String, list: &ListChange) {
    let _ = writeln!(
        text,
        "  {} list of cohort {}: {} to add, {} to revoke, {} to change; {} on it",
        list.change.sign(),
        list.cohort,
        grouped(list.added),
        grouped(list.removed),
        grouped(list.changed),
        people(list.rows)
    );
    for person in &list.first {
        let label = if person.label.is_empty() { String::new() } else { format!(" ({})", person.label) };
        let _ = writeln!(text, "      {} {}{label}, line {}", person.change.sign(), person.address, person.line);
    }
    for (change, all) in [(Change::Added, list.added), (Change::Removed, list.removed), (Change::Changed, list.changed)]
    {
        let shown = list.first.iter().filter(|person| person.change == change).count() as u64;
        if all > shown {
            let _ = writeln!(text, "      {} … and {} more", change.sign(), grouped(all - shown));
        }
    }
    for warning in &list.warnings {
        let _ = writeln!(text, "    warning: {warning}");
    }
    if let Some(mails) = &list.mails {
        let from = list.opens.first().map_or_else(
            || "no stage opens the cohort, so none".to_owned(),
            |opening| format!("when stage {} of {} is open", opening.stage, opening.rollout),
        );
        let leaves = if mails.leaves { "" } else { ", written out for review" };
        let _ = writeln!(text, "    {} mail(s) from {}: {from}{leaves}", grouped(mails.count), mails.template);
    }
}

fn document(text: &mut String, document: &DocumentChange) {
    let _ = writeln!(
        text,
        "  {} {}/{} ({}:{})",
        document.change.sign(),
        document.kind,
        document.name,
        document.file,
        document.line
    );
    let none = || "nothing".to_owned();
    for field in &document.fields {
        let (before, after) = (field.before.clone().unwrap_or_else(none), field.after.clone().unwrap_or_else(none));
        let _ = writeln!(text, "      {}: {before} → {after}", field.field);
    }
    for line in document.shares.iter().flat_map(share_lines) {
        let _ = writeln!(text, "      {line}");
    }
    for note in &document.notes {
        let _ = writeln!(text, "    {}{}", if note.warning { "warning: " } else { "" }, note.text);
    }
}

fn ask(text: &mut String, ask: &Ask) {
    let what = match &ask.kind {
        AskKind::Acknowledge { object, digest } => format!("acknowledge {object}, digest {digest}"),
        AskKind::Go { rollout, stage } => format!("go for {rollout}/{stage}"),
        AskKind::Done { gate, check } => format!("done for {gate}/{check}"),
    };
    let given = if ask.given_by.is_empty() { String::new() } else { format!("; said by {}", ask.given_by.join(", ")) };
    let _ = writeln!(text, "  needs {what} ({}) from {}{given}", ask.why, ask.who.join(", "));
}
