//! `betagate up`: the whole of it on one machine.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use ipnet::IpNet;
use secrecy::{ExposeSecret as _, SecretString};

use super::common::keys_of;
use super::documents::From;
use super::{CliError, common::database_url, glance::Glance};
use crate::apply::processes::graceful::asked_to_end;
use crate::apply::processes::{FolderLock, Program, SharedListener, Supervisor, SupervisorOptions};
use crate::clock::{Clock, DEMO_VARIABLE};
use crate::controller::{Controller, ControllerError, Settings};
use crate::store::{Store, StoreError};

/// How often a database that is away is tried again.
const DATABASE_RETRY: Duration = Duration::from_secs(1);

/// Runs the programs of a folder (or of a Git repository) on this machine: controller, API, worker, flags, mail to files.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  betagate up\n  betagate up --git https://git.example.com/beta.git --branch main\n  betagate up --database postgres://betagate@localhost/beta\n  betagate up --demo-clock 2026-03-02T08:00:00Z@600"
)]
pub struct Up {
    #[command(flatten)]
    from: From,
    /// Where testers and SDKs come in; administration is on the same port, behind its token.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// The data folder; .betagate in DIR when left out.
    #[arg(long)]
    data: Option<PathBuf>,
    /// postgres://… or sqlite:PATH; SQLite in the data folder when left out.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database: Option<String>,
    /// A file with the administration token; one is made in the data folder when left out.
    #[arg(long, value_name = "FILE")]
    admin_token_file: Option<PathBuf>,
    /// The environment whose differences count.
    #[arg(long)]
    environment: Option<String>,
    /// Runs on a fast clock, for a tour: an instant, and how many times as fast as the machine's. On loopback only; mail only as files.
    #[arg(long, value_name = "START@RATE")]
    demo_clock: Option<Clock>,
    /// A network of proxies whose X-Forwarded-For is believed, such as 10.0.0.0/8; several with commas. Without one, whoever connects is the source.
    #[arg(long = "trusted-proxy", value_name = "NETWORK", env = "BETAGATE_TRUSTED_PROXIES", value_delimiter = ',')]
    trusted_proxies: Vec<IpNet>,
    /// Goes on although the database was written with other keys: invite codes and hashed lists that are out stop working.
    #[arg(long)]
    accept_new_keys: bool,
}

impl Up {
    pub async fn run(self) -> Result<ExitCode, CliError> {
        if self.demo_clock.is_some() && !self.listen.ip().is_loopback() {
            return Err(CliError::Usage("--demo-clock is for a tour on this machine: listen on loopback".to_owned()));
        }
        let clock = self.demo_clock.clone().unwrap_or_else(Clock::system);
        let data = self.data.clone().unwrap_or_else(|| self.from.dir.join(".betagate"));
        let lock = FolderLock::take(&data, clock.now()).map_err(CliError::failed)?;
        let data = data.canonicalize().map_err(CliError::failed)?;
        let end = asked_to_end().map_err(CliError::failed)?;
        tokio::pin!(end);
        let listener = SharedListener::bind(self.listen).map_err(CliError::failed)?;
        let url = database_url(self.database.as_deref(), &data);
        let store = tokio::select! {
            store = open(&url) => store?,
            () = &mut end => return Ok(ExitCode::SUCCESS),
        };
        let keys = keys_of(&store, &data, self.accept_new_keys, clock.now()).await?;
        let token_file = self.admin_token(&data)?;
        lock.publish(listener.address(), &token_file, clock.now()).map_err(CliError::failed)?;
        let options =
            SupervisorOptions { program: Program::this(), listener: Some(listener.clone()), clock: Clock::system() };
        let supervisor = Supervisor::start(options);
        let mut child_env =
            BTreeMap::from([("BETAGATE_ADMIN_TOKEN_FILE".to_owned(), token_file.display().to_string())]);
        child_env.extend(clock.handed_down().map(|handed| (DEMO_VARIABLE.to_owned(), handed)));
        if !self.trusted_proxies.is_empty() {
            let networks: Vec<String> = self.trusted_proxies.iter().map(ToString::to_string).collect();
            child_env.insert("BETAGATE_TRUSTED_PROXIES".to_owned(), networks.join(","));
        }
        let settings = Settings {
            store: store.clone(),
            database_url: url,
            clock: clock.clone(),
            source: Arc::new(self.from.source(&data, clock)),
            git: None,
            data: data.clone(),
            keys,
            environment: self.environment.clone(),
            supervisor: Some(supervisor.clone()),
            deployer: None,
            jobs: Some(Program::this()),
            probe: Some(format!("http://{}", reachable(listener.address()))),
            holder: format!("up/{}", std::process::id()),
            child_env,
        };
        let address = reachable(listener.address());
        say!(
            "betagate is up at http://{address} (data in {}, mail in {})",
            data.display(),
            data.join("mail").display()
        );
        say!(
            "Administration needs the token in {}; an administrator's account: betagate admin create EMAIL",
            token_file.display()
        );
        let result = steer(settings, &mut end).await;
        say!("Stopping what was started …");
        supervisor.shutdown().await;
        store.close().await;
        drop(lock);
        result.map(|()| ExitCode::SUCCESS).map_err(CliError::failed)
    }

    /// The file with the administration token, made on the first start, readable by its owner only.
    fn admin_token(&self, data: &Path) -> Result<PathBuf, CliError> {
        if let Some(file) = &self.admin_token_file {
            let token = std::fs::read_to_string(file)
                .map_err(|error| CliError::Failed(format!("{}: {error}", file.display())))?;
            if token.trim().len() < 16 {
                return Err(CliError::Failed(format!(
                    "{}: an administration token has 16 characters or more",
                    file.display()
                )));
            }
            return file.canonicalize().map_err(CliError::failed);
        }
        let file = data.join("admin.token");
        let made = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&file);
        match made {
            Ok(mut opened) => {
                let token: [u8; 32] = rand::random();
                writeln!(opened, "{}", data_encoding::BASE32_NOPAD.encode(&token)).map_err(CliError::failed)?;
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(CliError::Failed(format!("{}: {error}", file.display()))),
        }
        Ok(file)
    }
}

/// Runs the controller until it is asked to end. A controller that fails for a while is begun again.
async fn steer(settings: Settings, end: &mut (impl Future<Output = ()> + Unpin)) -> Result<(), ControllerError> {
    let mut glance = Glance::default();
    let mut controller = Controller::new(settings).await?;
    controller.run(end, |controller| glance.show(controller)).await
}

/// Opens the database and brings it up to date; one that is away is waited for.
async fn open(url: &SecretString) -> Result<Store, CliError> {
    let mut said = false;
    loop {
        let opened = async {
            let store = Store::open(url.expose_secret()).await?;
            store.migrate().await?;
            Ok::<_, StoreError>(store)
        };
        match opened.await {
            Err(error) if error.retryable() => {
                if !said {
                    complain!("Waiting for the database: {error}");
                    said = true;
                }
                tokio::time::sleep(DATABASE_RETRY).await;
            }
            result => return Ok(result?),
        }
    }
}

/// The address by which this machine reaches a listener that listens on every address.
pub(super) fn reachable(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => SocketAddr::from(([127, 0, 0, 1], v4.port())),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], v6.port())),
        other => other,
    }
}
