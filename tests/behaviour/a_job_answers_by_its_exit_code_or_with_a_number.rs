//! The commands of `job` checks: what is met, missed and unknown; what they see of betagate's environment; and the presets of the documentation.

use betagate::core::decide::{CheckState, Outcome, Why};
use jiff::SignedDuration;

use crate::support::beta::Beta;
use crate::support::{TestRepo, databases};

const PROGRAM: &str = "kind: Program
metadata: { name: p }
spec: { timeZone: UTC, startsOn: 2026-03-02, people: { ana: {} } }
";

/// A program with one gate of these checks, one a line.
fn with_checks(checks: &[&str]) -> TestRepo {
    let repo = TestRepo::empty();
    repo.write("manifests/program.yaml", PROGRAM);
    let lines: String = checks.iter().map(|check| format!("    - {check}\n")).collect();
    repo.write(
        "manifests/gate.yaml",
        &format!("kind: Gate\nmetadata: {{ name: g }}\nspec:\n  program: p\n  checks:\n{lines}"),
    );
    repo
}

fn states(beta: &Beta) -> Vec<(String, CheckState, Option<Outcome>)> {
    let decision = beta.controller.programs()["p"].decision.as_ref().unwrap();
    let checks = decision.verdicts["g"].checks.iter();
    checks.map(|c| (c.name.clone(), c.state, c.reading.as_ref().map(|r| r.outcome.clone()))).collect()
}

