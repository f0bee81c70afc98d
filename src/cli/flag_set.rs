//! `betagate flag set`: another default variant, written where the flag stands: by the server's controller, or into a folder's file.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::common::plain;
use super::{CliError, FAILED, Where};
use crate::apply::documents::set_default_variant;
use crate::controller::build_snapshot;
use crate::desk::Request;
use crate::source::read_folder;
use crate::store::flags;

/// How long the controller may take to carry it out.
const PATIENCE: Duration = Duration::from_secs(15);

/// Which flag, and what it should be.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  betagate flag set ml_recommendations_enabled on\n  betagate flag set ml_recommendations_enabled on --server http://10.0.0.7:8080 --by founder"
)]
pub struct Set {
    /// The flag's key.
    key: String,
    /// The variant.
    variant: String,
    /// The folder with flags/, changed directly; without it, the server's own (or the folder here, when there is no server).
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Who says so.
    #[arg(long, default_value = "")]
    by: String,
    #[command(flatten)]
    place: Where,
}

impl Set {
    pub async fn run(self) -> Result<ExitCode, CliError> {
        if self.dir.is_none() && self.place.has_server()? {
            return self.by_server().await;
        }
        let dir = self.dir.clone().unwrap_or_else(|| PathBuf::from("."));
        let snapshot = read_folder(&dir).map_err(CliError::failed)?;
        let built = match build_snapshot(&snapshot, None, true) {
            Ok(built) => built,
            Err(problems) => {
                problems.iter().for_each(|problem| complain!("{problem}"));
                return Ok(ExitCode::from(FAILED));
            }
        };
        self.refuse_held().await?;
        let written = set_default_variant(&dir, &built, &self.key, &self.variant).map_err(CliError::Failed)?;
        say!("{}:{}: defaultVariant is {} now", dir.join(&written.file).display(), written.line, self.variant);
        Ok(ExitCode::SUCCESS)
    }

    async fn by_server(self) -> Result<ExitCode, CliError> {
        let request = Request::SetFlag { key: self.key, variant: self.variant.clone(), by: self.by };
        let asked = self.place.ask(request).await?;
        let not_yet = "the controller has not carried it out yet";
        let written = self.place.outcome_of(&asked, PATIENCE, not_yet).await?;
        let variant = &self.variant;
        match written["resource"].as_str() {
            Some(resource) => {
                say!("{resource} in namespace {}: defaultVariant is {variant} now", plain(&written["namespace"]));
            }
            None => say!("{}:{}: defaultVariant is {variant} now", plain(&written["file"]), written["line"]),
        }
        Ok(ExitCode::SUCCESS)
    }

    /// A held flag stays as it is: the record says so, where there is one.
    async fn refuse_held(&self) -> Result<(), CliError> {
        let Ok(store) = self.place.store().await else { return Ok(()) };
        let Some(snapshot) = flags::newest(&store).await? else { return Ok(()) };
        match flags::held_by(&snapshot, &self.key) {
            None => Ok(()),
            Some(run) => Err(CliError::Failed(format!("'{}' is held by {run}; betagate why rollback/{run}", self.key))),
        }
    }
}
