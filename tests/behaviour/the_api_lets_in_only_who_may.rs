//! Accounts, administration, privacy and pages over HTTP: who may do what, and what a refusal says and leaves.

use betagate::store::audit;
use serde_json::json;

use super::a_program_runs_from_yaml_to_an_ordered_rollback_and_back::kruxt;
use crate::support::beta::{ADMIN, Beta, HOOK_SECRET};
use crate::support::{Betagate, databases};

async fn open(db: &crate::support::TestDb) -> Beta {
    let mut beta = Beta::start(db, kruxt(), "2026-03-03T08:00:00Z").await;
    for _ in 0..3 {
        beta.pass().await;
    }
    beta
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_is_refreshed_once_and_ends_with_signing_out() {
    for db in databases() {
        let beta = open(&db).await;
        let (email, code) = beta.invitations().remove(0);
        let (status, tokens) = beta.register(&email, &code).await;
        assert_eq!(status, 201, "{tokens}");
        let access = tokens["accessToken"].as_str().unwrap();
        let (status, me) = beta.get("/me", Some(access)).await;
        assert_eq!(
            (status, me["email"].as_str(), me["memberships"][0]["cohort"].as_str()),
            (200, Some(email.as_str()), Some("pavia"))
        );
        let login = |password: &str| json!({ "email": email, "password": password });
        assert_eq!(beta.post("/auth/login", None, &login("a wrong password")).await.0, 401);
        let stranger = json!({ "email": "nobody@example.org", "password": "a wrong password" });
        assert_eq!(beta.post("/v1/auth/login", None, &stranger).await.1["type"], "urn:betagate:problem:credentials");
        let (status, signed) = beta.post("/v1/auth/login", None, &login("a long enough password")).await;
        assert_eq!(status, 200);
        let refresh = json!({ "refreshToken": signed["refreshToken"] });
        let (status, fresh) = beta.post("/v1/auth/refresh", None, &refresh).await;
        assert_eq!(status, 200);
        assert_eq!(beta.post("/v1/auth/refresh", None, &refresh).await.0, 401, "a refresh token works once");
        assert_eq!(
            beta.get("/me", Some(fresh["accessToken"].as_str().unwrap())).await.0,
            401,
            "using it twice ends the session"
        );
        assert_eq!(beta.post("/v1/auth/logout", Some(access), &json!({})).await.0, 204);
        assert_eq!(beta.get("/me", Some(access)).await.0, 401);
        beta.store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_may_not_is_refused_and_the_record_says_so() {
    for db in databases() {
        let beta = open(&db).await;
        let (email, code) = beta.invitations().remove(0);
        let tester = beta.register(&email, &code).await.1["accessToken"].as_str().unwrap().to_owned();
        assert_eq!(beta.get("/v1/admin/invites", None).await.0, 401);
        assert_eq!(beta.get("/v1/admin/invites", Some("no such token")).await.0, 401);
        assert_eq!(beta.get("/v1/admin/invites", Some(&tester)).await.0, 403);
        assert_eq!(
            beta.get("/v1/admin/invites?active_only=true&limit=5", Some(ADMIN)).await.1["invites"]
                .as_array()
                .unwrap()
                .len(),
            5
        );
        let refused = audit::list(
            &beta.store,
            &audit::Filter { object: Some("GET /v1/admin/invites".to_owned()), ..Default::default() },
        )
        .await
        .unwrap();
        assert_eq!(refused.len(), 3, "each leaves an entry");
        let other = json!({ "id": uuid::Uuid::now_v7(), "user_id": uuid::Uuid::now_v7(), "kind": "reaction", "occurred_at": "2026-03-03T08:00:00Z" });
        assert_eq!(beta.post("/v1/events", Some(&tester), &other).await.0, 403, "another person's event");
        assert_eq!(beta.post("/v1/events", Some(&tester), &json!({ "kind": "reaction" })).await.0, 202);
        let own = json!({ "kind": "reaction", "program": "kruxt" });
        assert_eq!(beta.post("/v1/events", Some(&tester), &own).await.0, 202);
        beta.store.execute("DELETE FROM cohort_members", &[]).await.unwrap();
        let (status, refused) = beta.post("/v1/events", Some(&tester), &own).await;
        assert_eq!(status, 403, "whoever is in no cohort of a program writes nothing into it: {refused}");
        assert_eq!(beta.post("/v1/events", Some(&tester), &json!({ "kind": "no_such_kind" })).await.0, 422);
        let data = beta.data.display().to_string();
        let made = [
            "admin",
            "token",
            "create",
            "backend",
            "--scope",
            "events:write",
            "--data",
            &data,
            "--database",
            &beta.url,
        ];
        let made = Betagate::new(made).run().expect_code(0);
        let token = made.stdout.trim().rsplit(' ').next().unwrap();
        assert_eq!(
            beta.post("/v1/events", Some(token), &other).await.0,
            422,
            "a service may, but this person is in no program"
        );
        assert_eq!(beta.get("/v1/admin/invites", Some(token)).await.0, 403, "and that is all it may");
        assert_eq!(beta.post("/hooks/git", None, &json!({})).await.0, 401, "not signed");
        assert_eq!(beta.post("/hooks/mail", None, &json!({})).await.0, 401, "not signed");
        assert_eq!(beta.post("/hooks/alertmanager", Some("guessed"), &json!({})).await.0, 401);
        assert_eq!(beta.post("/hooks/pagerduty", None, &json!({})).await.0, 401);
        let login = json!({ "email": email, "password": "a wrong password" });
        assert_eq!(beta.post("/v1/auth/login", None, &login).await.0, 401);
        let unsigned = ["/hooks/git", "/hooks/mail", "/hooks/alertmanager", "/hooks/pagerduty", "/v1/auth/login"];
        for route in unsigned.into_iter().chain(["/v1/events"]) {
            let object = Some(format!("POST {route}"));
            let kept = audit::list(&beta.store, &audit::Filter { object, ..Default::default() }).await.unwrap();
            assert!(!kept.is_empty() && kept.iter().all(|kept| kept.entry.action == "refused"), "{route}: {kept:?}");
            assert!(!format!("{kept:?}").contains('@'), "{kept:?}");
        }
        beta.store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_privacy_request_goes_through_the_compliance_queue() {
    for db in databases() {
        let beta = open(&db).await;
        let (email, code) = beta.invitations().remove(0);
        let tester = beta.register(&email, &code).await.1["accessToken"].as_str().unwrap().to_owned();
        let (status, request) = beta.post("/v1/privacy/requests", Some(&tester), &json!({ "kind": "export" })).await;
        assert_eq!(status, 201, "{request}");
        let path = format!("/v1/compliance/requests/{}", request["id"].as_str().unwrap());
        assert_eq!(beta.post(&path, Some(&tester), &json!({ "decision": "triage" })).await.0, 403);
        let (_, queue) = beta.get("/v1/compliance/queue?program=kruxt", Some(ADMIN)).await;
        assert_eq!(queue["queue"].as_array().unwrap().len(), 1);
        for decision in ["triage", "fulfil"] {
            let (status, told) = beta.post(&path, Some(ADMIN), &json!({ "decision": decision })).await;
            assert_eq!(status, 200, "{decision}");
            assert!(!told.to_string().contains(&email), "the copy is for nobody's eyes but the person's: {told}");
        }
        assert_eq!(beta.post(&path, Some(ADMIN), &json!({ "decision": "triage" })).await.0, 409, "it is closed");
        let own = format!("/v1/privacy/requests/{}", request["id"].as_str().unwrap());
        let (_, fetched) = beta.get(&own, Some(&tester)).await;
        assert_eq!(fetched["result"]["account"]["email"], email.as_str(), "{fetched}");
        let (_, request) = beta.post("/v1/privacy/requests", Some(&tester), &json!({ "kind": "erase" })).await;
        let path = format!("/v1/compliance/requests/{}", request["id"].as_str().unwrap());
        for decision in ["triage", "fulfil"] {
            assert_eq!(beta.post(&path, Some(ADMIN), &json!({ "decision": decision })).await.0, 200, "{decision}");
        }
        assert_eq!(beta.get("/me", Some(&tester)).await.0, 401, "the session ended");
        let login = json!({ "email": email, "password": "a long enough password" });
        assert_eq!(beta.post("/v1/auth/login", None, &login).await.0, 401, "and there is no account");
        beta.store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_in_no_program_may_ask_about_their_data_too() {
    for db in databases() {
        let beta = open(&db).await;
        let (email, code) = beta.invitations().remove(0);
        let tester = beta.register(&email, &code).await.1["accessToken"].as_str().unwrap().to_owned();
        beta.store.execute("DELETE FROM cohort_members", &[]).await.unwrap();
        let unknown = json!({ "kind": "export", "program": "no-such-program" });
        assert_eq!(beta.post("/v1/privacy/requests", Some(&tester), &unknown).await.0, 404);
        let (status, request) = beta.post("/v1/privacy/requests", Some(&tester), &json!({ "kind": "export" })).await;
        assert_eq!((status, request["program"].as_str()), (201, Some("kruxt")), "the only one: {request}");
        let (_, own) = beta.get("/v1/privacy/requests", Some(&tester)).await;
        assert_eq!(own["requests"].as_array().unwrap().len(), 1);
        let (_, queue) = beta.get("/v1/compliance/queue", Some(ADMIN)).await;
        assert_eq!(queue["queue"].as_array().unwrap().len(), 1);
        beta.store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_flag_routes_answer_as_the_protocol_says() {
    for db in databases() {
        let beta = open(&db).await;
        let (status, missing) =
            beta.post("/ofrep/v1/evaluate/flags/no_such_flag", None, &json!({ "context": {} })).await;
        assert_eq!((status, missing["errorCode"].as_str()), (404, Some("FLAG_NOT_FOUND")));
        assert!(
            missing["metadata"].is_object() && missing["errorDetails"].is_string() && missing["key"] == "no_such_flag"
        );
        let (status, wrong) = beta
            .post("/ofrep/v1/evaluate/flags/billing_live", None, &json!({ "context": { "targetingKey": 7 } }))
            .await;
        assert_eq!((status, wrong["errorCode"].as_str()), (400, Some("INVALID_CONTEXT")));
        let (status, answer) = beta.post("/ofrep/v1/evaluate/flags/billing_live", None, &json!({})).await;
        assert_eq!(
            (status, answer["value"].as_bool(), answer["variant"].as_str()),
            (200, Some(false), Some("off")),
            "an invariant, without a context"
        );
        let (status, bulk) =
            beta.post("/ofrep/v1/evaluate/flags", None, &json!({ "context": { "targetingKey": "u" } })).await;
        assert_eq!(status, 200);
        assert!(bulk["flags"].as_array().unwrap().len() >= 5 && bulk["metadata"]["version"].is_string());
        let (status, description) = beta.get("/openapi.json", None).await;
        assert_eq!(status, 200);
        assert!(description["paths"]["/v1/auth/register"].is_object());
        assert_eq!(beta.get("/readyz", None).await.0, 200);
        beta.store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_registrations_at_once_with_one_code_let_one_in() {
    for db in databases() {
        let beta = open(&db).await;
        for (email, code) in beta.invitations().into_iter().take(5) {
            let (one, other) = tokio::join!(beta.register(&email, &code), beta.register(&email, &code));
            let (refused, status) = if one.0 == 201 { (other, one.0) } else { (one, other.0) };
            assert_eq!(status, 201, "{}", db.name);
            assert_eq!(refused.1["type"], "urn:betagate:problem:invite-used", "{}", refused.1);
        }
        beta.store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whether_an_invite_is_needed_is_read_where_the_account_is_made() {
    for db in databases() {
        let mut beta = open(&db).await;
        let stranger =
            |name: &str| json!({ "email": format!("{name}@example.org"), "password": "a long enough password" });
        let refused = beta.post("/v1/auth/register", None, &stranger("early")).await;
        assert_eq!((refused.0, refused.1["status"].as_str()), (202, Some("accepted")), "{}", refused.1);
        assert_eq!(beta.post("/v1/auth/login", None, &stranger("early")).await.0, 401, "nobody was let in");
        // Published, and not yet served by any process: what counts is the database.
        let mut snapshot = betagate::store::flags::newest(&beta.store).await.unwrap().unwrap();
        snapshot.body["flags"]["system.invites_required"] =
            json!({ "state": "ENABLED", "variants": { "on": true, "off": false }, "defaultVariant": "off" });
        let mut tx = beta.store.begin().await.unwrap();
        let (body, holds, now) = (&snapshot.body, &snapshot.holds, beta.clock.now());
        betagate::store::flags::publish(&mut tx, body.clone(), holds, "open", "r", now).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(beta.post("/v1/auth/register", None, &stranger("late")).await.0, 201, "{}", db.name);
        // A definition that can't be evaluated lets nobody in.
        snapshot.body["flags"]["system.invites_required"]["targeting"] = json!({ "nonsense": [] });
        let mut tx = beta.store.begin().await.unwrap();
        betagate::store::flags::publish(&mut tx, snapshot.body.clone(), holds, "broken", "r", now).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(beta.post("/v1/auth/register", None, &stranger("later")).await.0, 202, "{}", db.name);
        assert_eq!(beta.post("/v1/auth/login", None, &stranger("later")).await.0, 401, "nobody was let in");
        beta.pass().await;
        beta.store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signed_push_has_the_source_looked_at() {
    use hmac::{Hmac, KeyInit as _, Mac as _};
    for db in databases() {
        let mut beta = open(&db).await;
        let body = r#"{"ref":"refs/heads/main"}"#;
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(HOOK_SECRET.as_bytes()).unwrap();
        mac.update(body.as_bytes());
        let signature = format!("sha256={}", data_encoding::HEXLOWER.encode(&mac.finalize().into_bytes()));
        assert_eq!(beta.push(body, &signature.replace('a', "b")).await, 401);
        assert_eq!(beta.push("another body", &signature).await, 401);
        let waiting = || betagate::store::intents::waiting(&beta.store, 10);
        assert!(waiting().await.unwrap().is_empty());
        assert_eq!(beta.push(body, &signature).await, 202);
        assert_eq!(waiting().await.unwrap()[0].kind, "source.trigger");
        beta.pass().await;
        assert!(betagate::store::intents::waiting(&beta.store, 10).await.unwrap().is_empty(), "{}", db.name);
        beta.store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_refusal_is_a_problem_document() {
    let db = databases().remove(0);
    let beta = open(&db).await;
    for (method, path, body, status, code) in [
        ("GET", "/nothing/here", "", 404, "not-found"),
        ("DELETE", "/me", "", 405, "method-not-allowed"),
        ("POST", "/v1/auth/login", "{bad", 400, "bad-request"),
        ("POST", "/v1/auth/login", "{}", 422, "bad-request"),
        ("POST", "/v1/admin/desk", "{}", 401, "unauthorized"),
        ("POST", "/v1/auth/register", "{\"email\":\"a\"}", 422, "bad-request"),
    ] {
        let (answered, kind, problem) = beta.raw(method, path, body).await;
        assert_eq!((answered, kind.as_str()), (status, "application/problem+json"), "{method} {path}: {problem}");
        assert_eq!(problem["type"], format!("urn:betagate:problem:{code}"), "{method} {path}: {problem}");
        assert_eq!(problem["status"], status);
    }
    let (status, kind, _) = beta.raw("POST", "/v1/auth/register", &" ".repeat(2 << 20)).await;
    assert_eq!((status, kind.as_str()), (413, "application/problem+json"));
    beta.store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_pauses_the_intake_of_events_and_lets_it_go_on() {
    for db in databases() {
        let mut beta = open(&db).await;
        let (email, code) = beta.invitations().remove(0);
        let tester = beta.register(&email, &code).await.1["accessToken"].as_str().unwrap().to_owned();
        let event = json!({ "kind": "reaction" });
        let (pause, resume) = ("/v1/admin/ops/ingestion/pause", "/v1/admin/ops/ingestion/resume");
        assert_eq!(beta.post(pause, Some(&tester), &json!({ "reason": "x" })).await.0, 403);
        assert_eq!(beta.post(pause, Some(ADMIN), &json!({ "reason": " " })).await.0, 400);
        assert_eq!(beta.post(resume, Some(ADMIN), &json!({})).await.0, 409, "nobody paused it");
        let (status, held) = beta.post(pause, Some(ADMIN), &json!({ "reason": "a wrong client floods us" })).await;
        assert_eq!((status, held["pauses"].as_array().unwrap().len()), (200, 1), "{held}");
        let (status, later) = beta.post("/v1/events", Some(&tester), &event).await;
        assert_eq!((status, later["type"].as_str()), (503, Some("urn:betagate:problem:ingestion-paused")));
        // What a person holds, no pass of the controller lifts.
        beta.pass().await;
        assert_eq!(beta.post("/v1/events", Some(&tester), &event).await.0, 503);
        let (status, held) = beta.post(resume, Some(ADMIN), &json!({})).await;
        assert_eq!((status, held["pauses"].as_array().unwrap().len()), (200, 0), "{held}");
        assert_eq!(beta.post("/v1/events", Some(&tester), &event).await.0, 202);
        let object = Some("Program/kruxt".to_owned());
        let log = audit::list(&beta.store, &audit::Filter { object, ..Default::default() }).await.unwrap();
        let told: Vec<&str> =
            log.iter().map(|kept| kept.entry.action.as_str()).filter(|what| what.starts_with("ingestion.")).collect();
        assert_eq!(told, ["ingestion.resumed", "ingestion.paused"]);
        beta.store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_asked_over_http_names_who_asked() {
    for db in databases() {
        let beta = open(&db).await;
        let stop = json!({ "request": "stopLine", "everywhere": false, "reason": "a fire drill", "by": "" });
        let (status, stopped) = beta.post("/v1/admin/desk", Some(ADMIN), &stop).await;
        assert_eq!(status, 200, "{stopped}");
        let row = beta.store.one("SELECT by_person FROM stops", &[]).await.unwrap();
        assert_eq!(row.get::<String>("by_person").unwrap(), "administration token");
        beta.store.close().await;
    }
}
