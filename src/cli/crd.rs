//! `betagate crd`: the custom resource definitions.

use std::path::PathBuf;
use std::process::ExitCode;

use betagate_core::resources::{Kind, crd};
use clap::Args;

use super::CliError;

/// Prints the custom resource definitions, or writes one file a kind.
#[derive(Args)]
#[command(after_help = "Example: betagate crd --write crds")]
pub struct Crd {
    /// Writes them into this folder instead.
    #[arg(long, value_name = "DIR")]
    write: Option<PathBuf>,
}

impl Crd {
    pub fn run(self) -> Result<ExitCode, CliError> {
        let Some(folder) = self.write else {
            let all: Result<Vec<String>, CliError> = Kind::ALL.iter().map(|kind| text(*kind)).collect();
            say_part!("{}", all?.join("---\n"));
            return Ok(ExitCode::SUCCESS);
        };
        std::fs::create_dir_all(&folder).map_err(CliError::failed)?;
        for kind in Kind::ALL {
            let path = folder.join(format!("{}.yaml", kind.plural()));
            std::fs::write(&path, text(*kind)?)
                .map_err(|error| CliError::Failed(format!("{}: {error}", path.display())))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// A kind's definition as YAML.
fn text(kind: Kind) -> Result<String, CliError> {
    let value = serde_json::to_value(crd(kind)).map_err(CliError::failed)?;
    serde_saphyr::to_string(&value).map_err(CliError::failed)
}
