//! `betagate invite code`: codes that let several people in.

use betagate_core::resources::Span;
use clap::{Args, Subcommand};
use serde_json::Value;
use uuid::Uuid;

use super::common::{Said, plain, print_value, table};
use super::{CliError, Format, Where};
use crate::desk::Request;

/// Codes that let several people into a cohort: for a booth, or a talk.
#[derive(Args)]
#[command(after_help = "Example: betagate invite code add --cohort pavia --uses 50 --expires 14d --by founder")]
pub struct Code {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Makes a code and prints it. Each person who comes in with it counts, and needs a free place.
    #[command(
        after_help = "Example: betagate invite code add --cohort pavia --uses 50 --expires 14d --label creator-fair --by founder"
    )]
    Add {
        /// The cohort it lets into.
        #[arg(long)]
        cohort: String,
        /// How many it lets in.
        #[arg(long)]
        uses: i64,
        /// How long it works, such as 14d; as long as the cohort's invites when left out.
        #[arg(long)]
        expires: Option<Span>,
        /// The label that those who come in with it get.
        #[arg(long, default_value = "")]
        label: String,
        /// What it is for.
        #[arg(long, default_value = "")]
        note: String,
        #[command(flatten)]
        said: Said,
    },
    /// Lists the codes, without their texts.
    #[command(after_help = "Example: betagate invite code list --cohort pavia")]
    List {
        /// Only of this program.
        #[arg(long)]
        program: Option<String>,
        /// Only of this cohort.
        #[arg(long)]
        cohort: Option<String>,
        #[command(flatten)]
        place: Where,
        /// How the answer is printed.
        #[arg(short, long, value_enum, default_value_t)]
        output: Format,
    },
    /// Prints a code again; the record says who looked.
    #[command(after_help = "Example: betagate invite code show 019cb2f0-0000-7000-8000-000000000000 --by founder")]
    Show {
        /// Its id.
        id: Uuid,
        /// Who asks.
        #[arg(long)]
        by: String,
        #[command(flatten)]
        place: Where,
    },
    /// Takes a code back; whoever came in with it stays in.
    #[command(
        after_help = "Example: betagate invite code revoke 019cb2f0-0000-7000-8000-000000000000 --reason \"it was posted online\" --by founder"
    )]
    Revoke {
        /// Its id.
        id: Uuid,
        /// Why.
        #[arg(long)]
        reason: String,
        /// Who says so.
        #[arg(long)]
        by: String,
        #[command(flatten)]
        place: Where,
    },
}

impl Code {
    pub async fn run(self) -> Result<(), CliError> {
        match self.what {
            What::Add { cohort, uses, expires, label, note, said: Said { by, program, place } } => {
                let made = place.ask(Request::AddCode { program, cohort, uses, expires, label, note, by }).await?;
                tell(&made);
            }
            What::Show { id, by, place } => tell(&place.ask(Request::ShowCode { id, by }).await?),
            What::List { program, cohort, place, output } => {
                let found = place.ask(Request::ListCodes { program, cohort }).await?;
                if output != Format::Table {
                    return print_value(&found, output);
                }
                let fields = ["cohort", "state", "used", "uses", "expiresAt", "label", "id"];
                let cells = |code: &Value| fields.iter().map(|field| plain(&code[*field])).collect();
                let rows = found.as_array().into_iter().flatten().map(cells);
                say!("{}", table(&["COHORT", "STATE", "USED", "OF", "GOOD UNTIL", "LABEL", "ID"], rows));
            }
            What::Revoke { id, reason, by, place } => {
                let revoked = place.ask(Request::RevokeCode { id, reason, by }).await?;
                say!("taken back; {} of {} came in with it", revoked["used"], revoked["uses"]);
            }
        }
        Ok(())
    }
}

fn tell(code: &Value) {
    let (text, until) = (plain(&code["code"]), plain(&code["expiresAt"]));
    say!("{text} lets {} in, {} so far (good until {until}; id {})", code["uses"], code["used"], plain(&code["id"]));
}
