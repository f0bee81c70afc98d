//! `betagate controller`: the controller as a process of its own, from a folder, a Git repository or a namespace of a cluster.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use secrecy::ExposeSecret as _;

use super::common::keys_of;
use super::documents::From;
use super::parts::Place;
use super::{CliError, common::database_url};
use crate::api::{Leads, answer_for};
use crate::apply::cluster::{Deployer, DeployerOptions, Own};
use crate::apply::from_git::Drift;
use crate::apply::processes::Program;
use crate::apply::processes::graceful::asked_to_end;
use crate::clock::Clock;
use crate::cluster::{Campaign, Cluster, ClusterOptions, JobSettings, Withheld};
use crate::controller::{Controller, ControllerError, GitToCluster, Settings};
use crate::keys::Keys;
use crate::source::Source;
use crate::store::Store;

/// Runs the controller alone: no processes of its own, API and workers run elsewhere.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  betagate controller --database postgres://… /srv/beta\n  betagate controller --database postgres://… --git https://git.example.com/beta.git\n  betagate controller --database postgres://… --cluster --namespace kruxt\n  betagate controller --database postgres://… --cluster --git https://git.example.com/beta.git    # brings the documents into the cluster"
)]
pub struct ControllerAlone {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    from: From,
    #[command(flatten)]
    within: Within,
    /// Where the API answers, for probes of what must stay online: http://HOST:PORT.
    #[arg(long)]
    probe: Option<String>,
    /// Answers /healthz, /readyz and /metrics there, for probes and Prometheus; one that stands by is ready too.
    #[arg(long, value_name = "ADDR:PORT")]
    health: Option<SocketAddr>,
    /// The environment whose differences count.
    #[arg(long)]
    environment: Option<String>,
    /// Goes on although the database was written with other keys: invite codes and hashed lists that are out stop working.
    #[arg(long)]
    accept_new_keys: bool,
}

/// A namespace of a cluster instead of files.
#[derive(Args)]
struct Within {
    /// Follows the resources of a namespace of a Kubernetes cluster: the one that the pod runs in, or the kubeconfig's. Any number of such
    /// controllers may run; the one that holds the Lease works.
    #[arg(long, conflicts_with = "dir")]
    cluster: bool,
    /// What is done about a field of a resource that Git says (`--git`) and somebody changed by hand.
    #[arg(long, requires = "cluster", requires = "git", value_enum, default_value = "put-back")]
    drift: Drift,
    /// The namespace.
    #[arg(long, requires = "cluster", env = "BETAGATE_NAMESPACE")]
    namespace: Option<String>,
    /// The context of the kubeconfig.
    #[arg(long, requires = "cluster")]
    context: Option<String>,
    /// The Lease by which the leader is chosen.
    #[arg(long, requires = "cluster", value_name = "NAME", default_value = "betagate-controller")]
    lease: String,
    /// The admission policies by which people give no word but their own. Sign-offs count as verified where all of them are in force, and since
    /// they were.
    #[arg(long, requires = "cluster", value_name = "NAMES", env = "BETAGATE_SIGNOFF_POLICIES", value_delimiter = ',')]
    signoff_policies: Vec<String>,
    #[command(flatten)]
    deploys: Deploys,
    #[command(flatten)]
    runs: Runs,
}

/// How commands of checks and steps run there, as Jobs.
#[derive(Args)]
struct Runs {
    /// Whether they run at all.
    #[arg(long, requires = "cluster", value_name = "on|off", env = "BETAGATE_JOBS", default_value = "on")]
    jobs: Switch,
    /// The service account of commands that name none. It has the label `betagate.dev/jobs: allowed`, as every other that commands may run under.
    #[arg(long, requires = "cluster", value_name = "NAME", env = "BETAGATE_JOB_ACCOUNT")]
    job_account: Option<String>,
    /// The image of commands that name none.
    #[arg(long, requires = "cluster", env = "BETAGATE_JOB_IMAGE")]
    job_image: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Switch {
    On,
    Off,
}

/// What workloads become there.
#[derive(Args)]
struct Deploys {
    /// Deploys the workloads in the namespace; this is the image of betagate's own. Without it, they are run by somebody else.
    #[arg(long, requires = "cluster", env = "BETAGATE_IMAGE")]
    image: Option<String>,
    /// The Secret whose key `url` is the database's address, for betagate's own workloads.
    #[arg(long, value_name = "NAME", env = "BETAGATE_DATABASE_SECRET", default_value = "betagate-database")]
    database_secret: String,
    /// The Secret with the keys and the administration token, for betagate's own workloads.
    #[arg(long, value_name = "NAME", env = "BETAGATE_KEYS_SECRET", default_value = "betagate-keys")]
    keys_secret: String,
    /// Further Secrets that no workload and no command is given: what the installation itself needs. Those with the database and the keys are given to none
    /// anyway.
    #[arg(long, requires = "cluster", value_name = "NAMES", env = "BETAGATE_WITHHELD_SECRETS", value_delimiter = ',')]
    withheld_secrets: Vec<String>,
}

impl Deploys {
    /// One rule for workloads and commands.
    fn withheld(&self) -> Withheld {
        let own = [&self.database_secret, &self.keys_secret];
        Withheld::new(own.into_iter().chain(&self.withheld_secrets).cloned())
    }

