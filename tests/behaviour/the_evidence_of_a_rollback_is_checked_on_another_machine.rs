//! `betagate audit bundle` puts everything that shows what a rollback did into one archive; `betagate audit verify FILE` checks it where there is no record, and
//! names what somebody changed.

use std::path::{Path, PathBuf};

use betagate::evidence::{Files, gather, read, write};
use betagate::store::Store;
use betagate::store::incidents::Incident;
use betagate::store::outbox::{Claim, Intent};
use betagate::store::readings::{Reading, Review};
use betagate::store::signoffs::Signoff;
use betagate::store::status::LastGood;
use betagate::store::{incidents, memory, outbox, readings, signoffs, status, steps};
use betagate_core::decide::{MessageKind, RunPhase};
use betagate_core::resources::SignoffSpec;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::support::steps::{RUN, STEPS, Scene, is_in};
use crate::support::{Betagate, Outcome, databases, incident};

fn verify(archive: &Path, words: &[&str]) -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    let archive = archive.display().to_string();
    Betagate::new(["audit", "verify", &archive].into_iter().chain(words.iter().copied())).within(folder.path()).run()
}

/// The archive with one file changed.
fn tampered(files: &Files, folder: &Path, change: impl FnOnce(&mut Files)) -> PathBuf {
    let mut files = files.clone();
    change(&mut files);
    let path = folder.join("tampered.tar");
    write(&files, std::fs::File::create(&path).unwrap()).unwrap();
    path
}

