//! Which resources of betagate are Ready, as watches of all kinds tell it: nobody is asked again and again.
//!
//! Must not know: who makes them so, or what is measured.

use std::collections::HashSet;
use std::pin::pin;
use std::time::Duration;

use betagate_core::resources::Kind;
use futures_util::StreamExt as _;
use kube::Api;
use kube::api::DynamicObject;
use kube::runtime::watcher::{Config, Event};
use kube::runtime::{WatchStreamExt as _, watcher};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;

/// A resource as a watch told of it.
pub struct Told {
    pub kind: Kind,
    pub name: String,
    pub generation: i64,
    pub ready: bool,
}

/// What was told so far, and whoever tells. The watches end with it.
pub struct Sight {
    told: UnboundedReceiver<Told>,
    ready: HashSet<(Kind, String)>,
    _watches: JoinSet<()>,
}

impl Sight {
    pub fn begin(api: impl Fn(Kind) -> Api<DynamicObject>) -> Self {
        let (tell, told) = unbounded_channel();
        let mut watches = JoinSet::new();
        for kind in Kind::ALL.iter().filter(|kind| **kind != Kind::Rollback) {
            watches.spawn(follow(*kind, api(*kind), tell.clone()));
        }
        Self { told, ready: HashSet::new(), _watches: watches }
    }

    /// The next thing that is told; none when nothing is told for so long.
    pub async fn next(&mut self, longest: Duration) -> Option<Told> {
        let told = tokio::time::timeout(longest, self.told.recv()).await.ok().flatten()?;
        let key = (told.kind, told.name.clone());
        if told.ready {
            self.ready.insert(key)
        } else {
            self.ready.remove(&key)
        };
        Some(told)
    }

    /// How many are Ready.
    pub fn ready(&self) -> usize {
        self.ready.len()
    }
}

async fn follow(kind: Kind, api: Api<DynamicObject>, tell: UnboundedSender<Told>) {
    let mut events = pin!(watcher(api, Config::default()).default_backoff());
    while let Some(event) = events.next().await {
        let (object, ready) = match event {
            Ok(Event::Apply(object) | Event::InitApply(object)) => {
                let ready = is_ready(&object);
                (object, ready)
            }
            Ok(Event::Delete(object)) => (object, false),
            _ => continue,
        };
        let generation = object.metadata.generation.unwrap_or_default();
        let told = Told { kind, name: object.metadata.name.unwrap_or_default(), generation, ready };
        if tell.send(told).is_err() {
            return;
        }
    }
}

/// Whether its status says so of what it says now.
fn is_ready(object: &DynamicObject) -> bool {
    let status = &object.data["status"];
    let conditions = status["conditions"].as_array().into_iter().flatten();
    let says = conditions.filter(|one| one["type"] == "Ready").any(|one| one["status"] == "True");
    says && status["observedGeneration"].as_i64() == object.metadata.generation
}
