//! What people do before a rollback is lifted: they complete its cause document, and say so.

use std::path::Path;

use betagate::store::{Store, signoffs};
use betagate_core::resources::SignoffSpec;
use jiff::Timestamp;

/// Fills in what a cause document asks for.
pub fn complete(document: &Path) {
    let text = std::fs::read_to_string(document).unwrap();
    let text = text
        .replace("## Root cause\n", "## Root cause\n\nKnown.\n")
        .replace("## Action items\n", "## Action items\n\n- [ ] Mend it (owner: founder)\n");
    std::fs::write(document, text).unwrap();
}

/// Fills in every cause document of a data folder; none where there are none.
pub fn complete_all(data: &Path) {
    for document in std::fs::read_dir(data.join("documents")).into_iter().flatten().flatten() {
        complete(&document.path());
    }
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
