//! Revisions of Git become resources of a namespace: whole or not at all, pruned when they are gone, gone on with by the next controller.

use betagate::apply::from_git::Drift;
use betagate::controller::SET_FLAG;
use betagate::outbox::effect_digest;
use betagate::store::intents::{self, State};
use betagate::store::{Store, invites, outbox, status};
use serde_json::{Value, json};

use crate::namespace::{Follower, Namespace, PLAN, SMALL};
use crate::support::{TestRepo, sqlite};

const DOWN: &str = "apiVersion: betagate.dev/v1alpha1\nkind: Incident\nmetadata: { name: down }\nspec: { program: small, severity: sev-1, title: Down, startedAt: 2026-03-03T08:00:00Z }\n";
const LIST: &str = "email,label\nada@example.com,Ada\n";
const FILE: &str = "manifests/small.yaml";

pub fn flag(name: &str, default: &str) -> String {
    format!(
        "apiVersion: betagate.dev/v1alpha1\nkind: Flag\nmetadata: {{ name: {name} }}\nspec: {{ program: small, type: boolean, variants: {{ \"on\": true, \"off\": false }}, defaultVariant: \"{default}\", safeVariant: \"off\" }}\n"
    )
}

/// The small program in a repository, with its list in a file beside it and a flag of its own file.
pub fn repository() -> TestRepo {
    let repo = TestRepo::empty();
    repo.write(FILE, &SMALL.replace("inline: [ { email: ada@example.com } ]", "csv: pavia.csv"));
    repo.write("manifests/pavia.csv", LIST);
    repo.write("flags/extra.yaml", &flag("extra", "off"));
    repo.commit("The small program");
    repo
}

/// What of Git is recorded.
pub async fn recorded(store: &Store) -> Value {
    let all = status::sources(store).await.unwrap();
    all.into_iter().find(|source| source.name == "git").map(|source| source.body).unwrap_or_default()
}

