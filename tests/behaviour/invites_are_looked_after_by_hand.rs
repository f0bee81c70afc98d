//! Invites by hand, over the API and the command line: sent again, taken back one by one and by the cohort, found by filter and page, and a
//! write that is repeated is carried out once.

use betagate::store::audit;
use serde_json::{Value, json};

use super::a_program_runs_from_yaml_to_an_ordered_rollback_and_back::kruxt;
use crate::support::beta::{ADMIN, Beta};
use crate::support::{Betagate, Outcome, TestDb, databases};

async fn open(db: &TestDb) -> Beta {
    let mut beta = Beta::start(db, kruxt(), "2026-03-03T08:00:00Z").await;
    for _ in 0..3 {
        beta.pass().await;
    }
    beta
}

/// Says a command with the record before it.
fn say(beta: &Beta, words: &[&str]) -> Outcome {
    let data = beta.data.display().to_string();
    let place = ["--data", &data, "--database", &beta.url];
    Betagate::new(words.iter().chain(&place).copied()).run()
}

async fn invites(beta: &Beta, filter: &str) -> Vec<Value> {
    let (status, found) = beta.get(&format!("/v1/admin/invites?{filter}"), Some(ADMIN)).await;
    assert_eq!(status, 200, "{found}");
    found["invites"].as_array().unwrap().clone()
}

