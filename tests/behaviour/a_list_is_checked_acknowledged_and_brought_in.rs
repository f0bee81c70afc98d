//! A cohort's list is checked before anything is sent (seed 004): errors stop it, warnings wait for a person's word, and that word is printed
//! ready to be said. What was acknowledged by its digest in Git is what the controller brings in, on every database.

use betagate::store::invites::{self, Filter, Invite};
use serde_json::Value;

use crate::support::beta::Beta;
use crate::support::{Betagate, Outcome, TestRepo, databases};

const PROGRAM: &str = "apiVersion: betagate.dev/v1alpha1
kind: Program
metadata: { name: kruxt }
spec:
  timeZone: Europe/Rome
  startsOn: 2026-03-02
  people: { ana: {}, bo: {} }
---
apiVersion: betagate.dev/v1alpha1
kind: Rollout
metadata: { name: beta }
spec: { program: kruxt, stages: [ { name: pilot, window: { from: +0d }, cohorts: [pavia] } ] }
";
const COHORT: &str = "apiVersion: betagate.dev/v1alpha1
kind: Cohort
metadata: { name: pavia }
spec:
  program: kruxt
  members: { csv: pavia.csv }
  require: { rows: 50, labels: 3, roles: { creator: 5, listener: 20 } }
";

fn repo(list: &str) -> TestRepo {
    let repo = TestRepo::empty();
    repo.write("manifests/program.yaml", PROGRAM);
    repo.write("cohorts/pavia.yaml", COHORT);
    repo.write("cohorts/pavia.csv", list);
    repo
}

/// So many people, a fifth of them creators, under so many labels.
fn people(count: usize, labels: usize) -> Vec<String> {
    let role = |n: usize| if n.is_multiple_of(5) { "creator" } else { "listener" };
    (0..count).map(|n| format!("t{n}@example.com,{}-{}\n", role(n), n % labels)).collect()
}

fn validate(repo: &TestRepo, more: &[&str]) -> Outcome {
    Betagate::new(["validate", "--cohort", "pavia"].iter().chain(more)).within(repo.path()).run()
}

fn fields(repo: &TestRepo, code: i32) -> Value {
    serde_json::from_str(&validate(repo, &["-o", "json"]).expect_code(code).stdout).unwrap()
}

async fn rows(beta: &Beta) -> Vec<Invite> {
    invites::list(&beta.store, &Filter { limit: 1000, ..Filter::default() }).await.unwrap()
}

/// What the cohort's status says that it waits for.
fn waits(beta: &Beta) -> Vec<String> {
    let decision = beta.controller.programs()["kruxt"].decision.as_ref().unwrap();
    decision.states["Cohort/pavia"].waits.iter().map(|wait| wait.on.clone()).collect()
}

#[test]
fn every_rule_of_seed_004_has_its_exit_code_and_every_problem_its_file_and_line() {
    let good = people(60, 6).concat();
    validate(&repo(&good), &[]).expect_code(0);
    for (list, code, line, problem, words) in [
        (format!("{good}not an address,creator-1\n"), 1, Some(61), "malformed", "exactly one @"),
        (format!("{good}T7@Example.com,creator-1\n"), 1, Some(61), "duplicate", "the same address as on line 8"),
        ("email,label\n".to_owned(), 1, None, "empty", "the list is empty"),
        (people(49, 6).concat(), 2, None, "few-rows", "49 rows, where 50 are asked for"),
        (people(60, 6).concat().replace("creator", "fan"), 2, None, "few-of-role", "0 of role creator, where 5"),
        (people(60, 6).concat().replace("listener", "creator"), 2, None, "few-of-role", "0 of role listener, where 20"),
        (people(60, 1).concat(), 2, None, "few-labels", "2 distinct labels, where 3 are asked for"),
        (format!("{good}a@mailinator.com,creator-1\n"), 2, Some(61), "disposable", "mailinator.com is a throw-away"),
    ] {
        let repo = repo(&list);
        let told = validate(&repo, &[]).expect_code(code);
        let place = line.map_or("cohorts/pavia.csv: ".to_owned(), |line| format!("cohorts/pavia.csv:{line}: "));
        let said = told.stderr.lines().any(|text| text.starts_with(&place) && text.contains(words));
        assert!(said, "{words}: {}", told.stderr);
        let found = fields(&repo, code);
        let one = found["problems"].as_array().unwrap().iter().find(|one| one["problem"] == problem).unwrap();
        assert_eq!((one["file"].as_str(), one["line"].as_u64()), (Some("cohorts/pavia.csv"), line), "{found}");
        assert_eq!(one["severity"], if code == 1 { "error" } else { "warning" });
        assert_eq!(found["acknowledge"].is_null(), code == 1, "an error is nothing to acknowledge");
    }
    let unknown = Betagate::new(["validate", "--cohort", "pavai"]).within(repo(&good).path()).run().expect_code(1);
    assert!(unknown.stderr.contains("did you mean pavia?"), "{}", unknown.stderr);
}

