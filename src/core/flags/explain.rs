//! Why a flag answers one person as it does: the layer that decided, the way through the rule, the bucket, the cohorts, the commit.
//!
//! The answer itself is [`FlagSet`]'s. The way through the rule is walked over the definition as it is written, so that places can be named;
//! every condition and every share on it is evaluated by what evaluates flags.
//!
//! Must not know: HTTP, how an explanation is shown.

use std::borrow::Cow;
use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::answer::{Context, Evaluation, EvaluationError, Reason};
use super::bucket::Generation;
use super::compile::{Flag, own_evaluators, program};
use super::eval::{Broken, Scope, evaluate, truthy};
use super::fractional::{Drawn, draw};
use super::membership::Membership;
use super::rule::{Compiler, Rule};
use super::schedule::Change;
use super::set::{Asker, FlagSet};

/// Why a flag answers as it does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// The flag's key.
    pub key: String,
    /// What it answers.
    #[serde(flatten)]
    pub answer: Answered,
    /// What decided, in a word.
    pub layer: Layer,
    /// What decided, by name: `hold RUN/STEP`, `stage ROLLOUT/STAGE`, `schedule FROM/UNTIL`.
    pub decided_by: String,
    /// The way through the rule, where one was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<RulePath>,
    /// The flags it requires, where they were asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prerequisites: Vec<Prerequisite>,
    /// The person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person: Option<String>,
    /// The cohorts that the person is in, as PROGRAM/COHORT.
    pub cohorts: Vec<String>,
    /// The revision of the source that set the definition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
}

/// What a flag answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, rename_all_fields = "camelCase")]
pub enum Answered {
    /// A value.
    Value {
        /// The value; null for a flag that gives none.
        value: Value,
        /// The variant.
        variant: String,
        /// The reason, as OFREP writes it.
        reason: Cow<'static, str>,
    },
    /// An error.
    Error {
        /// As OFREP writes it.
        error_code: Cow<'static, str>,
        /// In words.
        error_details: String,
    },
}

/// What decides, first to last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layer {
    /// The program's invariant.
    Invariant,
    /// A rollback step in force.
    Hold,
    /// An environment variable of the process.
    Environment,
    /// The flag is switched off.
    State,
    /// A flag that it requires gives something else.
    Prerequisite,
    /// A scheduled change.
    Schedule,
    /// The flag's rule.
    Rule,
    /// The current stage's default.
    Stage,
    /// The definition's default.
    Default,
    /// The flag cannot be evaluated.
    Error,
}

/// The way that an evaluation took through a rule.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RulePath {
    /// Where it ended, as a JSON pointer into the definition.
    pub pointer: String,
    /// The conditions on the way, and whether they held.
    pub conditions: Vec<Condition>,
    /// The percentages on the way.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub buckets: Vec<Bucket>,
    /// What the rule gave; null: nothing, so that the default counts.
    pub gave: Value,
}

/// A condition on the way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Where it stands.
    pub pointer: String,
    /// The condition, as it is written.
    pub condition: Value,
    /// Whether it held.
    pub held: bool,
}

/// A percentage on the way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Bucket {
    /// Where the percentage stands.
    pub pointer: String,
    /// The generation of hashing: concat or cbor.
    pub bucketing: Cow<'static, str>,
    /// What was hashed: seed and person, or what the rule buckets by; null: there was nothing to hash.
    pub hashed: Value,
    /// Where the person fell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
}

/// Where a person fell: the share `from <= bucket < to` of `total`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Place {
    /// The person's bucket.
    pub bucket: i64,
    /// How many there are.
    pub total: i64,
    /// The share's first bucket.
    pub from: i64,
    /// The first bucket after the share.
    pub to: i64,
    /// The share, in per cent of all.
    pub percent: f64,
}

/// A flag that is required.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Prerequisite {
    /// Its key.
    pub flag: String,
    /// What it must give.
    pub wanted: String,
    /// What it gives this person; none where it gives none.
    pub given: Option<String>,
    /// Whether that is the same.
    pub met: bool,
}

