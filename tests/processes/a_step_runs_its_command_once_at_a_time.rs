//! The real binary, killed with SIGKILL while a command of a rollback step runs: the command ends with it, so that the next controller's is the only one.

use std::path::Path;
use std::time::Duration;

use super::support::small::{rows, small};
use super::support::{Betagate, databases, free_port, wait_for};
use super::workloads::{assert_ends, handle};

const PATIENCE: Duration = Duration::from_secs(120);

fn pids(file: &Path) -> Vec<i32> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

#[test]
fn a_command_of_a_step_ends_with_its_controller_and_is_run_again_by_the_next() {
    use std::os::unix::fs::PermissionsExt as _;
    for db in databases() {
        let repo = small(&rows(&["ada@example.com"]), "{}", "600/min");
        // The first run goes on for ever, with a child; the next one finds that there was one.
        let job = "#!/bin/sh\n[ -e pids ] && { echo $$ > again; exit 0; }\nsleep 600 & echo $! > begun; echo $$ >> begun; mv begun pids; wait\n";
        let path = repo.write("job", job);
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
        repo.write(
            "manifests/plan.yaml",
            "kind: RollbackPlan\nmetadata: { name: mend }\nspec: { program: small, steps: [ { runJob: { command: [./job], timeout: 10m } } ] }\n",
        );
        let listen = format!("127.0.0.1:{}", free_port());
        let log = repo.path().join("up.log");
        let start = || {
            let words = ["up", "--database", &db.url, "--listen", &listen];
            Betagate::new(words).within(repo.path()).start_logging_to(&log)
        };
        let mut up = start();
        let words = ["rollback", "start", "mend", "--reason", "a test", "--by", "founder", "--database", &db.url];
        wait_for("the run is asked for", PATIENCE, || {
            (Betagate::new(words).within(repo.path()).run().code == Some(0)).then_some(())
        });
        let (first, again) = (repo.path().join("pids"), repo.path().join("again"));
        wait_for("the command runs", PATIENCE, || first.exists().then_some(()));
        let below: Vec<_> = pids(&first).into_iter().map(handle).collect();
        assert_eq!(below.len(), 2);
        up.kill();
        for process in &below {
            assert_ends(process, "the command of the controller that was killed");
        }
        assert!(!again.exists());
        up = start();
        wait_for("the command is run again", PATIENCE, || {
            if !up.is_running() {
                // What ran below the killed one may hold the port for a moment longer.
                up = start();
            }
            again.exists().then_some(())
        });
        up.interrupt(Duration::from_secs(20));
    }
}
