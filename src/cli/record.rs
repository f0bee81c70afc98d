//! `betagate audit`, `migrate`, `backup`, `restore`: the record itself.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use secrecy::ExposeSecret as _;
use serde_json::json;

use super::common::{print_value, table};
use super::{CliError, FAILED, Format, Where};
use crate::clock::Clock;
use crate::store::{Store, audit, backup};

/// The hash-chained log of everything that was done.
#[derive(Args)]
#[command(after_help = "Example: betagate audit verify")]
pub struct Audit {
    #[command(subcommand)]
    what: AuditWhat,
}

#[derive(Subcommand)]
enum AuditWhat {
    /// Recomputes the chain, and names the first entry that does not fit.
    #[command(after_help = "Example: betagate audit verify    # 0: it fits, 1: it does not")]
    Verify {
        #[command(flatten)]
        place: Where,
        /// How the answer is printed.
        #[arg(short, long, value_enum, default_value_t)]
        output: Format,
    },
    /// Lists entries, newest first.
    #[command(after_help = "Example: betagate audit list --object cohort/pavia --limit 20")]
    List {
        /// Only this program's.
        #[arg(long)]
        program: Option<String>,
        /// Only what was done to this object, KIND/NAME.
        #[arg(long)]
        object: Option<String>,
        /// At most so many.
        #[arg(long, default_value_t = 50)]
        limit: i64,
        #[command(flatten)]
        place: Where,
        /// How the answer is printed.
        #[arg(short, long, value_enum, default_value_t)]
        output: Format,
    },
}

impl Audit {
    pub async fn run(self) -> Result<ExitCode, CliError> {
        match self.what {
            AuditWhat::Verify { place, output } => verify(&place.store().await?, output).await,
            AuditWhat::List { program, object, limit, place, output } => {
                let filter = audit::Filter { program, object, limit: Some(limit), ..audit::Filter::default() };
                let entries = audit::list(&place.store().await?, &filter).await?;
                if output == Format::Table {
                    let rows = entries.iter().map(|kept| {
                        let entry = &kept.entry;
                        let detail = entry.detail.as_str().map_or_else(|| entry.detail.to_string(), str::to_owned);
                        vec![
                            kept.seq.to_string(),
                            entry.at.to_string(),
                            entry.actor.clone(),
                            entry.action.clone(),
                            entry.object.clone(),
                            detail,
                        ]
                    });
                    say!("{}", table(&["SEQ", "AT", "ACTOR", "ACTION", "OBJECT", "DETAIL"], rows));
                } else {
                    let entries: Vec<_> = entries.iter().map(|kept| {
                        let entry = &kept.entry;
                        json!({ "seq": kept.seq, "at": entry.at, "program": entry.program, "actor": entry.actor, "action": entry.action, "object": entry.object, "detail": entry.detail })
                    }).collect();
                    print_value(&entries, output)?;
                }
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

async fn verify(store: &Store, output: Format) -> Result<ExitCode, CliError> {
    let found = audit::verify(store).await?;
    let problem = found.problem.as_ref().map(|problem| {
        format!(
            "link {} (entry {}): {:?}",
            problem.link,
            problem.seq.map_or_else(|| "none".to_owned(), |seq| seq.to_string()),
            problem.what
        )
    });
    if output == Format::Table {
        match &problem {
            None => say!("{} entries fit; {} are not chained yet", found.chained, found.waiting),
            Some(problem) => say!("the chain breaks after {} entries, at {problem}", found.chained),
        }
    } else {
        print_value(&json!({ "chained": found.chained, "waiting": found.waiting, "problem": problem }), output)?;
    }
    Ok(if problem.is_none() { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

/// Brings the database up to date.
#[derive(Args)]
#[command(after_help = "Example: betagate migrate --database postgres://…")]
pub struct Migrate {
    #[command(flatten)]
    place: Where,
}

impl Migrate {
    pub async fn run(self) -> Result<ExitCode, CliError> {
        std::fs::create_dir_all(&self.place.data).map_err(CliError::failed)?;
        let store = Store::open(self.place.url().expose_secret()).await?;
        let done = store.migrate().await?;
        say!("at migration {}; {} applied now", done.version, done.applied.len());
        Ok(ExitCode::SUCCESS)
    }
}

/// Writes the whole record into one file.
#[derive(Args)]
#[command(after_help = "Example: betagate backup beta-2026-03-13.backup")]
pub struct Backup {
    /// The file; it must not exist.
    file: PathBuf,
    #[command(flatten)]
    place: Where,
}

impl Backup {
    pub async fn run(self) -> Result<ExitCode, CliError> {
        if self.file.exists() {
            return Err(CliError::Failed(format!("{} exists already", self.file.display())));
        }
        let extent = backup::backup(&self.place.store().await?, &self.file).await?;
        say!("{}: {} rows of {} tables", self.file.display(), extent.rows, extent.tables);
        Ok(ExitCode::SUCCESS)
    }
}

/// Reads a backup into an empty database (of either kind); unsent mail becomes `uncertain`, an earlier controller is fenced off.
#[derive(Args)]
#[command(after_help = "Example: betagate restore beta-2026-03-13.backup --database postgres://…")]
pub struct Restore {
    /// The file.
    file: PathBuf,
    #[command(flatten)]
    place: Where,
}

impl Restore {
    pub async fn run(self) -> Result<ExitCode, CliError> {
        std::fs::create_dir_all(&self.place.data).map_err(CliError::failed)?;
        let store = Store::open(self.place.url().expose_secret()).await?;
        store.migrate().await?;
        let restored = backup::restore(&store, &self.file, "cli", Clock::system().now()).await?;
        say!(
            "{} rows restored; epoch {}; {} message(s) uncertain",
            restored.extent.rows,
            restored.epoch,
            restored.uncertain
        );
        Ok(ExitCode::SUCCESS)
    }
}
