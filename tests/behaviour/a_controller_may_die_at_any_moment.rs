//! A controller that dies anywhere inside a pass, again and again, from the first invite to the last lifted hold: the next one goes on, in
//! order, and nothing is done twice or lost. `BETAGATE_SOAK=N` tries N seeds on each database instead of one.

use std::future::Future as _;
use std::task::Poll;

use betagate::api::groups::probe_path;
use betagate::controller::Controller;
use betagate::store::{audit, freezes, outbox};
use betagate_core::decide::{RunMemory, RunPhase, StepState};
use jiff::SignedDuration;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::a_program_runs_from_yaml_to_an_ordered_rollback_and_back::{busy_days, kruxt, send, syncs};
use crate::support::beta::Beta;
use crate::support::{databases, lift};

const RUN: &str = "closed-beta-1";

/// What must never be is looked for after every so many passes.
const LOOK_EVERY: u32 = 5;

/// Kills controllers: each dies after a random number of polls; the longer nothing comes about, the longer they live.
struct Deaths {
    random: StdRng,
    patience: u32,
    count: u32,
    passes: u32,
    /// Somebody's invite that nobody uses: while anything is frozen it opens nothing.
    unused: Option<(String, String)>,
}

impl Deaths {
    /// One pass, or a part of one and a new controller.
    async fn pass(&mut self, beta: &mut Beta) {
        beta.bring().await;
        let mut left = self.random.random_range(1..40) + self.patience;
        let finished = {
            let mut pass = std::pin::pin!(beta.controller.pass());
            std::future::poll_fn(|context| match pass.as_mut().poll(context) {
                Poll::Ready(done) => Poll::Ready(Some(done)),
                Poll::Pending if left == 0 => Poll::Ready(None),
                Poll::Pending => {
                    left -= 1;
                    Poll::Pending
                }
            })
            .await
        };
        match finished {
            Some(done) => {
                done.unwrap();
                self.patience = 0;
            }
            None => {
                self.count += 1;
                self.patience += 40;
                beta.restart_controller().await;
            }
        }
        // The API's own doing, whoever leads: a silent one would leave a step unverified.
        beta.refresh().await;
        self.passes += 1;
        if self.passes.is_multiple_of(LOOK_EVERY) {
            self.look(beta).await;
        }
    }

    /// What must never be, whoever has just died: invites open while frozen, a freeze that is gone before it is lifted, an always-online route down.
    async fn look(&self, beta: &Beta) {
        let frozen = !freezes::list(&beta.store, Some("kruxt")).await.unwrap().is_empty();
        let first = "1".to_owned();
        let held = told(beta, "StepInForce").await.contains(&first) && !told(beta, "StepLifted").await.contains(&first);
        assert!(frozen || !held, "the freeze is gone after {} deaths", self.count);
        if let Some((email, code)) = self.unused.as_ref().filter(|_| frozen) {
            let (status, answer) = beta.register(email, code).await;
            assert!((400..500).contains(&status), "an invite is open while frozen: {status} {answer}");
        }
        let (status, _) = beta.get("/healthz", None).await;
        assert_eq!(status, 200);
        for group in ["privacy", "compliance"] {
            // Not as a step's own probe asks, which gives up after two seconds: here the machine may be busy.
            let path = probe_path(group).unwrap();
            let (status, answer) = beta.get(path, None).await;
            assert!((200..300).contains(&status), "{group} is down: {status} {answer}");
        }
    }

    /// Passes and deaths until `done`; the clock moves `step` with each.
    async fn until(&mut self, beta: &mut Beta, step: SignedDuration, what: &str, done: impl Fn(&Controller) -> bool) {
        for _ in 0..600 {
            self.pass(beta).await;
            if done(&beta.controller) {
                return;
            }
            beta.clock.advance(step);
        }
        panic!("{what} did not come about after {} deaths", self.count);
    }
}

fn run(controller: &Controller) -> Option<&RunMemory> {
    controller.programs().get("kruxt")?.decision.as_ref()?.memory.runs.get(RUN)
}

fn is(phase: RunPhase) -> impl Fn(&Controller) -> bool {
    move |controller| run(controller).is_some_and(|run| run.phase == phase)
}

