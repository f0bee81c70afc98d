//! Git, Prometheus and the mail server are away together, from before the trigger until long after the last step: the freeze comes first and at once, flags
//! are held, what cannot be measured is unknown and never zero, the note is overdue and pages; when everything is back each message arrives once.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Router;
use axum::extract::{RawForm, State};
use betagate::controller::Controller;
use betagate::store::{freezes, outbox};
use betagate_core::decide::{CheckState, GateVerdict, Outcome, RunMemory, RunPhase, StepState, Verdict, Why};
use jiff::SignedDuration;
use serde_json::json;
use tokio::task::JoinHandle;

use crate::an_invite_leaves_at_most_once::send_to;
use crate::support::beta::Beta;
use crate::support::small::{rows, small};
use crate::support::{SmtpServer, TestDb, TestRepo, databases, free_port, incident, wait_for};

const RUN: &str = "pull-back-1";
const DOCUMENT: &str = "apiVersion: betagate.dev/v1alpha1\n";

/// Answers every query as Prometheus does, with one sample of this value by query.
struct Numbers(JoinHandle<()>);

impl Numbers {
    async fn at(port: u16) -> Numbers {
        let listener = wait_for("the port of the numbers", Duration::from_secs(20), || {
            std::net::TcpListener::bind(("127.0.0.1", port)).ok()
        });
        listener.set_nonblocking(true).unwrap();
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        let known = BTreeMap::from([("sync_ratio", "0.99"), ("errors", "0")]);
        let answer = async |State(known): State<BTreeMap<&'static str, &'static str>>, RawForm(form): RawForm| {
            let form = String::from_utf8_lossy(&form).into_owned();
            let value = known.iter().find(|(query, _)| form.contains(*query)).map(|(_, value)| *value).unwrap();
            let result = json!([{ "metric": {}, "value": [1_772_445_600.1, value] }]);
            json!({ "status": "success", "data": { "resultType": "vector", "result": result } }).to_string()
        };
        let service = Router::new().fallback(answer).with_state(known);
        Numbers(tokio::spawn(async move { axum::serve(listener, service).await.unwrap() }))
    }

    async fn stop(self) {
        self.0.abort();
        let _ = self.0.await;
    }
}

/// A program that measures, writes and pulls back, in a Git repository.
fn repository(prometheus: u16) -> TestRepo {
    let repo =
        small(&rows(&["ada@example.com"]), "{ send: true, from: Beta <beta@example.com>, smtpRef: smtp }", "600/min");
    repo.replace(
        "manifests/program.yaml",
        "people: { founder: { git: [ana@example.com] } }",
        "people: { founder: { git: [ana@example.com], notify: ana@example.com }, ops: { notify: ops@example.com } }\n  \
         owners: [{ area: rollback-execution, owner: founder, backup: ops }]",
    );
    let program = repo.read("manifests/program.yaml");
    let more = format!(
        "  sources: {{ prom: {{ prometheus: {{ url: 'http://127.0.0.1:{prometheus}' }} }} }}\n  channels: {{ gyms: {{ email: [gyms@example.com] }} }}\n"
    );
    repo.write("manifests/program.yaml", &(program + &more));
    repo.write("cohorts/templates/note.txt", "Subject: Rollback {{ run }}\n\n{{ reason }}\n");
    let document = |file: &str, kind: &str, name: &str, spec: &str| {
        let head = format!("{DOCUMENT}kind: {kind}\nmetadata: {{ name: {name} }}\nspec:\n  program: small\n");
        repo.write(file, &(head + spec));
    };
    document("flags/boost.yaml", "Flag", "boost", &boost("off"));
    document(
        "manifests/health.yaml",
        "Gate",
        "health",
        "  checks:\n    - { name: sync, prometheus: sync_ratio, pass: '>= 95%', critical: true }\n    - { name: errors, prometheus: errors, pass: '== 0', critical: true }\n",
    );
    document(
        "manifests/plan.yaml",
        "RollbackPlan",
        "pull-back",
        "  when:\n    - { incident: { severity: sev-1, activeFor: 30m } }\n    - { gate: { name: health, critical: true } }\n  steps:
    - freezeInvites: { cohorts: all }\n    - disableFlags: { keys: [boost] }\n    - routeToFallback: { risk: high }
    - publishNote: { to: [gyms], template: note, within: 30m }\n    - captureRootCause: { owner: founder }
    - holdReviews: { untilStableFor: 2d, severity: sev-1 }\n",
    );
    repo.commit("the program");
    repo
}

