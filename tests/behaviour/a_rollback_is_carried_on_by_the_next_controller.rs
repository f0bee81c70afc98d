//! Another controller goes on before each pass: no step is skipped, none is done twice, the order is kept. (One pass goes on until it settles, so
//! this is no crash inside a pass.) And the edges of the trigger, through the whole machine.

use betagate::controller::Controller;
use betagate::store::incidents::Incident;
use betagate::store::{audit, freezes, outbox, status};
use betagate_core::decide::{RunPhase, StepState};

use super::a_program_runs_from_yaml_to_an_ordered_rollback_and_back::kruxt;
use crate::support::beta::Beta;
use crate::support::{databases, incident, lift};

pub async fn sev1(beta: &Beta, name: &str, started_at: &str) {
    let since = started_at.parse().unwrap();
    let told = Incident { first_seen: beta.clock.now(), ..incident::open("kruxt", name, "sev-1", since) };
    incident::tell(beta, &told).await;
}

fn runs(beta: &Beta) -> Vec<String> {
    beta.controller.programs()["kruxt"].decision.as_ref().unwrap().memory.runs.keys().cloned().collect()
}

pub fn phase(controller: &Controller, run: &str) -> Option<RunPhase> {
    let state = controller.programs().get("kruxt")?;
    state.decision.as_ref()?.memory.runs.get(run).map(|run| run.phase)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_is_carried_on_by_the_next_controller() {
    for db in databases() {
        let mut beta = Beta::start(&db, kruxt(), "2026-03-03T08:00:00Z").await;
        beta.pass().await;
        sev1(&beta, "down", "2026-03-03T07:00:00Z").await;
        for _ in 0..40 {
            beta.restart_controller().await;
            beta.pass().await;
            if phase(&beta.controller, "closed-beta-1") == Some(RunPhase::Holding) {
                break;
            }
        }
        let memory = &beta.controller.programs()["kruxt"].decision.as_ref().unwrap().memory;
        let run = &memory.runs["closed-beta-1"];
        assert_eq!(run.phase, RunPhase::Holding, "{}", db.name);
        assert!(run.steps.iter().all(|step| step.state == StepState::Verified));
        let mut before = None;
        for step in &run.steps {
            assert!(step.in_force_at >= before, "in order");
            before = step.in_force_at;
        }
        let filter = audit::Filter { object: Some("Rollback/closed-beta-1".to_owned()), ..audit::Filter::default() };
        let told = audit::list(&beta.store, &filter).await.unwrap();
        let in_force = told.iter().filter(|kept| kept.entry.action == "StepInForce").count();
        assert_eq!((in_force, memory.runs.len()), (7, 1), "each step came into force once");
        let sent = outbox::by_prefix(&beta.store, "closed-beta-1/").await.unwrap();
        assert_eq!(sent.len(), 3, "two notes and a document, once each");
        assert_eq!(freezes::list(&beta.store, Some("kruxt")).await.unwrap().len(), 1);
        assert!(audit::verify(&beta.store).await.unwrap().problem.is_none());
        beta.store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_29_and_exactly_30_minutes_nothing_happens_and_lifting_while_it_is_open_starts_no_new_run() {
    for db in databases() {
        let mut beta = Beta::start(&db, kruxt(), "2026-03-03T08:00:00Z").await;
        beta.pass().await;
        sev1(&beta, "down", "2026-03-03T09:00:00Z").await;
        for minute in ["2026-03-03T09:29:00Z", "2026-03-03T09:30:00Z"] {
            beta.at(minute);
            beta.pass().await;
            assert!(runs(&beta).is_empty(), "{minute} on {}", db.name);
        }
        beta.at("2026-03-03T09:31:00Z");
        beta.until("the run", |controller| {
            let memory = &controller.programs()["kruxt"].decision.as_ref().unwrap().memory;
            memory.runs.get("closed-beta-1").is_some_and(|run| run.phase == RunPhase::Holding)
        })
        .await;
        lift::complete_all(&beta).await;
        beta.at("2026-03-03T10:00:00Z");
        lift::say(&beta.store, ("kruxt", "closed-beta-1"), beta.clock.now()).await;
        beta.until("the lift", |controller| {
            controller.programs()["kruxt"].decision.as_ref().unwrap().memory.runs["closed-beta-1"].phase
                == RunPhase::Lifted
        })
        .await;
        beta.at("2026-03-03T15:00:00Z");
        beta.pass().await;
        beta.pass().await;
        assert_eq!(runs(&beta), ["closed-beta-1"], "the incident is still open: the same episode");
        assert!(freezes::list(&beta.store, Some("kruxt")).await.unwrap().is_empty());
        beta.store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_freeze_by_hand_is_adopted_and_the_one_who_made_it_is_told() {
    for db in databases() {
        let mut beta = Beta::start(&db, kruxt(), "2026-03-03T08:00:00Z").await;
        beta.pass().await;
        let freeze = freezes::Freeze {
            program: "kruxt".to_owned(),
            cohort: String::new(),
            holder: "hand:founder".to_owned(),
            reason: "codes leaked".to_owned(),
            since: beta.clock.now(),
        };
        let mut tx = beta.store.begin().await.unwrap();
        freezes::freeze(&mut tx, &freeze).await.unwrap();
        tx.commit().await.unwrap();
        beta.restart_controller().await;
        beta.pass().await;
        assert_eq!(phase(&beta.controller, "break-glass-kruxt-1"), Some(RunPhase::Holding), "{}", db.name);
        let standing = freezes::list(&beta.store, Some("kruxt")).await.unwrap();
        assert_eq!(
            standing.iter().map(|freeze| freeze.holder.as_str()).collect::<Vec<_>>(),
            ["break-glass-kruxt-1/1"],
            "the run holds it now"
        );
        let waits = status::get(&beta.store, "Rollback", "break-glass-kruxt-1").await.unwrap().unwrap().status["waits"]
            .to_string();
        assert!(waits.contains("betagate rollback lift break-glass-kruxt-1"), "{waits}");
        beta.at("2026-03-03T09:00:00Z");
        lift::say(&beta.store, ("kruxt", "break-glass-kruxt-1"), beta.clock.now()).await;
        beta.pass().await;
        assert!(freezes::list(&beta.store, Some("kruxt")).await.unwrap().is_empty());
        beta.store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_commit_changes_nothing_and_says_why() {
    for db in databases() {
        let mut beta = Beta::start(&db, kruxt(), "2026-03-03T08:00:00Z").await;
        beta.pass().await;
        let before = status::list(&beta.store, None).await.unwrap();
        beta.repo.replace("manifests/kruxt/rollout.yaml", "cohorts: [pavia]", "cohorts: [pavvia]");
        beta.pass().await;
        assert_eq!(status::list(&beta.store, None).await.unwrap(), before);
        let said = status::sources(&beta.store).await.unwrap()[0].body["problems"].to_string();
        assert!(said.contains("did you mean pavia"), "{said}");
        beta.repo.replace("manifests/kruxt/rollout.yaml", "cohorts: [pavvia]", "cohorts: [pavia]");
        // Broken syntax, seen by a controller that never saw the good one: what is recorded goes on.
        beta.repo.write("manifests/kruxt/broken.yaml", "kind: Gate\nmetadata: { name: [\n");
        beta.restart_controller().await;
        beta.pass().await;
        assert_eq!(status::list(&beta.store, None).await.unwrap(), before);
        let said = status::sources(&beta.store).await.unwrap()[0].body["problems"].to_string();
        assert!(said.contains("manifests/kruxt/broken.yaml:"), "{said}");
        let (email, code) = beta.invitations().remove(0);
        assert_eq!(beta.register(&email, &code).await.0, 201, "testers come in all the same");
        beta.repo.remove("manifests/kruxt/broken.yaml");
        beta.pass().await;
        assert!(beta.controller.problems().is_empty());
        beta.store.close().await;
    }
}
