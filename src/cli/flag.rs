//! `betagate flag get|list`: what flags are served, to whom, and why.

use std::process::ExitCode;

use betagate_core::cohort::{AddressRules, normalise};
use betagate_core::flags::{Asker, Context, FlagSet, Membership, cohort_key};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::common::{print_value, table};
use super::{CliError, Format, Where};
use crate::clock::Clock;
use crate::store::{Store, flags, members};

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
                let store = place.store().await?;
                let snapshot = flags::newest(&store)
                    .await?
                    .ok_or_else(|| CliError::Failed("no flags are published yet".to_owned()))?;
                let context: Value =
                    serde_json::from_str(&context).map_err(|error| CliError::Usage(format!("--context: {error}")))?;
                let context = Context::new(context).map_err(|why| CliError::Usage(format!("--context: {why}")))?;
                let index = memberships(&store, &context).await?;
                if explain {
                    return super::flag_explain::print(&snapshot, &key, &context, &index, output);
                }
                let definitions = snapshot.body["flags"].as_object();
                let definitions = definitions.into_iter().flatten().map(|(key, flag)| (key.as_str(), flag));
                let (set, _) = FlagSet::compile(definitions, &|_| None);
                let answer = set
                    .evaluate(&key, &context, &index, Clock::system().now())
                    .map_err(|error| CliError::Failed(format!("{}: {}", error.code(), error.details())))?;
                let cohorts = Asker::new(&context, &index).cohorts();
                let shown = json!({ "key": key, "value": answer.value, "variant": answer.variant, "reason": answer.reason.name(), "decidedBy": answer.decided_by,
                    "cohorts": cohorts, "revision": snapshot.source_revision, "metadata": answer.metadata });
                if output == Format::Table {
                    say!(
                        "{key} = {} ({}, {}), decided by {}",
                        answer.value.unwrap_or(&Value::Null),
                        answer.variant,
                        answer.reason.name(),
                        answer.decided_by
                    );
                } else {
                    print_value(&shown, output)?;
                }
            }
            FlagWhat::List { place, output } => {
                let snapshot = flags::newest(&place.store().await?).await?;
                let body = snapshot.map(|snapshot| snapshot.body).unwrap_or_default();
                if output == Format::Table {
                    let rows = body["flags"].as_object().into_iter().flatten().map(|(key, flag)| {
                        let text = |field: &str| flag[field].as_str().unwrap_or("-").to_owned();
                        let hold = flag["hold"]["run"]
                            .as_str()
                            .map_or_else(|| "-".to_owned(), |run| format!("{run}/{}", flag["hold"]["step"]));
                        let routed = if flag["routed"] == json!(true) { text("fallback") } else { "-".to_owned() };
                        vec![key.clone(), text("state"), text("defaultVariant"), text("risk"), hold, routed]
                    });
                    say!("{}", table(&["KEY", "STATE", "DEFAULT", "RISK", "HELD BY", "ROUTED TO"], rows));
                } else {
                    print_value(&body["flags"], output)?;
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The cohorts of the context's person, whom their user id or their address names, in any spelling.
async fn memberships(store: &Store, context: &Context) -> Result<Membership, CliError> {
    let mut index = Membership::default();
    let Some(person) = context.person() else { return Ok(index) };
    let address = normalise(person, AddressRules::default()).ok();
    members::each(store, |member| {
        let key = if member.user.to_string() == person {
            person
        } else if Some(&member.address) == address.as_ref() {
            member.address.as_str()
        } else {
            return;
        };
        index.add(key, &cohort_key(&member.program, &member.cohort));
    })
    .await?;
    Ok(index)
}