fn digest(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Names the changed file with its right digest in the manifest.
fn made_up(files: &mut Files, name: &str) {
    let mut manifest: Value = serde_json::from_str(&files["manifest.json"]).unwrap();
    manifest["files"][name] = digest(&files[name]).into();
    files.insert("manifest.json".to_owned(), serde_json::to_string_pretty(&manifest).unwrap() + "\n");
}

/// Puts an address into everything that an archive is gathered from.
async fn put_addresses(scene: &Scene) {
    let (store, now) = (&scene.beta.store, scene.beta.clock.now());
    let address = |place: &str| format!("{place}.place@example.org");
    let kept = memory::load(store, "small").await.unwrap();
    let run = kept.into_iter().find(|document| document.name == RUN).unwrap();
    let mut body = run.body;
    body["episodes"][0]["reason"] = address("run").into();
    body["gates"] = json!(["board"]);
    let mut tx = store.begin().await.unwrap();
    memory::put(&mut tx, "small", ("run", RUN), &body, run.version).await.unwrap();
    let (program, gate) = ("small".to_owned(), "board".to_owned());
    let reading =
        Reading { program, gate, check: "c".to_owned(), at: now, body: json!({ "why": address("readings") }) };
    readings::append(&mut tx, &[reading], 10).await.unwrap();
    let review = Review {
        program: "small".to_owned(),
        gate: "board".to_owned(),
        due_at: now,
        sealed_at: now,
        verdict: "Pass".to_owned(),
        body: json!({ "note": address("verdicts") }),
    };
    readings::seal(&mut tx, &review).await.unwrap();
    let word = SignoffSpec::lift("small", "founder", RUN, address("approvals"));
    let word = Signoff::recorded("asked", &word, now, "test", "");
    signoffs::record(&mut tx, &word).await.unwrap();
    let incident = Incident { title: address("incidents"), ..incident::open("small", "late", "sev-4", now) };
    incidents::open(&mut tx, &incident).await.unwrap();
    let effect = json!({ "who": address("effects") });
    steps::begin(&mut tx, "small", &format!("{RUN}/1/99/revoke"), &effect, now).await.unwrap();
    let good = LastGood {
        kind: "Program".to_owned(),
        name: "small".to_owned(),
        program: "small".to_owned(),
        revision: "r".to_owned(),
        body: json!({ "people": address("desired") }),
        accepted_at: now,
    };
    status::keep_good(&mut tx, &good).await.unwrap();
    let intent = Intent {
        program: "small".to_owned(),
        cohort: None,
        kind: "archived".to_owned(),
        effect_key: format!("{RUN}/1/99/archived"),
        payload: json!({}),
        once: false,
        not_before: now,
        deadline: None,
        epoch: None,
    };
    let (id, _) = outbox::put(&mut tx, &intent, now).await.unwrap();
    let claim = Claim { kinds: &["archived"], by: "test", limit: 1, lease: jiff::SignedDuration::from_mins(1) };
    outbox::claim(&mut tx, &claim, now).await.unwrap();
    let receipt =
        json!([{ "way": "smtp", "reference": "<00c0ffee@example.com>", "to": address("receipts"), "at": now }]);
    outbox::succeed(&mut tx, id, &receipt, now).await.unwrap();
    tx.commit().await.unwrap();
    scene.beta.edit_documents(|text| format!("{text}\nAsk {}.\n", address("documents"))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_evidence_of_a_rollback_is_checked_on_another_machine() {
    for db in databases() {
        let mut scene = Scene::start(&db, &STEPS).await;
        scene.ask_for_the_run().await;
        scene.beta.until("every step", |controller| is_in(controller, RunPhase::Holding)).await;
        scene.allow_the_lift().await;
        scene.beta.until("the lift", |controller| is_in(controller, RunPhase::Lifted)).await;
        put_addresses(&scene).await;
        let folder = tempfile::tempdir().unwrap();
        let archive = folder.path().join("run.tar");
        let (database, data) = (db.url.clone(), scene.beta.data.display().to_string());
        let mut words =
            vec!["audit", "bundle", RUN, "--file", archive.to_str().unwrap(), "--database", &database, "--data", &data];
        // On a cluster the documents are there.
        words.extend(scene.beta.namespace().into_iter().flat_map(|namespace| ["--namespace", namespace]));
        let told = Betagate::new(&words).within(folder.path()).run().expect_code(0).stdout;
        let head = told.trim().rsplit(' ').next().unwrap().to_owned();
        Betagate::new(&words).within(folder.path()).run().expect_code(1);
        scene.beta.store.close().await;

        let fits = verify(&archive, &["--head", &head]).expect_code(0).stdout;
        assert!(fits.contains(RUN) && fits.contains(&head), "{fits}");
        verify(&archive, &[]).expect_code(0);
        let wrong = verify(&archive, &["--head", "1:00"]).expect_code(1).stdout;
        assert!(wrong.contains("should at 1:00"), "{wrong}");

        let files = read(std::fs::File::open(&archive).unwrap()).unwrap();
        let names: Vec<&str> = files.keys().map(String::as_str).collect();
        for name in ["run.json", "readings.json", "verdicts.json", "approvals.json", "receipts.json", "effects.json"] {
            assert!(names.contains(&name), "{names:?}");
        }
        assert!(names.iter().any(|name| name.starts_with("documents/")), "{names:?}");
        for address in ["ada@", "ana@", "ops@", "beta@"] {
            let (name, _) = files.iter().find(|(_, text)| text.contains(address)).unzip();
            assert_eq!(name, None, "{address} is in it");
        }
        for place in ["run", "desired", "readings", "verdicts", "approvals", "incidents", "receipts", "effects"] {
            let file = &files[&format!("{place}.json")];
            assert!(!file.contains(&format!("{place}.place@")), "{place}: {file}");
            let first = place.chars().next().unwrap();
            assert!(file.contains(&format!("{first}…@example.org")), "{place} keeps that there was one: {file}");
        }
        assert!(!files.values().any(|text| text.contains("place@")));
        let receipts: Value = serde_json::from_str(&files["receipts.json"]).unwrap();
        let ids = receipts.as_array().unwrap().iter().flat_map(|receipt| receipt["messageIds"].as_array().unwrap());
        let ids: Vec<&str> = ids.map(|id| id.as_str().unwrap()).collect();
        assert!(ids.contains(&"00c0ffee"), "what a mail server's log names stays readable: {ids:?}");
        let said = |path: &Path| verify(path, &[]).expect_code(1).stdout;
        // Each file: changed, left out, put in.
        for name in files.keys().filter(|name| !["manifest.json", "chain.jsonl"].contains(&name.as_str())) {
            let path = tampered(&files, folder.path(), |files| files.get_mut(name).unwrap().push(' '));
            assert!(said(&path).contains(&format!("{name} is not what the manifest names")));
            let path = tampered(&files, folder.path(), |files| drop(files.remove(name)));
            assert!(said(&path).contains(&format!("{name} is missing")));
        }
        let path = tampered(&files, folder.path(), |files| drop(files.insert("more.json".to_owned(), "{}".to_owned())));
        assert!(said(&path).contains("more.json is not in the manifest"));
        // A file and its digest in the manifest: the log names another manifest.
        let path = tampered(&files, folder.path(), |files| {
            files.get_mut("approvals.json").unwrap().push(' ');
            made_up(files, "approvals.json");
        });
        assert!(said(&path).contains("manifest.json is not the one that the log names"));
        // An entry of the log, in the middle of it.
        let path = tampered(&files, folder.path(), |files| {
            let chain = files.get_mut("chain.jsonl").unwrap();
            *chain = chain.replacen("step 3 revokeInvites", "step 3 nothing", 1);
        });
        let found = said(&path);
        assert!(found.contains("was changed after it had been linked"), "{found}");
        // An entry that was taken out.
        let path = tampered(&files, folder.path(), |files| {
            let chain = files.get_mut("chain.jsonl").unwrap();
            let lines: Vec<&str> = chain.lines().collect();
            *chain = [&lines[..2], &lines[3..]].concat().join("\n") + "\n";
        });
        assert!(said(&path).contains("line 3: entry"), "{}", said(&path));
        // A run that tells another story, with everything else made to fit: the log says otherwise.
        let path = tampered(&files, folder.path(), |files| {
            let run = files.get_mut("run.json").unwrap();
            let mut told: Value = serde_json::from_str(run).unwrap();
            told["steps"][4]["verified_at"] = "2026-03-03T07:59:00Z".into();
            *run = serde_json::to_string_pretty(&told).unwrap() + "\n";
            made_up(files, "run.json");
        });
        assert!(said(&path).contains("the log does not say StepVerified step 5 keepOnline at 2026-03-03T07:59:00Z"));
    }
}

/// Puts the minutes of a call, by its name, which have been written or wait.
async fn put_minutes(store: &Store, call: &str, written: bool) {
    let now = "2026-03-02T18:00:00Z".parse().unwrap();
    let intent = Intent {
        program: "small".to_owned(),
        cohort: None,
        kind: "minutes".to_owned(),
        effect_key: format!("{call}/minutes"),
        payload: serde_json::to_value(MessageKind::Minutes { call: call.to_owned(), body: "said".to_owned() }).unwrap(),
        once: false,
        not_before: now,
        deadline: None,
        epoch: None,
    };
    let mut tx = store.begin().await.unwrap();
    let (id, _) = outbox::put(&mut tx, &intent, now).await.unwrap();
    if written {
        let claim = Claim { kinds: &["minutes"], by: "test", limit: 1, lease: jiff::SignedDuration::from_mins(1) };
        outbox::claim(&mut tx, &claim, now).await.unwrap();
        outbox::succeed(&mut tx, id, &json!({}), now).await.unwrap();
    }
    tx.commit().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_cannot_be_read_has_an_archive_with_what_was_written() {
    for db in databases() {
        let store = Store::open(&db.url).await.unwrap();
        store.migrate().await.unwrap();
        let mut tx = store.begin().await.unwrap();
        memory::put(&mut tx, "small", ("run", RUN), &json!({ "form": "of another version" }), 0).await.unwrap();
        tx.commit().await.unwrap();
        put_minutes(&store, "all-first", true).await;
        put_minutes(&store, "all-public", false).await;
        let now = "2026-03-03T08:00:00Z".parse().unwrap();
        let (files, _) = gather(&store, ("small", RUN), Files::new(), ("founder", now)).await.unwrap();
        let documents: Vec<&String> = files.keys().filter(|name| name.starts_with("documents/")).collect();
        assert!(matches!(&*documents, [one] if one.contains("minutes-all-first-")), "{documents:?}");
        assert!(files["run.json"].contains("of another version"));
        store.close().await;
    }
}