fn boost(safe: &str) -> String {
    format!(
        "  type: boolean\n  risk: high\n  variants: {{ \"on\": true, \"off\": false }}\n  defaultVariant: \"on\"\n  safeVariant: \"{safe}\"\n  fallback: /classic\n"
    )
}

fn run(controller: &Controller) -> &RunMemory {
    &controller.programs()["small"].decision.as_ref().unwrap().memory.runs[RUN]
}

fn states(beta: &Beta) -> Vec<StepState> {
    run(&beta.controller).steps.iter().map(|step| step.state).collect()
}

fn health(beta: &Beta) -> GateVerdict {
    beta.controller.programs()["small"].decision.as_ref().unwrap().verdicts["health"].clone()
}

async fn breaks(beta: &Beta) {
    incident::tell(beta, &incident::open("small", "sync", "sev-1", beta.clock.now())).await;
}

/// A healthy program whose one tester is invited.
async fn healthy(db: &TestDb, remote: &std::path::Path, prometheus: u16, mail: &SmtpServer) -> Beta {
    let repo = repository(prometheus);
    repo.git(&["clone", "--quiet", "--bare", ".", &remote.display().to_string()]);
    let mut beta = Beta::start(db, repo, "2026-03-03T08:00:00Z").await;
    send_to(&beta, &mail.url());
    beta.follow_git(remote).await;
    for _ in 0..3 {
        beta.clock.advance(SignedDuration::from_secs(1));
        beta.pass().await;
    }
    assert_eq!(beta.controller.problems(), [], "{}", db.name);
    assert_eq!(health(&beta).verdict, Verdict::Pass, "{}: {:?}", db.name, health(&beta).checks);
    assert_eq!(mail.recipients(), ["ada@example.com"]);
    beta
}

