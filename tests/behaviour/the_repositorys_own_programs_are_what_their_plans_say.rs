//! The programs in `manifests/`, `cohorts/` and `flags/` are the examples everyone copies: each document fits its kind, and together they
//! say what seeds 002 and 004 say.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use betagate::core::desired::{BuildOptions, Revision, build};
use betagate::core::resources::{
    Check, CohortSpec, Edge, FlagSpec, GateSpec, Kind, Moment, ProgramSpec, Risk, RollbackPlanSpec, RolloutSpec,
    SignoffSpec,
};
use jiff::{Timestamp, civil::Date, tz::TimeZone};
use serde::de::DeserializeOwned;

use crate::support::repository_root;

const ROOMS: [&str; 3] = ["manifests", "cohorts", "flags"];

/// Every document of the repository's own programs: kind, name, spec.
struct Documents(Vec<(Kind, String, serde_json::Value)>);

impl Documents {
    fn read() -> Documents {
        let mut documents = Vec::new();
        for file in ROOMS.iter().flat_map(|room| yaml_files(&repository_root().join(room))) {
            let text = std::fs::read_to_string(&file).unwrap();
            for document in serde_saphyr::from_multiple::<serde_json::Value>(&text).unwrap() {
                let kind = document["kind"].as_str().unwrap().parse().unwrap();
                let name = document["metadata"]["name"].as_str().unwrap().to_owned();
                documents.push((kind, name, document["spec"].clone()));
            }
        }
        Documents(documents)
    }

    fn of<S: DeserializeOwned>(&self, kind: Kind) -> BTreeMap<&str, S> {
        let typed = |(_, name, spec): &'_ (Kind, String, serde_json::Value)| {
            serde_json::from_value(spec.clone()).unwrap_or_else(|error| panic!("{kind} {name}: {error}"))
        };
        self.0.iter().filter(|(k, ..)| *k == kind).map(|document| (document.1.as_str(), typed(document))).collect()
    }

    fn one<S: DeserializeOwned>(&self, kind: Kind, name: &str) -> S {
        self.of(kind).remove(name).unwrap_or_else(|| panic!("there is a {kind} {name}"))
    }
}

fn yaml_files(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(yaml_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            files.push(path);
        }
    }
    files.sort();
    files
}

#[test]
fn they_are_taken_without_a_problem_or_a_warning() {
    let files: Vec<(String, String)> = ROOMS
        .iter()
        .flat_map(|room| yaml_files(&repository_root().join(room)))
        .map(|file| {
            let name = file.strip_prefix(repository_root()).unwrap().to_string_lossy().into_owned();
            (name, std::fs::read_to_string(&file).unwrap())
        })
        .collect();
    let exists = |file: &str| repository_root().join(file).is_file();
    let options = BuildOptions { environment: None, default_prometheus: false, file_exists: &exists };
    let texts = files.iter().map(|(name, text)| (name.as_str(), text.as_str()));
    let built = build(texts, Revision::default(), &options).unwrap_or_else(|problems| panic!("{problems:#?}"));
    assert!(built.warnings.is_empty(), "{:#?}", built.warnings);
    let programs: Vec<_> = built.desired.programs.keys().map(String::as_str).collect();
    assert_eq!(programs, ["coach", "kruxt", "soft-launch"]);
}

#[test]
fn a_name_is_used_once_for_each_kind_and_a_flag_key_once() {
    let documents = Documents::read();
    let names: BTreeSet<_> = documents.0.iter().map(|(kind, name, _)| (*kind, name)).collect();
    assert_eq!(names.len(), documents.0.len());
    let flags = documents.of::<FlagSpec>(Kind::Flag);
    let keys: BTreeSet<_> = flags.iter().map(|(name, flag)| flag.key.as_deref().unwrap_or(name)).collect();
    assert_eq!(keys.len(), flags.len());
}

