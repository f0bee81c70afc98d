//! Two programs roll back at once, and two plans of one program hold the same flag: each run keeps its own order, a flag is free when the last hold on
//! it is lifted, and no commit in between has a say in what is safe. A second failure joins its run under its own number.

use std::collections::BTreeMap;

use betagate::controller::{build_snapshot, preview};
use betagate::source::Source;
use betagate::store::{audit, freezes, incidents, outbox, status};
use betagate_core::decide::{RunMemory, RunPhase, StepState};
use jiff::SignedDuration;
use serde_json::json;

use crate::support::beta::Beta;
use crate::support::small::rows;
use crate::support::{TestRepo, databases, incident, lift};

const STEPS: &str = "  steps:
    - freezeInvites: { cohorts: all }
    - disableFlags: { keys: [FLAG] }
    - routeToFallback: { risk: high }
    - publishNote: { to: [ops], template: note, within: 30m }
    - runJob: { command: [./job] }
    - captureRootCause: { owner: founder }
    - holdReviews: { untilStableFor: 2d, severity: sev-1 }
";

fn document(repo: &TestRepo, kind: &str, (program, name): (&str, &str), spec: &str) {
    let head = format!("apiVersion: betagate.dev/v1alpha1\nkind: {kind}\nmetadata: {{ name: {name} }}\nspec:\n");
    let spec = if kind == "Program" { spec.to_owned() } else { format!("  program: {program}\n{spec}") };
    repo.write(&format!("manifests/{program}-{}-{name}.yaml", kind.to_lowercase()), &(head + &spec));
}

fn flag(repo: &TestRepo, program: &str, name: &str, safe: &str, fallback: &str) {
    let spec = format!(
        "  type: boolean\n  risk: high\n  variants: {{ \"on\": true, \"off\": false }}\n  defaultVariant: \"on\"\n  safeVariant: \"{safe}\"\n{fallback}"
    );
    document(repo, "Flag", (program, name), &spec);
}

