//! A cohort's document says how many places there are and the program's how addresses are compared; both may be changed while people come in.

use std::collections::BTreeMap;

use betagate::store::audit;
use betagate::store::invites::{self, Filter};
use serde_json::Value;

use crate::support::beta::Beta;
use crate::support::small::{rows, small};
use crate::support::{Betagate, TestDb, TestRepo, databases};

const PEOPLE: [&str; 4] = ["ada+beta@example.com", "bob@example.com", "eve@example.com", "zoe@example.com"];

async fn start(db: &TestDb, repo: TestRepo) -> Beta {
    let mut beta = Beta::start(db, repo, "2026-03-02T08:00:00Z").await;
    passes(&mut beta).await;
    beta
}

async fn passes(beta: &mut Beta) {
    for _ in 0..3 {
        beta.pass().await;
    }
}

async fn states(beta: &Beta) -> BTreeMap<String, &'static str> {
    let all = invites::list(&beta.store, &Filter { limit: 100, ..Filter::default() }).await.unwrap();
    all.into_iter().map(|invite| (invite.email.unwrap(), invite.state.as_str())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_moves_up_in_order_as_places_are_added_and_nobody_loses_one() {
    for db in databases() {
        let repo = small(&rows(&PEOPLE), "{ from: beta@example.com }", "6000/min");
        repo.replace("cohorts/pavia.yaml", "  invites:", "  capacity: 2\n  invites:");
        let mut beta = start(&db, repo).await;
        let seated = async |beta: &Beta| {
            let states = states(beta).await;
            PEOPLE.map(|email| states[email] == "pending")
        };
        assert_eq!(seated(&beta).await, [true, true, false, false], "{}", db.name);
        for (before, after, sentence, wanted) in [
            ("capacity: 2", "capacity: 3", "places in cohort pavia: 2 → 3", [true, true, true, false]),
            ("capacity: 3", "capacity: 1", "places in cohort pavia: 3 → 1", [true, true, true, false]),
            ("  capacity: 1\n", "", "places in cohort pavia: 1 → no bound", [true; 4]),
        ] {
            beta.repo.replace("cohorts/pavia.yaml", before, after);
            let words = ["plan", "--database", &db.url, "--data"].map(std::ffi::OsStr::new);
            let plan = Betagate::new(words.into_iter().chain([beta.data.as_os_str()])).within(beta.repo.path()).run();
            let plan = plan.expect_code(2).stdout;
            assert!(plan.contains(sentence), "{plan}");
            passes(&mut beta).await;
            assert_eq!(seated(&beta).await, wanted, "{}: {sentence}", db.name);
        }
        let object = Some("Program/small".to_owned());
        let told = audit::list(&beta.store, &audit::Filter { object, ..Default::default() }).await.unwrap();
        let set = |entry: &Value| entry["action"] == "setCapacity";
        assert_eq!(told.iter().filter(|kept| set(&kept.entry.detail)).count(), 3, "{}", db.name);
        beta.store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_may_change_how_addresses_are_compared_and_its_lists_are_read_anew() {
    for db in databases() {
        let repo = small(&rows(&PEOPLE), "{ from: beta@example.com }", "6000/min");
        repo.replace("manifests/program.yaml", "  people:", "  massChangePercent: 100\n  people:");
        let mut beta = start(&db, repo).await;
        let code_of =
            |beta: &Beta| beta.invitations().into_iter().filter(|(to, _)| to == PEOPLE[0]).map(|(_, code)| code);
        let old: Vec<String> = code_of(&beta).collect();
        assert_eq!(beta.register("ada@example.com", &old[0]).await.0, 403, "{}", db.name);
        beta.repo.replace("manifests/program.yaml", "  people:", "  addresses: { ignorePlus: true }\n  people:");
        passes(&mut beta).await;
        let new = code_of(&beta).find(|code| *code != old[0]).unwrap_or_else(|| panic!("{}: no new code", db.name));
        assert_eq!(beta.register("Ada+other@example.com", &new).await.0, 201, "{}", db.name);
        assert_eq!(states(&beta).await["bob@example.com"], "pending");
        beta.store.close().await;
    }
}
