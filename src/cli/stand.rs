//! `betagate status`, `get`, `why`: where things stand.

use std::process::ExitCode;

use betagate_core::resources::Kind;
use clap::Args;
use serde_json::{Value, json};

use super::common::{print_value, table};
use super::{ATTENTION, CliError, Format, Where};
use crate::store::status::{self, ResourceStatus};

/// Shows where everything stands: programs, stages, gates, rollbacks, cohorts, and the source of documents.
#[derive(Args)]
#[command(after_help = "Example: betagate status -o json")]
pub struct Status {
    #[command(flatten)]
    place: Where,
    /// How the answer is printed.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

impl Status {
    pub async fn run(self) -> Result<ExitCode, CliError> {
        let store = self.place.store().await?;
        let all = status::list(&store, None).await?;
        let sources = status::sources(&store).await?;
        let problems: Vec<String> = sources
            .iter()
            .flat_map(|source| source.body["problems"].as_array().into_iter().flatten())
            .filter_map(|problem| problem.as_str().map(str::to_owned))
            .collect();
        let failure = sources.iter().find_map(|source| source.body["source"]["failure"]["message"].as_str());
        if self.output == Format::Table {
            for source in &sources {
                let revision = source.revision.as_deref().unwrap_or("none yet");
                say!(
                    "source {} at revision {}",
                    source.body["source"]["place"].as_str().unwrap_or("?"),
                    revision.chars().take(12).collect::<String>()
                );
            }
            if let Some(failure) = failure {
                say!("  it can't be read: {failure}");
            }
            for problem in &problems {
                say!("  {problem}");
            }
            say!("{}", table(&["OBJECT", "STATE", "SUMMARY"], all.iter().map(row)));
        } else {
            let sources: Vec<Value> =
                sources.iter().map(|source| json!({ "revision": source.revision, "state": source.body })).collect();
            print_value(
                &json!({ "resources": all.iter().map(shown).collect::<Vec<_>>(), "sources": sources }),
                self.output,
            )?;
        }
        let troubled = !problems.is_empty()
            || failure.is_some()
            || all.iter().any(|status| matches!(status.status["state"].as_str(), Some("Held")));
        Ok(if troubled { ExitCode::from(ATTENTION) } else { ExitCode::SUCCESS })
    }
}

/// Shows the resources of a kind, or one of them.
#[derive(Args)]
#[command(after_help = "Examples:\n  betagate get gates\n  betagate get rollout closed-beta -o json")]
pub struct Get {
    /// The kind: gates, rollouts, cohorts, rollbacks, …
    kind: Kind,
    /// One of them.
    name: Option<String>,
    #[command(flatten)]
    place: Where,
    /// How the answer is printed.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

impl Get {
    pub async fn run(self) -> Result<ExitCode, CliError> {
        let store = self.place.store().await?;
        let found = match &self.name {
            Some(name) => vec![one(&store, self.kind, name).await?],
            None => status::list(&store, Some(self.kind.name())).await?,
        };
        if self.output == Format::Table {
            say!("{}", table(&["OBJECT", "STATE", "SUMMARY"], found.iter().map(row)));
        } else {
            print_value(&found.iter().map(shown).collect::<Vec<_>>(), self.output)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Says what a resource waits for, and who can give it.
#[derive(Args)]
#[command(after_help = "Example: betagate why rollout/closed-beta    # 0: it waits for nothing, 2: it waits")]
pub struct Why {
    /// Which, as KIND/NAME.
    object: String,
    #[command(flatten)]
    place: Where,
    /// How the answer is printed.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

impl Why {
    pub async fn run(self) -> Result<ExitCode, CliError> {
        let (kind, name) = self
            .object
            .split_once('/')
            .ok_or_else(|| CliError::Usage("say KIND/NAME, such as rollout/closed-beta".to_owned()))?;
        let kind: Kind = kind.parse().map_err(CliError::Usage)?;
        let store = self.place.store().await?;
        let found = one(&store, kind, name).await?;
        let waits = found.status["waits"].as_array().cloned().unwrap_or_default();
        if self.output == Format::Table {
            let text = |field: &str| found.status[field].as_str().unwrap_or_default().to_owned();
            say!("{}/{name} is {}: {}", kind.name(), text("state"), text("summary"));
            if waits.is_empty() {
                say!("It waits for nothing.");
            } else {
                let rows = waits.iter().map(|wait| vec![plain(&wait["on"]), plain(&wait["from"])]);
                say!("{}", table(&["IT WAITS FOR", "FROM"], rows));
            }
        } else {
            print_value(&shown(&found), self.output)?;
        }
        Ok(if waits.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(ATTENTION) })
    }
}

async fn one(store: &crate::store::Store, kind: Kind, name: &str) -> Result<ResourceStatus, CliError> {
    if let Some(found) = status::get(store, kind.name(), name).await? {
        return Ok(found);
    }
    let known = status::list(store, Some(kind.name())).await?;
    let near = betagate_core::desired::nearest::nearest(name, known.iter().map(|status| status.name.as_str()));
    let hint = near.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
    Err(CliError::Failed(format!("there is no {} '{name}'{hint}", kind.name().to_lowercase())))
}

fn row(status: &ResourceStatus) -> Vec<String> {
    vec![format!("{}/{}", status.kind, status.name), plain(&status.status["state"]), plain(&status.status["summary"])]
}

fn shown(status: &ResourceStatus) -> Value {
    json!({ "kind": status.kind, "name": status.name, "program": status.program, "status": status.status, "updatedAt": status.updated_at })
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
