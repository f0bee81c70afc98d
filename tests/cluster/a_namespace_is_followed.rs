//! Resources of a namespace as the source, and their statuses, through a real API server and a wire that breaks.

use serde_json::json;

use crate::namespace::{Follower, Namespace, PLAN, SMALL};
use crate::support::sqlite;

const OFF_TO: &str = r#"{"spec":{"defaultVariant":"VARIANT"}}"#;

fn patch(namespace: &Namespace, flag: &str, variant: &str) {
    let patch = OFF_TO.replace("VARIANT", variant);
    let patched = namespace.kubectl(&format!("patch flag {flag} --type=merge -p {patch}"), "");
    assert!(patched.done, "{}", patched.text);
}

fn another_flag(name: &str) -> String {
    format!(
        "apiVersion: betagate.dev/v1alpha1\nkind: Flag\nmetadata: {{ name: {name} }}\nspec: {{ program: small, type: boolean, variants: {{ \"on\": true, \"off\": false }}, defaultVariant: \"off\" }}\n"
    )
}

/// Passes until the source is told to have that problem, or no more.
async fn told(follower: &mut Follower, words: &str, is: bool) {
    for _ in 0..1200 {
        follower.pass().await;
        if follower.controller.problems().iter().any(|problem| problem.to_string().contains(words)) == is {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("{words}: {is} expected, and {:?}", follower.controller.problems());
}

#[tokio::test]
async fn what_is_wrong_keeps_what_it_said_and_the_others_go_on() {
    let (namespace, db) = (Namespace::new("keeps"), sqlite());
    let mut follower = Follower::start(&namespace, &db).await;
    // What names something missing waits, and is no error of the others.
    let rollout = another_flag("unused").replace("small", "elsewhere");
    namespace.apply(&format!("{SMALL}---\n{rollout}"));
    follower.until("everything is ready", || namespace.condition("flag/new-feed", "Ready").0 == "True").await;
    follower.until("the cohort is open", || namespace.get("cohort/pavia")["status"]["state"] == "Open").await;
    let waits =
        || namespace.condition("flag/unused", "Accepted") == ("False".to_owned(), "ReferenceMissing".to_owned());
    follower.until("the stray flag waits", waits).await;
    assert_eq!(follower.served("new-feed").await.as_deref(), Some("on"));

    patch(&namespace, "new-feed", "maybe");
    namespace.apply(&another_flag("late"));
    let refused = || namespace.condition("flag/new-feed", "Stalled") == ("True".to_owned(), "Invalid".to_owned());
    follower.until("the flag is refused", refused).await;
    follower.until("the other is taken", || namespace.condition("flag/late", "Ready").0 == "True").await;
    assert_eq!(follower.served("new-feed").await.as_deref(), Some("on"));
    assert_eq!(follower.served("late").await.as_deref(), Some("off"));
    let flag = namespace.get("flag/new-feed");
    assert_eq!(flag["status"]["observedGeneration"], flag["metadata"]["generation"]);

    // A new controller knows what was accepted from the database alone.
    follower.restart().await;
    patch(&namespace, "late", "on");
    let observed = || namespace.get("flag/late")["status"]["observedGeneration"] == json!(2);
    follower.until("the new controller has seen everything", observed).await;
    assert_eq!(follower.served("new-feed").await.as_deref(), Some("on"));
    // A list that is in two ConfigMaps is told as long as it is.
    for map in ["copy", "lists"] {
        let document = "{ apiVersion: v1, kind: ConfigMap, metadata: { name: MAP, labels: { betagate.dev/files: cohorts } }, data: { a.csv: 'email' } }";
        namespace.apply(&document.replace("MAP", map));
    }
    told(&mut follower, "cohorts/a.csv is in the ConfigMaps copy, lists: that of copy counts", true).await;
    assert!(namespace.kubectl("delete configmap lists", "").done);
    told(&mut follower, "is in the ConfigMaps", false).await;
    patch(&namespace, "new-feed", "off");
    follower.until("it is right again", || namespace.condition("flag/new-feed", "Stalled").0 == "False").await;
    assert_eq!(follower.served("new-feed").await.as_deref(), Some("off"));
}

#[tokio::test]
async fn nothing_is_written_at_rest() {
    let (namespace, db) = (Namespace::new("rest"), sqlite());
    let mut follower = Follower::start(&namespace, &db).await;
    namespace.apply(&format!("{SMALL}---\n{PLAN}"));
    let all = ["program/small", "cohort/pavia", "flag/new-feed", "rollout/all", "rollbackplan/back"];
    let ready = || all.iter().all(|one| namespace.condition(one, "Ready").0 == "True");
    follower.until("everything is ready", ready).await;
    let opened = || namespace.get("cohort/pavia")["status"]["state"] == "Open";
    follower.until("the stage is open", opened).await;
    // What was under way is over once a change has come through.
    namespace.apply(&another_flag("mark"));
    follower.until("the change has come through", || namespace.condition("flag/mark", "Ready").0 == "True").await;
    let before = follower.wire.writes();
    assert!(before >= all.len(), "statuses are written over this wire: {before}");
    for _ in 0..50 {
        follower.clock.advance(jiff::SignedDuration::from_secs(15));
        follower.controller.pass().await.unwrap();
    }
    // One change, one status: what the quiet passes had written would have been written before it.
    patch(&namespace, "mark", "on");
    let seen = || namespace.get("flag/mark")["status"]["observedGeneration"] == json!(2);
    follower.until("the change was seen", seen).await;
    assert_eq!(follower.wire.writes() - before, 1, "the quiet passes wrote something");
}

#[tokio::test]
async fn a_watch_that_was_cut_or_has_expired_misses_nothing() {
    let (namespace, db) = (Namespace::new("expired"), sqlite());
    let mut follower = Follower::start(&namespace, &db).await;
    namespace.apply(&format!("{SMALL}---\n{}", another_flag("goes")));
    follower.until("it is ready", || namespace.condition("flag/goes", "Ready").0 == "True").await;
    for (forgotten, comes, goes) in [(false, "first", "goes"), (true, "second", "first")] {
        follower.wire.cut();
        namespace.apply(&another_flag(comes));
        let deleted = namespace.kubectl(&format!("delete flag {goes}"), "");
        assert!(deleted.done, "{}", deleted.text);
        // Meanwhile what was seen goes on.
        follower.controller.pass().await.unwrap();
        assert!(follower.served(goes).await.is_some());
        follower.wire.mend(forgotten);
        follower
            .until("what came is ready", || namespace.condition(&format!("flag/{comes}"), "Ready").0 == "True")
            .await;
        assert!(follower.served(comes).await.is_some());
        for _ in 0..100 {
            if follower.served(goes).await.is_none() {
                break;
            }
            follower.controller.pass().await.unwrap();
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        assert_eq!(follower.served(goes).await, None, "{goes} was deleted while the watch was cut");
    }
    assert!(follower.wire.told_gone() > 0);
}

#[tokio::test]
async fn a_busy_api_server_gets_its_statuses_later_and_holds_up_nothing() {
    let (namespace, db) = (Namespace::new("busy"), sqlite());
    let mut follower = Follower::start(&namespace, &db).await;
    follower.wire.busy(12);
    namespace.apply(SMALL);
    let mut passes = 0;
    while follower.served("new-feed").await.is_none() {
        passes += 1;
        assert!(passes < 600, "{:?}", follower.controller.problems());
        follower.controller.pass().await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    follower
        .until("the statuses are written all the same", || namespace.condition("flag/new-feed", "Ready").0 == "True")
        .await;
    assert_eq!(follower.wire.still_busy(), 0);
}

#[tokio::test]
async fn only_the_status_is_ours_and_it_is_put_right() {
    let (namespace, db) = (Namespace::new("managers"), sqlite());
    let mut follower = Follower::start(&namespace, &db).await;
    namespace.apply(SMALL);
    follower.until("it is ready", || namespace.condition("flag/new-feed", "Ready").0 == "True").await;
    let flag = namespace.get("flag/new-feed");
    let managers = flag["metadata"]["managedFields"].as_array().unwrap();
    let ours: Vec<_> = managers.iter().filter(|one| one["manager"].as_str().unwrap().starts_with("betagate")).collect();
    assert_eq!(ours.len(), 1, "{ours:?}");
    assert_eq!((&ours[0]["subresource"], &ours[0]["operation"]), (&json!("status"), &json!("Apply")));
    assert_eq!(ours[0]["fieldsV1"].as_object().unwrap().keys().collect::<Vec<_>>(), ["f:status"]);
    // Somebody else writes the status: it says again what is so, and the other's fields of the spec stay.
    let spoilt = r#"{"status":{"state":"Spoilt","conditions":[]}}"#;
    let patched = namespace.kubectl(&format!("patch flag new-feed --subresource=status --type=merge -p {spoilt}"), "");
    assert!(patched.done, "{}", patched.text);
    follower.until("it is put right", || namespace.condition("flag/new-feed", "Ready").0 == "True").await;
    assert_eq!(namespace.get("flag/new-feed")["status"]["state"], "Served");
    assert_eq!(namespace.get("flag/new-feed")["metadata"]["generation"], flag["metadata"]["generation"]);
}

#[tokio::test]
async fn a_run_is_a_resource_that_says_what_it_holds_and_deleting_it_changes_nothing() {
    let (namespace, db) = (Namespace::new("runs"), sqlite());
    let mut follower = Follower::start(&namespace, &db).await;
    namespace.apply(&format!("{SMALL}---\n{PLAN}"));
    follower.until("it is ready", || namespace.condition("rollbackplan/back", "Ready").0 == "True").await;
    namespace.apply(
        "apiVersion: betagate.dev/v1alpha1\nkind: Incident\nmetadata: { name: down }\nspec: { program: small, severity: sev-1, title: Down, startedAt: 2026-03-03T08:00:00Z }\n",
    );
    let held = || namespace.get("rollback/back-1")["status"]["holds"] == json!(["1 freezeInvites", "2 disableFlags"]);
    follower.until("the run says what it holds", held).await;
    follower
        .until("the flag says that it is held", || namespace.get("flag/new-feed")["status"]["state"] == "Held")
        .await;
    let run = namespace.get("rollback/back-1");
    assert_eq!(run["spec"]["plan"], "back");
    assert_eq!(run["metadata"]["ownerReferences"][0]["kind"], "Program");
    // The held flag is turned on by kubectl, and the run is deleted: neither changes what is held.
    patch(&namespace, "new-feed", "on");
    assert!(namespace.kubectl("delete rollback back-1", "").done);
    follower.until("the run is written again", held).await;
    assert_ne!(namespace.get("rollback/back-1")["metadata"]["uid"], run["metadata"]["uid"]);
    assert_eq!(namespace.get("flag/new-feed")["status"]["state"], "Held");
    let events = namespace.kubectl("get events -o json", "").text;
    assert!(events.contains("RollbackStarted"), "{events}");
}
