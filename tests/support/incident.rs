//! An incident as an alerting system would have told it.

use betagate::store::incidents::{self, Incident};
use jiff::Timestamp;

use super::beta::Beta;

/// One that goes on, heard of when it began.
pub fn open(program: &str, name: &str, severity: &str, since: Timestamp) -> Incident {
    Incident {
        program: program.to_owned(),
        name: name.to_owned(),
        severity: severity.to_owned(),
        category: String::new(),
        title: format!("{name} is down"),
        started_at: since,
        resolved_at: None,
        acknowledged_at: None,
        source: "test".to_owned(),
        first_seen: since,
    }
}

/// Records it.
pub async fn tell(beta: &Beta, incident: &Incident) {
    let mut tx = beta.store.begin().await.unwrap();
    incidents::open(&mut tx, incident).await.unwrap();
    tx.commit().await.unwrap();
}
