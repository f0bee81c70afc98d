//! `betagate dataset`: reference rows by hand, in the record or in a database of its own (`--dsn`): import, publish, dump, restore, truncate.
//!
//! A controller that has the dataset in its documents goes on making the table what its file says; a rollback with `restoreDataset` is what it keeps.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use betagate_core::dataset::{LARGEST_FILE, Rows, SHAPES, Shape, counted, shape};
use betagate_core::desired::error::Problem;
use betagate_core::desired::nearest::{nearest, one_of};
use clap::{Args, Subcommand};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use super::common::{moment, print_value, table};
use super::documents::documents_in;
use super::{ATTENTION, CliError, FAILED, Format, Where};
use crate::apply::datasets as apply;
use crate::clock::Clock;
use crate::controller::survey_snapshot;
use crate::store::Store;
use crate::store::datasets::{self, DumpBody, Hand};

/// Reference rows by hand: the movement library.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  betagate dataset import movement-library --file manifests/coach/movements.json\n  \
    betagate dataset publish movement-library --expect 8    # 0: as many are published, 2: they are not"
)]
pub struct Dataset {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Brings the rows of a file in as drafts, and makes those that are there say what the file says; a second time changes nothing.
    #[command(
        after_help = "Examples:\n  betagate dataset import movement-library    # the file that the folder's documents name\n  \
        betagate dataset import movement-library --file movements.json --dsn postgres://…"
    )]
    Import {
        #[command(flatten)]
        at: At,
        /// The JSON file; the one that the documents of this folder name when left out.
        #[arg(long)]
        file: Option<PathBuf>,
    },
    /// Publishes the drafts.
    #[command(
        after_help = "Example: betagate dataset publish movement-library --expect 8    # 2: another number is published then"
    )]
    Publish {
        #[command(flatten)]
        at: At,
        /// How many rows must be published in the end.
        #[arg(long, value_name = "COUNT")]
        expect: Option<u64>,
    },
    /// Writes what stands in its tables into a file; with --list, names the dumps that were kept before rows were changed or taken away.
    #[command(
        after_help = "Examples:\n  betagate dataset dump movement-library --file movements.dump.json\n  betagate dataset dump movement-library --list"
    )]
    Dump {
        #[command(flatten)]
        at: At,
        /// The file; it must not exist. Standard output when left out.
        #[arg(long)]
        file: Option<PathBuf>,
        /// Names the dumps that are kept instead.
        #[arg(long, conflicts_with = "file")]
        list: bool,
    },
    /// Makes its tables hold what a dump holds, and nothing else; what stood there is kept in a dump first.
    #[command(after_help = "Examples:\n  betagate dataset restore movement-library --file movements.dump.json\n  \
        betagate dataset restore movement-library    # the newest dump that was kept")]
    Restore {
        #[command(flatten)]
        at: At,
        /// A file that `betagate dataset dump` wrote; the newest dump that was kept when left out.
        #[arg(long)]
        file: Option<PathBuf>,
    },
    /// Empties its tables; what stood there is kept in a dump first.
    #[command(after_help = "Example: betagate dataset truncate movement-library")]
    Truncate {
        #[command(flatten)]
        at: At,
    },
}

/// Which dataset, where, and who says so.
#[derive(Args)]
struct At {
    /// The dataset, or its table.
    #[arg(default_value = "movement-library")]
    dataset: String,
    /// The database with its tables, instead of the record.
    #[arg(long, value_name = "URL", env = "PLANNING_DATABASE_URL", hide_env_values = true)]
    dsn: Option<SecretString>,
    /// Who does it, for the record.
    #[arg(long, default_value = "cli")]
    by: String,
    #[command(flatten)]
    place: Where,
    /// How the answer is printed.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

impl Dataset {
    pub async fn run(self) -> Result<ExitCode, CliError> {
        match self.what {
            What::Import { at, file } => import(&at, file.as_deref()).await,
            What::Publish { at, expect } => publish(&at, expect).await,
            What::Dump { at, list: true, .. } => list(&at).await,
            What::Dump { at, file, .. } => dump(&at, file.as_deref()).await,
            What::Restore { at, file } => restore(&at, file.as_deref()).await,
            What::Truncate { at } => truncate(&at).await,
        }
    }
}

impl At {
    fn shape(&self) -> Result<&'static Shape, CliError> {
        let table = self.dataset.replace('-', "_");
        shape(&table).ok_or_else(|| {
            let tables = || SHAPES.iter().map(|shape| shape.table);
            let near = nearest(&table, tables()).map(|near| format!("; did you mean {near}?")).unwrap_or_default();
            CliError::Failed(format!("there is no dataset '{}' (expected {}{near})", self.dataset, one_of(tables())))
        })
    }

