//! Inside the engine: nanoseconds and allocations of one evaluation, and the index of a million people.

use std::hint::black_box;
use std::time::Instant;

use betagate::core::flags::{Asker, Building, Context, FlagSet, Membership};
use jiff::Timestamp;

use super::{context, fifty};

const TIMES: u32 = 1_000_000;

pub fn measure() {
    let definitions = fifty();
    let flags = definitions["flags"].as_object().unwrap();
    let (set, problems) = FlagSet::compile(flags.iter().map(|(key, flag)| (key.as_str(), flag)), &|_| None);
    assert!(problems.is_empty(), "{problems:?}");
    let (context, members, now) =
        (Context::new(context()["context"].clone()).unwrap(), Membership::default(), Timestamp::UNIX_EPOCH);
    let asker = Asker::new(&context, &members);
    println!("flags: inside the engine, one evaluation");
    for (what, key, goal) in [
        ("static", "feature_00", "30 ns, no allocation"),
        ("targeting, end of an address", "feature_23", "150 ns"),
        ("targeting, list of cohorts", "feature_31", "150 ns"),
        ("fractional", "feature_45", "200 ns"),
    ] {
        let place = set.place(key).unwrap();
        let once = || black_box(set.evaluate_at(black_box(place), asker, now).map(|answer| answer.number).unwrap_or(0));
        let mut best = f64::MAX;
        for _ in 0..5 {
            let begun = Instant::now();
            for _ in 0..TIMES {
                once();
            }
            best = best.min(begun.elapsed().as_secs_f64() * 1e9 / f64::from(TIMES));
        }
        let allocations = allocation_counter::measure(|| {
            once();
        });
        println!("  {what:<34} {best:>6.0} ns   {} allocations   goal {goal}", allocations.count_total);
    }
    index();
}

fn index() {
    let begun = Instant::now();
    let mut building = Building::default();
    for person in 0..1_000_000_u32 {
        building.add(&uuid::Uuid::from_u128(u128::from(person) << 64 | 7).to_string(), "p/pavia");
        building.add(&format!("person.{person}@example.com"), "p/pavia");
    }
    let index = building.finish();
    let built = begun.elapsed();
    let kept: Vec<String> = (0..1000).map(|n| format!("person.{}@example.com", n * 997)).collect();
    let begun = Instant::now();
    let found = (0..1000).flat_map(|_| kept.iter()).filter(|key| index.of(key).is_some()).count();
    let each = begun.elapsed().as_secs_f64() * 1e9 / 1e6;
    assert_eq!(found, 1_000_000);
    println!(
        "  index of 1,000,000 people by two keys: {:.1} MiB (goal 32), made in {:.2} s, {each:.0} ns a look-up",
        index.bytes() as f64 / f64::from(1 << 20),
        built.as_secs_f64()
    );
}
