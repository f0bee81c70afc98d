//! Workloads as Deployments, against a real API server: everything is taken, under the `restricted` profile too; nothing is written twice; what others
//! own stays theirs.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use betagate::apply::cluster::{Deployer, DeployerOptions, Own};
use betagate::apply::workloads::Wanted;
use betagate::cluster::Withheld;
use betagate::keys::Keys;
use betagate_core::resources::WorkloadSpec;
use serde_json::{Value, json};

use crate::support::{repository_root, wait_for};
use crate::wire::Wire;
use crate::{define, kubectl};

/// What workloads become, and their pods, as a role names them.
const OBJECTS: &str =
    "deployments.apps,services,pods,jobs.batch,poddisruptionbudgets.policy,networkpolicies.networking.k8s.io";

/// A namespace of its own, and what deploys there.
struct Place {
    namespace: String,
    keys: Arc<Keys>,
    _data: tempfile::TempDir,
    rounds: std::cell::Cell<u32>,
}

impl Place {
    fn new(namespace: &str) -> Self {
        define(&repository_root().join("crds").display().to_string(), "");
        let made = kubectl(
            "apply -f -",
            &format!(
                "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {namespace}\n  labels: {{ pod-security.kubernetes.io/enforce: restricted }}\n"
            ),
        );
        assert!(made.done, "{}", made.text);
        let data = tempfile::tempdir().unwrap();
        let keys = Arc::new(Keys::load_or_create(data.path()).unwrap());
        Self { namespace: namespace.to_owned(), keys, _data: data, rounds: std::cell::Cell::new(0) }
    }

    async fn deployer(&self) -> Deployer {
        self.deployer_as(None).await
    }

    async fn deployer_as(&self, user: Option<&str>) -> Deployer {
        let (client, _) = Wire::client(user).await;
        Deployer::start(self.options(client))
    }

    fn options(&self, client: kube::Client) -> DeployerOptions {
        let text = str::to_owned;
        let own =
            Own { image: text("example.com/betagate:1"), database_secret: text("database"), keys_secret: text("keys") };
        DeployerOptions {
            client,
            namespace: self.namespace.clone(),
            own,
            withheld: Withheld::new(["database".to_owned(), "keys".to_owned()]),
            keys: self.keys.clone(),
            may_act: Arc::new(|| true),
        }
    }

    fn get(&self, what: &str) -> Option<Value> {
        let said =
            kubectl(&format!("-n {} get {what} --ignore-not-found -o json --show-managed-fields", self.namespace), "");
        assert!(said.done, "{}", said.text);
        serde_json::from_str(&said.text).ok()
    }

    fn wait(&self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        wait_for(&format!("{what} to be as it should"), Duration::from_secs(60), || self.get(what).filter(&is))
    }

    fn run(&self, words: &str) {
        let said = kubectl(&format!("-n {} {words}", self.namespace), "");
        assert!(said.done, "{words}: {}", said.text);
    }

    /// Has the deployer go once through everything: what is asked for last is done last.
    fn go_through(&self, deployer: &Deployer, wanted: &[Wanted]) {
        self.rounds.set(self.rounds.get() + 1);
        let mark = format!("zz-{}", self.rounds.get());
        let mut all = wanted.to_vec();
        all.push(workload(
            &mark,
            json!({ "component": "worker", "command": ["sleep"], "image": "example.com/mark:1" }),
        ));
        deployer.make_so(&all, &BTreeSet::new());
        self.wait(&format!("deployment/{mark}"), |_| true);
    }
}

fn workload(name: &str, mut spec: Value) -> Wanted {
    spec["program"] = "kruxt".into();
    let spec: WorkloadSpec = serde_json::from_value(spec).unwrap();
    Wanted { workload: name.to_owned(), revision: format!("r-{}", spec.replicas), spec, earlier: false }
}

fn web() -> Wanted {
    workload(
        "web",
        json!({ "component": "web", "image": "example.com/shop:1", "replicas": 2, "port": 8080, "health": { "path": "/up" },
        "secretEnv": { "TOKEN": "token" } }),
    )
}