fn value(value: f64) -> Outcome {
    Outcome::Value { value, numerator: None, denominator: None, samples: None }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exit_codes_and_numbers_are_readings_and_whatever_goes_wrong_is_unknown() {
    for db in databases() {
        let repo = with_checks(&[
            "{ name: met, job: { command: [\"true\"] } }",
            "{ name: unknown, job: { command: [sh, -c, exit 2] } }",
            "{ name: missed, job: { command: [sh, -c, exit 3] } }",
            "{ name: gone, job: { command: [there-is-no-such-command] } }",
            "{ name: slow, job: { command: [sleep, \"600\"], timeout: 200ms } }",
            "{ name: number, job: { command: [sh, manifests/age.sh] }, pass: '<= 1h' }",
            "{ name: above, job: { command: [sh, -c, echo 3601] }, pass: '<= 1h' }",
            "{ name: ratio, job: { command: [sh, -c, 'echo \"{\\\"numerator\\\": 94, \\\"denominator\\\": 99}\"'] }, pass: '>= 95%', minSamples: 100 }",
            "{ name: failed, job: { command: [sh, -c, echo 0; exit 1] }, pass: '<= 1h' }",
            "{ name: flood, job: { command: [sh, -c, yes | head -c 5000000; echo; echo 1] }, pass: '== 1' }",
            "{ name: rows, job: { command: [sh, -c, seq 20000; echo 86401] }, pass: '<= 1h' }",
            "{ name: endless, job: { command: [sh, -c, yes 7 | head -n 70000 | tr -d '\\n'] }, pass: '>= 0' }",
        ]);
        repo.write("manifests/age.sh", "echo looking >&2\necho 3600\n");
        let mut beta = Beta::start(&db, repo, "2026-03-02T08:00:00Z").await;
        beta.pass().await;
        let read: Vec<_> = states(&beta).into_iter().map(|(_, state, outcome)| (state, outcome.unwrap())).collect();
        let error = |outcome: &Outcome| matches!(outcome, Outcome::Unknown(Why::SourceError(_)));
        assert_eq!(read[0], (CheckState::Met, value(1.0)));
        assert_eq!(read[1], (CheckState::Unknown, Outcome::Unknown(Why::NoData)));
        assert_eq!(read[2], (CheckState::Missed, value(0.0)));
        assert!(read[3].0 == CheckState::Unknown && error(&read[3].1), "{:?}", read[3]);
        assert_eq!(read[4], (CheckState::Unknown, Outcome::Unknown(Why::Terminated)));
        assert_eq!(read[5], (CheckState::Met, value(3600.0)));
        assert_eq!(read[6], (CheckState::Missed, value(3601.0)));
        assert_eq!(read[7], (CheckState::Unknown, Outcome::Unknown(Why::TooFewSamples { have: 99, need: 100 })));
        assert!(read[8].0 == CheckState::Unknown && error(&read[8].1), "{:?}", read[8]);
        // However much it wrote, its end is kept.
        assert_eq!(read[9], (CheckState::Met, value(1.0)));
        assert_eq!(read[10], (CheckState::Missed, value(86_401.0)), "no row of before counts");
        assert!(read[11].0 == CheckState::Unknown && error(&read[11].1), "how long that number is, is not known");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_sees_its_own_settings_and_secrets_and_nothing_else_of_betagate() {
    for db in databases().into_iter().take(1) {
        let names = "env | grep -v -E '^(PATH|HOME|USER|LANG|TZ|TMPDIR|PWD|OLDPWD|SHLVL|_)=' | cut -d= -f1 | sort | tr '\\n' ' '";
        let repo = with_checks(&[
            &format!(
                "{{ name: env, job: {{ command: [sh, -c, \"test \\\"$({names})\\\" = 'MODE TOKEN '\"], env: {{ MODE: x }}, secretEnv: {{ TOKEN: t }} }} }}"
            ),
            "{ name: secret, job: { command: [sh, -c, 'test \"$TOKEN\" = s3cret'], secretEnv: { TOKEN: t } } }",
            "{ name: lost, job: { command: [\"true\"], secretEnv: { TOKEN: nowhere } } }",
        ]);
        let mut beta = Beta::start(&db, repo, "2026-03-02T08:00:00Z").await;
        std::fs::create_dir_all(beta.data.join("secrets")).unwrap();
        std::fs::write(beta.data.join("secrets/t"), "s3cret\n").unwrap();
        beta.pass().await;
        let read = states(&beta);
        assert_eq!((read[0].1, read[1].1), (CheckState::Met, CheckState::Met), "{read:?}");
        assert!(
            matches!(&read[2].2, Some(Outcome::Unknown(Why::SourceError(why))) if why.contains("no secret 'nowhere'"))
        );
        assert!(!format!("{read:?}").contains("s3cret"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_nightly_load_test_is_met_when_it_is_green_and_not_too_old() {
    for db in databases().into_iter().take(1) {
        let repo =
            with_checks(&["{ name: k6, job: { command: [sh, manifests/jobs/k6-nightly.sh, summary.txt, \"30\"] } }"]);
        let script = crate::support::repository_root().join("manifests/jobs/k6-nightly.sh");
        repo.write("manifests/jobs/k6-nightly.sh", &std::fs::read_to_string(script).unwrap());
        let mut beta = Beta::start(&db, repo, "2026-03-02T08:00:00Z").await;
        let mut at = "2026-03-02T08:00:00Z".parse::<jiff::Timestamp>().unwrap();
        let summary = |ok: bool| {
            format!(
                r#"{{"metrics":{{"http_req_duration":{{"thresholds":{{"p(95)<500":{{"ok":{ok}}}}}}},"vus":{{"type":"gauge"}}}}}}"#
            )
        };
        let (hour, day) = (std::time::Duration::from_secs(3600), 24);
        for (text, age_hours, state) in [
            (None, 0, CheckState::Unknown),
            (Some(summary(true)), 1, CheckState::Met),
            (Some(summary(false)), 1, CheckState::Missed),
            (Some(summary(true)), day + 5, CheckState::Met),
            (Some(summary(true)), day + 7, CheckState::Missed),
            (Some("{\"metrics\":{}}".to_owned()), 1, CheckState::Unknown),
            (Some("nothing".to_owned()), 1, CheckState::Unknown),
        ] {
            if let Some(text) = &text {
                let file = beta.repo.write("summary.txt", text);
                let written = std::time::SystemTime::now() - hour * age_hours;
                std::fs::File::options().write(true).open(file).unwrap().set_modified(written).unwrap();
            }
            at = at.checked_add(SignedDuration::from_mins(6)).unwrap();
            beta.clock.set(at);
            beta.pass().await;
            assert_eq!(states(&beta)[0].1, state, "{text:?} {age_hours} h: {:?}", states(&beta));
        }
    }
}

/// What pgbackrest answers, with its newest backups ended so long ago.
fn backups(full_ago: i64, incremental_ago: i64, error: bool) -> String {
    let now = jiff::Timestamp::now().as_second();
    let ended = |ago: i64, kind: &str, error: bool| {
        format!(r#"{{"error":{error},"label":"b","type":"{kind}","timestamp":{{"start":0,"stop":{}}}}}"#, now - ago)
    };
    format!(
        r#"[{{"name":"veza","status":{{"code":0,"message":"ok"}},"backup":[{},{}]}}]"#,
        ended(full_ago, "full", false),
        ended(incremental_ago, "incr", error)
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_age_of_the_newest_good_backup_is_read_from_pgbackrests_json() {
    for db in databases().into_iter().take(1) {
        let repo = with_checks(&[
            "{ name: backup, job: { command: [sh, manifests/jobs/backup-age.sh, veza], env: { PGBACKREST: ./pgbackrest } }, pass: '<= 24h' }",
        ]);
        let script = crate::support::repository_root().join("manifests/jobs/backup-age.sh");
        repo.write("manifests/jobs/backup-age.sh", &std::fs::read_to_string(script).unwrap());
        let mut beta = Beta::start(&db, repo, "2026-03-02T08:00:00Z").await;
        let mut at = "2026-03-02T08:00:00Z".parse::<jiff::Timestamp>().unwrap();
        let hour = 3600;
        for (answer, state) in [
            (backups(30 * hour, 2 * hour, false), CheckState::Met),
            // A backup that failed is none; the newest good one is too old.
            (backups(30 * hour, 2 * hour, true), CheckState::Missed),
            ("[]".to_owned(), CheckState::Unknown),
            ("no JSON".to_owned(), CheckState::Unknown),
        ] {
            let fake = beta.repo.write("pgbackrest", &format!("#!/bin/sh\ncat <<'END'\n{answer}\nEND\n"));
            use std::os::unix::fs::PermissionsExt as _;
            std::fs::set_permissions(fake, std::fs::Permissions::from_mode(0o755)).unwrap();
            at = at.checked_add(SignedDuration::from_mins(6)).unwrap();
            beta.clock.set(at);
            beta.pass().await;
            assert_eq!(states(&beta)[0].1, state, "{answer}: {:?}", states(&beta));
        }
    }
}
