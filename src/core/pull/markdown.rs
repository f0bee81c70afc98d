//! What a pull request would do, as Markdown for GitHub and Gitea: tables, long parts folded away, never longer than a comment may be.
//!
//! Everything that comes out of a document is foreign text and goes through `foreign.rs`. Must not know: forges' APIs.

use std::fmt::Write as _;

use super::foreign::{code, html, line, words};
use super::{
    Ask, AskKind, Change, DocumentChange, ListChange, Mails, Opening, ProgramPull, Pull, Standing, TemplateChange,
    grouped,
};
use crate::plan::share_lines;

/// How much is told: people of each change, fields of each document, rows of each table.
#[derive(Clone, Copy)]
struct Detail {
    people: usize,
    fields: usize,
    rows: usize,
}

/// Characters of a digest that tell two sign-offs apart by their names.
const SHORT_DIGEST: usize = 12;

/// From everything to the least; the first that fits is taken.
const DETAILS: [Detail; 6] = [
    Detail { people: super::SHOWN, fields: usize::MAX, rows: 1000 },
    Detail { people: super::SHOWN, fields: 20, rows: 200 },
    Detail { people: 10, fields: 5, rows: 100 },
    Detail { people: 0, fields: 0, rows: 100 },
    Detail { people: 0, fields: 0, rows: 30 },
    Detail { people: 0, fields: 0, rows: 5 },
];

/// All of it, at most `most` bytes long (no character is longer than its bytes, so it is no longer in characters either).
pub fn markdown(pull: &Pull, most: usize) -> String {
    let mut text = String::new();
    for (place, detail) in DETAILS.into_iter().enumerate() {
        text = render(pull, detail);
        if place > 0 {
            text.push_str("\nThis is the short form: the long one is longer than a comment may be. `betagate plan --base` has it.\n");
        }
        if text.len() <= most {
            return text;
        }
    }
    cut(&text, most)
}

/// The lines that fit.
fn cut(text: &str, most: usize) -> String {
    const END: &str = "\n… cut here: longer than a comment may be.\n";
    let mut kept = String::new();
    for line in text.split_inclusive('\n') {
        if kept.len() + line.len() + END.len() > most {
            break;
        }
        kept.push_str(line);
    }
    kept.push_str(END);
    kept
}

fn render(pull: &Pull, detail: Detail) -> String {
    let mut text = String::new();
    let mark = match pull.standing() {
        Standing::Broken => "🔴",
        Standing::Waits => "⚪",
        Standing::Ready => "✅",
    };
    let _ = writeln!(text, "### {mark} betagate: {}\n", pull.headline());
    let _ = writeln!(text, "{} compared with {}.", code(&pull.head), code(&pull.base));
    if pull.base_problems > 0 {
        let number = pull.base_problems;
        let _ = writeln!(text, "{} itself has {number} problem(s), so everything reads as new.", code(&pull.base));
    }
    problems(&mut text, pull, detail);
    for program in pull.programs.iter().take(detail.rows) {
        program_part(&mut text, program, detail);
    }
    more(&mut text, pull.programs.len(), detail.rows, "program");
    text
}

fn problems(text: &mut String, pull: &Pull, detail: Detail) {
    if pull.problems.is_empty() {
        return;
    }
    text.push_str("\n| where | what is wrong |\n| --- | --- |\n");
    for problem in pull.problems.iter().take(detail.rows) {
        let place = format!("{}:{}:{}", problem.file, problem.line, problem.column);
        let mut what = problem.message.clone();
        if let Some(expected) = &problem.expected {
            let _ = write!(what, " (expected {expected})");
        }
        if let Some(nearest) = &problem.nearest {
            let _ = write!(what, " (did you mean {nearest}?)");
        }
        let field = if problem.field.is_empty() { String::new() } else { format!("{}: ", code(&problem.field)) };
        let _ = writeln!(text, "| {} | {field}{} |", code(&place), words(&what));
    }
    more(text, pull.problems.len(), detail.rows, "problem");
}

fn program_part(text: &mut String, program: &ProgramPull, detail: Detail) {
    let state = match program.change {
        Change::Added => " (new)",
        Change::Removed => " (gone)",
        Change::Changed => "",
    };
    let _ = writeln!(text, "\n#### Program {}{state}", code(&program.program));
    asks(text, program, detail);
    lists(text, &program.lists, detail);
    documents(text, &program.documents, detail);
    templates(text, &program.templates, detail);
}

fn lists(text: &mut String, lists: &[ListChange], detail: Detail) {
    if lists.is_empty() {
        return;
    }
    text.push_str("\n| cohort | people | new | gone | changed | mail | from when |\n| --- | ---: | ---: | ---: | ---: | --- | --- |\n");
    for list in lists.iter().take(detail.rows) {
        let state = match list.change {
            Change::Added => " (new)",
            Change::Removed => " (gone)",
            Change::Changed => "",
        };
        let _ = writeln!(
            text,
            "| {}{state} | {} → {} | {} | {} | {} | {} | {} |",
            code(&list.cohort),
            grouped(list.rows_before),
            seats(list),
            signed('+', list.added),
            signed('−', list.removed),
            grouped(list.changed),
            list.mails.as_ref().map_or_else(|| "none".to_owned(), mails),
            from_when(list),
        );
    }
    more(text, lists.len(), detail.rows, "cohort");
    for list in lists.iter().take(detail.rows) {
        warnings(text, list, detail);
        people_of(text, list, detail);
    }
}