async fn told(beta: &Beta, action: &str) -> Vec<String> {
    let filter = audit::Filter { object: Some(format!("Rollback/{RUN}")), ..audit::Filter::default() };
    let mut found: Vec<_> = audit::list(&beta.store, &filter).await.unwrap();
    found.retain(|kept| kept.entry.action == action);
    found.sort_by_key(|kept| kept.seq);
    let number = |text: String| text.chars().filter(char::is_ascii_digit).take(1).collect();
    found.into_iter().map(|kept| number(kept.entry.detail.to_string())).collect()
}

/// From the first look at the documents to the last lifted hold, on a clock that stands still while steps come into force or moves.
async fn there_and_back(mut beta: Beta, seed: u64, step: SignedDuration) -> u32 {
    let mut deaths = Deaths { random: StdRng::seed_from_u64(seed), patience: 0, count: 0, passes: 0, unused: None };
    for _ in 0..200 {
        deaths.pass(&mut beta).await;
        let rendered = std::fs::read_dir(beta.data.join("mail")).map_or(0, Iterator::count);
        if rendered == 60 && deaths.patience == 0 {
            break;
        }
    }
    let invitations = beta.invitations();
    assert_eq!(invitations.len(), 60, "each invite is rendered, whenever a controller died");
    let mut users = Vec::new();
    for (email, code) in &invitations[..20] {
        let (status, answer) = beta.register(email, code).await;
        assert_eq!(status, 201, "{answer}");
        users.push(answer["userId"].as_str().unwrap().parse().unwrap());
    }
    deaths.unused = invitations.last().cloned();
    beta.at("2026-03-17T08:00:00Z");
    send(&beta, &syncs(&users, 14, 949, 1000)).await;
    deaths.until(&mut beta, step, "every step in force", is(RunPhase::Holding)).await;
    let held = run(&beta.controller).unwrap();
    assert!(held.steps.iter().all(|step| step.state == StepState::Verified), "{:#?}", held.steps);
    assert!(held.steps.windows(2).all(|pair| pair[0].in_force_at <= pair[1].in_force_at), "in order");
    assert_eq!(told(&beta, "StepInForce").await, ["1", "2", "3", "4", "5", "6", "7"], "each came into force once");
    let sent = outbox::by_prefix(&beta.store, &format!("{RUN}/")).await.unwrap();
    assert_eq!(sent.iter().filter(|message| message.intent.kind == "note").count(), 2);
    assert_eq!(beta.documents().await.len(), 1, "the cause document is written once");

    lift::complete_all(&beta).await;
    beta.at("2026-03-19T06:00:00Z");
    let mut good = syncs(&users, 16, 4000, 4000);
    good.extend(busy_days(&users, 10..=17));
    send(&beta, &good).await;
    beta.clock.advance(SignedDuration::from_mins(6));
    let calm = |controller: &Controller| run(controller).is_some_and(|run| run.stability.running_since.is_some());
    deaths.until(&mut beta, step, "the calm", calm).await;
    for _ in 0..9 {
        beta.clock.advance(SignedDuration::from_hours(6));
        deaths.pass(&mut beta).await;
    }
    lift::say(&beta.store, ("kruxt", RUN), beta.clock.now()).await;
    deaths.until(&mut beta, step, "the lift", is(RunPhase::Lifted)).await;
    let lifted = told(&beta, "StepLifted").await;
    let mut reversed = lifted.clone();
    reversed.sort_by(|one, other| other.cmp(one));
    reversed.dedup();
    assert_eq!(lifted, reversed, "in reverse order, each once");
    assert!(freezes::list(&beta.store, Some("kruxt")).await.unwrap().is_empty());
    assert!(audit::verify(&beta.store).await.unwrap().problem.is_none());
    beta.store.close().await;
    deaths.count
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_controller_may_die_at_any_moment() {
    let seeds: u64 = std::env::var("BETAGATE_SOAK").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(1);
    for seed in 0..seeds {
        // Standing still, only a successor's own doing can bring it on: nothing runs out.
        for step in [SignedDuration::ZERO, SignedDuration::from_secs(10)] {
            for db in databases() {
                let beta = Beta::start(&db, kruxt(), "2026-03-02T08:00:00Z").await;
                let deaths = there_and_back(beta, seed, step).await;
                assert!(deaths > 5, "{}: only {deaths} deaths: this proves little", db.name);
            }
        }
    }
}
