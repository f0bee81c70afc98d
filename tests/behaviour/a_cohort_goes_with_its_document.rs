//! Whoever deletes a cohort's document takes back what it still let in, and no more: it closes at once, its unused invites are revoked once a
//! person has said so by the digest that the pull request printed, whoever is in stays in, and with the document the list comes back.

use std::collections::BTreeMap;

use betagate::core::cohort::{NO_LIST, change_digest};
use betagate::store::invites::{self, Filter, State};
use serde_json::{Value, json};

use crate::support::beta::{ADMIN, Beta};
use crate::support::{Betagate, TestRepo, databases};

const PROGRAM: &str = "apiVersion: betagate.dev/v1alpha1
kind: Program
metadata: { name: kruxt }
spec: { timeZone: Europe/Rome, startsOn: 2026-03-02, people: { ana: {} } }
---
apiVersion: betagate.dev/v1alpha1
kind: Rollout
metadata: { name: beta }
spec: { program: kruxt, stages: [ { name: pilot, window: { from: +0d }, cohorts: [lyon, pavia] } ] }
";
const DECLARED: &str = "apiVersion: betagate.dev/v1alpha1
kind: Invite
metadata: { name: ada }
spec: { program: kruxt, cohort: pavia, email: ada@example.com }
";

fn cohort(name: &str) -> String {
    format!(
        "apiVersion: betagate.dev/v1alpha1\nkind: Cohort\nmetadata: {{ name: {name} }}\nspec:\n  program: kruxt\n  \
         members: {{ csv: {name}.csv }}\n  capacity: 5\n  invites: {{ template: hello }}\n"
    )
}

fn repo() -> TestRepo {
    let repo = TestRepo::empty();
    repo.write("manifests/program.yaml", PROGRAM);
    for name in ["lyon", "pavia"] {
        repo.write(&format!("cohorts/{name}.yaml"), &cohort(name));
        let rows: Vec<String> = (0..6).map(|n| format!("{name}{n}@example.com,tester-{name}\n")).collect();
        repo.write(&format!("cohorts/{name}.csv"), &rows.concat());
    }
    repo.write("cohorts/templates/hello.txt", "Subject: Come in\n\nYour code is {{ code }}. {{ link }}\n");
    repo
}

/// Takes the documents of pavia out of the repository.
fn delete_pavia(repo: &TestRepo) {
    repo.remove("cohorts/pavia.yaml");
    repo.remove("cohorts/pavia.csv");
    repo.remove("cohorts/ada.yaml");
    repo.replace("manifests/program.yaml", "[lyon, pavia]", "[lyon]");
}

async fn passes(beta: &mut Beta) {
    for _ in 0..3 {
        beta.pass().await;
    }
}

/// How many of pavia's invites are in each state.
async fn states(beta: &Beta) -> BTreeMap<&'static str, usize> {
    let filter = Filter { cohort: Some("pavia".to_owned()), limit: 100, ..Filter::default() };
    let mut counts = BTreeMap::new();
    for invite in invites::list(&beta.store, &filter).await.unwrap() {
        *counts.entry(invite.state.as_str()).or_default() += 1;
    }
    counts
}

/// What pavia's status says that it waits for.
fn waits(beta: &Beta) -> Vec<String> {
    let decision = beta.controller.programs()["kruxt"].decision.as_ref().unwrap();
    let state = decision.states.get("Cohort/pavia");
    state.into_iter().flat_map(|state| &state.waits).map(|wait| wait.on.clone()).collect()
}

