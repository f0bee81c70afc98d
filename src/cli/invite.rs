//! `betagate invite`: people let in one by one, sent a new code, taken back.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::Value;
use uuid::Uuid;

use super::common::{Said, plain, print_value, table};
use super::invite_code::Code;
use super::invite_hash::Hash;
use super::invite_mail::{Preview, Send};
use super::{CliError, Format, Where};
use crate::desk::Request;

/// Invites one by one.
#[derive(Args)]
#[command(after_help = "Example: betagate invite list --active-only")]
pub struct Invite {
    #[command(subcommand)]
    what: InviteWhat,
}

#[derive(Subcommand)]
enum InviteWhat {
    /// Invites someone; the code is printed once.
    #[command(after_help = "Example: betagate invite add ada@example.com --cohort pavia --by founder")]
    Add {
        /// The address.
        email: String,
        /// The cohort.
        #[arg(long)]
        cohort: String,
        /// Why this person.
        #[arg(long, default_value = "")]
        note: String,
        #[command(flatten)]
        said: Said,
    },
    List(List),
    #[command(alias = "resend")]
    Send(Send),
    Preview(Preview),
    Revoke(Revoke),
    Code(Code),
    Hash(Hash),
}

/// Lists invites.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  betagate invite list --cohort pavia --active-only\n  betagate invite list --state expired --label creator-lyon"
)]
struct List {
    /// Only of this program.
    #[arg(long)]
    program: Option<String>,
    /// Only of this cohort.
    #[arg(long)]
    cohort: Option<String>,
    /// Only in this state: waiting, pending, sent, opened, used, expired or revoked.
    #[arg(long)]
    state: Option<String>,
    /// Only with this label.
    #[arg(long)]
    label: Option<String>,
    /// Only of this address.
    #[arg(long)]
    email: Option<String>,
    /// Only those that can still let somebody in.
    #[arg(long)]
    active_only: bool,
    /// At most so many, 1 to 1000.
    #[arg(long, default_value_t = 100)]
    limit: i64,
    /// The last id of the page before.
    #[arg(long)]
    after: Option<Uuid>,
    #[command(flatten)]
    place: Where,
    /// How the answer is printed.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// Takes back every invite of an address, membership and sessions included; or every unused invite of a cohort, its shared codes too.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  betagate invite revoke ada@example.com --reason \"asked to leave\" --by founder\n  betagate invite revoke --cohort pavia --all --reason \"the pilot is over\" --by founder"
)]
struct Revoke {
    /// The address.
    #[arg(required_unless_present = "cohort", conflicts_with = "cohort")]
    email: Option<String>,
    /// The cohort whose unused invites are taken back; whoever is in stays in.
    #[arg(long, requires = "all")]
    cohort: Option<String>,
    /// Says that all of the cohort's are meant.
    #[arg(long, requires = "cohort")]
    all: bool,
    /// Why.
    #[arg(long)]
    reason: String,
    /// Who says so.
    #[arg(long)]
    by: String,
    /// Only in this program.
    #[arg(long)]
    program: Option<String>,
    #[command(flatten)]
    place: Where,
}

impl Invite {
    pub async fn run(self) -> Result<ExitCode, CliError> {
        match self.what {
            InviteWhat::Add { email, cohort, note, said: Said { by, program, place } } => {
                let made = place.ask(Request::AddInvite { program, cohort, email: email.clone(), note, by }).await?;
                match made["code"].as_str() {
                    Some(code) => say!("{code} (good until {})", plain(&made["expiresAt"])),
                    None => say!("{email} waits for a free place"),
                }
            }
            InviteWhat::List(list) => list.run().await?,
            InviteWhat::Send(send) => send.run().await?,
            InviteWhat::Preview(preview) => preview.run()?,
            InviteWhat::Revoke(revoke) => revoke.run().await?,
            InviteWhat::Code(code) => code.run().await?,
            InviteWhat::Hash(hash) => return hash.run(),
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl List {
    async fn run(self) -> Result<(), CliError> {
        let Self { program, cohort, state, label, email, active_only, limit, after, place, output } = self;
        let asked = Request::ListInvites { program, cohort, state, label, email, active_only, after, limit };
        let found = place.ask(asked).await?;
        if output != Format::Table {
            return print_value(&found, output);
        }
        let cell = |value: &Value| if value.is_null() { String::new() } else { plain(value) };
        let fields = ["email", "cohort", "state", "mail", "createdAt", "id"];
        let cells = |invite: &Value| fields.iter().map(|field| cell(&invite[*field])).collect();
        let rows = found.as_array().into_iter().flatten().map(cells);
        say!("{}", table(&["EMAIL", "COHORT", "STATE", "MAIL", "CREATED", "ID"], rows));
        Ok(())
    }
}

impl Revoke {
    async fn run(self) -> Result<(), CliError> {
        let Self { email, cohort, reason, by, program, place, .. } = self;
        let asked = match (email, cohort) {
            (Some(email), _) => Request::RevokeInvites { program, email, reason, by },
            (None, Some(cohort)) => Request::RevokeCohort { program, cohort, reason, by },
            (None, None) => return Err(CliError::Usage("name an address, or a cohort and --all".to_owned())),
        };
        say!("{} invite(s) taken back", place.ask(asked).await?["revoked"]);
        Ok(())
    }
}
