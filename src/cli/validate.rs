//! `betagate validate`: what is wrong with the documents, or with a cohort's list.

use std::path::PathBuf;
use std::process::ExitCode;

use betagate_core::cohort::Outcome;
use betagate_core::desired::error::{Position, Problem, sorted};
use betagate_core::desired::{Built, nearest::nearest};
use clap::Args;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::common::{DATABASE_FILE, database_url, print_value};
use super::documents::documents_in;
use super::{ATTENTION, CliError, FAILED, Format};
use crate::clock::Clock;
use crate::controller::{Acknowledgement, CheckedList, Known, check_list, survey_list, survey_snapshot};
use crate::source::Snapshot;
use crate::store::Store;

/// Checks every document and every list of a folder: all problems in one run, each with its file, line and column.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  betagate validate\n  betagate validate --cohort pavia    # 0 fine, 1 broken, 2 needs an acknowledgement"
)]
pub struct Validate {
    /// The folder with manifests/, cohorts/ and flags/.
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// Checks this cohort's list alone, with its counts, its digest, and what acknowledges its warnings.
    #[arg(long, value_name = "NAME")]
    cohort: Option<String>,
    /// The data folder, for lists that are secrets and for what was acknowledged to a running controller; .betagate in the folder when left out.
    #[arg(long, env = "BETAGATE_DATA")]
    data: Option<PathBuf>,
    /// The database, for what was acknowledged; the data folder's own when left out, if there is one.
    #[arg(long)]
    database: Option<String>,
    /// Counts acknowledgements of the changes from this Git revision on, too: what a pull request asks for.
    #[arg(long, value_name = "REV")]
    base: Option<String>,
    /// The environment whose differences count.
    #[arg(long)]
    environment: Option<String>,
    /// How the answer is printed.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

impl Validate {
    pub async fn run(self) -> Result<ExitCode, CliError> {
        let snapshot = documents_in(&self.dir)?;
        let default_prometheus = std::env::var("PROM_URL").is_ok();
        let built = survey_snapshot(&snapshot, self.environment.as_deref(), default_prometheus);
        if built.warnings.iter().any(Problem::is_error) {
            return self.refused(&snapshot, &built).await;
        }
        if let Some(name) = &self.cohort {
            return self.list(&snapshot, &built, name).await;
        }
        let mut problems = built.warnings.clone();
        problems.extend(self.lists(&snapshot, &built).await?);
        if self.output == Format::Table {
            for problem in &problems {
                complain!("{problem}");
            }
            let documents = snapshot.documents().count();
            say!("{documents} file(s), {} program(s): {}", built.desired.programs.len(), names(&built));
        } else {
            print_value(&problems, self.output)?;
        }
        Ok(match (problems.is_empty(), problems.iter().any(Problem::is_error)) {
            (true, _) => ExitCode::SUCCESS,
            (false, false) => ExitCode::from(ATTENTION),
            (false, true) => ExitCode::from(FAILED),
        })
    }

    /// Everything that is wrong, the lists' errors included as far as the documents say where lists are.
    async fn refused(&self, snapshot: &Snapshot, built: &Built) -> Result<ExitCode, CliError> {
        let mut problems = built.warnings.clone();
        problems.extend(self.lists(snapshot, built).await?.into_iter().filter(Problem::is_error));
        let problems = sorted(problems);
        if self.output == Format::Table {
            for problem in &problems {
                complain!("{problem}");
            }
            let errors = problems.iter().filter(|problem| problem.is_error()).count();
            complain!("{errors} error(s), {} warning(s)", problems.len() - errors);
        } else {
            print_value(&problems, self.output)?;
        }
        Ok(ExitCode::from(FAILED))
    }

    /// What is wrong with the lists of all cohorts; warnings that somebody has acknowledged are left out, and so is a secret that is elsewhere.
    async fn lists(&self, snapshot: &Snapshot, built: &Built) -> Result<Vec<Problem>, CliError> {
        let (data, now) = (self.data(), Clock::system().now());
        let (mut problems, beside) = (Vec::new(), self.beside(snapshot).await?);
        for program in built.desired.programs.values() {
            for name in program.cohorts.keys() {
                let known = self.known(&beside, program.name(), name).await?;
                let Ok(list) = check_list(snapshot, built, (program, name), &known, (&data, now)) else { continue };
                let heard = list.outcome() == Outcome::Clean;
                problems.extend(list.problems().filter(|_| !heard).map(|problem| {
                    let line = problem.line.and_then(|line| u32::try_from(line).ok()).unwrap_or(1);
                    let found = Problem::new(&problem.file, Position::new(line, 1), "", problem.message);
                    if problem.severity == "warning" { found.warning() } else { found }
                }));
            }
        }
        Ok(problems)
    }

