//! `betagate rollback`: starting, showing and lifting runs.

use std::process::ExitCode;
use std::time::Duration;

use betagate_core::resources::SignoffSpec;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::common::{Said, moment, plain, print_value, table};
use super::stand::say_effects;
use super::{ATTENTION, CliError, FAILED, Format, Where};
use crate::desk::Request;

const KIND: &str = "Rollback";
/// How long the controller may take to go through a plan.
const PATIENCE: Duration = Duration::from_secs(30);

/// Starts, lists, shows and lifts rollbacks.
#[derive(Args)]
#[command(after_help = "Example: betagate rollback list")]
pub struct Rollback {
    #[command(subcommand)]
    what: RollbackWhat,
}

#[derive(Subcommand)]
enum RollbackWhat {
    /// Asks the controller to start a plan now.
    #[command(after_help = "Example: betagate rollback start closed-beta --reason \"a bad release\" --by founder")]
    Start {
        /// The plan.
        plan: String,
        /// Why.
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        said: Said,
    },
    /// Goes through a plan as a drill: what each step would do, whether what it needs is there, its messages rendered. Nothing is changed.
    #[command(
        after_help = "Examples:\n  betagate rollback rehearse closed-beta --by founder    # 0: everything is there, 1: something is missing\n  \
        betagate rollback rehearse closed-beta --by founder --deliver-to gym-operators    # its notes go there, marked DRILL"
    )]
    Rehearse {
        /// The plan.
        plan: String,
        /// Who says so.
        #[arg(long)]
        by: String,
        /// A channel that gets the notes, marked as a drill.
        #[arg(long, value_name = "CHANNEL")]
        deliver_to: Option<String>,
        /// The program; the only one when left out.
        #[arg(long)]
        program: Option<String>,
        #[command(flatten)]
        place: Where,
        /// How the answer is printed.
        #[arg(short, long, value_enum, default_value_t)]
        output: Format,
    },
    /// Lists the runs.
    #[command(after_help = "Example: betagate rollback list -o json")]
    List {
        #[command(flatten)]
        place: Where,
        /// How the answer is printed.
        #[arg(short, long, value_enum, default_value_t)]
        output: Format,
    },
    /// Shows one run, step by step.
    #[command(after_help = "Example: betagate rollback show closed-beta-1")]
    Show {
        /// The run, such as closed-beta-1.
        run: String,
        #[command(flatten)]
        place: Where,
        /// How the answer is printed.
        #[arg(short, long, value_enum, default_value_t)]
        output: Format,
    },
    /// Says that a run's holds may go; they lift in reverse order once its cause document is complete.
    #[command(after_help = "Example: betagate rollback lift closed-beta-1 --by founder --note \"handled\"")]
    Lift {
        /// The run.
        run: String,
        /// Who says so.
        #[arg(long)]
        by: String,
        /// Why.
        #[arg(long)]
        note: String,
        #[command(flatten)]
        place: Where,
    },
}

impl Rollback {
    pub async fn run(self) -> Result<ExitCode, CliError> {
        match self.what {
            RollbackWhat::Start { plan, reason, said: Said { by, program, place } } => {
                let asked = place.ask(Request::StartRollback { program, plan, reason, by }).await?;
                say!("asked for ({}); the controller starts it: betagate rollback list", plain(&asked["intent"]));
            }
            RollbackWhat::Rehearse { plan, by, deliver_to, program, place, output } => {
                let asked = place.ask(Request::Rehearse { program, plan, deliver_to, by }).await?;
                return rehearsed(&place, &asked, output).await;
            }
            RollbackWhat::List { place, output } => {
                let runs = place.ask(Request::Get { kind: KIND.to_owned(), name: None }).await?;
                let runs = runs.as_array().cloned().unwrap_or_default();
                if output == Format::Table {
                    let cells = |run: &Value| {
                        vec![plain(&run["name"]), plain(&run["status"]["state"]), plain(&run["status"]["summary"])]
                    };
                    say!("{}", table(&["RUN", "STATE", "SUMMARY"], runs.iter().map(cells)));
                } else {
                    let shown = runs.iter().map(|run| json!({ "name": run["name"], "status": run["status"] }));
                    print_value(&shown.collect::<Vec<_>>(), output)?;
                }
            }
            RollbackWhat::Show { run, place, output } => return show(&place, run, output).await,
            RollbackWhat::Lift { run, by, note, place } => {
                let word = SignoffSpec::lift("", by, run, note);
                let said = place.ask(Request::Sign { program: None, word: Box::new(word) }).await?;
                say!("recorded as {}", plain(&said["name"]));
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Waits for the controller to have gone through the plan, and tells what it found.
async fn rehearsed(place: &Where, asked: &Value, output: Format) -> Result<ExitCode, CliError> {
    let result = place.outcome_of(asked, PATIENCE, "no controller has gone through it yet").await?;
    let passed = result["passed"] == true;
    if output != Format::Table {
        print_value(&result, output)?;
        return Ok(if passed { ExitCode::SUCCESS } else { ExitCode::from(FAILED) });
    }
    for (place, step) in result["steps"].as_array().into_iter().flatten().enumerate() {
        let problems: Vec<String> = step["problems"].as_array().into_iter().flatten().map(plain).collect();
        let mark = if problems.is_empty() { "✅" } else { "🔴" };
        say!("{mark} {} {}", place + 1, plain(&step["step"]));
        for line in step["changes"].as_array().into_iter().chain(step["messages"].as_array()).flatten() {
            say!("     {}", plain(line));
        }
        problems.iter().for_each(|problem| say!("     missing: {problem}"));
    }
    say!(
        "{}",
        if passed { "everything is there; nothing was changed" } else { "something is missing; nothing was changed" }
    );
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

/// 2 while the run is in force, as `why` and `status` have it.
async fn show(place: &Where, run: String, output: Format) -> Result<ExitCode, CliError> {
    let found = place.ask(Request::Get { kind: KIND.to_owned(), name: Some(run.clone()) }).await?;
    let code = if found["status"]["state"] == "Lifted" { ExitCode::SUCCESS } else { ExitCode::from(ATTENTION) };
    if output != Format::Table {
        print_value(&found["status"], output)?;
        return Ok(code);
    }
    say!("{run} is {}: {}", plain(&found["status"]["state"]), plain(&found["status"]["summary"]));
    let steps = found["status"]["run"]["steps"].as_array().cloned().unwrap_or_default();
    let rows = steps.iter().enumerate().map(|(place, step)| {
        let action = step["step"]
            .as_object()
            .and_then(|step| step.keys().find(|key| !matches!(key.as_str(), "deadline" | "onFailure")).cloned());
        let at = |field: &str| if step[field].is_null() { "-".to_owned() } else { moment(&step[field]) };
        vec![
            (place + 1).to_string(),
            action.unwrap_or_default(),
            plain(&step["state"]),
            at("in_force_at"),
            at("verified_at"),
            plain(&step["detail"]),
        ]
    });
    say!("{}", table(&["STEP", "ACTION", "STATE", "IN FORCE", "VERIFIED", "WAITS FOR"], rows));
    say_effects(&found);
    for wait in found["status"]["waits"].as_array().into_iter().flatten() {
        say!("waits: {} (from {})", plain(&wait["on"]), plain(&wait["from"]));
    }
    Ok(code)
}
