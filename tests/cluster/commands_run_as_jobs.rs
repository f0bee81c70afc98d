//! Commands of checks and steps as Jobs, against a real API server: only what is allowed is begun, the same one is found again, and what is begun is let
//! in where the `restricted` profile is enforced.

use std::sync::Arc;
use std::time::{Duration, Instant};

use betagate::apply::cluster::commands::{Commands, NotRun, Order, Purpose};
use betagate::cluster::{Cluster, JobSettings, Withheld};
use serde_json::Value;

use crate::kubectl;
use crate::namespace::Namespace;
use crate::wire::Wire;

const ACCOUNTS: &str = "
{ apiVersion: v1, kind: ServiceAccount, metadata: { name: reader, labels: { betagate.dev/jobs: allowed } }, automountServiceAccountToken: false }
---
{ apiVersion: v1, kind: ServiceAccount, metadata: { name: admin } }
---
{ apiVersion: v1, kind: Secret, metadata: { name: token, labels: { betagate.dev/jobs: allowed } }, stringData: { value: an-early-word } }
---
{ apiVersion: v1, kind: Secret, metadata: { name: mail }, stringData: { value: an-early-word } }
---
{ apiVersion: v1, kind: Secret, metadata: { name: keys, labels: { betagate.dev/jobs: allowed } }, stringData: { value: an-early-word } }
";

fn order(purpose: Purpose) -> Order {
    Order {
        purpose,
        key: "back-1/1/1/job".to_owned(),
        about: "back-1/1".to_owned(),
        record: "row-1".to_owned(),
        program: "small".to_owned(),
        command: vec!["/bin/true".to_owned()],
        image: Some("example.com/tools:1".to_owned()),
        account: Some("reader".to_owned()),
        env: [("STANZA".to_owned(), "main".to_owned())].into(),
        secret_env: [("TOKEN".to_owned(), "token".to_owned())].into(),
        deadline: Duration::from_secs(60),
        owner: None,
    }
}

fn with(change: impl FnOnce(&mut Order)) -> Order {
    let mut order = order(Purpose::Step);
    change(&mut order);
    order
}

/// A controller's commands in a namespace, which may act or not.
async fn commands(namespace: &Namespace, leads: bool) -> Commands {
    let (client, _) = Wire::client(None).await;
    let cluster = Cluster::new(client, namespace.name.clone())
        .with_jobs(JobSettings { withheld: Withheld::new(["keys".to_owned()]), ..JobSettings::default() });
    cluster.let_act(leads.then(|| Instant::now() + Duration::from_secs(600)));
    Commands::new(Arc::new(cluster))
}

fn jobs(namespace: &Namespace) -> Vec<Value> {
    namespace.get("jobs")["items"].as_array().cloned().unwrap_or_default()
}

fn restricted(name: &str) -> Namespace {
    let namespace = Namespace::new(name);
    let labelled = kubectl(&format!("label namespace {name} pod-security.kubernetes.io/enforce=restricted"), "");
    assert!(labelled.done, "{}", labelled.text);
    namespace.apply(ACCOUNTS);
    namespace
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_allowed_is_named_and_not_begun() {
    let namespace = restricted("commands-refused");
    let leader = commands(&namespace, true).await;
    let account = |name: &str| with(|order| order.account = Some(name.to_owned()));
    let secret = |name: &str| with(|order| order.secret_env = [("A".to_owned(), name.to_owned())].into());
    let label = "with the label betagate.dev/jobs: allowed";
    for (order, said) in [
        (with(|order| order.image = None), "it names no image, and the installation has none for commands".to_owned()),
        (with(|order| order.account = None), "the installation has none for commands".to_owned()),
        (account("admin"), format!("there is no service account 'admin' {label}")),
        (account("nobody"), format!("there is no service account 'nobody' {label}")),
        // Another object under the same address has that label.
        (account("../secrets/token"), format!("there is no service account '../secrets/token' {label}")),
        (secret("mail/value"), format!("there is no Secret 'mail' {label}")),
        (secret("nothing"), format!("there is no Secret 'nothing' {label}")),
        (secret("keys"), "Secret keys is betagate's own: no command is given it".to_owned()),
        // What a chart rendered is in it, the keys too.
        (secret("sh.helm.release.v1.beta.v1/release"), "is betagate's own: no command is given it".to_owned()),
    ] {
        let refused = leader.begin(&order).await.unwrap_err();
        assert!(matches!(refused, NotRun::NotAllowed(_)) && refused.to_string().contains(&said), "{refused}");
        assert_eq!(leader.may_run(&order).await.unwrap_err(), refused);
    }
    let follower = commands(&namespace, false).await;
    assert_eq!(follower.begin(&order(Purpose::Step)).await.unwrap_err(), NotRun::NotLeading);
    assert_eq!(jobs(&namespace), Vec::<Value>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_begun_is_found_again_and_is_let_in() {
    let namespace = restricted("commands-begun");
    for purpose in [Purpose::Step, Purpose::Check] {
        commands(&namespace, true).await.begin(&order(purpose)).await.unwrap();
        let begun = jobs(&namespace);
        // As the next controller does, which knows nothing of it.
        commands(&namespace, true).await.begin(&order(purpose)).await.unwrap();
        let uids = |jobs: &[Value]| jobs.iter().map(|job| job["metadata"]["uid"].clone()).collect::<Vec<_>>();
        assert_eq!((uids(&jobs(&namespace)), begun.len()), (uids(&begun), 1), "{purpose:?}");

        // A pod as its template describes it is let in.
        let job = &begun[0];
        let pod = serde_json::json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "tried" }, "spec": job["spec"]["template"]["spec"] });
        let let_in = namespace.kubectl("create --dry-run=server -f -", &pod.to_string());
        assert!(let_in.done, "{}", let_in.text);
        assert!(!job.to_string().contains("early-word"), "{job}");

        if purpose == Purpose::Step {
            // A run of that number of another database is not done with it, even where it has ended well.
            commands(&namespace, true).await.begin(&with(|order| order.record = "row-2".to_owned())).await.unwrap();
            assert_eq!(jobs(&namespace).len(), 2);
        }
        // Somebody else's Job of that name stays theirs.
        let name = job["metadata"]["name"].as_str().unwrap();
        assert!(namespace.kubectl(&format!("label job {name} app.kubernetes.io/managed-by-"), "").done);
        let refused = commands(&namespace, true).await.begin(&order(purpose)).await.unwrap_err();
        assert_eq!(refused, NotRun::Foreign(name.to_owned()));
        assert!(namespace.kubectl("delete jobs --all --cascade=background", "").done);
    }
}

