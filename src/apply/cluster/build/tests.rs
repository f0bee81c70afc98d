//! What documents become, written out whole.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use betagate_core::resources::WorkloadSpec;
use serde_json::{Value, json};

use super::*;

fn own() -> Own {
    let text = str::to_owned;
    Own { image: text("ghcr.io/betagate/betagate:0.1.0"), database_secret: text("db"), keys_secret: text("keys") }
}

fn wanted(name: &str, spec: Value) -> Wanted {
    let spec: WorkloadSpec = serde_json::from_value(spec).unwrap();
    let revision = revision(name, &pinned(&spec, &own()));
    Wanted { workload: name.to_owned(), revision, spec, earlier: false }
}

fn identity() -> Identity {
    Identity { owner: Some("uid-1".to_owned()), secrets: Some("s1".to_owned()), restart: None }
}

fn objects(wanted: &Wanted) -> Vec<Value> {
    built(wanted, &own(), &identity()).into_iter().map(|one| one.body).collect()
}

fn one(wanted: &Wanted, kind: &str) -> Value {
    objects(wanted).into_iter().find(|object| object["kind"] == kind).unwrap_or_default()
}

#[test]
fn betagates_own_api_is_a_deployment_a_service_a_budget_and_a_policy() {
    let api = wanted(
        "api",
        json!({ "program": "kruxt", "component": "api", "replicas": 2, "port": 8081, "env": { "RUST_LOG": "info" } }),
    );
    insta::assert_json_snapshot!(objects(&api));
}

#[test]
fn an_image_of_ones_own_is_given_what_its_document_says_and_nothing_of_betagates() {
    let shop = wanted(
        "shop",
        json!({
            "program": "kruxt", "component": "web", "image": "registry.example.com:5000/shop@sha256:abc", "command": ["/shop", "serve"],
            "port": 3000, "health": { "path": "/up" }, "migrate": ["/shop", "migrate"], "env": { "WORKERS": 4, "DEBUG": false, "PRICE": "a$$b$(TOKEN)" },
            "secretEnv": { "TOKEN": "shop-token", "MAIL": "mail/password" },
            "resources": { "requests": { "cpu": "250m" }, "limits": { "memory": "128Mi" } },
        }),
    );
    insta::assert_json_snapshot!(objects(&shop));
}

#[test]
fn the_revision_is_what_makes_a_pod_another_pod() {
    let base = json!({ "program": "kruxt", "component": "worker", "replicas": 1 });
    let with = |field: &str, value: Value| {
        let mut spec = base.clone();
        spec[field] = value;
        wanted("worker", spec).revision
    };
    let known = wanted("worker", base.clone()).revision;
    assert_eq!(with("replicas", json!(5)), known);
    assert_eq!(with("image", json!(own().image)), known, "an image that is left out is betagate's");
    assert_ne!(with("image", json!("ghcr.io/betagate/betagate:0.2.0")), known);
    assert_ne!(with("env", json!({ "A": "1" })), known);
}

#[test]
fn a_change_of_secrets_or_a_restart_replaces_pods_of_the_same_revision() {
    let worker = wanted("worker", json!({ "program": "kruxt", "component": "worker" }));
    let pods = |identity: &Identity| {
        let all = built(&worker, &own(), identity);
        all.into_iter().find(|one| one.sort == Sort::Deployment).unwrap().body["spec"]["template"].clone()
    };
    let before = pods(&identity());
    assert_ne!(pods(&Identity { secrets: Some("s2".to_owned()), ..identity() }), before);
    assert_ne!(pods(&Identity { restart: Some("run-1/2".to_owned()), ..identity() }), before);
    assert_eq!(pods(&Identity { owner: None, ..identity() }), before, "whose it is replaces nothing");
    assert_eq!(secrets_of(&worker.spec, &own()), ["db", "keys"]);
}

#[test]
fn another_version_of_betagate_migrates_first_and_an_earlier_revision_never() {
    let job = |image: Option<&str>, earlier: bool| {
        let spec = json!({ "program": "kruxt", "component": "api", "image": image });
        job_name(&Wanted { earlier, ..wanted("api", spec) }, &own())
    };
    assert_eq!(job(None, false), None, "the controller did, when it started");
    let next = job(Some("ghcr.io/betagate/betagate:0.2.0"), false).unwrap();
    assert!(next.starts_with("api-migrate-"), "{next}");
    assert_ne!(job(Some("ghcr.io/betagate/betagate:0.3.0"), false).unwrap(), next);
    assert_eq!(job(Some("ghcr.io/betagate/betagate:0.2.0"), true), None);
    assert_eq!(job(Some("registry.example.com/other:0.2.0"), false), None, "that is not betagate");
    let api =
        wanted("api", json!({ "program": "kruxt", "component": "api", "image": "ghcr.io/betagate/betagate:0.2.0" }));
    let container = &one(&api, "Job")["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(
        (&container["args"], &container["image"]),
        (&json!(["migrate"]), &json!("ghcr.io/betagate/betagate:0.2.0"))
    );
    assert_eq!(one(&api, "Deployment")["metadata"]["annotations"][MIGRATED], json!(next));
}

#[test]
fn a_documents_own_migration_in_betagates_image_is_given_neither_keys_nor_database() {
    let migrate = json!(["/usr/bin/betagate", "audit"]);
    let api = wanted(
        "api",
        json!({ "program": "kruxt", "component": "api", "migrate": migrate, "secretEnv": { "TOKEN": "token" } }),
    );
    let pod = |kind: &str| one(&api, kind)["spec"]["template"]["spec"].to_string();
    let own = ["BETAGATE_DATABASE", "\"keys\"", "\"db\""];
    assert_eq!(own.map(|word| pod("Deployment").contains(word)), [true; 3]);
    assert_eq!(own.map(|word| pod("Job").contains(word)), [false; 3], "{}", pod("Job"));
    assert!(pod("Job").contains("\"token\""), "what its document says is there");
}

#[test]
fn a_setting_that_names_a_secret_of_the_installation_is_found_by_whichever_key() {
    let withheld = Withheld::new(["keys".to_owned(), "db".to_owned()]);
    let found = |secret: &str| {
        let spec = json!({ "program": "kruxt", "component": "web", "secretEnv": { "A": "shop-token", "K": secret } });
        let spec: WorkloadSpec = serde_json::from_value(spec).unwrap();
        greedy(&spec, &withheld).map(|(variable, secret)| (variable.to_owned(), secret.to_owned()))
    };
    let own = |secret: &str| Some(("K".to_owned(), secret.to_owned()));
    assert_eq!(["keys/admin.token", "db"].map(found), [own("keys"), own("db")]);
    assert_eq!(["keys-of-the-shop", "mail/keys"].map(found), [None, None]);
}

#[test]
fn one_pod_alone_has_no_budget_and_a_worker_is_reached_by_nobody() {
    let worker = wanted("worker", json!({ "program": "kruxt", "component": "worker" }));
    let kinds: Vec<_> = objects(&worker).iter().map(|object| object["kind"].as_str().unwrap().to_owned()).collect();
    assert_eq!(kinds, ["NetworkPolicy", "Deployment"]);
    assert!(one(&worker, "NetworkPolicy")["spec"]["ingress"].is_null());
}

#[test]
fn a_port_of_a_registry_is_no_tag() {
    let repositories = ["a.example.com:5000/x", "a.example.com:5000/x:1", "a.example.com:5000/x@sha256:ab", "x:1", "x"];
    assert_eq!(
        repositories.map(repository),
        ["a.example.com:5000/x", "a.example.com:5000/x", "a.example.com:5000/x", "x", "x"]
    );
}
