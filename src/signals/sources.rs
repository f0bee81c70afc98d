//! The named places where a program's checks measure, with their addresses looked up.
//!
//! Must not know: what is asked of them.

use std::collections::BTreeMap;

use betagate_core::resources::{Address, Source as Declared};
use secrecy::{ExposeSecret as _, SecretString};

use super::job::Jobs;
use super::net::Endpoint;
use super::sql::Database;

/// The name under which `PROM_URL` is known.
const DEFAULT_PROMETHEUS: &str = "prom";

/// A place where checks measure.
#[derive(Clone, Debug)]
pub enum Source {
    /// A Prometheus server.
    Prometheus(Endpoint),
    /// A host that answers JSON.
    Http(Endpoint),
    /// A database.
    Database(Database),
    /// It cannot be used, and why; its checks read a source error.
    Unusable(String),
}

/// The sources of one program, by name, and where its jobs run.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    named: BTreeMap<String, Source>,
    jobs: Option<Jobs>,
}

impl Sources {
    /// Looks up what a program declares. `secret` finds a secret by name. A source declared for other environments than
    /// `environment` is left out. One that cannot be used stays, with the reason.
    pub fn resolve(
        declared: &BTreeMap<String, Declared>,
        environment: Option<&str>,
        secret: impl Fn(&str) -> Result<SecretString, String>,
    ) -> Self {
        let here = |source: &Declared| {
            source.environments.is_empty()
                || environment.is_some_and(|environment| source.environments.iter().any(|e| e == environment))
        };
        let sources = declared.iter().filter(|(_, source)| here(source)).map(|(name, source)| {
            let source = resolve_one(name, source, &secret).unwrap_or_else(Source::Unusable);
            (name.clone(), source)
        });
        Self { named: sources.collect(), jobs: None }
    }

    /// Adds betagate's own store as the source `betagate`, by its address.
    #[must_use]
    pub fn with_own_store(mut self, address: SecretString) -> Self {
        let own = Database::own(address);
        self.named.insert(own.name().to_owned(), Source::Database(own));
        self
    }

    /// Adds the Prometheus of `PROM_URL` as the source `prom`, unless the program declares one of that name.
    #[must_use]
    pub fn with_default_prometheus(mut self, address: Option<&str>) -> Self {
        if let Some(address) = address.filter(|address| !address.trim().is_empty())
            && !self.named.contains_key(DEFAULT_PROMETHEUS)
        {
            let source = Endpoint::new(DEFAULT_PROMETHEUS, address, None).map(Source::Prometheus);
            self.named.insert(DEFAULT_PROMETHEUS.into(), source.unwrap_or_else(Source::Unusable));
        }
        self
    }

    /// Says where jobs run.
    #[must_use]
    pub fn with_jobs(self, jobs: Option<Jobs>) -> Self {
        Self { jobs, ..self }
    }

    /// Where jobs run; none where they can't.
    pub(super) fn jobs(&self) -> Option<&Jobs> {
        self.jobs.as_ref()
    }

    /// The Prometheus of that name; without a name the only one, or the one named `prom`.
    pub(super) fn prometheus(&self, name: Option<&str>) -> Result<&Endpoint, String> {
        let is_prometheus = |source: &Source| matches!(source, Source::Prometheus(_));
        let name = match name {
            Some(name) => name,
            None => {
                let mut all =
                    self.named.iter().filter(|(_, source)| is_prometheus(source)).map(|(name, _)| name.as_str());
                match (all.next(), all.next()) {
                    (Some(only), None) => only,
                    (None, _) if self.named.contains_key(DEFAULT_PROMETHEUS) => DEFAULT_PROMETHEUS,
                    (None, _) => return Err("the program has no Prometheus source, and PROM_URL is not set".into()),
                    _ if self.named.contains_key(DEFAULT_PROMETHEUS) => DEFAULT_PROMETHEUS,
                    _ => return Err("the program has several Prometheus sources: name one with `source:`".into()),
                }
            }
        };
        match self.find(name)? {
            Source::Prometheus(endpoint) => Ok(endpoint),
            other => Err(wrong(name, other, "Prometheus server")),
        }
    }

    pub(super) fn http(&self, name: &str) -> Result<&Endpoint, String> {
        match self.find(name)? {
            Source::Http(endpoint) => Ok(endpoint),
            other => Err(wrong(name, other, "HTTP source")),
        }
    }

    pub(super) fn database(&self, name: &str) -> Result<&Database, String> {
        match self.find(name)? {
            Source::Database(database) => Ok(database),
            other => Err(wrong(name, other, "database")),
        }
    }

    fn find(&self, name: &str) -> Result<&Source, String> {
        self.named.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.named.keys().map(String::as_str).collect();
            format!("there is no source {name} here; there are: {}", known.join(", "))
        })
    }
}

fn wrong(name: &str, source: &Source, wanted: &str) -> String {
    match source {
        Source::Unusable(why) => why.clone(),
        _ => format!("source {name} is no {wanted}"),
    }
}

fn resolve_one(
    name: &str,
    declared: &Declared,
    secret: &impl Fn(&str) -> Result<SecretString, String>,
) -> Result<Source, String> {
    let find = |reference: &str| secret(reference).map_err(|why| format!("source {name}: {why}"));
    let address = |address: &Address| match (&address.url, &address.secret_ref) {
        (Some(url), _) => Ok(SecretString::from(url.clone())),
        (None, Some(reference)) => find(reference),
        (None, None) => Err(format!("source {name} has no address")),
    };
    let endpoint = |at: &Address| {
        let token = at.token_ref.as_deref().map(find).transpose()?;
        Endpoint::new(name, address(at)?.expose_secret(), token)
    };
    match (&declared.database, &declared.prometheus, &declared.http) {
        (Some(at), ..) => Ok(Source::Database(Database::product(name, address(at)?))),
        (_, Some(at), _) => endpoint(at).map(Source::Prometheus),
        (.., Some(at)) => endpoint(at).map(Source::Http),
        _ => Err(format!("source {name} is neither database, prometheus nor http")),
    }
}
