//! Scheduled changes: which window of a flag is open at an instant.
//!
//! Must not know: zones (a definition has instants), what else decides.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use super::answer::CompileProblem;
use super::bucket::Generation;
use super::compile::{plain, program};
use super::rule::{Compiler, Rule};

/// A window of time, and what a flag gives in it.
#[derive(Debug)]
pub struct Window {
    from: Option<Timestamp>,
    until: Option<Timestamp>,
    /// What stands in for the flag's default and rules.
    pub change: Change,
    /// Who decides in it: `schedule FROM/UNTIL`, an open end as `..`.
    pub by: String,
}

/// What a flag gives in a window.
#[derive(Debug)]
pub enum Change {
    /// A variant for everyone.
    Variant(String),
    /// What a rule picks.
    Targeting(Rule),
}

impl Window {
    /// Whether it is open: its first instant belongs to it, its end does not.
    pub fn is_open(&self, now: Timestamp) -> bool {
        self.from.is_none_or(|from| from <= now) && self.until.is_none_or(|until| now < until)
    }

    /// The instants at which the flag changes.
    pub fn boundaries(&self) -> impl Iterator<Item = Timestamp> {
        self.from.into_iter().chain(self.until)
    }
}

/// Compiles the windows of a definition; what is wrong with them is added to `problems`.
pub fn compile_schedule(
    key: &str,
    definition: &Value,
    evaluators: &BTreeMap<String, Value>,
    problems: &mut Vec<CompileProblem>,
) -> Vec<Window> {
    let mut windows = Vec::new();
    for (place, entry) in definition["schedule"].as_array().into_iter().flatten().enumerate() {
        let pointer = format!("/schedule/{place}");
        let mut instant = |field: &str| {
            let text = entry.get(field).filter(|value| !value.is_null())?;
            let read = text.as_str().and_then(|text| text.parse::<Timestamp>().ok());
            if read.is_none() {
                let (pointer, message) = (format!("{pointer}/{field}"), format!("{text} is not an instant"));
                problems.push(CompileProblem { flag: key.to_owned(), pointer, message, breaks: true });
            }
            read
        };
        let (from, until) = (instant("from"), instant("until"));
        let change = match (&entry["variant"], &entry["targeting"]) {
            (Value::String(variant), _) => Change::Variant(variant.clone()),
            (_, rule) => {
                let compiled =
                    Compiler::new(key, program(definition), evaluators, problems, Generation::of(definition)).rule(
                        rule,
                        &format!("{pointer}/targeting"),
                        0,
                    );
                Change::Targeting(compiled)
            }
        };
        let end = |field: &str| entry.get(field).map_or_else(|| "..".to_owned(), plain);
        windows.push(Window { from, until, change, by: format!("schedule {}/{}", end("from"), end("until")) });
    }
    windows
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;
