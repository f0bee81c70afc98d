//! While a rollback holds, `betagate plan` says everything that it holds, and does not say once more what was done.

use betagate::controller::{build_snapshot, preview};
use betagate::source::read_folder;
use betagate_core::decide::RunPhase;
use betagate_core::plan::{held_line, text};

use crate::support::databases;
use crate::support::steps::{STEPS, Scene, WORKLOAD_STEPS, is_in};

async fn told(scene: &Scene) -> (Vec<String>, String) {
    let snapshot = read_folder(scene.beta.repo.path()).unwrap();
    let built = build_snapshot(&snapshot, None, false).unwrap();
    let beta = &scene.beta;
    let previews = preview(&beta.store, &snapshot, &built, beta.clock.now(), &beta.data).await.unwrap();
    (previews[0].held.iter().map(held_line).collect(), text(&previews[0].plan))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_hold_is_told_and_what_was_done_once_is_not_planned_again() {
    for db in databases() {
        let mut scene = Scene::start(&db, &STEPS).await;
        scene.ask_for_the_run().await;
        scene.beta.until("every step", |controller| is_in(controller, RunPhase::Holding)).await;
        let (held, plan) = told(&scene).await;
        for what in [
            "invites of all cohorts are frozen (by everything-1/1",
            "product events are not taken in (by everything-1/2",
        ] {
            assert!(held.iter().any(|line| line.contains(what)), "{what}: {held:?}");
        }
        assert!(!plan.contains("ingestion") && !plan.contains("revoke"), "{plan}");
        scene.beta.store.close().await;
    }
    for db in databases().into_iter().take(1) {
        let mut scene = Scene::start(&db, &WORKLOAD_STEPS[..2]).await;
        scene.ask_for_the_run().await;
        scene
            .beta
            .until("the hold", |controller| {
                is_in(controller, RunPhase::Running) || is_in(controller, RunPhase::Holding)
            })
            .await;
        let (held, _) = told(&scene).await;
        let worker = "held: workload worker runs 1 process(es) (by everything-1/2: ";
        assert!(held.iter().any(|line| line.starts_with(worker)), "{held:?}");
        scene.beta.store.close().await;
    }
}
