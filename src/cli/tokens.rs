//! `betagate admin token`: what services come in with.

use std::process::ExitCode;

use betagate_core::desired::nearest::nearest;
use clap::Subcommand;
use serde_json::json;

use super::common::{print_value, table};
use super::{CliError, Format, Where};
use crate::clock::Clock;
use crate::store::Store;
use crate::store::audit::{self, Entry};
use crate::store::tokens::{self, Token};

#[derive(Subcommand)]
pub(super) enum TokenWhat {
    /// Makes a service's token; it is printed once, and only its digest is kept.
    #[command(after_help = "Example: betagate admin token create product-backend --scope events:write")]
    Create {
        /// The service's name.
        name: String,
        /// What it may do.
        #[arg(long, required = true, value_parser = ["events:write", "flags:read", "admin"])]
        scope: Vec<String>,
        #[command(flatten)]
        place: Where,
    },
    /// Lists the tokens, without the tokens: who has one, what it may do, whether it was taken back.
    #[command(after_help = "Example: betagate admin token list")]
    List {
        #[command(flatten)]
        place: Where,
        /// How the answer is printed.
        #[arg(short, long, value_enum, default_value_t)]
        output: Format,
    },
    /// Takes a token back: nobody comes in with it any more. Where flags are served it may count for five seconds still.
    #[command(after_help = "Example: betagate admin token revoke product-backend")]
    Revoke {
        /// Its id, or the service's name where that has one token.
        #[arg(value_name = "TOKEN")]
        named: String,
        #[command(flatten)]
        place: Where,
    },
}

impl TokenWhat {
    pub(super) async fn run(self) -> Result<ExitCode, CliError> {
        match self {
            Self::Create { name, scope, place } => create(&name, scope, &place.store().await?).await?,
            Self::List { place, output } => list(&place.store().await?, output).await?,
            Self::Revoke { named, place } => revoke(&named, &place.store().await?).await?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

async fn create(name: &str, scopes: Vec<String>, store: &Store) -> Result<(), CliError> {
    if name.trim().is_empty() || name.chars().count() > 63 || name.contains(char::is_control) {
        return Err(CliError::Usage("a service's name is one line of 1 to 63 characters".to_owned()));
    }
    let token = data_encoding::BASE32_NOPAD.encode(&rand::random::<[u8; 25]>());
    let mut tx = store.begin().await?;
    let at = Clock::system().now();
    let id = tokens::create(&mut tx, name, &crate::api::token_digest(&token), &scopes, at).await?;
    let detail = json!({ "name": name, "scopes": scopes });
    audit::append(&mut tx, entry("token.created", id, detail)).await?;
    tx.commit().await?;
    say!("{name} may {}. The token, shown this once: {token}", scopes.join(", "));
    Ok(())
}

async fn list(store: &Store, output: Format) -> Result<(), CliError> {
    let all = tokens::list(store).await?;
    if output != Format::Table {
        let shown = all.iter().map(|token| {
            json!({ "id": token.id, "name": token.name, "scopes": token.scopes, "createdAt": token.created_at,
                "revokedAt": token.revoked_at })
        });
        return print_value(&shown.collect::<Vec<_>>(), output);
    }
    let row = |token: &Token| {
        let revoked = token.revoked_at.map_or_else(|| "-".to_owned(), |at| format!("{at:.0}"));
        let made = format!("{:.0}", token.created_at);
        vec![token.id.to_string(), token.name.clone(), token.scopes.join(", "), made, revoked]
    };
    say!("{}", table(&["ID", "SERVICE", "MAY", "MADE", "TAKEN BACK"], all.iter().map(row)));
    Ok(())
}

async fn revoke(named: &str, store: &Store) -> Result<(), CliError> {
    let all = tokens::list(store).await?;
    let good = || all.iter().filter(|token| token.revoked_at.is_none());
    let meant: Vec<&Token> = good().filter(|token| token.name == named || token.id.to_string() == named).collect();
    let token = match meant.as_slice() {
        [only] => *only,
        [] => {
            let near = nearest(named, good().map(|token| token.name.as_str()));
            let hint = near.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
            return Err(CliError::Failed(format!("there is no token '{named}' that is still good{hint}")));
        }
        several => {
            let ids: Vec<String> = several.iter().map(|token| token.id.to_string()).collect();
            return Err(CliError::Failed(format!("'{named}' has several tokens, name one: {}", ids.join(", "))));
        }
    };
    let mut tx = store.begin().await?;
    // Somebody else may have been faster; then there is nothing left to note.
    if tokens::revoke(&mut tx, token.id, Clock::system().now()).await? {
        audit::append(&mut tx, entry("token.revoked", token.id, json!({ "name": token.name }))).await?;
    }
    tx.commit().await?;
    say!("nobody comes in with the token of {} any more", token.name);
    Ok(())
}

fn entry(action: &str, id: uuid::Uuid, detail: serde_json::Value) -> Entry {
    Entry {
        at: Clock::system().now(),
        program: String::new(),
        actor: "cli (unverified)".to_owned(),
        action: action.to_owned(),
        object: format!("token/{id}"),
        detail,
    }
}
