//! Readings from a command of this machine: its exit code, or the number on the last line of what it writes.
//!
//! Must not know: thresholds. What a command writes is never kept or shown, the number aside: it may hold what it was given.

use std::path::PathBuf;
use std::sync::Arc;

use betagate_core::decide::Outcome;
use betagate_core::resources::{JobCheck, job_time};
use jiff::Timestamp;
use secrecy::ExposeSecret as _;
use serde_json::Value;
use tempfile::TempDir;

use super::{Reading, Why, ratio_of, source_error};
use crate::apply::processes::{Ended, NOT_STARTED, Once, Program};
use crate::secrets::secret_in;

/// Says "I don't know".
const UNKNOWN: i32 = 2;

/// Where jobs run.
#[derive(Clone, Debug)]
pub struct Jobs {
    /// The program that has the shim in it.
    pub program: Program,
    /// The folder of the documents, or a copy of them.
    pub folder: PathBuf,
    /// Keeps a copy in its place while commands may run in it; it goes with the last one.
    pub copy: Option<Arc<TempDir>>,
    /// The data folder, with its secrets.
    pub data: PathBuf,
}

/// Runs a job. With `number`, its output is the value and its exit code says whether there is one; else its exit code is the answer.
pub async fn measure(jobs: Option<&Jobs>, check: &JobCheck, number: bool, at: Timestamp) -> Reading {
    let Some(jobs) = jobs else {
        return source_error(
            "job",
            "commands run where the documents are a folder or a Git repository of this machine",
            at,
        );
    };
    let mut env: Vec<(String, String)> = check.env.clone().into_iter().collect();
    for (variable, name) in &check.secret_env {
        match secret_in(&jobs.data, name) {
            Ok(value) => env.push((variable.clone(), value.expose_secret().to_owned())),
            Err(why) => return source_error("job", &why, at),
        }
    }
    let deadline = job_time(check.timeout).duration().unsigned_abs();
    let (program, folder) = (jobs.program.clone(), jobs.folder.clone());
    match (Once { program, command: check.command.clone(), folder, env, deadline }).run().await {
        Ok(Ended::TimedOut | Ended::Signal(_)) => Reading::unknown(Why::Terminated, at),
        Ok(Ended::Code(code, said)) => read(code, &said, number, at),
        Err(error) => source_error("job", &format!("it can't be run ({})", error.kind()), at),
    }
}

fn read(code: i32, said: &str, number: bool, at: Timestamp) -> Reading {
    match code {
        UNKNOWN => Reading::unknown(Why::NoData, at),
        code if NOT_STARTED.contains(&code) => source_error("job", "its command is not there, or can't be run", at),
        0 if number => Reading { outcome: last_line(said).unwrap_or_else(broken), at, window: None },
        code if number => source_error("job", &format!("it ended with exit code {code} instead of a number"), at),
        0 => Reading::value(1.0, at),
        _ => Reading::value(0.0, at),
    }
}

fn broken(why: &str) -> Outcome {
    Outcome::Unknown(Why::SourceError(format!("job: {why}")))
}

/// The number on the last line that is not empty, or its JSON: `value` with perhaps `samples`, or `numerator` and `denominator`.
fn last_line(said: &str) -> Result<Outcome, &'static str> {
    let line = said.lines().map(str::trim).rfind(|line| !line.is_empty()).ok_or("it wrote nothing")?;
    let body: Value = serde_json::from_str(line).map_err(|_| "its last line is neither a number nor JSON")?;
    let number = |field: &str| body[field].as_f64();
    if let Some(value) = body.as_f64() {
        return Ok(Outcome::Value { value, numerator: None, denominator: None, samples: None });
    }
    match (number("numerator"), number("denominator"), number("value")) {
        (Some(above), Some(below), _) => Ok(ratio_of(above, below)),
        (None, None, Some(value)) => {
            Ok(Outcome::Value { value, numerator: None, denominator: None, samples: body["samples"].as_u64() })
        }
        _ if body["value"].is_null() && body.get("value").is_some() => Ok(Outcome::Unknown(Why::NoData)),
        _ => Err("its last line has neither value, nor numerator and denominator"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(code: i32, said: &str, number: bool) -> Outcome {
        read(code, said, number, Timestamp::UNIX_EPOCH).outcome
    }

    fn value(value: f64) -> Outcome {
        Outcome::Value { value, numerator: None, denominator: None, samples: None }
    }

    #[test]
    fn without_a_threshold_the_exit_code_is_the_answer() {
        assert_eq!(outcome(0, "7", false), value(1.0));
        assert_eq!(outcome(2, "7", false), Outcome::Unknown(Why::NoData));
        for missed in [1, 3, 64, 125, 255] {
            assert_eq!(outcome(missed, "", false), value(0.0), "{missed}");
        }
        for broken in [126, 127] {
            assert!(matches!(outcome(broken, "", false), Outcome::Unknown(Why::SourceError(_))), "{broken}");
        }
    }

    #[test]
    fn with_a_threshold_only_a_number_after_exit_code_0_is_a_value() {
        assert_eq!(outcome(0, "looking…\n 3600 \n\n", true), value(3600.0));
        assert_eq!(outcome(0, r#"{"value": 2.5}"#, true), value(2.5));
        let ratio = Outcome::Value { value: 0.5, numerator: Some(1.0), denominator: Some(2.0), samples: None };
        assert_eq!(outcome(0, r#"{"numerator": 1, "denominator": 2}"#, true), ratio);
        assert_eq!(outcome(0, r#"{"numerator": 0, "denominator": 0}"#, true), Outcome::Unknown(Why::NoData));
        assert_eq!(outcome(0, r#"{"value": null}"#, true), Outcome::Unknown(Why::NoData));
        assert_eq!(outcome(2, "0", true), Outcome::Unknown(Why::NoData));
        for (code, said) in
            [(1, "0"), (0, ""), (0, "fine"), (0, "{}"), (0, "\"0\""), (0, "[0]"), (0, r#"{"value": "0"}"#), (127, "0")]
        {
            assert!(matches!(outcome(code, said, true), Outcome::Unknown(Why::SourceError(_))), "{code} {said}");
        }
    }
}
