//! The database goes away for a minute in the middle of a rollback: PostgreSQL behind a proxy that is cut, a SQLite file that is moved away. Before the freeze,
//! between steps, inside a transaction, while a mail or a command is under way: what is left behind is what an undisturbed run leaves, in the same order.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use betagate::controller::Controller;
use betagate_core::decide::{RunPhase, StepState};
use futures_util::FutureExt as _;
use futures_util::future::join_all;
use jiff::SignedDuration;
use tokio::task::JoinHandle;
use url::Url;

use super::the_database_may_go_away_and_come_back::proxy;
use crate::support::steps::{STEPS, Scene, is_in, run};
use crate::support::{TestDb, postgres, sqlite, wait_for};

/// Where the database goes away: the first moment that holds both parts.
const MOMENTS: [(&str, &str); 5] = [
    ("RollbackStarted", ": before"),
    ("StepVerified step 2", ": after"),
    ("StepInForce step 4", ": between effect and record"),
    ("send everything-1/1/7/ops", ": between effect and receipt"),
    ("send everything-1/1/8/", ": between effect and receipt"),
];
const MOST_PASSES: usize = 400;

/// The way to a database, which can be cut.
#[derive(Clone)]
enum Way {
    Proxy { port: u16, server: String, task: Arc<Mutex<Option<JoinHandle<()>>>> },
    File(PathBuf),
}

impl Way {
    /// Puts itself between a test and its database.
    async fn to(db: &mut TestDb) -> Way {
        if let Some(path) = db.url.strip_prefix("sqlite:") {
            return Way::File(path.into());
        }
        let mut url = Url::parse(&db.url).unwrap();
        let server = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap());
        let (port, task) = proxy(0, server.clone()).await;
        url.set_port(Some(port)).unwrap();
        db.url = url.to_string();
        Way::Proxy { port, server, task: Arc::new(Mutex::new(Some(task))) }
    }

    async fn cut(&self) {
        match self {
            Way::Proxy { task, .. } => {
                let task = task.lock().unwrap().take().unwrap();
                task.abort();
                let _ = task.await;
            }
            Way::File(path) => std::fs::rename(path, path.with_extension("away")).unwrap(),
        }
    }

    async fn mend(&self) {
        match self {
            Way::Proxy { port, server, task } => {
                let free = || std::net::TcpListener::bind(("127.0.0.1", *port)).ok();
                drop(wait_for("the proxy's port", Duration::from_secs(20), free));
                let (_, again) = proxy(*port, server.clone()).await;
                *task.lock().unwrap() = Some(again);
            }
            Way::File(path) => std::fs::rename(path.with_extension("away"), path).unwrap(),
        }
    }
}

/// Cuts the way at a moment, once, and lets the controller go on.
#[derive(Clone)]
struct Outage {
    way: Way,
    at: (&'static str, &'static str),
    began: Arc<Mutex<bool>>,
}

impl Outage {
    fn listen(&self, controller: &Controller) {
        let outage = self.clone();
        controller.faults().listen(move |moment| {
            let mut began = outage.began.lock().unwrap();
            if *began || !(moment.contains(outage.at.0) && moment.ends_with(outage.at.1)) {
                return None;
            }
            *began = true;
            let way = outage.way.clone();
            Some(async move { way.cut().await }.boxed())
        });
    }

    fn has_begun(&self) -> bool {
        *self.began.lock().unwrap()
    }
}

/// Passes until the run is in this phase; the database is away for a minute on the way, unless it was before.
async fn until(scene: &mut Scene, outage: &Outage, was_away: &mut bool, phase: RunPhase) {
    for _ in 0..MOST_PASSES {
        let passed = scene.beta.controller.pass().await;
        if let Err(error) = &passed {
            assert!(outage.has_begun() && !*was_away, "{error}");
        }
        if outage.has_begun() && !*was_away {
            let error = match passed {
                Err(error) => error,
                Ok(_) => scene.beta.controller.pass().await.unwrap_err(),
            };
            assert!(error.retryable(), "{error}");
            scene.beta.clock.advance(SignedDuration::from_mins(1));
            outage.way.mend().await;
            *was_away = true;
            continue;
        }
        scene.beta.refresh().await;
        if is_in(&scene.beta.controller, phase) {
            return;
        }
    }
    panic!("{phase:?} did not come about: {:#?}", run(&scene.beta.controller));
}

async fn there_and_back(scene: &mut Scene, outage: &Outage) -> bool {
    outage.listen(&scene.beta.controller);
    scene.ask_for_the_run().await;
    let mut was_away = false;
    until(scene, outage, &mut was_away, RunPhase::Holding).await;
    let held = run(&scene.beta.controller).unwrap();
    assert!(held.steps.iter().all(|step| step.state == StepState::Verified), "{:#?}", held.steps);
    assert!(held.steps.windows(2).all(|pair| pair[0].in_force_at <= pair[1].in_force_at), "in order");
    scene.allow_the_lift().await;
    until(scene, outage, &mut was_away, RunPhase::Lifted).await;
    scene.beta.pass().await;
    was_away
}

async fn away_at_each(make: fn() -> TestDb) {
    let mut db = make();
    let never = Outage { way: Way::to(&mut db).await, at: ("nothing is called this", ""), began: Arc::default() };
    let mut scene = Scene::start(&db, &STEPS).await;
    assert!(!there_and_back(&mut scene, &never).await);
    let expected = scene.left_behind().await;
    scene.beta.store.close().await;
    // What waits for connections waits together.
    join_all(MOMENTS.map(async |at| {
        let mut db = make();
        let outage = Outage { way: Way::to(&mut db).await, at, began: Arc::default() };
        let mut scene = Scene::start(&db, &STEPS).await;
        assert!(there_and_back(&mut scene, &outage).await, "{}: {at:?} never came", db.name);
        let left = scene.left_behind().await;
        for (what, expected) in &expected {
            assert_eq!(left[what], *expected, "{what} on {} after a minute without it at {at:?}", db.name);
        }
        scene.beta.store.close().await;
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sqlite_file_may_be_away_for_a_minute() {
    away_at_each(sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgresql_may_be_away_for_a_minute() {
    if postgres().is_some() {
        away_at_each(|| postgres().unwrap()).await;
    }
}