/// Explains one flag's answer to one person; none where there is no such flag. `definitions` are a snapshot's flags by key.
pub fn explain(
    definitions: &Map<String, Value>,
    key: &str,
    context: &Context,
    membership: &Membership,
    env: &dyn Fn(&str) -> Option<String>,
    now: Timestamp,
) -> Option<Explanation> {
    let definition = definitions.get(key)?;
    let (set, _) = FlagSet::compile(definitions.iter().map(|(key, flag)| (key.as_str(), flag)), env);
    let asker = Asker::new(context, membership);
    let (place, flag) = set.place(key).and_then(|place| Some((place, set.flag(place)?)))?;
    let answer = set.evaluate_at(place, asker, now);
    let prerequisites = if flag.decides() { set.prerequisites(flag, asker, now) } else { Vec::new() };
    let (layer, decided_by) = decided(&answer);
    let rule = written_rule(definition, flag, now)
        .filter(|_| flag.decides() && prerequisites.iter().all(|required| required.met))
        .map(|(rule, pointer)| {
            let scope = Scope {
                flag: key,
                root: context.fields(),
                seed: flag.seed.as_deref().unwrap_or(key),
                timestamp: now.as_second(),
                person: context.person(),
                cohorts: asker.cohorts(),
                generation: flag.generation,
            };
            let mut walk = Walk {
                evaluators: shared_with(definitions, definition),
                program: program(definition),
                scope: &scope,
                data: context.fields(),
                path: RulePath::default(),
                walks: false,
            };
            // What breaks the evaluation ends the way; the answer says what it was.
            let _ = walk.rule(rule, &pointer, 0);
            walk.path
        });
    Some(Explanation {
        key: key.to_owned(),
        answer: Answered::of(answer),
        layer,
        decided_by,
        rule,
        prerequisites,
        person: context.person().map(str::to_owned),
        cohorts: asker.cohorts().iter().cloned().collect(),
        commit: definition["commit"].as_str().map(str::to_owned),
    })
}

fn decided(answer: &Result<Evaluation<'_>, EvaluationError>) -> (Layer, String) {
    let Ok(answer) = answer else { return (Layer::Error, "definition".to_owned()) };
    let layer = match (answer.decided_by.split(' ').next().unwrap_or_default(), answer.reason) {
        ("invariant", _) => Layer::Invariant,
        ("hold", _) => Layer::Hold,
        ("environment", _) => Layer::Environment,
        ("prerequisite", _) => Layer::Prerequisite,
        ("schedule", _) => Layer::Schedule,
        ("stage", _) => Layer::Stage,
        (_, Reason::Disabled) => Layer::State,
        (_, Reason::TargetingMatch | Reason::Split) => Layer::Rule,
        _ => Layer::Default,
    };
    (layer, answer.decided_by.to_owned())
}

impl Answered {
    fn of(answer: Result<Evaluation<'_>, EvaluationError>) -> Self {
        match answer {
            Ok(answer) => Self::Value {
                value: answer.value.cloned().unwrap_or_default(),
                variant: answer.variant.to_owned(),
                reason: answer.reason.name().into(),
            },
            Err(error) => Self::Error { error_code: error.code().into(), error_details: error.details() },
        }
    }
}

impl Flag {
    /// Whether its prerequisites and rules are asked at all.
    fn decides(&self) -> bool {
        self.forced.is_none() && self.broken.is_none() && self.enabled
    }
}

impl FlagSet {
    fn prerequisites(&self, flag: &Flag, asker: Asker<'_>, now: Timestamp) -> Vec<Prerequisite> {
        let one = |required: &super::requires::Requirement| {
            let given = self.evaluate_at(required.place, asker, now).ok().map(|answer| answer.variant.to_owned());
            Prerequisite {
                flag: self.keys().get(required.place).cloned().unwrap_or_default(),
                wanted: required.variant.clone(),
                met: given.as_ref() == Some(&required.variant),
                given: given.filter(|variant| !variant.is_empty()),
            }
        };
        flag.requires.iter().map(one).collect()
    }
}

/// The rule that counts now, as it is written, with its place; none where a variant stands for everyone.
fn written_rule<'d>(definition: &'d Value, flag: &Flag, now: Timestamp) -> Option<(&'d Value, String)> {
    match flag.schedule.iter().position(|window| window.is_open(now)) {
        None => flag.targeting.as_ref().map(|_| (&definition["targeting"], "/targeting".to_owned())),
        Some(place) => match flag.schedule[place].change {
            Change::Variant(_) => None,
            Change::Targeting(_) => {
                Some((&definition["schedule"][place]["targeting"], format!("/schedule/{place}/targeting")))
            }
        },
    }
}

/// The shared rules that a flag sees: its program's, its own before them.
fn shared_with(definitions: &Map<String, Value>, definition: &Value) -> BTreeMap<String, Value> {
    let mut keys: Vec<&String> = definitions.keys().collect();
    keys.sort_unstable();
    let same_program =
        keys.into_iter().map(|key| &definitions[key]).filter(|other| program(other) == program(definition));
    same_program.flat_map(own_evaluators).chain(own_evaluators(definition)).collect()
}

