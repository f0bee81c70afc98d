//! `betagate up` as a process: what it starts ends with it however it ends, and the next one goes on where it was.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

use crate::support::{Betagate, Running, TestRepo, free_port, wait_for};

const PATIENCE: Duration = Duration::from_secs(30);

fn up(repo: &TestRepo, port: u16) -> Running {
    let listen = format!("127.0.0.1:{port}");
    Betagate::new(["up", "--listen", &listen]).within(repo.path()).start_logging_to(&repo.path().join("up.log"))
}

fn ready(repo: &TestRepo, port: u16) {
    wait_for("the pilot's messages", PATIENCE, || {
        let mail = std::fs::read_dir(repo.path().join(".betagate/mail")).map_or(0, Iterator::count);
        (mail >= 60 && TcpStream::connect(("127.0.0.1", port)).is_ok()).then_some(())
    });
}

/// The processes whose working folder is this one, the given one aside.
fn processes_in(folder: &Path) -> Vec<u32> {
    let folder = folder.canonicalize().unwrap();
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let here = all.filter(|entry| std::fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd == folder));
    here.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

#[test]
fn a_second_up_on_the_same_folder_is_refused_and_a_port_in_use_is_named() {
    let repo = TestRepo::of_this_project();
    let port = free_port();
    let mut first = up(&repo, port);
    ready(&repo, port);
    let other = format!("127.0.0.1:{}", free_port());
    let refused = Betagate::new(["up", "--listen", &other]).within(repo.path()).run().expect_code(1);
    assert!(refused.stderr.contains(&first.pid().to_string()), "it says who holds the folder: {}", refused.stderr);
    assert!(first.interrupt(PATIENCE).is_some_and(|status| status.success()));
    wait_for("everything to end", PATIENCE, || processes_in(repo.path()).is_empty().then_some(()));

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let refused = Betagate::new(["up", "--listen", &address]).within(repo.path()).run().expect_code(1);
    assert!(refused.stderr.contains(&taken.local_addr().unwrap().port().to_string()), "{}", refused.stderr);
}

#[test]
fn killing_it_leaves_nothing_running_and_nothing_locked_and_the_next_one_goes_on() {
    let repo = TestRepo::of_this_project();
    let port = free_port();
    let mut first = up(&repo, port);
    ready(&repo, port);
    let opened = [
        "incident",
        "open",
        "down",
        "--program",
        "kruxt",
        "--severity",
        "sev-1",
        "--title",
        "Down",
        "--ago",
        "31m",
        "--by",
        "founder",
    ];
    Betagate::new(opened).within(repo.path()).run().expect_code(0);
    first.kill();
    wait_for("everything to end", PATIENCE, || processes_in(repo.path()).is_empty().then_some(()));
    let mut second = up(&repo, port);
    wait_for("the run to hold", PATIENCE, || {
        let list = Betagate::new(["rollback", "list"]).within(repo.path()).run();
        list.stdout.contains("Holding").then_some(())
    });
    Betagate::new(["audit", "verify"]).within(repo.path()).run().expect_code(0);
    Betagate::new(["status"]).within(repo.path()).run().expect_code(2);
    assert!(second.interrupt(PATIENCE).is_some_and(|status| status.success()));
    wait_for("everything to end", PATIENCE, || processes_in(repo.path()).is_empty().then_some(()));
}

#[test]
fn a_command_that_needs_a_record_says_what_to_start() {
    let repo = TestRepo::empty();
    let outcome = Betagate::new(["status"]).within(repo.path()).run().expect_code(1);
    assert!(outcome.stderr.contains("betagate up"), "{}", outcome.stderr);
}

#[test]
fn a_plan_between_revisions_names_people_and_flags() {
    let repo = TestRepo::of_this_project();
    repo.commit("before");
    let list = repo.read("cohorts/pavia.csv");
    repo.write("cohorts/pavia.csv", &format!("{list}new.person@example.com,listener-lyon,founder,listener,it,\n"));
    repo.replace("flags/ml-recommendations.yaml", "defaultVariant: \"off\"", "defaultVariant: \"on\"");
    let outcome =
        Betagate::new(["plan", "--base", "HEAD", "--format", "markdown"]).within(repo.path()).run().expect_code(2);
    // A pull request may be public: who it is, is for whoever can read the list.
    assert!(outcome.stdout.contains("+ n…@example.com"), "{}", outcome.stdout);
    assert!(!outcome.stdout.contains("new.person"), "{}", outcome.stdout);
    assert!(
        outcome.stdout.contains("| `Flag/ml_recommendations_enabled` | `defaultVariant` `off` → `on` |"),
        "{}",
        outcome.stdout
    );
    repo.git(&["checkout", "--", "."]);
    Betagate::new(["plan", "--base", "HEAD"]).within(repo.path()).run().expect_code(0);
}

