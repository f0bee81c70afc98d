//! Invited, sent, opened, in, active: for each cohort and label, in statuses, on the board, in metrics, and as what gates ask for.

use std::collections::BTreeMap;

use betagate::store::invites;
use betagate_core::decide::{CheckState, Outcome};
use jiff::SignedDuration;
use serde_json::{Value, json};
use uuid::Uuid;

use super::a_program_runs_from_yaml_to_an_ordered_rollback_and_back::{Done, kruxt, send};
use crate::support::beta::{ADMIN, Beta};
use crate::support::{Betagate, databases};

const GATE: &str = "
kind: Gate
metadata: { name: way-in }
spec:
  program: kruxt
  measure: { every: 1m }
  checks:
    - { name: invited, fact: funnel.invited, of: pavia, pass: '== 60' }
    - { name: everywhere, fact: funnel.used, pass: '== 4' }
    - { name: read, fact: funnel.opened, of: pavia, outOf: sent, pass: '>= 30%' }
    - { name: in, fact: funnel.used, of: pavia, outOf: sent, pass: '>= 40%' }
    - { name: borgo, fact: funnel.used, of: pavia, label: borgo-forge, pass: '>= 0' }
    - { name: stay, fact: funnel.active, of: pavia, outOf: used, minSamples: 3, pass: '>= 50%' }
    - { name: nobody, fact: funnel.used, of: pavia, label: borgo-forgery, pass: '>= 0' }
    - { name: arrival, fact: invites.arrival, of: pavia, pass: '<= 5m' }
    - { name: failed, fact: invites.failed, of: pavia, pass: '== 0' }
";

/// Marks the messages of these invites as sent now.
async fn sent(beta: &Beta, ids: &[Uuid]) {
    let mut tx = beta.store.begin().await.unwrap();
    for id in ids {
        assert!(invites::mark_sent(&mut tx, *id, 1, beta.clock.now()).await.unwrap());
    }
    tx.commit().await.unwrap();
}

fn later(beta: &Beta, seconds: i64) {
    beta.clock.set(beta.clock.now().checked_add(SignedDuration::from_secs(seconds)).unwrap());
}

fn readings(beta: &Beta) -> BTreeMap<String, (CheckState, Option<f64>)> {
    let decision = beta.controller.programs()["kruxt"].decision.as_ref().unwrap();
    let checks = decision.verdicts["way-in"].checks.iter().map(|check| {
        let value = check.reading.as_ref().and_then(|reading| match reading.outcome {
            Outcome::Value { value, .. } => Some(value),
            Outcome::Unknown(_) => None,
        });
        (check.name.clone(), (check.state, value))
    });
    checks.collect()
}

