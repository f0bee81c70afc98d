//! `betagate plan`, `apply`: what would change, and doing it now.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde_json::json;

use super::common::print_value;
use super::{ATTENTION, CliError, FAILED, Format, Where};
use crate::apply::processes::ServerFile;
use crate::clock::Clock;
use crate::controller::{Preview, build_snapshot, compare, preview};
use crate::desk::Request;
use crate::source::{Snapshot, at, read_folder};

/// How a plan is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum PlanFormat {
    /// For terminals.
    #[default]
    Text,
    /// For pull requests.
    Markdown,
    /// For programs.
    Json,
}

/// Shows what the documents would change: against what is live, or against another revision. Nothing is changed, and with --base nothing is measured.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  betagate plan\n  betagate plan --base origin/main --format markdown    # 0: nothing, 2: something would change"
)]
pub struct Plan {
    /// The folder with manifests/, cohorts/ and flags/.
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// Compares with this Git revision instead of what is live.
    #[arg(long, value_name = "REV")]
    base: Option<String>,
    /// How it is printed.
    #[arg(long, value_enum, default_value_t)]
    format: PlanFormat,
    /// The environment whose differences count.
    #[arg(long)]
    environment: Option<String>,
    #[command(flatten)]
    place: Where,
}

impl Plan {
    pub async fn run(self) -> Result<ExitCode, CliError> {
        let snapshot = read_folder(&self.dir).map_err(CliError::failed)?;
        let Some(built) = self.build(&snapshot) else { return Ok(ExitCode::from(FAILED)) };
        let previews = match &self.base {
            Some(base) => {
                let before = at(&self.dir, base, &snapshot.prefix).map_err(CliError::failed)?;
                let Some(before_built) = self.build(&before) else { return Ok(ExitCode::from(FAILED)) };
                compare((&before, &before_built), (&snapshot, &built), &self.place.data).map_err(CliError::Failed)?
            }
            None => preview(&self.place.store().await?, &snapshot, &built, Clock::system().now(), &self.place.data)
                .await
                .map_err(CliError::failed)?,
        };
        let nothing = previews.iter().all(|preview| preview.plan.is_empty());
        match self.format {
            PlanFormat::Json => {
                let all: Vec<_> = previews.iter().map(|preview| json!({ "program": preview.program, "revision": built.desired.revision.id, "actions": preview.plan.actions })).collect();
                print_value(&all, Format::Json)?;
            }
            PlanFormat::Text => previews.iter().for_each(|Preview { program, plan }| {
                say!("program {program}: {}", if plan.is_empty() { "nothing changes" } else { "this would change" });
                say_part!("{}", betagate_core::plan::text(plan));
            }),
            PlanFormat::Markdown => previews.iter().for_each(|Preview { program, plan }| {
                say!(
                    "### Program {program}\n\n{}",
                    if plan.is_empty() { "Nothing changes.\n".to_owned() } else { betagate_core::plan::markdown(plan) }
                );
            }),
        }
        Ok(if nothing { ExitCode::SUCCESS } else { ExitCode::from(ATTENTION) })
    }

    fn build(&self, snapshot: &Snapshot) -> Option<betagate_core::desired::Built> {
        match build_snapshot(snapshot, self.environment.as_deref(), std::env::var("PROM_URL").is_ok()) {
            Ok(built) => Some(built),
            Err(problems) => {
                problems.iter().for_each(|problem| complain!("{problem}"));
                None
            }
        }
    }
}

/// Has a running `betagate up` look at its source now.
#[derive(Args)]
#[command(after_help = "Example: betagate apply")]
pub struct Apply {
    #[command(flatten)]
    place: Where,
}

impl Apply {
    pub async fn run(self) -> Result<ExitCode, CliError> {
        let server = ServerFile::read(&self.place.data).map_err(CliError::failed)?;
        if server.is_none() && self.place.database.is_none() && self.place.server.is_none() {
            return Err(CliError::Failed(
                "nothing runs here: start `betagate up`, or name a server with --server".to_owned(),
            ));
        }
        self.place.ask(Request::Apply).await?;
        say!("asked for; see betagate status");
        Ok(ExitCode::SUCCESS)
    }
}