async fn actions(beta: &Beta, object: &str) -> Vec<String> {
    let filter = audit::Filter { object: Some(object.to_owned()), ..Default::default() };
    audit::list(&beta.store, &filter).await.unwrap().into_iter().map(|kept| kept.entry.action).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_invited_already_is_not_shown_anew_and_a_shown_code_is_in_the_log() {
    for db in databases() {
        let beta = open(&db).await;
        let add = ["invite", "add", "zoe@example.com", "--cohort", "pavia", "--by", "founder"];
        say(&beta, &add).expect_code(0);
        let again = say(&beta, &add).expect_code(1);
        assert!(again.stderr.contains("already"), "{}", again.stderr);
        let found = invites(&beta, "email=zoe@example.com").await.remove(0);
        let object = format!("invite/{}", found["id"].as_str().unwrap());
        assert_eq!(actions(&beta, &object).await, ["invite.code-shown", "invite.created"]);
        assert_eq!(found["invitedBy"], "founder");
        beta.store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn administrations_other_writes_are_carried_out_once_too() {
    for db in databases() {
        let beta = open(&db).await;
        let roster = json!({ "program": "kruxt", "staff": [{ "gym_id": "g", "user_id": uuid::Uuid::now_v7() }] });
        for repeated in [false, true] {
            let (status, _, replayed) = beta.post_keyed("/v1/admin/staff", "roster", &roster).await;
            assert_eq!((status, replayed), (204, repeated), "{}", db.name);
        }
        assert_eq!(actions(&beta, "Program/kruxt").await.iter().filter(|what| *what == "staff.put").count(), 1);
        // A mail provider's own key is nothing that an administrator's token is asked for.
        let body = json!([]).to_string();
        let asked = beta.request("POST", "/hooks/mail").header("idempotency-key", "provider-1");
        let asked = asked.bearer_auth(crate::support::beta::MAIL_HOOK_SECRET).body(body);
        assert_eq!(asked.send().await.unwrap().status(), 200);
        beta.store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_invites_at_once_wait_for_each_other_and_for_no_second_connection() {
    for db in databases() {
        let beta = open(&db).await;
        let people: Vec<Value> = (0..30)
            .map(|n| json!({ "email": format!("many-{n}@example.com"), "program": "kruxt", "cohort": "pavia" }))
            .collect();
        let asked = people.iter().map(|person| beta.post("/v1/admin/invites", Some(ADMIN), person));
        for (status, made) in futures_util::future::join_all(asked).await {
            assert_eq!(status, 201, "{} {made}", db.name);
        }
        beta.store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resent_invite_has_a_new_code_and_the_older_one_stops_working() {
    for db in databases() {
        let mut beta = open(&db).await;
        let (email, old) = beta.invitations().remove(0);
        let found = invites(&beta, &format!("email={}", email.to_uppercase())).await;
        let id = found[0]["id"].as_str().unwrap().to_owned();
        assert_eq!((found.len(), &found[0]["generation"]), (1, &json!(1)));
        beta.at("2026-03-10T08:00:00Z");
        beta.repo.replace("cohorts/pavia.yaml", "expireAfter: 14d", "expireAfter: 9d");
        beta.pass().await;
        let (status, resent) = beta.post(&format!("/v1/admin/invites/{id}/resend"), Some(ADMIN), &json!({})).await;
        assert_eq!((status, &resent["generation"], &resent["state"]), (200, &json!(2), &json!("pending")), "{resent}");
        assert_eq!(resent["expiresAt"], "2026-03-19T08:00:00Z", "as long as its cohort's invites are good");
        assert_eq!(beta.register(&email, &old).await.1["type"], "urn:betagate:problem:invite-invalid");
        beta.pass().await;
        let fresh = beta.invitations().into_iter().find(|(to, code)| *to == email && *code != old).unwrap().1;
        assert_eq!(beta.register(&email, &fresh).await.0, 201, "{}", db.name);
        assert_eq!(actions(&beta, &format!("invite/{id}")).await[..2], ["invite.used", "invite.resent"]);
        let (status, settled) = beta.post(&format!("/v1/admin/invites/{id}/resend"), Some(ADMIN), &json!({})).await;
        assert_eq!((status, settled["type"].as_str()), (409, Some("urn:betagate:problem:refused")));
        let nobody = format!("/v1/admin/invites/{}/resend", uuid::Uuid::now_v7());
        assert_eq!(beta.post(&nobody, Some(ADMIN), &json!({})).await.0, 404);
        let other = beta.invitations().into_iter().map(|(to, _)| to).find(|to| *to != email).unwrap();
        let said = say(&beta, &["invite", "resend", &other, "--by", "founder"]).expect_code(0);
        assert!(said.stdout.contains("good until"), "{said:?}");
        say(&beta, &["invite", "resend", "nobody@example.org", "--by", "founder"]).expect_code(1);
        say(&beta, &["invite", "resend", &other, "--by", "no-one-known"]).expect_code(1);
        beta.store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cohorts_unused_invites_are_taken_back_together_and_whoever_is_in_stays_in() {
    for db in databases() {
        let beta = open(&db).await;
        let mut invitations = beta.invitations();
        let (email, code) = invitations.remove(0);
        let member = beta.register(&email, &code).await.1["accessToken"].as_str().unwrap().to_owned();
        let all = invites(&beta, "cohort=pavia&limit=1000").await.len();
        let (status, wrong) =
            beta.post("/v1/admin/invites/revoke", Some(ADMIN), &json!({ "cohort": "pavja", "reason": "r" })).await;
        assert_eq!(status, 404, "{wrong}");
        let both = json!({ "cohort": "pavia", "email": "a@example.com", "reason": "r" });
        assert_eq!(beta.post("/v1/admin/invites/revoke", Some(ADMIN), &both).await.0, 400);
        let word = json!({ "cohort": "pavia", "reason": "the pilot is over" });
        let (status, revoked) = beta.post("/v1/admin/invites/revoke", Some(ADMIN), &word).await;
        assert_eq!((status, &revoked["revoked"]), (200, &json!(all - 1)));
        assert_eq!(actions(&beta, "cohort/pavia").await[0], "invites.revoked");
        let (other, code) = invitations.remove(0);
        assert_eq!(beta.register(&other, &code).await.1["type"], "urn:betagate:problem:invite-revoked");
        assert_eq!(beta.get("/me", Some(&member)).await.1["memberships"][0]["cohort"], "pavia");
        let said =
            say(&beta, &["invite", "revoke", "--cohort", "pavia", "--all", "--reason", "again", "--by", "founder"]);
        assert!(said.expect_code(0).stdout.starts_with("0 invite(s)"));
        say(&beta, &["invite", "revoke", "--cohort", "pavia", "--reason", "not all", "--by", "founder"])
            .expect_code(64);
        // By address, membership and sessions end too.
        let out = json!({ "email": email, "reason": "removed from cohort" });
        assert_eq!(beta.post("/v1/admin/invites/revoke", Some(ADMIN), &out).await.1["revoked"], 1);
        assert_eq!(beta.get("/me", Some(&member)).await.0, 401, "{}", db.name);
        beta.store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invites_are_found_by_state_address_and_label_page_by_page() {
    for db in databases() {
        let beta = open(&db).await;
        let (email, code) = beta.invitations().remove(0);
        beta.register(&email, &code).await;
        let used = invites(&beta, "state=used").await;
        assert_eq!((used.len(), used[0]["email"].as_str()), (1, Some(email.as_str())));
        let label = used[0]["label"].as_str().unwrap().to_owned();
        let labelled = invites(&beta, &format!("label={label}&limit=1000")).await;
        assert!(labelled.iter().all(|invite| invite["label"] == label.as_str()) && labelled.len() > 1, "{labelled:?}");
        let (mut paged, mut after) = (Vec::new(), String::new());
        loop {
            let path = format!("/v1/admin/invites?label={label}&limit=2{after}");
            let (_, page) = beta.get(&path, Some(ADMIN)).await;
            paged.extend(page["invites"].as_array().unwrap().clone());
            match page["next"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => break,
            }
        }
        assert_eq!(paged, labelled, "{}", db.name);
        assert!(invites(&beta, "email=not-an-address").await.is_empty());
        let (status, wrong) = beta.get("/v1/admin/invites?state=usd", Some(ADMIN)).await;
        assert!(status == 400 && wrong["detail"].as_str().unwrap().contains("did you mean used?"), "{wrong}");
        let said = say(&beta, &["invite", "list", "--state", "used", "-o", "json"]).expect_code(0);
        assert_eq!(serde_json::from_str::<Vec<Value>>(&said.stdout).unwrap()[0]["id"], used[0]["id"]);
        say(&beta, &["invite", "list", "--state", "usd"]).expect_code(64);
        beta.store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_with_an_idempotency_key_is_carried_out_once() {
    for db in databases() {
        let beta = open(&db).await;
        let word = json!({ "email": "ada@example.com", "cohort": "pavia", "note": "first gym" });
        let path = "/v1/admin/invites";
        let (status, first, again) = beta.post_keyed(path, "k1", &word).await;
        assert_eq!((status, again), (201, false), "{first}");
        let (status, second, again) = beta.post_keyed(path, "k1", &word).await;
        assert_eq!((status, again, &second["code"], &second["id"]), (201, true, &first["code"], &first["id"]));
        let other = json!({ "email": "bob@example.com", "cohort": "pavia" });
        assert_eq!(beta.post_keyed(path, "k1", &other).await.0, 422, "the key stands for one request");
        assert_eq!(beta.post_keyed(path, "k2", &word).await.0, 409, "another key is another request");
        assert_eq!(beta.post_keyed(path, "", &other).await.0, 400);
        // Neither code nor address is kept with the answer.
        let kept = beta.store.all("SELECT CAST(response AS text) AS kept FROM idempotency_keys", &[]).await.unwrap();
        let kept: Vec<String> = kept.iter().map(|row| row.get("kept").unwrap()).collect();
        let code = first["code"].as_str().unwrap();
        assert!(kept.iter().all(|kept| !kept.contains(code) && !kept.contains("@example.com")), "{kept:?}");
        let id = first["id"].as_str().unwrap();
        let resend = format!("/v1/admin/invites/{id}/resend");
        assert_eq!(beta.post_keyed(&resend, "k3", &json!({})).await.1["generation"], 2);
        assert_eq!(beta.post_keyed(&resend, "k3", &json!({})).await.1["generation"], 2, "sent again once");
        assert!(beta.post_keyed(path, "k1", &word).await.1.get("code").is_none(), "that code works no longer");
        let tries = (0..20).map(|_| async { beta.post_keyed(&resend, "k4", &json!({})).await.0 });
        let answers = futures_util::future::join_all(tries).await;
        assert!(answers.iter().all(|status| matches!(status, 200 | 409)) && answers.contains(&200), "{answers:?}");
        let (_, now, _) = beta.post_keyed(&resend, "k5", &json!({})).await;
        assert_eq!(now["generation"], 4, "{}: of twenty at once, one", db.name);
        beta.store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_keyed_write_whose_process_dies_is_neither_lost_nor_carried_out_twice() {
    for db in databases() {
        let beta = open(&db).await;
        let path = "/v1/admin/invites";
        let (before, after) = (
            json!({ "email": "a@example.com", "cohort": "pavia" }),
            json!({ "email": "b@example.com", "cohort": "pavia" }),
        );
        for (key, word) in [("before", &before), ("after", &after)] {
            assert_eq!(beta.post_keyed(path, key, word).await.0, 201);
        }
        // As processes leave them that die before their write, and after it but before its answer was kept.
        let sql = "UPDATE idempotency_keys SET status = $1, response = NULL WHERE key = $2";
        for (key, status) in [("before", 0_i64), ("after", 1)] {
            assert_eq!(beta.store.execute(sql, &[status.into(), key.into()]).await.unwrap(), 1);
        }
        let undo = "DELETE FROM beta_invites WHERE email_norm = 'a@example.com'";
        assert_eq!(beta.store.execute(undo, &[]).await.unwrap(), 1);
        for (key, word) in [("before", &before), ("after", &after)] {
            assert_eq!(beta.post_keyed(path, key, word).await.1["type"], "urn:betagate:problem:under-way");
        }
        beta.clock.advance(jiff::SignedDuration::from_secs(61));
        let (status, made, again) = beta.post_keyed(path, "before", &before).await;
        assert_eq!((status, made["code"].is_string(), again), (201, true, false), "{}: {made}", db.name);
        assert!(beta.post_keyed(path, "before", &before).await.2);
        let (status, told, _) = beta.post_keyed(path, "after", &after).await;
        assert_eq!((status, told["type"].as_str()), (409, Some("urn:betagate:problem:carried-out")), "{}", db.name);
        beta.store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_lines_route_carries_a_keyed_word_out_once_and_answers_questions_anew() {
    for db in databases() {
        let beta = open(&db).await;
        let desk = "/v1/admin/desk";
        let add = json!({ "request": "addInvite", "cohort": "pavia", "email": "ada@example.com", "note": "", "by": "founder" });
        let (_, first, _) = beta.post_keyed(desk, "k1", &add).await;
        let (status, second, again) = beta.post_keyed(desk, "k1", &add).await;
        assert_eq!((status, again, second["code"].as_str()), (200, true, first["code"].as_str()), "{second}");
        let resend = json!({ "request": "resendInvites", "email": "ada@example.com", "by": "founder" });
        for again in [false, true] {
            let (status, resent, replayed) = beta.post_keyed(desk, "k2", &resend).await;
            assert_eq!((status, replayed, &resent["invites"][0]["generation"]), (200, again, &json!(2)), "{resent}");
            assert_eq!(resent["invites"][0]["email"], "ada@example.com");
        }
        let list = json!({ "request": "listInvites", "email": "ada@example.com", "limit": 10 });
        assert_eq!(beta.post_keyed(desk, "k3", &list).await.1[0]["state"], "pending");
        let out = json!({ "request": "revokeInvites", "email": "ada@example.com", "reason": "r", "by": "founder" });
        assert_eq!(beta.post_keyed(desk, "k4", &out).await.0, 200);
        assert_eq!(beta.post_keyed(desk, "k3", &list).await.1[0]["state"], "revoked", "a question is asked anew");
        let kept = beta.store.all("SELECT CAST(response AS text) AS kept FROM idempotency_keys", &[]).await.unwrap();
        assert_eq!(kept.len(), 3);
        assert!(kept.iter().all(|row| !row.get::<String>("kept").unwrap().contains("ada@")));
        beta.store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_code_for_several_people_is_made_told_again_and_taken_back() {
    for db in databases() {
        let beta = open(&db).await;
        let word = json!({ "cohort": "pavia", "uses": 2, "expires": "3d", "label": "listener-fair", "note": "booth" });
        let path = "/v1/admin/invites/codes";
        let (status, made, _) = beta.post_keyed(path, "booth", &word).await;
        assert_eq!(
            (status, &made["expiresAt"], &made["used"]),
            (201, &json!("2026-03-06T08:00:00Z"), &json!(0)),
            "{made}"
        );
        let (code, id) = (made["code"].as_str().unwrap().to_owned(), made["id"].as_str().unwrap().to_owned());
        let (_, again, replayed) = beta.post_keyed(path, "booth", &word).await;
        assert_eq!((again["code"].as_str(), replayed), (Some(code.as_str()), true));
        let kept = beta.store.one("SELECT CAST(response AS text) AS kept FROM idempotency_keys", &[]).await.unwrap();
        assert!(!kept.get::<String>("kept").unwrap().contains(&code));
        assert_eq!(beta.register("a@example.org", &code).await.0, 201);
        let (_, listed) = beta.get(&format!("{path}?cohort=pavia"), Some(ADMIN)).await;
        assert_eq!((&listed["codes"][0]["used"], listed["codes"][0].get("code")), (&json!(1), None));
        assert_eq!(beta.get(&format!("{path}/{id}"), Some(ADMIN)).await.1["code"].as_str(), Some(code.as_str()));
        assert_eq!(invites(&beta, "label=listener-fair").await[0]["email"], "a@example.org");
        assert_eq!(beta.register("b@example.org", &code).await.0, 201);
        assert_eq!(beta.register("c@example.org", &code).await.1["type"], "urn:betagate:problem:code-used-up");
        let said = say(
            &beta,
            &["invite", "code", "add", "--cohort", "pavia", "--uses", "50", "--expires", "14d", "--by", "founder"],
        );
        let told = said.expect_code(0).stdout;
        let code = told.split(' ').next().unwrap().to_owned();
        let id = told.trim().trim_end_matches(')').rsplit(' ').next().unwrap().to_owned();
        let listed = beta.get(path, Some(ADMIN)).await.1;
        assert_eq!((&listed["codes"][0]["state"], &listed["codes"][1]["state"]), (&json!("used-up"), &json!("open")));
        assert!(say(&beta, &["invite", "code", "list"]).expect_code(0).stdout.contains(&id));
        assert!(
            say(&beta, &["invite", "code", "show", &id, "--by", "founder"]).expect_code(0).stdout.starts_with(&code)
        );
        say(&beta, &["invite", "code", "add", "--cohort", "pavia", "--uses", "0", "--by", "founder"]).expect_code(64);
        let unknown = say(&beta, &["invite", "code", "add", "--cohort", "pavja", "--uses", "5", "--by", "founder"]);
        assert!(unknown.expect_code(1).stderr.contains("did you mean pavia?"));
        let revoke = ["invite", "code", "revoke", &id, "--reason", "posted online", "--by", "founder"];
        say(&beta, &revoke).expect_code(0);
        say(&beta, &revoke).expect_code(1);
        assert_eq!(beta.register("d@example.org", &code).await.1["type"], "urn:betagate:problem:invite-revoked");
        let object = format!("invite-code/{id}");
        let wanted = ["invite-code.revoked", "invite-code.shown", "invite-code.created"];
        assert_eq!(actions(&beta, &object).await, wanted, "{}", db.name);
        beta.store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invite_that_is_made_by_hand_tells_its_code_once_and_mails_it() {
    for db in databases() {
        let mut beta = open(&db).await;
        let word = json!({ "email": "ada@example.com", "cohort": "pavia" });
        let (status, made) = beta.post("/v1/admin/invites", Some(ADMIN), &word).await;
        assert_eq!(status, 201, "{made}");
        let code = made["code"].as_str().unwrap().to_owned();
        assert!(invites(&beta, "email=ada@example.com").await[0].get("code").is_none());
        beta.pass().await;
        let mailed = beta.invitations().into_iter().find(|(to, _)| to == "ada@example.com").unwrap().1;
        assert_eq!((&mailed, beta.register("ada@example.com", &code).await.0), (&code, 201), "{}", db.name);
        beta.store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invite_that_its_document_takes_back_ends_membership_and_sessions() {
    for db in databases() {
        let mut beta = open(&db).await;
        let document = |more: &str| {
            format!(
                "apiVersion: betagate.dev/v1alpha1\nkind: Invite\nmetadata: {{ name: ada }}\nspec:\n  program: kruxt\n  cohort: pavia\n  email: ada@example.com\n{more}"
            )
        };
        beta.repo.write("cohorts/ada.yaml", &document(""));
        for _ in 0..3 {
            beta.pass().await;
        }
        let code = beta.invitations().into_iter().find(|(to, _)| to == "ada@example.com").unwrap().1;
        let tokens = beta.register("ada@example.com", &code).await.1;
        let access = tokens["accessToken"].as_str().unwrap();
        assert_eq!(beta.get("/me", Some(access)).await.1["memberships"][0]["cohort"], "pavia");
        beta.repo.write("cohorts/ada.yaml", &document("  revoked: { reason: moved away }\n"));
        for _ in 0..3 {
            beta.pass().await;
        }
        assert_eq!(beta.get("/me", Some(access)).await.0, 401, "{}", db.name);
        let refresh = json!({ "refresh_token": tokens["refreshToken"] });
        assert_eq!(beta.post("/v1/auth/refresh", None, &refresh).await.0, 401);
        let login = json!({ "email": "ada@example.com", "password": "a long enough password" });
        let signed = beta.post("/v1/auth/login", None, &login).await.1;
        let access = signed["accessToken"].as_str().unwrap();
        assert_eq!(
            beta.get("/me", Some(access)).await.1["memberships"],
            json!([]),
            "the account is left, and is in nothing"
        );
        assert_eq!(beta.post("/v1/auth/join", Some(access), &json!({ "invite": code })).await.0, 403);
        beta.store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_hangs_up_finds_the_answer_under_the_same_key() {
    for db in databases() {
        let beta = open(&db).await;
        for n in 0..12_u64 {
            let (key, word) = (format!("k{n}"), json!({ "email": format!("t{n}@example.com"), "cohort": "pavia" }));
            let request = beta.request("POST", "/v1/admin/invites").bearer_auth(ADMIN).header("idempotency-key", &key);
            // Some hang up before it arrives, some while it is carried out, some too late to matter.
            let _ = request.json(&word).timeout(std::time::Duration::from_millis(n / 2)).send().await;
            let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
            let (status, made, _) = loop {
                let answer = beta.post_keyed("/v1/admin/invites", &key, &word).await;
                if answer.1["type"] != "urn:betagate:problem:under-way" {
                    break answer;
                }
                assert!(std::time::Instant::now() < deadline, "{answer:?}");
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            };
            assert!(status == 201 && made["code"].is_string(), "{}: {status} {made}", db.name);
        }
        beta.store.close().await;
    }
}