    fn deployer(&self, cluster: &Arc<Cluster>, keys: &Arc<Keys>) -> Option<Deployer> {
        let own = Own {
            image: self.image.clone()?,
            database_secret: self.database_secret.clone(),
            keys_secret: self.keys_secret.clone(),
        };
        let leads = cluster.clone();
        Some(Deployer::start(DeployerOptions {
            client: cluster.client().clone(),
            namespace: cluster.namespace().to_owned(),
            own,
            withheld: self.withheld(),
            keys: keys.clone(),
            may_act: Arc::new(move || leads.may_act()),
        }))
    }
}

impl ControllerAlone {
    pub async fn run(self) -> Result<ExitCode, CliError> {
        let end = asked_to_end().map_err(CliError::failed)?;
        let clock = Clock::of_process();
        std::fs::create_dir_all(&self.place.data).map_err(CliError::failed)?;
        let url = database_url(self.place.database.as_deref(), &self.place.data);
        let store = Store::open(url.expose_secret()).await?;
        store.migrate().await?;
        let cluster = match self.within.cluster {
            true => Some(self.within.reach().await?),
            false => None,
        };
        let source = match &cluster {
            Some(cluster) if self.from.git.is_some() => Source::cluster_from_git(cluster.clone(), clock.clone()),
            Some(cluster) => Source::cluster(cluster.clone(), clock.clone()),
            None => self.from.source(&self.place.data, clock.clone()),
        };
        let git = cluster.as_ref().filter(|_| self.from.git.is_some()).map(|_| {
            let source = Arc::new(self.from.source(&self.place.data, clock.clone()));
            GitToCluster { source, drift: self.within.drift }
        });
        if let Some(address) = self.health {
            let leads = leads(cluster.clone());
            let said = |error| CliError::Failed(format!("{address}: {error}"));
            answer_for(address, store.clone(), leads).await.map_err(said)?;
        }
        let keys = keys_of(&store, &self.place.data, self.accept_new_keys, clock.now()).await?;
        let deployer = cluster.as_ref().and_then(|cluster| self.within.deploys.deployer(cluster, &keys));
        let holder = format!("{}/{}", host(), uuid::Uuid::now_v7().simple());
        let settings = Settings {
            store: store.clone(),
            database_url: url,
            clock: clock.clone(),
            source: Arc::new(source),
            git,
            keys,
            data: self.place.data,
            environment: self.environment,
            supervisor: None,
            deployer,
            jobs: Some(Program::this()),
            probe: self.probe,
            holder: holder.clone(),
            child_env: std::collections::BTreeMap::new(),
        };
        let ran = match cluster {
            Some(cluster) => as_leader(Campaign::new(cluster, self.within.lease, holder, clock), settings, end).await,
            None => alone(settings, end).await,
        };
        ran.map_err(CliError::failed)?;
        store.close().await;
        Ok(ExitCode::SUCCESS)
    }
}

impl Within {
    async fn reach(&self) -> Result<Arc<Cluster>, CliError> {
        let options = ClusterOptions { context: self.context.clone(), namespace: self.namespace.clone() };
        let cluster = Cluster::connect(&options).await.map_err(CliError::failed)?;
        let given = |value: &Option<String>| value.clone().filter(|value| !value.is_empty());
        let jobs = JobSettings {
            off: self.runs.jobs == Switch::Off,
            account: given(&self.runs.job_account),
            image: given(&self.runs.job_image),
            withheld: self.deploys.withheld(),
        };
        Ok(Arc::new(cluster.with_signoff_policies(self.signoff_policies.clone()).with_jobs(jobs)))
    }
}

/// Whether this process works; on a cluster one of several does.
fn leads(cluster: Option<Arc<Cluster>>) -> Leads {
    Arc::new(move || cluster.as_ref().is_none_or(|cluster| cluster.may_act()))
}

async fn alone(settings: Settings, end: impl Future<Output = ()>) -> Result<(), ControllerError> {
    let mut controller = Controller::new(settings).await?;
    controller.run(end, |_| {}).await
}

/// Works whenever it leads, until it is asked to end.
async fn as_leader(
    mut campaign: Campaign,
    settings: Settings,
    end: impl Future<Output = ()>,
) -> Result<(), ControllerError> {
    tokio::pin!(end);
    loop {
        tokio::select! {
            () = campaign.win() => {}
            () = &mut end => return Ok(()),
        }
        tracing::info!("this controller leads");
        let mut leading = campaign.keep();
        let (ended, again) = {
            let lead = alone(settings.clone(), &mut end);
            tokio::pin!(lead);
            tokio::select! {
                ended = &mut lead => (Some(ended), None),
                campaign = leading.lost() => (None, campaign),
            }
        };
        campaign = match (ended, again) {
            // The database says that another leads: the lease will say so too.
            (Some(Err(error)), _) if error.fenced() => match leading.end().await {
                Some(campaign) => campaign,
                None => return Err(error),
            },
            (Some(ended), _) => {
                leading.end().await;
                return ended;
            }
            (None, Some(campaign)) => campaign,
            (None, None) => return Err(ControllerError::Setup("the lease is no longer kept".to_owned())),
        };
    }
}

/// What people call this machine, or pod.
fn host() -> String {
    let name = std::env::var("HOSTNAME").ok().filter(|name| !name.is_empty());
    name.unwrap_or_else(|| "controller".to_owned())
}