#[test]
fn a_list_of_sixty_waits_for_pavia() {
    let list = std::fs::read_to_string(repository_root().join("cohorts/pavia.csv")).unwrap();
    let rows: Vec<Vec<&str>> = list.lines().skip(1).map(|line| line.split(',').collect()).collect();
    assert_eq!(list.lines().next(), Some("email,label,role,invited_by,locale,note"));
    assert_eq!(rows.len(), 60);
    let rule = Documents::read().one::<CohortSpec>(Kind::Cohort, "pavia").require;
    assert_eq!((rule.rows, rule.labels), (Some(50), Some(3)));
    for (role, least) in rule.roles {
        assert!(rows.iter().filter(|row| row[2] == role).count() as u64 >= least, "{role}");
    }
    for row in &rows {
        let domain = row[0].split_once('@').unwrap().1;
        assert!(["example.com", "example.org"].contains(&domain), "{} is no address of ours", row[0]);
    }
    let addresses: BTreeSet<_> = rows.iter().map(|row| row[0]).collect();
    assert_eq!(addresses.len(), 60);
}

#[test]
fn readiness_has_fourteen_items_each_measured_or_signed_by_somebody_who_may() {
    let documents = Documents::read();
    let gate: GateSpec = documents.one(Kind::Gate, "pavia-readiness");
    let program: ProgramSpec = documents.one(Kind::Program, "kruxt");
    let words = documents.of::<SignoffSpec>(Kind::Signoff);
    assert_eq!(gate.checks.len(), 14);
    for check in &gate.checks {
        let Some(asked) = &check.signoff else { continue };
        let word = words.values().find(|word| word.check.as_deref() == Some(&check.name));
        let word = word.unwrap_or_else(|| panic!("{} is signed", check.name));
        assert!(asked.from.contains(&word.by) && program.people.contains_key(&word.by), "{}", check.name);
    }
    let signed = gate.checks.iter().filter(|check| check.signoff.is_some()).count();
    assert_eq!(words.len(), signed, "no sign-off speaks of nothing");
}

#[test]
fn the_weekly_gate_has_the_eight_kpis_at_their_thresholds_and_three_critical_checks() {
    let gate: GateSpec = Documents::read().one(Kind::Gate, "weekly-kpis");
    let row = |check: &Check| (check.column.clone(), check.pass.as_ref().map(ToString::to_string));
    let shown = |check: &&Check| check.column.as_ref().is_some_and(|column| !column.is_empty());
    let board: Vec<_> = gate.checks.iter().filter(shown).map(row).collect();
    let wanted = [
        ("Repeat Rate", ">= 45%"),
        ("Feed Interactions/Active", ">= 3.0"),
        ("Booking Completion", ">= 70%"),
        ("W4 Retention", ">= 25%"),
        ("Chain Survival", ">= 40%"),
        ("Staff WAU Rate", ">= 60%"),
        ("Sync Success", ">= 95%"),
        ("Sev-1 Count", "== 0"),
    ];
    assert_eq!(board, wanted.map(|(column, pass)| (Some(column.to_owned()), Some(pass.to_owned()))));
    let critical: Vec<_> = gate.checks.iter().filter(|check| check.critical).map(|check| check.name.as_str()).collect();
    assert_eq!(critical, ["w4-retention", "sync-success", "security"]);
    assert_eq!(gate.conditional.unwrap().missed, 1);
}

