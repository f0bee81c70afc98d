//! A set of flags, compiled once, and what wins: invariant, hold, environment variable, prerequisite,
//! schedule, stage, definition.
//!
//! Must not know: HTTP, where definitions come from.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use serde_json::Value;

use super::answer::{CompileProblem, Context, Evaluation, EvaluationError, Reason};
use super::bucket::Generation;
use super::compile::{Flag, compile_flag, own_evaluators, program};
use super::eval::{Broken, Scope, evaluate};
use super::membership::{Cohorts, Membership};
use super::reads::Reads;
use super::requires::{Requirement, link};
use super::rule::Rule;
use super::schedule::{Change, Window};
use super::{javascript, python};
use crate::cohort::{AddressRules, normalise};

/// Flags compiled once; evaluation changes nothing and locks nothing.
#[derive(Debug, Default)]
pub struct FlagSet {
    /// In the order of their keys.
    flags: Vec<Flag>,
    keys: Vec<String>,
    places: HashMap<String, usize>,
    /// When a window of any flag opens or closes, in order.
    boundaries: Vec<Timestamp>,
    reads_clock: bool,
    /// What each flag's answer follows from, those of the flags that it requires included.
    reads: Vec<Reads>,
    /// What any answer follows from.
    all_reads: Reads,
}

/// Who asks: a context, and the cohorts of its person, looked up once for all flags.
#[derive(Clone, Copy, Debug)]
pub struct Asker<'a> {
    context: &'a Context,
    cohorts: &'a Cohorts,
}

impl<'a> Asker<'a> {
    /// The asker of a context.
    pub fn new(context: &'a Context, membership: &'a Membership) -> Self {
        static NOBODY: Cohorts = Cohorts::new();
        let cohorts = context.person().and_then(|person| cohorts_of(person, membership)).unwrap_or(&NOBODY);
        Self { context, cohorts }
    }

    /// The cohorts of the person.
    pub fn cohorts(&self) -> &'a Cohorts {
        self.cohorts
    }
}

impl FlagSet {
    /// Compiles definitions; `env` reads an environment variable. A flag with a problem answers with an error, the others go on.
    pub fn compile<'a>(
        flags: impl IntoIterator<Item = (&'a str, &'a Value)>,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> (Self, Vec<CompileProblem>) {
        let (mut set, mut problems) = (Self::default(), Vec::new());
        let mut flags: Vec<_> = flags.into_iter().collect();
        flags.sort_unstable_by_key(|(key, _)| *key);
        // Shared within a program only: two programs may give one name to different rules.
        let mut shared: BTreeMap<&str, BTreeMap<String, Value>> = BTreeMap::new();
        for (_, definition) in &flags {
            shared.entry(program(definition)).or_default().extend(own_evaluators(definition));
        }
        for (key, definition) in &flags {
            let before = problems.len();
            let mut evaluators = shared.get(program(definition)).cloned().unwrap_or_default();
            evaluators.extend(own_evaluators(definition));
            let mut flag = compile_flag(key, definition, &evaluators, env, &mut problems);
            flag.broken = problems[before..]
                .iter()
                .find(|problem| problem.breaks)
                .map(|problem| format!("{}: {}", problem.pointer, problem.message));
            set.places.insert((*key).to_owned(), set.flags.len());
            set.keys.push((*key).to_owned());
            set.flags.push(flag);
        }
        link(&flags, &set.places, &mut set.flags, &mut problems);
        let windows = set.flags.iter().flat_map(|flag| &flag.schedule);
        set.boundaries = windows.flat_map(Window::boundaries).collect();
        set.boundaries.sort_unstable();
        set.boundaries.dedup();
        set.reads_clock = set.flags.iter().any(Flag::reads_clock);
        set.all_reads = Reads::of(set.flags.iter().flat_map(Flag::rules));
        // A flag that requires others is asked with what any flag reads.
        let of_flag = |flag: &Flag| {
            if flag.requires.is_empty() { Reads::of(flag.rules()) } else { set.all_reads.clone() }
        };
        set.reads = set.flags.iter().map(of_flag).collect();
        (set, problems)
    }