fn seats(list: &ListChange) -> String {
    match list.capacity.filter(|capacity| *capacity < list.rows) {
        Some(capacity) => format!("{}, {} may be in", grouped(list.rows), grouped(capacity)),
        None => grouped(list.rows),
    }
}

fn mails(mails: &Mails) -> String {
    let mut text = format!("{} × {}", grouped(mails.count), code(&mails.template));
    if let (Some(rate), Some(seconds)) = (&mails.rate, mails.takes_seconds) {
        let _ = write!(text, ", {} at {rate}", duration(seconds));
    }
    if !mails.leaves {
        text.push_str(", written out for review");
    }
    text
}

fn duration(seconds: u64) -> String {
    match seconds {
        0..60 => "within a minute".to_owned(),
        60..7_200 => format!("about {} min", seconds.div_ceil(60)),
        7_200..172_800 => format!("about {} h", seconds.div_ceil(3_600)),
        _ => format!("about {} days", seconds.div_ceil(86_400)),
    }
}

fn from_when(list: &ListChange) -> String {
    if list.opens.is_empty() {
        return "no stage opens it".to_owned();
    }
    let stage = |opening: &Opening| {
        let from = match (&opening.from, opening.at) {
            (_, Some(at)) => format!(", from {at} on"),
            (Some(from), None) => format!(", from {from} on"),
            (None, None) => String::new(),
        };
        format!("stage {} of {}{from}", code(&opening.stage), code(&opening.rollout))
    };
    format!("{}; at once if it is open", list.opens.iter().map(stage).collect::<Vec<_>>().join(", "))
}

fn warnings(text: &mut String, list: &ListChange, detail: Detail) {
    if list.warnings.is_empty() {
        return;
    }
    let file = list.file.as_deref().unwrap_or("the list");
    let _ = writeln!(text, "\nWarnings of {} (cohort {}):\n", code(file), code(&list.cohort));
    for warning in list.warnings.iter().take(detail.rows) {
        let _ = writeln!(text, "- {}", words(warning));
    }
    let all = list.warnings.len() + list.more_warnings;
    let shown = list.warnings.len().min(detail.rows);
    if all > shown {
        let _ = writeln!(text, "- … and {} more", all - shown);
    }
}

fn people_of(text: &mut String, list: &ListChange, detail: Detail) {
    if list.first.is_empty() || detail.people == 0 {
        return;
    }
    let mut lines = Vec::new();
    for (change, all) in [(Change::Added, list.added), (Change::Removed, list.removed), (Change::Changed, list.changed)]
    {
        let of_it = list.first.iter().filter(|person| person.change == change).take(detail.people);
        let before = lines.len();
        lines.extend(of_it.map(|person| {
            let about = [person.label.as_str(), person.role.as_str()];
            let about: Vec<String> = about.into_iter().filter(|text| !text.is_empty()).map(line).collect();
            let address = super::lists::for_others(&person.address);
            format!("{} {}  {}  line {}", change.sign(), line(&address), about.join("  "), person.line)
        }));
        let rest = all.saturating_sub((lines.len() - before) as u64);
        if rest > 0 {
            lines.push(format!("{} … and {} more", change.sign(), grouped(rest)));
        }
    }
    let summary = format!("Who in cohort {}", html(&list.cohort));
    fold(text, &summary, &format!("```diff\n{}\n```", lines.join("\n")));
}

fn asks(text: &mut String, program: &ProgramPull, detail: Detail) {
    let (asks, open) = (&program.asks, program.asks.iter().filter(|ask| ask.blocks()).collect::<Vec<_>>());
    if asks.is_empty() {
        return;
    }
    text.push_str("\n| needs | from | why | said by |\n| --- | --- | --- | --- |\n");
    for ask in asks.iter().take(detail.rows) {
        let what = match &ask.kind {
            AskKind::Acknowledge { object, .. } => format!("**acknowledge** {}", code(object)),
            AskKind::Go { rollout, stage } => format!("go for stage {} of {}", code(stage), code(rollout)),
            AskKind::Done { gate, check } => format!("done: {} of {}", code(check), code(gate)),
        };
        let names = |names: &[String]| names.iter().map(|name| code(name)).collect::<Vec<_>>().join(", ");
        let _ = writeln!(text, "| {what} | {} | {} | {} |", names(&ask.who), words(&ask.why), names(&ask.given_by));
    }
    more(text, asks.len(), detail.rows, "word");
    if open.is_empty() {
        return;
    }
    let documents: Vec<String> = open.iter().take(detail.rows).filter_map(|ask| document_of(program, ask)).collect();
    let how = "The list stays as it is until somebody says so, in a file of this pull request or with `betagate signoff acknowledge`:";
    let _ = writeln!(text, "\n{how}\n\n```yaml\n{}\n```", documents.join("\n---\n"));
}

