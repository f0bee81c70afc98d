//! `POST /hooks/alertmanager` and `/hooks/pagerduty`: who may, what is taken in, what is deduplicated, and what follows.

use betagate::core::decide::RunPhase;
use betagate::store::{audit, incidents};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::support::beta::{ADMIN, ALERTMANAGER_SECRET, Beta, PAGERDUTY_SECRET};
use crate::support::small::{rows, small};
use crate::support::{TestRepo, databases, free_port};

fn repo() -> TestRepo {
    let repo = small(&rows(&["ada@example.com"]), "{ send: false }", "30/min");
    repo.write(
        "manifests/plan.yaml",
        "kind: RollbackPlan\nmetadata: { name: back }\nspec:\n  program: small\n  when:\n    - incident: { severity: sev-1, activeFor: 30m }\n  \
         steps:\n    - freezeInvites: { cohorts: all }\n",
    );
    repo
}

/// A notification after Alertmanager's documentation (webhook, version 4).
fn notification(status: &str, starts: &str, ends: &str, severity: &str) -> Value {
    json!({ "version": "4", "groupKey": "{}:{alertname=\"SyncDown\"}", "truncatedAlerts": 0, "status": status, "receiver": "betagate",
        "groupLabels": { "alertname": "SyncDown" }, "commonLabels": {}, "commonAnnotations": {}, "externalURL": "http://alerts.example.com",
        "alerts": [{ "status": status, "labels": { "alertname": "SyncDown", "severity": severity, "category": "security" },
            "annotations": { "summary": "Sync is\ndown" }, "startsAt": starts, "endsAt": ends,
            "generatorURL": "http://prometheus.example.com/graph", "fingerprint": "7b2e4c9f11a0d3e8" }] })
}

const OPEN: &str = "0001-01-01T00:00:00Z";

