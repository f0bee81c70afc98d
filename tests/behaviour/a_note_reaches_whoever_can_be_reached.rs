//! A note goes to every recipient of its channel: a mailbox that is gone keeps it from nobody else, and is told in the end.

use betagate::store::outbox;
use jiff::SignedDuration;

use super::an_invite_leaves_at_most_once::{QUICK, SEND, pass_for, send_to};
use crate::support::beta::{ADMIN, Beta};
use crate::support::small::{rows, small};
use crate::support::{SmtpServer, databases};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_address_does_not_silence_the_rest_of_an_incident_note() {
    for db in databases() {
        let server = SmtpServer::start();
        let repo = small(&rows(&["ada@example.com"]), SEND, QUICK);
        let crew = "refused-left@example.org, ops@example.com, desk@example.net";
        repo.replace(
            "manifests/program.yaml",
            "  startsOn: 2026-03-02\n",
            &format!("  startsOn: 2026-03-02\n  channels: {{ crew: {{ email: [{crew}] }} }}\n"),
        );
        repo.write(
            "manifests/plan.yaml",
            "kind: RollbackPlan\nmetadata: { name: back }\nspec:\n  program: small\n  when:\n    - incident: { severity: sev-1, activeFor: 30m }\n  \
             steps:\n    - publishNote: { to: [crew], template: note }\n",
        );
        repo.write("cohorts/templates/note.txt", "Subject: Rollback {{ run }}\n\n{{ reason }}\n");
        let mut beta = Beta::start(&db, repo, "2026-03-02T08:00:00Z").await;
        send_to(&beta, &server.url());
        beta.pass().await;
        assert!(beta.controller.problems().is_empty(), "{:?}", beta.controller.problems());
        let incident = serde_json::json!({ "name": "sync-down", "severity": "sev-1", "title": "Sync is down", "startedAt": "2026-03-02T07:00:00Z" });
        let (status, opened) = beta.post("/v1/admin/incidents", Some(ADMIN), &incident).await;
        assert!(status < 300, "{opened}");
        pass_for(&mut beta, 6, SignedDuration::from_secs(20)).await;
        let mut reached = server.recipients();
        reached.retain(|to| !to.starts_with("ada"));
        assert_eq!(reached, ["ops@example.com", "desk@example.net"], "each once");
        let notes = outbox::by_prefix(&beta.store, "").await.unwrap();
        let failed = notes.iter().find_map(|note| note.last_error.clone()).expect("the failure is told");
        assert!(failed.contains("2 of 3 have it") && failed.contains("mail 1: "), "{failed}");
        assert!(!failed.contains("left@"), "{failed}");
        beta.store.close().await;
    }
}