/// What the desk answers, at the clock of the test.
async fn asked(beta: &Beta, request: Value) -> Value {
    let (status, answer) = beta.post("/v1/admin/desk", Some(ADMIN), &request).await;
    assert_eq!(status, 200, "{answer}");
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_the_invite_to_the_first_thing_somebody_does() {
    for db in databases() {
        let repo = kruxt();
        repo.write("manifests/kruxt/way-in.yaml", GATE);
        let mut beta = Beta::start(&db, repo, "2026-03-03T08:00:00Z").await;
        for _ in 0..3 {
            beta.pass().await;
        }
        let people = beta.invitations();
        let ids = ids(&beta, &people[..10]).await;
        sent(&beta, &ids).await;
        assert_eq!(readings(&beta)["arrival"], (CheckState::Unknown, None));
        // Three of the ten come in, after 60, 120 and 400 seconds; one to whom no message was sent does too.
        let mut users: Vec<Uuid> = Vec::new();
        for (wait, (email, code)) in [60, 60, 280, 0].into_iter().zip(people[..3].iter().chain([&people[20]])) {
            later(&beta, wait);
            let (status, answer) = beta.register(email, code).await;
            assert_eq!(status, 201, "{answer}");
            users.push(answer["userId"].as_str().unwrap().parse().unwrap());
        }
        let did = |user: Uuid, kind, day| Done { user, kind, day, ok: true };
        // One trains today, one is only spoken of by a machine.
        send(&beta, &[did(users[0], "workout_logged", 1), did(users[1], "sync_job", 1)]).await;
        later(&beta, 120);
        for _ in 0..2 {
            beta.pass().await;
        }
        let met = |value: f64| (CheckState::Met, Some(value));
        let wanted = [
            ("invited", met(60.0)),
            ("everywhere", met(4.0)),
            ("read", met(0.3)),
            ("in", (CheckState::Missed, Some(0.3))),
            ("borgo", met(borgo(&beta, &people) as f64)),
            ("stay", (CheckState::Missed, Some(0.25))),
            ("nobody", (CheckState::Unknown, None)),
            // Two mail providers were written to, so it is three people that count: the third came in after 400 seconds.
            ("arrival", (CheckState::Missed, Some(400.0))),
            ("failed", met(0.0)),
        ];
        assert_eq!(readings(&beta), wanted.map(|(name, reading)| (name.to_owned(), reading)).into());
        everywhere_else(&beta).await;
        beta.store.close().await;
    }
}

/// Statuses, the board and metrics tell the same.
async fn everywhere_else(beta: &Beta) {
    let cohort = asked(beta, json!({ "request": "get", "kind": "cohorts", "name": "pavia" })).await;
    let funnel = &cohort["status"]["funnel"];
    let steps = |one: &Value| ["invited", "sent", "opened", "used", "active"].map(|step| one[step].as_i64().unwrap());
    assert_eq!(steps(funnel), [60, 10, 4, 4, 1], "{cohort}");
    let labels = funnel["labels"].as_array().unwrap();
    let sums = labels.iter().map(steps).fold([0; 5], |sums, one| std::array::from_fn(|place| sums[place] + one[place]));
    assert_eq!((labels.len() > 2, sums), (true, steps(funnel)), "{cohort}");
    let status = asked(beta, json!({ "request": "status" })).await;
    let resources = status["resources"].as_array().unwrap();
    let pavia = resources.iter().find(|one| one["kind"] == "Cohort" && one["name"] == "pavia").unwrap();
    assert_eq!(
        (steps(&pavia["status"]["funnel"]), &pavia["status"]["funnel"]["labels"]),
        (steps(funnel), &Value::Null)
    );
    // The command line that has the record before it looks by its own clock, months later: nobody is active any more.
    let (data, url) = (beta.data.display().to_string(), &beta.url);
    let board =
        Betagate::new(["board", "--data", &data, "--database", url, "--format", "markdown"]).run().expect_code(0);
    assert!(board.stdout.contains("| pavia | 60 | 10 | 4 | 4 | 0 |"), "{}", board.stdout);
    let words = ["get", "cohort", "pavia", "--data", &data, "--database", url];
    let shown = Betagate::new(words).run().expect_code(0).stdout;
    assert!(
        shown.contains("60 invited, 10 sent, 4 opened, 4 in, 0 active") && shown.contains("borgo-forge"),
        "{shown}"
    );
    let metrics = beta.text("/metrics").await;
    for (step, count) in [("invited", 60), ("sent", 10), ("active", 1)] {
        let line = format!("betagate_funnel_people{{program=\"kruxt\",cohort=\"pavia\",step=\"{step}\"}} {count}\n");
        assert!(metrics.contains(&line), "{line} is not in\n{metrics}");
    }
    assert!(metrics.contains(
        "betagate_funnel_label_people{program=\"kruxt\",cohort=\"pavia\",label=\"borgo-forge\",step=\"invited\"}"
    ));
    // No text that leaves here names anyone.
    assert!(!metrics.contains('@') && !cohort.to_string().contains('@'), "{metrics}");
}

async fn ids(beta: &Beta, people: &[(String, String)]) -> Vec<Uuid> {
    let (status, listed) = beta.get("/v1/admin/invites?limit=100", Some(ADMIN)).await;
    assert_eq!(status, 200, "{listed}");
    let all = listed["invites"].as_array().unwrap_or_else(|| panic!("{listed}"));
    let of = |email: &String| {
        all.iter().find(|one| one["email"] == json!(email)).unwrap_or_else(|| panic!("{email} in {listed}"))
    };
    people.iter().map(|(email, _)| of(email)["id"].as_str().unwrap().parse().unwrap()).collect()
}

/// How many of those who came in carry the label borgo-forge, as the list says.
fn borgo(beta: &Beta, people: &[(String, String)]) -> usize {
    let list = beta.repo.read("cohorts/pavia.csv");
    let came = people[..3].iter().chain([&people[20]]);
    came.filter(|(email, _)| list.contains(&format!("{email},borgo-forge,"))).count()
}
