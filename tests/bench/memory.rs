//! Anonymous resident memory of a running betagate: `up` with its controller (goal 40 MiB), and one API process (goal 16 MiB), at rest with
//! this repository's own programs.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long the processes may take until they are at rest.
const PATIENCE: Duration = Duration::from_secs(60);

struct Up(Child);

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub fn measure() {
    let folder = tempfile::tempdir().unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for name in ["manifests", "cohorts", "flags"] {
        let status = Command::new("cp").arg("-r").arg(root.join(name)).arg(folder.path()).status().unwrap();
        assert!(status.success());
    }
    let log = std::fs::File::create(folder.path().join("up.log")).unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_betagate"))
        .args(["up", ".", "--listen", "127.0.0.1:0"])
        .current_dir(folder.path())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap();
    let up = Up(child);
    let begun = Instant::now();
    let mail = folder.path().join(".betagate/mail");
    while std::fs::read_dir(&mail).map_or(0, Iterator::count) < 60 {
        assert!(
            begun.elapsed() < PATIENCE,
            "no invites were rendered: {}",
            std::fs::read_to_string(folder.path().join("up.log")).unwrap()
        );
        std::thread::sleep(Duration::from_millis(100));
    }
    std::thread::sleep(Duration::from_secs(10));
    println!("memory: anonymous, resident, at rest");
    println!("  up with its controller {:>6.1} MiB   goal 40", anonymous_mib(up.0.id()));
    for pid in descendants(up.0.id()) {
        let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words = String::from_utf8_lossy(&words).replace('\0', " ");
        println!(
            "  {:<40} {:>6.1} MiB",
            words.split_whitespace().skip(1).collect::<Vec<_>>().join(" "),
            anonymous_mib(pid)
        );
    }
}

pub fn anonymous_mib(pid: u32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("Anonymous:"));
    line.and_then(|line| line.split_whitespace().nth(1)).and_then(|kib| kib.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
}

fn descendants(pid: u32) -> Vec<u32> {
    let mut all = Vec::new();
    for task in std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
        let children = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
        for child in children.split_whitespace().filter_map(|child| child.parse().ok()) {
            all.push(child);
            all.extend(descendants(child));
        }
    }
    all
}