#[test]
fn with_the_start_it_was_planned_for_the_program_has_its_planned_dates() {
    let documents = Documents::read();
    let day0: Date = "2026-03-02".parse().unwrap();
    let program: ProgramSpec = documents.one(Kind::Program, "kruxt");
    assert_eq!(program.starts_on, None, "relative until somebody sets it");
    let rome = TimeZone::get(&program.time_zone).unwrap();
    let first_instant =
        |moment: Moment| moment.resolve(day0, &rome, Edge::Start).to_zoned(rome.clone()).date().to_string();
    // "Until" a day is the first instant of the day after it.
    let last_day = |moment: Moment| {
        let end = moment.resolve(day0, &rome, Edge::End).to_zoned(rome.clone());
        end.date().yesterday().unwrap().to_string()
    };

    let rollout: RolloutSpec = documents.one(Kind::Rollout, "closed-beta");
    let windows: Vec<_> = rollout.stages.iter().map(|stage| stage.window.unwrap()).collect();
    assert_eq!(first_instant(windows[0].from.unwrap()), "2026-03-02");
    assert_eq!(last_day(windows[0].until.unwrap()), "2026-03-08");
    assert_eq!(first_instant(windows[1].from.unwrap()), "2026-03-16");
    assert_eq!(last_day(windows[1].until.unwrap()), "2026-03-20");

    let pavia: CohortSpec = documents.one(Kind::Cohort, "pavia");
    assert_eq!(first_instant(pavia.lock_list.unwrap()), "2026-02-27");

    for gate in ["weekly-kpis", "expansion"] {
        let review = documents.one::<GateSpec>(Kind::Gate, gate).review.unwrap();
        let mut at = review.from.unwrap().resolve(day0, &rome, Edge::Start);
        let mut fridays = Vec::new();
        for _ in 0..2 {
            at = review.cron.next_after(at, &rome).unwrap();
            fridays.push(at);
        }
        let wanted = ["2026-03-13T16:00:00Z", "2026-03-20T16:00:00Z"].map(|at| at.parse::<Timestamp>().unwrap());
        assert_eq!(fridays, wanted, "{gate}");
    }
    let launch_week = documents.one::<GateSpec>(Kind::Gate, "weekly-kpis").review.unwrap();
    let monday = day0.to_zoned(rome.clone()).unwrap().timestamp();
    assert_eq!(launch_week.cron.next_after(monday, &rome).unwrap().to_string(), "2026-03-06T16:00:00Z");
}

#[test]
fn the_rollback_has_its_seven_steps_in_order_and_every_flag_it_needs() {
    let documents = Documents::read();
    let plan: RollbackPlanSpec = documents.one(Kind::RollbackPlan, "closed-beta");
    let actions: Vec<String> = plan
        .steps
        .iter()
        .map(|step| serde_json::to_value(step).unwrap().as_object().unwrap().keys().next().unwrap().clone())
        .collect();
    let wanted = [
        "freezeInvites",
        "disableFlags",
        "keepOnline",
        "routeToFallback",
        "publishNote",
        "captureRootCause",
        "holdReviews",
    ];
    assert_eq!(actions, wanted);
    assert_eq!(plan.when.len(), 2);
    let flags = documents.of::<FlagSpec>(Kind::Flag);
    let by_key: BTreeMap<_, _> = flags.values().map(|flag| (flag.key.as_deref().unwrap(), flag)).collect();
    let disabled = &plan.steps[1].disable_flags.as_ref().unwrap().keys;
    assert_eq!(disabled.len(), 4);
    for key in disabled {
        assert!(by_key[key.as_str()].safe_variant.is_some(), "{key}");
    }
    for (key, flag) in by_key {
        assert!(flag.risk < Risk::High || flag.fallback.is_some(), "{key} has somewhere to go");
    }
}

#[test]
fn a_go_needs_three_voices_at_six_in_the_evening() {
    let documents = Documents::read();
    let rollout: RolloutSpec = documents.one(Kind::Rollout, "soft-launch");
    let public = rollout.stages.last().unwrap();
    let day0: Date = "2026-05-18".parse().unwrap();
    let from = public.window.unwrap().from.unwrap().resolve(day0, &TimeZone::UTC, Edge::Start);
    assert_eq!(from.to_string(), "2026-05-18T18:00:00Z");
    let voices = public.enter.as_ref().unwrap().signoffs.as_ref().unwrap();
    assert_eq!(voices.from, ["tech-lead", "product-lead", "on-call"]);
    let call = voices.call.unwrap().at.resolve(day0, &TimeZone::UTC, Edge::Start);
    assert_eq!(call, from, "they come together when the window begins");
}
