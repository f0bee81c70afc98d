//! One object applied, or taken away.
//!
//! Must not know: which objects a workload has.

use std::collections::BTreeSet;
use std::time::Duration;

use kube::Api;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, Preconditions, ValidationDirective};
use kube::core::Status;
use serde_json::{Value, json};

use super::build::{APPLIED, Described, Sort};
use super::{MANAGER, Shared, WORKLOAD_LABEL, covers};
use crate::cluster::LONGEST_PAUSE;

/// Why an object is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Trouble {
    /// This process may not write for now.
    #[error("another controller leads")]
    NotLeading,
    /// The API server is away, or asks to be left alone for a moment.
    #[error("the API server does not take it for now: {0}")]
    Away(String),
    /// It names a Secret of the installation itself.
    #[error(
        "secretEnv {variable}: Secret {secret} is betagate's own: no workload is given it; what ran before goes on"
    )]
    Withheld {
        /// The setting.
        variable: String,
        /// The Secret.
        secret: String,
    },
    /// It refuses the object.
    #[error("{kind} {name} is refused: {why}")]
    Refused {
        /// What.
        kind: &'static str,
        /// Its name.
        name: String,
        /// The API server's words.
        why: String,
    },
    /// Somebody else's object has that name.
    #[error("there is a {kind} {name} that is not betagate's: it is left alone")]
    Foreign {
        /// What.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// Another applies the same fields.
    #[error("{kind} {name}: {managers} applies the same fields ({fields}): they are left alone")]
    Contested {
        /// What.
        kind: &'static str,
        /// Its name.
        name: String,
        /// Who.
        managers: String,
        /// Which fields.
        fields: String,
    },
    /// A migration has not ended well.
    #[error("Job {job}: {why}; what ran before goes on")]
    Migration {
        /// The Job.
        job: String,
        /// How it stands.
        why: String,
        /// Whether somebody has to mend it.
        stuck: bool,
    },
}

impl Trouble {
    /// Whether it stays until somebody does something.
    pub fn stuck(&self) -> bool {
        match self {
            Self::NotLeading | Self::Away(_) => false,
            Self::Withheld { .. } | Self::Refused { .. } | Self::Foreign { .. } | Self::Contested { .. } => true,
            Self::Migration { stuck, .. } => *stuck,
        }
    }

    /// How long at most until it is tried again, where it may be over without our being told: our watches see neither objects that are not ours nor what
    /// an API server thinks. One that was away for long must not keep a rollback's step waiting as long again; one that refuses something has its reasons.
    pub fn tried_again_within(&self) -> Option<Duration> {
        match self {
            Self::NotLeading => Some(Duration::from_secs(1)),
            Self::Away(_) => Some(LONGEST_PAUSE),
            Self::Refused { .. } | Self::Foreign { .. } => Some(Duration::from_secs(60)),
            Self::Withheld { .. } | Self::Contested { .. } | Self::Migration { .. } => None,
        }
    }

    /// Whether other objects of the workload have nothing to do with it.
    pub fn is_of_one_object(&self) -> bool {
        matches!(self, Self::Refused { .. } | Self::Foreign { .. } | Self::Contested { .. })
    }
}

impl Shared {
    fn api(&self, sort: Sort) -> Api<DynamicObject> {
        Api::namespaced_with(self.options.client.clone(), &self.options.namespace, &sort.resource())
    }

    fn may_act(&self) -> Result<(), Trouble> {
        if (self.options.may_act)() { Ok(()) } else { Err(Trouble::NotLeading) }
    }

    /// Makes one object so. Writes nothing where it is so already. `settled` is the generation that a write of the very same left behind: what the
    /// API server made of it is not fought.
    pub(super) async fn ensure(&self, object: &Described, settled: Option<i64>) -> Result<Option<i64>, Trouble> {
        let (kind, name) = (object.sort.kind(), object.name.clone());
        let mut live = self.seen().object(object.sort, &name).cloned();
        if let Some(live) = &live {
            let same = live["metadata"]["annotations"][APPLIED] == object.body["metadata"]["annotations"][APPLIED];
            let generation = live["metadata"]["generation"].as_i64();
            if same && (covers(live, &object.body) || (settled.is_some() && settled == generation)) {
                return Ok(settled);
            }
        }
        self.may_act()?;
        let api = self.api(object.sort);
        if live.is_none() {
            // Somebody's own object of that name must not become ours.
            live = api.get_opt(&name).await.map_err(|error| failed(&error, kind, &name))?.map(plain);
            if live.as_ref().is_some_and(|live| !is_ours(live)) {
                return Err(Trouble::Foreign { kind, name });
            }
        }
        let params = PatchParams { field_validation: Some(ValidationDirective::Strict), ..PatchParams::apply(MANAGER) };
        let applied = match api.patch(&name, &params, &Patch::Apply(&object.body)).await {
            Err(kube::Error::Api(status)) if status.code == 409 => {
                // Who applies it is asked anew: what was seen may be older than the conflict.
                let now = api.get_opt(&name).await.map_err(|error| failed(&error, kind, &name))?.map(plain);
                now.iter().for_each(|now| self.seen().put(object.sort, &name, now.clone()));
                if let Some(trouble) = contested(&status, now.as_ref(), kind, &name) {
                    return Err(trouble);
                }
                tracing::info!(kind, name, why = %status.message, "what was changed by hand is put back");
                self.may_act()?;
                api.patch(&name, &params.force(), &Patch::Apply(&object.body)).await
            }
            other => other,
        };
        let applied = plain(applied.map_err(|error| failed(&error, kind, &name))?);
        tracing::info!(kind, name, "applied");
        let generation = applied["metadata"]["generation"].as_i64();
        self.seen().put(object.sort, &name, applied);
        Ok(generation)
    }

