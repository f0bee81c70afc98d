//! A controller dies before and after every effect of every step, and between an effect and its record: the next one leaves behind what an undisturbed one
//! does, in the same order. `BETAGATE_SOAK=N` with N of 10 or more dies at every moment there is; without it at every tenth, on each database.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use betagate::controller::{Controller, ControllerError};
use betagate::store::{Store, StoreError};
use betagate_core::decide::{RunPhase, StepState};
use futures_util::FutureExt as _;
use jiff::Timestamp;
use tokio::sync::Notify;

use crate::support::steps::{STEPS, Scene, WORKLOAD_STEPS, is_in, run, there};
use crate::support::{TestDb, databases, postgres, sqlite};

/// A controller may take so many passes for one part of the way.
const MOST_PASSES: usize = 400;

/// Who learns of every moment, and stops a controller at one of them, once.
#[derive(Clone, Default)]
struct Watcher {
    at: Option<String>,
    seen: Arc<Mutex<Vec<String>>>,
    stopped: Arc<Mutex<bool>>,
    reached: Arc<Notify>,
    go_on: Arc<Notify>,
}

impl Watcher {
    fn at(moment: &str) -> Self {
        Self { at: Some(moment.to_owned()), ..Self::default() }
    }

    fn watch(&self, controller: &Controller) {
        let watcher = self.clone();
        controller.faults().listen(move |moment| {
            let mut seen = watcher.seen.lock().unwrap();
            if !seen.iter().any(|known| known == moment) {
                seen.push(moment.to_owned());
            }
            let mut stopped = watcher.stopped.lock().unwrap();
            if *stopped || watcher.at.as_deref() != Some(moment) {
                return None;
            }
            *stopped = true;
            watcher.reached.notify_one();
            let go_on = watcher.go_on.clone();
            Some(async move { go_on.notified().await }.boxed())
        });
    }

    fn has_stopped(&self) -> bool {
        *self.stopped.lock().unwrap()
    }
}

/// From the word that starts the run to its last lifted hold; the controller that is stopped dies there.
async fn there_and_back(scene: &mut Scene, watcher: &Watcher) {
    watcher.watch(&scene.beta.controller);
    scene.ask_for_the_run().await;
    until(scene, watcher, RunPhase::Holding).await;
    let held = run(&scene.beta.controller).unwrap();
    assert!(held.steps.iter().all(|step| step.state == StepState::Verified), "{:#?}", held.steps);
    scene.allow_the_lift().await;
    until(scene, watcher, RunPhase::Lifted).await;
    // What is lifted is also carried out.
    scene.beta.pass().await;
}

async fn until(scene: &mut Scene, watcher: &Watcher, phase: RunPhase) {
    for _ in 0..MOST_PASSES {
        let died = tokio::select! {
            biased;
            () = watcher.reached.notified() => true,
            passed = scene.beta.controller.pass() => {
                passed.unwrap();
                false
            }
        };
        if died {
            scene.beta.restart_controller().await;
            watcher.watch(&scene.beta.controller);
        }
        scene.beta.refresh().await;
        if is_in(&scene.beta.controller, phase) {
            return;
        }
        let_processes_work(scene).await;
    }
    panic!("{phase:?} did not come about: {:#?}", run(&scene.beta.controller));
}

/// What an undisturbed run leaves behind, and the moments at which it could have been stopped.
async fn undisturbed(db: &TestDb, steps: &[&str]) -> (BTreeMap<&'static str, Vec<String>>, Vec<String>) {
    let mut scene = Scene::start(db, steps).await;
    let watcher = Watcher::default();
    there_and_back(&mut scene, &watcher).await;
    let left = scene.left_behind().await;
    scene.beta.store.close().await;
    let seen = watcher.seen.lock().unwrap().clone();
    (left, seen)
}

fn soak() -> usize {
    std::env::var("BETAGATE_SOAK").ok().and_then(|times| times.parse().ok()).unwrap_or(1)
}

