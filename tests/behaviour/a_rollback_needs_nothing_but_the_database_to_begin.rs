//! The documents, the mail program, the chat and every address outside are away during a whole run: the freeze comes first, at once; what needs nobody
//! else comes into force; what does is overdue and paged, the steps behind it go on, and when everything is back each takes effect after all.

use betagate::store::{freezes, outbox, steps};
use betagate_core::decide::{RunPhase, StepState};
use jiff::SignedDuration;

use crate::support::databases;
use crate::support::sink::Sink;
use crate::support::steps::{RUN, STEPS, Scene, is_in, run, there};

fn states(scene: &Scene) -> Vec<StepState> {
    run(&scene.beta.controller).unwrap().steps.iter().map(|step| step.state).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_needs_nothing_but_the_database_to_begin() {
    for db in databases() {
        let mut scene = Scene::start(&db, &STEPS).await;
        let folder = scene.beta.repo.path().to_owned();
        let away = folder.with_extension("away");
        let url = scene.sink.url.clone();
        std::fs::rename(&folder, &away).unwrap();
        scene.sink.stop().await;

        scene.ask_for_the_run().await;
        let began = scene.beta.clock.now();
        scene.beta.pass().await;
        let standing = freezes::list(&scene.beta.store, Some("small")).await.unwrap();
        assert_eq!((standing.len(), standing[0].since), (1, began), "{}: frozen by the first pass", db.name);
        assert_eq!(steps::pauses(&scene.beta.store, "small").await.unwrap().len(), 1);
        for _ in 0..3 {
            scene.beta.pass().await;
        }
        assert_eq!(states(&scene)[..6], [StepState::Verified; 6], "what needs nobody else");
        assert_eq!((states(&scene)[6], &states(&scene)[7..]), (StepState::InForce, &[StepState::Waiting; 5][..]));
        for _ in 0..12 {
            scene.beta.clock.advance(SignedDuration::from_mins(6));
            scene.beta.pass().await;
        }
        assert!(is_in(&scene.beta.controller, RunPhase::Holding), "{:?}", states(&scene));
        assert_eq!(states(&scene)[6..9], [StepState::Overdue; 3], "the note, the command, the call");
        assert_eq!(states(&scene)[9..], [StepState::Verified; 3], "those behind them went on");
        let held = run(&scene.beta.controller).unwrap();
        assert!(held.steps.windows(2).all(|pair| pair[0].in_force_at <= pair[1].in_force_at), "in order");
        let sent = outbox::list(&scene.beta.store, "small", &[], 100).await.unwrap();
        let pages = sent.iter().filter(|message| message.intent.kind == "page").count();
        assert!(pages >= 3, "{pages} pages wait to leave");

        std::fs::rename(&away, &folder).unwrap();
        scene.sink = Sink::at(&url).await;
        for _ in 0..40 {
            scene.beta.clock.advance(SignedDuration::from_mins(30));
            scene.beta.pass().await;
        }
        assert_eq!(states(&scene), [StepState::Verified; 12], "each took effect after all");
        let sent = outbox::by_prefix(&scene.beta.store, &format!("{RUN}/")).await.unwrap();
        assert!(sent.iter().all(|message| message.state == outbox::State::Done));
        let calls = STEPS.iter().filter(|step| there(step).starts_with("callWebhook")).count();
        assert_eq!((scene.sink.heard("/chat").len(), scene.sink.heard("/api/pause").len()), (1, calls));
        scene.beta.store.close().await;
    }
}
