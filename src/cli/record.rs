//! `betagate audit`, `migrate`, `backup`, `restore`: the record itself.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use secrecy::ExposeSecret as _;
use serde_json::Value;

use super::common::{moment, plain, print_value, table};
use super::{ATTENTION, CliError, FAILED, Format, Where};
use crate::clock::Clock;
use crate::cluster::ClusterOptions;
use crate::desk::Request;
use crate::store::{Store, backup};

/// The hash-chained log of everything that was done.
#[derive(Args)]
#[command(after_help = "Example: betagate audit verify")]
pub struct Audit {
    #[command(subcommand)]
    what: AuditWhat,
}

#[derive(Subcommand)]
enum AuditWhat {
    /// Recomputes the chain, and names the first entry that does not fit; with an archive of `audit bundle`, checks that instead: no record is needed.
    #[command(after_help = "Examples:\n  betagate audit verify    # 0: it fits, 1: it does not\n  \
        betagate audit verify closed-beta-1.tar --head 214:9f2c…    # on any machine, with the end that was told when it was made")]
    Verify {
        /// An archive of `betagate audit bundle`.
        archive: Option<PathBuf>,
        /// Where the archive's chain must end, as `audit bundle` told it.
        #[arg(long, value_name = "LINK:HASH", requires = "archive")]
        head: Option<String>,
        #[command(flatten)]
        place: Where,
        /// How the answer is printed.
        #[arg(short, long, value_enum, default_value_t)]
        output: Format,
    },
    /// Writes everything that shows what a rollback did and why into one archive: commit, readings, verdicts, words, steps, receipts, its part of the log.
    #[command(
        after_help = "Examples:\n  betagate audit bundle closed-beta-1 --file closed-beta-1.tar\n  betagate audit bundle closed-beta-1 --namespace kruxt    # with the cause documents that are kept there"
    )]
    Bundle {
        /// The run, such as closed-beta-1.
        rollback: String,
        /// The file; it must not exist. RUN.tar when left out.
        #[arg(long)]
        file: Option<PathBuf>,
        /// Where the installation is a cluster's: the namespace whose ConfigMaps hold the cause documents. They are read with your own rights.
        #[arg(long)]
        namespace: Option<String>,
        /// The context of the kubeconfig.
        #[arg(long, requires = "namespace")]
        context: Option<String>,
        #[command(flatten)]
        place: Where,
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
            AuditWhat::Verify { archive: Some(archive), head, output, .. } => {
                super::record_bundle::verify(&archive, head.as_deref(), output)
            }
            AuditWhat::Verify { place, output, .. } => verify(&place, output).await,
            AuditWhat::Bundle { rollback, file, namespace, context, place } => {
                let within = namespace.map(|name| ClusterOptions { context, namespace: Some(name) });
                super::record_bundle::bundle(&place, rollback, file, within).await
            }
            AuditWhat::List { program, object, limit, place, output } => {
                let entries = place.ask(Request::ListAudit { program, object, limit }).await?;
                if output == Format::Table {
                    let fields = ["seq", "at", "actor", "action", "object", "detail"];
                    // A sequence number is no instant, and stays as it is.
                    let cells = |entry: &Value| fields.iter().map(|field| moment(&entry[*field])).collect();
                    let rows = entries.as_array().into_iter().flatten().map(cells);
                    say!("{}", table(&["SEQ", "AT", "ACTOR", "ACTION", "OBJECT", "DETAIL"], rows));
                } else {
                    print_value(&entries, output)?;
                }
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

async fn verify(place: &Where, output: Format) -> Result<ExitCode, CliError> {
    let found = place.ask(Request::VerifyAudit).await?;
    let whole = found["problem"].is_null();
    if output != Format::Table {
        print_value(&found, output)?;
    } else if whole {
        say!("{} entries fit; {} are not chained yet", found["chained"], found["waiting"]);
    } else {
        say!("the chain breaks after {} entries, at {}", found["chained"], plain(&found["problem"]));
    }
    Ok(if whole { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
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

/// Reads a backup into an empty database (of either kind); unsent mail becomes `uncertain`, an earlier controller is fenced off. The
/// backup's checksum and the audit log's chain are recomputed.
#[derive(Args)]
#[command(
    after_help = "Example: betagate restore beta-2026-03-13.backup --database postgres://…    # 2: restored, but the chain does not fit"
)]
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
        match &restored.chain.problem {
            None => {
                say!("the audit log's chain fits: {} entries", restored.chain.chained);
                Ok(ExitCode::SUCCESS)
            }
            Some(problem) => {
                let entry = problem.seq.map_or_else(|| "none".to_owned(), |seq| seq.to_string());
                complain!(
                    "the audit log's chain breaks at link {} (entry {entry}): {:?}; it was so in the backup",
                    problem.link,
                    problem.what
                );
                Ok(ExitCode::from(ATTENTION))
            }
        }
    }
}
