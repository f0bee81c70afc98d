//! `betagate gate`: what a gate says, measuring it now, and the notes of its reviews.

use std::process::ExitCode;

use betagate_core::decide::CheckState;
use betagate_core::resources::Unit;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::common::{plain, print_value, table};
use super::simulate_history::line_of;
use super::{CliError, Format, Where};
use crate::desk::{Request, number};

/// Gates: their live verdict, measured now, and the notes of their reviews.
#[derive(Args)]
#[command(after_help = "Example: betagate gate show weekly-kpis")]
pub struct Gate {
    #[command(subcommand)]
    what: GateWhat,
}

#[derive(Subcommand)]
enum GateWhat {
    /// Shows the live verdict, check by check.
    #[command(after_help = "Example: betagate gate show weekly-kpis")]
    Show {
        /// The gate.
        name: String,
        #[command(flatten)]
        place: Where,
        /// How the answer is printed.
        #[arg(short, long, value_enum, default_value_t)]
        output: Format,
    },
    /// Prints what was measured, oldest first, as lines of JSON: a history for `betagate simulate`.
    #[command(after_help = "Example: betagate gate history --program kruxt > readings.jsonl")]
    History {
        /// Only this gate.
        name: Option<String>,
        /// The program; the only one when left out.
        #[arg(long)]
        program: Option<String>,
        #[command(flatten)]
        place: Where,
    },
    /// Has the running controller measure the gate now.
    #[command(after_help = "Example: betagate gate measure weekly-kpis --by founder")]
    Measure {
        /// The gate.
        name: String,
        /// Who asks.
        #[arg(long)]
        by: String,
        #[command(flatten)]
        place: Where,
    },
    /// Writes a note on the newest review, which the board shows.
    #[command(after_help = "Example: betagate gate review weekly-kpis --note \"Launch week\" --by founder")]
    Review {
        /// The gate.
        name: String,
        /// The note.
        #[arg(long)]
        note: String,
        /// Who writes it.
        #[arg(long)]
        by: String,
        #[command(flatten)]
        place: Where,
    },
}

impl Gate {
    pub async fn run(self) -> Result<ExitCode, CliError> {
        match self.what {
            GateWhat::Show { name, place, output } => {
                show(&place.ask(Request::Get { kind: "gate".to_owned(), name: Some(name.clone()) }).await?, output)?;
                if output == Format::Table {
                    show_late(&place.ask(Request::LateData { gate: name }).await?);
                }
            }
            GateWhat::History { name, program, place } => {
                let found = place.ask(Request::ReadingHistory { program, gate: name }).await?;
                for row in found.as_array().into_iter().flatten() {
                    let reading = serde_json::from_value(row["reading"].clone()).map_err(CliError::failed)?;
                    let [gate, check] = ["gate", "check"].map(|field| row[field].as_str().unwrap_or_default());
                    say!("{}", line_of(gate, check, &reading));
                }
            }
            GateWhat::Measure { name, by, place } => {
                place.ask(Request::MeasureGate { gate: name.clone(), by }).await?;
                say!("asked for; betagate gate show {name}");
            }
            GateWhat::Review { name, note, by, place } => {
                place.ask(Request::NoteReview { gate: name, note, by }).await?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// What late data changed of what was sealed, which stays.
fn show_late(found: &Value) {
    for one in found.as_array().into_iter().flatten() {
        say!(
            "late data: the review of {} ({}) sealed {} at {} of {} {}; now it is {} of {} {}",
            plain(&one["dueAt"]),
            plain(&one["verdict"]),
            plain(&one["check"]),
            one["sealed"][0],
            one["sealed"][1],
            plain(&one["was"]),
            one["now"][0],
            one["now"][1],
            plain(&one["is"])
        );
    }
}

fn show(found: &Value, output: Format) -> Result<(), CliError> {
    let verdict = &found["status"]["verdict"];
    if output != Format::Table {
        return print_value(verdict, output);
    }
    say!(
        "{} is {}: {}",
        plain(&found["name"]),
        verdict["verdict"].as_str().unwrap_or("-"),
        verdict["reason"].as_str().unwrap_or("-")
    );
    let rows = verdict["checks"].as_array().into_iter().flatten().map(|check| {
        let state: Option<CheckState> = serde_json::from_value(check["state"].clone()).ok();
        let value = check["reading"]["outcome"]["value"]["value"].as_f64();
        let percent = check["pass"].as_str().is_some_and(|pass| pass.contains('%')).then_some(Unit::Percent);
        vec![
            state.map_or("⚪", CheckState::mark).to_owned(),
            check["name"].as_str().unwrap_or_default().to_owned(),
            value.map_or_else(|| "-".to_owned(), |value| number(value, percent)),
            check["pass"].as_str().unwrap_or("-").to_owned(),
            if check["critical"] == json!(true) { "critical" } else { "" }.to_owned(),
            check["detail"].as_str().unwrap_or_default().to_owned(),
        ]
    });
    say!("{}", table(&["", "CHECK", "VALUE", "PASS", "", "DETAIL"], rows));
    Ok(())
}
