//! What Git says is kept, unless somebody suspends it; and beside other tools nobody fights.

use betagate::apply::from_git::Drift;
use jiff::SignedDuration;
use serde_json::json;

use crate::git_is_applied_to_a_namespace::{applied, flag, recorded, repository};
use crate::namespace::{Follower, Namespace};
use crate::support::{TestRepo, sqlite};

/// Changes a resource by hand. The words of kubectl are parted at spaces, so there is none in the patch.
fn change(namespace: &Namespace, what: &str, patch: &serde_json::Value) {
    let patch = patch.to_string().replace(' ', "\\u0020");
    let patched = namespace.kubectl(&format!("patch {what} --type=merge -p {patch}"), "");
    assert!(patched.done, "{}", patched.text);
}

fn patch(namespace: &Namespace, flag: &str, patch: &serde_json::Value) {
    change(namespace, &format!("flag {flag}"), patch);
}

fn default(namespace: &Namespace, flag: &str) -> String {
    namespace.get(&format!("flag/{flag}"))["spec"]["defaultVariant"].as_str().unwrap_or_default().to_owned()
}

fn apply_as(namespace: &Namespace, manager: &str, document: &str) {
    let words = format!("apply --server-side --force-conflicts --field-manager={manager} -f -");
    let said = namespace.kubectl(&words, document);
    assert!(said.done, "{}", said.text);
}

async fn started(namespace: &Namespace, db: &crate::support::TestDb, repo: &TestRepo, drift: Drift) -> Follower {
    let mut follower = Follower::start_from_git(namespace, db, repo, drift).await;
    applied(&mut follower, &repo.git(&["rev-parse", "HEAD"])).await;
    follower.until("it is ready", || namespace.condition("flag/extra", "Ready").0 == "True").await;
    follower.until("the stage is open", || namespace.get("cohort/pavia")["status"]["state"] == "Open").await;
    follower
}

