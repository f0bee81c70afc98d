//! A list may hold keyed hashes in place of addresses, or come from a secret: then nobody's address lies in Git, and the people come in all the
//! same. On every database.

use std::time::Duration;

use betagate::keys::Keys;
use betagate::store::invites::{self, Filter, Invite, State, find_hashed};
use betagate::store::people;
use jiff::SignedDuration;

use crate::support::beta::Beta;
use crate::support::{Betagate, Outcome, TestRepo, databases, free_port, wait_for};

const PROGRAM: &str = "apiVersion: betagate.dev/v1alpha1
kind: Program
metadata: { name: kruxt }
spec: { timeZone: Europe/Rome, startsOn: 2026-03-02, people: { ana: {} }, addresses: { ignorePlus: true } }
---
apiVersion: betagate.dev/v1alpha1
kind: Rollout
metadata: { name: beta }
spec: { program: kruxt, stages: [ { name: pilot, window: { from: +0d }, cohorts: [pavia] } ] }
---
apiVersion: betagate.dev/v1alpha1
kind: Flag
metadata: { name: pilots }
spec: { program: kruxt, type: boolean, variants: { \"on\": true, \"off\": false }, defaultVariant: \"off\", safeVariant: \"off\", targeting: { if: [ { in_cohort: [pavia] }, \"on\", \"off\" ] } }
---
apiVersion: betagate.dev/v1alpha1
kind: Cohort
metadata: { name: pavia }
spec: { program: kruxt, members: MEMBERS }
";
const LIST: &str = "email,label,invited_by,note\nAda+beta@Example.com,creator-a,host@example.com,met at the gym\nbob@example.com,listener-b,,\nzoe@example.com,listener-b,,\n";

fn repo(members: &str) -> TestRepo {
    let repo = TestRepo::empty();
    repo.write("manifests/program.yaml", &PROGRAM.replace("MEMBERS", members));
    for ending in ["txt", "html"] {
        repo.write(&format!("cohorts/templates/t.{ending}"), "Subject: {{ cohort }}\n\nYour code is {{ code }}.\n");
    }
    repo
}

fn hash(beta: &Beta, list: &str, more: &[&str]) -> Outcome {
    let file = beta.data.join("addresses.csv");
    std::fs::write(&file, list).unwrap();
    let words = ["invite", "hash", "--cohort", "pavia", file.to_str().unwrap(), "--data", beta.data.to_str().unwrap()];
    Betagate::new(words.iter().chain(more)).within(beta.repo.path()).run()
}

async fn rows(beta: &Beta) -> Vec<Invite> {
    invites::list(&beta.store, &Filter { limit: 1000, ..Filter::default() }).await.unwrap()
}

async fn passes(beta: &mut Beta) {
    for _ in 0..3 {
        beta.pass().await;
    }
}

fn waits(beta: &Beta) -> Vec<String> {
    let decision = beta.controller.programs()["kruxt"].decision.as_ref().unwrap();
    decision.states["Cohort/pavia"].waits.iter().map(|wait| wait.on.clone()).collect()
}

/// What a door does for someone who comes without a code: finds the invite and mails a link that redeems it.
async fn link(beta: &Beta, email: &str) -> Option<String> {
    let keys = Keys::load(&beta.data.join("keys")).unwrap();
    let now = beta.clock.now();
    let mut tx = beta.store.begin().await.unwrap();
    find_hashed(&mut tx, &keys, email).await.unwrap();
    let open = invites::open_invites(&mut tx, email, now).await.unwrap();
    let mut code = None;
    for invite in open {
        let until = now.checked_add(SignedDuration::from_hours(1)).unwrap();
        code = invites::render(&mut tx, &keys, invite.id, until, now).await.unwrap().map(|made| made.code.reveal());
    }
    tx.commit().await.unwrap();
    code
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn someone_on_a_list_of_hashes_is_let_in_and_no_mail_leaves_by_itself() {
    for db in databases() {
        let mut beta = Beta::start(
            &db,
            repo("{ csv: pavia.csv, hashed: true }, invites: { template: t }"),
            "2026-03-02T08:00:00Z",
        )
        .await;
        beta.repo.write("manifests/pavia.csv", "hash\n");
        let hashed = hash(&beta, LIST, &[]).expect_code(0).stdout;
        assert!(
            !hashed.contains('@') && !hashed.contains("gym") && hashed.starts_with("hash,label,role,locale\n"),
            "{hashed}"
        );
        let kept = hash(&beta, LIST, &["--keep", "note", "--keep", "invited-by"]).expect_code(0).stdout;
        assert!(kept.contains("host@example.com,met at the gym"), "{kept}");
        let broken = hash(&beta, "email\nnobody\n", &[]).expect_code(1);
        assert!(broken.stdout.is_empty() && broken.stderr.contains("line 2: "), "{broken:?}");

        beta.repo.write("manifests/pavia.csv", &hashed);
        Betagate::new(["validate", "--cohort", "pavia"]).within(beta.repo.path()).run().expect_code(0);
        passes(&mut beta).await;
        let found = rows(&beta).await;
        assert_eq!(found.len(), 3, "{}: {:?}", db.name, waits(&beta));
        assert!(found.iter().all(|row| row.email.is_none() && row.state == State::Pending));
        assert!(!beta.data.join("mail").exists() || beta.invitations().is_empty(), "nobody's address is known");

        assert_eq!(link(&beta, "stranger@example.org").await, None);
        // Any spelling that the program takes for the same person.
        let code = link(&beta, "ada+other@example.com").await.unwrap();
        passes(&mut beta).await;
        assert!(
            !beta.data.join("mail").exists() || beta.invitations().is_empty(),
            "the door mails the link, and nobody else"
        );
        let (status, answer) = beta.register("ada+other@example.com", &code).await;
        assert_eq!((status, answer["cohort"].as_str()), (201, Some("pavia")), "{answer}");
        beta.pass().await;
        assert_eq!(beta.flag("pilots", "ada+other@example.com").await["value"], true);
        assert_eq!(beta.flag("pilots", "bob@example.com").await["value"], false);
        let funnel = invites::funnels(&beta.store, "kruxt", "pavia", 0).await.unwrap().total;
        assert_eq!((funnel.invited, funnel.used, funnel.pending), (3, 1, 2));

        the_list_goes_on_knowing_who_came(&mut beta).await;
        assert!(betagate::store::audit::verify(&beta.store).await.unwrap().problem.is_none());
        beta.store.close().await;
    }
}

/// Other words of someone who is in, someone gone, someone invited by hand, someone erased: one row a person throughout.
async fn the_list_goes_on_knowing_who_came(beta: &mut Beta) {
    let next = LIST
        .replace("creator-a", "creator-x")
        .replace("bob@example.com,listener-b,,\n", "new@example.com,listener-n,,\n");
    let hashed = hash(beta, &next, &[]).expect_code(0).stdout;
    beta.repo.write("manifests/pavia.csv", &hashed);
    let change = "massChangePercent: 50, startsOn";
    beta.repo.replace("manifests/program.yaml", "startsOn", change);
    passes(beta).await;
    let found = rows(beta).await;
    assert_eq!(found.len(), 4, "{:?}", waits(beta));
    let ada = found.iter().find(|row| row.email.as_deref() == Some("ada+other@example.com")).unwrap();
    assert_eq!((ada.state, ada.label.as_str()), (State::Used, "creator-x"));
    assert_eq!(found.iter().filter(|row| row.state == State::Revoked).count(), 1, "bob's row went");
    assert_eq!(link(beta, "bob@example.com").await, None);

    let by_hand =
        ["invite", "add", "zoe@example.com", "--cohort", "pavia", "--by", "ana", "--database", &beta.url, "--data"];
    let words = by_hand.iter().map(std::ffi::OsStr::new).chain([beta.data.as_os_str()]);
    Betagate::new(words).within(beta.repo.path()).run().expect_code(0);
    let found = rows(beta).await;
    assert_eq!(found.len(), 4, "zoe is invited once");
    assert!(found.iter().any(|row| row.email.as_deref() == Some("zoe@example.com") && row.label == "listener-b"));

    // Erased before she came: found by nobody, and no list brings her back.
    let keys = Keys::load(&beta.data.join("keys")).unwrap();
    let mut tx = beta.store.begin().await.unwrap();
    people::erase_address(&mut tx, &keys, "new@example.com", "asked", "person/x", beta.clock.now()).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(link(beta, "new@example.com").await, None);
    beta.repo.write("manifests/pavia.csv", &hashed.replace("listener-n", "listener-m"));
    passes(beta).await;
    assert_eq!(link(beta, "new@example.com").await, None);
    assert_eq!(rows(beta).await.iter().filter(|row| row.state.is_active()).count(), 1, "zoe alone still waits");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hashes_of_another_installation_wait_and_a_list_may_change_its_form() {
    for db in databases() {
        let mut beta =
            Beta::start(&db, repo("{ csv: pavia.csv }, invites: { template: t }"), "2026-03-02T08:00:00Z").await;
        beta.repo.replace("manifests/program.yaml", "startsOn", "massChangePercent: 100, startsOn");
        beta.repo.write("manifests/pavia.csv", LIST);
        passes(&mut beta).await;
        let before = rows(&beta).await;
        assert_eq!((before.len(), beta.invitations().len()), (3, 3), "addresses are mailed to");
        std::fs::remove_dir_all(beta.data.join("mail")).unwrap();
        let hashed = hash(&beta, LIST, &[]).expect_code(0).stdout;
        beta.repo.replace("manifests/program.yaml", "csv: pavia.csv", "csv: pavia.csv, hashed: true");
        beta.repo.write("manifests/pavia.csv", &hashed.replace(&hashed[23..31], "0a1b2c3d"));
        passes(&mut beta).await;
        assert_eq!(rows(&beta).await.len(), 3);
        assert!(waits(&beta)[0].contains("its hashes are of key 0a1b2c3d"), "{:?}", waits(&beta));
        // The same people by hash: the rows that have their addresses are still theirs.
        beta.repo.write("manifests/pavia.csv", &hashed);
        passes(&mut beta).await;
        let after = rows(&beta).await;
        assert_eq!(after.len(), 3, "{}: {:?}", db.name, waits(&beta));
        let ids = |rows: &[Invite]| rows.iter().map(|row| (row.id, row.email.clone())).collect::<Vec<_>>();
        assert_eq!(ids(&after), ids(&before));
        assert!(after.iter().all(|row| row.state == State::Pending));
        passes(&mut beta).await;
        assert!(!beta.data.join("mail").exists(), "an allowlist is not mailed to, whatever is known of its people");
        beta.store.close().await;
    }
}

#[test]
fn what_a_list_of_hashes_cannot_have_is_refused_in_its_document() {
    let repo = repo("{ inline: [ { email: ada@example.com } ], hashed: true }, invites: { template: t, rate: 30/min }");
    let told = Betagate::new(["validate"]).within(repo.path()).run().expect_code(1).stderr;
    assert!(told.contains("spec.members.hashed: keyed hashes stand in a list"), "{told}");
    assert!(told.contains("spec.invites.rate: no mail can go to keyed hashes"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_that_is_a_secret_waits_until_it_is_there_and_loses_nobody_when_it_goes() {
    for db in databases() {
        let mut beta = Beta::start(&db, repo("{ secretRef: pavia-list }"), "2026-03-02T08:00:00Z").await;
        passes(&mut beta).await;
        assert_eq!(
            waits(&beta),
            ["there is no secret 'pavia-list' (secrets/pavia-list in the data folder, or BETAGATE_SECRET_PAVIA_LIST)"]
        );
        assert!(rows(&beta).await.is_empty());
        let secret = beta.data.join("secrets/pavia-list");
        std::fs::create_dir_all(secret.parent().unwrap()).unwrap();
        std::fs::write(&secret, format!("{LIST}nobody\n")).unwrap();
        passes(&mut beta).await;
        assert_eq!(
            waits(&beta),
            ["its list is broken (1 problem(s)): secret pavia-list:5: an address has exactly one @"]
        );
        std::fs::write(&secret, LIST).unwrap();
        passes(&mut beta).await;
        assert_eq!((rows(&beta).await.len(), waits(&beta).len()), (3, 0), "{}", db.name);
        std::fs::write(&secret, format!("{LIST}new@example.com,x,,\n")).unwrap();
        passes(&mut beta).await;
        assert_eq!(rows(&beta).await.len(), 4);
        std::fs::remove_file(&secret).unwrap();
        passes(&mut beta).await;
        assert_eq!(waits(&beta).len(), 1);
        assert!(rows(&beta).await.iter().all(|row| row.state == State::Pending), "nobody is taken back");
        std::fs::write(&secret, format!("{LIST}new@example.com,x,,\n")).unwrap();
        passes(&mut beta).await;
        assert!(waits(&beta).is_empty());
        // Latin-1 in a secret is named as such, not as a secret that is missing.
        std::fs::write(&secret, b"email,note\nada@example.com,Andr\xe9\n").unwrap();
        passes(&mut beta).await;
        assert!(waits(&beta)[0].contains("secret pavia-list:2: the line is not UTF-8 text"), "{:?}", waits(&beta));
        beta.store.close().await;
    }
}

#[test]
fn a_secret_in_the_environment_is_a_list_too() {
    let repo = repo("{ secretRef: pavia-list }");
    let validate = || Betagate::new(["validate", "--cohort", "pavia"]).within(repo.path());
    let told = validate().run().expect_code(1).stderr;
    assert!(told.contains("BETAGATE_SECRET_PAVIA_LIST"), "{told}");
    // What is not to be had here says nothing of the documents.
    Betagate::new(["validate"]).within(repo.path()).run().expect_code(0);
    validate().env("BETAGATE_SECRET_PAVIA_LIST", LIST).run().expect_code(0);
    let told = validate().env("BETAGATE_SECRET_PAVIA_LIST", "email\nnobody\n").run().expect_code(1).stderr;
    assert!(told.contains("secret pavia-list:2: "), "{told}");
    let listen = format!("127.0.0.1:{}", free_port());
    let up = Betagate::new(["up", "--listen", &listen]).within(repo.path()).env("BETAGATE_SECRET_PAVIA_LIST", LIST);
    let mut up = up.start_logging_to(&repo.path().join("up.log"));
    wait_for("the people of the secret", Duration::from_secs(30), || {
        let listed = Betagate::new(["invite", "list"]).within(repo.path()).run().stdout;
        (listed.matches("@").count() == 3).then_some(())
    });
    assert!(up.interrupt(Duration::from_secs(30)).is_some_and(|status| status.success()));
}

#[test]
fn someone_on_two_lists_is_allowed_warned_of_or_refused_as_the_program_says() {
    let repo = repo("{ csv: pavia.csv }");
    repo.write("manifests/pavia.csv", LIST);
    repo.write("manifests/lyon.csv", "ada@example.com,x\nnew@example.com,x\n");
    repo.write("manifests/lyon.yaml", "apiVersion: betagate.dev/v1alpha1\nkind: Cohort\nmetadata: { name: lyon }\nspec: { program: kruxt, members: { csv: lyon.csv } }\n");
    let validate = |cohort: &str| Betagate::new(["validate", "--cohort", cohort]).within(repo.path()).run();
    let told = validate("lyon").expect_code(2).stderr;
    assert!(
        told.contains("manifests/lyon.csv:1: warning: the same person is in cohort pavia (manifests/pavia.csv:2)"),
        "{told}"
    );
    let told = validate("pavia").expect_code(2).stderr;
    assert!(
        told.contains("manifests/pavia.csv:2: warning: the same person is in cohort lyon (manifests/lyon.csv:1)"),
        "{told}"
    );
    repo.replace("manifests/program.yaml", "ignorePlus: true", "ignorePlus: true, acrossCohorts: refuse");
    validate("lyon").expect_code(1);
    repo.replace("manifests/program.yaml", "refuse", "allow");
    validate("lyon").expect_code(0);
}