/// Every tenth moment, another one on each database; all of them in a long soak.
fn chosen(moments: &[String], database: usize) -> Vec<&String> {
    let every = (10 / soak().clamp(1, 10)).max(1);
    moments.iter().skip(database * every / 2).step_by(every).collect()
}

/// A database with every table and nothing in it, to be copied.
async fn blank(db: TestDb) -> TestDb {
    let store = Store::open(&db.url).await.unwrap();
    store.migrate().await.unwrap();
    store.close().await;
    db
}

async fn dies_at_each(db: TestDb, place: usize, steps: &[&str]) {
    let blank = blank(db).await;
    let (expected, moments) = undisturbed(&blank.copy(), steps).await;
    let in_force: Vec<&String> = expected["told"].iter().filter(|told| told.starts_with("StepInForce")).collect();
    assert_eq!(in_force.len(), steps.len(), "each came into force once: {in_force:?}");
    for step in steps {
        let name = there(step).split(':').next().unwrap_or_default();
        assert!(moments.iter().any(|moment| moment.contains(name)), "no moment of {name} in {moments:#?}");
    }
    let mut died = 0;
    for moment in chosen(&moments, place) {
        let db = blank.copy();
        let mut scene = Scene::start(&db, steps).await;
        let watcher = Watcher::at(moment);
        there_and_back(&mut scene, &watcher).await;
        died += usize::from(watcher.has_stopped());
        let left = scene.left_behind().await;
        for (what, expected) in &expected {
            assert_eq!(left[what], *expected, "{what} on {} after a death at '{moment}'", db.name);
        }
        scene.beta.store.close().await;
    }
    let all = chosen(&moments, place).len();
    let known = moments.len();
    assert!(died * 10 >= all * 9, "only {died} of {all} deaths ({known} moments) came: this proves little");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_step_survives_its_controller_on_sqlite() {
    dies_at_each(sqlite(), 0, &STEPS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_step_survives_its_controller_on_postgres() {
    if let Some(db) = postgres() {
        dies_at_each(db, 1, &STEPS).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_step_about_workloads_survives_its_controller() {
    for (place, db) in databases().into_iter().enumerate() {
        dies_at_each(db, place, &WORKLOAD_STEPS).await;
    }
}

/// A controller that is stopped and not dead (its machine slept) goes on after another has taken the lead and finished: it changes nothing any more,
/// and what it had in its hands arrives once more under the same name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_controller_that_wakes_up_after_another_took_the_lead_changes_nothing() {
    if postgres().is_some() {
        sleeps_at_each(&STEPS, |moment| !in_transaction(moment), 12).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_does_one_that_slept_in_a_step_about_workloads() {
    if postgres().is_some() {
        sleeps_at_each(&WORKLOAD_STEPS, |moment| !in_transaction(moment), 12).await;
    }
}

/// Asleep inside a transaction it holds the epoch: PostgreSQL gives that transaction up, the other takes the lead, and the late commit is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_controller_that_sleeps_inside_a_transaction_holds_nobody_up_and_its_late_commit_is_refused() {
    if postgres().is_some() {
        sleeps_at_each(&STEPS, in_transaction, 12).await;
        sleeps_at_each(&WORKLOAD_STEPS, in_transaction, 6).await;
    }
}

fn in_transaction(moment: &str) -> bool {
    moment.contains("between effect and record")
}

/// What the server does to a transaction that says nothing for half a minute, at once.
async fn give_up_sleepers(store: &Store) {
    let limit = "SELECT current_setting('idle_in_transaction_session_timeout') AS limit";
    assert_eq!(store.one(limit, &[]).await.unwrap().get::<String>("limit").unwrap(), "30s", "it would do so by itself");
    let give_up = "SELECT count(pg_terminate_backend(pid)) AS n FROM pg_stat_activity
        WHERE datname = current_database() AND state = 'idle in transaction' AND pid <> pg_backend_pid()";
    let given_up: i64 = store.one(give_up, &[]).await.unwrap().get("n").unwrap();
    assert_eq!(given_up, 1, "the one that sleeps");
}

async fn sleeps_at_each(steps: &[&str], wanted: impl Fn(&str) -> bool, every: usize) {
    let blank = blank(postgres().unwrap()).await;
    let (expected, moments) = undisturbed(&blank.copy(), steps).await;
    let moments: Vec<&String> = moments.iter().filter(|moment| wanted(moment)).collect();
    for moment in moments.into_iter().step_by((every / soak().clamp(1, every)).max(1)) {
        let db = blank.copy();
        let mut scene = Scene::start(&db, steps).await;
        let watcher = Watcher::at(moment);
        let asleep = there_and_back_by_another(&mut scene, &watcher, moment).await;
        scene.beta.pass().await;
        let before = scene.left_behind().await;
        watcher.go_on.notify_one();
        let (mut late, woke) = asleep.await;
        if let Err(error) = woke {
            // The connection is gone, or another leads.
            assert!(in_transaction(moment) || !error.retryable(), "{error}");
        }
        let refused = late.pass().await.unwrap_err();
        assert!(matches!(refused, ControllerError::Store(StoreError::Fenced { .. })), "{refused} after '{moment}'");
        let left = scene.left_behind().await;
        for (what, expected) in &expected {
            assert_eq!(left[what], before[what], "{what} changed when it woke up at '{moment}'");
            assert_eq!(left[what], *expected, "{what} after a sleep at '{moment}'");
        }
        scene.beta.store.close().await;
    }
}

/// The whole way, on which the first controller falls asleep at this moment and another one goes on.
async fn there_and_back_by_another(scene: &mut Scene, watcher: &Watcher, moment: &str) -> Pass {
    let mut awake = Some(scene.beta.new_controller().await);
    watcher.watch(awake.as_ref().unwrap());
    scene.ask_for_the_run().await;
    let mut asleep = None;
    for phase in [RunPhase::Holding, RunPhase::Lifted] {
        for pass in 0..=MOST_PASSES {
            assert!(pass < MOST_PASSES, "{phase:?} did not come about after '{moment}'");
            match awake.take() {
                None => drop(scene.beta.controller.pass().await.unwrap()),
                Some(controller) => match pass_or_sleep(controller, watcher).await {
                    Passed::Awake(controller) => awake = Some(*controller),
                    Passed::Asleep(pass) => {
                        asleep = Some(pass);
                        if in_transaction(moment) {
                            give_up_sleepers(&scene.beta.store).await;
                        }
                        scene.beta.restart_controller().await;
                    }
                },
            }
            scene.beta.refresh().await;
            if is_in(awake.as_ref().unwrap_or(&scene.beta.controller), phase) {
                break;
            }
            let_processes_work(scene).await;
        }
        if phase == RunPhase::Holding {
            scene.allow_the_lift().await;
        }
    }
    let Some(asleep) = asleep else { panic!("'{moment}' was not reached") };
    asleep
}

/// Real processes take real time.
async fn let_processes_work(scene: &Scene) {
    if !scene.beta.processes("worker").is_empty() {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

type Pass = Pin<Box<dyn Future<Output = (Controller, Result<Option<Timestamp>, ControllerError>)>>>;

/// A controller after one pass, or within it.
enum Passed {
    Awake(Box<Controller>),
    Asleep(Pass),
}

async fn pass_or_sleep(mut controller: Controller, watcher: &Watcher) -> Passed {
    let mut pass: Pass = Box::pin(async move {
        let passed = controller.pass().await;
        (controller, passed)
    });
    tokio::select! {
        biased;
        () = watcher.reached.notified() => Passed::Asleep(pass),
        (controller, passed) = &mut pass => {
            passed.unwrap();
            Passed::Awake(Box::new(controller))
        }
    }
}