/// Time in which what is written beside the passes is written, and comes back by its watch.
async fn passes(follower: &mut Follower, count: u32) {
    for _ in 0..count {
        follower.pass().await;
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

/// Twelve minutes in which nothing changes: nothing is written, nor tried again. Gives how many writes there were.
async fn rests(follower: &mut Follower) -> usize {
    passes(follower, 10).await;
    let before = follower.wire.writes();
    for _ in 0..50 {
        follower.clock.advance(SignedDuration::from_secs(15));
        follower.pass().await;
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(follower.wire.writes(), before, "at rest something was written");
    before
}

#[tokio::test]
async fn what_somebody_changes_is_put_back_and_what_they_add_stays() {
    let (namespace, db, repo) = (Namespace::new("drifts"), sqlite(), repository());
    let mut follower = started(&namespace, &db, &repo, Drift::PutBack).await;
    patch(&namespace, "extra", &json!({ "spec": { "defaultVariant": "on", "description": "mine" } }));
    follower.until("it is put back", || default(&namespace, "extra") == "off").await;
    assert_eq!(namespace.get("flag/extra")["spec"]["description"], "mine", "what Git does not say is theirs");
    assert!(namespace.kubectl("label flag extra betagate.dev/source-", "").done);
    let labelled = || namespace.get("flag/extra")["metadata"]["labels"]["betagate.dev/source"] == "git";
    follower.until("our mark is put back", labelled).await;
    assert!(namespace.kubectl("delete flag extra", "").done);
    follower.until("it is made again", || default(&namespace, "extra") == "off").await;
    follower.until("and ready", || namespace.condition("flag/extra", "Ready").0 == "True").await;

    let before = rests(&mut follower).await;
    patch(&namespace, "extra", &json!({ "spec": { "description": "still mine" } }));
    let seen = || {
        let flag = namespace.get("flag/extra");
        flag["status"]["observedGeneration"] == flag["metadata"]["generation"]
    };
    follower.until("the change was seen", seen).await;
    let written = follower.wire.written_after(before);
    assert_eq!(written.len(), 1, "one status, and nothing before it: {written:?}");
    // A controller that begins anew finds everything as it should be.
    let before = follower.wire.writes();
    follower.restart().await;
    follower.fetch();
    patch(&namespace, "extra", &json!({ "spec": { "description": "mine again" } }));
    follower.until("the new controller has seen everything", seen).await;
    passes(&mut follower, 20).await;
    let written = follower.wire.written_after(before);
    // Of what changed, its status, which may say first that it is not acted on yet.
    let of_it = |write: &String| write.ends_with("/flags/extra/status");
    assert!(!written.is_empty() && written.iter().all(of_it), "what is so already is not written again: {written:?}");
}

#[tokio::test]
async fn drift_that_is_only_shown_stays_until_its_document_changes() {
    let (namespace, db, repo) = (Namespace::new("shows"), sqlite(), repository());
    let mut follower = started(&namespace, &db, &repo, Drift::Show).await;
    patch(&namespace, "extra", &json!({ "spec": { "defaultVariant": "on" } }));
    let shown = || namespace.condition("flag/extra", "Applied") == ("False".to_owned(), "Drifted".to_owned());
    follower.until("it is shown", shown).await;
    assert_eq!(default(&namespace, "extra"), "on");
    follower.pass().await;
    let record = recorded(&follower.store).await;
    assert!(record["problems"][0].as_str().unwrap().starts_with("Flag/extra: it was changed by hand"), "{record}");
    repo.write("flags/extra.yaml", &flag("extra", "off").replace("program: small", "program: small, risk: high"));
    applied(&mut follower, &repo.commit("Another risk")).await;
    assert_eq!(default(&namespace, "extra"), "off");
    follower.until("nothing is left to show", || namespace.condition("flag/extra", "Applied").0.is_empty()).await;
}

#[tokio::test]
async fn what_is_suspended_is_left_alone_until_it_runs_out() {
    let (namespace, db, repo) = (Namespace::new("leaves"), sqlite(), repository());
    let mut follower = started(&namespace, &db, &repo, Drift::PutBack).await;
    let suspend = json!({ "reason": "a look at it", "by": "founder", "until": "2026-03-03T12:00:00Z" });
    // In one change with what it is about: nothing comes in between.
    patch(&namespace, "extra", &json!({ "spec": { "suspend": suspend, "defaultVariant": "on" } }));
    let told = || namespace.condition("flag/extra", "Applied") == ("False".to_owned(), "Suspended".to_owned());
    follower.until("it is told", told).await;
    repo.write("flags/extra.yaml", &flag("extra", "off").replace("program: small", "program: small, risk: high"));
    repo.write("flags/other.yaml", &flag("other", "on"));
    applied(&mut follower, &repo.commit("While it is suspended")).await;
    assert_eq!(default(&namespace, "extra"), "on");
    assert_eq!(namespace.get("flag/extra")["spec"]["risk"], "low", "the rest of its document waits too");
    assert_eq!(default(&namespace, "other"), "on", "others go on");
    let record = recorded(&follower.store).await;
    assert!(record["problems"][0].as_str().unwrap().contains("by founder: a look at it"), "{record}");
    repo.remove("flags/extra.yaml");
    applied(&mut follower, &repo.commit("Gone in Git")).await;
    assert!(!namespace.get("flag/extra").is_null(), "nor is it pruned");
    repo.write("flags/extra.yaml", &flag("extra", "off"));
    applied(&mut follower, &repo.commit("Back in Git")).await;

    follower.clock.advance(SignedDuration::from_hours(4));
    follower.until("its time is over", || default(&namespace, "extra") == "off").await;

    // A program that is suspended takes all that is its own along.
    let suspend =
        json!({ "spec": { "suspend": { "reason": "moving house", "by": "founder", "until": "2026-03-04" } } });
    change(&namespace, "program small", &suspend);
    let told = || namespace.condition("program/small", "Applied").1 == "Suspended";
    follower.until("the program says so", told).await;
    patch(&namespace, "other", &json!({ "spec": { "defaultVariant": "off" } }));
    follower.until("it is seen", || namespace.condition("flag/other", "Applied").1 == "Suspended").await;
    assert_eq!(default(&namespace, "other"), "off");
    follower.clock.advance(SignedDuration::from_hours(48));
    follower.until("that is over too", || default(&namespace, "other") == "on").await;
}

#[tokio::test]
async fn beside_a_tool_that_applies_the_same_nobody_fights() {
    let (namespace, db, repo) = (Namespace::new("shares"), sqlite(), repository());
    let mut follower = started(&namespace, &db, &repo, Drift::PutBack).await;
    // Another tool applies a field that is ours, as Argo CD and Flux do: by force.
    apply_as(&namespace, "argocd-controller", &flag("extra", "on"));
    let contested = || namespace.condition("flag/extra", "Applied") == ("False".to_owned(), "Contested".to_owned());
    follower.until("it is told", contested).await;
    let told = namespace.get("flag/extra")["status"]["conditions"].to_string();
    assert!(told.contains("argocd-controller applies the same fields (.spec.defaultVariant)"), "{told}");
    assert_eq!(default(&namespace, "extra"), "on");
    rests(&mut follower).await;

    // It gives the field up: ours again. Fields of its own stay its own.
    let theirs = "apiVersion: betagate.dev/v1alpha1\nkind: Flag\nmetadata: { name: extra }\nspec: { program: small, description: theirs }\n";
    apply_as(&namespace, "argocd-controller", theirs);
    follower.until("it is ours again", || default(&namespace, "extra") == "off").await;
    follower.until("nothing is contested", || namespace.condition("flag/extra", "Applied").0.is_empty()).await;
    assert_eq!(namespace.get("flag/extra")["spec"]["description"], "theirs");

    // What Git has no more, and another still applies, is left to them: only our part goes.
    let last = flag("extra", "off").replace("program: small", "program: small, description: theirs");
    apply_as(&namespace, "argocd-controller", &last);
    let uid = namespace.get("flag/extra")["metadata"]["uid"].clone();
    repo.remove("flags/extra.yaml");
    applied(&mut follower, &repo.commit("Left to the other")).await;
    let left = || namespace.get("flag/extra")["metadata"]["labels"]["betagate.dev/source"].is_null();
    follower.until("our mark is gone", left).await;
    let flag = namespace.get("flag/extra");
    assert_eq!(flag["metadata"]["uid"], uid, "it is the same resource");
    assert_eq!(flag["spec"]["description"], "theirs");
    let managers = flag["metadata"]["managedFields"].to_string();
    assert!(!managers.contains("betagate-git"), "{managers}");
}

#[tokio::test]
async fn who_changes_the_same_thing_again_and_again_is_another_tool() {
    let (namespace, db, repo) = (Namespace::new("fights"), sqlite(), repository());
    let mut follower = started(&namespace, &db, &repo, Drift::PutBack).await;
    for _ in 0..3 {
        patch(&namespace, "extra", &json!({ "spec": { "defaultVariant": "on" } }));
        follower.until("it is put back", || default(&namespace, "extra") == "off").await;
    }
    patch(&namespace, "extra", &json!({ "spec": { "defaultVariant": "on" } }));
    let contested = || namespace.condition("flag/extra", "Applied") == ("False".to_owned(), "Contested".to_owned());
    follower.until("it is left alone, and told", contested).await;
    assert_eq!(default(&namespace, "extra"), "on");
    repo.write("flags/extra.yaml", &flag("extra", "off").replace("program: small", "program: small, risk: high"));
    applied(&mut follower, &repo.commit("Another version")).await;
    assert_eq!(default(&namespace, "extra"), "off");
}