fn versions(place: &Place) -> Vec<String> {
    ["deployment/web", "service/web", "pdb/web", "networkpolicy/web"]
        .map(|what| place.get(what).unwrap()["metadata"]["managedFields"].clone())
        .map(|fields| {
            let ours = fields.as_array().unwrap().iter().find(|entry| entry["manager"] == "betagate").unwrap().clone();
            format!("{} {}", ours["time"], ours["fieldsV1"])
        })
        .to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wanted_is_deployed_once_and_what_others_own_stays_theirs() {
    let place = Place::new("deployments");
    place.run("create secret generic token --from-literal=value=an-early-word");
    place.run("create service clusterip taken --tcp=80:80");
    let deployer = place.deployer().await;
    place.go_through(&deployer, &[web()]);
    let service = place.get("service/web").unwrap();
    assert_eq!(
        (&service["spec"]["ports"][0]["port"], &service["spec"]["ports"][0]["targetPort"]),
        (&json!(8080), &json!("http"))
    );
    assert_eq!(place.get("pdb/web").unwrap()["spec"]["maxUnavailable"], 1);
    assert_eq!(place.get("networkpolicy/web").unwrap()["spec"]["policyTypes"], json!(["Ingress"]));

    // A pod as its template describes it is let in where the `restricted` profile is enforced.
    let deployment = place.get("deployment/web").unwrap();
    let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "tried" }, "spec": deployment["spec"]["template"]["spec"] });
    let let_in = kubectl(&format!("-n {} create --dry-run=server -f -", place.namespace), &pod.to_string());
    assert!(let_in.done, "{}", let_in.text);
    let mut bad = pod.clone();
    bad["spec"]["securityContext"]["runAsNonRoot"] = json!(false);
    assert!(!kubectl(&format!("-n {} create --dry-run=server -f -", place.namespace), &bad.to_string()).done);

    // Another controller finds everything as it should be. It reads no Secret but the one that is named: it has no right to others.
    let before = versions(&place);
    drop(deployer);
    place.run(&format!("create role narrow --verb=* --resource={OBJECTS},workloads.betagate.dev"));
    place.run("create role narrow-secrets --verb=list,watch --resource=secrets --resource-name=token");
    for role in ["narrow", "narrow-secrets"] {
        place.run(&format!("create rolebinding {role} --role={role} --user=narrow"));
    }
    let narrow = place.deployer_as(Some("narrow")).await;
    place.go_through(&narrow, &[web()]);
    assert_eq!(versions(&place), before, "it wrote what was there already");
    // One that it may not read holds up nobody else.
    let mut other = web();
    other.spec.secret_env.insert("K".to_owned(), "other".to_owned());
    place.go_through(&narrow, &[other]);
    wait_for("the Secret to be told", Duration::from_secs(60), || {
        narrow
            .obstacles()
            .remove("web")
            .filter(|one| one.why.contains("Secret other: ") && one.why.contains("forbidden"))
    });
    assert_eq!(versions(&place), before);
    drop(narrow);
    let deployer = place.deployer().await;
    place.go_through(&deployer, &[web()]);

    // What others add stays; what they change of ours is put back.
    place.run("annotate deployment web example.com/note=theirs");
    place.run("set env deployment web THEIRS=1");
    place.run("scale deployment web --replicas=7");
    let deployment = place.wait("deployment/web", |live| live["spec"]["replicas"] == 2);
    assert_eq!(deployment["metadata"]["annotations"]["example.com/note"], "theirs");
    let env = deployment["spec"]["template"]["spec"]["containers"][0]["env"].as_array().unwrap().clone();
    assert!(env.iter().any(|one| one["name"] == "THEIRS"), "{env:?}");
    place.run("delete service web");
    place.wait("service/web", |live| live["spec"]["ports"][0]["port"] == 8080);

    // A Secret's content is a reason to replace pods, and stands nowhere.
    let annotation = |live: &Value| live["spec"]["template"]["metadata"]["annotations"]["betagate.dev/secrets"].clone();
    let before = annotation(&place.get("deployment/web").unwrap());
    place.run("patch secret token -p {\"stringData\":{\"value\":\"a-later-word\"}}");
    let after = place.wait("deployment/web", |live| annotation(live) != before);
    assert!(!after.to_string().contains("later-word"), "{after}");

    // Somebody else's object of the same name.
    place.go_through(
        &deployer,
        &[
            web(),
            workload("taken", json!({ "component": "web", "image": "example.com/x:1", "command": ["x"], "port": 80 })),
        ],
    );
    // The mark stands before the round is over, and troubles are told when it is.
    wait_for("the trouble to be told", Duration::from_secs(60), || {
        let said = deployer.obstacles().remove("taken").filter(|one| one.stuck);
        said.filter(|one| one.why.contains("Service taken that is not betagate's"))
    });
    assert!(place.get("service/taken").unwrap()["metadata"]["labels"]["betagate.dev/workload"].is_null());

    // What is the installation's own is given to nobody's image, and what ran before goes on.
    let before = place.get("deployment/web").unwrap()["spec"].clone();
    let mut greedy = web();
    greedy.spec.secret_env.insert("K".to_owned(), "keys/admin.token".to_owned());
    place.go_through(&deployer, &[greedy]);
    let said = wait_for("the Secret to be told", Duration::from_secs(60), || {
        deployer.obstacles().remove("web").filter(|one| one.stuck && one.why.contains("Secret keys"))
    });
    assert!(said.why.starts_with("secretEnv K: Secret keys is betagate's own: no workload is given it"), "{said:?}");
    assert_eq!(place.get("deployment/web").unwrap()["spec"], before);
    place.go_through(&deployer, &[web()]);

    // What is no longer wanted goes, and nothing else.
    let left_alone = format!("zz-{}", place.rounds.get());
    deployer.make_so(&[], &BTreeSet::from([left_alone.clone()]));
    wait_for("web to be gone", Duration::from_secs(60), || {
        let left = ["deployment/web", "service/web", "pdb/web", "networkpolicy/web"]
            .iter()
            .any(|what| place.get(what).is_some());
        (!left).then_some(())
    });
    assert!(place.get("service/taken").is_some() && place.get(&format!("deployment/{left_alone}")).is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_applies_the_same_fields_is_named_and_not_fought() {
    let place = Place::new("contested");
    let deployer = place.deployer().await;
    place.go_through(&deployer, &[web()]);
    let theirs = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web", "namespace": "contested" }, "spec": { "replicas": 5 } });
    let applied = kubectl(
        "apply --server-side --force-conflicts --field-manager=argocd --validate=false -f -",
        &theirs.to_string(),
    );
    assert!(applied.done, "{}", applied.text);
    // Where there are pods, their image that is nowhere is told too, until then.
    let said = wait_for("the conflict to be told", Duration::from_secs(60), || {
        deployer.obstacles().remove("web").map(|one| one.why).filter(|said| said.contains("argocd"))
    });
    assert!(said.contains("argocd applies the same fields") && said.contains(".spec.replicas"), "{said}");
    assert_eq!(place.get("deployment/web").unwrap()["spec"]["replicas"], 5, "it is theirs now");
    // The rest of the workload is nobody else's business.
    place.run("delete service web");
    place.wait("service/web", |live| live["spec"]["ports"][0]["port"] == 8080);
    // They give it up, and it is ours again, without anybody having asked in between.
    let nothing = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web", "namespace": "contested" } });
    let applied = kubectl("apply --server-side --field-manager=argocd --validate=false -f -", &nothing.to_string());
    assert!(applied.done, "{}", applied.text);
    place.wait("deployment/web", |live| live["spec"]["replicas"] == 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_resource_became_belongs_to_it_and_nothing_is_written_by_who_does_not_lead() {
    let place = Place::new("owned");
    let resource = "apiVersion: betagate.dev/v1alpha1\nkind: Workload\nmetadata: { name: worker, namespace: owned }\nspec: { program: kruxt, component: worker }\n";
    let applied = kubectl("apply -f -", resource);
    assert!(applied.done, "{}", applied.text);
    let deployer = place.deployer().await;
    place.go_through(&deployer, &[workload("worker", json!({ "component": "worker" }))]);
    let uid = place.get("workload/worker").unwrap()["metadata"]["uid"].clone();
    let owner = place.get("deployment/worker").unwrap()["metadata"]["ownerReferences"][0].clone();
    assert_eq!((&owner["uid"], &owner["kind"]), (&uid, &json!("Workload")));
    drop(deployer);

    // Another one that can't find out whose it is takes nothing away for it.
    place.run(&format!("create role unseeing --verb=* --resource={OBJECTS},secrets"));
    place.run("create rolebinding unseeing --role=unseeing --user=unseeing");
    let unseeing = place.deployer_as(Some("unseeing")).await;
    unseeing.make_so(&[workload("worker", json!({ "component": "worker" }))], &BTreeSet::new());
    wait_for("the right that is missing to be told", Duration::from_secs(60), || {
        unseeing.obstacles().remove("worker").filter(|one| one.why.contains("forbidden"))
    });
    assert_eq!(place.get("deployment/worker").unwrap()["metadata"]["deletionTimestamp"], Value::Null);
    drop(unseeing);

    let (client, _) = Wire::client(None).await;
    let asked = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let counted = asked.clone();
    let follower = Deployer::start(DeployerOptions {
        may_act: Arc::new(move || {
            counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            false
        }),
        ..place.options(client)
    });
    follower.make_so(&[workload("other", json!({ "component": "worker" }))], &BTreeSet::new());
    wait_for("it to ask whether it may", Duration::from_secs(60), || {
        (asked.load(std::sync::atomic::Ordering::SeqCst) > 1).then_some(())
    });
    assert!(place.get("deployment/other").is_none() && place.get("deployment/worker").is_some());
}
