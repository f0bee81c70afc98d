//! `betagate admin`: accounts and tokens by hand.

use std::process::ExitCode;

use argon2::Argon2;
use argon2::password_hash::PasswordHasher as _;
use clap::{Args, Subcommand};
use serde_json::json;

use super::tokens::TokenWhat;
use super::{CliError, Where};
use crate::clock::Clock;
use crate::store::audit::{self, Entry};
use crate::store::people;

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
    /// Services' tokens.
    #[command(after_help = "Example: betagate admin token create product-backend --scope events:write")]
    Token {
        #[command(subcommand)]
        what: TokenWhat,
    },
}

impl Admin {
    pub async fn run(self) -> Result<ExitCode, CliError> {
        let (email, place) = match self.what {
            AdminWhat::Create { email, place } => (email, place),
            AdminWhat::Token { what } => return what.run().await,
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
