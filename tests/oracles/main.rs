//! Random flags and contexts, answered by flagd's own evaluators and by ours: equal in value, variant, reason and error.
//!
//! `oracles GENERATION CASES SEED ORACLE…` starts the oracle, which answers each line of JSON with one. The same seed makes the same
//! cases, whatever their number. Exits 0 only if every answer is equal.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test program"
)]

mod cases;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, ExitCode, Stdio};

use betagate_core::flags::{Context, FlagSet, Membership};
use jiff::Timestamp;
use serde_json::{Value, json};

/// So many differences are shown.
const SHOWN: u64 = 8;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [generation, count, seed, program, rest @ ..] = words.as_slice() else {
        // Without words, as `cargo test` runs it: there is no oracle to ask.
        println!("usage: oracles concat|cbor CASES SEED ORACLE…");
        return if words.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(64) };
    };
    let (count, seed): (u64, u64) = (count.parse().expect("a number of cases"), seed.parse().expect("a seed"));
    let mut oracle = Command::new(program)
        .args(rest)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the oracle starts");
    let mut input = oracle.stdin.take().expect("piped");
    let output = BufReader::new(oracle.stdout.take().expect("piped"));
    let concat = generation == "concat";
    let writer = std::thread::spawn(move || {
        for number in 0..count {
            if writeln!(input, "{}", cases::case(seed, number, concat)).is_err() {
                return;
            }
        }
    });
    let (mut answered, mut different, mut kinds) = (0_u64, 0_u64, BTreeMap::<String, u64>::new());
    for (number, line) in (0..count).zip(output.lines()) {
        let theirs: Value = serde_json::from_str(&line.expect("readable")).expect("the oracle answers JSON");
        let case = cases::case(seed, number, concat);
        let ours = ours(&case, generation);
        answered += 1;
        let kind = theirs["errorCode"].as_str().or(theirs["reason"].as_str()).unwrap_or_default();
        *kinds.entry(kind.to_owned()).or_default() += 1;
        if !equal(&theirs, &ours) {
            different += 1;
            if different <= SHOWN {
                println!("case {number} of seed {seed}: {case}\n  theirs {theirs}\n  ours   {ours}");
            }
        }
    }
    writer.join().expect("cases are written");
    let _ = oracle.wait();
    let missing = count - answered;
    println!("{generation}: {answered} cases of seed {seed}, of which {kinds:?}");
    let verdict = if different + missing == 0 { "ok" } else { "FAILED" };
    println!("test result: {verdict}. {} passed; {} failed", answered - different, different + missing);
    if different + missing == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn ours(case: &Value, generation: &str) -> Value {
    let key = case["key"].as_str().unwrap_or_default();
    let mut definition = case["flags"]["flags"][key].clone();
    definition["bucketing"] = json!(generation);
    definition["$evaluators"] = case["flags"]["$evaluators"].clone();
    let (set, _) = FlagSet::compile([(key, &definition)], &|_| None);
    let context = Context::new(case["context"].clone()).expect("an object");
    match set.evaluate(key, &context, &Membership::default(), Timestamp::now()) {
        Ok(answer) => json!({ "value": answer.value, "variant": answer.variant, "reason": answer.reason.name() }),
        Err(error) => json!({ "errorCode": error.code() }),
    }
}

/// Equal as the languages of the oracles see it: 1 is 1.0.
fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(name, a)| b.get(name).is_some_and(|b| equal(a, b)))
        }
        _ => a == b,
    }
}
