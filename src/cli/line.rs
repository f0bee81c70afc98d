//! `betagate stop`, `resume`: the line of one program, or of all.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::{CliError, Where};
use crate::desk::Request;

/// Stops the line: no stage opens until it is let go on. Rollbacks, holds and whoever is in are not touched.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  betagate stop --program kruxt --reason \"the payment provider is down\" --by ops-lead\n  betagate stop --all --reason \"region outage\" --by founder"
)]
pub struct Stop {
    /// The program; the only one when left out.
    #[arg(long)]
    program: Option<String>,
    /// Every program.
    #[arg(long, conflicts_with = "program")]
    all: bool,
    /// Why.
    #[arg(long)]
    reason: String,
    /// Who says so.
    #[arg(long)]
    by: String,
    #[command(flatten)]
    place: Where,
}

impl Stop {
    pub async fn run(self) -> Result<ExitCode, CliError> {
        let Self { program, all, reason, by, place } = self;
        let stopped = place.ask(Request::StopLine { program, everywhere: all, reason, by }).await?;
        let whose = stopped["program"].as_str().map_or("every program".to_owned(), |name| format!("program {name}"));
        let how =
            if stopped["new"] == json!(true) { "is stopped" } else { "was stopped already; the first reason stands" };
        say!("the line of {whose} {how}");
        Ok(ExitCode::SUCCESS)
    }
}

/// Lets a line that was stopped go on.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  betagate resume --program kruxt --by ops-lead\n  betagate resume --all --by founder"
)]
pub struct Resume {
    /// The program; the only one when left out.
    #[arg(long)]
    program: Option<String>,
    /// What was stopped for every program.
    #[arg(long, conflicts_with = "program")]
    all: bool,
    /// Who says so.
    #[arg(long)]
    by: String,
    #[command(flatten)]
    place: Where,
}

impl Resume {
    pub async fn run(self) -> Result<ExitCode, CliError> {
        let Self { program, all, by, place } = self;
        let resumed = place.ask(Request::ResumeLine { program, everywhere: all, by }).await?;
        let whose = resumed["program"].as_str().map_or("every program".to_owned(), |name| format!("program {name}"));
        say!("the line of {whose} goes on");
        Ok(ExitCode::SUCCESS)
    }
}
