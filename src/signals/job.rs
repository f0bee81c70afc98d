//! Readings from a command, of this machine or as a Job of a cluster: its exit code, or the number on the last line of what it writes.
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
use crate::apply::cluster::commands::{Commands, Order, Purpose};
use crate::apply::processes::{Ended, NOT_STARTED, Once, Program};
use crate::secrets::secret_in;

/// The fields by which JSON is an answer.
const FIELDS: [&str; 3] = ["value", "numerator", "denominator"];
/// Says "I don't know".
const UNKNOWN: i32 = 2;

/// Where jobs run.
#[derive(Clone, Debug)]
pub enum Jobs {
    /// On this machine.
    Here(Place),
    /// In the namespace of a cluster.
    Cluster(Commands),
}

/// A place of this machine where jobs run.
#[derive(Clone, Debug)]
pub struct Place {
    /// The program that has the shim in it.
    pub program: Program,
    /// The folder of the documents, or a copy of them.
    pub folder: PathBuf,
    /// Keeps a copy in its place while commands may run in it; it goes with the last one.
    pub copy: Option<Arc<TempDir>>,
    /// The data folder, with its secrets.
    pub data: PathBuf,
}

/// Whose check it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asker {
    /// The program.
    pub program: String,
    /// The gate.
    pub gate: String,
    /// The check.
    pub check: String,
    /// The id of the gate's resource, where there is one.
    pub id: Option<String>,
}

/// Runs a job. With `number`, its output is the value and its exit code says whether there is one; else its exit code is the answer.
pub async fn measure(jobs: Option<&Jobs>, check: &JobCheck, asker: &Asker, (number, at): (bool, Timestamp)) -> Reading {
    let ended = match jobs {
        Some(Jobs::Here(place)) => place.run(check).await,
        Some(Jobs::Cluster(commands)) => as_job(commands, check, asker, number).await,
        None => Err("commands run where the documents are a folder or a Git repository of this machine, or resources of a cluster".to_owned()),
    };
    match ended {
        Ok(Ended::TimedOut | Ended::Signal(_)) => Reading::unknown(Why::Terminated, at),
        Ok(Ended::Code(code, said)) => read(code, &said, number, at),
        Err(why) => source_error("job", &why, at),
    }
}

impl Place {
    async fn run(&self, check: &JobCheck) -> Result<Ended, String> {
        let mut env: Vec<(String, String)> = check.env.clone().into_iter().collect();
        for (variable, name) in &check.secret_env {
            let value = secret_in(&self.data, name)?;
            env.push((variable.clone(), value.expose_secret().to_owned()));
        }
        let deadline = job_time(check.timeout).duration().unsigned_abs();
        let (program, folder) = (self.program.clone(), self.folder.clone());
        let once = Once { program, command: check.command.clone(), folder, env, deadline };
        once.run().await.map_err(|error| format!("it can't be run ({})", error.kind()))
    }
}

async fn as_job(commands: &Commands, check: &JobCheck, asker: &Asker, number: bool) -> Result<Ended, String> {
    let Asker { program, gate, check: name, id } = asker;
    let order = Order {
        purpose: Purpose::Check,
        key: format!("{gate}/{name}"),
        about: format!("{gate}/{name}"),
        record: String::new(),
        program: program.clone(),
        command: check.command.clone(),
        image: check.image.clone(),
        account: check.service_account.clone(),
        env: check.env.clone(),
        secret_env: check.secret_env.clone(),
        deadline: job_time(check.timeout).duration().unsigned_abs(),
        owner: id.clone().map(|id| (gate.clone(), id)),
    };
    let begun = commands.begin(&order).await.map_err(|error| error.to_string())?;
    let ended = commands.end(begun, number).await.map_err(|error| error.to_string())?;
    Ok(match ended {
        Ended::Code(code, log) => Ended::Code(code, answer_in(&log).to_owned()),
        other => other,
    })
}

/// The last line of a log that may be an answer. A log has both outputs of a command in one, in no certain order, and says of no line which one it is of: what
/// is only told to people, or to whoever reads logs as JSON, must not hide the number. What is meant as an answer and is none is told as such.
fn answer_in(log: &str) -> &str {
    let is_answer = |line: &&str| match serde_json::from_str::<Value>(line.trim()) {
        Ok(Value::Object(fields)) => FIELDS.iter().any(|field| fields.contains_key(*field)),
        Ok(value) => value.is_number(),
        Err(_) => false,
    };
    log.lines().rfind(is_answer).unwrap_or(log)
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
    fn what_a_log_says_to_people_hides_no_number() {
        for (log, answer) in [
            ("looking…\n7\n\nwarning: slow\n", "7"),
            ("6\n {\"value\": 3} \nnote", " {\"value\": 3} "),
            ("6\n\"7\"\ntrue\n[8]\n", "6"),
            ("7\n{\"level\":\"info\",\"msg\":\"done\"}\n{}\n", "7"),
            ("6\n{\"value\": \"7\"}\n", "{\"value\": \"7\"}"),
            ("6\n{\"numerator\": 1, \"denominator\": 2}\n", "{\"numerator\": 1, \"denominator\": 2}"),
            ("words\n", "words\n"),
            ("", ""),
        ] {
            assert_eq!(answer_in(log), answer);
        }
        assert_eq!(outcome(0, answer_in("7\nwarning\n"), true), value(7.0));
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
