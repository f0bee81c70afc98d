//! `betagate flag get|list`: what flags are served, to whom, and why.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::common::{plain, print_value, table};
use super::{CliError, Format, Where};
use crate::desk::Request;

/// Flags as they are served.
#[derive(Args)]
#[command(after_help = "Example: betagate flag list")]
pub struct Flag {
    #[command(subcommand)]
    what: FlagWhat,
}

#[derive(Subcommand)]
enum FlagWhat {
    /// Evaluates one flag for one person, and says what decided.
    #[command(
        after_help = "Example: betagate flag get ml_recommendations_enabled --context '{\"targetingKey\": \"ada@example.com\"}'"
    )]
    Get {
        /// The flag's key.
        key: String,
        /// The context, as JSON.
        #[arg(long, default_value = "{}")]
        context: String,
        /// Says why too: what decided, the way through the rule, the bucket, the cohorts, the commit.
        #[arg(long)]
        explain: bool,
        #[command(flatten)]
        place: Where,
        /// How the answer is printed.
        #[arg(short, long, value_enum, default_value_t)]
        output: Format,
    },
    /// Writes another default variant into the flag's file; refused while the flag is held.
    Set(super::flag_set::Set),
    /// Lists the flags of the published snapshot, with holds and fallbacks.
    #[command(after_help = "Example: betagate flag list -o json")]
    List {
        #[command(flatten)]
        place: Where,
        /// How the answer is printed.
        #[arg(short, long, value_enum, default_value_t)]
        output: Format,
    },
}

impl Flag {
    pub async fn run(self) -> Result<ExitCode, CliError> {
        match self.what {
            FlagWhat::Set(set) => return set.run().await,
            FlagWhat::Get { key, context, explain, place, output } => {
                let context: Value =
                    serde_json::from_str(&context).map_err(|error| CliError::Usage(format!("--context: {error}")))?;
                if explain {
                    return super::flag_explain::print(
                        &place.ask(Request::ExplainFlag { key, context }).await?,
                        output,
                    );
                }
                let answer = place.ask(Request::GetFlag { key, context }).await?;
                if output == Format::Table {
                    let text = |field: &str| plain(&answer[field]);
                    let (key, value, variant) = (text("key"), &answer["value"], text("variant"));
                    say!("{key} = {value} ({variant}, {}), decided by {}", text("reason"), text("decidedBy"));
                } else {
                    print_value(&answer, output)?;
                }
            }
            FlagWhat::List { place, output } => {
                let flags = place.ask(Request::ListFlags).await?;
                if output == Format::Table {
                    let rows = flags.as_object().into_iter().flatten().map(|(key, flag)| {
                        let text = |field: &str| flag[field].as_str().unwrap_or("-").to_owned();
                        let hold = flag["hold"]["run"]
                            .as_str()
                            .map_or_else(|| "-".to_owned(), |run| format!("{run}/{}", flag["hold"]["step"]));
                        let routed = if flag["routed"] == json!(true) { text("fallback") } else { "-".to_owned() };
                        vec![key.clone(), text("state"), text("defaultVariant"), text("risk"), hold, routed]
                    });
                    say!("{}", table(&["KEY", "STATE", "DEFAULT", "RISK", "HELD BY", "ROUTED TO"], rows));
                } else {
                    print_value(&flags, output)?;
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