/// Passes until a revision is all there, and what it says is in force.
pub async fn applied(follower: &mut Follower, revision: &str) {
    follower.fetch();
    for _ in 0..2400 {
        follower.pass().await;
        let record = recorded(&follower.store).await;
        if record["applied"]["id"] == revision && record["applying"].is_null() {
            // The resources come back by their watch.
            for _ in 0..5 {
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                follower.pass().await;
            }
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("{revision} was not applied: {}", recorded(&follower.store).await);
}

fn head(repo: &TestRepo) -> String {
    repo.git(&["rev-parse", "HEAD"])
}

#[tokio::test]
async fn a_revision_is_applied_and_what_a_later_one_has_no_more_is_pruned() {
    let (namespace, db, repo) = (Namespace::new("brings"), sqlite(), repository());
    // Somebody's own, and one with our label on it that somebody copied.
    namespace.apply(&flag("theirs", "off"));
    let copied =
        flag("copied", "off").replace("{ name: copied }", "{ name: copied, labels: { betagate.dev/source: git } }");
    namespace.apply(&copied);
    let mut follower = Follower::start_from_git(&namespace, &db, &repo, Drift::PutBack).await;
    applied(&mut follower, &head(&repo)).await;
    follower.until("the cohort is open", || namespace.get("cohort/pavia")["status"]["state"] == "Open").await;
    assert_eq!(follower.served("new-feed").await.as_deref(), Some("on"));
    assert_eq!(follower.served("extra").await.as_deref(), Some("off"));
    let all = invites::Filter { program: Some("small".to_owned()), active_only: true, limit: 9, ..Default::default() };
    assert_eq!(invites::list(&follower.store, &all).await.unwrap().len(), 1, "the list of the file was brought in");
    let told = namespace.condition("program/small", "Applied");
    assert_eq!(told, ("True".to_owned(), "Current".to_owned()));
    let object = namespace.get("flag/extra");
    assert_eq!(object["metadata"]["annotations"]["betagate.dev/file"], "flags/extra.yaml");

    repo.remove("flags/extra.yaml");
    repo.replace(FILE, "defaultVariant: \"on\"", "defaultVariant: \"off\"");
    repo.write("manifests/pavia.csv", &format!("{LIST}bo@example.com,Bo\n"));
    let second = repo.commit("Without the extra flag");
    applied(&mut follower, &second).await;
    follower.until("the extra flag is pruned", || namespace.get("flag/extra").is_null()).await;
    assert_eq!(follower.served("new-feed").await.as_deref(), Some("off"));
    assert_eq!(follower.served("extra").await, None);
    assert_eq!(invites::list(&follower.store, &all).await.unwrap().len(), 2, "the file has one more");
    assert!(!namespace.get("flag/theirs").is_null() && !namespace.get("flag/copied").is_null(), "others' stay");

    // The way back of a commit is a commit: what was pruned comes again.
    repo.git(&["revert", "--no-edit", "HEAD"]);
    applied(&mut follower, &head(&repo)).await;
    follower.until("the extra flag is back", || !namespace.get("flag/extra").is_null()).await;
}

#[tokio::test]
async fn a_pruned_cohort_waits_for_an_acknowledgement_as_everywhere() {
    let (namespace, db, repo) = (Namespace::new("prunes"), sqlite(), repository());
    let mut follower = Follower::start_from_git(&namespace, &db, &repo, Drift::PutBack).await;
    applied(&mut follower, &head(&repo)).await;
    let finalizers = || namespace.get("cohort/pavia")["metadata"]["finalizers"].clone();
    follower.until("its invites exist", || finalizers() == json!(["betagate.dev/invites"])).await;
    let text = repo.read(FILE);
    let documents: Vec<&str> = text.split("---\n").filter(|one| !one.contains("kind: Cohort")).collect();
    repo.write(FILE, &documents.join("---\n").replace(", cohorts: [pavia]", ""));
    applied(&mut follower, &repo.commit("Without the cohort")).await;
    let waits = || {
        let cohort = namespace.get("cohort/pavia");
        cohort["metadata"]["deletionTimestamp"].is_string()
            && cohort["status"]["summary"].as_str().is_some_and(|it| !it.is_empty())
    };
    follower.until("it waits", waits).await;
    for _ in 0..20 {
        follower.pass().await;
    }
    assert_eq!(finalizers(), json!(["betagate.dev/invites"]), "nobody has acknowledged it");
    // It comes again, and is made anew once nothing of the old one is in the way.
    repo.git(&["revert", "--no-edit", "HEAD"]);
    follower.fetch();
    let deleting = || namespace.condition("cohort/pavia", "Applied") == ("False".to_owned(), "Deleting".to_owned());
    follower.until("it says that it waits", deleting).await;
}

#[tokio::test]
async fn a_revision_with_a_mistake_changes_nothing_and_is_told() {
    let (namespace, db, repo) = (Namespace::new("mistake"), sqlite(), repository());
    let mut follower = Follower::start_from_git(&namespace, &db, &repo, Drift::PutBack).await;
    let good = head(&repo);
    applied(&mut follower, &good).await;
    let bad_commit = |message: &str| {
        // Half of it is right, and wrong is only the other half.
        repo.write("flags/extra.yaml", &flag("extra", "on"));
        repo.write("flags/bad.yaml", &flag("bad", "maybe"));
        repo.commit(message)
    };
    bad_commit("A mistake");
    follower.fetch();
    let refused =
        || namespace.condition("program/small", "Applied") == ("False".to_owned(), "RevisionRefused".to_owned());
    follower.until("it is refused", refused).await;
    let record = recorded(&follower.store).await;
    assert_eq!(record["applied"]["id"], json!(good));
    assert!(record["problems"][0].as_str().unwrap().starts_with("flags/bad.yaml:"), "{record}");
    assert!(namespace.get("flag/bad").is_null());
    assert_eq!(namespace.get("flag/extra")["spec"]["defaultVariant"], "off");

    // A controller that has never seen the good one takes it up all the same, and keeps it.
    follower.restart().await;
    let patch = r#"{"spec":{"defaultVariant":"on"}}"#;
    assert!(namespace.kubectl(&format!("patch flag extra --type=merge -p {patch}"), "").done);
    let kept = || namespace.get("flag/extra")["spec"]["defaultVariant"] == "off";
    follower.until("the last good one is kept", kept).await;
    assert!(refused(), "and it goes on saying so");

    repo.remove("flags/bad.yaml");
    applied(&mut follower, &repo.commit("Mended")).await;
    assert_eq!(namespace.get("flag/extra")["spec"]["defaultVariant"], "on");
    follower.until("it is said", || namespace.condition("program/small", "Applied").1 == "Current").await;

    // An emptied source is more often a mistake than a wish.
    repo.git(&["rm", "--quiet", "-r", "manifests", "flags"]);
    repo.write("README.md", "nothing");
    repo.commit("Nothing is left");
    follower.fetch();
    follower.until("that is refused", refused).await;
    assert!(!namespace.get("program/small").is_null());
}

#[tokio::test]
async fn a_controller_that_is_killed_while_it_applies_leaves_nothing_behind() {
    let (namespace, db, repo) = (Namespace::new("killed"), sqlite(), repository());
    let mut follower = Follower::start_from_git(&namespace, &db, &repo, Drift::PutBack).await;
    applied(&mut follower, &head(&repo)).await;
    repo.remove("flags/extra.yaml");
    for name in ["one", "two", "three"] {
        repo.write(&format!("flags/{name}.yaml"), &flag(name, "on"));
    }
    let second = repo.commit("Three come, one goes");
    // One write comes through, and the next controller is another process.
    follower.wire.let_write(1);
    follower.fetch();
    let come =
        || ["one", "two", "three"].iter().filter(|name| !namespace.get(&format!("flag/{name}")).is_null()).count();
    follower.until("one of them is there", || come() == 1).await;
    let record = recorded(&follower.store).await;
    assert_eq!((&record["applying"]["id"], come()), (&json!(second), 1), "what is being done is known");
    assert!(!namespace.get("flag/extra").is_null(), "nothing goes before everything has come");

    // Nobody reaches Git meanwhile: what is there stays there.
    follower.restart_with(Some(("/nowhere/at/all".to_owned(), Drift::PutBack))).await;
    follower.wire.let_write(usize::MAX);
    let unread = || namespace.condition("program/small", "Applied") == ("Unknown".to_owned(), "Unreachable".to_owned());
    follower.until("it says so", unread).await;
    assert_eq!(follower.served("new-feed").await.as_deref(), Some("on"));
    assert_eq!(namespace.get("cohort/pavia")["status"]["state"], "Open", "the list is in Git, and is not gone");
    assert_eq!(namespace.condition("cohort/pavia", "Accepted").0, "True");

    follower.restart_with(Some((repo.path().display().to_string(), Drift::PutBack))).await;
    applied(&mut follower, &second).await;
    assert_eq!(come(), 3);
    follower.until("the old one is pruned", || namespace.get("flag/extra").is_null()).await;
}

#[tokio::test]
async fn a_held_flag_stays_held_whatever_is_committed() {
    let (namespace, db, repo) = (Namespace::new("holds"), sqlite(), repository());
    repo.write("manifests/plan.yaml", PLAN);
    let mut follower = Follower::start_from_git(&namespace, &db, &repo, Drift::PutBack).await;
    applied(&mut follower, &repo.commit("A plan")).await;
    // Whoever owns a flag in Git changes it there.
    let mut tx = follower.store.begin().await.unwrap();
    let body = json!({ "key": "new-feed", "variant": "off" });
    let id = intents::submit(&mut tx, SET_FLAG, "founder", &body, follower.clock.now()).await.unwrap();
    tx.commit().await.unwrap();
    follower.pass().await;
    let intent = intents::get(&follower.store, id).await.unwrap().unwrap();
    assert_eq!(intent.state, State::Refused);
    let why = intent.result.unwrap();
    assert!(why["reason"].as_str().unwrap().contains("set defaultVariant in manifests/small.yaml"), "{why}");

    namespace.apply(DOWN);
    follower.until("it is held", || namespace.get("flag/new-feed")["status"]["state"] == "Held").await;
    assert_eq!(follower.held("new-feed").await.as_deref(), Some("off"));
    repo.replace(FILE, "defaultVariant: \"on\"", "defaultVariant: \"on\", risk: high");
    applied(&mut follower, &repo.commit("On again")).await;
    let flag = namespace.get("flag/new-feed");
    assert_eq!((&flag["spec"]["risk"], &flag["spec"]["defaultVariant"]), (&json!("high"), &json!("on")));
    assert_eq!(flag["status"]["state"], "Held");
    assert_eq!(follower.held("new-feed").await.as_deref(), Some("off"), "a document does not lift a hold");
    assert!(!namespace.get("incident/down").is_null(), "what is not from Git is nobody's to prune");

    // Nor does its removal.
    let text = repo.read(FILE);
    let documents: Vec<&str> = text.split("---\n").filter(|one| !one.contains("kind: Flag")).collect();
    repo.write(FILE, &documents.join("---\n"));
    repo.write("manifests/plan.yaml", &PLAN.replace(", { disableFlags: { keys: [new-feed] } }", ""));
    applied(&mut follower, &repo.commit("Without the flag")).await;
    follower.until("it is pruned", || namespace.get("flag/new-feed").is_null()).await;
    assert_eq!(follower.held("new-feed").await.as_deref(), Some("off"), "it is served safe while it is held");
}

/// Passes until a message was tried in vain, and says why it was.
async fn waits_with(follower: &mut Follower, effect_key: &str) -> String {
    for _ in 0..1200 {
        follower.pass().await;
        let message = outbox::by_key(&follower.store, effect_key).await.unwrap();
        if let Some(said) = message.and_then(|message| message.last_error) {
            return said;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let all = outbox::list(&follower.store, "small", &[], 50).await.unwrap();
    panic!("{effect_key} was not tried in vain: {all:?}");
}

#[tokio::test]
async fn a_run_proposes_the_revert_of_the_commit_that_was_applied() {
    let (namespace, db, repo) = (Namespace::new("proposes"), sqlite(), repository());
    let step = "{ captureRootCause: { owner: founder, propose: [document, revert] } }";
    repo.write("manifests/plan.yaml", &PLAN.replace("{ disableFlags: { keys: [new-feed] } }", step));
    repo.commit("A plan");
    repo.write("flags/extra.yaml", &flag("extra", "on"));
    let live = repo.commit("What turns out to be wrong");
    let remote = TestRepo::empty();
    repo.git(&["clone", "--quiet", "--bare", ".", &remote.path().display().to_string()]);
    let mut follower = Follower::start_from_git(&namespace, &db, &remote, Drift::PutBack).await;
    applied(&mut follower, &live).await;
    // Somebody's own of the document's name is left alone, and what waits for it says so.
    let taken = format!("cause-back-1-{}", &effect_digest("back-1/1/2/document")[..8]);
    assert!(namespace.kubectl(&format!("create configmap {taken} --from-literal=theirs=1"), "").done);
    namespace.apply(DOWN);
    let said = waits_with(&mut follower, "back-1/1/2/document").await;
    assert!(said.contains(&format!("there is a ConfigMap {taken} that is not betagate's")), "{said}");
    assert!(namespace.kubectl(&format!("delete configmap {taken}"), "").done);
    follower.clock.advance(jiff::SignedDuration::from_mins(5));
    let branches = || remote.git(&["branch", "--list", "betagate/*"]);
    let both = || branches().contains("betagate/revert-back-1") && branches().contains("betagate/cause-back-1");
    follower.until("both are proposed", both).await;
    let branch = "betagate/revert-back-1";
    let proposed = remote.git(&["show", &format!("{branch}:flags/extra.yaml")]);
    assert!(proposed.contains("defaultVariant: \"off\""), "{proposed}");
    assert_eq!(remote.git(&["rev-parse", &format!("{branch}^")]), live);
    assert_eq!(head(&remote), live, "the branch that is followed is left alone");
}
