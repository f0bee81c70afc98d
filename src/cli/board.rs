//! `betagate board`: the weekly tracking board (seed 002, section 3).

use std::process::ExitCode;

use betagate_core::decide::{CheckState, Outcome, SealedReview};
use betagate_core::resources::Unit;
use clap::{Args, ValueEnum};
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::common::{only_program, print_value, table};
use super::{CliError, Format, Where};
use crate::store::{Store, readings, status};

/// The most rows that are shown.
const MOST: i64 = 520;

/// How the board is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum BoardFormat {
    /// For people.
    #[default]
    Table,
    /// For documents.
    Markdown,
    /// For spreadsheets.
    Csv,
    /// For programs.
    Json,
}

/// Prints the weekly tracking board: one row a review.
#[derive(Args)]
#[command(after_help = "Example: betagate board --program kruxt --format markdown")]
pub struct Board {
    /// The program; the only one when left out.
    #[arg(long)]
    program: Option<String>,
    /// The gate whose reviews are shown; the program's first one with a KPI when left out.
    #[arg(long)]
    gate: Option<String>,
    /// How it is printed.
    #[arg(long, visible_short_alias = 'o', value_enum, default_value_t)]
    format: BoardFormat,
    #[command(flatten)]
    place: Where,
}

impl Board {
    pub async fn run(self) -> Result<ExitCode, CliError> {
        let store = self.place.store().await?;
        let program = only_program(&store, self.program.clone()).await?;
        let gate = match self.gate {
            Some(gate) => gate,
            None => kpi_gate(&store, &program).await?,
        };
        let zone = zone(&store, &program).await?;
        let mut reviews = readings::reviews(&store, &program, Some(&gate), MOST).await?;
        reviews.sort_by_key(|review| review.due_at);
        let head = columns(&store, &program, &gate).await?;
        let rows = reviews.into_iter().filter_map(|review| {
            let note = review.body["note"].as_str().map(str::to_owned);
            let sealed: SealedReview = serde_json::from_value(review.body).ok()?;
            Some(row(&sealed, note, &head, &zone))
        });
        let rows: Vec<Vec<String>> = rows.collect();
        let mut titles = vec!["Week Of".to_owned(), "Cohort".to_owned()];
        titles.extend(head.iter().map(|(_, title)| title.clone()));
        titles.extend(["Gate Status".to_owned(), "Notes".to_owned()]);
        print(&titles, &rows, self.format)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// The gate of the weekly board: the first one, by name, that was reviewed and measures a KPI.
async fn kpi_gate(store: &Store, program: &str) -> Result<String, CliError> {
    let gates = status::list(store, Some("Gate")).await?;
    let kpis = crate::store::kpi::Kpi::ALL.len();
    let own = gates.into_iter().filter(|gate| gate.program == program);
    let most = own.max_by_key(|gate| {
        gate.status["verdict"]["checks"]
            .as_array()
            .map_or(0, |checks| checks.iter().filter(|check| check["reading"].is_object()).count().min(kpis))
    });
    most.map(|gate| gate.name).ok_or_else(|| CliError::Failed(format!("program '{program}' has no gate yet")))
}

async fn zone(store: &Store, program: &str) -> Result<TimeZone, CliError> {
    let all = status::all_good(store).await?;
    let good = all.iter().find(|good| good.kind == "Program" && good.name == program);
    let name = good.and_then(|good| good.body["spec"]["timeZone"].as_str()).unwrap_or("UTC");
    Ok(TimeZone::get(name).unwrap_or(TimeZone::UTC))
}

/// The checks with their column titles. A check whose column is empty is not on the board.
async fn columns(store: &Store, program: &str, gate: &str) -> Result<Vec<(String, String)>, CliError> {
    let good = status::all_good(store).await?;
    let spec = good.iter().find(|good| good.kind == "Gate" && good.program == program && good.name == gate);
    let Some(spec) = spec else {
        return Err(CliError::Failed(format!("there is no gate '{gate}' in program '{program}'")));
    };
    let checks = spec.body["checks"].as_array().cloned().unwrap_or_default();
    let title =
        |check: &Value| check["column"].as_str().or_else(|| check["name"].as_str()).unwrap_or_default().to_owned();
    let named = checks.iter().map(|check| (check["name"].as_str().unwrap_or_default().to_owned(), title(check)));
    Ok(named.filter(|(_, title)| !title.is_empty()).collect())
}

fn row(review: &SealedReview, note: Option<String>, columns: &[(String, String)], zone: &TimeZone) -> Vec<String> {
    let cohorts = if review.cohorts.is_empty() { "-".to_owned() } else { review.cohorts.join(" + ") };
    let mut row = vec![review.due_at.to_zoned(zone.clone()).date().to_string(), cohorts];
    for (name, _) in columns {
        let check = review.verdict.checks.iter().find(|check| check.name == *name);
        row.push(check.map_or_else(
            || "-".to_owned(),
            |check| match (&check.state, check.reading.as_ref().map(|reading| &reading.outcome)) {
                (CheckState::NotDue | CheckState::Waived, _) => "-".to_owned(),
                (_, Some(Outcome::Value { value, .. })) => number(*value, check.pass.as_ref().map(|pass| pass.unit)),
                (state, _) => state.mark().to_owned(),
            },
        ));
    }
    row.push(review.verdict.verdict.to_string());
    row.push(note.unwrap_or_else(|| review.verdict.reason.clone()));
    row
}

/// A ratio as per cent with one decimal, a whole number as such, anything else with two decimals.
pub(super) fn number(value: f64, unit: Option<Unit>) -> String {
    match unit {
        Some(Unit::Percent) => format!("{:.1}%", value * 100.0),
        _ if value.fract() == 0.0 => format!("{value}"),
        _ => format!("{value:.2}"),
    }
}

fn print(titles: &[String], rows: &[Vec<String>], format: BoardFormat) -> Result<(), CliError> {
    match format {
        BoardFormat::Table => {
            let titles: Vec<&str> = titles.iter().map(String::as_str).collect();
            say!("{}", table(&titles, rows.iter().cloned()));
        }
        BoardFormat::Markdown => {
            let line = |cells: &[String]| {
                format!("| {} |", cells.iter().map(|cell| cell.replace('|', "\\|")).collect::<Vec<_>>().join(" | "))
            };
            say!("{}", line(titles));
            let last = titles.len().saturating_sub(2);
            let rule = (0..titles.len()).map(|place| if place < 2 || place >= last { "---" } else { "---:" });
            say!("|{}|", rule.collect::<Vec<_>>().join("|"));
            rows.iter().for_each(|row| say!("{}", line(row)));
        }
        BoardFormat::Csv => {
            let mut writer = csv::Writer::from_writer(std::io::stdout());
            writer.write_record(titles).map_err(CliError::failed)?;
            for row in rows {
                writer.write_record(row).map_err(CliError::failed)?;
            }
            writer.flush().map_err(CliError::failed)?;
        }
        BoardFormat::Json => {
            let rows: Vec<Value> = rows
                .iter()
                .map(|row| {
                    titles
                        .iter()
                        .zip(row)
                        .map(|(title, cell)| (title.clone(), json!(cell)))
                        .collect::<serde_json::Map<_, _>>()
                        .into()
                })
                .collect();
            print_value(&rows, Format::Json)?;
        }
    }
    Ok(())
}