fn plan(beta: &Beta, db: &str, code: i32) -> Value {
    let words = ["plan", "--format", "json", "--database", db, "--data"].map(std::ffi::OsStr::new);
    let plan = Betagate::new(words.into_iter().chain([beta.data.as_os_str()])).within(beta.repo.path()).run();
    serde_json::from_str(&plan.expect_code(code).stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_it_let_in_is_taken_back_after_a_word_and_comes_back_with_it() {
    for db in databases() {
        let repo = repo();
        repo.write("cohorts/ada.yaml", DECLARED);
        let before = repo.commit("two cohorts");
        let mut beta = Beta::start(&db, repo, "2026-03-02T08:00:00Z").await;
        passes(&mut beta).await;
        let invited = beta.invitations().into_iter().filter(|(to, _)| to.starts_with("pavia")).collect::<Vec<_>>();
        let [(member, members), (invited, code)] = [invited[0].clone(), invited[1].clone()];
        let (status, tokens) = beta.register(&member, &members).await;
        assert_eq!(status, 201);
        let several = json!({ "cohort": "pavia", "uses": 3 });
        let (status, several) = beta.post("/v1/admin/invites/codes", Some(ADMIN), &several).await;
        assert_eq!(status, 201, "{several}");
        let had = states(&beta).await;
        assert_eq!(had, BTreeMap::from([("pending", 4), ("used", 1), ("waiting", 2)]), "{}", db.name);
        let list = invites::cohort_state(&beta.store, "kruxt", "pavia").await.unwrap().unwrap().list_digest;

        // Closed at once; nobody who waits for a seat gets one for that, and nothing is taken back before a word.
        delete_pavia(&beta.repo);
        beta.repo.commit("pavia is gone");
        passes(&mut beta).await;
        assert_eq!(states(&beta).await, had, "{}", db.name);
        assert_eq!(beta.register(&invited, &code).await.1["type"], "urn:betagate:problem:cohort-closed");
        let change = change_digest(list.as_deref(), NO_LIST);
        let asked = format!("its document is gone, which would revoke 6 unused invites (acknowledge digest {change})");
        assert_eq!(waits(&beta), [asked]);
        let why = Betagate::new(["why", "Cohort/pavia", "--database", &db.url]).within(beta.repo.path()).run();
        assert!(why.stdout.contains("its document is gone"), "{}", why.stdout);
        let live = plan(&beta, &db.url, 2);
        let actions = live[0]["actions"].as_array().unwrap();
        let delta = &actions.iter().find(|action| action["action"] == "syncList").unwrap()["delta"];
        assert_eq!((delta["removed"].as_u64(), delta["membersRemoved"].as_u64()), (Some(6), Some(1)), "{live}");
        assert_eq!(delta["digest"], change.as_str());
        // The pull request that deletes it asks for the same word.
        let pull = ["plan", "--base", &before, "-o", "json"];
        let pull = Betagate::new(pull).within(beta.repo.path()).run().expect_code(2).stdout;
        let pull: Value = serde_json::from_str(&pull).unwrap();
        assert_eq!(pull["programs"][0]["lists"][0]["waits"][0]["digest"], change.as_str(), "{pull}");

        beta.repo.write(
            "manifests/word.yaml",
            &format!(
                "apiVersion: betagate.dev/v1alpha1\nkind: Signoff\nmetadata: {{ name: pavia-goes }}\nspec: {{ program: kruxt, by: ana, \
                 says: acknowledge, object: Cohort/pavia, digest: \"{change}\" }}\n"
            ),
        );
        passes(&mut beta).await;
        assert_eq!(states(&beta).await, BTreeMap::from([("revoked", 6), ("used", 1)]), "{}", db.name);
        assert!(waits(&beta).is_empty() && plan(&beta, &db.url, 0)[0]["actions"] == json!([]));
        assert_eq!(beta.register(&invited, &code).await.1["type"], "urn:betagate:problem:invite-revoked");
        let code_for_several = several["code"].as_str().unwrap();
        let refused = beta.register("someone@example.org", code_for_several).await;
        assert_eq!(refused.1["type"], "urn:betagate:problem:invite-revoked");
        let me = beta.get("/me", tokens["accessToken"].as_str()).await;
        assert_eq!(me.1["memberships"][0]["cohort"], "pavia", "who is in stays in");
        let more = json!({ "email": "late@example.com", "cohort": "pavia" });
        assert_eq!(beta.post("/v1/admin/invites", Some(ADMIN), &more).await.0, 404);
        betagate::store::audit::chain(&beta.store).await.unwrap();
        betagate::store::audit::verify(&beta.store).await.unwrap();

        // Taken as a mistake: the commit is reverted.
        beta.restart_controller().await;
        beta.repo.git(&["checkout", "--quiet", &before, "--", "cohorts", "manifests"]);
        passes(&mut beta).await;
        assert_eq!(states(&beta).await, had, "{}", db.name);
        let fresh = beta.invitations().into_iter().find(|(to, other)| *to == invited && *other != code).unwrap().1;
        assert_eq!(beta.register(&invited, &fresh).await.0, 201, "{}", db.name);
        beta.store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cohort_that_lets_nobody_in_any_more_needs_no_word_and_a_program_may_ask_for_none() {
    for db in databases() {
        let repo = repo();
        repo.write("cohorts/ada.yaml", DECLARED);
        let mut beta = Beta::start(&db, repo, "2026-03-02T08:00:00Z").await;
        passes(&mut beta).await;
        beta.repo.replace("manifests/program.yaml", "people:", "massChangePercent: 100, people:");
        delete_pavia(&beta.repo);
        passes(&mut beta).await;
        assert_eq!(states(&beta).await, BTreeMap::from([(State::Revoked.as_str(), 7)]), "{}", db.name);
        // The other cohort, with nothing left to take back.
        beta.repo.replace("manifests/program.yaml", "massChangePercent: 100, people:", "people:");
        let all = json!({ "cohort": "lyon", "reason": "it is over" });
        assert_eq!(beta.post("/v1/admin/invites/revoke", Some(ADMIN), &all).await.0, 200);
        beta.repo.remove("cohorts/lyon.yaml");
        beta.repo.write("cohorts/torino.yaml", &cohort("torino"));
        beta.repo.write("cohorts/torino.csv", "t@example.com,tester-torino\n");
        beta.repo.replace("manifests/program.yaml", "[lyon]", "[torino]");
        passes(&mut beta).await;
        let left = invites::cohorts(&beta.store, "kruxt").await.unwrap();
        assert_eq!(left.iter().map(|state| state.cohort.as_str()).collect::<Vec<_>>(), ["torino"], "{}", db.name);
        beta.store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_goes_takes_nobody_in_and_a_source_that_is_emptied_changes_nothing() {
    for db in databases() {
        let repo = repo();
        let other =
            PROGRAM.replace("kruxt", "coach").replace("name: beta", "name: open").replace("[lyon, pavia]", "[torino]");
        repo.write("manifests/coach.yaml", &other);
        repo.write("cohorts/torino.yaml", &cohort("torino").replace("program: kruxt", "program: coach"));
        repo.write("cohorts/torino.csv", "t@example.com,tester-torino\n");
        let whole = repo.commit("two programs");
        let mut beta = Beta::start(&db, repo, "2026-03-02T08:00:00Z").await;
        passes(&mut beta).await;
        let mut people = beta.invitations().into_iter();
        let ((lyon, lyons), (torino, torinos)) = (people.next().unwrap(), people.next_back().unwrap());
        assert!(lyon.starts_with("lyon") && torino.starts_with("t@"));

        for file in ["manifests/program.yaml", "cohorts/lyon.yaml", "cohorts/pavia.yaml"] {
            beta.repo.remove(file);
        }
        passes(&mut beta).await;
        assert_eq!(beta.register(&lyon, &lyons).await.1["type"], "urn:betagate:problem:cohort-closed", "{}", db.name);
        assert_eq!(states(&beta).await, BTreeMap::from([("pending", 5), ("waiting", 1)]), "nothing is taken back");

        beta.repo.git(&["checkout", "--quiet", &whole, "--", "cohorts", "manifests"]);
        passes(&mut beta).await;
        assert!(beta.controller.problems().is_empty());
        for folder in ["cohorts", "manifests"] {
            std::fs::remove_dir_all(beta.repo.path().join(folder)).unwrap();
        }
        passes(&mut beta).await;
        let said = beta.controller.problems().iter().map(ToString::to_string).collect::<String>();
        assert!(said.contains("the source holds no program any more: what was there goes on"), "{said}");
        for (email, code) in [(&lyon, &lyons), (&torino, &torinos)] {
            assert_eq!(beta.register(email, code).await.0, 201, "{}", db.name);
        }
        beta.store.close().await;
    }
}
