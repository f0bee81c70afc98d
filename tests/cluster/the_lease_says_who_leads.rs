//! Two real controllers on a real API server: the leader is killed, the other goes on; one that is asked to end gives the lead back.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::namespace::{Namespace, PLAN, SMALL};
use crate::support::{Betagate, Running, TestDb, sqlite, wait_for};

const PATIENCE: Duration = Duration::from_secs(120);

fn controller(namespace: &Namespace, db: &TestDb, data: &Path, host: &str) -> Running {
    let words = ["controller", "--cluster", "--namespace", &namespace.name, "--database", &db.url];
    let command = Betagate::new(words).env("HOSTNAME", host).env("BETAGATE_DATA", data).env("RUST_LOG", "info");
    command.start_logging_to(&data.join(format!("{host}.log")))
}

fn holder(namespace: &Namespace) -> String {
    let lease = namespace.get("lease/betagate-controller");
    lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned()
}

fn leads(namespace: &Namespace, host: &str) {
    let who = format!("{host}/");
    wait_for(&format!("{host} to lead"), PATIENCE, || holder(namespace).starts_with(&who).then_some(()));
}

fn is(namespace: &Namespace, resource: &str, state: &Value) {
    wait_for(&format!("{resource} to be {state}"), PATIENCE, || {
        (namespace.get(resource)["status"]["state"] == *state).then_some(())
    });
}

#[test]
fn the_leader_is_killed_and_the_other_goes_on() {
    let (namespace, db, data) = (Namespace::new("leaders"), sqlite(), tempfile::tempdir().unwrap());
    namespace.apply(&format!("{SMALL}---\n{PLAN}"));
    let mut first = controller(&namespace, &db, data.path(), "first");
    leads(&namespace, "first");
    is(&namespace, "cohort/pavia", &json!("Open"));
    let mut second = controller(&namespace, &db, data.path(), "second");
    // The other waits, whatever there is to do.
    first.kill();
    let began = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(1);
    namespace.apply(&format!(
        "apiVersion: betagate.dev/v1alpha1\nkind: Incident\nmetadata: {{ name: down }}\nspec: {{ program: small, severity: sev-1, title: Down, startedAt: \"{began:.0}\" }}\n"
    ));
    leads(&namespace, "second");
    is(&namespace, "flag/new-feed", &json!("Held"));
    assert_eq!(namespace.get("lease/betagate-controller")["spec"]["leaseTransitions"], 2);
    assert!(second.is_running());

    // Asked to end, it gives the lead back, and who comes next need not wait until it has run out.
    let ended = second.interrupt(PATIENCE).expect("it ends when it is asked to");
    assert!(ended.success(), "{ended}");
    assert_eq!(holder(&namespace), "");
    let third = controller(&namespace, &db, data.path(), "third");
    leads(&namespace, "third");
    drop(third);
}
