//! What people do before a rollback is lifted: they complete its cause document, and say so.

use betagate::store::{Store, signoffs};
use betagate_core::resources::SignoffSpec;
use jiff::Timestamp;

use super::beta::Beta;

/// A cause document with what it asks for.
pub fn completed(text: &str) -> String {
    text.replace("## Root cause\n", "## Root cause\n\nKnown.\n")
        .replace("## Action items\n", "## Action items\n\n- [ ] Mend it (owner: founder)\n")
}

/// Every cause document gets what it asks for; none where there are none.
pub async fn complete_all(beta: &Beta) {
    beta.edit_documents(completed).await;
}

/// The founder says that the run may be lifted.
pub async fn say(store: &Store, (program, run): (&str, &str), at: Timestamp) {
    let spec = SignoffSpec::lift(program, "founder", run, "handled");
    record(store, &format!("lift-{run}"), &spec, at).await;
}

/// Somebody's word is recorded.
pub async fn record(store: &Store, name: &str, spec: &SignoffSpec, at: Timestamp) {
    let mut tx = store.begin().await.unwrap();
    signoffs::record(&mut tx, &signoffs::Signoff::recorded(name, spec, at, "test", "")).await.unwrap();
    tx.commit().await.unwrap();
}
