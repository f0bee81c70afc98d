//! Runs the README's tour: every command of every `sh` block under the heading that speaks of a tour, in order, in one shell, in a copy
//! of this repository, as a reader would. A command that fails fails the test, so the README can't promise what does not happen.

// A test that cannot set itself up has nothing better to do than panic.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../support/mod.rs"]
mod support;

use std::path::Path;
use std::process::{Command, Stdio};

use support::{TestRepo, repository_root};

/// The lines of the `sh` blocks between the heading with the word "tour" and the next heading of the same or a higher level.
fn commands_of_the_tour(readme: &str) -> Vec<&str> {
    let (mut tour_level, mut in_block, mut is_shell) = (None, false, false);
    let mut commands = Vec::new();
    for line in readme.lines() {
        if let Some(language) = line.strip_prefix("```") {
            in_block = !in_block;
            is_shell = in_block && language.trim() == "sh";
        } else if !in_block && line.starts_with('#') {
            let level = line.chars().take_while(|c| *c == '#').count();
            match tour_level {
                Some(tour) if level <= tour => tour_level = None,
                None if line.to_lowercase().contains("tour") => tour_level = Some(level),
                _ => {}
            }
        } else if is_shell && tour_level.is_some() {
            commands.push(line);
        }
    }
    commands
}

/// What the shell does before the tour: stop at the first command that fails, and at the end take along what was left running. (A
/// background job of such a shell ignores Ctrl-C, hence the plain kill.) `set -v` prints each line as the shell comes to it.
const PROLOGUE: &str = r#"set -euo pipefail
leave() {
  status=$?
  trap - EXIT
  for job in $(jobs -p); do kill "$job" 2>/dev/null || true; done
  for _ in $(seq 100); do [ -n "$(jobs -pr)" ] || break; sleep 0.1; done
  for job in $(jobs -pr); do kill -KILL "$job" 2>/dev/null || true; done
  exit "$status"
}
trap leave EXIT
set -v
"#;

/// A tour that takes longer than this, in seconds, hangs.
const PATIENCE: &str = "300";

#[test]
fn every_command_of_the_readme_works() {
    let Ok(readme) = std::fs::read_to_string(repository_root().join("README.md")) else {
        return;
    };
    let commands = commands_of_the_tour(&readme);
    assert!(!commands.is_empty(), "README.md has a tour whose blocks are fenced as sh");
    let repo = TestRepo::of_this_project();
    repo.commit("The programs as they stand");
    let binary = Path::new(env!("CARGO_BIN_EXE_betagate"));
    let path = format!("{}:{}", binary.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let shell = tempfile::tempdir().unwrap();
    let file = shell.path().join("tour.sh");
    std::fs::write(&file, format!("{PROLOGUE}{}\n", commands.join("\n"))).unwrap();
    let status = Command::new("timeout")
        .args(["--kill-after=15", PATIENCE, "bash"])
        .arg(&file)
        .current_dir(repo.path())
        .env("PATH", path)
        .env_remove("DATABASE_URL")
        .stdin(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success(), "a command of the README's tour failed: {status}");
}

#[test]
fn only_shell_blocks_under_the_tour_are_commands() {
    let readme = "# betagate\n```sh\ninstall\n```\n## A tour\n```sh\none\n# a comment\n```\n```yaml\nno: thing\n```\n### Later\n```sh\ntwo\n```\n## Next\n```sh\nthree\n```\n";
    assert_eq!(commands_of_the_tour(readme), ["one", "# a comment", "two"]);
}
