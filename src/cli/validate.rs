//! `betagate validate`: what is wrong with the documents, or with a cohort's list.

use std::path::PathBuf;
use std::process::ExitCode;

use betagate_core::cohort::Outcome;
use clap::Args;

use super::{ATTENTION, CliError, FAILED, Format, common::print_value};
use crate::controller::{build_snapshot, survey_list};
use crate::source::read_folder;

/// Checks every document of a folder: all problems in one run, each with its file, line and column.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  betagate validate\n  betagate validate --cohort pavia    # 0 fine, 1 broken, 2 needs an acknowledgement"
)]
pub struct Validate {
    /// The folder with manifests/, cohorts/ and flags/.
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// Checks this cohort's list instead, by line.
    #[arg(long, value_name = "NAME")]
    cohort: Option<String>,
    /// The environment whose differences count.
    #[arg(long)]
    environment: Option<String>,
    /// How the answer is printed.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

impl Validate {
    pub fn run(self) -> Result<ExitCode, CliError> {
        let snapshot = read_folder(&self.dir).map_err(CliError::failed)?;
        let default_prometheus = std::env::var("PROM_URL").is_ok();
        let built = match build_snapshot(&snapshot, self.environment.as_deref(), default_prometheus) {
            Ok(built) => built,
            Err(problems) => {
                if self.output == Format::Table {
                    for problem in &problems {
                        complain!("{problem}");
                    }
                    let errors = problems.iter().filter(|problem| problem.is_error()).count();
                    complain!("{errors} error(s), {} warning(s)", problems.len() - errors);
                } else {
                    print_value(&problems, self.output)?;
                }
                return Ok(ExitCode::from(FAILED));
            }
        };
        if let Some(name) = &self.cohort {
            return self.list(&snapshot, &built, name);
        }
        if self.output == Format::Table {
            for warning in &built.warnings {
                complain!("{warning}");
            }
            let documents = snapshot.documents().count();
            say!("{documents} file(s), {} program(s): {}", built.desired.programs.len(), names(&built));
        } else {
            print_value(&built.warnings, self.output)?;
        }
        Ok(if built.warnings.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(ATTENTION) })
    }

    fn list(
        &self,
        snapshot: &crate::source::Snapshot,
        built: &betagate_core::desired::Built,
        name: &str,
    ) -> Result<ExitCode, CliError> {
        let found = built.desired.programs.values().find(|program| program.cohorts.contains_key(name));
        let Some(program) = found else {
            return Err(CliError::Failed(format!("there is no cohort '{name}'")));
        };
        let data = self.dir.join(".betagate");
        let survey = survey_list(snapshot, program, name, &data).map_err(CliError::Failed)?;
        if self.output == Format::Table {
            for problem in &survey.problems {
                complain!("{name}: {problem}");
            }
            say!(
                "{} row(s), {} label(s), {} error(s), {} warning(s)",
                survey.rows,
                survey.labels.len(),
                survey.errors,
                survey.warnings
            );
        } else {
            let problems: Vec<String> = survey.problems.iter().map(ToString::to_string).collect();
            let answer = serde_json::json!({ "rows": survey.rows, "labels": survey.labels, "roles": survey.roles, "problems": problems,
                "errors": survey.errors, "warnings": survey.warnings });
            print_value(&answer, self.output)?;
        }
        Ok(match survey.outcome() {
            Outcome::Clean => ExitCode::SUCCESS,
            Outcome::Broken => ExitCode::from(FAILED),
            Outcome::NeedsAcknowledgement => ExitCode::from(ATTENTION),
        })
    }
}

fn names(built: &betagate_core::desired::Built) -> String {
    built.desired.programs.keys().cloned().collect::<Vec<_>>().join(", ")
}