async fn tell(beta: &Beta, body: &Value) -> (u16, Value) {
    beta.post("/hooks/alertmanager", Some(ALERTMANAGER_SECRET), body).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alert_opens_one_incident_pulls_back_after_thirty_minutes_and_closes_it() {
    for db in databases() {
        let mut beta = Beta::start(&db, repo(), "2026-03-10T09:00:00Z").await;
        beta.pass().await;
        let fires = notification("firing", "2026-03-10T09:00:00.5Z", OPEN, "critical");
        for token in [None, Some("guessed"), Some("")] {
            assert_eq!(beta.post("/hooks/alertmanager", token, &fires).await.0, 401);
        }
        beta.at("2026-03-10T09:01:00Z");
        assert_eq!(tell(&beta, &fires).await, (200, json!({ "opened": 1 })));
        // It is repeated every few minutes.
        assert_eq!(tell(&beta, &fires).await, (200, json!({ "known": 1 })));
        beta.pass().await;
        let open = incidents::list_open(&beta.store, "small").await.unwrap();
        assert_eq!(open.len(), 1);
        assert_eq!((open[0].severity.as_str(), open[0].category.as_str()), ("sev-1", "security"));
        assert_eq!((open[0].title.as_str(), open[0].source.as_str()), ("Sync is down", "alertmanager"));
        beta.at("2026-03-10T09:30:00.5Z");
        beta.pass().await;
        assert!(
            beta.controller.programs()["small"].decision.as_ref().unwrap().memory.runs.is_empty(),
            "at 30 minutes, not yet"
        );
        beta.at("2026-03-10T09:30:01Z");
        beta.until("the rollback", |controller| {
            let decision = controller.programs()["small"].decision.as_ref().unwrap();
            decision.memory.runs.values().any(|run| run.phase == RunPhase::Holding)
        })
        .await;
        let over = notification("resolved", "2026-03-10T09:00:00.5Z", "2026-03-10T09:40:00Z", "critical");
        beta.at("2026-03-10T09:41:00Z");
        assert_eq!(tell(&beta, &over).await, (200, json!({ "closed": 1 })));
        assert_eq!(tell(&beta, &over).await, (200, json!({ "known": 1 })));
        assert_eq!(tell(&beta, &fires).await, (200, json!({ "late": 1 })), "a repetition that was held up on its way");
        assert!(incidents::list_open(&beta.store, "small").await.unwrap().is_empty());
        // Again within ten minutes it is the same one.
        beta.at("2026-03-10T09:46:00Z");
        let again = notification("firing", "2026-03-10T09:45:00Z", OPEN, "critical");
        assert_eq!(tell(&beta, &again).await, (200, json!({ "reopened": 1 })));
        assert_eq!(incidents::list(&beta.store, "small", None).await.unwrap().len(), 1);
        let log = audit::list(&beta.store, &audit::Filter::default()).await.unwrap();
        let told: Vec<_> = log.iter().filter(|kept| kept.entry.actor == "hooks/alertmanager").collect();
        assert_eq!(told.len(), 3, "opened, closed, reopened");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alert_that_is_not_understood_is_refused_by_itself_and_what_is_to_be_ignored_opens_nothing() {
    for db in databases() {
        let repo = repo();
        repo.replace(
            "manifests/program.yaml",
            "  startsOn: 2026-03-02\n",
            "  startsOn: 2026-03-02\n  webhooks: { severities: { ticket: ignore, big: sev-2 } }\n",
        );
        let mut beta = Beta::start(&db, repo, "2026-03-10T09:00:00Z").await;
        beta.pass().await;
        let with = |severity: &str| notification("firing", "2026-03-10T08:59:00Z", OPEN, severity);
        for ignored in ["none", "ticket"] {
            assert_eq!(tell(&beta, &with(ignored)).await, (200, json!({ "ignored": 1 })));
        }
        let mut two = with("big");
        let mut broken = two["alerts"][0].clone();
        broken["fingerprint"] = json!("../x");
        two["alerts"].as_array_mut().unwrap().splice(0..0, [json!({}), broken]);
        for broken in [json!({}), json!([]), json!("x")] {
            assert_eq!(tell(&beta, &broken).await.0, 400, "{broken}");
        }
        assert!(incidents::list(&beta.store, "small", None).await.unwrap().is_empty());
        assert_eq!(tell(&beta, &two).await, (200, json!({ "opened": 1, "refused": 2 })), "the good one counts");
        let object = Some("POST /hooks/alertmanager".to_owned());
        let log = audit::list(&beta.store, &audit::Filter { object, ..Default::default() }).await.unwrap();
        let places = |kept: &audit::Kept| {
            kept.entry.detail["first"]
                .as_array()
                .unwrap()
                .iter()
                .map(|one| one["alert"].as_u64().unwrap())
                .collect::<Vec<_>>()
        };
        assert_eq!((log.len(), places(&log[0])), (1, vec![1, 2]), "and the record says which were not understood");
        // What was opened before the word was to be ignored is over when it is over.
        let over = notification("resolved", "2026-03-10T08:59:00Z", "2026-03-10T08:59:30Z", "ticket");
        assert_eq!(tell(&beta, &over).await, (200, json!({ "closed": 1 })));
        let again = notification("firing", "2026-03-10T08:59:45Z", OPEN, "big");
        assert_eq!(tell(&beta, &again).await, (200, json!({ "reopened": 1 })));
        assert_eq!(incidents::list_open(&beta.store, "small").await.unwrap()[0].severity, "sev-2");
        let elsewhere = beta.post("/hooks/alertmanager?program=other", Some(ALERTMANAGER_SECRET), &with("big")).await;
        assert_eq!(elsewhere.0, 400);
        // Alertmanager can also come with a user's password.
        let basic = beta.request("POST", "/hooks/alertmanager").basic_auth("am", Some(ALERTMANAGER_SECRET));
        assert_eq!(basic.json(&with("big")).send().await.unwrap().status(), 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_is_gone_stands_in_no_alerts_way() {
    for db in databases() {
        let repo = repo();
        let other = "apiVersion: betagate.dev/v1alpha1\nkind: Program\nmetadata: { name: other }\nspec: { timeZone: Europe/Rome }\n---\n\
             apiVersion: betagate.dev/v1alpha1\nkind: Gate\nmetadata: { name: its-gate }\nspec:\n  program: other\n  \
             checks:\n    - { name: said, signoff: { from: [founder] } }\n";
        repo.write("manifests/other.yaml", &other.replace("Europe/Rome }", "Europe/Rome, people: { founder: {} } }"));
        let mut beta = Beta::start(&db, repo, "2026-03-10T09:00:00Z").await;
        beta.pass().await;
        assert!(beta.controller.problems().is_empty(), "{:?}", beta.controller.problems());
        let fires = notification("firing", "2026-03-10T09:00:00Z", OPEN, "critical");
        assert_eq!(tell(&beta, &fires).await, (200, json!({ "refused": 1 })), "of which program?");
        let gates = |body: Value| body.to_string().contains("its-gate");
        assert!(gates(beta.get("/v1/admin/status", Some(ADMIN)).await.1));
        beta.repo.remove("manifests/other.yaml");
        // By another process, which remembers nothing of what the first one wrote.
        beta.restart_controller().await;
        beta.pass().await;
        assert!(!gates(beta.get("/v1/admin/status", Some(ADMIN)).await.1), "its statuses are gone with it");
        assert_eq!(tell(&beta, &fires).await, (200, json!({ "opened": 1 })));
    }
}

/// Killed with the test.
struct Alertmanager(std::process::Child);

impl Drop for Alertmanager {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A real Alertmanager, where one is at hand (`tests/run` takes it out of its Debian package).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_alertmanager_opens_and_closes_an_incident() {
    let Ok(program) = std::env::var("BETAGATE_TEST_ALERTMANAGER") else { return };
    for db in databases() {
        let now = || jiff::Timestamp::now().to_string();
        let mut beta = Beta::start(&db, repo(), &now()).await;
        beta.pass().await;
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("alertmanager.yml");
        let text = format!(
            "route: {{ receiver: betagate, group_wait: 0s, group_interval: 1s, repeat_interval: 1h }}\nreceivers:\n  - name: betagate\n    webhook_configs:\n      \
             - url: http://{}/hooks/alertmanager?program=small\n        send_resolved: true\n        http_config: {{ authorization: {{ credentials: {ALERTMANAGER_SECRET} }} }}\n",
            beta.address()
        );
        std::fs::write(&config, text).unwrap();
        let port = free_port();
        let mut command = std::process::Command::new(&program);
        command.arg(format!("--config.file={}", config.display()));
        command.arg(format!("--storage.path={}", folder.path().display()));
        command.args([format!("--web.listen-address=127.0.0.1:{port}"), "--cluster.listen-address=".to_owned()]);
        let quiet = || std::fs::File::create(folder.path().join("log")).unwrap();
        let _running = Alertmanager(command.stdout(quiet()).stderr(quiet()).spawn().unwrap());
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let alerts = format!("http://127.0.0.1:{port}/api/v2/alerts");
        let alert = |ends: Option<String>| json!([{ "labels": { "alertname": "SyncDown", "severity": "critical" }, "annotations": { "summary": "Sync is down" }, "endsAt": ends }]);
        let tell = async |ends: Option<String>| {
            for _ in 0..300 {
                if http.post(&alerts).json(&alert(ends.clone())).send().await.is_ok_and(|answer| answer.status() == 200)
                {
                    return;
                }
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
            panic!("Alertmanager takes no alert");
        };
        let until = async |open: usize| {
            for _ in 0..300 {
                beta.at(&now());
                if incidents::list(&beta.store, "small", None).await.unwrap().len() == 1
                    && incidents::list_open(&beta.store, "small").await.unwrap().len() == open
                {
                    return;
                }
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
            panic!("{} open incidents did not come about", open);
        };
        tell(None).await;
        until(1).await;
        let open = incidents::list_open(&beta.store, "small").await.unwrap();
        assert_eq!((open[0].severity.as_str(), open[0].title.as_str()), ("sev-1", "Sync is down"));
        tell(Some(now())).await;
        until(0).await;
    }
}

/// An event after PagerDuty's documentation (webhooks, version 3).
fn event(kind: &str, at: &str, status: &str, priority: Option<&str>) -> String {
    let priority = priority.map(|name| json!({ "id": "PSO75BM", "type": "priority_reference", "summary": name }));
    json!({ "event": { "id": "01CH754SM17TWPE2V2H4VPBRO7", "event_type": kind, "resource_type": "incident", "occurred_at": at, "agent": null,
        "client": null, "data": { "id": "PGR0VU2", "type": "incident", "self": "https://api.example.com/incidents/PGR0VU2", "number": 2,
            "status": status, "incident_key": "d3640fbd41094207a1c11e58e46b1662", "created_at": "2026-03-10T09:00:00Z",
            "title": "A little bump in the road", "service": { "id": "PF9KMXH", "type": "service_reference" }, "urgency": "high",
            "priority": priority, "resolve_reason": null } } })
    .to_string()
}

async fn page(beta: &Beta, body: &str, signature: &str) -> (u16, Value) {
    let request = beta.request("POST", "/hooks/pagerduty").header("x-pagerduty-signature", signature);
    let answer = request.body(body.to_owned()).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap_or_default())
}

fn signed(body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(PAGERDUTY_SECRET.as_bytes()).unwrap();
    mac.update(body.as_bytes());
    format!("v1={}", data_encoding::HEXLOWER.encode(&mac.finalize().into_bytes()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pagerduty_is_believed_by_its_signature_and_its_events_may_come_in_any_order() {
    for db in databases() {
        let mut beta = Beta::start(&db, repo(), "2026-03-10T10:00:00Z").await;
        beta.pass().await;
        let triggered = event("incident.triggered", "2026-03-10T09:00:00Z", "triggered", None);
        for wrong in ["", "v1=", "v1=00", "v2=00", &signed("something else")] {
            assert_eq!(page(&beta, &triggered, wrong).await.0, 401, "{wrong}");
        }
        let said = async |body: String| page(&beta, &body, &format!("v1=00, {}", signed(&body))).await;
        let ping = json!({ "event": { "id": "x", "event_type": "pagey.ping", "resource_type": "pagey", "occurred_at": "2026-03-10T09:00:00Z",
            "data": { "message": "Hello", "type": "ping" } } });
        assert_eq!(said(ping.to_string()).await, (200, json!({ "ignored": 1 })));
        let taken = event("incident.acknowledged", "2026-03-10T09:05:00Z", "acknowledged", Some("P1"));
        assert_eq!(said(taken).await, (200, json!({ "opened": 1 })));
        assert_eq!(said(triggered).await, (200, json!({ "late": 1 })));
        let open = incidents::list_open(&beta.store, "small").await.unwrap();
        assert_eq!((open.len(), open[0].severity.as_str()), (1, "sev-1"));
        assert_eq!(open[0].acknowledged_at.unwrap().to_string(), "2026-03-10T09:05:00Z");
        let over = event("incident.resolved", "2026-03-10T09:20:00Z", "resolved", Some("P1"));
        assert_eq!(said(over.clone()).await, (200, json!({ "closed": 1 })));
        assert_eq!(said(over).await, (200, json!({ "known": 1 })));
        assert_eq!(
            incidents::list(&beta.store, "small", None).await.unwrap()[0].resolved_at.unwrap().to_string(),
            "2026-03-10T09:20:00Z"
        );
        let again = event("incident.reopened", "2026-03-10T09:40:00Z", "triggered", Some("P2"));
        assert_eq!(said(again).await, (200, json!({ "opened": 1 })), "after twenty minutes it is another one");
        let all = incidents::list(&beta.store, "small", None).await.unwrap();
        assert_eq!((all.len(), all[1].severity.as_str()), (2, "sev-2"));
        assert_eq!(all[1].started_at.to_string(), "2026-03-10T09:40:00Z");
    }
}
