//! A word about something that is not there is refused with the nearest name, what a person did is in the record, and `up` goes on
//! guarding when nobody reads what it prints.

use std::io::{BufRead as _, BufReader};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::{Betagate, Outcome, TestRepo, free_port, wait_for};

const PATIENCE: Duration = Duration::from_secs(30);

fn ask(repo: &TestRepo, words: &str) -> Outcome {
    Betagate::new(words.split(' ')).within(repo.path()).run()
}

fn wait_for_the_pilot(repo: &TestRepo) {
    wait_for("the pilot", PATIENCE, || {
        let rollouts = ask(repo, "get rollouts").stdout;
        (rollouts.contains("stage pilot is open") && rollouts.contains("soft-launch")).then_some(())
    });
}

#[test]
fn a_word_about_what_is_not_there_is_refused_with_the_nearest_name() {
    let repo = TestRepo::of_this_project();
    let listen = format!("127.0.0.1:{}", free_port());
    let mut up =
        Betagate::new(["up", "--listen", &listen]).within(repo.path()).start_logging_to(&repo.path().join("up.log"));
    wait_for_the_pilot(&repo);
    let by = "--program kruxt --by founder";
    for (words, near) in [
        (format!("freeze --cohort pavai --reason leaked {by}"), "did you mean pavia?"),
        (format!("signoff go --rollout closed-beat --stage us-eu {by}"), "did you mean closed-beta?"),
        (format!("signoff done --gate weekly-kpi --check sev-1 {by}"), "did you mean weekly-kpis?"),
        (format!("signoff done --gate weekly-kpis --check sev1 {by}"), "did you mean sev-1?"),
        (format!("signoff lift --run closed-beta-9 {by}"), "there is no rollback 'closed-beta-9'"),
        (format!("rollback start closed-beat --reason bad {by}"), "did you mean closed-beta?"),
    ] {
        let refused = ask(&repo, &words).expect_code(1);
        assert!(refused.stderr.contains(near), "{words}: {}", refused.stderr);
    }
    assert!(ask(&repo, "rollback list").stdout.lines().count() <= 1, "nothing was started");
    ask(&repo, &format!("freeze --cohort pavia --reason leaked {by}")).expect_code(0);
    // A cohort that never opened can be frozen too: it may be about to.
    ask(&repo, &format!("freeze --cohort us-canary --reason leaked {by}")).expect_code(0);
    ask(&repo, &format!("rollback start closed-beta --reason bad {by}")).expect_code(0);

    ask(&repo, "admin create ana@example.com").expect_code(0);
    ask(&repo, "admin token create product-backend --scope events:write").expect_code(0);
    let entries = ask(&repo, "audit list -o json").expect_code(0).stdout;
    assert!(entries.contains("admin.created") && entries.contains("token.created"), "{entries}");
    assert!(!entries.contains("ana@example.com"), "{entries}");
    // A token is listed without itself, and taken back: the record says so, and nobody comes in with it.
    let said = ask(&repo, "admin token create board --scope admin").expect_code(0).stdout;
    let token = said.trim().rsplit(' ').next().unwrap().to_owned();
    let with_it = format!("status --server http://{listen} --token {token}");
    assert!(ask(&repo, &with_it).stdout.contains("Program/kruxt"), "the token works");
    let listed = ask(&repo, "admin token list").expect_code(0).stdout;
    assert!(listed.contains("board") && listed.contains("events:write") && !listed.contains(&token), "{listed}");
    assert!(ask(&repo, "admin token revoke bord").expect_code(1).stderr.contains("did you mean board?"));
    ask(&repo, "admin token revoke board").expect_code(0);
    assert!(ask(&repo, &with_it).expect_code(1).stderr.contains("refuses"));
    ask(&repo, "admin token revoke board").expect_code(1);
    let entries = ask(&repo, "audit list -o json").expect_code(0).stdout;
    assert_eq!(entries.matches("token.revoked").count(), 1, "{entries}");
    // An incident's name is used once, and what is wrong with one is said.
    let open = "incident open down --program kruxt --severity sev-4 --title Down --by founder";
    ask(&repo, open).expect_code(0);
    assert!(ask(&repo, open).expect_code(1).stderr.contains("an incident 'down' is open already"));
    // Its name says which program it is of.
    ask(&repo, "incident close down --by founder").expect_code(0);
    assert!(ask(&repo, open).expect_code(1).stderr.contains("was open already"));
    assert!(up.interrupt(PATIENCE).is_some_and(|status| status.success()));
}

