//! `betagate flag get --explain`: why a flag answers one person as it does.

use std::fmt::Write as _;
use std::process::ExitCode;

use betagate_core::flags::{Answered, Explanation, RulePath};
use serde::Deserialize as _;
use serde_json::{Value, json};

use super::common::print_value;
use super::{CliError, Format};

/// Prints an explanation.
pub fn print(answer: &Value, output: Format) -> Result<ExitCode, CliError> {
    if output == Format::Table {
        let told = Explanation::deserialize(answer).map_err(CliError::failed)?;
        say!("{}", text(&told).trim_end());
    } else {
        print_value(answer, output)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn text(told: &Explanation) -> String {
    let mut text = String::new();
    let decided = format!("{} ({})", json!(told.layer).as_str().unwrap_or_default(), told.decided_by);
    let _ = match &told.answer {
        Answered::Value { value, variant, reason } => {
            writeln!(text, "{} = {value} ({variant}, {reason}), decided by {decided}", told.key)
        }
        Answered::Error { error_code, error_details } => writeln!(text, "{}: {error_code}: {error_details}", told.key),
    };
    let mut line = |name: &str, rest: String| {
        let _ = writeln!(text, "  {name:<11} {rest}");
    };
    if let Some(person) = &told.person {
        let cohorts = if told.cohorts.is_empty() { "no cohort".to_owned() } else { told.cohorts.join(", ") };
        line("person", format!("{person}, in {cohorts}"));
    }
    for required in &told.prerequisites {
        let given = required.given.as_deref().unwrap_or("nothing");
        let met = if required.met { "met" } else { "not met" };
        line("requires", format!("{} to give {}: it gives {given}, {met}", required.flag, required.wanted));
    }
    told.rule.iter().for_each(|path| way(path, &mut line));
    if let Some(commit) = &told.commit {
        line("commit", commit.clone());
    }
    text
}

fn way(path: &RulePath, line: &mut impl FnMut(&str, String)) {
    for known in &path.conditions {
        let held = if known.held { "held" } else { "did not hold" };
        line("condition", format!("{} {}: {held}", known.pointer, known.condition));
    }
    for bucket in &path.buckets {
        let place = bucket.place.as_ref().map_or_else(
            || "nothing to bucket by".to_owned(),
            |place| {
                let (from, to, percent) = (place.from, place.to, place.percent);
                format!("bucket {} of {}, in the share {from}..{to} ({percent:.1} %)", place.bucket, place.total)
            },
        );
        line("percentage", format!("{}: {place}; {} of {}", bucket.pointer, bucket.bucketing, bucket.hashed));
    }
    line("rule", format!("gave {} at {}", path.gave, path.pointer));
}
