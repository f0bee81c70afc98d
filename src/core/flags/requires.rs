//! Flags that depend on flags: which must give which variant, for a flag to decide at all.
//!
//! Must not know: contexts, what decides a flag.

use std::collections::HashMap;

use serde_json::Value;

use super::answer::CompileProblem;
use super::compile::{Flag, program};
use crate::desired::circles::{Needs, circles, ordered};

/// A flag that takes more evaluations than this, those of the flags it requires and of what they require included, is refused.
pub const MAX_EVALUATIONS: usize = 256;

/// A flag that another one needs.
#[derive(Debug)]
pub struct Requirement {
    /// Its place in the set.
    pub place: usize,
    /// What it must give.
    pub variant: String,
    /// Who decides where it does not: `prerequisite KEY`.
    pub by: String,
}

/// Resolves what flags require, and breaks those that can never be evaluated: they require what is not there, or themselves.
pub fn link(
    definitions: &[(&str, &Value)],
    places: &HashMap<String, usize>,
    flags: &mut [Flag],
    problems: &mut Vec<CompileProblem>,
) {
    if definitions.iter().all(|(_, definition)| definition.get("requires").is_none()) {
        return;
    }
    for (place, (key, definition)) in definitions.iter().enumerate() {
        for (number, entry) in definition["requires"].as_array().into_iter().flatten().enumerate() {
            match requirement(definition, entry, definitions, places) {
                Ok(requirement) => flags[place].requires.push(requirement),
                Err(message) => refuse(&mut flags[place], key, &format!("/requires/{number}"), message, problems),
            }
        }
    }
    for circle in circles(&needs(definitions, flags)) {
        for key in &circle {
            let message = format!("flags require each other in a circle: {} → {}", circle.join(" → "), circle[0]);
            refuse(&mut flags[places[*key]], key, "/requires", message, problems);
        }
    }
    for key in too_many(&needs(definitions, flags)) {
        let message = format!("it takes more than {MAX_EVALUATIONS} evaluations of the flags that it requires");
        refuse(&mut flags[places[key]], key, "/requires", message, problems);
    }
}

fn requirement(
    definition: &Value,
    entry: &Value,
    definitions: &[(&str, &Value)],
    places: &HashMap<String, usize>,
) -> Result<Requirement, String> {
    let (Some(key), Some(variant)) = (entry["flag"].as_str(), entry["variant"].as_str()) else {
        return Err("a requirement names flag and variant".to_owned());
    };
    let other = places.get(key).filter(|place| program(definitions[**place].1) == program(definition));
    let place = *other.ok_or_else(|| format!("there is no flag '{key}'"))?;
    if definitions[place].1["variants"].get(variant).is_none() {
        return Err(format!("flag '{key}' has no variant '{variant}'"));
    }
    Ok(Requirement { place, variant: variant.to_owned(), by: format!("prerequisite {key}") })
}

/// A flag that cannot be evaluated requires nothing: evaluation ends at it.
fn refuse(flag: &mut Flag, key: &str, pointer: &str, message: String, problems: &mut Vec<CompileProblem>) {
    flag.broken.get_or_insert_with(|| format!("{pointer}: {message}"));
    flag.requires.clear();
    problems.push(CompileProblem { flag: key.to_owned(), pointer: pointer.to_owned(), message, breaks: true });
}

fn needs<'n>(definitions: &[(&'n str, &Value)], flags: &[Flag]) -> Needs<'n> {
    let of = |flag: &Flag| flag.requires.iter().map(|requirement| definitions[requirement.place].0).collect();
    definitions.iter().zip(flags).map(|((key, _), flag)| (*key, of(flag))).collect()
}

/// The flags that take more evaluations than they may; Where such a flag is required, it counts as one: it answers
/// an error at once.
pub fn too_many<'n>(needs: &Needs<'n>) -> Vec<&'n str> {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    let mut refused = Vec::new();
    for key in ordered(needs).0 {
        let count = 1 + needs[key].iter().map(|need| counts.get(need).copied().unwrap_or(1)).sum::<usize>();
        if count > MAX_EVALUATIONS {
            refused.push(key);
        }
        counts.insert(key, if count > MAX_EVALUATIONS { 1 } else { count });
    }
    refused
}

#[cfg(test)]
#[path = "requires_tests.rs"]
mod tests;
