//! A set of flags, compiled once, and what wins: invariant, hold, environment variable, stage, definition.
//!
//! Must not know: HTTP, where definitions come from.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use indexmap::IndexMap;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::bucket::Generation;
use super::eval::{Broken, Scope, evaluate};
use super::membership::{Cohorts, Membership};
use super::rule::{Compiler, Rule};
use crate::cohort::{AddressRules, normalise};

/// What is wrong with a definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompileProblem {
    /// The flag's key.
    pub flag: String,
    /// Where in its targeting, as a JSON pointer.
    pub pointer: String,
    /// What.
    pub message: String,
}

/// Why a value was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// No rule: the same for everyone.
    Static,
    /// A rule picked it.
    TargetingMatch,
    /// A percentage picked it.
    Split,
    /// No rule picked anything.
    Default,
    /// The flag is switched off.
    Disabled,
}

impl Reason {
    /// As OFREP writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Static => "STATIC",
            Self::TargetingMatch => "TARGETING_MATCH",
            Self::Split => "SPLIT",
            Self::Default => "DEFAULT",
            Self::Disabled => "DISABLED",
        }
    }
}

/// Why there is no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EvaluationError {
    /// There is no such flag.
    FlagNotFound,
    /// The definition can't be evaluated.
    Parse(String),
    /// It picked a variant that does not exist, or has no default.
    General(String),
}

impl EvaluationError {
    /// As OFREP writes it.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::FlagNotFound => "FLAG_NOT_FOUND",
            Self::Parse(_) => "PARSE_ERROR",
            Self::General(_) => "GENERAL",
        }
    }

    /// In words.
    pub fn details(&self) -> String {
        match self {
            Self::FlagNotFound => "there is no such flag".to_owned(),
            Self::Parse(why) | Self::General(why) => why.clone(),
        }
    }
}

/// A value with its reason.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation<'a> {
    /// The value; none for a disabled flag.
    pub value: Option<&'a Value>,
    /// The variant's name.
    pub variant: &'a str,
    /// Why.
    pub reason: Reason,
    /// Handed to SDKs.
    pub metadata: &'a Map<String, Value>,
    /// What decided: `invariant`, `hold RUN/STEP`, `environment`, `stage ROLLOUT/STAGE`, `definition`.
    pub decided_by: &'a str,
}

/// Who asks, about whom.
#[derive(Clone, Debug)]
pub struct Context {
    fields: Value,
    person: Option<String>,
}

impl Context {
    /// A context from its fields.
    ///
    /// # Errors
    /// When it is no object.
    pub fn new(fields: Value) -> Result<Self, &'static str> {
        let Value::Object(object) = &fields else { return Err("the context is not an object") };
        let person = match object.get("targetingKey") {
            Some(Value::String(key)) if !key.is_empty() => Some(key.clone()),
            None | Some(Value::Null | Value::String(_)) => None,
            Some(_) => return Err("targetingKey is not a text"),
        };
        Ok(Self { fields, person })
    }

    /// The person's key.
    pub fn person(&self) -> Option<&str> {
        self.person.as_deref()
    }
}

#[derive(Debug)]
struct Flag {
    enabled: bool,
    variants: IndexMap<String, Value>,
    /// The variant that everyone gets, and who says so: an invariant, a hold, or the environment.
    forced: Option<(String, String)>,
    default: String,
    default_by: String,
    targeting: Option<Rule>,
    splits: bool,
    generation: Generation,
    metadata: Map<String, Value>,
    broken: Option<String>,
}

/// Flags compiled once; evaluation changes nothing and locks nothing.
#[derive(Debug, Default)]
pub struct FlagSet {
    flags: HashMap<String, Flag>,
    keys: Vec<String>,
}

impl FlagSet {
    /// Compiles definitions; `env` reads an environment variable. A flag with a problem answers with an error, the others go on.
    pub fn compile<'a>(
        flags: impl IntoIterator<Item = (&'a str, &'a Value)>,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> (Self, Vec<CompileProblem>) {
        let (mut set, mut problems) = (Self::default(), Vec::new());
        let flags: Vec<_> = flags.into_iter().collect();
        // Shared within a program only: two programs may give one name to different rules.
        let mut shared: BTreeMap<&str, BTreeMap<String, Value>> = BTreeMap::new();
        for (_, definition) in &flags {
            shared.entry(program(definition)).or_default().extend(own_evaluators(definition));
        }
        for (key, definition) in flags {
            let before = problems.len();
            let mut evaluators = shared.get(program(definition)).cloned().unwrap_or_default();
            evaluators.extend(own_evaluators(definition));
            let mut flag = compile_flag(key, definition, &evaluators, env, &mut problems);
            flag.broken = problems.get(before).map(|problem| format!("{}: {}", problem.pointer, problem.message));
            set.keys.push(key.to_owned());
            set.flags.insert(key.to_owned(), flag);
        }
        set.keys.sort();
        (set, problems)
    }