    /// Takes away an object that is ours and no longer wanted.
    pub(super) async fn remove(&self, sort: Sort, name: &str, live: &Value) -> Result<(), Trouble> {
        self.may_act()?;
        let uid = live["metadata"]["uid"].as_str().map(str::to_owned);
        let params = DeleteParams {
            preconditions: Some(Preconditions { uid, resource_version: None }),
            ..DeleteParams::background()
        };
        match self.api(sort).delete(name, &params).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
            Err(error) => return Err(failed(&error, sort.kind(), name)),
        }
        tracing::info!(kind = sort.kind(), name, "taken away");
        self.seen().forget(sort, name);
        Ok(())
    }
}

/// Whether an object was made by betagate: by its labels, or, where somebody took those off, by who owns its fields.
fn is_ours(live: &Value) -> bool {
    let labels = &live["metadata"]["labels"];
    let labelled = labels["app.kubernetes.io/managed-by"] == MANAGER && labels[WORKLOAD_LABEL].is_string();
    labelled || appliers(live).contains(MANAGER)
}

/// Who applies an object, or parts of it, rather than having changed it once.
fn appliers(live: &Value) -> BTreeSet<&str> {
    let fields = live["metadata"]["managedFields"].as_array().into_iter().flatten();
    let applied = fields.filter(|entry| entry["operation"] == "Apply");
    applied.filter_map(|entry| entry["manager"].as_str()).collect()
}

/// What an object says, and what of it others apply.
pub(super) fn others(live: Option<&Value>) -> Value {
    let Some(live) = live else { return Value::Null };
    let fields = live["metadata"]["managedFields"].as_array().into_iter().flatten();
    let others = fields.filter(|entry| entry["operation"] == "Apply" && entry["manager"] != MANAGER);
    let others: Vec<Value> = others.map(|entry| json!([entry["manager"], entry["fieldsV1"]])).collect();
    json!([live["spec"], others])
}

/// A conflict with somebody who applies the same fields, and will again. What was changed by hand is none: that is put back.
fn contested(status: &Status, live: Option<&Value>, kind: &'static str, name: &str) -> Option<Trouble> {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let conflicts: Vec<_> = causes.filter(|cause| cause.reason == "FieldManagerConflict").collect();
    let appliers = live.map(appliers).unwrap_or_default();
    let manager = |message: &str| message.split('"').nth(1).map(str::to_owned);
    let of_appliers: Vec<(String, &str)> = conflicts
        .iter()
        .filter_map(|cause| Some((manager(&cause.message)?, cause.field.as_str())))
        .filter(|(manager, _)| appliers.contains(manager.as_str()))
        .collect();
    if of_appliers.is_empty() {
        return None;
    }
    let managers: BTreeSet<&str> = of_appliers.iter().map(|(manager, _)| manager.as_str()).collect();
    let fields: Vec<&str> = of_appliers.iter().map(|(_, field)| *field).collect();
    let managers = managers.into_iter().collect::<Vec<_>>().join(", ");
    Some(Trouble::Contested { kind, name: name.to_owned(), managers, fields: fields.join(", ") })
}

fn failed(error: &kube::Error, kind: &'static str, name: &str) -> Trouble {
    match error {
        kube::Error::Api(status) if !matches!(status.code, 409 | 429 | 500..) => {
            Trouble::Refused { kind, name: name.to_owned(), why: status.message.clone() }
        }
        kube::Error::Api(status) => Trouble::Away(status.message.clone()),
        other => Trouble::Away(other.to_string()),
    }
}

fn plain(object: DynamicObject) -> Value {
    serde_json::to_value(object).unwrap_or_default()
}
