//! The command line, one file a command: arguments in, text out.
//!
//! Must not know: how anything is done.
//!
//! Exit codes: 0 fine, 1 failed, 2 needs attention, 64 wrong usage. Errors and progress go to standard error, answers to standard output.

#[macro_use]
mod out;

mod board;
mod common;
mod controller;
mod crd;
mod dataset;
mod documents;
mod flag;
mod flag_explain;
mod flag_set;
mod gate;
mod glance;
mod import;
mod import_csv;
mod invite;
mod invite_code;
mod invite_hash;
mod invite_mail;
mod line;
mod parts;
mod people;
mod plan;
mod record;
mod record_bundle;
mod report;
mod rollback;
mod server;
mod simulate;
mod simulate_history;
mod stand;
mod tokens;
mod up;
mod validate;
mod words;

use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};
use tracing_subscriber::EnvFilter;

pub use common::{CliError, Format, Where};

/// The exit code of what went wrong.
pub const FAILED: u8 = 1;
/// The exit code of what needs a person's attention.
pub const ATTENTION: u8 = 2;
/// The exit code of words that are no command.
const USAGE: u8 = 64;

/// Beta programs as code: cohorts, invites, flags, gates, stages and ordered rollbacks from YAML.
#[derive(Parser)]
#[command(name = "betagate", version, after_help = "Start here: betagate up")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Up(up::Up),
    Validate(validate::Validate),
    Plan(plan::Plan),
    Report(report::Report),
    Apply(plan::Apply),
    Status(stand::Status),
    Get(stand::Get),
    Why(stand::Why),
    Board(board::Board),
    Simulate(simulate::Simulate),
    Gate(gate::Gate),
    Signoff(words::Sign),
    Incident(words::IncidentCommand),
    Rollback(rollback::Rollback),
    Freeze(words::FreezeNow),
    Stop(line::Stop),
    Resume(line::Resume),
    Invite(invite::Invite),
    Flag(flag::Flag),
    Import(import::Import),
    Dataset(dataset::Dataset),
    Audit(record::Audit),
    Admin(people::Admin),
    Backup(record::Backup),
    Restore(record::Restore),
    Migrate(record::Migrate),
    Crd(crd::Crd),
    Api(parts::Api),
    Worker(parts::Worker),
    Controller(controller::ControllerAlone),
    /// Prints completions for a shell.
    #[command(after_help = "Example: betagate completions bash > /etc/bash_completion.d/betagate")]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// Reads the arguments and does what they say.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
        }
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colours)
        .with_target(false)
        .init();
    // There is one provider: whoever was first installed this same one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    // An API process takes what cores it has; the others are mostly asleep.
    if !matches!(cli.command, Command::Api(_)) {
        runtime.worker_threads(2);
    }
    let runtime = runtime.enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            complain!("betagate: {error}");
            return ExitCode::from(FAILED);
        }
    };
    let done = runtime.block_on(run(cli.command));
    runtime.shutdown_background();
    match done {
        Ok(code) => code,
        Err(error) => {
            complain!("betagate: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

async fn run(command: Command) -> Result<ExitCode, CliError> {
    match command {
        Command::Up(up) => up.run().await,
        Command::Validate(validate) => validate.run().await,
        Command::Plan(plan) => plan.run().await,
        Command::Report(report) => report.run().await,
        Command::Apply(apply) => apply.run().await,
        Command::Status(status) => status.run().await,
        Command::Get(get) => get.run().await,
        Command::Why(why) => why.run().await,
        Command::Board(board) => board.run().await,
        Command::Simulate(simulate) => simulate.run(),
        Command::Gate(gate) => gate.run().await,
        Command::Signoff(sign) => sign.run().await,
        Command::Incident(incident) => incident.run().await,
        Command::Rollback(rollback) => rollback.run().await,
        Command::Freeze(freeze) => freeze.run().await,
        Command::Stop(stop) => stop.run().await,
        Command::Resume(resume) => resume.run().await,
        Command::Invite(invite) => invite.run().await,
        Command::Flag(flag) => flag.run().await,
        Command::Import(import) => import.run().await,
        Command::Dataset(dataset) => dataset.run().await,
        Command::Audit(audit) => audit.run().await,
        Command::Admin(admin) => admin.run().await,
        Command::Backup(backup) => backup.run().await,
        Command::Restore(restore) => restore.run().await,
        Command::Migrate(migrate) => migrate.run().await,
        Command::Crd(crd) => crd.run(),
        Command::Api(api) => api.run().await,
        Command::Worker(worker) => worker.run().await,
        Command::Controller(controller) => controller.run().await,
        Command::Completions { shell } => {
            // Printed at once: the generator itself panics when nobody reads on.
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "betagate", &mut script);
            say_part!("{}", String::from_utf8_lossy(&script));
            Ok(ExitCode::SUCCESS)
        }
    }
}
