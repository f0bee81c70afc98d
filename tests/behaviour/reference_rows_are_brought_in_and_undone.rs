//! The movement library of seed 003: brought in from its file, kept as the file says, held to its expectations, and undone by a rollback in each of the
//! three ways, once.

use std::collections::BTreeMap;

use betagate::controller::Controller;
use betagate::core::dataset::{Shape, shape};
use betagate::core::decide::{ObjectState, RunPhase, StepState};
use betagate::store::{audit, datasets, outbox};
use futures_util::FutureExt as _;
use jiff::SignedDuration;
use serde_json::json;

use crate::support::applied::on_cluster;
use crate::support::beta::{ADMIN, Beta};
use crate::support::{Betagate, TestDb, TestRepo, databases, lift};

const FILE: &str = "manifests/movements.json";
const RUN: &str = "movements-out-1";

fn library() -> &'static Shape {
    shape("movement_library").unwrap()
}

/// A file of movements `m1…`, of which each may have a name of its own.
fn movements(count: usize, named: &[(usize, &str)]) -> String {
    let rows = (1..=count).map(|n| {
        let name = named
            .iter()
            .find(|(at, _)| *at == n)
            .map_or_else(|| format!("Movement {n}"), |(_, name)| (*name).to_owned());
        json!({ "movement_id": format!("m{n}"), "name": name, "category": "squat", "modalities": ["bodyweight"] })
    });
    serde_json::to_string_pretty(&rows.collect::<Vec<_>>()).unwrap()
}

fn repository(undo: &str) -> TestRepo {
    let repo = TestRepo::empty();
    let head = "apiVersion: betagate.dev/v1alpha1\n";
    repo.write(
        "manifests/coach.yaml",
        &format!(
            "{head}kind: Program\nmetadata: {{ name: coach }}\nspec: {{ timeZone: UTC, startsOn: 2026-03-02, people: {{ ana: {{ notify: ana@example.com }} }} }}\n---\n\
             {head}kind: Dataset\nmetadata: {{ name: movement-library }}\nspec: {{ program: coach, file: movements.json, table: movement_library, key: movement_id, expect: {{ published: 8 }}, undo: {undo} }}\n---\n\
             {head}kind: Gate\nmetadata: {{ name: seeding }}\nspec: {{ program: coach, measure: {{ every: 1m }}, checks: [ {{ name: published, fact: dataset.published, of: movement-library, pass: \"== 8\", critical: true }} ] }}\n---\n\
             {head}kind: RollbackPlan\nmetadata: {{ name: movements-out }}\nspec: {{ program: coach, steps: [ {{ freezeInvites: {{}} }}, {{ restoreDataset: {{ dataset: movement-library }} }} ] }}\n"
        ),
    );
    repo.write(FILE, &movements(8, &[]));
    repo
}

async fn start(db: &TestDb, undo: &str) -> Beta {
    let mut beta = Beta::start(db, repository(undo), "2026-03-03T08:00:00Z").await;
    beta.until("the library", |controller| {
        assert_ne!(verdict(controller).as_deref(), Some("Fail"), "what was not brought in yet is not missing");
        is("Published")(controller)
    })
    .await;
    beta
}

fn verdict(controller: &Controller) -> Option<String> {
    let decision = controller.programs().get("coach")?.decision.as_ref()?;
    Some(decision.verdicts.get("seeding")?.verdict.to_string())
}

fn standing(controller: &Controller) -> Option<&ObjectState> {
    controller.programs().get("coach")?.decision.as_ref()?.states.get("Dataset/movement-library")
}

fn is(state: &str) -> impl Fn(&Controller) -> bool {
    move |controller| standing(controller).is_some_and(|found| found.state == state)
}

fn is_in(phase: RunPhase) -> impl Fn(&Controller) -> bool {
    move |controller| {
        let decision = controller.programs().get("coach").and_then(|state| state.decision.as_ref());
        decision.and_then(|decision| decision.memory.runs.get(RUN)).is_some_and(|run| run.phase == phase)
    }
}

async fn counts(beta: &Beta) -> Vec<(String, u64)> {
    datasets::counts(&beta.store, library()).await.unwrap().into_iter().collect()
}

async fn audited(beta: &Beta) -> BTreeMap<String, u64> {
    datasets::audited(&beta.store, library()).await.unwrap()
}

fn actions(named: &[(&str, u64)]) -> BTreeMap<String, u64> {
    named.iter().map(|(action, count)| ((*action).to_owned(), *count)).collect()
}

/// Name by key.
async fn names(beta: &Beta) -> BTreeMap<String, String> {
    let rows = datasets::live(&beta.store, library()).await.unwrap();
    rows.into_iter().map(|row| (row.key, row.values["name"].as_str().unwrap().to_owned())).collect()
}

