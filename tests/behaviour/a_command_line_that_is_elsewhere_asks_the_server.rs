//! Commands reach a server by `--server` and `--token`, else the one that holds the data folder, else the record itself; what they answer is the
//! same, and a token never appears in what they print.

use std::time::Duration;

use crate::support::{Betagate, Outcome, TestRepo, free_port, wait_for};

const PATIENCE: Duration = Duration::from_secs(30);

/// Asks from an empty folder: there is no record there, only the server.
fn afar(folder: &TestRepo, server: &str, token: &std::path::Path, words: &str) -> Outcome {
    let token = token.display().to_string();
    let place = ["--server", server, "--token-file", &token];
    Betagate::new(words.split(' ').chain(place)).within(folder.path()).run()
}

#[test]
fn a_command_line_that_is_elsewhere_asks_the_server() {
    let repo = TestRepo::of_this_project();
    let port = free_port();
    let listen = format!("127.0.0.1:{port}");
    let mut up =
        Betagate::new(["up", "--listen", &listen]).within(repo.path()).start_logging_to(&repo.path().join("up.log"));
    let (elsewhere, server) = (TestRepo::empty(), format!("http://{listen}"));
    let token = repo.path().join(".betagate/admin.token");
    let ask = |words: &str| afar(&elsewhere, &server, &token, words);
    wait_for("the pilot", PATIENCE, || {
        let there = token.exists() && ask("get rollouts").stdout.contains("stage pilot is open");
        there.then_some(())
    });
    // The folder of `up` finds its server by itself, and the record says the same.
    let here = |words: &str| Betagate::new(words.split(' ')).within(repo.path()).run();
    let database = format!("sqlite:{}", repo.path().join(".betagate/betagate.db").display());
    for words in
        ["get cohorts -o json", "flag list -o json", "board --program kruxt --format csv", "invite list --limit 5"]
    {
        // The controller goes on working, so an answer may change between two questions.
        wait_for(words, PATIENCE, || {
            let by_server = ask(words).expect_code(0).stdout;
            let by_folder = here(words).expect_code(0).stdout;
            let by_record = here(&format!("{words} --database {database}")).expect_code(0).stdout;
            (by_server == by_folder && by_server == by_record).then_some(())
        });
    }
    let by = "--program kruxt --by founder";
    for (words, code, told) in [
        (format!("signoff go --rollout closed-beta --stage us-eu {by}"), 0, "recorded as"),
        (format!("signoff go --rollout closed-beta --stage us-eeu {by}"), 1, "did you mean us-eu?"),
        (format!("incident open Sync_Down --severity sev-2 --title Down {by}"), 64, "is no name"),
        (
            "incident open slow --severity sev-3 --title Slow --program kruxt --by nobody".to_owned(),
            1,
            "no person 'nobody'",
        ),
        (format!("incident open slow --severity sev-3 --title Slow {by}"), 0, "slow is open"),
        (format!("incident close slowly {by}"), 1, "did you mean slow?"),
        (format!("incident close slow {by}"), 0, "slow is closed"),
        ("gate measure weekly-kpis --by founder".to_owned(), 0, "asked for"),
        (format!("invite add ada@example.com --cohort pavia {by}"), 0, "good until"),
        ("invite revoke ada@example.com --reason moved --by founder --program kruxt".to_owned(), 0, "1 invite"),
        ("flag get ml_recommendations_enabled --explain".to_owned(), 0, "decided by"),
        ("why rollout/closed-beta".to_owned(), 2, "IT WAITS FOR"),
        ("apply".to_owned(), 0, "asked for"),
        ("audit verify".to_owned(), 0, "fit"),
        ("flag set ml_recommendations_enabled on --by founder".to_owned(), 0, "flags/ml-recommendations.yaml:"),
        ("flag set ml_recommendations_enabled maybe".to_owned(), 1, "on, off"),
        ("flag set billing_live on --by founder".to_owned(), 1, "one of its invariants"),
        ("flag set ml_recommendation_enabled on".to_owned(), 1, "did you mean ml_recommendations_enabled?"),
        (format!("freeze --reason drill {by}"), 0, "are frozen"),
        ("get rolouts".to_owned(), 64, "rollouts"),
    ] {
        let outcome = ask(&words).expect_code(code);
        assert!(format!("{}{}", outcome.stdout, outcome.stderr).contains(told), "{words}: {outcome:?}");
    }
    assert!(repo.read("flags/ml-recommendations.yaml").contains("defaultVariant: \"on\""));
    let log = ask("audit list -o json").expect_code(0).stdout;
    for action in ["signoff.recorded", "incident.opened", "gate.measurement-requested", "frozen"] {
        assert!(log.contains(action), "{action}");
    }
    assert!(log.contains("as founder (unverified)"), "{log}");

    let secret = std::fs::read_to_string(&token).unwrap();
    let wrong = elsewhere.write("wrong", "not-the-token\n");
    let refused = afar(&elsewhere, &server, &wrong, "status").expect_code(1);
    assert!(refused.stderr.contains("refuses") && !refused.stderr.contains("not-the-token"), "{}", refused.stderr);
    assert!(up.interrupt(PATIENCE).is_some_and(|status| status.success()));
    let gone = ask("status").expect_code(1);
    assert!(gone.stderr.contains("nothing listens there") && !gone.stderr.contains(secret.trim()), "{}", gone.stderr);
    // With no server left, the folder's record answers.
    let there = here("get cohorts").expect_code(0).stdout;
    assert!(there.contains("pavia"), "{there}");
}

#[test]
fn a_tour_runs_on_a_fast_clock_on_this_machine_only() {
    let repo = TestRepo::of_this_project();
    let port = free_port();
    let clock = ["--demo-clock", "2026-03-02T08:00:00Z@36000"];
    let up = |listen: &str| Betagate::new(["up", "--listen", listen].iter().chain(&clock)).within(repo.path());
    let refused = up(&format!("0.0.0.0:{port}")).run().expect_code(64);
    assert!(refused.stderr.contains("loopback"), "{}", refused.stderr);
    let mut running = up(&format!("127.0.0.1:{port}")).start_logging_to(&repo.path().join("up.log"));
    // The first Friday is four days on: twelve seconds.
    wait_for("the first weekly review", PATIENCE, || {
        let board = ["board", "--program", "kruxt", "--format", "csv"];
        let board = Betagate::new(board).within(repo.path()).run().stdout;
        board.lines().nth(1).is_some_and(|row| row.starts_with("2026-03-06,pavia")).then_some(())
    });
    assert!(running.interrupt(PATIENCE).is_some_and(|status| status.success()));
}
