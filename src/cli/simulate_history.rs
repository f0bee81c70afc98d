//! A history as it is written down: a weekly board as CSV, readings and the rest as lines of JSON. All that is wrong is said at once, by line.

use std::path::Path;

use betagate_core::decide::{CheckRef, IncidentFact, Outcome, Reading, Why};
use betagate_core::desired::{ProgramDesired, nearest::nearest};
use betagate_core::resources::SignoffSpec;
use betagate_core::simulate::{self, Entry, Happening, Recorded};
use jiff::Timestamp;
use serde::Deserialize;

use super::CliError;

/// A line: a reading of a check, an incident as it is known from then on, or a person's word.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Told {
    at: Timestamp,
    gate: Option<String>,
    check: Option<String>,
    value: Option<f64>,
    numerator: Option<f64>,
    denominator: Option<f64>,
    samples: Option<u64>,
    unknown: Option<String>,
    incident: Option<Incident>,
    signoff: Option<SignoffSpec>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Incident {
    name: String,
    severity: String,
    #[serde(default)]
    title: String,
    category: Option<String>,
    started_at: Option<Timestamp>,
    resolved_at: Option<Timestamp>,
    acknowledged_at: Option<Timestamp>,
}

/// A line of a history, as `gate history` prints it.
pub fn line_of(gate: &str, check: &str, reading: &Reading) -> serde_json::Value {
    let mut line = serde_json::json!({ "at": reading.at, "gate": gate, "check": check });
    match &reading.outcome {
        Outcome::Value { value, numerator, denominator, samples } => {
            line["value"] = serde_json::json!(value);
            let counts = [("numerator", *numerator), ("denominator", *denominator)];
            for (name, count) in counts.into_iter().filter_map(|(name, count)| Some((name, count?))) {
                line[name] = serde_json::json!(count);
            }
            if let Some(samples) = samples {
                line["samples"] = serde_json::json!(samples);
            }
        }
        Outcome::Unknown(why) => line["unknown"] = serde_json::json!(why.to_string()),
    }
    line
}

/// Reads lines of JSON.
pub fn lines(path: &Path, program: &ProgramDesired) -> Result<Vec<Entry>, CliError> {
    let text = read(path)?;
    let (mut entries, mut wrong) = (Vec::new(), Vec::new());
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let told = serde_json::from_str::<Told>(line).map_err(|error| error.to_string());
        match told.and_then(|told| happening(told, program, number)) {
            Ok(entry) => entries.push(entry),
            Err(message) => wrong.push(format!("{}:{}: {message}", path.display(), number + 1)),
        }
    }
    if wrong.is_empty() { Ok(entries) } else { Err(CliError::Failed(wrong.join("\n"))) }
}

fn happening(told: Told, program: &ProgramDesired, number: usize) -> Result<Entry, String> {
    let at = told.at;
    let what = match (told.gate, told.check, told.incident, told.signoff) {
        (Some(gate), Some(check), None, None) => {
            known(program, &gate, &check)?;
            let outcome = match (told.value, told.numerator, told.denominator, told.unknown) {
                (None, None, None, Some(why)) => Outcome::Unknown(unknown(why)),
                (_, Some(_), Some(0.0), None) => Outcome::Unknown(Why::NoData),
                (value, Some(n), Some(d), None) => Outcome::Value {
                    value: value.unwrap_or(n / d),
                    numerator: Some(n),
                    denominator: Some(d),
                    samples: told.samples,
                },
                (Some(value), None, None, None) => {
                    Outcome::Value { value, numerator: None, denominator: None, samples: told.samples }
                }
                _ => return Err("a reading has value, or numerator and denominator, or unknown".to_owned()),
            };
            Happening::Measured(CheckRef { gate, check }, outcome)
        }
        (None, None, Some(incident), None) => Happening::Incident(IncidentFact {
            name: incident.name,
            severity: incident.severity,
            category: incident.category,
            title: incident.title,
            started_at: incident.started_at.unwrap_or(at),
            resolved_at: incident.resolved_at,
            acknowledged_at: incident.acknowledged_at,
        }),
        (None, None, None, Some(spec)) => {
            Happening::Said { name: format!("history-{}", number + 1), spec: Box::new(spec) }
        }
        _ => return Err("a line is exactly one of a reading (gate, check), an incident, a signoff".to_owned()),
    };
    Ok(Entry { at, what })
}

fn unknown(why: String) -> Why {
    match why.as_str() {
        "no data" => Why::NoData,
        "stale" => Why::Stale,
        "terminated" => Why::Terminated,
        _ => Why::SourceError(why),
    }
}

fn known(program: &ProgramDesired, gate: &str, check: &str) -> Result<(), String> {
    let hint = |near: Option<&str>| near.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
    let Some(found) = program.gates.get(gate) else {
        let near = nearest(gate, program.gates.keys().map(String::as_str));
        return Err(format!("there is no gate '{gate}'{}", hint(near)));
    };
    let names = || found.spec.checks.iter().map(|check| check.name.as_str());
    if names().any(|name| name == check) {
        return Ok(());
    }
    Err(format!("gate {gate} has no check '{check}'{}", hint(nearest(check, names()))))
}

/// Reads a board.
pub fn board(path: &Path, program: &ProgramDesired, gate: &str) -> Result<(Vec<Entry>, Vec<Recorded>), CliError> {
    let text = read(path)?;
    let failed = |error: csv::Error| CliError::Failed(format!("{}: {error}", path.display()));
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(text.as_bytes());
    let texts = |record: &csv::StringRecord| record.iter().map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    let titles = texts(reader.headers().map_err(failed)?);
    let rows = reader.records().map(|record| record.map(|record| texts(&record))).collect::<Result<Vec<_>, _>>();
    simulate::board(program, gate, &titles, &rows.map_err(failed)?).map_err(|errors| {
        let said: Vec<String> = errors.iter().map(|error| format!("{}: {error}", path.display())).collect();
        CliError::Failed(said.join("\n"))
    })
}

fn read(path: &Path) -> Result<String, CliError> {
    let text =
        if path.as_os_str() == "-" { std::io::read_to_string(std::io::stdin()) } else { std::fs::read_to_string(path) };
    text.map_err(|error| CliError::Failed(format!("{}: {error}", path.display())))
}
