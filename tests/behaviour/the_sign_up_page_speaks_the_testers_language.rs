//! The sign-up page: the code filled in, nothing consumed by looking, each refusal in words and in the tester's language, a way to a new link.

use serde_json::json;

use super::the_doors_tell_nobody_who_is_invited::open;
use crate::support::beta::{ADMIN, Beta};
use crate::support::databases;

/// A page that somebody with a browser in this language looks at.
async fn look(beta: &Beta, path: &str, language: &str) -> (u16, String) {
    let answer = beta.request("GET", path).header("accept-language", language).send().await.unwrap();
    assert_eq!(answer.headers()["referrer-policy"], "no-referrer");
    (answer.status().as_u16(), answer.text().await.unwrap())
}

/// A form that they send.
async fn send(beta: &Beta, path: &str, language: &str, fields: &[(&str, &str)]) -> (u16, String) {
    let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    let request = beta.request("POST", path).header("accept-language", language);
    let answer = request.header("content-type", "application/x-www-form-urlencoded").body(body).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

async fn fill_in(beta: &Beta, language: &str, email: &str, code: &str) -> (u16, String) {
    send(beta, "/signup", language, &[("email", email), ("invite", code), ("password", "a long enough password")]).await
}

/// The language that somebody's row in the list names.
async fn speaks(beta: &Beta, email: &str, locale: &str) {
    let sql = "UPDATE beta_invites SET locale = $2 WHERE email_norm = $1";
    assert_eq!(beta.store.execute(sql, &[email.into(), locale.into()]).await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn looking_consumes_nothing_and_sending_lets_in_once() {
    for db in databases() {
        let beta = open(&db).await;
        let (email, code) = beta.invitations().remove(0);
        speaks(&beta, &email, "").await;
        for _ in 0..3 {
            let (status, page) = look(&beta, &format!("/signup?invite={code}"), "").await;
            assert!(status == 200 && page.contains(&format!("value=\"{code}\"")), "{page}");
        }
        let (status, page) = look(&beta, "/signup", "").await;
        assert!(status == 200 && page.contains("You need an invite"), "{page}");
        let (status, page) = fill_in(&beta, "", &email, "").await;
        assert!(status == 422 && page.contains("You need an invite"), "it refuses without a code: {page}");
        let short = [("email", email.as_str()), ("invite", &code), ("password", "short")];
        let (status, page) = send(&beta, "/signup", "", &short).await;
        assert!(status == 422 && page.contains("10 to 256") && page.contains(&code), "{page}");
        let (status, page) = fill_in(&beta, "", &email, &code).await;
        assert!(status == 201 && page.contains("Welcome") && page.contains(&email), "{page}");
        let (status, page) = fill_in(&beta, "", &email, &code).await;
        assert!(status == 422 && page.contains("used already"), "{page}");
        let hostile = "\"><script>alert(1)</script>";
        assert!(!fill_in(&beta, "", hostile, hostile).await.1.contains("<script>"), "{}", db.name);
        beta.store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_refusal_is_told_in_the_testers_language() {
    let db = databases().remove(0);
    let beta = open(&db).await;
    let mut invitations = beta.invitations();
    let wrong = "A".repeat(32);
    for (language, tag, invalid) in [
        ("it-IT, en;q=0.5", "it", "non corrisponde"),
        ("fr-CH", "fr", "ne correspond pas"),
        ("de", "de", "gehört nicht zu"),
        ("pt, es", "en", "does not go with"),
    ] {
        let (status, page) = fill_in(&beta, language, "ada@example.com", &wrong).await;
        assert!(status == 422 && page.contains(invalid) && page.contains(&format!("<html lang=\"{tag}\"")), "{page}");
        assert!(page.contains("role=\"alert\""), "{page}");
        for field in ["invite", "email", "password", "link-email"] {
            assert!(page.contains(&format!("<label for=\"{field}\"")) && page.contains(&format!("id=\"{field}\"")));
        }
    }
    // The invite's own language comes first.
    let (italian, code) = invitations.remove(0);
    speaks(&beta, &italian, "it").await;
    assert!(look(&beta, &format!("/signup?invite={code}"), "de").await.1.contains("Codice d’invito"));
    let (revoked, revoked_code) = invitations.remove(0);
    speaks(&beta, &revoked, "").await;
    beta.post("/v1/admin/invites/revoke", Some(ADMIN), &json!({ "email": revoked, "reason": "left" })).await;
    assert!(fill_in(&beta, "de", &revoked, &revoked_code).await.1.contains("zurückgezogen"));
    let hold = betagate::store::freezes::Freeze {
        program: "kruxt".into(),
        cohort: String::new(),
        holder: "hand:test".into(),
        reason: "drill".into(),
        since: beta.clock.now(),
    };
    let mut tx = beta.store.begin().await.unwrap();
    betagate::store::freezes::freeze(&mut tx, &hold).await.unwrap();
    tx.commit().await.unwrap();
    assert!(fill_in(&beta, "de", &italian, &code).await.1.contains("sospese"));
    let mut tx = beta.store.begin().await.unwrap();
    betagate::store::freezes::unfreeze(&mut tx, "kruxt", "", "hand:test").await.unwrap();
    tx.commit().await.unwrap();
    beta.at("2026-04-03T08:00:00Z");
    assert!(fill_in(&beta, "de", &italian, &code).await.1.contains("scaduto"));
    beta.store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_for_a_new_link_is_the_same_for_everybody() {
    let db = databases().remove(0);
    let beta = open(&db).await;
    let (invited, _) = beta.invitations().remove(0);
    let told = send(&beta, "/signup/link", "fr", &[("email", "stranger@example.org")]).await;
    assert!(told.0 == 202 && told.1.contains("est en route"), "{}", told.1);
    assert_eq!(send(&beta, "/signup/link", "fr", &[("email", &invited)]).await, told);
    assert_eq!(send(&beta, "/signup/link", "fr", &[("email", "nonsense")]).await, told);
    beta.store.close().await;
}
