//! What commands share: where the record is, how answers are printed, what an error is.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use comfy_table::{ContentArrangement, Table, presets};
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use serde_json::Value;
use tokio::time::Instant;
use url::Url;

use super::server::Server;
use super::{FAILED, USAGE};
use crate::apply::processes::ServerFile;
use crate::clock::Clock;
use crate::desk::{Bringer, Desk, DeskError, Request};
use crate::keys::Keys;
use crate::store::{Store, StoreError, key_ids};

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

impl From<DeskError> for CliError {
    fn from(error: DeskError) -> Self {
        match error {
            DeskError::Usage(why) => Self::Usage(why),
            DeskError::Unknown(why) | DeskError::Refused(why) => Self::Failed(why),
            DeskError::Store(error) => Self::Store(error),
        }
    }
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

/// Where the answers are: a server, or the record itself.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Where")]
pub struct Where {
    /// A server, http://HOST:PORT; without it the one that holds the data folder, and without that the record itself.
    #[arg(long, value_name = "URL", env = "BETAGATE_SERVER")]
    pub server: Option<Url>,
    /// The server's administration token.
    #[arg(long, env = "BETAGATE_TOKEN", hide_env_values = true)]
    pub token: Option<SecretString>,
    /// A file with it.
    #[arg(long, value_name = "FILE", env = "BETAGATE_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,
    /// The data folder of `betagate up`.
    #[arg(long, default_value = ".betagate", env = "BETAGATE_DATA")]
    pub data: PathBuf,
    /// A database instead of the data folder's own: postgres://… or sqlite:PATH. Without a server to ask, DATABASE_URL counts too.
    #[arg(long)]
    pub database: Option<String>,
}

/// Who says something, of which program, and where it is said.
#[derive(Args, Clone, Debug)]
pub struct Said {
    /// Who says so.
    #[arg(long)]
    pub by: String,
    /// The program; the only one when left out.
    #[arg(long)]
    pub program: Option<String>,
    #[command(flatten)]
    pub place: Where,
}

impl Where {
    /// The database's address.
    pub fn url(&self) -> SecretString {
        database_url(self.named_database().as_deref(), &self.data)
    }

    /// The database that is named here or by the environment.
    fn named_database(&self) -> Option<String> {
        self.database.clone().or_else(|| std::env::var("DATABASE_URL").ok().filter(|url| !url.is_empty()))
    }

    /// The record, which must exist: commands that only look do not make one.
    ///
    /// # Errors
    /// When there is none, or it does not answer.
    pub async fn store(&self) -> Result<Store, CliError> {
        if let Some(server) = &self.server {
            return Err(CliError::Usage(format!("this needs the record itself, and not a server such as {server}")));
        }
        if self.named_database().is_none() && !self.data.join(DATABASE_FILE).exists() {
            let folder = self.data.display();
            return Err(CliError::Failed(format!(
                "there is no record in {folder}: start `betagate up` first, or name one with --server, --data or --database"
            )));
        }
        let store = Store::open(self.url().expose_secret()).await?;
        if !store.is_current().await? {
            return Err(CliError::Failed("the database is of another version: run `betagate migrate`".to_owned()));
        }
        Ok(store)
    }

    /// Asks the server, where one is named or holds the data folder; else the record itself.
    ///
    /// # Errors
    /// What the desk refuses, in its words; a server or record that does not answer.
    pub async fn ask(&self, request: Request) -> Result<Value, CliError> {
        match self.server()? {
            Some(server) => server.ask(&request).await,
            None => self.ask_record(request).await,
        }
    }

    /// Asks the record itself, whatever runs.
    ///
    /// # Errors
    /// What the desk refuses, in its words; a record that does not answer.
    pub async fn ask_record(&self, request: Request) -> Result<Value, CliError> {
        let store = self.store().await?;
        let keys = Keys::load(&self.data.join("keys")).ok();
        let (now, bringer) = (Clock::system().now(), Bringer::Record);
        let desk = Desk { store: &store, keys: keys.as_ref(), now, bringer, env: &|_| None };
        let answer = desk.answer(request).await;
        store.close().await;
        answer.map_err(Into::into)
    }

    /// Waits for what the controller makes of something that it was asked for, so long at most.
    ///
    /// # Errors
    /// When it refuses, in its words; when no controller has answered, which is said as `not_yet`.
    pub async fn outcome_of(&self, asked: &Value, patience: Duration, not_yet: &str) -> Result<Value, CliError> {
        let id = plain(&asked["intent"]);
        let begun = Instant::now();
        loop {
            let intent = self.ask(Request::Intent { id: id.clone() }).await?;
            match intent["state"].as_str() {
                Some("done") => return Ok(intent["result"].clone()),
                Some("refused") => return Err(CliError::Failed(plain(&intent["result"]["reason"]))),
                _ if begun.elapsed() > patience => return Err(CliError::Failed(format!("{not_yet} ({id})"))),
                _ => tokio::time::sleep(ASK_EVERY).await,
            }
        }
    }