    /// The keys, in order.
    pub fn keys(&self) -> &[String] {
        &self.keys
    }

    /// Evaluates one flag.
    ///
    /// # Errors
    /// [`EvaluationError`]; one flag's error is no other's.
    pub fn evaluate<'a>(
        &'a self,
        key: &str,
        context: &Context,
        membership: &Membership,
        now: Timestamp,
    ) -> Result<Evaluation<'a>, EvaluationError> {
        let (key, flag) = self.flags.get_key_value(key).ok_or(EvaluationError::FlagNotFound)?;
        // First: a hold reads no rule, so a rule that is wrong must not take the safe variant away.
        if let Some((variant, by)) = &flag.forced {
            return flag.answer(variant, Reason::Static, by);
        }
        if let Some(broken) = &flag.broken {
            return Err(EvaluationError::Parse(broken.clone()));
        }
        if !flag.enabled {
            return Ok(Evaluation {
                value: None,
                variant: "",
                reason: Reason::Disabled,
                metadata: &flag.metadata,
                decided_by: "definition",
            });
        }
        let Some(rule) = &flag.targeting else { return flag.answer(&flag.default, Reason::Static, &flag.default_by) };
        let nobody = Cohorts::new();
        let cohorts = context.person().and_then(|person| cohorts_of(person, membership)).unwrap_or(&nobody);
        let scope = Scope {
            flag: key,
            timestamp: now.as_second(),
            person: context.person(),
            cohorts,
            generation: flag.generation,
        };
        let picked = evaluate(rule, &scope, &context.fields).map_err(|Broken(why)| EvaluationError::Parse(why))?;
        let name = match picked.as_ref() {
            Value::Null => return flag.answer(&flag.default, Reason::Default, &flag.default_by),
            Value::String(name) => Cow::Borrowed(name.as_str()),
            Value::Bool(on) => Cow::Borrowed(if *on { "true" } else { "false" }),
            other => Cow::Owned(other.to_string()),
        };
        let reason = if flag.splits { Reason::Split } else { Reason::TargetingMatch };
        match flag.variants.get_key_value(name.as_ref()) {
            Some((name, _)) => flag.answer(name, reason, "definition"),
            None => Err(EvaluationError::General(format!("the rule picked '{name}', which is no variant"))),
        }
    }
}

impl Flag {
    fn answer<'a>(&'a self, variant: &str, reason: Reason, by: &'a str) -> Result<Evaluation<'a>, EvaluationError> {
        let Some((variant, value)) = self.variants.get_key_value(variant) else {
            return Err(EvaluationError::General(format!("'{variant}' is no variant")));
        };
        Ok(Evaluation { value: Some(value), variant, reason, metadata: &self.metadata, decided_by: by })
    }
}

fn compile_flag(
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
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let targeting = definition.get("targeting").filter(|rule| !rule.is_null() && **rule != json!({}));
    let targeting =
        targeting.map(|rule| Compiler::new(key, program(definition), evaluators, problems).rule(rule, "/targeting", 0));
    let stage = definition.get("stage").filter(|stage| stage["variant"].is_string());
    let (default, default_by) = match stage {
        Some(stage) => {
            (plain(&stage["variant"]), format!("stage {}/{}", plain(&stage["rollout"]), plain(&stage["stage"])))
        }
        None => (text("defaultVariant").unwrap_or_default(), "definition".to_owned()),
    };
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
        splits: matches!(targeting, Some(Rule::Fractional(..))),
        forced: invariant.or(held).or(environment),
        variants,
        default,
        default_by,
        targeting,
        generation: if definition["bucketing"] == json!("cbor") { Generation::Cbor } else { Generation::Concat },
        metadata,
        broken: None,
    }
}

fn program(definition: &Value) -> &str {
    definition["program"].as_str().unwrap_or_default()
}

fn own_evaluators(definition: &Value) -> impl Iterator<Item = (String, Value)> {
    let own = definition["$evaluators"].as_object().into_iter().flatten();
    own.map(|(name, rule)| (name.clone(), rule.clone()))
}

/// The cohorts of a person: by user id, or by address in any spelling.
fn cohorts_of<'m>(person: &str, membership: &'m Membership) -> Option<&'m Cohorts> {
    membership.of(person).or_else(|| {
        let address = person.contains('@').then(|| normalise(person, AddressRules::default()).ok()).flatten()?;
        membership.of(&address)
    })
}

fn plain(value: &Value) -> String {
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
