//! A weekly tracking board (seed 002, section 3) as a history: each row's values are read from a moment before its review on.
//!
//! Must not know: files.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::{Entry, Happening, world::value};
use crate::decide::{CheckRef, IncidentFact, Outcome, Why};
use crate::desired::ProgramDesired;
use crate::desired::nearest::nearest;
use crate::resources::{Check, GateSpec, Unit};

/// A row's values are measured so long before its review.
const BEFORE: SignedDuration = SignedDuration::from_mins(1);
/// A row counts incidents and does not say when they were: each is taken to have lasted ten minutes, an hour before the review.
const INCIDENT_BEFORE: SignedDuration = SignedDuration::from_mins(60);
const INCIDENT_LASTS: SignedDuration = SignedDuration::from_mins(10);
/// Columns that are no check.
const OTHER: [&str; 4] = ["Week Of", "Cohort", "Gate Status", "Notes"];

/// What is wrong with a board.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, {column}: {message}")]
pub struct BoardError {
    /// The line, from 1: the titles' line.
    pub line: usize,
    /// The column's title.
    pub column: String,
    /// What.
    pub message: String,
}

/// A gate's status as the board has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// When its review was due.
    pub due_at: Timestamp,
    /// Such as `Pass`; empty when the board does not say.
    pub status: String,
}

/// Reads a board of a gate: titles, and rows of cells.
///
/// # Errors
/// Everything that can't be read, with line and column.
pub fn board(
    program: &ProgramDesired,
    gate: &str,
    titles: &[String],
    rows: &[Vec<String>],
) -> Result<(Vec<Entry>, Vec<Recorded>), Vec<BoardError>> {
    let mut errors = Vec::new();
    let wrong = |line: usize, column: &str, message: String| BoardError { line, column: column.to_owned(), message };
    let Some(spec) = program.gates.get(gate).map(|gate| &gate.spec) else {
        return Err(vec![wrong(1, "", format!("there is no gate '{gate}'"))]);
    };
    let title_of = |check: &Check| check.column.clone().unwrap_or_else(|| check.name.clone());
    let columns: Vec<Option<&Check>> =
        titles.iter().map(|title| spec.checks.iter().find(|check| title_of(check) == *title)).collect();
    for (title, column) in titles.iter().zip(&columns) {
        if column.is_none() && !OTHER.contains(&title.as_str()) {
            let known: Vec<String> = spec.checks.iter().map(title_of).chain(OTHER.map(str::to_owned)).collect();
            let near = nearest(title, known.iter().map(String::as_str));
            let near = near.map(|near| format!("; did you mean '{near}'?")).unwrap_or_default();
            errors.push(wrong(1, title, format!("gate {gate} has no such column{near}")));
        }
    }
    let place = |title: &str| titles.iter().position(|known| known == title);
    let Some(week_of) = place("Week Of") else {
        errors.push(wrong(1, "Week Of", "this column is missing".to_owned()));
        return Err(errors);
    };
    let (mut entries, mut recorded) = (Vec::new(), Vec::new());
    for (number, row) in rows.iter().enumerate() {
        let line = number + 2;
        let cell = |place: usize| row.get(place).map_or("", |cell| cell.trim());
        let Ok(date) = cell(week_of).parse::<Date>() else {
            errors.push(wrong(line, "Week Of", format!("'{}' is no date, such as 2026-03-13", cell(week_of))));
            continue;
        };
        let due_at = review_of(program, spec, date);
        let status = place("Gate Status").map_or("", cell).to_owned();
        recorded.push(Recorded { due_at, status });
        for (place, check) in columns.iter().enumerate() {
            let Some(check) = check else { continue };
            match happenings(gate, check, cell(place), due_at) {
                Ok(found) => entries.extend(found),
                Err(message) => errors.push(wrong(line, &titles[place], message)),
            }
        }
    }
    if errors.is_empty() { Ok((entries, recorded)) } else { Err(errors) }
}

/// The review of a day: at the gate's hour, or at 17:00 where it has none that day.
fn review_of(program: &ProgramDesired, spec: &GateSpec, date: Date) -> Timestamp {
    let zone = TimeZone::get(&program.program.spec.time_zone).unwrap_or(TimeZone::UTC);
    let instant =
        |hour| date.at(hour, 0, 0, 0).to_zoned(zone.clone()).map_or(Timestamp::UNIX_EPOCH, |at| at.timestamp());
    let before = instant(0).checked_sub(SignedDuration::from_secs(1)).unwrap_or(Timestamp::UNIX_EPOCH);
    let review = spec.review.as_ref().and_then(|review| review.cron.next_after(before, &zone));
    review.filter(|at| at.to_zoned(zone.clone()).date() == date).unwrap_or_else(|| instant(17))
}

fn happenings(gate: &str, check: &Check, cell: &str, due_at: Timestamp) -> Result<Vec<Entry>, String> {
    let ago = |by: SignedDuration| due_at.checked_sub(by).unwrap_or(due_at);
    let measured = |outcome: Outcome| {
        let what = Happening::Measured(CheckRef::new(gate, &check.name), outcome);
        vec![Entry { at: ago(BEFORE), what }]
    };
    // A mark says how a check read, not what its value was; signed items and other gates have no other cells.
    if matches!(cell, "" | "-" | "✅" | "🔴") {
        return Ok(Vec::new());
    }
    if cell == "⚪" {
        return Ok(measured(Outcome::Unknown(Why::NoData)));
    }
    let number = number(cell, check).ok_or_else(|| format!("'{cell}' is no value, such as 45.2%, 3 or -"))?;
    let Some(incidents) = &check.incidents else { return Ok(measured(value(number))) };
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded below")]
    let count = number.clamp(0.0, 1000.0) as u32;
    let started_at = ago(INCIDENT_BEFORE);
    let ended_at = started_at.checked_add(INCIDENT_LASTS).unwrap_or(started_at);
    let date = due_at.strftime("%F");
    let incident = |number: u32| IncidentFact {
        name: format!("board-{date}-{}-{number}", check.name),
        severity: incidents.severity.clone().unwrap_or_else(|| "sev-3".to_owned()),
        category: incidents.category.clone(),
        title: "counted on the board".to_owned(),
        started_at,
        resolved_at: Some(ended_at),
        acknowledged_at: Some(started_at),
    };
    let known = |number| [started_at, ended_at].map(|at| Entry { at, what: Happening::Incident(incident(number)) });
    Ok((1..=count).flat_map(known).collect())
}

/// A value as the board prints it: `45.2%` as 0.452.
fn number(cell: &str, check: &Check) -> Option<f64> {
    let (text, is_percent) = cell.strip_suffix('%').map_or((cell, false), |text| (text.trim(), true));
    let number: f64 = text.parse().ok().filter(|number: &f64| number.is_finite())?;
    let of_percent = check.pass.as_ref().is_some_and(|pass| pass.unit == Unit::Percent);
    // 45.2 in a column of percentages can't be told from 4520 %.
    if of_percent != is_percent && number != 0.0 {
        return None;
    }
    Some(if is_percent { number / 100.0 } else { number })
}