    /// Whether there is a server to ask.
    ///
    /// # Errors
    /// When the data folder can't be read.
    pub fn has_server(&self) -> Result<bool, CliError> {
        Ok(self.server()?.is_some())
    }

    fn server(&self) -> Result<Option<Server>, CliError> {
        if let Some(url) = &self.server {
            return Ok(Some(Server { url: url.clone(), token: self.token()? }));
        }
        if self.database.is_some() {
            return Ok(None);
        }
        let Some(file) = ServerFile::read(&self.data).map_err(CliError::failed)? else { return Ok(None) };
        let url = format!("http://{}", super::up::reachable(file.address));
        let url = Url::parse(&url).map_err(CliError::failed)?;
        // Who may not read the token, but the record, asks the record.
        Ok(read_token(&file.admin_token_file).ok().map(|token| Server { url, token: Some(token) }))
    }

    fn token(&self) -> Result<Option<SecretString>, CliError> {
        match (&self.token, &self.token_file) {
            (Some(token), _) => Ok(Some(token.clone())),
            (None, Some(file)) => read_token(file).map(Some),
            (None, None) => Ok(None),
        }
    }
}

fn read_token(file: &Path) -> Result<SecretString, CliError> {
    let text =
        std::fs::read_to_string(file).map_err(|error| CliError::Failed(format!("{}: {error}", file.display())))?;
    Ok(text.trim().to_owned().into())
}

/// The time between two questions about what the controller was asked for.
const ASK_EVERY: Duration = Duration::from_millis(100);

/// The record of one machine, in its data folder.
pub const DATABASE_FILE: &str = "betagate.db";

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

/// A text as it stands; anything else as JSON.
pub fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// An instant for people: to the second. Anything else as it stands.
pub fn moment(value: &Value) -> String {
    let at = value.as_str().and_then(|text| text.parse::<Timestamp>().ok());
    at.map_or_else(|| plain(value), |at| format!("{at:.0}"))
}

/// How wide the terminal is; none where there is no terminal.
pub fn terminal_width() -> Option<u16> {
    Table::new().width()
}

/// The last column never narrower than so, in characters.
const NARROWEST: usize = 30;

/// Rows whose last cells are cut so that each row is one line of a terminal; `why` and `-o json` have all of it. Where there is no terminal nothing is cut.
pub fn in_lines(mut rows: Vec<Vec<String>>, width: Option<u16>) -> Vec<Vec<String>> {
    let Some(width) = width.map(usize::from) else { return rows };
    let columns = rows.iter().map(|row| row.len().saturating_sub(1)).max().unwrap_or_default();
    let longest = |place: usize| rows.iter().filter_map(|row| row.get(place)).map(|cell| cell.chars().count()).max();
    // A blank on each side of every column.
    let before: usize = (0..columns).map(|place| longest(place).unwrap_or_default() + 2).sum();
    let room = width.saturating_sub(before + 2).max(NARROWEST);
    for cell in rows.iter_mut().filter_map(|row| row.last_mut()) {
        if cell.chars().count() > room {
            *cell = cell.chars().take(room - 1).chain(['…']).collect();
        }
    }
    rows
}

/// A table for people, as wide as the terminal; nothing is filled up behind its last column.
pub fn table(head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(head.iter().copied());
    for row in rows {
        table.add_row(row);
    }
    table.trim_fmt()
}

/// The keys of a data folder, made when there are none, for a database that was written with them or with none yet.
pub async fn keys_of(store: &Store, data: &Path, accept_new: bool, now: Timestamp) -> Result<Arc<Keys>, CliError> {
    let folder = data.join("keys");
    let keys = Keys::load_or_create(&folder).map_err(CliError::failed)?;
    if accept_new {
        key_ids::accept(store, &keys, now).await?;
        return Ok(Arc::new(keys));
    }
    let others = key_ids::recognise(store, &keys, now).await?;
    if others.is_empty() {
        return Ok(Arc::new(keys));
    }
    let (names, folder) = (others.join(", "), folder.display());
    Err(CliError::Failed(format!(
        "the database was written with other keys ({names}): invite codes that are out would not work. Put the keys that belong to it in {folder}, \
         or go on with these by --accept-new-keys"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_column_is_cut_to_the_terminal_and_nothing_where_there_is_none() {
        let rows = || {
            vec![
                vec!["Gate/a".to_owned(), "Pass".to_owned(), "é".repeat(100)],
                vec!["Gate/bcd".to_owned(), "x".to_owned(), "short".to_owned()],
            ]
        };
        assert_eq!(in_lines(rows(), None), rows());
        let cut = in_lines(rows(), Some(80));
        // 8 and 4, with a blank on each side of three columns.
        assert_eq!((cut[0][2].chars().count(), cut[0][2].ends_with('…')), (80 - 8 - 4 - 6, true));
        assert_eq!(cut[1][2], "short");
        assert_eq!(in_lines(rows(), Some(10))[0][2].chars().count(), NARROWEST);
    }
}
