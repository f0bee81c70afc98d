//! A process at rest: its memory, the core it takes, and what it asks the API server meanwhile.
//!
//! Must not know: what the process does.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::PATIENCE;
use super::process::{Audit, resident_mib};
use crate::doors::cpu as core_seconds;
use crate::memory::anonymous_mib;

/// Who is looked at.
pub struct Who<'a> {
    pub user: &'a str,
    pub pid: u32,
    pub audit: &'a Audit,
}

/// What came of it.
pub struct Rest {
    pub mib: f64,
    /// Percent of a core.
    pub core: f64,
    /// A second, beyond watches and the Lease.
    pub requests: f64,
}

/// How long rest is looked at.
pub fn idle() -> Duration {
    Duration::from_secs(std::env::var("BETAGATE_IDLE").ok().and_then(|seconds| seconds.parse().ok()).unwrap_or(600))
}

/// Until a user asks nothing but the Lease for ten seconds; says whether that came within so long.
pub async fn calm(audit: &Audit, user: &str, longest: Duration) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < longest {
        let place = audit.end();
        tokio::time::sleep(Duration::from_secs(10)).await;
        if audit.since(place, user).keys().all(|what| is_usual(what)) {
            return true;
        }
    }
    false
}

/// As long as it takes until it is calm.
pub async fn until_calm(audit: &Audit, user: &str) {
    assert!(calm(audit, user, PATIENCE).await, "{user} does not come to rest");
}

/// Looks at a process while nothing happens, and prints what it cost.
pub async fn look(Who { user, pid, audit }: Who<'_>) -> Rest {
    let (idle, place, spent) = (idle(), audit.end(), core_seconds(pid));
    tokio::time::sleep(idle).await;
    let core = (core_seconds(pid) - spent) / idle.as_secs_f64() * 100.0;
    let (mib, most) = resident_mib(pid);
    let asked = audit.since(place, user);
    let of = |counts: &dyn Fn(&str) -> bool| -> usize {
        asked.iter().filter(|(what, _)| counts(what)).map(|(_, count)| count).sum()
    };
    let beyond = of(&|what| !is_usual(what));
    let writes = of(&|what| !is_usual(what) && !["get ", "list "].iter().any(|verb| what.starts_with(verb)));
    let requests = beyond as f64 / idle.as_secs_f64();
    println!("  {user} at rest for {} s", idle.as_secs());
    let own = anonymous_mib(pid);
    println!(
        "    memory              {mib:>8.1} MiB resident ({own:.1} without the program's own file), {most:.1} at most"
    );
    println!("    time of a core      {core:>8.2} %");
    println!(
        "    requests            {requests:>8.3} a second beyond watches and the Lease: {beyond}, {writes} of them writes"
    );
    tell("  all of them", &asked);
    Rest { mib, core, requests }
}

/// What asks for nothing new: a watch, and the Lease.
fn is_usual(what: &str) -> bool {
    what.starts_with("watch ") || what.ends_with(" leases")
}

/// By verb and resource.
pub fn tell(what: &str, asked: &BTreeMap<String, usize>) {
    let asked: Vec<String> = asked.iter().map(|(what, count)| format!("{count} × {what}")).collect();
    println!("  {what}: {}", asked.join(", "));
}
