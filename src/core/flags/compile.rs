//! From a definition to a compiled flag: what forces it, its default, its rule.
//!
//! Must not know: contexts, people.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::answer::CompileProblem;
use super::bucket::Generation;
use super::clock::reads_clock;
use super::requires::Requirement;
use super::rule::{Compiler, Rule};
use super::schedule::{Change, Window, compile_schedule};

/// A flag, compiled.
#[derive(Debug)]
pub struct Flag {
    pub enabled: bool,
    pub variants: IndexMap<String, Value>,
    /// The variant that everyone gets, and who says so: an invariant, a hold, or the environment.
    pub forced: Option<(String, String)>,
    pub default: String,
    pub default_by: String,
    /// What picks the default, where a stage gives it to a share of people.
    pub default_rule: Option<Rule>,
    pub targeting: Option<Rule>,
    /// Of windows that overlap, the first one counts.
    pub schedule: Vec<Window>,
    /// What other flags must give; where one does not, the definition's default is the answer.
    pub requires: Vec<Requirement>,
    /// The default of the definition, whatever the stage says.
    pub own_default: String,
    pub generation: Generation,
    /// What percentages hash in place of the flag's key: flags of one seed pick the same people.
    pub seed: Option<String>,
    pub metadata: Map<String, Value>,
    pub broken: Option<String>,
}

impl Flag {
    /// The window that is open now.
    pub fn window(&self, now: Timestamp) -> Option<&Window> {
        self.schedule.iter().find(|window| window.is_open(now))
    }

    /// Whether a rule of it reads the time.
    pub fn reads_clock(&self) -> bool {
        self.rules().any(reads_clock)
    }

    /// Its rules: its own, those of its windows, and what picks its default.
    pub fn rules(&self) -> impl Iterator<Item = &Rule> {
        let scheduled = self.schedule.iter().filter_map(|window| match &window.change {
            Change::Targeting(targeting) => Some(targeting),
            Change::Variant(_) => None,
        });
        self.targeting.iter().chain(scheduled).chain(&self.default_rule)
    }
}

/// Compiles one definition; what is wrong with it is added to `problems`.
pub fn compile_flag(
    key: &str,
    definition: &Value,
    evaluators: &BTreeMap<String, Value>,
    env: &dyn Fn(&str) -> Option<String>,
    problems: &mut Vec<CompileProblem>,
) -> Flag {
    let text = |field: &str| definition[field].as_str().map(str::to_owned);
    let variants: IndexMap<String, Value> = definition["variants"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| (name.clone(), of_type(definition, value)))
        .collect();
    let generation = Generation::of(definition);
    // flagd's own evaluator of the first generation refuses such a flag; that of the second finds out when it gets there.
    if let Some(default) = text("defaultVariant").filter(|name| !name.is_empty() && !variants.contains_key(name)) {
        let (flag, pointer) = (key.to_owned(), "/defaultVariant".to_owned());
        let breaks = generation == Generation::Concat;
        problems.push(CompileProblem { flag, pointer, message: format!("'{default}' is no variant"), breaks });
    }
    let targeting = definition.get("targeting").filter(|rule| !rule.is_null() && **rule != json!({}));
    let targeting = targeting.map(|rule| {
        Compiler::new(key, program(definition), evaluators, problems, generation).rule(rule, "/targeting", 0)
    });
    let schedule = compile_schedule(key, definition, evaluators, problems);
    let stage = definition.get("stage").filter(|stage| stage["variant"].is_string());
    let (default, default_by) = match stage {
        Some(stage) => {
            (plain(&stage["variant"]), format!("stage {}/{}", plain(&stage["rollout"]), plain(&stage["stage"])))
        }
        None => (text("defaultVariant").unwrap_or_default(), "definition".to_owned()),
    };
    let percent = stage.and_then(|stage| stage["percent"].as_u64()).filter(|percent| *percent < 100);
    let default_rule = percent.map(|percent| {
        // The share comes first, so that whoever is in it stays in as it grows.
        let rule =
            json!({ "fractional": [[default, percent], [text("defaultVariant").unwrap_or_default(), 100 - percent]] });
        Compiler::new(key, program(definition), evaluators, problems, generation).rule(&rule, "/stage", 0)
    });
    let hold = definition.get("hold").filter(|hold| hold["variant"].is_string());
    let held = hold.map(|hold| (plain(&hold["variant"]), format!("hold {}/{}", plain(&hold["run"]), hold["step"])));
    let environment = text("env").and_then(|name| {
        let value = env(&name)?;
        override_variant(&value, &variants).map(|variant| (variant, format!("environment {name}")))
    });
    let invariant = text("invariant").map(|variant| (variant, "invariant".to_owned()));
    let mut metadata: Map<String, Value> = definition["metadata"].as_object().cloned().unwrap_or_default();
    metadata.retain(|_, value| !value.is_null());
    if let Some((_, by)) = &held {
        metadata.insert("betagate.hold".to_owned(), json!(by.trim_start_matches("hold ")));
    }
    if definition["routed"] == json!(true)
        && let Some(path) = text("fallback")
    {
        metadata.insert("betagate.fallback".to_owned(), json!(path));
    }
    Flag {
        enabled: definition["state"] != json!("DISABLED"),
        forced: invariant.or(held).or(environment),
        variants,
        default,
        default_by,
        default_rule,
        targeting,
        schedule,
        requires: Vec::new(),
        own_default: text("defaultVariant").unwrap_or_default(),
        seed: text("bucketSeed"),
        generation,
        metadata,
        broken: None,
    }
}

/// A variant's value as its flag's type has it: a whole number of a float flag keeps its decimal point, since clients in typed languages
/// refuse it otherwise.
fn of_type(definition: &Value, value: &Value) -> Value {
    match value.as_f64() {
        Some(number) if definition["type"] == json!("float") => json!(number),
        _ => value.clone(),
    }
}

/// The program that a definition belongs to; empty for none.
pub fn program(definition: &Value) -> &str {
    definition["program"].as_str().unwrap_or_default()
}

/// The shared rules that a definition brings.
pub fn own_evaluators(definition: &Value) -> impl Iterator<Item = (String, Value)> {
    let own = definition["$evaluators"].as_object().into_iter().flatten();
    own.map(|(name, rule)| (name.clone(), rule.clone()))
}

/// A text as it is, anything else as JSON.
pub fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// What an environment variable says: `true`/`1`, `false`/`0`, or a variant's name; anything else says nothing.
pub fn override_variant(value: &str, variants: &IndexMap<String, Value>) -> Option<String> {
    let wanted = match value.trim() {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    };
    let of_value =
        variants.iter().find(|(_, value)| wanted.is_some() && value.as_bool() == wanted).map(|(name, _)| name.clone());
    of_value.or_else(|| variants.contains_key(value.trim()).then(|| value.trim().to_owned()))
}
