//! Calls are taken one at a time, so that a controller that dies holds no other's: the next one follows at once, and not when somebody looks again.

use betagate::store::outbox::{self, Intent};
use betagate_core::decide::MessageKind;
use betagate_core::resources::CallWebhook;

use crate::support::databases;
use crate::support::steps::Scene;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_that_is_due_leaves_in_one_pass() {
    for db in databases() {
        let mut scene = Scene::start(&db, &["freezeInvites: { cohorts: all }"]).await;
        let now = scene.beta.clock.now();
        let mut tx = scene.beta.store.begin().await.unwrap();
        for number in 1..=3 {
            let call = CallWebhook {
                source: Some("host".to_owned()),
                path: Some("/pause".to_owned()),
                ..CallWebhook::default()
            };
            let what = MessageKind::Call { holder: format!("run-{number}/1"), call, about: Default::default() };
            let intent = Intent {
                program: "small".to_owned(),
                cohort: None,
                kind: "call".to_owned(),
                effect_key: format!("run-{number}/1/1/call"),
                payload: serde_json::to_value(&what).unwrap(),
                once: false,
                not_before: now,
                deadline: None,
                epoch: None,
            };
            outbox::put(&mut tx, &intent, now).await.unwrap();
        }
        tx.commit().await.unwrap();
        scene.beta.pass().await;
        assert_eq!(scene.sink.heard("/api/pause").len(), 3, "{}", db.name);
        scene.beta.store.close().await;
    }
}