struct Walk<'w> {
    evaluators: BTreeMap<String, Value>,
    program: &'w str,
    scope: &'w Scope<'w>,
    data: &'w Value,
    path: RulePath,
    /// Whether the way leads through an `if` without an "else", below which a rule is walked.
    walks: bool,
}

impl Walk<'_> {
    fn compiled(&self, rule: &Value) -> Rule {
        let mut problems = Vec::new();
        let compiler = Compiler::new("", self.program, &self.evaluators, &mut problems, self.scope.generation);
        compiler.walking(self.walks).rule(rule, "", 0)
    }

    fn value(&self, rule: &Value) -> Result<Value, Broken> {
        let rule = self.compiled(rule);
        evaluate(&rule, self.scope, self.data).map(Cow::into_owned)
    }

    /// Goes on at a rule. The set was compiled, so no rule is deeper than it may be, and shared ones lead to no circle.
    fn rule(&mut self, rule: &Value, pointer: &str, depth: usize) -> Result<(), Broken> {
        pointer.clone_into(&mut self.path.pointer);
        let operation = rule.as_object().filter(|fields| fields.len() == 1 && depth < 100);
        match operation.and_then(|fields| fields.iter().next()).map(|(word, operands)| (word.as_str(), operands)) {
            Some((word @ ("if" | "?:"), Value::Array(branches))) => {
                self.branches(branches, &format!("{pointer}/{word}"), depth)
            }
            Some(("fractional", Value::Array(parts))) => self.fractional(rule, parts, pointer, depth),
            Some(("$ref", Value::String(name))) if self.evaluators.contains_key(name) => {
                let shared = self.evaluators[name].clone();
                let name = name.replace('~', "~0").replace('/', "~1");
                self.rule(&shared, &format!("/$evaluators/{name}"), depth + 1)
            }
            _ => {
                self.path.gave = self.value(rule)?;
                Ok(())
            }
        }
    }

    fn branches(&mut self, branches: &[Value], pointer: &str, depth: usize) -> Result<(), Broken> {
        self.walks |= self.scope.generation == Generation::Concat && branches.len() < 3;
        let mut pairs = branches.chunks_exact(2);
        for (number, pair) in pairs.by_ref().enumerate() {
            let held = truthy(self.scope.generation, &self.value(&pair[0])?);
            let pointer_of = |place: usize| format!("{pointer}/{place}");
            let condition = Condition { pointer: pointer_of(2 * number), condition: pair[0].clone(), held };
            self.path.conditions.push(condition);
            if held {
                return self.rule(&pair[1], &pointer_of(2 * number + 1), depth + 1);
            }
        }
        match pairs.remainder() {
            [rule] => self.rule(rule, &format!("{pointer}/{}", branches.len() - 1), depth + 1),
            _ => Ok(()),
        }
    }

    fn fractional(&mut self, rule: &Value, parts: &[Value], pointer: &str, depth: usize) -> Result<(), Broken> {
        let Rule::Fractional(rules) = self.compiled(rule) else {
            self.path.gave = self.value(rule)?;
            return Ok(());
        };
        let drawn = draw(&rules, self.scope, self.data)?;
        let by = rules.first().map(|first| evaluate(first, self.scope, self.data)).transpose()?;
        let hashed = match by.as_deref() {
            Some(by) if by.is_string() || self.scope.generation == Generation::Cbor && !by.is_array() => by.clone(),
            _ => self.scope.person.map_or(Value::Null, |person| json!([self.scope.seed, person])),
        };
        #[allow(clippy::cast_precision_loss, reason = "weights are below 2^31")]
        let place = drawn.as_ref().map(|drawn| Place {
            bucket: drawn.bucket,
            total: drawn.total,
            from: drawn.from,
            to: drawn.from + drawn.weight,
            percent: drawn.weight as f64 * 100.0 / drawn.total as f64,
        });
        let bucketing = if self.scope.generation == Generation::Cbor { "cbor" } else { "concat" };
        self.path.buckets.push(Bucket { pointer: pointer.to_owned(), bucketing: bucketing.into(), hashed, place });
        let Some(Drawn { share: Some(part), variant, .. }) = drawn else { return Ok(()) };
        match parts.get(part).and_then(|part| part.get(0)) {
            Some(variant) => self.rule(variant, &format!("{pointer}/fractional/{part}/0"), depth + 1),
            None => {
                self.path.gave = variant;
                Ok(())
            }
        }
    }
}

#[cfg(test)]
#[path = "explain_tests.rs"]
mod tests;