    /// What acknowledgements may have been said to, and from where: the record, and the revision that this one is compared with.
    async fn beside(&self, snapshot: &Snapshot) -> Result<Beside, CliError> {
        let record = match &self.database {
            Some(url) => Some(Store::open(url).await?),
            // One of another version says nothing to this: the documents are checked all the same.
            None if self.data().join(DATABASE_FILE).exists() => {
                Store::open(database_url(None, &self.data()).expose_secret()).await.ok()
            }
            None => None,
        };
        let record = match record {
            Some(store) if store.is_current().await? => Some(store),
            _ => None,
        };
        let base = match &self.base {
            Some(base) => {
                let before = super::documents::documents_at(&self.dir, base, &snapshot.prefix)?;
                let built = super::documents::built(&before, self.environment.as_deref());
                // A base that is broken has no lists.
                built.ok().map(|built| (before, built))
            }
            None => None,
        };
        Ok(Beside { record, base })
    }

    async fn known(&self, beside: &Beside, program: &str, cohort: &str) -> Result<Known, CliError> {
        let known = match &beside.record {
            Some(store) => Known::of_record(store, program, cohort).await?,
            None => Known::default(),
        };
        let at_base = beside.base.as_ref().and_then(|(snapshot, built)| {
            let program = built.desired.programs.get(program)?;
            survey_list(snapshot, program, cohort, &self.data()).ok()
        });
        Ok(known.compared_with(at_base.map(|survey| survey.digest_hex())))
    }

    async fn list(&self, snapshot: &Snapshot, built: &Built, name: &str) -> Result<ExitCode, CliError> {
        let programs = &built.desired.programs;
        let Some(program) = programs.values().find(|program| program.cohorts.contains_key(name)) else {
            let all = programs.values().flat_map(|program| program.cohorts.keys()).map(String::as_str);
            let near = nearest(name, all).map(|near| format!(" (did you mean {near}?)")).unwrap_or_default();
            return Err(CliError::Failed(format!("there is no cohort '{name}'{near}")));
        };
        let known = self.known(&self.beside(snapshot).await?, program.name(), name).await?;
        let checked = check_list(snapshot, built, (program, name), &known, (&self.data(), Clock::system().now()));
        let list = checked.map_err(|reason| CliError::Failed(format!("the list of cohort {name}: {reason}")))?;
        let asked = list.acknowledgement();
        if self.output == Format::Table {
            say_list(&list, asked.as_ref());
        } else {
            print_value(&fields(&list, asked.as_ref()), self.output)?;
        }
        Ok(match list.outcome() {
            Outcome::Clean => ExitCode::SUCCESS,
            Outcome::Broken => ExitCode::from(FAILED),
            Outcome::NeedsAcknowledgement => ExitCode::from(ATTENTION),
        })
    }

    /// The data folder, where secrets are.
    fn data(&self) -> PathBuf {
        self.data.clone().unwrap_or_else(|| self.dir.join(".betagate"))
    }
}

/// What may know more of a list than its snapshot.
struct Beside {
    record: Option<Store>,
    base: Option<(Snapshot, Built)>,
}

/// A checked list, for people: problems to standard error, the answer and what lets it through to standard output.
fn say_list(list: &CheckedList, asked: Option<&Acknowledgement>) {
    list.problems().for_each(|problem| complain!("{problem}"));
    let survey = &list.survey;
    let shown = survey.problems.len() as u64;
    if survey.errors + survey.warnings > shown {
        complain!("{}: and {} more", list.place.name(), survey.errors + survey.warnings - shown);
    }
    let (rows, labels) = (survey.rows, survey.labels.len());
    say!("{rows} row(s), {labels} label(s), {} error(s), {} warning(s)", survey.errors, survey.warnings);
    say!("digest {}", survey.digest_hex());
    if let Some(word) = list.acknowledged_by.as_ref().filter(|_| survey.outcome() == Outcome::NeedsAcknowledgement) {
        say!("the warnings are acknowledged by Signoff {word}");
    }
    if let Some(Acknowledgement { file, yaml, command, .. }) = asked {
        say!(
            "\nThe warnings need an acknowledgement: this document, as {file}, in the same commit as the list:\n\n{yaml}"
        );
        say!("or, said to a running controller:\n\n{command}");
    }
}

/// A checked list, for programs.
fn fields(list: &CheckedList, asked: Option<&Acknowledgement>) -> Value {
    let survey = &list.survey;
    let outcome = match (list.outcome(), survey.outcome()) {
        (Outcome::Clean, Outcome::NeedsAcknowledgement) => "acknowledged",
        (Outcome::Clean, _) => "clean",
        (Outcome::Broken, _) => "broken",
        (Outcome::NeedsAcknowledgement, _) => "needs-acknowledgement",
    };
    json!({
        "program": list.program, "cohort": list.cohort, "file": list.place.name(), "digest": survey.digest_hex(), "outcome": outcome,
        "rows": survey.rows, "labels": survey.labels, "roles": survey.roles, "errors": survey.errors, "warnings": survey.warnings,
        "problems": list.problems().collect::<Vec<_>>(), "acknowledgedBy": list.acknowledged_by,
        "acknowledge": asked.map(|asked| json!({ "file": asked.file, "document": asked.document, "command": asked.command })),
    })
}

fn names(built: &Built) -> String {
    built.desired.programs.keys().cloned().collect::<Vec<_>>().join(", ")
}
