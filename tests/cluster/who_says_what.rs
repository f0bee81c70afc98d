//! Who says what on a cluster: the chart's policies and rights on a real API server, and a controller that has no others.

use std::process::Command;
use std::time::Duration;

use betagate::core::resources::{Says, SignoffSpec};
use betagate::desk::{Bringer, Desk, Request};
use betagate::store::{incidents, signoffs, status};
use serde_json::{Value, json};

use crate::kubectl;
use crate::namespace::{Follower, Namespace};
use crate::support::{TestDb, repository_root, sqlite};

/// A program whose second stage waits for a person of whom it must be known that they said it.
const ASKS: &str = r#"
apiVersion: betagate.dev/v1alpha1
kind: Program
metadata: { name: small }
spec:
  timeZone: UTC
  startsOn: 2026-03-02
  people: { founder: { kubernetes: ["oidc:marta"] } }
  signoffs: { verified: required }
---
apiVersion: betagate.dev/v1alpha1
kind: Rollout
metadata: { name: all }
spec: { program: small, stages: [ { name: first }, { name: second, enter: { signoffs: { from: [founder], rule: unanimous } } } ] }
"#;

/// The chart's policies and the controller's rights in a namespace, and users who may write everything there.
struct Guarded {
    namespace: Namespace,
    policies: String,
}

impl Guarded {
    fn new(name: &str) -> Self {
        Self { namespace: Namespace::new(name), policies: rendered(name, "policies") }
    }

    fn guard(&self) {
        let name = &self.namespace.name;
        self.namespace.apply(&self.policies);
        self.namespace.apply(&rendered(name, "rights"));
        let rule = json!({ "apiGroups": ["betagate.dev"], "resources": ["*"], "verbs": ["*"] });
        let all = json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": { "name": "all" }, "rules": [rule] });
        let users = ["oidc:marta", "oidc:eve"]
            .map(|user| json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user }));
        let bound = json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": { "name": "all" },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "all" }, "subjects": users });
        self.namespace.apply(&format!("{all}\n---\n{bound}"));
    }

    fn unguard(&self) {
        kubectl("delete --ignore-not-found -f -", &self.policies);
    }

    fn policy_names(&self) -> Vec<String> {
        ["signoffs", "carried"].iter().map(|policy| format!("betagate-{}-{policy}", self.namespace.name)).collect()
    }

    /// A controller with the rights that the chart gives it, and no others.
    async fn follower(&self, db: &TestDb) -> Follower {
        let user = format!("system:serviceaccount:{}:betagate", self.namespace.name);
        Follower::start_as(&self.namespace, db, Some(&user), &self.policy_names()).await
    }

    /// Whether the API server took a GO.
    fn goes(&self, name: &str, user: Option<&str>) -> bool {
        let who = user.map(|user| format!(" --as={user} --as-group=system:authenticated")).unwrap_or_default();
        self.namespace.kubectl(&format!("create{who} -f -"), &go(name).to_string()).done
    }

    fn state(&self, word: &str) -> (String, String) {
        let status = &self.namespace.get(&format!("signoff/{word}"))["status"];
        let text = |field: &str| status[field].as_str().unwrap_or_default().to_owned();
        (text("state"), text("summary"))
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.unguard();
    }
}

/// The founder's GO for the second stage.
fn go(name: &str) -> Value {
    json!({ "apiVersion": "betagate.dev/v1alpha1", "kind": "Signoff", "metadata": { "name": name },
        "spec": { "program": "small", "by": "founder", "says": "go", "rollout": "all", "stage": "second" } })
}

