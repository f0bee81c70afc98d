//! `betagate admin`: accounts and tokens by hand.

use std::process::ExitCode;

use argon2::Argon2;
use argon2::password_hash::PasswordHasher as _;
use clap::{Args, Subcommand};
use serde_json::json;

use super::{CliError, Where};
use crate::clock::Clock;
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
