//! `betagate admin`, `invite`: accounts and invites by hand.

use std::process::ExitCode;

use argon2::Argon2;
use argon2::password_hash::PasswordHasher as _;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use uuid::Uuid;

use super::common::{plain, print_value, table};
use super::{CliError, Format, Where};
use crate::clock::Clock;
use crate::desk::Request;
use crate::store::audit::{self, Entry};
use crate::store::{people, tokens};

/// Administrators' accounts.
#[derive(Args)]
#[command(after_help = "Example: betagate admin create ana@example.com")]
pub struct Admin {
    #[command(subcommand)]
    what: AdminWhat,
}

#[derive(Subcommand)]
enum AdminWhat {
    /// Makes an administrator's account; its password is printed once.
    #[command(after_help = "Example: betagate admin create ana@example.com")]
    Create {
        /// The address.
        email: String,
        #[command(flatten)]
        place: Where,
    },
    /// Makes a service's token; it is printed once.
    #[command(after_help = "Example: betagate admin token product-backend --scope events:write")]
    Token {
        /// The service's name.
        name: String,
        /// What it may do.
        #[arg(long, required = true, value_parser = ["events:write", "flags:read", "admin"])]
        scope: Vec<String>,
        #[command(flatten)]
        place: Where,
    },
}

impl Admin {
    pub async fn run(self) -> Result<ExitCode, CliError> {
        let (email, place) = match self.what {
            AdminWhat::Create { email, place } => (email, place),
            AdminWhat::Token { name, scope, place } => return token(&name, scope, &place).await,
        };
        let store = place.store().await?;
        let password = data_encoding::BASE32_NOPAD.encode(&rand::random::<[u8; 15]>()).to_lowercase();
        let hash = Argon2::default().hash_password(password.as_bytes()).map_err(CliError::failed)?.to_string();
        let mut tx = store.begin().await?;
        let at = Clock::system().now();
        let user = people::create(&mut tx, &email, &hash, true, at).await?;
        // The record knows people by their random id only.
        let (actor, action, object) = ("cli (unverified)".into(), "admin.created".into(), format!("user/{}", user.id));
        audit::append(&mut tx, Entry { at, program: String::new(), actor, action, object, detail: json!({}) }).await?;
        tx.commit().await?;
        say!("{email} may administer. The password, shown this once: {password}");
        Ok(ExitCode::SUCCESS)
    }
}

/// Makes a token; only its digest is kept.
async fn token(name: &str, scopes: Vec<String>, place: &Where) -> Result<ExitCode, CliError> {
    let store = place.store().await?;
    let token = data_encoding::BASE32_NOPAD.encode(&rand::random::<[u8; 25]>());
    let mut tx = store.begin().await?;
    let at = Clock::system().now();
    let id = tokens::create(&mut tx, name, &crate::api::token_digest(&token), &scopes, at).await?;
    let (actor, action, object) = ("cli (unverified)".into(), "token.created".into(), format!("token/{id}"));
    let detail = json!({ "name": name, "scopes": scopes });
    audit::append(&mut tx, Entry { at, program: String::new(), actor, action, object, detail }).await?;
    tx.commit().await?;
    say!("{name} may {}. The token, shown this once: {token}", scopes.join(", "));
    Ok(ExitCode::SUCCESS)
}

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
        /// Who asks.
        #[arg(long)]
        by: String,
        /// The program; the only one when left out.
        #[arg(long)]
        program: Option<String>,
        #[command(flatten)]
        place: Where,
    },
    /// Lists invites.
    #[command(after_help = "Example: betagate invite list --cohort pavia --active-only")]
    List {
        /// Only of this cohort.
        #[arg(long)]
        cohort: Option<String>,
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
    },
    /// Takes back every invite of an address, membership and sessions included.
    #[command(after_help = "Example: betagate invite revoke ada@example.com --reason \"asked to leave\" --by founder")]
    Revoke {
        /// The address.
        email: String,
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
    },
}

impl Invite {
    pub async fn run(self) -> Result<ExitCode, CliError> {
        match self.what {
            InviteWhat::Add { email, cohort, note, by, program, place } => {
                let made = place.ask(Request::AddInvite { program, cohort, email: email.clone(), note, by }).await?;
                match made["code"].as_str() {
                    Some(code) => say!("{code} (good until {})", plain(&made["expiresAt"])),
                    None => say!("{email} waits for a free place, or is in already"),
                }
            }
            InviteWhat::List { cohort, active_only, limit, after, place, output } => {
                let found = place.ask(Request::ListInvites { cohort, active_only, after, limit }).await?;
                if output == Format::Table {
                    let cell = |value: &Value| if value.is_null() { String::new() } else { plain(value) };
                    let fields = ["email", "cohort", "state", "createdAt", "id"];
                    let cells = |invite: &Value| fields.iter().map(|field| cell(&invite[*field])).collect();
                    let rows = found.as_array().into_iter().flatten().map(cells);
                    say!("{}", table(&["EMAIL", "COHORT", "STATE", "CREATED", "ID"], rows));
                } else {
                    print_value(&found, output)?;
                }
            }
            InviteWhat::Revoke { email, reason, by, program, place } => {
                let revoked = place.ask(Request::RevokeInvites { program, email, reason, by }).await?;
                say!("{} invite(s) taken back", revoked["revoked"]);
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