/// The sign-off that an acknowledgement is given with, ready to be written into a file.
fn document_of(program: &ProgramPull, ask: &Ask) -> Option<String> {
    let AskKind::Acknowledge { object, digest } = &ask.kind else { return None };
    let (_, cohort) = object.split_once('/')?;
    // A name is at most 63 characters long.
    let cohort: String = cohort.chars().take(63 - "acknowledge--".len() - SHORT_DIGEST).collect();
    let short: String = digest.chars().take(SHORT_DIGEST).collect();
    let program = &program.program;
    Some(format!(
        "apiVersion: betagate.dev/v1alpha1\nkind: Signoff\nmetadata: {{ name: acknowledge-{cohort}-{short} }}\n\
         spec: {{ program: {program}, by: YOUR-NAME, says: acknowledge, object: {object}, digest: {digest} }}"
    ))
}

fn documents(text: &mut String, documents: &[DocumentChange], detail: Detail) {
    if documents.is_empty() {
        return;
    }
    text.push_str("\n| document | change | what it means |\n| --- | --- | --- |\n");
    for document in documents.iter().take(detail.rows) {
        let place = format!("{}/{}", document.kind, document.name);
        let change = match document.change {
            Change::Added => "new".to_owned(),
            Change::Removed => "gone".to_owned(),
            Change::Changed => changed(document),
        };
        let notes = document.notes.iter().map(|note| {
            let mark = if note.warning { "⚠️ " } else { "" };
            format!("{mark}{}", words(&note.text))
        });
        let notes: Vec<String> = notes.collect();
        let _ = writeln!(text, "| {} | {change} | {} |", code(&place), notes.join("<br>"));
    }
    more(text, documents.len(), detail.rows, "document");
    if detail.fields == 0 {
        return;
    }
    for document in documents.iter().take(detail.rows) {
        fields(text, document, detail);
    }
}

/// One field is told at once; of more, how many.
fn changed(document: &DocumentChange) -> String {
    let none = || "nothing".to_owned();
    let value = |value: &Option<String>| value.as_deref().map_or_else(none, code);
    match (document.fields.as_slice(), document.more_fields) {
        ([one], 0) if value(&one.before).len() + value(&one.after).len() < 80 => {
            format!("{} {} → {}", code(&one.field), value(&one.before), value(&one.after))
        }
        (fields, more) => super::count((fields.len() + more) as u64, "field"),
    }
}

fn fields(text: &mut String, document: &DocumentChange, detail: Detail) {
    if document.fields.is_empty() {
        return;
    }
    let mut lines = Vec::new();
    for field in document.fields.iter().take(detail.fields) {
        for (sign, value) in [('-', &field.before), ('+', &field.after)] {
            lines.extend(value.as_ref().map(|value| format!("{sign} {}: {}", line(&field.field), line(value))));
        }
    }
    let more = document.fields.len().saturating_sub(detail.fields) + document.more_fields;
    if more > 0 {
        lines.push(format!("  … and {more} more"));
    }
    let shares: Vec<String> = document.shares.iter().flat_map(share_lines).take(detail.fields).collect();
    lines.extend(shares.iter().map(|share| format!("  {}", line(share))));
    let place = format!("{}:{}", document.file, document.line);
    let summary = format!("{}/{} ({})", html(document.kind.name()), html(&document.name), html(&place));
    fold(text, &summary, &format!("```diff\n{}\n```", lines.join("\n")));
}

fn templates(text: &mut String, templates: &[TemplateChange], detail: Detail) {
    if templates.is_empty() {
        return;
    }
    text.push_str("\n| template | change | sent by |\n| --- | --- | --- |\n");
    for template in templates.iter().take(detail.rows) {
        let change = match template.change {
            Change::Added => "new",
            Change::Removed => "gone",
            Change::Changed => "other words",
        };
        let used: Vec<String> = template.used_by.iter().map(|user| code(user)).collect();
        let used = if used.is_empty() { "nothing".to_owned() } else { used.join(", ") };
        let _ = writeln!(text, "| {} | {change} | {used} |", code(&template.file));
    }
    more(text, templates.len(), detail.rows, "template");
}

fn more(text: &mut String, all: usize, shown: usize, what: &str) {
    if all > shown {
        let _ = writeln!(text, "\n… and {}.", super::count((all - shown) as u64, &format!("more {what}")));
    }
}

fn signed(sign: char, number: u64) -> String {
    if number == 0 { "0".to_owned() } else { format!("{sign}{}", grouped(number)) }
}

/// A long part, folded away. `summary` is HTML.
fn fold(text: &mut String, summary: &str, inner: &str) {
    let _ = writeln!(text, "\n<details><summary>{summary}</summary>\n\n{inner}\n\n</details>");
}