#[test]
fn members_in_their_document_are_named_by_its_lines() {
    let repo = repo("");
    repo.replace(
        "cohorts/pavia.yaml",
        "  members: { csv: pavia.csv }\n",
        "  members:\n    inline:\n      - { email: a@example.com, note: \"two\\nlines\" }\n      - email: nobody\n        label: x\n      - { email: A@example.com }\n",
    );
    let found = fields(&repo, 1);
    let lines: Vec<_> =
        found["problems"].as_array().unwrap().iter().map(|one| (one["file"].clone(), one["line"].as_u64())).collect();
    assert_eq!(
        lines[..2],
        [("cohorts/pavia.yaml".into(), Some(9)), ("cohorts/pavia.yaml".into(), Some(11))],
        "{found}"
    );
    assert!(found["problems"][1]["message"].as_str().unwrap().contains("the same address as on line 8"), "{found}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_acknowledged_in_git_is_brought_in_and_nothing_before() {
    for db in databases() {
        let repo = repo(&people(8, 4).concat());
        let asked = fields(&repo, 2);
        let mut beta = Beta::start(&db, repo, "2026-03-02T08:00:00Z").await;
        for _ in 0..3 {
            beta.pass().await;
        }
        assert!(rows(&beta).await.is_empty(), "{}: nobody before somebody said so", db.name);
        let digest = asked["digest"].as_str().unwrap();
        assert_eq!(waits(&beta).len(), 1, "{:?}", waits(&beta));
        assert!(waits(&beta)[0].contains(&format!("acknowledge digest {digest}")), "{:?}", waits(&beta));

        // The very document that was printed, in the file that was named.
        let told = validate(&beta.repo, &[]).expect_code(2).stdout;
        let yaml = told.split("\n\n").find(|part| part.starts_with("apiVersion:")).unwrap();
        beta.repo.write(asked["acknowledge"]["file"].as_str().unwrap(), yaml);
        let heard = fields(&beta.repo, 0);
        assert_eq!((heard["outcome"].as_str(), heard["digest"].as_str()), (Some("acknowledged"), Some(digest)));
        for _ in 0..3 {
            beta.pass().await;
        }
        assert_eq!(rows(&beta).await.len(), 8, "{}: {:?}", db.name, waits(&beta));
        assert!(waits(&beta).is_empty());

        // Another list is not the one that was acknowledged.
        beta.repo.write("cohorts/pavia.csv", &people(9, 4).concat());
        validate(&beta.repo, &[]).expect_code(2);
        beta.pass().await;
        assert_eq!(rows(&beta).await.len(), 8);
        // The command that was printed says the same to a running controller.
        let command = fields(&beta.repo, 2)["acknowledge"]["command"].as_str().unwrap().to_owned();
        let words = command.split(' ').skip(1).chain(["--database", &db.url]);
        Betagate::new(words).within(beta.repo.path()).run().expect_code(0);
        for _ in 0..3 {
            beta.pass().await;
        }
        assert_eq!(rows(&beta).await.len(), 9, "{}: {:?}", db.name, waits(&beta));
        beta.store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_revokes_many_waits_for_a_word_about_that_change_and_no_other() {
    for db in databases() {
        let repo = repo(&people(60, 6).concat());
        let mut beta = Beta::start(&db, repo, "2026-03-02T08:00:00Z").await;
        for _ in 0..3 {
            beta.pass().await;
        }
        assert_eq!(rows(&beta).await.len(), 60);
        let first = fields(&beta.repo, 0)["digest"].as_str().unwrap().to_owned();
        beta.repo.write("cohorts/pavia.csv", &people(30, 6).concat());
        let found = fields(&beta.repo, 2);
        let second = found["digest"].as_str().unwrap().to_owned();
        // Its warnings are acknowledged; that it takes half of the people away is not.
        let document = found["acknowledge"]["document"].to_string();
        beta.repo.write("cohorts/warnings.yaml", &document);
        for _ in 0..3 {
            beta.pass().await;
        }
        let pending = |rows: &[Invite]| rows.iter().filter(|row| row.state.is_active()).count();
        assert_eq!(pending(&rows(&beta).await), 60, "{}", db.name);
        // What the status asks for follows from the two lists alone.
        let change = betagate::core::cohort::change_digest(Some(&first), &second);
        let asked = [format!("it would revoke more than 20 % of the list (acknowledge digest {change})")];
        assert_eq!(waits(&beta), asked);
        // And so does the plan against what is live, which also counts by person.
        let plan = ["plan", "--format", "json", "--database", &db.url, "--data"];
        let plan = Betagate::new(plan.iter().copied().map(std::ffi::OsStr::new).chain([beta.data.as_os_str()]));
        let plan: Value = serde_json::from_str(&plan.within(beta.repo.path()).run().expect_code(2).stdout).unwrap();
        let actions = plan[0]["actions"].as_array().unwrap();
        let delta = &actions.iter().find(|action| action["action"] == "syncList").unwrap()["delta"];
        assert_eq!((delta["digest"].as_str(), delta["removed"].as_u64()), (Some(change.as_str()), Some(30)), "{plan}");
        assert_eq!(delta["guard"], "it would revoke more than 20 % of the list");
        let words =
            ["acknowledge", "--by", "ana", "--object", "Cohort/pavia", "--digest", &change, "--database", &db.url];
        Betagate::new(std::iter::once(&"signoff").chain(&words)).within(beta.repo.path()).run().expect_code(0);
        for _ in 0..3 {
            beta.pass().await;
        }
        assert_eq!(pending(&rows(&beta).await), 30, "{}: {:?}", db.name, waits(&beta));
        beta.store.close().await;
    }
}

/// Whoever acknowledged the change by which a list came in has acknowledged its warnings: every check of it says so from then on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_word_about_the_change_is_heard_by_every_check_of_the_list() {
    for db in databases() {
        let repo = repo(&people(60, 6).concat());
        repo.write("manifests/readiness.yaml", READINESS);
        let before = repo.commit("sixty people");
        let mut beta = Beta::start(&db, repo, "2026-03-02T08:00:00Z").await;
        for _ in 0..3 {
            beta.pass().await;
        }
        let first = fields(&beta.repo, 0)["digest"].as_str().unwrap().to_owned();
        beta.repo.write("cohorts/pavia.csv", &people(30, 6).concat());
        let found = fields(&beta.repo, 2);
        let change = betagate::core::cohort::change_digest(Some(&first), found["digest"].as_str().unwrap());
        // Said in the same commit, by the digest that the pull request printed.
        let mut document = found["acknowledge"]["document"].clone();
        document["spec"]["digest"] = change.as_str().into();
        beta.repo.write("cohorts/acknowledge.yaml", &document.to_string());
        validate(&beta.repo, &[]).expect_code(2);
        validate(&beta.repo, &["--base", &before]).expect_code(0);
        Betagate::new(["validate", "--base", &before]).within(beta.repo.path()).run().expect_code(0);
        for database in [true, false] {
            // Before it is brought in, and after.
            validate(&beta.repo, &["--database", &db.url]).expect_code(0);
            if database {
                for _ in 0..3 {
                    beta.pass().await;
                }
            }
        }
        assert_eq!(rows(&beta).await.iter().filter(|row| row.state.is_active()).count(), 30, "{}", db.name);
        // And the gate hears it, also once another revision has come.
        beta.repo.write("manifests/readme.yaml", "# nothing\n");
        let later = beta.clock.now().checked_add(jiff::SignedDuration::from_mins(10)).unwrap();
        beta.clock.set(later);
        for _ in 0..4 {
            beta.pass().await;
        }
        let decision = beta.controller.programs()["kruxt"].decision.as_ref().unwrap();
        let reading = &decision.verdicts["readiness"].checks[0].reading.as_ref().unwrap().outcome;
        assert!(format!("{reading:?}").contains("value: 0.0"), "{}: {reading:?}", db.name);
        beta.store.close().await;
    }
}

const READINESS: &str = "
---
apiVersion: betagate.dev/v1alpha1
kind: Gate
metadata: { name: readiness }
spec: { program: kruxt, checks: [ { name: list, fact: cohort.outcome, of: pavia, pass: \"== 0\" } ] }
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gate_knows_what_a_list_is_worth_before_its_cohort_opens() {
    for db in databases() {
        let repo = repo(&people(8, 4).concat());
        let program = PROGRAM
            .replace("window: { from: +0d }", "window: { from: +0d }, enter: { gates: [ { name: readiness } ] }");
        repo.write("manifests/program.yaml", &format!("{program}{READINESS}"));
        let mut beta = Beta::start(&db, repo, "2026-03-02T08:00:00Z").await;
        let verdict = |beta: &Beta| {
            let decision = beta.controller.programs()["kruxt"].decision.as_ref().unwrap();
            let check = &decision.verdicts["readiness"].checks[0];
            format!("{:?}", check.reading.as_ref().map(|reading| &reading.outcome))
        };
        for (list, worth) in
            [(people(8, 4).concat(), "2.0"), ("nonsense\n".to_owned(), "1.0"), (people(60, 6).concat(), "0.0")]
        {
            beta.repo.write("cohorts/pavia.csv", &list);
            let later = beta.clock.now().checked_add(jiff::SignedDuration::from_mins(10)).unwrap();
            beta.clock.set(later);
            for _ in 0..4 {
                beta.pass().await;
            }
            assert!(verdict(&beta).contains(&format!("value: {worth}")), "{worth}: {}", verdict(&beta));
            assert_eq!(rows(&beta).await.len(), if worth == "0.0" { 60 } else { 0 }, "{}", db.name);
        }
        beta.store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_list_takes_no_change_and_a_suspended_one_is_left_alone() {
    for db in databases() {
        let repo = repo(&people(60, 6).concat());
        let locked =
            "  lockList: 2026-03-05\n  suspend: { reason: the gym moves, by: ana, until: 2026-03-03 }\n  require:";
        repo.replace("cohorts/pavia.yaml", "  require:", locked);
        let mut beta = Beta::start(&db, repo, "2026-03-02T08:00:00Z").await;
        for (at, list, rows_now, reason) in [
            ("2026-03-02T09:00:00Z", 60, 0, Some("suspended until 2026-03-03T23:00:00Z by ana: the gym moves")),
            ("2026-03-03T23:00:00Z", 60, 60, None),
            ("2026-03-04T12:00:00Z", 61, 61, None),
            (
                "2026-03-05T12:00:00Z",
                62,
                61,
                Some("the list is locked since 2026-03-04T23:00:00Z (acknowledge digest "),
            ),
        ] {
            beta.at(at);
            beta.repo.write("cohorts/pavia.csv", &people(list, 6).concat());
            for _ in 0..3 {
                beta.pass().await;
            }
            assert_eq!(rows(&beta).await.len(), rows_now, "{} at {at}: {:?}", db.name, waits(&beta));
            let told = waits(&beta);
            assert!(reason.map_or(told.is_empty(), |reason| told[0].starts_with(reason)), "{at}: {told:?}");
        }
        // Whoever has seen the change says so by the digest that the status told; the list's own is not enough.
        let [list, change] = {
            let told = waits(&beta).remove(0);
            let change = told.rsplit("digest ").next().unwrap().trim_end_matches(')').to_owned();
            [fields(&beta.repo, 0)["digest"].as_str().unwrap().to_owned(), change]
        };
        for (digest, rows_now) in [(list, 61), (change, 62)] {
            let words = [
                "signoff",
                "acknowledge",
                "--by",
                "bo",
                "--object",
                "Cohort/pavia",
                "--digest",
                &digest,
                "--database",
                &db.url,
            ];
            Betagate::new(words).within(beta.repo.path()).run().expect_code(0);
            for _ in 0..3 {
                beta.pass().await;
            }
            assert_eq!(rows(&beta).await.len(), rows_now, "{}", db.name);
        }
        beta.store.close().await;
    }
}
