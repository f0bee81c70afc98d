//! From an apply to `Ready`: one resource after another, new ones and changed ones of several kinds, as a watch tells of them.
//!
//! Must not know: who makes them Ready.

use std::time::{Duration, Instant};

use betagate_core::resources::Kind;
use kube::Client;
use serde_json::Value;

use super::resources::Mix;
use super::sight::Sight;

/// Of each kind of change.
const EACH: usize = 50;
/// How long one may take.
const LONGEST: Duration = Duration::from_secs(60);

/// Five kinds of changes in turns; the time begins just before the apply is sent.
pub async fn measure(client: &Client, mix: &Mix, sight: &mut Sight) {
    const WHAT: [&str; 5] = ["a flag changed", "a gate changed", "a new flag", "a new cohort", "a new invite"];
    let mut times: [Vec<Duration>; 5] = Default::default();
    for n in 0..EACH {
        for (which, times) in times.iter_mut().enumerate() {
            let (kind, object) = change(mix, which, n);
            times.push(one(client, kind, &object, sight).await);
        }
    }
    println!("  from the apply of one to Ready, one after another, {} there: median, 99th, longest", sight.ready());
    for (what, times) in WHAT.iter().zip(&mut times) {
        println!("    {what:<20} {}", spread(times));
    }
    let mut all: Vec<Duration> = times.concat();
    println!("    {:<20} {}", format!("all {}", all.len()), spread(&mut all));
}

fn change(mix: &Mix, which: usize, n: usize) -> (Kind, Value) {
    let (program, place) = (n % 10, n / 10);
    // Beyond those that are there.
    let new = |kind| mix.of(kind) + place;
    match which {
        0 => (Kind::Flag, mix.flag(program, place, "on")),
        1 => {
            let mut gate = mix.one(Kind::Gate, program, place);
            gate["spec"]["checks"][0]["pass"] = Value::from(">= 50%");
            (Kind::Gate, gate)
        }
        2 => (Kind::Flag, mix.one(Kind::Flag, program, new(Kind::Flag))),
        3 => (Kind::Cohort, mix.one(Kind::Cohort, program, new(Kind::Cohort))),
        _ => (Kind::Invite, mix.one(Kind::Invite, program, new(Kind::Invite))),
    }
}

async fn one(client: &Client, kind: Kind, object: &Value, sight: &mut Sight) -> Duration {
    let begun = Instant::now();
    let applied = super::apply(client, kind, object).await;
    let (name, generation) = (applied.metadata.name.unwrap(), applied.metadata.generation.unwrap());
    loop {
        let told = sight.next(LONGEST).await.unwrap_or_else(|| panic!("{kind} {name} did not become Ready"));
        if told.kind == kind && told.name == name && told.generation >= generation && told.ready {
            return begun.elapsed();
        }
    }
}

fn spread(times: &mut [Duration]) -> String {
    times.sort();
    let of = |share: usize| times[(times.len() * share / 100).min(times.len() - 1)].as_millis();
    format!("{:>6}, {:>6}, {:>6} ms", of(50), of(99), of(100))
}