/// What the main chain tells of the dataset.
async fn chained(beta: &Beta) -> Vec<String> {
    let filter = audit::Filter { object: Some("Dataset/movement-library".to_owned()), ..audit::Filter::default() };
    let told = audit::list(&beta.store, &filter).await.unwrap();
    assert!(audit::verify(&beta.store).await.unwrap().problem.is_none());
    told.into_iter().map(|kept| kept.entry.action).collect()
}

fn published(count: u64) -> Vec<(String, u64)> {
    vec![("published".to_owned(), count)]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_movements_are_imported_and_published_once_and_kept_as_their_file_says() {
    for db in databases() {
        let mut beta = start(&db, "reseed").await;
        assert_eq!(counts(&beta).await, published(8), "{}", db.name);
        let first = actions(&[("imported", 8), ("published", 8)]);
        assert_eq!(audited(&beta).await, first);
        beta.pass().await;
        assert_eq!(verdict(&beta.controller).as_deref(), Some("Pass"), "it is read again at once");
        for _ in 0..3 {
            beta.pass().await;
            beta.restart_controller().await;
        }
        beta.pass().await;
        assert_eq!((audited(&beta).await, chained(&beta).await.len()), (first, 1), "however often it is looked at");
        let met = |controller: &Controller| {
            let decision = controller.programs()["coach"].decision.as_ref();
            decision.is_some_and(|decision| decision.verdicts["seeding"].verdict.to_string() == "Pass")
        };
        beta.clock.advance(SignedDuration::from_mins(2));
        beta.until("the check", met).await;

        // Two change names with each other, one goes and another comes under its name.
        let changed = movements(8, &[(1, "Movement 2"), (2, "Movement 1")]).replace("\"m8\"", "\"m9\"");
        beta.repo.write(FILE, &changed);
        beta.until("the new file", |controller| is("Published")(controller)).await;
        let there = names(&beta).await;
        assert_eq!(
            (there["m1"].as_str(), there["m2"].as_str(), there["m9"].as_str()),
            ("Movement 2", "Movement 1", "Movement 8")
        );
        assert_eq!((there.len(), counts(&beta).await), (8, published(8)));
        let all = actions(&[("imported", 9), ("published", 9), ("removed", 1), ("updated", 2)]);
        assert_eq!(audited(&beta).await, all);

        // What somebody changes by hand is put right, whether it can be counted or not.
        beta.store
            .execute("UPDATE movement_library SET category = 'wrong' WHERE movement_id = 'm3'", &[])
            .await
            .unwrap();
        beta.clock.advance(SignedDuration::from_mins(6));
        beta.until("a look", |_| true).await;
        beta.pass().await;
        assert_eq!(audited(&beta).await["updated"], 3);
        beta.store.execute("DELETE FROM movement_library WHERE movement_id = 'm4'", &[]).await.unwrap();
        beta.pass().await;
        beta.pass().await;
        assert_eq!((counts(&beta).await, audited(&beta).await["imported"]), (published(8), 10));
        beta.store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_broken_or_not_as_expected_changes_nothing_and_says_why() {
    for db in databases() {
        let mut beta = start(&db, "reseed").await;
        let before = (names(&beta).await, audited(&beta).await);
        beta.repo.write(FILE, &movements(7, &[]));
        beta.until("the wait", is("Waiting")).await;
        let why = &standing(&beta.controller).unwrap().waits[0].on;
        assert!(why.contains("published: 7 of the 8 expected"), "{why}");
        beta.repo.write(FILE, &movements(8, &[(3, "Movement 2")]));
        beta.pass().await;
        let wrong = "movements.json:20:5: name: 'Movement 2' stands in line 12";
        if on_cluster() {
            // No resource is wrong for it: the state of the one whose file it is says so.
            let said = standing(&beta.controller).unwrap().summary.clone();
            assert!(said.contains(wrong), "{said}");
        } else {
            let problems: Vec<String> = beta.controller.problems().iter().map(ToString::to_string).collect();
            assert!(problems[0].starts_with(&format!("manifests/{wrong}")), "{problems:?}");
        }
        // A row of somebody else's stands in the way of another with its name.
        let theirs = "INSERT INTO movement_library (movement_id, name, category, modalities, status, created_at, updated_at)
            SELECT 'theirs', 'Theirs', category, modalities, 'published', created_at, updated_at FROM movement_library WHERE movement_id = 'm1'";
        beta.store.execute(theirs, &[]).await.unwrap();
        beta.repo.write(FILE, &movements(8, &[(3, "Theirs")]));
        beta.until("the conflict", |controller| {
            standing(controller)
                .is_some_and(|state| state.waits.iter().any(|wait| wait.on.contains("stands in the way")))
        })
        .await;
        beta.store.execute("DELETE FROM movement_library WHERE movement_id = 'theirs'", &[]).await.unwrap();
        assert_eq!((names(&beta).await, audited(&beta).await), before, "{}", db.name);
        beta.until("it is out of the way", is("Published")).await;
        assert_eq!(names(&beta).await["m3"], "Theirs");
        beta.store.close().await;
    }
}

async fn roll_back(beta: &mut Beta) {
    let body = json!({ "plan": "movements-out", "reason": "bad data" });
    assert_eq!(beta.post("/v1/admin/rollbacks", Some(ADMIN), &body).await.0, 202);
    beta.until("the run to hold", is_in(RunPhase::Holding)).await;
    let decision = beta.controller.programs()["coach"].decision.as_ref().unwrap();
    assert!(decision.memory.runs[RUN].steps.iter().all(|step| step.state == StepState::Verified));
    beta.pass().await;
    assert_eq!(standing(&beta.controller).unwrap().state, "Held");
}

async fn lifted(beta: &mut Beta) {
    lift::say(&beta.store, ("coach", RUN), beta.clock.now()).await;
    beta.until("the lift", is_in(RunPhase::Lifted)).await;
    beta.pass().await;
    beta.pass().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_truncated_library_stays_empty_until_somebody_says_that_its_file_may_come_back() {
    for db in databases() {
        let mut beta = start(&db, "truncate").await;
        roll_back(&mut beta).await;
        assert!(counts(&beta).await.is_empty() && audited(&beta).await.is_empty(), "{}", db.name);
        // Neither Git nor another controller brings it back while it is held.
        beta.repo.write(FILE, &movements(8, &[(1, "Other")]));
        beta.restart_controller().await;
        beta.pass().await;
        assert!(counts(&beta).await.is_empty());
        beta.repo.write(FILE, &movements(8, &[]));
        lifted(&mut beta).await;
        assert!(counts(&beta).await.is_empty(), "the file that was undone does not come back by itself");
        let state = standing(&beta.controller).unwrap().clone();
        assert!(state.state == "Waiting" && state.waits[0].on.contains("was undone by movements-out-1"), "{state:?}");
        let dumps = datasets::dumps(&beta.store, library()).await.unwrap();
        assert_eq!(
            dumps.iter().map(|dump| (dump.rows, dump.put_back)).collect::<Vec<_>>(),
            [(8, false)],
            "nothing is lost"
        );
        let digest = state.waits[0].on.rsplit(' ').next().unwrap().to_owned();
        let word = json!({ "program": "coach", "by": "ana", "says": "acknowledge", "object": "Dataset/movement-library", "digest": digest });
        let yaml =
            format!("apiVersion: betagate.dev/v1alpha1\nkind: Signoff\nmetadata: {{ name: back }}\nspec: {word}\n");
        beta.repo.write("manifests/word.yaml", &yaml);
        beta.until("the library", is("Published")).await;
        assert_eq!(counts(&beta).await, published(8));
        assert_eq!(chained(&beta).await, ["dataset.brought", "dataset.undone", "dataset.brought"]);
        beta.store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_library_is_what_it_was_before_its_file_changed_and_another_file_brings_it_on() {
    for db in databases() {
        let mut beta = start(&db, "restore").await;
        let (good, told) = (names(&beta).await, audited(&beta).await);
        let bad = movements(8, &[(5, "A mistake")]);
        beta.repo.write(FILE, &bad);
        beta.until("the bad file", is("Published")).await;
        assert_eq!(names(&beta).await["m5"], "A mistake");
        // What somebody breaks by hand and betagate repairs is nothing to go back to.
        beta.store.execute("DELETE FROM movement_library WHERE movement_id = 'm6'", &[]).await.unwrap();
        beta.pass().await;
        beta.pass().await;
        roll_back(&mut beta).await;
        assert_eq!((names(&beta).await, audited(&beta).await), (good.clone(), told), "{}", db.name);
        lifted(&mut beta).await;
        assert_eq!(names(&beta).await, good, "the bad file stays out");
        beta.repo.write(FILE, &movements(8, &[(5, "Mended")]));
        beta.until("the mended file", is("Published")).await;
        assert_eq!(names(&beta).await["m5"], "Mended");
        beta.store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reseeded_library_is_what_its_file_says_whatever_stood_there() {
    for db in databases() {
        let mut beta = start(&db, "reseed").await;
        let good = names(&beta).await;
        beta.store.execute("UPDATE movement_library SET name = 'bad ' || movement_id", &[]).await.unwrap();
        roll_back(&mut beta).await;
        assert_eq!((names(&beta).await, counts(&beta).await), (good.clone(), published(8)), "{}", db.name);
        assert_eq!(audited(&beta).await, actions(&[("imported", 8), ("published", 8)]));
        lifted(&mut beta).await;
        assert_eq!(standing(&beta.controller).unwrap().state, "Published", "its own file may stay");
        assert_eq!(names(&beta).await, good);
        beta.store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_undone_is_said_and_done_once_it_can() {
    for db in databases() {
        let mut beta = start(&db, "restore").await;
        let body = json!({ "plan": "movements-out", "reason": "bad data" });
        assert_eq!(beta.post("/v1/admin/rollbacks", Some(ADMIN), &body).await.0, 202);
        let told = |controller: &Controller| {
            let states = &controller.programs()["coach"].decision.as_ref().unwrap().states;
            states
                .get("Rollback/movements-out-1")
                .is_some_and(|run| run.waits.iter().any(|wait| wait.on.contains("no dump")))
        };
        beta.until("the word that there is nothing to put back", told).await;
        assert_eq!(counts(&beta).await, published(8), "nothing was taken away");
        beta.clock.advance(SignedDuration::from_mins(6));
        let overdue = |controller: &Controller| {
            let decision = controller.programs()["coach"].decision.as_ref().unwrap();
            decision.memory.runs[RUN].steps[1].state == StepState::Overdue
        };
        beta.until("the step to be overdue", overdue).await;
        beta.store.close().await;
    }
}

#[test]
fn a_pull_request_tells_which_rows_differ() {
    let repo = repository("reseed");
    repo.commit("before");
    let plan = || Betagate::new(["plan", "--base", "HEAD"]).within(repo.path()).run();
    plan().expect_code(0);
    repo.write(FILE, &movements(8, &[(1, "Movement 2"), (2, "Movement 1")]).replace("\"m8\"", "\"m9\""));
    let told = plan().expect_code(2).stdout;
    assert!(told.contains("rows: 1 to import, 2 to change, 1 to take away (+ m9, ~ m1, ~ m2, - m8)"), "{told}");
    assert!(told.contains("Dataset/movement-library (manifests/coach.yaml:"), "{told}");
}

/// What a new channel is to be told and when, and the incident that says so: all in one revision.
const NEWS: &str = "apiVersion: betagate.dev/v1alpha1
kind: RollbackPlan
metadata: { name: tell }
spec: { program: coach, when: [ { incident: { severity: sev-1, activeFor: 1s } } ], steps: [ { publishNote: { to: [crew], template: note } } ] }
---
apiVersion: betagate.dev/v1alpha1
kind: Incident
metadata: { name: outage }
spec: { program: coach, severity: sev-1, title: Movements are wrong, startedAt: 2026-03-03T07:00:00Z }
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_note_waits_for_no_rows_and_goes_to_whom_its_own_revision_names() {
    for db in databases() {
        let mut beta = start(&db, "reseed").await;
        beta.repo.replace(
            "manifests/coach.yaml",
            "ana@example.com }",
            "ana@example.com } }, channels: { crew: { email: [crew@example.com] }",
        );
        beta.repo.write("manifests/news.yaml", NEWS);
        beta.repo.write("cohorts/templates/note.txt", "Subject: Rollback {{ run }}\n\n{{ reason }}\n");
        beta.repo.write(FILE, &movements(8, &[(1, "Other")]));
        beta.bring().await;
        // Its rows are never done, as long as the note has not left.
        beta.controller
            .faults()
            .listen(|moment| (moment == "dataset movement-library: before").then(|| std::future::pending().boxed()));
        let store = beta.store.clone();
        let told = async {
            loop {
                let notes = outbox::by_prefix(&store, "tell-1/").await.unwrap();
                let settled =
                    |note: &&outbox::Message| !matches!(note.state, outbox::State::Waiting | outbox::State::Claimed);
                if let Some(note) = notes.iter().find(settled) {
                    return (note.state, note.last_error.clone());
                }
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        };
        let note = tokio::select! {
            done = beta.controller.run(std::future::pending(), |_| ()) => panic!("{done:?}"),
            note = tokio::time::timeout(std::time::Duration::from_secs(60), told) => note,
        };
        let note = note.unwrap_or_else(|_| panic!("it did not leave: {:?}", beta.controller.problems()));
        assert_eq!(note, (outbox::State::Done, None), "{}", db.name);
        assert_eq!(names(&beta).await["m1"], "Movement 1", "the rows were not brought in meanwhile");
        beta.store.close().await;
    }
}
