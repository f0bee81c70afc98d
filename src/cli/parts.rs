//! `betagate api`, `worker`, `controller`: one part of it as a process of its own.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use ipnet::IpNet;
use secrecy::ExposeSecret as _;

use super::{CliError, common::database_url};
use crate::api::{ServeSettings, serve_child};
use crate::apply::processes::announce_ready;
use crate::apply::processes::graceful::asked_to_end;
use crate::clock::Clock;
use crate::store::Store;

/// Where a part finds the rest.
#[derive(Args)]
pub struct Place {
    /// The data folder.
    #[arg(long, default_value = ".betagate", env = "BETAGATE_DATA")]
    pub(super) data: PathBuf,
    /// postgres://… or sqlite:PATH; SQLite in the data folder when left out.
    #[arg(long, env = "BETAGATE_DATABASE", hide_env_values = true)]
    pub(super) database: Option<String>,
}

/// Runs one API process.
#[derive(Args)]
#[command(after_help = "Example: betagate api --database postgres://… --listen 0.0.0.0:8080")]
pub struct Api {
    #[command(flatten)]
    place: Place,
    /// Its address; without it, the listening socket is standard input, as `betagate up` hands it down.
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<SocketAddr>,
    /// A file with the administration token.
    #[arg(long, value_name = "FILE", env = "BETAGATE_ADMIN_TOKEN_FILE")]
    admin_token_file: Option<PathBuf>,
    /// A network of proxies whose X-Forwarded-For is believed, such as 10.0.0.0/8; several with commas. Without one, whoever connects is the source.
    #[arg(long = "trusted-proxy", value_name = "NETWORK", env = "BETAGATE_TRUSTED_PROXIES", value_delimiter = ',')]
    trusted_proxies: Vec<IpNet>,
}

impl Api {
    pub async fn run(self) -> Result<ExitCode, CliError> {
        let database = database_url(self.place.database.as_deref(), &self.place.data);
        let (data, listen, admin_token_file) = (self.place.data, self.listen, self.admin_token_file);
        let trusted_proxies = self.trusted_proxies;
        let settings = ServeSettings { database, data, listen, admin_token_file, trusted_proxies };
        serve_child(settings).await.map_err(CliError::Failed)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Runs one worker process.
#[derive(Args)]
#[command(after_help = "Example: betagate worker --database postgres://…")]
pub struct Worker {
    #[command(flatten)]
    place: Place,
}

impl Worker {
    pub async fn run(self) -> Result<ExitCode, CliError> {
        let end = asked_to_end().map_err(CliError::failed)?;
        let url = database_url(self.place.database.as_deref(), &self.place.data);
        let store = Store::open(url.expose_secret()).await?;
        announce_ready().map_err(CliError::failed)?;
        crate::worker::run(store.clone(), Clock::of_process(), end).await;
        store.close().await;
        Ok(ExitCode::SUCCESS)
    }
}
