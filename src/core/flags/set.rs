//! A set of flags, compiled once, and what wins: invariant, hold, environment variable, stage, definition.
//!
//! Must not know: HTTP, where definitions come from.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use serde_json::Value;

use super::answer::{CompileProblem, Context, Evaluation, EvaluationError, Reason};
use super::compile::{Flag, compile_flag, own_evaluators, program};
use super::eval::{Broken, Scope, evaluate};
use super::membership::{Cohorts, Membership};
use crate::cohort::{AddressRules, normalise};

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
        let picked = evaluate(rule, &scope, context.fields()).map_err(|Broken(why)| EvaluationError::Parse(why))?;
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

/// The cohorts of a person: by user id, or by address in any spelling.
fn cohorts_of<'m>(person: &str, membership: &'m Membership) -> Option<&'m Cohorts> {
    membership.of(person).or_else(|| {
        let address = person.contains('@').then(|| normalise(person, AddressRules::default()).ok()).flatten()?;
        membership.of(&address)
    })
}
