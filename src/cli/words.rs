//! `betagate signoff`, `incident`, `freeze`: people's words.

use std::process::ExitCode;

use betagate_core::resources::{Moment, Says, SignoffSpec, Span};
use clap::{Args, Subcommand};
use serde_json::json;

use super::common::{Said, moment, plain};
use super::{CliError, Where};
use crate::desk::Request;

/// Records a person's word: done, go, no-go, accept-mitigation, waive, acknowledge, lift.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  betagate signoff go --by founder --rollout closed-beta --stage us-eu\n  betagate signoff done --by ops-lead --gate pavia-readiness --check runbook-owner"
)]
pub struct Sign {
    /// What is said.
    says: String,
    /// Who says it: a name from the program's people.
    #[arg(long)]
    by: String,
    /// The program; the only one when left out.
    #[arg(long)]
    program: Option<String>,
    /// The gate, for done, waive, accept-mitigation.
    #[arg(long)]
    gate: Option<String>,
    /// The check, for done, waive, accept-mitigation.
    #[arg(long)]
    check: Option<String>,
    /// The rollout, for go, no-go.
    #[arg(long)]
    rollout: Option<String>,
    /// The stage, for go, no-go.
    #[arg(long)]
    stage: Option<String>,
    /// The run, for lift.
    #[arg(long)]
    run: Option<String>,
    /// The object, KIND/NAME, for acknowledge.
    #[arg(long)]
    object: Option<String>,
    /// The digest that plan printed, for acknowledge.
    #[arg(long)]
    digest: Option<String>,
    /// Why.
    #[arg(long)]
    note: Option<String>,
    /// Until when it counts: a date or an instant. Of a no-go in a decision call: when the next call is.
    #[arg(long)]
    until: Option<Moment>,
    #[command(flatten)]
    place: Where,
}

impl Sign {
    pub async fn run(self) -> Result<ExitCode, CliError> {
        let says: Says = serde_json::from_value(json!(self.says)).map_err(|_| {
            CliError::Usage(format!(
                "'{}' is nothing to say; done, go, no-go, accept-mitigation, waive, acknowledge or lift",
                self.says
            ))
        })?;
        let missing = |what: &str| CliError::Usage(format!("{} needs {what}", self.says));
        match says {
            Says::Done if self.gate.is_none() || self.check.is_none() => return Err(missing("--gate and --check")),
            Says::Go | Says::NoGo if self.rollout.is_none() || self.stage.is_none() => {
                return Err(missing("--rollout and --stage"));
            }
            Says::Lift if self.run.is_none() => return Err(missing("--run")),
            Says::Acknowledge if self.object.is_none() || self.digest.is_none() => {
                return Err(missing("--object and --digest"));
            }
            Says::Waive | Says::AcceptMitigation
                if self.gate.is_none() || self.check.is_none() || self.note.is_none() || self.until.is_none() =>
            {
                return Err(missing("--gate, --check, --note and --until"));
            }
            _ => {}
        }
        let word = SignoffSpec {
            program: String::new(),
            by: self.by,
            says,
            gate: self.gate,
            check: self.check,
            rollout: self.rollout,
            stage: self.stage,
            run: self.run,
            object: self.object,
            digest: self.digest,
            note: self.note,
            until: self.until,
        };
        let said = self.place.ask(Request::Sign { program: self.program, word: Box::new(word) }).await?;
        say!("recorded as {}", plain(&said["name"]));
        Ok(ExitCode::SUCCESS)
    }
}

/// Opens and closes incidents.
#[derive(Args)]
#[command(after_help = "Example: betagate incident close sync-outage --by founder")]
pub struct IncidentCommand {
    #[command(subcommand)]
    what: IncidentWhat,
}

#[derive(Subcommand)]
enum IncidentWhat {
    /// Opens one.
    #[command(
        after_help = "Example: betagate incident open sync-outage --severity sev-1 --title \"Sync is down\" --by founder"
    )]
    Open {
        /// Its name.
        name: String,
        /// sev-1 (worst) to sev-4.
        #[arg(long, value_parser = ["sev-1", "sev-2", "sev-3", "sev-4"])]
        severity: String,
        /// What is wrong, in a few words.
        #[arg(long)]
        title: String,
        /// What kind of trouble, such as security.
        #[arg(long, default_value = "")]
        category: String,
        /// Since how long.
        #[arg(long, default_value = "0s")]
        ago: Span,
        #[command(flatten)]
        said: Said,
    },
    /// Takes note of one: somebody looks after it.
    #[command(after_help = "Example: betagate incident ack sync-outage --by on-call")]
    Ack {
        /// Its name.
        name: String,
        #[command(flatten)]
        said: Said,
    },
    /// Closes one.
    #[command(after_help = "Example: betagate incident close sync-outage --by founder")]
    Close {
        /// Its name.
        name: String,
        #[command(flatten)]
        said: Said,
    },
}

impl IncidentCommand {
    pub async fn run(self) -> Result<ExitCode, CliError> {
        match self.what {
            IncidentWhat::Open { name, severity, title, category, ago, said: Said { by, program, place } } => {
                let (ago, started_at) = (Some(ago), None);
                let request = Request::OpenIncident { program, name, severity, title, category, ago, started_at, by };
                let opened = place.ask(request).await?;
                say!("{} is open since {}", plain(&opened["name"]), moment(&opened["startedAt"]));
            }
            IncidentWhat::Ack { name, said: Said { by, program, place } } => {
                let taken = place.ask(Request::AcknowledgeIncident { program, name, by }).await?;
                say!("{} is taken note of", plain(&taken["name"]));
            }
            IncidentWhat::Close { name, said: Said { by, program, place } } => {
                let closed = place.ask(Request::CloseIncident { program, name, by }).await?;
                say!("{} is closed", plain(&closed["name"]));
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Break glass: freezes a program's invites, with no controller running. The next controller adopts it as a run.
#[derive(Args)]
#[command(
    name = "freeze",
    after_help = "Example: betagate freeze --program kruxt --reason \"codes leaked\" --by founder"
)]
pub struct FreezeNow {
    /// The program; the only one when left out.
    #[arg(long)]
    program: Option<String>,
    /// Only this cohort.
    #[arg(long)]
    cohort: Option<String>,
    /// Why.
    #[arg(long)]
    reason: String,
    /// Who says so.
    #[arg(long)]
    by: String,
    #[command(flatten)]
    place: Where,
}

impl FreezeNow {
    pub async fn run(self) -> Result<ExitCode, CliError> {
        let Self { program, cohort, reason, by, place } = self;
        let request = Request::Freeze { program, cohort, reason, by };
        // Break glass: the record itself, whatever runs, unless a server is named.
        let frozen = if place.server.is_some() { place.ask(request).await? } else { place.ask_record(request).await? };
        let what = match frozen["cohort"].as_str() {
            Some(cohort) => format!("cohort {cohort}"),
            None => format!("program {}", plain(&frozen["program"])),
        };
        let when = if frozen["new"] == json!(true) {
            "are frozen"
        } else {
            "are frozen already; the log has the new reason too"
        };
        say!("invites of {what} {when}");
        Ok(ExitCode::SUCCESS)
    }
}