/// The run while everything is away, until each step is in force.
async fn away(beta: &mut Beta, name: &str) {
    breaks(beta).await;
    beta.clock.advance(SignedDuration::from_mins(31));
    beta.pass().await;
    let now = beta.clock.now();
    let standing = freezes::list(&beta.store, Some("small")).await.unwrap();
    assert_eq!(standing.iter().map(|freeze| freeze.since).collect::<Vec<_>>(), [now], "{name}: frozen at once");
    for _ in 0..4 {
        beta.pass().await;
    }
    assert_eq!(states(beta)[..3], [StepState::Verified; 3], "{name}: {:#?}", run(&beta.controller).steps);
    assert_eq!(states(beta)[3..], [StepState::InForce, StepState::Waiting, StepState::Waiting]);
    assert!(run(&beta.controller).steps[..3].iter().all(|step| step.in_force_at == Some(now)), "the clock stood still");
    assert_eq!(beta.flag("boost", "ada@example.com").await["value"], false);

    // At exactly 30 minutes the note is not overdue yet.
    let pages = async |beta: &Beta| {
        let sent = outbox::list(&beta.store, "small", &[], 100).await.unwrap();
        let mut pages: Vec<String> =
            sent.into_iter().filter(|it| it.intent.kind == "page").map(|it| it.intent.effect_key).collect();
        pages.sort();
        pages
    };
    beta.clock.advance(SignedDuration::from_mins(30));
    beta.pass().await;
    assert_eq!((states(beta)[3], pages(beta).await.len()), (StepState::InForce, 0), "{name}");
    beta.clock.advance(SignedDuration::from_micros(1));
    beta.pass().await;
    assert_eq!(states(beta)[3], StepState::Overdue);
    assert_eq!(pages(beta).await, ["small/pull-back-1/4/overdue/founder"], "{name}: the owner first");
    beta.clock.advance(SignedDuration::from_mins(31));
    for _ in 0..3 {
        beta.pass().await;
    }
    let both = ["small/pull-back-1/4/overdue/founder", "small/pull-back-1/4/overdue/ops"];
    assert_eq!(pages(beta).await, both, "{name}: then the backup");
    assert_eq!(run(&beta.controller).phase, RunPhase::Holding, "{name}: {:#?}", run(&beta.controller).steps);
    assert_eq!(states(beta)[4..], [StepState::Verified; 2], "those behind the note went on");

    // Zero would pass one of the checks and fail the other; both are critical.
    let health = health(beta);
    assert_eq!(health.verdict, Verdict::Pending, "{name}: {health:?}");
    for check in &health.checks {
        assert_eq!(check.state, CheckState::Unknown, "{name}: {check:?}");
        let outcome = check.reading.as_ref().map(|reading| &reading.outcome);
        assert!(
            matches!(outcome, None | Some(Outcome::Unknown(Why::SourceError(_) | Why::Stale))),
            "{name}: nothing is read as a zero: {check:?}"
        );
    }
    assert_eq!(run(&beta.controller).episodes.len(), 1, "{name}: what is unknown is no second failure");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_outside_may_be_away_for_a_whole_run() {
    for db in databases() {
        let folder = tempfile::tempdir().unwrap();
        let (remote, moved) = (folder.path().join("remote.git"), folder.path().join("away.git"));
        let port = free_port();
        let numbers = Numbers::at(port).await;
        let mail = SmtpServer::start();
        let smtp = mail.port();
        let mut beta = healthy(&db, &remote, port, &mail).await;

        std::fs::rename(&remote, &moved).unwrap();
        numbers.stop().await;
        drop(mail);
        away(&mut beta, db.name).await;

        // Somebody pushes meanwhile: what is held stays held whatever that commit calls safe.
        let document = format!("{DOCUMENT}kind: Flag\nmetadata: {{ name: boost }}\nspec:\n  program: small\n");
        beta.repo.write("flags/boost.yaml", &(document + &boost("on")));
        let pushed = beta.repo.commit("boost is safe now");
        std::fs::rename(&moved, &remote).unwrap();
        beta.repo.git(&["push", "--quiet", &remote.display().to_string(), "main"]);
        let _numbers = Numbers::at(port).await;
        wait_for("the mail server's port", Duration::from_secs(20), || {
            std::net::TcpListener::bind(("127.0.0.1", smtp)).ok().map(drop)
        });
        let mail = SmtpServer::start_on(smtp, 0.0);
        for _ in 0..12 {
            beta.clock.advance(SignedDuration::from_mins(30));
            beta.pass().await;
        }
        assert_eq!(states(&beta), [StepState::Verified; 6], "{}: each took effect after all", db.name);
        let mut recipients = mail.recipients();
        recipients.sort();
        assert_eq!(recipients, ["ana@example.com", "gyms@example.com", "ops@example.com"], "{}: each once", db.name);
        let ids: std::collections::BTreeSet<String> =
            mail.taken().into_iter().map(|taken| taken.headers["message-id"].clone()).collect();
        assert_eq!(ids.len(), 3, "each under its own Message-ID");
        assert_eq!(beta.controller.revision().unwrap().id, pushed, "{}: the commit is taken", db.name);
        assert_eq!(beta.flag("boost", "ada@example.com").await["value"], false, "{}: and lifts nothing", db.name);
        assert_eq!(health(&beta).verdict, Verdict::Pass, "{}: measured again", db.name);
        beta.store.close().await;
    }
}
