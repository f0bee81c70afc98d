//! The way to a Kubernetes cluster: a client, the one namespace of a controller, and whether this process may act there now.
//!
//! Must not know: what is read or written there. Whoever writes to the cluster asks [`Cluster::may_act`] before each write.

mod bound;
mod connect;
mod deadline;
mod lead;
pub mod lease;
mod pauses;
mod withheld;

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use betagate_core::resources::{GROUP, Kind};
use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, Client};

pub use bound::{Bound, TAKES_HOLD, bound};
pub use connect::{ClusterError, ClusterOptions, connect, failed};
pub use lead::{Campaign, Leading};
pub use pauses::{LONGEST_PAUSE, Pauses};
pub use withheld::Withheld;

/// The version of the API group.
const VERSION: &str = "v1alpha1";

/// What commands of checks and steps are run with, where a document says nothing else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobSettings {
    /// Whether none run.
    pub off: bool,
    /// The service account.
    pub account: Option<String>,
    /// The image.
    pub image: Option<String>,
    /// Secrets that no command is given, whatever their labels say.
    pub withheld: Withheld,
}

/// A namespace of a cluster.
pub struct Cluster {
    client: Client,
    namespace: String,
    signoff_policies: Vec<String>,
    jobs: JobSettings,
    acts_until: Mutex<Option<Instant>>,
}

impl Cluster {
    /// The namespace that the options name, else the pod's own or the one of the kubeconfig's context. Nothing is asked of the cluster yet.
    ///
    /// # Errors
    /// When there is no way to a cluster.
    pub async fn connect(options: &ClusterOptions) -> Result<Self, ClusterError> {
        let client = connect(options.context.as_deref()).await?;
        let namespace = options.namespace.clone().unwrap_or_else(|| client.default_namespace().to_owned());
        Ok(Self::new(client, namespace))
    }

    /// A namespace that a client reaches.
    pub fn new(client: Client, namespace: impl Into<String>) -> Self {
        Self {
            client,
            namespace: namespace.into(),
            signoff_policies: Vec::new(),
            jobs: JobSettings::default(),
            acts_until: Mutex::new(None),
        }
    }

    /// The same, where admission policies of these names are said to let people give their own word only. Whether they do is asked ([`bound`]).
    #[must_use]
    pub fn with_signoff_policies(mut self, names: Vec<String>) -> Self {
        self.signoff_policies = names.into_iter().filter(|name| !name.is_empty()).collect();
        self
    }

    /// The same, where commands run with these settings.
    #[must_use]
    pub fn with_jobs(self, jobs: JobSettings) -> Self {
        Self { jobs, ..self }
    }

    /// What commands are run with.
    pub fn jobs(&self) -> &JobSettings {
        &self.jobs
    }

    /// The admission policies that are said to let people give their own word only.
    pub fn signoff_policies(&self) -> &[String] {
        &self.signoff_policies
    }

    /// The client.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The resources of a kind in the namespace.
    pub fn resources(&self, kind: Kind) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.namespace, &resource_of(kind))
    }

    /// Whether a write may begin now: this process leads, and said so to the cluster recently enough that nobody else can have taken over.
    pub fn may_act(&self) -> bool {
        self.acts_until().is_some_and(|until| Instant::now() < until)
    }

    /// Lets this process write until then, or no more.
    pub fn let_act(&self, until: Option<Instant>) {
        *self.acts_until.lock().unwrap_or_else(PoisonError::into_inner) = until;
    }

    fn acts_until(&self) -> Option<Instant> {
        *self.acts_until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How the API server calls a kind.
pub fn resource_of(kind: Kind) -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(GROUP, VERSION, kind.name()), kind.plural())
}
