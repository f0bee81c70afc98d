//! Whether a group of routes answers.
//!
//! Must not know: which groups must stay online.

use std::time::Duration;

/// Longer than this is no answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Asks a route group's probe below `base` (`http://127.0.0.1:8080`). A group without a probe, an error and anything but 2xx is no answer.
pub async fn answers(base: &str, group: &str) -> bool {
    let Some(path) = crate::api::groups::probe_path(group) else { return false };
    let Ok(client) = reqwest::Client::builder().timeout(PATIENCE).no_proxy().build() else { return false };
    client.get(format!("{base}{path}")).send().await.is_ok_and(|answer| answer.status().is_success())
}