#[test]
fn up_goes_on_when_nobody_reads_what_it_prints() {
    let repo = TestRepo::of_this_project();
    let port = free_port();
    let listen = format!("127.0.0.1:{port}");
    let mut command = Command::new(env!("CARGO_BIN_EXE_betagate"));
    command.args(["up", "--listen", &listen]).current_dir(repo.path()).env_remove("DATABASE_URL");
    let mut up = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    // As `betagate up | head -1`: the first line is read, and then the reader is gone.
    let mut first = String::new();
    BufReader::new(up.stdout.take().unwrap()).read_line(&mut first).unwrap();
    assert!(first.contains(&listen), "{first}");
    wait_for_the_pilot(&repo);
    let incident = "incident open down --program kruxt --severity sev-1 --title Down --ago 31m --by founder";
    ask(&repo, incident).expect_code(0);
    wait_for("the run to hold", PATIENCE, || ask(&repo, "rollback list").stdout.contains("Holding").then_some(()));
    // What is held, and by whom, is told wherever somebody may ask, and asks for somebody.
    let planned = ask(&repo, "plan").stdout;
    assert!(
        planned.contains("! held: invites of all cohorts are frozen (by closed-beta-1/1: sev-1 'Down'"),
        "{planned}"
    );
    assert!(planned.contains("! held: reviews are held (by closed-beta-1: "), "{planned}");
    assert!(
        planned.contains("! held: flag ml_recommendations_enabled is served at off (by closed-beta-1/2"),
        "{planned}"
    );
    ask(&repo, "status").expect_code(2);
    ask(&repo, "rollback show closed-beta-1").expect_code(2);
    assert!(ask(&repo, "why program/kruxt").expect_code(2).stdout.contains("betagate why rollback/closed-beta-1"));
    // The incident is over, the holds are not: the run says what began it, and that it is no longer so.
    ask(&repo, "incident close down --by founder").expect_code(0);
    wait_for("the run to tell", PATIENCE, || {
        ask(&repo, "rollback list").stdout.contains("none of the plan's triggers is true").then_some(())
    });
    // A word to lift it is recorded, and waits for the cause document.
    ask(&repo, "rollback lift closed-beta-1 --by founder --note handled").expect_code(0);
    wait_for("the word to be told", PATIENCE, || {
        ask(&repo, "why rollback/closed-beta-1").stdout.contains("lifted by founder").then_some(())
    });
    assert!(up.try_wait().unwrap().is_none() && TcpStream::connect(("127.0.0.1", port)).is_ok());
    rustix::process::kill_process(rustix::process::Pid::from_child(&up), rustix::process::Signal::INT).unwrap();
    assert!(up.wait().unwrap().success());
}

#[test]
fn an_answer_that_nobody_reads_ends_without_a_panic() {
    let mut crd = Command::new(env!("CARGO_BIN_EXE_betagate"));
    let mut crd = crd.arg("crd").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(crd.stdout.take());
    let outcome = crd.wait_with_output().unwrap();
    assert!(outcome.status.success() && outcome.stderr.is_empty(), "{outcome:?}");
}

#[test]
fn every_command_helps_with_an_example() {
    let mut left = vec![String::new()];
    let mut seen = 0;
    while let Some(command) = left.pop() {
        let words = command.split_whitespace().chain(["--help"]);
        let help = Betagate::new(words).run().expect_code(0).stdout;
        assert!(["Example: ", "Examples:", "Start here: "].iter().any(|word| help.contains(word)), "{command}: {help}");
        seen += 1;
        let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
        let listed = listed
            .take_while(|line| !line.is_empty())
            .filter(|line| line.starts_with("  ") && !line.starts_with("   "));
        let names = listed.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help");
        left.extend(names.map(|name| format!("{command} {name}")));
    }
    assert!(seen > 30, "{seen} commands were looked at");
}

#[test]
fn wrong_words_end_with_64() {
    let repo = TestRepo::empty();
    for words in ["nonsense", "board --nonsense", "get nothing", "why closed-beta", "signoff perhaps --by founder"] {
        ask(&repo, words).expect_code(64);
    }
}
