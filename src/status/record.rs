//! The status of each object in the database, for `get`, `status`, `why` and the API.
//!
//! Must not know: how a state came about.

use std::collections::BTreeMap;

use betagate_core::decide::Decision;
use jiff::Timestamp;
use serde_json::json;

use crate::store::{
    Store, StoreError, Tx,
    status::{ResourceStatus, of_program, put, remove},
};

/// The statuses that are kept of a program, as [`write`] compares them: what an earlier process wrote is taken away like any other.
///
/// # Errors
/// The database's.
pub async fn kept(store: &Store, program: &str) -> Result<BTreeMap<String, String>, StoreError> {
    let kept = of_program(store, program).await?;
    Ok(kept.into_iter().map(|one| (format!("{}/{}", one.kind, one.name), one.status.to_string())).collect())
}

/// Writes the statuses that differ from `before` (the last ones, by `Kind/name`, as text), takes away those of objects that are gone, and
/// gives the new ones. A status carries no time of its own, so that a state that stays the same writes nothing.
///
/// # Errors
/// The database's.
pub async fn write(
    tx: &mut Tx,
    program: &str,
    before: &BTreeMap<String, String>,
    decision: &Decision,
    now: Timestamp,
) -> Result<BTreeMap<String, String>, StoreError> {
    let mut after = BTreeMap::new();
    for (object, state) in &decision.states {
        let Some((kind, name)) = object.split_once('/') else { continue };
        let mut status = json!({ "state": state.state, "summary": state.summary, "waits": state.waits });
        if state.needs_somebody {
            status["needsSomebody"] = json!(true);
        }
        match kind {
            "Gate" => status["verdict"] = json!(decision.verdicts.get(name)),
            "Rollback" => status["run"] = json!(decision.memory.runs.get(name)),
            "Rollout" => status["rollout"] = json!(decision.memory.rollouts.get(name)),
            "Program" => status["day0"] = json!(decision.memory.program.day0),
            _ => {}
        }
        let text = status.to_string();
        if before.get(object) != Some(&text) {
            let (kind, name) = (kind.to_owned(), name.to_owned());
            put(tx, &ResourceStatus { kind, name, program: program.to_owned(), status, updated_at: now }).await?;
        }
        after.insert(object.clone(), text);
    }
    for gone in before.keys().filter(|object| !after.contains_key(*object)) {
        if let Some((kind, name)) = gone.split_once('/') {
            remove(tx, program, kind, name).await?;
        }
    }
    Ok(after)
}
