//! `betagate rollback rehearse`: what each step would do and send, whether what it needs is there. Nothing is changed; a channel that is asked for gets the
//! notes, marked as a drill; the rehearsal's age is a fact that a gate can ask for.

use betagate::store::{intents, steps};
use betagate_core::decide::RunPhase;
use serde_json::{Value, json};

use crate::support::beta::ADMIN;
use crate::support::steps::{STEPS, Scene, is_in};
use crate::support::{Betagate, Outcome, databases};

async fn rehearse(scene: &mut Scene, deliver_to: Option<&str>) -> Value {
    let body = json!({ "program": "small", "plan": "everything", "deliverTo": deliver_to, "by": "founder" });
    let mut tx = scene.beta.store.begin().await.unwrap();
    let id =
        intents::submit(&mut tx, betagate::controller::REHEARSE, "test", &body, scene.beta.clock.now()).await.unwrap();
    tx.commit().await.unwrap();
    scene.beta.pass().await;
    let answered = intents::get(&scene.beta.store, id).await.unwrap().unwrap();
    assert_eq!(answered.state, intents::State::Done, "{:?}", answered.result);
    answered.result.unwrap()
}

fn problems(result: &Value) -> Vec<&str> {
    let all = result["steps"].as_array().unwrap().iter().flat_map(|step| step["problems"].as_array().unwrap());
    all.map(|problem| problem.as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_is_rehearsed_and_nothing_is_changed() {
    for db in databases() {
        let mut scene = Scene::start(&db, &STEPS).await;
        let before = scene.left_behind().await;
        let result = rehearse(&mut scene, None).await;
        assert_eq!(problems(&result), Vec::<&str>::new());
        assert_eq!(result["passed"], true);
        let steps = result["steps"].as_array().unwrap();
        let names: Vec<&str> = steps.iter().map(|step| step["step"].as_str().unwrap()).collect();
        let wanted: Vec<&str> = STEPS.iter().map(|step| step.split(':').next().unwrap()).collect();
        assert_eq!(names, wanted);
        assert!(steps[0]["changes"][0].as_str().unwrap().contains("freeze invites of all cohorts"));
        assert!(steps[3]["changes"].to_string().contains("flag boost: held at off"));
        assert_eq!(steps[6]["messages"][1], "note to chat: Rollback everything-1");
        assert_eq!(steps[8]["messages"][0], "call host/pause of small");
        assert!(steps[9]["changes"].to_string().contains("undo dataset moves"), "{}", steps[9]);
        assert_eq!(scene.left_behind().await, before, "{}: nothing is changed, nothing leaves", db.name);

        rehearse(&mut scene, Some("chat")).await;
        scene.beta.pass().await;
        let heard = scene.sink.heard("/chat");
        assert_eq!(heard.len(), 1);
        assert!(heard[0].body.contains("DRILL: Rollback everything-1") && heard[0].body.contains("This is a drill"));
        scene.beta.clock.advance(jiff::SignedDuration::from_hours(3));
        let last = steps::last_rehearsal(&scene.beta.store, "small", Some("everything"), "").await.unwrap().unwrap();
        assert_eq!(scene.beta.clock.now().duration_since(last.at).as_hours(), 3);

        // What a step needs goes missing: it is named, and the rehearsal that failed does not count.
        std::fs::remove_file(scene.beta.repo.path().join("job")).unwrap();
        scene.beta.repo.write("cohorts/templates/note.txt", "Subject: Rollback {{ run }}\n\n{{ nobody_fills_this }}\n");
        scene.beta.pass().await;
        let result = rehearse(&mut scene, None).await;
        assert_eq!(result["passed"], false);
        let found = problems(&result).join("\n");
        assert!(found.contains("there is no command './job'"), "{found}");
        assert!(found.contains("nothing fills nobody_fills_this"), "{found}");
        let still = steps::last_rehearsal(&scene.beta.store, "small", None, "").await.unwrap().unwrap();
        assert_eq!(still.at, last.at);
        scene.beta.store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drill_looks_for_commands_where_the_run_finds_them_when_the_documents_are_in_git() {
    use std::os::unix::fs::PermissionsExt as _;
    for db in databases().into_iter().take(1) {
        let mut scene = Scene::start(&db, &STEPS).await;
        let job = scene.beta.repo.path().join("job");
        let allowed = |mode: u32| std::fs::set_permissions(&job, std::fs::Permissions::from_mode(mode)).unwrap();
        allowed(0o644);
        scene.beta.repo.commit("nobody may run it");
        let remote = scene.beta.repo.path().to_owned();
        scene.beta.follow_git(&remote).await;
        scene.beta.pass().await;
        let result = rehearse(&mut scene, None).await;
        assert_eq!(problems(&result), ["there is no command './job'"]);
        allowed(0o755);
        scene.beta.repo.commit("it may be run");
        scene.beta.pass().await;
        let result = rehearse(&mut scene, None).await;
        assert_eq!(problems(&result), Vec::<&str>::new());
        scene.ask_for_the_run().await;
        scene.beta.until("every step", |controller| is_in(controller, RunPhase::Holding)).await;
    }
}

/// Asks, and lets the controller pass until the answer is there.
async fn ask(scene: &mut Scene, words: &[&str]) -> Outcome {
    let server = format!("http://{}", scene.beta.address());
    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    let asked = tokio::task::spawn_blocking(move || {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        Betagate::new(words.into_iter().chain(["--server", &server, "--token", ADMIN])).run()
    });
    while !asked.is_finished() {
        scene.beta.pass().await;
        tokio::task::yield_now().await;
    }
    asked.await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_rehearses_and_takes_note_without_the_name_of_the_program() {
    for db in databases() {
        let mut scene = Scene::start(&db, &STEPS).await;
        let other = "kind: Program\nmetadata: { name: other }\nspec: { timeZone: UTC }\n";
        scene.beta.repo.write("manifests/other.yaml", other);
        scene.beta.pass().await;
        let told =
            ask(&mut scene, &["rollback", "rehearse", "everything", "--by", "founder"]).await.expect_code(0).stdout;
        assert!(
            told.contains("✅ 1 freezeInvites") && told.contains("everything is there; nothing was changed"),
            "{told}"
        );
        let near =
            ask(&mut scene, &["rollback", "rehearse", "everythin", "--by", "founder", "--program", "small"]).await;
        assert!(near.expect_code(1).stderr.contains("did you mean everything?"));

        std::fs::remove_file(scene.beta.repo.path().join("job")).unwrap();
        scene.beta.pass().await;
        let words = ["rollback", "rehearse", "everything", "--by", "founder", "-o", "json"];
        let result: Value = serde_json::from_str(&ask(&mut scene, &words).await.expect_code(1).stdout).unwrap();
        assert!(problems(&result).iter().any(|problem| problem.contains("there is no command './job'")), "{result}");

        let open = [
            "incident",
            "open",
            "slow",
            "--program",
            "small",
            "--severity",
            "sev-3",
            "--title",
            "Slow",
            "--by",
            "founder",
        ];
        let opened = ask(&mut scene, &open).await.expect_code(0).stdout;
        assert!(!opened.contains('.'), "to the second: {opened}");
        ask(&mut scene, &["incident", "ack", "slow", "--by", "founder"]).await.expect_code(0);
        scene.beta.store.close().await;
    }
}