mod in_pods {
    use std::sync::atomic::{AtomicBool, Ordering};

    use betagate_core::decide::RunPhase;
    use futures_util::FutureExt as _;
    use tokio::sync::Notify;

    use super::*;
    use crate::namespace::{Follower, SMALL};
    use crate::support::sqlite;

    const BACK: &str = r#"
apiVersion: betagate.dev/v1alpha1
kind: RollbackPlan
metadata: { name: back }
spec:
  program: small
  when: [ { incident: { severity: sev-1, activeFor: 30m } } ]
  steps: [ { runJob: { image: "betagate.test/dash:dev", serviceAccount: reader, command: [dash, -c, 'test "$BETAGATE_RUN" = back-1'] } } ]
---
apiVersion: betagate.dev/v1alpha1
kind: Incident
metadata: { name: down }
spec: { program: small, severity: sev-1, title: Down, startedAt: 2026-03-03T08:00:00Z }
"#;

    /// Lets the controller hang at a moment, and says when it got there.
    fn hang_at(follower: &Follower, end: &'static str) -> Arc<Notify> {
        let (reached, once) = (Arc::new(Notify::new()), AtomicBool::new(false));
        let told = reached.clone();
        follower.controller.faults().listen(move |moment| {
            if !moment.ends_with(end) || !moment.contains("/job") || once.swap(true, Ordering::SeqCst) {
                return None;
            }
            told.notify_one();
            Some(std::future::pending().boxed())
        });
        reached
    }

    fn holds(follower: &Follower) -> bool {
        let memory = follower.controller.programs().get("small").and_then(|state| state.decision.as_ref());
        memory.is_some_and(|decision| decision.memory.runs.values().any(|run| run.phase == RunPhase::Holding))
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_command_whose_controller_dies_is_carried_on_by_the_next_one_and_runs_once() {
        for (name, moment) in [("commands-a", "begun"), ("commands-b", "between effect and receipt")] {
            let (namespace, db) = (restricted(name), sqlite());
            let mut follower = Follower::start(&namespace, &db).await;
            let reached = hang_at(&follower, moment);
            namespace.apply(&format!("{SMALL}---\n{BACK}"));
            let dead = tokio::time::timeout(Duration::from_secs(120), async {
                loop {
                    tokio::select! {
                        () = reached.notified() => break,
                        passed = follower.controller.pass() => drop(passed.unwrap()),
                    }
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            });
            dead.await.unwrap_or_else(|_| panic!("{moment} did not come: {:?}", follower.controller.problems()));
            let begun = jobs(&namespace);
            follower.restart().await;
            let started = Instant::now();
            while !holds(&follower) {
                assert!(started.elapsed() < Duration::from_secs(120), "{moment}: it was not carried on");
                follower.pass().await;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            let (jobs, pods) = (jobs(&namespace), namespace.get("pods")["items"].as_array().unwrap().len());
            assert_eq!((jobs.len(), pods), (1, 1), "{moment}");
            assert_eq!(jobs[0]["metadata"]["uid"], begun[0]["metadata"]["uid"], "{moment}");
        }
    }
}