    async fn store(&self) -> Result<Store, CliError> {
        let Some(dsn) =
            self.dsn.as_ref().filter(|dsn| self.place.database.is_none() && !dsn.expose_secret().is_empty())
        else {
            return self.place.store().await;
        };
        let store = Store::open(dsn.expose_secret()).await?;
        if !store.is_current().await? {
            let words = "the database does not have the tables of this version: run `betagate migrate --database` with its address";
            return Err(CliError::Failed(words.to_owned()));
        }
        Ok(store)
    }

    fn hand(&self, shape: &'static Shape) -> Hand<'_> {
        Hand { shape, program: "", dataset: &self.dataset, actor: &self.by, now: Clock::system().now() }
    }

    fn answer(&self, value: &Value, said: &str) -> Result<(), CliError> {
        if self.output == Format::Table {
            say!("{said}");
            return Ok(());
        }
        print_value(value, self.output)
    }
}

async fn import(at: &At, file: Option<&Path>) -> Result<ExitCode, CliError> {
    let shape = at.shape()?;
    let rows = match file {
        Some(file) => Rows::read(&file.display().to_string(), &read(file)?, shape),
        None => named_rows(at, shape)?,
    };
    let rows = match rows {
        Ok(rows) => rows,
        Err(problems) => {
            problems.iter().for_each(|problem| complain!("{problem}"));
            return Ok(ExitCode::from(FAILED));
        }
    };
    let store = at.store().await?;
    let mut tx = store.begin().await?;
    let done = apply::import(&mut tx, &at.hand(shape), &rows).await.map_err(CliError::failed)?;
    tx.commit().await?;
    let (delta, counts) = (&done.delta, counted(&done.counts));
    let said = format!("{}: {} imported, {} updated; {counts}", shape.log, delta.imports, delta.updates);
    at.answer(&json!({ "imported": delta.imports, "updated": delta.updates, "counts": done.counts }), &said)?;
    Ok(ExitCode::SUCCESS)
}

/// The rows of the file that the documents of this folder name.
fn named_rows(at: &At, shape: &Shape) -> Result<Result<Rows, Vec<Problem>>, CliError> {
    let snapshot = documents_in(Path::new("."))?;
    let built = survey_snapshot(&snapshot, None, false);
    let mut datasets = built.desired.programs.values().flat_map(|program| program.datasets.values());
    let Some(dataset) = datasets.find(|dataset| dataset.spec.table == shape.table) else {
        let words = format!("no document of this folder fills table {}: name a file with --file", shape.table);
        return Err(CliError::Failed(words));
    };
    let found = snapshot.named_by(&dataset.origin.file, &dataset.spec.file).map_err(CliError::failed);
    let (path, file) = found.map_err(|error| CliError::Failed(format!("dataset {}: {error}", at.dataset)))?;
    Ok(Rows::read(path, &file.read().map_err(CliError::failed)?, shape))
}

async fn publish(at: &At, expect: Option<u64>) -> Result<ExitCode, CliError> {
    let shape = at.shape()?;
    let store = at.store().await?;
    let mut tx = store.begin().await?;
    let (published, counts) = apply::publish(&mut tx, &at.hand(shape)).await.map_err(CliError::failed)?;
    tx.commit().await?;
    let there = counts.get(betagate_core::dataset::PUBLISHED).copied().unwrap_or(0);
    let said = format!("{} published now; {}", published.len(), counted(&counts));
    at.answer(&json!({ "published": published, "counts": counts }), &said)?;
    if let Some(expect) = expect.filter(|expect| *expect != there) {
        complain!("{expect} published rows were expected, and there are {there}");
        return Ok(ExitCode::from(ATTENTION));
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(at: &At) -> Result<ExitCode, CliError> {
    let dumps = datasets::dumps(&at.store().await?, at.shape()?).await?;
    if at.output != Format::Table {
        print_value(&dumps, at.output)?;
        return Ok(ExitCode::SUCCESS);
    }
    let rows = dumps.iter().map(|dump| {
        let taken = moment(&json!(dump.taken_at));
        vec![taken, dump.rows.to_string(), dump.dataset.clone(), dump.reason.clone()]
    });
    say!("{}", table(&["TAKEN", "ROWS", "DATASET", "WHY"], rows));
    Ok(ExitCode::SUCCESS)
}

async fn dump(at: &At, file: Option<&Path>) -> Result<ExitCode, CliError> {
    let shape = at.shape()?;
    let store = at.store().await?;
    let mut tx = store.begin().await?;
    let body = datasets::read_body(&mut tx, shape).await?;
    tx.rollback().await?;
    let text = serde_json::to_string_pretty(&body).map_err(CliError::failed)?;
    let Some(file) = file else {
        say!("{text}");
        return Ok(ExitCode::SUCCESS);
    };
    use std::io::Write as _;
    let made = std::fs::File::options().write(true).create_new(true).open(file);
    let written =
        made.and_then(|mut made| made.write_all(format!("{text}\n").as_bytes()).and_then(|()| made.sync_all()));
    written.map_err(|error| CliError::Failed(format!("{}: {error}", file.display())))?;
    let said = format!("{}: {} row(s) of {}", file.display(), body.library.len(), shape.table);
    at.answer(&json!({ "file": file, "table": shape.table, "rows": body.library.len() }), &said)?;
    Ok(ExitCode::SUCCESS)
}

async fn restore(at: &At, file: Option<&Path>) -> Result<ExitCode, CliError> {
    let shape = at.shape()?;
    let body: Option<DumpBody> = match file {
        Some(file) => {
            let of = |error: serde_json::Error| CliError::Failed(format!("{}: no dump: {error}", file.display()));
            Some(serde_json::from_slice(&read(file)?).map_err(of)?)
        }
        None => None,
    };
    let store = at.store().await?;
    let mut tx = store.begin().await?;
    let undone = apply::put_back(&mut tx, &at.hand(shape), body).await.map_err(CliError::failed)?;
    tx.commit().await?;
    let said = format!("{}: {}", shape.table, counted(&undone.counts));
    at.answer(&json!({ "counts": undone.counts, "kept": undone.kept, "putBack": undone.put_back }), &said)?;
    Ok(ExitCode::SUCCESS)
}

async fn truncate(at: &At) -> Result<ExitCode, CliError> {
    let shape = at.shape()?;
    let store = at.store().await?;
    let mut tx = store.begin().await?;
    let (how, none) = (betagate_core::resources::Undo::Truncate, Default::default());
    let undone = apply::undo(&mut tx, &at.hand(shape), how, None, &none).await.map_err(CliError::failed)?;
    tx.commit().await?;
    let kept = undone.kept.map_or_else(|| "there was nothing to keep".to_owned(), |id| format!("kept as dump {id}"));
    at.answer(&json!({ "counts": undone.counts, "kept": undone.kept }), &format!("{} is empty; {kept}", shape.table))?;
    Ok(ExitCode::SUCCESS)
}

/// A file of rows or a dump, in bounds: a dump holds its rows three times, and what was done to each.
fn read(file: &Path) -> Result<Vec<u8>, CliError> {
    let most = LARGEST_FILE * 16;
    let mut bytes = Vec::new();
    let opened = std::fs::File::open(file).and_then(|opened| opened.take(most + 1).read_to_end(&mut bytes));
    opened.map_err(|error| CliError::Failed(format!("{}: {error}", file.display())))?;
    if bytes.len() as u64 > most {
        return Err(CliError::Failed(format!("{}: it has more than {} MiB", file.display(), most >> 20)));
    }
    Ok(bytes)
}
