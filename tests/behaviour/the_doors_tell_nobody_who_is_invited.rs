//! Registering without a code, asking for a new link, guessing codes, trying too often: what everybody is told, and what happens to whom.

use std::time::{Duration, Instant};

use betagate::api::{Rate, Rates};
use serde_json::{Value, json};

use super::a_program_runs_from_yaml_to_an_ordered_rollback_and_back::kruxt;
use crate::support::beta::{ADMIN, Beta};
use crate::support::{TestDb, databases};

const PATIENCE: Duration = Duration::from_secs(30);

pub async fn open(db: &TestDb) -> Beta {
    let mut beta = Beta::start(db, kruxt(), "2026-03-03T08:00:00Z").await;
    for _ in 0..3 {
        beta.pass().await;
    }
    beta
}

async fn invite_of(beta: &Beta, email: &str) -> Option<Value> {
    let (_, found) = beta.get(&format!("/v1/admin/invites?email={email}"), Some(ADMIN)).await;
    found["invites"].as_array().unwrap().first().cloned()
}

/// Until the invite of an address has this generation. Those who ask are seen to in order: whoever asked before has been seen to as well.
async fn until_generation(beta: &Beta, email: &str, wanted: u64) {
    let deadline = Instant::now() + PATIENCE;
    while invite_of(beta, email).await.unwrap()["generation"] != wanted {
        assert!(Instant::now() < deadline, "no new link for {email}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn no_code(email: &str) -> Value {
    json!({ "email": email, "password": "a long enough password" })
}

/// Publishes whether an invite is needed.
async fn need_invites(beta: &Beta, needed: bool) {
    let mut snapshot = betagate::store::flags::newest(&beta.store).await.unwrap().unwrap();
    let variant = if needed { "on" } else { "off" };
    snapshot.body["flags"]["system.invites_required"] =
        json!({ "state": "ENABLED", "variants": { "on": true, "off": false }, "defaultVariant": variant });
    let mut tx = beta.store.begin().await.unwrap();
    let (body, holds, now) = (&snapshot.body, &snapshot.holds, beta.clock.now());
    betagate::store::flags::publish(&mut tx, body.clone(), holds, variant, "r", now).await.unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_code_is_answered_alike_for_every_address() {
    for db in databases() {
        let beta = open(&db).await;
        let mut invitations = beta.invitations();
        let (invited, _) = invitations.remove(0);
        let (_, anothers) = invitations.remove(0);
        let (member, code) = invitations.remove(0);
        assert_eq!(beta.register(&member, &code).await.0, 201);
        let (revoked, _) = invitations.remove(0);
        let out = json!({ "email": revoked, "reason": "left" });
        assert_eq!(beta.post("/v1/admin/invites/revoke", Some(ADMIN), &out).await.0, 200);
        let wrong = "A".repeat(32);
        let told = beta.register("stranger@example.org", &wrong).await;
        assert_eq!((told.0, told.1["type"].as_str()), (403, Some("urn:betagate:problem:invite-invalid")));
        for email in [&invited, &member, &revoked] {
            for code in [&wrong, &anothers, &"no code".to_owned()] {
                assert_eq!(beta.register(email, code).await, told, "{}", db.name);
            }
        }
        // Whoever has an account hears of it only with a code that is theirs.
        let (_, again) =
            beta.post("/v1/admin/invites", Some(ADMIN), &json!({ "email": member, "cohort": "pavia" })).await;
        assert_eq!(again["type"], "urn:betagate:problem:refused");
        assert_eq!(beta.register(&member, &code).await.1["type"], "urn:betagate:problem:invite-used");
        beta.store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_asks_for_a_new_link_gets_one_answer_and_only_the_invited_a_message() {
    for db in databases() {
        let mut beta = open(&db).await;
        let mut invitations = beta.invitations();
        let (invited, code) = invitations.remove(0);
        let (expired, ran_out) = invitations.remove(0);
        let (member, members) = invitations.remove(0);
        assert_eq!(beta.register(&member, &members).await.0, 201);
        let before = beta.invitations().len();
        let mut answers = Vec::new();
        for email in ["stranger@example.org", "not an address", &member, &invited.to_uppercase()] {
            answers.push(beta.post("/v1/auth/invite-link", None, &json!({ "email": email })).await);
        }
        assert!(answers.iter().all(|answer| answer.0 == 202 && *answer == answers[0]), "{answers:?}");
        until_generation(&beta, &invited, 2).await;
        assert!(invite_of(&beta, "stranger@example.org").await.is_none());
        assert_eq!(invite_of(&beta, &member).await.unwrap()["generation"], 1);
        beta.pass().await;
        assert_eq!(beta.invitations().len(), before + 1, "one message more, and no other");
        // Whoever asked has shown nothing: the code that its owner has goes on, and is the one in the message.
        let sent = beta.invitations().into_iter().filter(|(to, _)| *to == invited);
        assert_eq!(sent.map(|(_, code)| code).collect::<Vec<_>>(), [code.clone(), code.clone()], "{}", db.name);
        assert_eq!(beta.register(&invited, &code).await.0, 201, "{}", db.name);
        // One that ran out works again, until later, with a new code.
        beta.at("2026-03-20T08:00:00Z");
        betagate::worker::once(&beta.store, beta.clock.now()).await.unwrap();
        assert_eq!(invite_of(&beta, &expired).await.unwrap()["state"], "expired");
        assert_eq!(beta.post("/v1/auth/invite-link", None, &json!({ "email": expired })).await.0, 202);
        until_generation(&beta, &expired, 2).await;
        let again = invite_of(&beta, &expired).await.unwrap();
        assert_eq!((&again["state"], &again["expiresAt"]), (&json!("pending"), &json!("2026-04-03T08:00:00Z")));
        beta.pass().await;
        assert_eq!(beta.register(&expired, &ran_out).await.1["type"], "urn:betagate:problem:invite-invalid");
        let fresh = beta.invitations().into_iter().find(|(to, code)| *to == expired && *code != ran_out).unwrap().1;
        assert_eq!(beta.register(&expired, &fresh).await.0, 201, "{}", db.name);
        beta.store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whom_a_list_knows_by_a_hash_only_is_sent_a_link_when_they_ask() {
    for db in databases() {
        let mut beta = open(&db).await;
        let (email, old) = beta.invitations().remove(0);
        // As a list of keyed hashes has it: no address, and no message was sent.
        let keys = betagate::keys::Keys::load(&beta.data.join("keys")).unwrap();
        let hash = betagate::core::cohort::hash_norm(&betagate::store::people::address_hash(&keys, &email));
        let sql = "UPDATE beta_invites SET email = NULL, email_norm = $2, code_digest = NULL, rendered_at = NULL WHERE email_norm = $1";
        assert_eq!(beta.store.execute(sql, &[email.as_str().into(), hash.into()]).await.unwrap(), 1);
        let before = beta.invitations().len();
        beta.pass().await;
        assert_eq!((beta.invitations().len(), invite_of(&beta, &email).await), (before, None));
        assert_eq!(beta.post("/v1/auth/invite-link", None, &json!({ "email": email })).await.0, 202);
        let deadline = Instant::now() + PATIENCE;
        while invite_of(&beta, &email).await.is_none() {
            assert!(Instant::now() < deadline, "no link for someone on a list of hashes");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        beta.pass().await;
        let fresh = beta.invitations().into_iter().find(|(to, code)| *to == email && *code != old).unwrap().1;
        assert_eq!(beta.register(&email, &fresh).await.0, 201, "{}", db.name);
        beta.store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_invites_required_whoever_is_on_the_list_gets_a_link_and_nobody_else_anything() {
    for db in databases() {
        let beta = open(&db).await;
        need_invites(&beta, true).await;
        let (invited, _) = beta.invitations().remove(0);
        let stranger = beta.post("/v1/auth/register", None, &no_code("stranger@example.org")).await;
        let known = beta.post("/v1/auth/register", None, &no_code(&invited)).await;
        assert_eq!((stranger.0, &stranger), (202, &known));
        until_generation(&beta, &invited, 2).await;
        assert!(invite_of(&beta, "stranger@example.org").await.is_none());
        for email in ["stranger@example.org", &invited] {
            assert_eq!(beta.post("/v1/auth/login", None, &no_code(email)).await.0, 401, "nothing else happened");
        }
        beta.store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_invites_required_everybody_registers_but_those_who_were_taken_back() {
    for db in databases() {
        let beta = open(&db).await;
        need_invites(&beta, false).await;
        let (revoked, _) = beta.invitations().remove(0);
        let out = json!({ "email": revoked, "reason": "left" });
        assert_eq!(beta.post("/v1/admin/invites/revoke", Some(ADMIN), &out).await.0, 200);
        let (status, tokens) = beta.post("/v1/auth/register", None, &no_code("stranger@example.org")).await;
        assert_eq!((status, tokens.get("cohort")), (201, None), "in, and in no cohort");
        let refused = beta.post("/v1/auth/register", None, &no_code(&revoked.to_uppercase())).await;
        assert_eq!((refused.0, refused.1["type"].as_str()), (409, Some("urn:betagate:problem:address-unavailable")));
        // Nobody learns of an address that it was invited once: one that has an account is answered the same, to the letter.
        let known = beta.post("/v1/auth/register", None, &no_code("Stranger@example.org")).await;
        assert_eq!(known, refused, "{}", db.name);
        // And somebody who is invited like a stranger.
        let (invited, _) = beta.invitations().remove(1);
        let (status, tokens) = beta.post("/v1/auth/register", None, &no_code(&invited)).await;
        assert_eq!((status, tokens.get("cohort")), (201, None), "{}", db.name);
        beta.store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_invites_required_and_nobody_on_the_list_nobody_gets_in() {
    for db in databases() {
        let mut beta = open(&db).await;
        need_invites(&beta, true).await;
        let (invited, code) = beta.invitations().remove(0);
        let all = json!({ "cohort": "pavia", "reason": "stop new sign-ups" });
        assert_eq!(beta.post("/v1/admin/invites/revoke", Some(ADMIN), &all).await.0, 200);
        let before = beta.invitations().len();
        assert_eq!(beta.register(&invited, &code).await.0, 403);
        for email in [invited.as_str(), "stranger@example.org"] {
            assert_eq!(beta.post("/v1/auth/register", None, &no_code(email)).await.0, 202);
            assert_eq!(beta.post("/v1/auth/login", None, &no_code(email)).await.0, 401);
        }
        // Someone invited since is seen to after those two.
        let ada = json!({ "email": "ada@example.com", "cohort": "pavia" });
        assert_eq!(beta.post("/v1/admin/invites", Some(ADMIN), &ada).await.0, 201);
        beta.pass().await;
        assert_eq!(beta.post("/v1/auth/invite-link", None, &json!({ "email": "ada@example.com" })).await.0, 202);
        until_generation(&beta, "ada@example.com", 2).await;
        beta.pass().await;
        assert_eq!(beta.invitations().len(), before + 2, "{}: ada's two messages, and no other", db.name);
        assert_eq!(invite_of(&beta, &invited).await.unwrap()["state"], "revoked");
        beta.store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn someone_with_an_account_joins_another_cohort_with_a_code() {
    for db in databases() {
        let beta = open(&db).await;
        need_invites(&beta, false).await;
        let (invited, code) = beta.invitations().remove(0);
        let join = json!({ "invite": code });
        assert_eq!(beta.post("/v1/auth/join", None, &join).await.0, 401, "sign in first");
        let (_, free) = beta.post("/v1/auth/register", None, &no_code("stranger@example.org")).await;
        let stranger = free["accessToken"].as_str().unwrap();
        let refused = beta.post("/v1/auth/join", Some(stranger), &join).await;
        assert_eq!((refused.0, refused.1["type"].as_str()), (403, Some("urn:betagate:problem:invite-invalid")));
        let (_, tokens) = beta.post("/v1/auth/register", None, &no_code(&invited)).await;
        let token = tokens["accessToken"].as_str().unwrap();
        assert_eq!(beta.register(&invited, &code).await.1["type"], "urn:betagate:problem:account-exists");
        let (status, joined) = beta.post("/v1/auth/join", Some(token), &join).await;
        assert_eq!((status, joined["cohort"].as_str()), (200, Some("pavia")), "{joined}");
        assert_eq!(beta.get("/me", Some(token)).await.1["memberships"][0]["cohort"], "pavia");
        assert_eq!(beta.post("/v1/auth/join", Some(token), &join).await.1["type"], "urn:betagate:problem:invite-used");
        beta.store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_registers_again_with_the_same_key_is_let_in_again_and_nobody_else_is() {
    for db in databases() {
        let beta = open(&db).await;
        let (email, code) = beta.invitations().remove(0);
        let word = json!({ "email": email, "password": "a long enough password", "invite": code });
        let register = async |key: &str, word: &Value| {
            let request = beta.request("POST", "/v1/auth/register").header("idempotency-key", key).json(word);
            let answer = request.send().await.unwrap();
            let again = answer.headers().contains_key("idempotent-replayed");
            (answer.status().as_u16(), again, answer.json::<Value>().await.unwrap())
        };
        // Twenty at once, as of somebody whose connection is bad: one account, and each answer lets in.
        let answers = futures_util::future::join_all((0..20).map(|_| register("k1", &word))).await;
        assert!(answers.iter().all(|answer| answer.0 == 201), "{}: {answers:?}", db.name);
        assert_eq!(answers.iter().filter(|answer| !answer.1).count(), 1, "{}", db.name);
        for (_, _, tokens) in answers {
            assert_eq!((tokens["cohort"].as_str(), tokens["program"].as_str()), (Some("pavia"), Some("kruxt")));
            let (status, me) = beta.get("/me", tokens["accessToken"].as_str()).await;
            assert_eq!((status, me["email"].as_str()), (200, Some(email.as_str())));
        }
        let used = "urn:betagate:problem:invite-used";
        assert_eq!(register("k2", &word).await.2["type"], used, "another key is another request");
        let mut guessed = word.clone();
        guessed["password"] = json!("another long password");
        assert_eq!(register("k1", &guessed).await.0, 422);
        assert_eq!(register("", &word).await.0, 400);
        // Nothing in the record that a password could be guessed from, and no address.
        let kept = beta.store.all("SELECT scope, request_digest FROM idempotency_keys", &[]).await.unwrap();
        assert_eq!(kept.len(), 1);
        assert!(!kept[0].get::<String>("scope").unwrap().contains('@'));
        // The same of somebody who joins another cohort.
        need_invites(&beta, false).await;
        let (other, code) = beta.invitations().remove(1);
        let (_, tokens) = beta.post("/v1/auth/register", None, &no_code(&other)).await;
        let token = tokens["accessToken"].as_str().unwrap();
        for _ in 0..2 {
            let request = beta.request("POST", "/v1/auth/join").header("idempotency-key", "k1").bearer_auth(token);
            let answer = request.json(&json!({ "invite": code })).send().await.unwrap();
            assert_eq!(answer.status().as_u16(), 200, "{}", db.name);
            assert_eq!(answer.json::<Value>().await.unwrap()["cohort"], "pavia");
        }
        beta.store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_fifty_who_send_one_code_at_once_one_is_let_in() {
    for db in databases() {
        let beta = open(&db).await;
        let (email, code) = beta.invitations().remove(0);
        let answers = futures_util::future::join_all((0..50).map(|_| beta.register(&email, &code))).await;
        let refused: Vec<_> = answers.iter().filter(|answer| answer.0 != 201).collect();
        assert_eq!(refused.len(), 49, "{}", db.name);
        assert!(refused.iter().all(|answer| answer.1["type"] == "urn:betagate:problem:invite-used"), "{refused:?}");
        beta.store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_tries_too_often_is_told_when_to_come_again() {
    let db = databases().remove(0);
    let rate = |burst| Rate { burst, each: Duration::from_secs(60) };
    let rates = Rates { source: rate(12), address: rate(3), link: rate(2) };
    let beta = Beta::start_limited(&db, kruxt(), "2026-03-03T08:00:00Z", rates).await;
    let ask = async |source: &str, path: &str, body: Value| {
        let answer = beta.request("POST", path).header("x-forwarded-for", source).json(&body).send().await.unwrap();
        let wait = answer.headers().get("retry-after").map(|wait| wait.to_str().unwrap().to_owned());
        let status = answer.status().as_u16();
        (status, answer.json::<Value>().await.unwrap()["type"].as_str().map(str::to_owned), wait)
    };
    let too_many = |wait: &str| (429, Some("urn:betagate:problem:too-many".to_owned()), Some(wait.to_owned()));
    // By address, wherever it comes from, and in whatever spelling.
    for source in ["192.0.2.1", "192.0.2.2", "192.0.2.3"] {
        assert_eq!(ask(source, "/v1/auth/login", no_code("ada@example.com")).await.0, 401);
    }
    assert_eq!(ask("192.0.2.4", "/v1/auth/login", no_code("Ada@example.com")).await, too_many("60"));
    assert_eq!(ask("192.0.2.4", "/v1/auth/register", no_code("ada+1@example.com")).await, too_many("60"));
    for _ in 0..2 {
        assert_eq!(ask("192.0.2.5", "/v1/auth/invite-link", json!({ "email": "ada@example.com" })).await.0, 202);
    }
    assert_eq!(ask("192.0.2.6", "/v1/auth/invite-link", json!({ "email": "ada@example.com" })).await, too_many("60"));
    // By source, whatever the address, at all doors together.
    for n in 0..12 {
        assert_eq!(
            ask("192.0.2.7", "/v1/auth/invite-link", json!({ "email": format!("t{n}@example.com") })).await.0,
            202
        );
    }
    for path in ["/v1/auth/register", "/v1/auth/login", "/v1/auth/invite-link", "/v1/auth/join"] {
        assert_eq!(ask("192.0.2.7", path, no_code("new@example.com")).await, too_many("60"), "{path}");
    }
    let page = beta.request("GET", "/signup?invite=X").header("x-forwarded-for", "192.0.2.7").send().await.unwrap();
    assert_eq!((page.status().as_u16(), page.headers()["retry-after"].to_str().unwrap()), (429, "60"));
    assert!(page.text().await.unwrap().contains("tried too often"));
    assert_eq!(ask("192.0.2.8", "/v1/auth/login", no_code("bob@example.com")).await.0, 401);
    beta.at("2026-03-03T08:01:00Z");
    assert_eq!(ask("192.0.2.7", "/v1/auth/login", no_code("ada@example.com")).await.0, 401, "a minute later");
    beta.store.close().await;
}
