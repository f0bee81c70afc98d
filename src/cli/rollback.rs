//! `betagate rollback`: starting, showing and lifting runs.

use std::process::ExitCode;

use betagate_core::resources::{Kind, Says, SignoffSpec};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::common::{expect_known, only_program, print_value, table};
use super::words::{note, say};
use super::{CliError, Format, Where};
use crate::clock::Clock;
use crate::controller::START_ROLLBACK;
use crate::store::{Store, intents, status};

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
        /// Who says so.
        #[arg(long)]
        by: String,
        /// The program; the only one when left out.
        #[arg(long)]
        program: Option<String>,
        #[command(flatten)]
        place: Where,
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
            RollbackWhat::Start { plan, reason, by, program, place } => {
                start(&place, plan, reason, by, program).await?
            }
            RollbackWhat::List { place, output } => {
                let runs = status::list(&place.store().await?, Some("Rollback")).await?;
                if output == Format::Table {
                    let rows = runs
                        .iter()
                        .map(|run| vec![run.name.clone(), plain(&run.status["state"]), plain(&run.status["summary"])]);
                    say!("{}", table(&["RUN", "STATE", "SUMMARY"], rows));
                } else {
                    print_value(
                        &runs.iter().map(|run| json!({ "name": run.name, "status": run.status })).collect::<Vec<_>>(),
                        output,
                    )?;
                }
            }
            RollbackWhat::Show { run, place, output } => show(&place, &run, output).await?,
            RollbackWhat::Lift { run, by, note, place } => {
                let store = place.store().await?;
                let found = found(&store, &run).await?;
                let spec = SignoffSpec {
                    program: found.program.clone(),
                    by,
                    says: Says::Lift,
                    gate: None,
                    check: None,
                    rollout: None,
                    stage: None,
                    run: Some(run),
                    object: None,
                    digest: None,
                    note: Some(note),
                    until: None,
                };
                say!("recorded as {}", say(&store, &found.program, spec).await?);
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

async fn start(
    place: &Where,
    plan: String,
    reason: String,
    by: String,
    program: Option<String>,
) -> Result<(), CliError> {
    let store = place.store().await?;
    let program = only_program(&store, program).await?;
    expect_known(&store, &program, Kind::RollbackPlan, &plan).await?;
    let now = Clock::system().now();
    let body = json!({ "program": program, "plan": plan, "reason": reason });
    let mut tx = store.begin().await?;
    let id = intents::submit(&mut tx, START_ROLLBACK, &by, &body, now).await?;
    note(&mut tx, &program, &by, "rollback.requested", format!("RollbackPlan/{plan}"), body, now).await?;
    tx.commit().await?;
    say!("asked for ({id}); the controller starts it: betagate rollback list");
    Ok(())
}

async fn found(store: &Store, run: &str) -> Result<status::ResourceStatus, CliError> {
    status::get(store, "Rollback", run)
        .await?
        .ok_or_else(|| CliError::Failed(format!("there is no run '{run}': betagate rollback list")))
}

async fn show(place: &Where, run: &str, output: Format) -> Result<(), CliError> {
    let found = found(&place.store().await?, run).await?;
    if output != Format::Table {
        return print_value(&found.status, output);
    }
    say!("{run} is {}: {}", plain(&found.status["state"]), plain(&found.status["summary"]));
    let steps = found.status["run"]["steps"].as_array().cloned().unwrap_or_default();
    let rows = steps.iter().enumerate().map(|(place, step)| {
        let action = step["step"]
            .as_object()
            .and_then(|step| step.keys().find(|key| !matches!(key.as_str(), "deadline" | "onFailure")).cloned());
        let at = |field: &str| step[field].as_str().unwrap_or("-").to_owned();
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
    for wait in found.status["waits"].as_array().into_iter().flatten() {
        say!("waits: {} (from {})", plain(&wait["on"]), plain(&wait["from"]));
    }
    Ok(())
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
