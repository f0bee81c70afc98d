//! `betagate board`: the weekly tracking board (seed 002, section 3).

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::common::{plain, print_value, table};
use super::stand::{FUNNEL, funnel_rows};
use super::{ATTENTION, CliError, Format, Where};
use crate::desk::Request;

/// The columns of a checklist's phases.
const PHASES: [&str; 4] = ["Phase", "Began", "Due", "Where it stands"];

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

/// Prints the weekly tracking board: one row a review, and how far the people of each cohort got.
#[derive(Args)]
#[command(
    after_help = "Example: betagate board --program kruxt --format markdown\n         betagate board --gate soft-launch-monitor --marks\n         betagate board --gate soft-launch    # a checklist: how far each phase is"
)]
pub struct Board {
    /// The program; the only one when left out.
    #[arg(long)]
    program: Option<String>,
    /// The gate whose reviews are shown; the program's first one with a KPI when left out.
    #[arg(long)]
    gate: Option<String>,
    /// Each check of the gate with its mark (✅ ⚪ 🔴) at the last reviews and now, instead of a row for each review; exit code 2 when one is missed now.
    #[arg(long, requires = "gate")]
    marks: bool,
    /// How many reviews are shown with --marks.
    #[arg(long, default_value_t = 6, requires = "marks")]
    last: i64,
    /// How it is printed.
    #[arg(long, visible_short_alias = 'o', value_enum, default_value_t)]
    format: BoardFormat,
    #[command(flatten)]
    place: Where,
}

impl Board {
    pub async fn run(self) -> Result<ExitCode, CliError> {
        if let (true, Some(gate)) = (self.marks, &self.gate) {
            let request = Request::Marks { program: self.program.clone(), gate: gate.clone(), reviews: self.last };
            return print_marks(&self.place.ask(request).await?, self.format);
        }
        let answer = self.place.ask(Request::Board { program: self.program, gate: self.gate }).await?;
        let texts = |list: &Value| -> Vec<String> { list.as_array().into_iter().flatten().map(plain).collect() };
        let rows: Vec<Vec<String>> = answer["rows"].as_array().into_iter().flatten().map(texts).collect();
        let phased = answer["phases"].as_array().is_some_and(|phases| !phases.is_empty());
        let for_people = matches!(self.format, BoardFormat::Table | BoardFormat::Markdown);
        // A checklist without reviews has no rows.
        if !(for_people && phased && rows.is_empty()) {
            print(&texts(&answer["titles"]), &rows, self.format)?;
        }
        // A spreadsheet holds one table.
        if for_people {
            print_phases(&answer["phases"], self.format, !rows.is_empty())?;
            let funnels = answer["funnels"].as_array().into_iter().flatten();
            let rows: Vec<_> = funnels.flat_map(|one| funnel_rows(&plain(&one["cohort"]), one)).collect();
            if !rows.is_empty() {
                say!("");
                print(&FUNNEL.map(title), &rows, self.format)?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The phases of a checklist, where the gate is one.
fn print_phases(phases: &Value, format: BoardFormat, apart: bool) -> Result<(), CliError> {
    let texts = |list: &Value| -> Vec<String> { list.as_array().into_iter().flatten().map(plain).collect() };
    let rows: Vec<Vec<String>> = phases.as_array().into_iter().flatten().map(texts).collect();
    if rows.is_empty() {
        return Ok(());
    }
    if apart {
        say!("");
    }
    print(&PHASES.map(str::to_owned), &rows, format)
}

/// The view of seed 004's monitor.
fn print_marks(answer: &Value, format: BoardFormat) -> Result<ExitCode, CliError> {
    let texts = |list: &Value| -> Vec<String> { list.as_array().into_iter().flatten().map(plain).collect() };
    let rows: Vec<Vec<String>> = answer["rows"].as_array().into_iter().flatten().map(texts).collect();
    print(&texts(&answer["titles"]), &rows, format)?;
    let counts = &answer["counts"];
    if matches!(format, BoardFormat::Table | BoardFormat::Markdown) {
        print_phases(&answer["phases"], format, true)?;
        say!("");
        say!(
            "{} is {}: {} ✅ {} ⚪ {} 🔴",
            plain(&answer["gate"]),
            plain(&answer["verdict"]),
            counts["met"],
            counts["unknown"],
            counts["missed"]
        );
    }
    let missed = counts["missed"].as_u64().unwrap_or_default() > 0;
    Ok(if missed { ExitCode::from(ATTENTION) } else { ExitCode::SUCCESS })
}

/// A column of a table, as a document writes it.
fn title(column: &str) -> String {
    let (first, rest) = column.split_at(1);
    format!("{first}{}", rest.to_lowercase())
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