    /// The keys, in order; a flag's place in it is its number.
    pub fn keys(&self) -> &[String] {
        &self.keys
    }

    /// The flag of a number.
    pub(super) fn flag(&self, place: usize) -> Option<&Flag> {
        self.flags.get(place)
    }

    /// The number of a flag.
    pub fn place(&self, key: &str) -> Option<usize> {
        self.places.get(key).copied()
    }

    /// Every answer that a flag can give, in the order of [`Evaluation::number`]: by variant, once for each reason.
    pub fn answers(&self, place: usize) -> impl Iterator<Item = Evaluation<'_>> {
        let flag = self.flags.get(place);
        flag.into_iter().flat_map(|flag| {
            let variants = flag.variants.iter().enumerate().flat_map(move |(number, (variant, value))| {
                Reason::ALL.into_iter().map(move |reason| flag.evaluation(number, variant, Some(value), reason, ""))
            });
            variants.chain([flag.disabled(), flag.undecided()])
        })
    }

    /// How many times a window of any flag has opened or closed by now: answers of two eras may differ without any other change.
    pub fn era(&self, now: Timestamp) -> u32 {
        u32::try_from(self.boundaries.partition_point(|boundary| *boundary <= now)).unwrap_or(u32::MAX)
    }

    /// When the next window of any flag opens or closes.
    pub fn next_boundary(&self, now: Timestamp) -> Option<Timestamp> {
        self.boundaries.get(self.era(now) as usize).copied()
    }

    /// Whether a rule of any flag reads the time: an answer may differ from one second to the next.
    pub fn reads_clock(&self) -> bool {
        self.reads_clock
    }

    /// The fields of a context that a flag's answer may follow from.
    pub fn reads(&self, place: usize) -> &Reads {
        self.reads.get(place).unwrap_or(&self.all_reads)
    }

    /// The fields of a context that any flag's answer may follow from.
    pub fn all_reads(&self) -> &Reads {
        &self.all_reads
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
        let place = self.place(key).ok_or(EvaluationError::FlagNotFound)?;
        self.evaluate_at(place, Asker::new(context, membership), now)
    }

    /// Evaluates the flag of a number.
    ///
    /// # Errors
    /// [`EvaluationError`]; one flag's error is no other's.
    pub fn evaluate_at(
        &self,
        place: usize,
        asker: Asker<'_>,
        now: Timestamp,
    ) -> Result<Evaluation<'_>, EvaluationError> {
        let (Some(flag), Some(key)) = (self.flags.get(place), self.keys.get(place)) else {
            return Err(EvaluationError::FlagNotFound);
        };
        // First: a hold reads no rule, so a rule that is wrong must not take the safe variant away.
        if let Some((variant, by)) = &flag.forced {
            return flag.answer(variant, Reason::Static, by);
        }
        // A flag that is switched off reads no rule either; one whose default is no variant is none.
        if !flag.enabled && flag.broken.as_ref().is_none_or(|broken| !broken.starts_with("/defaultVariant")) {
            return Ok(flag.disabled());
        }
        if let Some(broken) = &flag.broken {
            return Err(EvaluationError::Parse(broken.clone()));
        }
        if let Some(unmet) = flag.requires.iter().find(|requirement| !self.is_met(requirement, asker, now)) {
            return flag.answer(&flag.own_default, Reason::Default, &unmet.by);
        }
        let (targeting, by) = match flag.window(now) {
            Some(Window { change: Change::Variant(variant), by, .. }) => {
                return flag.answer(variant, Reason::Static, by);
            }
            Some(Window { change: Change::Targeting(targeting), by, .. }) => (Some(targeting), by.as_str()),
            None => (flag.targeting.as_ref(), "definition"),
        };
        let scope = || Scope {
            flag: key,
            root: asker.context.fields(),
            seed: flag.seed.as_deref().unwrap_or(key),
            timestamp: now.as_second(),
            person: asker.context.person(),
            cohorts: asker.cohorts,
            generation: flag.generation,
        };
        let by_default = |reason| match &flag.default_rule {
            None => flag.answer(&flag.default, reason, &flag.default_by),
            Some(rule) => flag.shared_default(rule, &scope(), asker.context.fields()),
        };
        let Some(targeting) = targeting else { return by_default(Reason::Static) };
        let own = scope();
        let picked = evaluate(targeting, &own, asker.context.fields()).map_err(|Broken { parse, why }| {
            if parse { EvaluationError::Parse(why) } else { EvaluationError::General(why) }
        })?;
        let name = match picked.as_ref() {
            Value::Null => return by_default(Reason::Default),
            Value::String(name) => Cow::Borrowed(name.as_str()),
            Value::Bool(on) => Cow::Borrowed(if *on { "true" } else { "false" }),
            other if flag.generation == Generation::Concat => Cow::Owned(javascript::text(other)),
            other => Cow::Owned(python::name(other)),
        };
        if !flag.variants.contains_key(name.as_ref()) {
            return Err(EvaluationError::General(format!("the rule picked '{name}', which is no variant")));
        }
        flag.answer(&name, Reason::TargetingMatch, by)
    }

    /// Whether a required flag gives the variant; one that is disabled or answers an error gives none. No flag requires itself, by whatever
    /// way, and none takes more than a few hundred evaluations: that was refused when the set was compiled.
    fn is_met(&self, requirement: &Requirement, asker: Asker<'_>, now: Timestamp) -> bool {
        self.evaluate_at(requirement.place, asker, now).is_ok_and(|answer| answer.variant == requirement.variant)
    }
}