#[tokio::test]
async fn a_data_folder_of_a_newer_version_is_refused_and_left_alone() {
    let repo = TestRepo::of_this_project();
    let data = repo.path().join(".betagate");
    std::fs::create_dir_all(&data).unwrap();
    let url = format!("sqlite:{}", data.join("betagate.db").display());
    let store = betagate::store::Store::open(&url).await.unwrap();
    store.migrate().await.unwrap();
    let later = "INSERT INTO schema_migrations (version, name, checksum, applied_at)
        SELECT 99999, 'from_the_future', checksum, applied_at FROM schema_migrations LIMIT 1";
    store.execute(later, &[]).await.unwrap();
    store.close().await;
    let listen = format!("127.0.0.1:{}", free_port());
    let refused = Betagate::new(["up", "--listen", &listen]).within(repo.path()).run().expect_code(1);
    assert!(refused.stderr.contains("newer"), "{}", refused.stderr);
}

#[test]
fn a_database_that_is_down_at_the_start_is_waited_for() {
    let repo = TestRepo::of_this_project();
    let (listen, nowhere) =
        (format!("127.0.0.1:{}", free_port()), format!("postgres://betagate:hidden@127.0.0.1:{}/beta", free_port()));
    let log = repo.path().join("up.log");
    let up = Betagate::new(["up", "--listen", &listen, "--database", &nowhere]).within(repo.path());
    let mut up = up.start_logging_to(&log);
    let said = wait_for("what it waits for", PATIENCE, || {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        text.contains("Waiting for the database").then_some(text)
    });
    assert!(!said.contains("hidden"), "{said}");
    assert!(up.is_running());
    assert!(up.interrupt(PATIENCE).is_some_and(|status| status.success()));
}

#[test]
fn setting_a_flag_changes_its_file_and_nothing_else_in_it() {
    let repo = TestRepo::of_this_project();
    let before = repo.read("flags/ml-recommendations.yaml");
    Betagate::new(["flag", "set", "ml_recommendations_enabled", "on"]).within(repo.path()).run().expect_code(0);
    let after = repo.read("flags/ml-recommendations.yaml");
    assert_eq!(after, before.replace("defaultVariant: \"off\"", "defaultVariant: \"on\""));
    let unknown =
        Betagate::new(["flag", "set", "ml_recommendations_enabled", "maybe"]).within(repo.path()).run().expect_code(1);
    assert!(unknown.stderr.contains("on, off"), "{}", unknown.stderr);
}

#[tokio::test]
async fn a_revision_of_an_earlier_life_stands_in_while_the_wanted_one_crashes() {
    let repo = TestRepo::of_this_project();
    let side = |then: &str| {
        format!(
            "apiVersion: betagate.dev/v1alpha1\nkind: Workload\nmetadata: {{ name: side }}\nspec:\n  program: kruxt\n  component: worker\n  command: [sh, -c, '{then}']\n"
        )
    };
    repo.write("manifests/kruxt/side.yaml", &side("echo [$DATABASE_URL] >> lives; exec sleep 1000"));
    let lives = || std::fs::read_to_string(repo.path().join("lives")).unwrap_or_default().lines().count();
    let mut first = up(&repo, free_port());
    wait_for("the workload", PATIENCE, || (lives() == 1).then_some(()));
    assert!(first.interrupt(PATIENCE).is_some_and(|status| status.success()));
    let url = format!("sqlite:{}", repo.path().join(".betagate/betagate.db").display());
    let store = betagate::store::Store::open(&url).await.unwrap();
    let kept = betagate::store::workloads::revisions(&store, "side").await.unwrap();
    assert_eq!(kept.len(), 1);
    // It was not up for long enough to count by itself.
    betagate::store::workloads::prove(&store, "side", &kept[0].revision, kept[0].wanted_at).await.unwrap();
    store.close().await;

    repo.write("manifests/kruxt/side.yaml", &side("exit 3"));
    let mut second = up(&repo, free_port());
    wait_for("the earlier revision to stand in", PATIENCE, || (lives() == 2).then_some(()));
    assert!(second.interrupt(PATIENCE).is_some_and(|status| status.success()));
    let seen = std::fs::read_to_string(repo.path().join("lives")).unwrap();
    assert!(seen.lines().all(|line| line == "[]"), "the database's address was handed on: {seen}");
}

#[test]
fn a_database_that_was_written_with_other_keys_is_refused_until_they_are_accepted() {
    let repo = TestRepo::of_this_project();
    let up = |more: &[&str]| {
        let listen = format!("127.0.0.1:{}", free_port());
        Betagate::new(["up", "--listen", &listen].iter().chain(more)).within(repo.path())
    };
    let log = repo.path().join("up.log");
    let runs = |more: &[&str]| {
        let mut up = up(more).start_logging_to(&log);
        let is_up = || std::fs::read_to_string(&log).is_ok_and(|log| log.contains("betagate is up")).then_some(());
        wait_for("it is up", PATIENCE, is_up);
        assert!(up.interrupt(PATIENCE).is_some_and(|status| status.success()));
    };
    runs(&[]);
    let keys = repo.path().join(".betagate/keys");
    std::fs::rename(&keys, repo.path().join("kept")).unwrap();
    let refused = up(&[]).run().expect_code(1);
    assert!(refused.stderr.contains("written with other keys (invite"), "{refused:?}");
    std::fs::remove_dir_all(&keys).unwrap();
    std::fs::rename(repo.path().join("kept"), &keys).unwrap();
    runs(&[]);
    std::fs::remove_dir_all(&keys).unwrap();
    runs(&["--accept-new-keys"]);
}
