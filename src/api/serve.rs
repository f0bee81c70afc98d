//! An API process: the database, the flags, a listener, until it is asked to end.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::{Semaphore, oneshot, watch};

use super::ofrep::Access;
use super::{
    AlertHooks, ApiState, HASHES_AT_ONCE, Limits, Links, Rates, flags_cache::FlagsCache, service, token_digest,
};
use crate::apply::processes::graceful::asked_to_end;
use crate::apply::processes::{announce_ready, listener_from_stdin, serve};
use crate::clock::Clock;
use crate::keys::Keys;
use crate::secrets::secret_in;
use crate::store::Store;
use crate::store::flags::Process;

/// The secret that signs `POST /hooks/git`.
const HOOK_SECRET: &str = "git-hook";
/// The secret that signs what comes back of mail.
const MAIL_HOOK_SECRET: &str = "mail-hook";

/// The secret with which Alertmanager comes.
const ALERTMANAGER_SECRET: &str = "alertmanager-hook";
/// The secret that signs what PagerDuty tells.
const PAGERDUTY_SECRET: &str = "pagerduty-hook";

/// How long those who asked for a new link are still seen to when the process ends.
const LAST_LINKS: Duration = Duration::from_secs(5);

/// What an API process is started with.
pub struct ServeSettings {
    /// The database's address.
    pub database: SecretString,
    /// The data folder: keys and secrets.
    pub data: PathBuf,
    /// Its own address; none when the listening socket is handed down as standard input.
    pub listen: Option<SocketAddr>,
    /// The file with the administration token.
    pub admin_token_file: Option<PathBuf>,
    /// The networks of the proxies that say whom they forward (`X-Forwarded-For`).
    pub trusted_proxies: Vec<IpNet>,
}

/// Serves until it is asked to end.
///
/// # Errors
/// In words, when it can't start.
pub async fn serve_child(settings: ServeSettings) -> Result<(), String> {
    let clock = Clock::of_process();
    let end = asked_to_end().map_err(|error| error.to_string())?;
    let listener = match settings.listen {
        Some(address) => TcpListener::bind(address).map_err(|error| format!("{address}: {error}"))?,
        None => listener_from_stdin().map_err(|error| error.to_string())?,
    };
    listener.set_nonblocking(true).map_err(|error| error.to_string())?;
    let store = Store::open(settings.database.expose_secret()).await.map_err(|error| error.to_string())?;
    let keys = Keys::load(&settings.data.join("keys")).map_err(|error| error.to_string())?;
    let admin_token = match &settings.admin_token_file {
        Some(file) => {
            Some(token_digest(&std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?))
        }
        None => None,
    };
    let workload = std::env::var("BETAGATE_WORKLOAD").unwrap_or_else(|_| "api".to_owned());
    let pod = std::env::var("BETAGATE_POD").ok().filter(|pod| !pod.is_empty());
    let process = Process::starting(&workload, i64::from(std::process::id()), pod, clock.now());
    let cache = FlagsCache::load(store.clone(), clock.clone(), process).await;
    let (stop, stopped) = oneshot::channel::<()>();
    let keeping_up = tokio::spawn(cache.clone().run(async {
        let _ = stopped.await;
    }));
    // On the machine itself everyone may read flags; elsewhere every client has a token (product page, section 5).
    let local = listener.local_addr().is_ok_and(|address| address.ip().is_loopback());
    let flag_access = if local { Access::Open } else { Access::tokens(store.clone(), admin_token) };
    let (end_now, ending) = watch::channel(false);
    let end = async move {
        end.await;
        end_now.send_replace(true);
    };
    let keys = Arc::new(keys);
    let limits = Arc::new(Limits::new(Rates::default(), &clock, settings.trusted_proxies));
    let (links, seeing_to_links) = Links::start(store.clone(), keys.clone(), clock.clone(), ending.clone());
    let state = ApiState {
        limits,
        links,
        flag_access,
        ending,
        store,
        clock,
        keys,
        cache,
        admin_token,
        hook_secret: secret_in(&settings.data, HOOK_SECRET).ok(),
        mail_hook_secret: secret_in(&settings.data, MAIL_HOOK_SECRET).ok(),
        alert_hooks: AlertHooks {
            alertmanager: secret_in(&settings.data, ALERTMANAGER_SECRET).ok(),
            pagerduty: secret_in(&settings.data, PAGERDUTY_SECRET).ok(),
        },
        metrics: Arc::default(),
        hashing: Arc::new(Semaphore::new(HASHES_AT_ONCE)),
    };
    announce_ready().map_err(|error| error.to_string())?;
    let served = serve(listener, service(state), end).await.map_err(|error| error.to_string());
    drop(stop);
    let _ = keeping_up.await;
    let _ = tokio::time::timeout(LAST_LINKS, seeing_to_links).await;
    served
}
