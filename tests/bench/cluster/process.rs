//! What a process costs: memory and time of a core; and what it asked the API server, from that server's own audit log.
//!
//! Must not know: what the process does.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Seek as _, SeekFrom};

use serde_json::Value;

/// Resident memory now and at most, in MiB.
pub fn resident_mib(pid: u32) -> (f64, f64) {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let of = |field: &str| {
        let line = status.lines().find(|line| line.starts_with(field));
        line.and_then(|line| line.split_whitespace().nth(1)).and_then(|kib| kib.parse::<f64>().ok()).unwrap_or(0.0)
            / 1024.0
    };
    (of("VmRSS:"), of("VmHWM:"))
}

/// The requests of one user since a place in the audit log, by verb and resource, and the place after them. Watches count when they end, as the
/// server writes them down then, and when they begin.
pub struct Audit {
    path: std::path::PathBuf,
}

impl Audit {
    /// Of the server beside which this runs.
    pub fn of_cluster() -> Self {
        Self { path: std::env::var_os("BETAGATE_TEST_AUDIT").expect("cluster.py --alone names it").into() }
    }

    /// Where it ends now.
    pub fn end(&self) -> u64 {
        std::fs::metadata(&self.path).map_or(0, |metadata| metadata.len())
    }

    pub fn since(&self, place: u64, user: &str) -> BTreeMap<String, usize> {
        let mut found = BTreeMap::new();
        let mut file = std::fs::File::open(&self.path).unwrap();
        file.seek(SeekFrom::Start(place)).unwrap();
        for line in BufReader::new(file).lines() {
            let Ok(entry) = serde_json::from_str::<Value>(&line.unwrap()) else { continue };
            let text = |pointer: &str| entry.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
            // One entry a request: the one of its answer, which a watch has when it begins and again when it ends.
            let counts = text("/stage") == "ResponseStarted"
                || (text("/stage") == "ResponseComplete" && text("/verb") != "watch");
            if text("/user/username") == user && counts {
                let part = text("/objectRef/subresource");
                let part = if part.is_empty() { String::new() } else { format!("/{part}") };
                *found.entry(format!("{} {}{part}", text("/verb"), text("/objectRef/resource"))).or_default() += 1;
            }
        }
        found
    }
}
