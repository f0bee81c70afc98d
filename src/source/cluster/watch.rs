//! The watches: one a kind, and one of the ConfigMaps that bring files. A watch that breaks is begun again with a growing pause; one whose
//! place in history is gone (410) lists anew, and what is not there any more is taken out.
//!
//! Must not know: what is done with what is seen.

use std::fmt::Debug;
use std::pin::pin;
use std::sync::Arc;

use betagate_core::resources::Kind;
use futures_util::StreamExt as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::runtime::watcher::{Config, Error, Event};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;

use super::FILES_LABEL;
use super::held::{Held, What};
use crate::cluster::{Cluster, Pauses, failed};

/// So many resources are read at once when a watch begins: as trees of values, with the server's bookkeeping, they are ten times as large as what is kept.
const PAGE: u32 = 100;

/// Watches the resources of a kind until it is dropped.
pub(super) async fn kind(cluster: Arc<Cluster>, kind: Kind, held: Arc<Held>) {
    let take = |event| held.take(kind, event);
    follow(cluster.resources(kind), Config::default().page_size(PAGE), What::Kind(kind), &held, take).await;
}

/// Watches the ConfigMaps that bring files until it is dropped.
pub(super) async fn files(cluster: Arc<Cluster>, held: Arc<Held>) {
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client().clone(), cluster.namespace());
    let take = |event| held.take_files(event);
    follow(maps, Config::default().labels(FILES_LABEL), What::Files, &held, take).await;
}

async fn follow<K>(api: Api<K>, config: Config, what: What, held: &Held, take: impl Fn(Event<K>))
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let mut events = pin!(watcher(api, config).backoff(Pauses::default()));
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => take(event),
            Err(error) => {
                let words = words(what, error);
                if held.failing(what, &words) {
                    tracing::warn!(%what, %words, "a watch failed; it is begun again");
                }
            }
        }
    }
}

fn words(what: What, error: Error) -> String {
    match error {
        Error::InitialListFailed(error) | Error::WatchStartFailed(error) | Error::WatchFailed(error) => match error {
            kube::Error::Api(status) if status.code == 404 => {
                format!("the cluster has no {what}: betagate crd | kubectl apply --server-side -f -")
            }
            other => failed(other, "").to_string(),
        },
        Error::WatchError(status) => format!("the watch of {what} ended: {}", status.message),
        Error::NoResourceVersion => format!("{what} can't be watched"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::wake::Wake;
    use super::*;

    #[test]
    fn a_failure_is_news_once_until_the_watch_has_worked_or_fails_for_another_reason() {
        let held = Held::new(Arc::new(Wake::new()), false);
        let flags = What::Kind(Kind::Flag);
        assert!(held.failing(flags, "forbidden") && held.failing(What::Files, "forbidden"));
        // A list begins, and is refused again.
        held.take(Kind::Flag, Event::Init);
        assert!(!held.failing(flags, "forbidden"));
        assert!(held.failing(flags, "no such kind") && !held.failing(flags, "no such kind"));
        held.take(Kind::Flag, Event::Init);
        held.take(Kind::Flag, Event::InitDone);
        assert!(held.failing(flags, "no such kind"), "it worked in between");
    }
}
