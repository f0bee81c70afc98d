//! `validate` and `plan` over 10,000 documents (goal: under 1 s).

use std::collections::BTreeMap;
use std::fmt::Write as _;

use betagate::controller::build_snapshot;
use betagate_core::decide::{Memory, Readings, decide};
use betagate_core::plan::{Observed, plan};
use betagate_core::resources::{Kind, crds};

const FLAGS: usize = 2_000;
const INVITES: usize = 7_900;
const GATES: usize = 98;

fn repository(folder: &std::path::Path) {
    for name in ["manifests", "cohorts/templates", "flags"] {
        std::fs::create_dir_all(folder.join(name)).unwrap();
    }
    let mut rest = String::from(
        "kind: Program\nmetadata: { name: bench }\nspec: { timeZone: Europe/Rome, startsOn: 2026-03-02, people: { ana: {} } }\n---\n\
         kind: Cohort\nmetadata: { name: all }\nspec: { program: bench, members: { inline: [ { email: ada@example.com } ] } }\n",
    );
    for n in 0..GATES {
        let _ = writeln!(
            rest,
            "---\nkind: Gate\nmetadata: {{ name: gate-{n} }}\nspec:\n  program: bench\n  checks:\n    - {{ name: repeat, kpi: workout_repeat_rate_w2, pass: \">= 45%\" }}\n    - {{ name: sev1, incidents: {{ severity: sev-1, within: 7d }}, pass: \"== 0\", critical: true }}"
        );
    }
    std::fs::write(folder.join("manifests/all.yaml"), rest).unwrap();
    let mut flags = String::new();
    for n in 0..FLAGS {
        let _ = writeln!(
            flags,
            "---\nkind: Flag\nmetadata: {{ name: flag-{n} }}\nspec:\n  program: bench\n  key: flag_{n}\n  type: boolean\n  variants: {{ \"on\": true, \"off\": false }}\n  defaultVariant: \"off\"\n  safeVariant: \"off\"\n  targeting: {{ if: [ {{ in_cohort: [all] }}, \"on\", \"off\" ] }}"
        );
    }
    std::fs::write(folder.join("flags/all.yaml"), flags).unwrap();
    for file in 0..79 {
        let mut invites = String::new();
        for n in 0..INVITES / 79 {
            let _ = writeln!(
                invites,
                "---\nkind: Invite\nmetadata: {{ name: invite-{file}-{n} }}\nspec: {{ program: bench, cohort: all, email: tester{n}@gym{file}.example, note: bench }}"
            );
        }
        std::fs::write(folder.join(format!("cohorts/invites-{file}.yaml")), invites).unwrap();
    }
}

pub fn measure() {
    let folder = tempfile::tempdir().unwrap();
    repository(folder.path());
    assert_eq!(crds().len(), Kind::ALL.len());
    let validate = crate::median(5, || {
        let snapshot = betagate::source::read_folder(folder.path()).unwrap();
        let built = build_snapshot(&snapshot, None, false).expect("it holds");
        assert_eq!(built.desired.programs["bench"].invites.len(), INVITES);
    });
    let snapshot = betagate::source::read_folder(folder.path()).unwrap();
    let read = crate::median(5, || drop(betagate::source::read_folder(folder.path()).unwrap()));
    let built = build_snapshot(&snapshot, None, false).expect("it holds");
    let now = "2026-03-13T16:00:00Z".parse().unwrap();
    let planning = crate::median(5, || {
        let program = &built.desired.programs["bench"];
        let decision = decide(program, &built.desired.revision, &Readings::default(), &Memory::default(), now);
        let plan = plan(&decision.effective, &BTreeMap::new(), &Observed::default());
        assert_eq!(plan.actions.len(), FLAGS);
    });
    println!("documents: 10,000 ({} files)", snapshot.files.len());
    println!("  reading the folder      {read:>10.0?}");
    println!("  validate, reading included {validate:>7.0?}   goal 1 s, {:.2} of it", validate.as_secs_f64());
    println!("  decide and plan         {planning:>10.0?}");
}
