//! `betagate plan`, `apply`: what would change, and doing it now.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use betagate_core::plan::held_line;
use betagate_core::pull::{self, Pull, Standing};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::common::print_value;
use super::documents::{built, documents_at, documents_in};
use super::{ATTENTION, CliError, FAILED, Format, Where};
use crate::apply::processes::ServerFile;
use crate::clock::Clock;
use crate::controller::{Preview, Side, preview, pull};
use crate::desk::Request;

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

/// How long a comment on a forge may be.
pub(super) const COMMENT: usize = 65_536;

/// Shows what the documents would change: against what is live, or against another revision. Nothing is changed, and with --base nothing is
/// measured and no server is asked.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  betagate plan\n  betagate plan --base origin/main --format markdown    # 0: nothing changes, 1: something is broken, 2: something would change"
)]
pub struct Plan {
    /// The folder with manifests/, cohorts/ and flags/.
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// Compares with this Git revision instead of what is live; with where the histories parted, if it has moved on since.
    #[arg(long, value_name = "REV")]
    base: Option<String>,
    /// How it is printed.
    #[arg(long, visible_short_alias = 'o', value_enum, default_value_t)]
    format: PlanFormat,
    /// The environment whose differences count.
    #[arg(long)]
    environment: Option<String>,
    #[command(flatten)]
    place: Where,
}

impl Plan {
    pub async fn run(self) -> Result<ExitCode, CliError> {
        match &self.base {
            Some(base) => {
                let pull = compared(&self.dir, base, self.environment.as_deref(), &self.place.data)?;
                self.show(&pull)
            }
            None => self.against_live().await,
        }
    }

    fn show(&self, pull: &Pull) -> Result<ExitCode, CliError> {
        match self.format {
            PlanFormat::Json => print_value(&told(pull), Format::Json)?,
            PlanFormat::Markdown => say_part!("{}", pull::markdown(pull, COMMENT)),
            PlanFormat::Text if pull.standing() == Standing::Broken => {
                pull.problems.iter().for_each(|problem| complain!("{problem}"));
            }
            PlanFormat::Text => say_part!("{}", pull::text(pull)),
        }
        Ok(match pull.standing() {
            Standing::Broken => ExitCode::from(FAILED),
            _ if pull.is_empty() => ExitCode::SUCCESS,
            _ => ExitCode::from(ATTENTION),
        })
    }

    async fn against_live(&self) -> Result<ExitCode, CliError> {
        let snapshot = documents_in(&self.dir)?;
        let built = match built(&snapshot, self.environment.as_deref()) {
            Ok(built) => built,
            Err(problems) => {
                problems.iter().for_each(|problem| complain!("{problem}"));
                return Ok(ExitCode::from(FAILED));
            }
        };
        let store = self.place.store().await?;
        let now = Clock::system().now();
        let previews = preview(&store, &snapshot, &built, now, &self.place.data).await.map_err(CliError::failed)?;
        let nothing = previews.iter().all(|preview| preview.plan.is_empty());
        match self.format {
            PlanFormat::Json => {
                let all: Vec<_> = previews.iter().map(|preview| json!({ "program": preview.program, "revision": built.desired.revision.id, "actions": preview.plan.actions, "holds": preview.held })).collect();
                print_value(&all, Format::Json)?;
            }
            PlanFormat::Text => previews.iter().for_each(|Preview { program, plan, held }| {
                say!("program {program}: {}", if plan.is_empty() { "nothing changes" } else { "this would change" });
                held.iter().for_each(|held| say!("! {}", held_line(held)));
                say_part!("{}", betagate_core::plan::text(plan));
            }),
            PlanFormat::Markdown => previews.iter().for_each(|Preview { program, plan, held }| {
                say!(
                    "### Program {program}\n\n{}",
                    if plan.is_empty() { "Nothing changes.\n".to_owned() } else { betagate_core::plan::markdown(plan) }
                );
                held.iter().for_each(|held| say!("- **{}**", held_line(held)));
            }),
        }
        Ok(if nothing { ExitCode::SUCCESS } else { ExitCode::from(ATTENTION) })
    }
}

/// What the folder would do, compared with a Git revision.
pub(super) fn compared(dir: &Path, base: &str, environment: Option<&str>, data: &Path) -> Result<Pull, CliError> {
    let snapshot = documents_in(dir)?;
    let before = documents_at(dir, base, &snapshot.prefix)?;
    let (old, new) = (built(&before, environment), built(&snapshot, environment));
    let side = |snapshot, built| Side { snapshot, built };
    let before = side(&before, old.as_ref().map_err(Vec::as_slice));
    let after = side(&snapshot, new.as_ref().map_err(Vec::as_slice));
    Ok(pull(&before, &after, data, Clock::system().now()))
}

/// The facts, with what follows from them.
pub(super) fn told(pull: &Pull) -> Value {
    let mut facts = json!(pull);
    facts["standing"] = json!(pull.standing());
    facts["headline"] = json!(pull.headline());
    facts
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