/// A part of the chart for a namespace.
fn rendered(namespace: &str, part: &str) -> String {
    let mut command = Command::new("helm");
    command.args(["template", "betagate"]).arg(repository_root().join("charts/betagate"));
    command.args(["--kube-version=1.34.4", "--set=database.existingSecret=x", "--namespace", namespace]);
    let output = command.args(["--show-only", &format!("templates/{part}.yaml")]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Gives words until one is said to be in a state: a policy takes hold a moment after it was written.
async fn gives_until(follower: &mut Follower, guarded: &Guarded, prefix: &str, wanted: &str) -> String {
    for number in 0..60 {
        let word = format!("{prefix}-{number}");
        assert!(guarded.goes(&word, Some("oidc:marta")));
        follower.until("the word is looked at", || !guarded.state(&word).0.is_empty()).await;
        if guarded.state(&word).0 == wanted {
            return word;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    panic!("no word became {wanted}: {:?}", guarded.state(&format!("{prefix}-0")));
}

#[tokio::test]
async fn a_word_given_with_kubectl_is_proven_where_and_since_the_policy_is_in_force() {
    let (guarded, db) = (Guarded::new("words"), sqlite());
    guarded.namespace.apply(ASKS);
    // Without a policy anybody is founder.
    assert!(guarded.goes("anybody", None));
    guarded.guard();
    let mut follower = guarded.follower(&db).await;
    follower.until("it is looked at", || guarded.state("anybody").0 == "NotCounted").await;
    let (_, why) = guarded.state("anybody");
    assert!(why.contains("before the admission policies of sign-offs were in force"), "{why}");
    let rollout = status::get(&follower.store, "Rollout", "all").await.unwrap().unwrap().status;
    let waits = rollout["waits"][0]["on"].as_str().unwrap_or_default().to_owned();
    assert!(waits.starts_with("GO from founder; anybody of founder does not count: it was given before"), "{rollout}");

    let word = gives_until(&mut follower, &guarded, "go", "Verified").await;
    assert!(!guarded.goes("eve-as-founder", Some("oidc:eve")), "the policy is in force");
    follower
        .until("the stage is open", || {
            guarded.namespace.get("rollout/all")["status"]["summary"]
                .as_str()
                .is_some_and(|text| text.starts_with("stage second is open"))
        })
        .await;
    assert!(guarded.state(&word).1.contains("the API server let nobody else give it"), "{:?}", guarded.state(&word));
    let kept = signoffs::list(&follower.store, "small").await.unwrap();
    assert!(kept.iter().any(|one| one.name == word && one.verified && one.source == "document"), "{kept:?}");

    // What is brought from Git is brought by another than who said it, whoever that is.
    let carried = go("from-git").to_string();
    let words = "apply --server-side --field-manager=betagate-git --as=oidc:marta --as-group=system:authenticated -f -";
    assert!(guarded.namespace.kubectl(words, &carried).done);
    follower.until("it is looked at", || guarded.state("from-git").0 == "NotCounted").await;
    let (_, why) = guarded.state("from-git");
    assert!(why.ends_with("carried by another than who gave it"), "{why}");

    // Nothing is trusted that is not there.
    guarded.unguard();
    let word = gives_until(&mut follower, &guarded, "after", "NotCounted").await;
    let (_, why) = guarded.state(&word);
    assert!(why.contains("is not there") || why.contains("may not look"), "{why}");
}

#[tokio::test]
async fn a_word_that_came_before_its_program_does_not_count() {
    let (guarded, db) = (Guarded::new("early"), sqlite());
    guarded.namespace.apply(&ASKS.replace("small", "other").replace("name: all", "name: others"));
    guarded.guard();
    let mut follower = guarded.follower(&db).await;
    follower
        .until("the other program is seen", || guarded.namespace.condition("program/other", "Ready").0 == "True")
        .await;
    // The policy knows of no program that it could ask, and another one is there.
    assert!(guarded.goes("planted", Some("oidc:eve")));
    let waits = || guarded.namespace.condition("signoff/planted", "Accepted").1 == "ReferenceMissing";
    follower.until("it waits for its program", waits).await;
    // The API server tells times in whole seconds.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    guarded.namespace.apply(ASKS);
    let refused = || guarded.namespace.condition("signoff/planted", "Accepted").1 == "Invalid";
    follower.until("it is refused", refused).await;
    let said = guarded.namespace.get("signoff/planted").to_string();
    assert!(said.contains("before its program was there"), "{said}");
    follower.until("the program goes on", || guarded.namespace.condition("program/small", "Ready").0 == "True").await;
    assert!(signoffs::list(&follower.store, "small").await.unwrap().is_empty());
}

async fn says(follower: &Follower, request: Request) -> Value {
    let bringer = Bringer::Caller("token/ops".to_owned());
    let desk = Desk { store: &follower.store, keys: None, now: follower.clock.now(), bringer, env: &|_| None };
    desk.answer(request).await.unwrap()
}

fn opens(name: &str) -> Request {
    Request::OpenIncident {
        program: None,
        name: name.to_owned(),
        severity: "sev-3".to_owned(),
        title: "Sync is slow".to_owned(),
        category: String::new(),
        ago: None,
        started_at: None,
        by: String::new(),
    }
}

#[tokio::test]
async fn what_came_in_over_http_is_seen_with_kubectl_and_is_no_second_word() {
    let (guarded, db) = (Guarded::new("recorded"), sqlite());
    guarded.namespace.apply(ASKS);
    guarded.guard();
    let mut follower = guarded.follower(&db).await;
    let get = |resource: &str| guarded.namespace.get(resource);
    follower.until("the program is ready", || guarded.namespace.condition("rollout/all", "Ready").0 == "True").await;
    let word = SignoffSpec {
        rollout: Some("all".into()),
        stage: Some("second".into()),
        ..SignoffSpec::bare("small", "founder", Says::Go)
    };
    let said = says(&follower, Request::Sign { program: None, word: Box::new(word) }).await;
    let word = format!("signoff/{}", said["name"].as_str().unwrap());
    says(&follower, opens("slow")).await;
    says(&follower, opens("slower")).await;

    follower.until("the word is seen", || get(&word)["status"]["state"] == "NotCounted").await;
    assert_eq!(get(&word)["metadata"]["labels"]["betagate.dev/recorded"], "api");
    assert_eq!(get(&word)["metadata"]["ownerReferences"][0]["kind"], "Program");
    assert_eq!(get(&word)["spec"]["by"], "founder");
    follower.until("the incident is seen", || get("incident/slow")["status"]["state"] == "Open").await;
    follower.until("and the other", || get("incident/slower")["status"]["state"] == "Open").await;
    // It comes back by the watch, and is nothing new.
    let before = follower.wire.writes();
    for _ in 0..20 {
        follower.controller.pass().await.unwrap();
    }
    assert_eq!(follower.wire.writes(), before, "at rest nothing is written");
    let kept = signoffs::list(&follower.store, "small").await.unwrap();
    assert_eq!(kept.iter().map(|one| one.source.as_str()).collect::<Vec<_>>(), ["api"]);

    // The row is what counts: what shows it is written again, and says what it says.
    assert!(guarded.namespace.kubectl("delete incident slow", "").done);
    follower.until("it is written again", || get("incident/slow")["status"]["state"] == "Open").await;
    says(&follower, Request::CloseIncident { program: None, name: "slow".into(), by: String::new() }).await;
    follower.until("it is closed", || get("incident/slow")["spec"]["resolvedAt"].is_string()).await;
    let row = incidents::get(&follower.store, "small", "slow").await.unwrap().unwrap();
    assert!(row.resolved_at.is_some() && row.source == "api", "{row:?}");

    // Somebody closes the other with kubectl: from then on that is what counts.
    let forged = guarded.namespace.kubectl("label incident slower betagate.dev/recorded-", "");
    assert!(forged.text.contains("is the controller's"), "{}", forged.text);
    let at = follower.clock.now();
    let patch = format!(r#"{{"spec":{{"resolvedAt":"{at:.0}"}}}}"#);
    let closed = guarded.namespace.kubectl(&format!("patch incident slower --type=merge -p {patch}"), "");
    assert!(closed.done, "{}", closed.text);
    let is_theirs = || get("incident/slower")["metadata"]["labels"]["betagate.dev/recorded"].is_null();
    follower.until("it is theirs", is_theirs).await;
    follower.until("it is said to be over", || get("incident/slower")["status"]["state"] == "Closed").await;
    let row = incidents::get(&follower.store, "small", "slower").await.unwrap().unwrap();
    assert_eq!((row.resolved_at.is_some(), row.source.as_str()), (true, "document"));

    // Old news go; the word stays.
    follower.clock.advance(jiff::SignedDuration::from_hours(8 * 24));
    follower.until("the old incident is shown no more", || get("incident/slow").is_null()).await;
    assert!(!get("incident/slower").is_null() && !get(&word).is_null(), "what people declared is theirs");
}

const DECLARED: &str = "apiVersion: betagate.dev/v1alpha1\nkind: Incident\nmetadata: { name: NAME }\nspec: { program: small, severity: sev-3, title: Slow, startedAt: 2026-03-03T08:00:00Z }\n";

#[tokio::test]
async fn a_declared_incident_that_is_closed_elsewhere_is_closed_where_it_lives() {
    let (guarded, db) = (Guarded::new("closes"), sqlite());
    guarded.namespace.apply(&format!("{ASKS}---\n{}", DECLARED.replace("NAME", "declared")));
    guarded.guard();
    let mut follower = guarded.follower(&db).await;
    let get = |resource: &str| guarded.namespace.get(resource);
    let state = |state: &str| get("incident/declared")["status"]["state"] == state;
    follower.until("it is open", || state("Open")).await;
    says(&follower, Request::CloseIncident { program: None, name: "declared".into(), by: String::new() }).await;
    // Meanwhile something else changes: the document, which is behind, opens nothing again.
    guarded.namespace.apply(&DECLARED.replace("NAME", "another"));
    follower.until("the other is seen", || get("incident/another")["status"]["state"] == "Open").await;
    follower.until("its resource says so", || get("incident/declared")["spec"]["resolvedAt"].is_string()).await;
    follower.until("it is over", || state("Closed")).await;
    let taken = || {
        let it = get("incident/declared");
        it["status"]["observedGeneration"] == it["metadata"]["generation"]
    };
    follower.until("its document is taken as it is now", taken).await;
    let incident = get("incident/declared");
    let ours = |one: &&Value| one["manager"] == "betagate-admin";
    let ours = incident["metadata"]["managedFields"].as_array().unwrap().iter().find(ours).unwrap().clone();
    assert_eq!(ours["fieldsV1"], json!({ "f:spec": { "f:resolvedAt": {} } }));
    assert_eq!(incident["spec"]["title"], "Slow");
    // Whoever declared it opens it again: that is what counts then.
    let again = guarded
        .namespace
        .kubectl(r#"patch incident declared --type=json -p [{"op":"remove","path":"/spec/resolvedAt"}]"#, "");
    assert!(again.done, "{}", again.text);
    follower.until("it is open again", || state("Open")).await;
    let row = incidents::get(&follower.store, "small", "declared").await.unwrap().unwrap();
    assert_eq!((row.resolved_at, row.source.as_str()), (None, "document"));
    assert!(get("incident/declared")["spec"]["resolvedAt"].is_null());
}
