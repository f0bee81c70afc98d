//! What commands share: where the record is, how answers are printed, what an error is.

use std::path::{Path, PathBuf};

use betagate_core::desired::nearest::nearest;
use betagate_core::resources::Kind;
use clap::{Args, ValueEnum};
use comfy_table::{ContentArrangement, Table, presets};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;

use super::{FAILED, USAGE};
use crate::store::{Store, StoreError};

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// It failed.
    #[error("{0}")]
    Failed(String),
    /// The words are no command.
    #[error("{0}")]
    Usage(String),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl CliError {
    /// The exit code it ends with.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => USAGE,
            Self::Failed(_) | Self::Store(_) => FAILED,
        }
    }

    /// A failure in words.
    pub fn failed(what: impl std::fmt::Display) -> Self {
        Self::Failed(what.to_string())
    }
}

/// How an answer is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
    /// For programs and people.
    Yaml,
}

/// Where the record is.
#[derive(Args, Clone, Debug)]
pub struct Where {
    /// The data folder of `betagate up`.
    #[arg(long, default_value = ".betagate", env = "BETAGATE_DATA")]
    pub data: PathBuf,
    /// A database instead of the data folder's own: postgres://… or sqlite:PATH.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    pub database: Option<String>,
}

impl Where {
    /// The database's address.
    pub fn url(&self) -> SecretString {
        database_url(self.database.as_deref(), &self.data)
    }

    /// The record, which must exist: commands that only look do not make one.
    ///
    /// # Errors
    /// When there is none, or it does not answer.
    pub async fn store(&self) -> Result<Store, CliError> {
        if self.database.is_none() && !self.data.join(DATABASE_FILE).exists() {
            let folder = self.data.display();
            return Err(CliError::Failed(format!(
                "there is no record in {folder}: start `betagate up` first, or name one with --data or --database"
            )));
        }
        let store = Store::open(self.url().expose_secret()).await?;
        if !store.is_current().await? {
            return Err(CliError::Failed("the database is of another version: run `betagate migrate`".to_owned()));
        }
        Ok(store)
    }
}

const DATABASE_FILE: &str = "betagate.db";

/// The address of the database: as given, or SQLite in the data folder.
pub fn database_url(given: Option<&str>, data: &Path) -> SecretString {
    match given {
        Some(url) => url.to_owned().into(),
        None => format!("sqlite:{}", data.join(DATABASE_FILE).display()).into(),
    }
}

/// Prints a value in a format for programs.
///
/// # Errors
/// When it can't be written as such.
pub fn print_value(value: &impl Serialize, format: Format) -> Result<(), CliError> {
    let text = match format {
        Format::Yaml => serde_saphyr::to_string(value).map_err(CliError::failed)?,
        Format::Json | Format::Table => serde_json::to_string_pretty(value).map_err(CliError::failed)?,
    };
    say!("{}", text.trim_end());
    Ok(())
}

/// A table for people, as wide as the terminal.
pub fn table(head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(head.iter().copied());
    for row in rows {
        table.add_row(row);
    }
    table.to_string()
}

/// The program that is meant: named, or the only one.
///
/// # Errors
/// When there is none of that name, or several and none named.
pub async fn only_program(store: &Store, named: Option<String>) -> Result<String, CliError> {
    let all = crate::store::status::all_good(store).await?;
    let programs: Vec<String> = all.into_iter().filter(|good| good.kind == "Program").map(|good| good.name).collect();
    match named {
        Some(named) if programs.contains(&named) => Ok(named),
        Some(named) => {
            Err(CliError::Failed(format!("there is no program '{named}'; there are {}", programs.join(", "))))
        }
        None => match programs.as_slice() {
            [only] => Ok(only.clone()),
            [] => Err(CliError::Failed("there is no program yet".to_owned())),
            several => Err(CliError::Usage(format!("name the program with --program: {}", several.join(", ")))),
        },
    }
}

/// Refuses a name that the program does not have: a word about it would be kept, and would do nothing.
///
/// # Errors
/// When the record knows no such resource; the nearest name is told.
pub async fn expect_known(store: &Store, program: &str, kind: Kind, name: &str) -> Result<(), CliError> {
    let all = crate::store::status::list(store, Some(kind.name())).await?;
    let own: Vec<String> = all.into_iter().filter(|one| one.program == program).map(|one| one.name).collect();
    if own.iter().any(|one| one == name) {
        return Ok(());
    }
    Err(unknown(&kind.name().to_lowercase(), name, &format!("program '{program}'"), &own))
}

/// Says that there is no such thing, and what there is instead.
pub fn unknown(what: &str, name: &str, place: &str, known: &[String]) -> CliError {
    let near = nearest(name, known.iter().map(String::as_str));
    let hint = match near {
        Some(near) => format!("; did you mean {near}?"),
        None if known.is_empty() => String::new(),
        None => format!("; there are {}", known.join(", ")),
    };
    CliError::Failed(format!("there is no {what} '{name}' in {place}{hint}"))
}
