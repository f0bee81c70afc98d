//! What reaches beyond a status: flags that people set elsewhere are changed where they live, and what a deleted resource made is taken back
//! before it goes.

use betagate::cluster::LONGEST_PAUSE;
use betagate::controller::SET_FLAG;
use betagate::store::intents::{self, State};
use betagate::store::invites::{self, Filter};
use betagate::store::outbox;
use serde_json::{Value, json};

use crate::namespace::{Follower, Namespace, PLAN, SMALL};
use crate::support::sqlite;

const DOWN: &str = "apiVersion: betagate.dev/v1alpha1\nkind: Incident\nmetadata: { name: down }\nspec: { program: small, severity: sev-1, title: Down, startedAt: 2026-03-03T08:00:00Z }\n";

/// Asks for another default, and gives the answer.
async fn set(follower: &mut Follower, variant: &str) -> (State, Value) {
    let mut tx = follower.store.begin().await.unwrap();
    let body = json!({ "key": "new-feed", "variant": variant });
    let id = intents::submit(&mut tx, SET_FLAG, "founder", &body, follower.clock.now()).await.unwrap();
    tx.commit().await.unwrap();
    for _ in 0..300 {
        follower.controller.pass().await.unwrap();
        let intent = intents::get(&follower.store, id).await.unwrap().unwrap();
        if intent.state != State::Waiting {
            return (intent.state, intent.result.unwrap_or_default());
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("it was not answered");
}

#[tokio::test]
async fn a_flag_that_is_set_elsewhere_changes_where_it_lives_unless_it_is_held() {
    let (namespace, db) = (Namespace::new("sets"), sqlite());
    let mut follower = Follower::start(&namespace, &db).await;
    namespace.apply(&format!("{SMALL}---\n{PLAN}"));
    follower.until("it is ready", || namespace.condition("flag/new-feed", "Ready").0 == "True").await;
    let (state, result) = set(&mut follower, "off").await;
    assert_eq!((state, &result["resource"]), (State::Done, &json!("flag/new-feed")));
    let flag = namespace.get("flag/new-feed");
    assert_eq!(flag["spec"]["defaultVariant"], "off");
    assert_eq!(flag["spec"]["safeVariant"], "off", "the rest is as it was");
    let managers = flag["metadata"]["managedFields"].as_array().unwrap();
    let ours = managers.iter().find(|one| one["manager"] == "betagate-admin").unwrap();
    assert_eq!(ours["fieldsV1"], json!({ "f:spec": { "f:defaultVariant": {} } }));
    let seen = || namespace.get("flag/new-feed")["status"]["observedGeneration"] == json!(2);
    follower.until("the change comes back", seen).await;
    assert_eq!(follower.served("new-feed").await.as_deref(), Some("off"));

    let (state, result) = set(&mut follower, "maybe").await;
    assert_eq!(state, State::Refused, "{result}");
    // Somebody applies the flag again with a tool that owns the field: it is told of the conflict.
    let document = namespace.get("flag/new-feed");
    let again = json!({ "apiVersion": "betagate.dev/v1alpha1", "kind": "Flag", "metadata": { "name": "new-feed" }, "spec": { "defaultVariant": "on" } });
    let conflict = namespace.kubectl("apply --server-side --field-manager=argocd -f -", &again.to_string());
    assert!(!conflict.done && conflict.text.contains("betagate-admin"), "{}", conflict.text);
    assert_eq!(namespace.get("flag/new-feed")["spec"], document["spec"]);

    namespace.apply(DOWN);
    follower.until("it is held", || namespace.get("flag/new-feed")["status"]["state"] == "Held").await;
    let (state, result) = set(&mut follower, "on").await;
    assert_eq!(state, State::Refused);
    assert!(result["reason"].as_str().unwrap().contains("held by back-1"), "{result}");
    assert_eq!(namespace.get("flag/new-feed")["spec"]["defaultVariant"], "off");
}

#[tokio::test]
async fn a_cause_document_is_there_soon_after_an_outage_however_often_it_was_tried() {
    let (namespace, db) = (Namespace::new("causes"), sqlite());
    let mut follower = Follower::start(&namespace, &db).await;
    let step = "{ captureRootCause: { owner: founder } }";
    namespace.apply(&format!("{SMALL}---\n{}", PLAN.replace("{ disableFlags: { keys: [new-feed] } }", step)));
    follower.until("the plan is ready", || namespace.condition("rollbackplan/back", "Ready").0 == "True").await;
    follower.wire.let_write(0);
    namespace.apply(DOWN);
    let mut tries = 0;
    while tries < 12 {
        follower.clock.advance(jiff::SignedDuration::from_mins(1));
        follower.pass().await;
        let documents = outbox::by_prefix(&follower.store, "back-1/").await.unwrap();
        let document = documents.iter().find(|message| message.intent.kind == "document");
        // The run has to be seen to begin first.
        let Some(document) = document else { continue };
        let why = document.last_error.as_deref().unwrap_or_default();
        assert!(document.state == outbox::State::Waiting && why.contains("the wire is cut for writes"), "{document:?}");
        tries += 1;
    }
    let maps = || namespace.kubectl("get configmaps -l betagate.dev/files=causes -o name", "").text;
    assert_eq!(maps(), "");
    follower.wire.let_write(usize::MAX);
    follower.clock.advance(LONGEST_PAUSE.try_into().unwrap());
    follower.pass().await;
    assert!(maps().starts_with("configmap/cause-back-1-"), "{}", maps());
}

fn waits(namespace: &Namespace) -> bool {
    namespace.get("cohort/pavia")["metadata"]["finalizers"] == json!(["betagate.dev/invites"])
}

async fn unused(follower: &Follower) -> usize {
    let active = Filter { program: Some("small".to_owned()), active_only: true, limit: 100, ..Filter::default() };
    invites::list(&follower.store, &active).await.unwrap().len()
}

#[tokio::test]
async fn a_deleted_cohort_goes_when_its_unused_invites_are_taken_back() {
    let (namespace, db) = (Namespace::new("goes"), sqlite());
    let mut follower = Follower::start(&namespace, &db).await;
    // Without the guard: its acknowledgement is not what this is about.
    namespace.apply(&SMALL.replace("timeZone: UTC,", "timeZone: UTC, massChangePercent: 100,"));
    follower.until("the cohort's deletion would wait", || waits(&namespace)).await;
    assert_eq!(unused(&follower).await, 1);
    // The rollout names it: it is not gone before that is over.
    assert!(namespace.kubectl("delete cohort pavia --wait=false", "").done);
    let deleting = || namespace.condition("cohort/pavia", "Reconciling") == ("True".to_owned(), "Deleting".to_owned());
    follower.until("it says that it is being deleted", deleting).await;
    assert!(waits(&namespace));
    assert_eq!(unused(&follower).await, 1);
    let patch = r#"{"spec":{"stages":[{"name":"first"}]}}"#;
    let patched = namespace.kubectl(&format!("patch rollout all --type=merge -p {patch}"), "");
    assert!(patched.done, "{}", patched.text);
    follower.until("it is gone", || namespace.get("cohort/pavia").is_null()).await;
    assert_eq!(unused(&follower).await, 0);
}

#[tokio::test]
async fn a_namespace_that_is_deleted_does_not_wait_for_its_cohorts() {
    let (namespace, db) = (Namespace::new("ends"), sqlite());
    let mut follower = Follower::start(&namespace, &db).await;
    namespace.apply(SMALL);
    follower.until("the cohort's deletion would wait", || waits(&namespace)).await;
    assert!(namespace.kubectl("delete rollouts,flags,cohorts,programs --all --wait=false", "").done);
    follower.until("the last cohort is gone", || namespace.get("cohort/pavia").is_null()).await;
    let cohort = invites::cohort_state(&follower.store, "small", "pavia").await.unwrap().unwrap();
    assert!(!cohort.open, "nobody comes in any more");
}