impl Flag {
    fn answer<'a>(&'a self, variant: &str, reason: Reason, by: &'a str) -> Result<Evaluation<'a>, EvaluationError> {
        let Some((number, variant, value)) = self.variants.get_full(variant) else {
            // A flag without a default leaves the value to the program's own code.
            return if variant.is_empty() {
                Ok(Evaluation { decided_by: by, ..self.undecided() })
            } else {
                Err(EvaluationError::General(format!("'{variant}' is no variant")))
            };
        };
        Ok(self.evaluation(number, variant, Some(value), reason, by))
    }

    /// The default that a stage gives to a share of people; who can't be picked has the definition's.
    fn shared_default(&self, rule: &Rule, scope: &Scope<'_>, data: &Value) -> Result<Evaluation<'_>, EvaluationError> {
        match evaluate(rule, scope, data).as_deref() {
            Ok(Value::String(variant)) => self.answer(variant, Reason::Split, &self.default_by),
            _ => self.answer(&self.own_default, Reason::Default, "definition"),
        }
    }

    fn disabled(&self) -> Evaluation<'_> {
        self.evaluation(self.variants.len(), "", None, Reason::Disabled, "definition")
    }

    fn undecided(&self) -> Evaluation<'_> {
        let disabled = self.disabled();
        Evaluation { reason: Reason::Default, number: disabled.number + 1, ..disabled }
    }

    fn evaluation<'a>(
        &'a self,
        variant_number: usize,
        variant: &'a str,
        value: Option<&'a Value>,
        reason: Reason,
        decided_by: &'a str,
    ) -> Evaluation<'a> {
        let of_reason = Reason::ALL.iter().position(|known| *known == reason).unwrap_or(0);
        let number = variant_number * Reason::ALL.len() + of_reason;
        Evaluation { value, variant, reason, metadata: &self.metadata, decided_by, number }
    }
}

/// The cohorts of a person: by user id, or by address in any spelling.
fn cohorts_of<'m>(person: &str, membership: &'m Membership) -> Option<&'m Cohorts> {
    membership.of(person).or_else(|| {
        let address = person.contains('@').then(|| normalise(person, AddressRules::default()).ok()).flatten()?;
        membership.of(&address)
    })
}
