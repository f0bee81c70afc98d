//! Every number by which seeds 002 and 004 decide, in the repository's own gates: met exactly at its bound, missed by the smallest step beside it.

use std::collections::{BTreeMap, BTreeSet};

use betagate::core::resources::{Check, GateSpec};

use crate::support::repository_root;

/// What is measured: two counts, or one number (lengths of time in seconds).
#[derive(Clone, Copy, Debug)]
enum Read {
    Ratio(u32, u32),
    Number(f64),
}
use Read::{Number, Ratio};

const HOUR: f64 = 3600.0;

/// Seed 002, section 2 and 5: check, what just meets it, what just misses it.
const SEED_002: [(&str, Read, Read); 12] = [
    ("repeat-rate", Ratio(450, 1000), Ratio(449, 1000)),
    ("feed-interactions", Ratio(300, 100), Ratio(299, 100)),
    ("booking-completion", Ratio(700, 1000), Ratio(699, 1000)),
    ("w4-retention", Ratio(250, 1000), Ratio(249, 1000)),
    ("chain-survival", Ratio(400, 1000), Ratio(399, 1000)),
    ("staff-wau", Ratio(3, 5), Ratio(599, 1000)),
    ("sync-success", Ratio(19, 20), Ratio(949_999, 1_000_000)),
    ("sev-1", Number(0.0), Number(1.0)),
    ("security", Number(0.0), Number(1.0)),
    ("sync-stays-good", Ratio(95, 100), Ratio(949, 1000)),
    ("compliance-sla", Number(0.0), Number(1.0)),
    ("no-open-sev-1", Number(0.0), Number(1.0)),
];

/// Seed 004 and what `seed-details.md` makes of it.
const SEED_004: [(&str, Read, Read); 14] = [
    ("backup-staging", Number(24.0 * HOUR), Number(24.0 * HOUR + 1.0)),
    ("backup-production", Number(24.0 * HOUR), Number(24.0 * HOUR + 1.0)),
    ("backup", Number(24.0 * HOUR), Number(24.0 * HOUR + 1.0)),
    ("restore-drill", Number(168.0 * HOUR), Number(168.0 * HOUR + 1.0)),
    ("load-test", Number(30.0 * HOUR), Number(30.0 * HOUR + 1.0)),
    ("errors", Number(0.01), Number(0.010_001)),
    ("server-errors", Number(0.01), Number(0.010_001)),
    ("haproxy", Number(1.0), Number(0.0)),
    ("first-signup", Number(1.0), Number(0.0)),
    ("testers-in", Number(25.0), Number(24.0)),
    ("invites-table-staging", Number(0.0), Number(1.0)),
    ("drives", Number(0.0), Number(1.0)),
    ("triage", Number(0.0), Number(1.0)),
    ("dispatch-failures", Number(0.0), Number(1.0)),
];

fn meets(check: &Check, read: Read) -> bool {
    let threshold = check.pass.as_ref().unwrap_or_else(|| panic!("{} has no threshold", check.name));
    match read {
        Ratio(above, below) => threshold.met_by_ratio(f64::from(above), f64::from(below)),
        Number(value) => threshold.met_by(value),
    }
}

/// The checks of the gates in a folder of manifests that have a threshold, by name.
fn checks(folder: &str) -> BTreeMap<String, Check> {
    let mut found = BTreeMap::new();
    let folder = std::fs::read_dir(repository_root().join("manifests").join(folder)).unwrap();
    for file in folder.map(|file| file.unwrap().path()).filter(|file| file.is_file()) {
        let text = std::fs::read_to_string(file).unwrap();
        for document in serde_saphyr::from_multiple::<serde_json::Value>(&text).unwrap() {
            if document["kind"] == "Gate" {
                let gate: GateSpec = serde_json::from_value(document["spec"].clone()).unwrap();
                let measured = gate.checks.into_iter().filter(|check| check.pass.is_some());
                found.extend(measured.map(|check| (check.name.clone(), check)));
            }
        }
    }
    found
}

#[test]
fn the_numbers_of_the_seeds_are_exact_on_both_sides() {
    for (folder, numbers) in [("kruxt", &SEED_002[..]), ("soft-launch", &SEED_004[..])] {
        let checks = checks(folder);
        for (name, met, missed) in numbers {
            let check = checks.get(*name).unwrap_or_else(|| panic!("{folder} has a check {name}"));
            assert!(meets(check, *met), "{name}: {met:?} meets {:?}", check.pass);
            assert!(!meets(check, *missed), "{name}: {missed:?} misses {:?}", check.pass);
        }
    }
    // Seed 002's table has no number that is not here.
    let text = std::fs::read_to_string(repository_root().join("manifests/kruxt/weekly-kpis.yaml")).unwrap();
    let known: BTreeSet<&str> = SEED_002.iter().map(|(name, ..)| *name).collect();
    let weekly = checks("kruxt").into_keys().filter(|name| text.contains(&format!("name: {name},")));
    let missing: Vec<String> = weekly.filter(|name| !known.contains(name.as_str())).collect();
    assert_eq!(missing, Vec::<String>::new());
}