/// `north` with two plans that hold the same flag (the one with the name that comes first in the alphabet begins last), `south` with one.
fn two_programs() -> TestRepo {
    let repo = TestRepo::empty();
    for program in ["north", "south"] {
        let spec = "  timeZone: Europe/Rome\n  startsOn: 2026-03-02\n  publicUrl: https://beta.example.com\n  \
                    people: { founder: { git: [ana@example.com], notify: ana@example.com } }\n  channels: { ops: { email: [ops@example.com] } }\n";
        document(&repo, "Program", (program, program), spec);
        let cohort = format!("cohort-{program}");
        document(&repo, "Cohort", (program, &cohort), &format!("  members: {{ csv: {program}.csv }}\n"));
        repo.write(&format!("manifests/{program}.csv"), &crate::support::small::list(&rows(&["ada@example.com"])));
        let stage = format!("  stages: [{{ name: first, cohorts: [{cohort}] }}]\n");
        document(&repo, "Rollout", (program, &format!("rollout-{program}")), &stage);
        flag(&repo, program, &format!("boost-{program}"), "off", "  fallback: /classic\n");
        flag(&repo, program, &format!("maps-{program}"), "off", "  fallback: /list\n");
    }
    let plan = |program: &str, name: &str, when: &str| {
        let steps = STEPS.replace("FLAG", &format!("boost-{program}"));
        document(&repo, "RollbackPlan", (program, name), &format!("  when: {when}\n{steps}"));
    };
    plan("north", "zeta", "[{ incident: { severity: sev-1, activeFor: 30m } }]");
    plan(
        "north",
        "alpha",
        "[{ incident: { severity: sev-2, activeFor: 1h } }, { incident: { severity: sev-3, activeFor: 1m } }]",
    );
    plan("south", "southern", "[{ incident: { severity: sev-1, activeFor: 30m } }]");
    repo.write("cohorts/templates/note.txt", "Subject: Rollback {{ run }}\n\n{{ reason }}\n");
    let job = repo.write("job", "#!/bin/sh\necho \"$BETAGATE_RUN/$BETAGATE_STEP\" >> job.log\n");
    std::fs::set_permissions(&job, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    repo
}

async fn breaks(beta: &Beta, program: &str, name: &str, severity: &str) {
    incident::tell(beta, &incident::open(program, name, severity, beta.clock.now())).await;
}

async fn mended(beta: &Beta, program: &str, name: &str) {
    let mut tx = beta.store.begin().await.unwrap();
    assert!(incidents::close(&mut tx, program, name, beta.clock.now()).await.unwrap());
    tx.commit().await.unwrap();
}

fn runs(beta: &Beta, program: &str) -> BTreeMap<String, RunMemory> {
    beta.controller.programs()[program].decision.as_ref().unwrap().memory.runs.clone()
}

async fn until(beta: &mut Beta, (program, run): (&str, &str), phase: RunPhase) {
    beta.until(&format!("{run} {phase:?}"), |controller| {
        let decision = controller.programs().get(program).and_then(|state| state.decision.as_ref());
        decision.is_some_and(|decision| decision.memory.runs.get(run).is_some_and(|run| run.phase == phase))
    })
    .await;
}

async fn frozen_by(beta: &Beta, program: &str) -> Vec<String> {
    freezes::list(&beta.store, Some(program)).await.unwrap().into_iter().map(|freeze| freeze.holder).collect()
}

/// What is served of a flag, and whether it says where to go instead.
async fn served(beta: &Beta, program: &str) -> (bool, bool) {
    let answer = beta.flag(&format!("boost-{program}"), "ada@example.com").await;
    (answer["value"].as_bool().unwrap(), answer["metadata"]["betagate.fallback"] == json!("/classic"))
}

/// Effect keys of a run's messages, and whether each is through.
async fn sent(beta: &Beta, run: &str) -> Vec<String> {
    let mut all = outbox::by_prefix(&beta.store, &format!("{run}/")).await.unwrap();
    all.sort_by(|one, other| one.intent.effect_key.cmp(&other.intent.effect_key));
    all.into_iter().map(|message| format!("{} {}", message.intent.effect_key, message.state)).collect()
}

/// The holds that a plan tells of.
async fn held(beta: &Beta, program: &str) -> Vec<String> {
    let snapshot = Source::folder(beta.repo.path(), beta.clock.clone()).snapshot().await.unwrap();
    let built = build_snapshot(&snapshot, None, false).unwrap();
    let all = preview(&beta.store, &snapshot, &built, beta.clock.now(), &beta.data).await.unwrap();
    let mine = all.into_iter().find(|preview| preview.program == program).unwrap();
    mine.held.iter().map(|held| format!("{} by {}", held.what, held.by)).collect()
}

fn jobs(beta: &Beta) -> Vec<String> {
    let text = std::fs::read_to_string(beta.repo.path().join("job.log")).unwrap_or_default();
    let mut all: Vec<String> = text.lines().map(str::to_owned).collect();
    all.sort();
    all
}

async fn lift_now(beta: &mut Beta, program: &str, run: &str) {
    lift::complete_all(beta).await;
    beta.clock.advance(SignedDuration::from_mins(1));
    lift::say(&beta.store, (program, run), beta.clock.now()).await;
    until(beta, (program, run), RunPhase::Lifted).await;
    beta.pass().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_programs_roll_back_at_once_and_a_flag_is_free_when_its_last_hold_is_lifted() {
    for db in databases() {
        let mut beta = Beta::start(&db, two_programs(), "2026-03-03T08:00:00Z").await;
        beta.pass().await;
        assert_eq!(beta.controller.problems(), [], "{}", db.name);
        assert_eq!((served(&beta, "north").await, served(&beta, "south").await), ((true, false), (true, false)));
        breaks(&beta, "north", "sync", "sev-1").await;
        breaks(&beta, "south", "sync", "sev-1").await;
        beta.clock.advance(SignedDuration::from_mins(31));
        beta.pass().await;
        let froze: Vec<_> = freezes::list(&beta.store, None).await.unwrap().into_iter().map(|it| it.since).collect();
        assert_eq!(froze, [beta.clock.now(); 2], "both are frozen by the first pass");
        until(&mut beta, ("north", "zeta-1"), RunPhase::Holding).await;
        until(&mut beta, ("south", "southern-1"), RunPhase::Holding).await;
        assert_eq!((served(&beta, "north").await, served(&beta, "south").await), ((false, true), (false, true)));
        assert_eq!(jobs(&beta), ["southern-1/5", "zeta-1/5"]);

        // What was safe is called dangerous and the fallback is gone, before another plan of the same program begins.
        flag(&beta.repo, "north", "boost-north", "on", "");
        breaks(&beta, "north", "bookings", "sev-2").await;
        beta.clock.advance(SignedDuration::from_mins(61));
        until(&mut beta, ("north", "alpha-1"), RunPhase::Holding).await;
        assert_eq!(beta.controller.problems(), [], "{}: the commit was taken", db.name);
        assert_eq!(served(&beta, "north").await, (false, true), "{}: a commit turned a held flag on", db.name);
        assert_eq!(runs(&beta, "north").keys().collect::<Vec<_>>(), ["alpha-1", "zeta-1"]);
        assert_eq!(frozen_by(&beta, "north").await, ["zeta-1/1", "alpha-1/1"]);

        let both = held(&beta, "north").await;
        let holds_it = |run: &str| {
            both.iter().any(|held| held.contains("flag boost-north is served at off") && held.contains(run))
        };
        assert!(holds_it("zeta-1/2") && holds_it("alpha-1/2"), "a plan tells each hold: {both:?}");

        lift_now(&mut beta, "north", "zeta-1").await;
        assert!(!served(&beta, "north").await.0, "{}: the other run still holds it", db.name);
        assert_eq!(frozen_by(&beta, "north").await, ["alpha-1/1"]);
        let mine = held(&beta, "north").await;
        assert!(mine.iter().any(|held| held.contains("boost-north") && held.contains("alpha-1/2")), "{mine:?}");
        assert_eq!((served(&beta, "south").await, frozen_by(&beta, "south").await.len()), ((false, true), 1));
        lift_now(&mut beta, "north", "alpha-1").await;
        assert_eq!(served(&beta, "north").await, (true, false), "free when the last hold is lifted");
        assert!(frozen_by(&beta, "north").await.is_empty());
        assert_eq!((served(&beta, "south").await, frozen_by(&beta, "south").await.len()), ((false, true), 1));
        assert_eq!(runs(&beta, "south")["southern-1"].phase, RunPhase::Holding);
        assert!(audit::verify(&beta.store).await.unwrap().problem.is_none());
        beta.store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_failure_joins_its_run_under_its_own_number_and_no_destructive_step_repeats() {
    for db in databases() {
        let mut beta = Beta::start(&db, two_programs(), "2026-03-03T08:00:00Z").await;
        beta.pass().await;
        breaks(&beta, "north", "bookings", "sev-2").await;
        beta.clock.advance(SignedDuration::from_mins(61));
        until(&mut beta, ("north", "alpha-1"), RunPhase::Holding).await;
        mended(&beta, "north", "bookings").await;
        beta.clock.advance(SignedDuration::from_hours(30));
        beta.pass().await;
        let stable = |beta: &Beta| runs(beta, "north")["alpha-1"].stability.at(beta.clock.now());
        assert!(stable(&beta) >= SignedDuration::from_hours(30), "{}: {:?}", db.name, stable(&beta));

        // The same trigger again, and then another trigger of the same plan.
        for (name, severity, number) in [("bookings-again", "sev-2", 2), ("feed", "sev-3", 3)] {
            breaks(&beta, "north", name, severity).await;
            beta.clock.advance(SignedDuration::from_mins(61));
            beta.pass().await;
            until(&mut beta, ("north", "alpha-1"), RunPhase::Holding).await;
            let run = &runs(&beta, "north")["alpha-1"];
            assert_eq!(run.episodes.iter().map(|episode| episode.number).collect::<Vec<_>>().last(), Some(&number));
            assert!(run.steps.iter().all(|step| step.state == StepState::Verified), "{:#?}", run.steps);
            assert_eq!(stable(&beta), SignedDuration::ZERO, "{}: stability starts again", db.name);
            beta.clock.advance(SignedDuration::from_hours(2));
            beta.pass().await;
        }
        assert_eq!(runs(&beta, "north").len(), 1, "they joined");
        let expected: Vec<String> = (1..=3)
            .flat_map(|episode| {
                let job = (episode == 1).then(|| "alpha-1/1/5/job done".to_owned());
                let note = format!("alpha-1/{episode}/4/ops done");
                [Some(note), job, Some(format!("alpha-1/{episode}/6/document done"))]
            })
            .flatten()
            .collect();
        assert_eq!(sent(&beta, "alpha-1").await, expected, "{}", db.name);
        assert_eq!(jobs(&beta), ["alpha-1/5"], "no destructive step repeats");
        assert_eq!(frozen_by(&beta, "north").await, ["alpha-1/1"]);
        let filter = audit::Filter { object: Some("Rollback/alpha-1".to_owned()), ..audit::Filter::default() };
        let told = audit::list(&beta.store, &filter).await.unwrap();
        let count = |action: &str| told.iter().filter(|kept| kept.entry.action == action).count();
        assert_eq!((count("EpisodeJoined"), count("StepInForce")), (2, 7));

        lift::complete_all(&beta).await;
        lift_now(&mut beta, "north", "alpha-1").await;
        assert_eq!(served(&beta, "north").await, (true, false));
        beta.store.close().await;
    }
}

/// Two programs are frozen by hand, with no controller: each gets a run of its own name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_programs_that_are_frozen_by_hand_are_lifted_one_by_one() {
    for db in databases() {
        let mut beta = Beta::start(&db, two_programs(), "2026-03-03T08:00:00Z").await;
        beta.pass().await;
        let mut tx = beta.store.begin().await.unwrap();
        for program in ["north", "south"] {
            let freeze = freezes::Freeze {
                program: program.to_owned(),
                cohort: String::new(),
                holder: "hand:founder".to_owned(),
                reason: "codes leaked".to_owned(),
                since: beta.clock.now(),
            };
            freezes::freeze(&mut tx, &freeze).await.unwrap();
        }
        tx.commit().await.unwrap();
        beta.restart_controller().await;
        beta.pass().await;
        for program in ["north", "south"] {
            let run = format!("break-glass-{program}-1");
            assert_eq!(runs(&beta, program)[&run].phase, RunPhase::Holding, "{}", db.name);
            let said = status::get(&beta.store, "Rollback", &run).await.unwrap().unwrap();
            assert_eq!(said.program, program);
        }
        lift_now(&mut beta, "south", "break-glass-south-1").await;
        assert_eq!((frozen_by(&beta, "north").await.len(), frozen_by(&beta, "south").await.len()), (1, 0));
        beta.store.close().await;
    }
}
