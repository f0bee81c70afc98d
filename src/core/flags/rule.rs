//! Rules compiled once: JsonLogic as flagd has it, and `in_cohort`.
//!
//! Knows which operators there are and what is wrong with a rule. Must not know: contexts, flags' precedence.

use std::collections::BTreeMap;

use serde_json::Value;

use super::CompileProblem;
use super::bucket::Generation;
use super::javascript;
use super::membership::cohort_key;
use crate::desired::nearest::nearest;

/// A rule nested deeper than this is refused.
const MAX_DEPTH: usize = 50;
/// A rule with more parts than this is refused.
const MAX_PARTS: usize = 100_000;

/// A compiled rule.
#[derive(Clone, Debug, PartialEq)]
pub enum Rule {
    /// A value as it stands.
    Literal(Value),
    /// A list of rules.
    List(Vec<Rule>),
    /// A value of the context, by its path; the rule beside it when there is none.
    Var(Box<Rule>, Option<Box<Rule>>),
    /// The same where the first generation's evaluator walks the rule.
    WalkVar(Box<Rule>, Option<Box<Rule>>),
    /// An operator with its operands.
    Apply(Operator, Vec<Rule>),
    /// An operator with its operands, where the first generation's evaluator walks the rule.
    Walk(Operator, Vec<Rule>),
    /// A percentage: perhaps what to bucket by, and the shares, each a list.
    Fractional(Vec<Rule>),
    /// An operator that does not exist, with its operands: an error where it is reached.
    Unknown(String, Vec<Rule>),
    /// Whether the person is in one of these cohorts.
    InCohort(Vec<String>),
}

macro_rules! operators {
    ($($name:ident $word:literal),+ $(,)?) => {
        /// An operator of JsonLogic or flagd.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(missing_docs, reason = "named after the words of JsonLogic")]
        pub enum Operator { $($name),+ }

        impl Operator {
            const WORDS: &'static [(&'static str, Self)] = &[$(($word, Self::$name)),+];
        }
    };
}

operators! {
    If "if", Ternary "?:", Equal "==", Same "===", Unequal "!=", NotSame "!==", Not "!", Truthy "!!", Or "or", And "and",
    Above ">", AtLeast ">=", Below "<", AtMost "<=", Add "+", Subtract "-", Multiply "*", Divide "/", Modulo "%", Min "min", Max "max",
    Cat "cat", Substr "substr", In "in", Merge "merge", Map "map", Filter "filter", Reduce "reduce", All "all", Any "some", None "none",
    Missing "missing", MissingSome "missing_some", Log "log", SemVer "sem_ver", StartsWith "starts_with", EndsWith "ends_with",
}

/// The words that are no plain operators.
const SPECIAL: [&str; 4] = ["var", "fractional", "in_cohort", "$ref"];

/// Compiles rules, gathering what is wrong with them.
pub struct Compiler<'a> {
    /// The flag, for problems.
    pub flag: &'a str,
    /// The flag's program, whose cohorts `in_cohort` names; empty for none.
    pub program: &'a str,
    /// Rules shared between flags.
    pub evaluators: &'a BTreeMap<String, Value>,
    /// What was wrong.
    pub problems: &'a mut Vec<CompileProblem>,
    generation: Generation,
    walks: bool,
    parts: usize,
}

impl<'a> Compiler<'a> {
    /// A compiler for one flag.
    pub fn new(
        flag: &'a str,
        program: &'a str,
        evaluators: &'a BTreeMap<String, Value>,
        problems: &'a mut Vec<CompileProblem>,
        generation: Generation,
    ) -> Self {
        Self { flag, program, evaluators, problems, generation, walks: false, parts: 0 }
    }

    /// Whether the rule stands below an `if` without an "else".
    pub fn walking(self, walks: bool) -> Self {
        Self { walks, ..self }
    }

    /// Compiles one rule; what is wrong with it becomes a problem, and a literal null in its place.
    pub fn rule(&mut self, value: &Value, pointer: &str, depth: usize) -> Rule {
        self.parts += 1;
        if self.parts > MAX_PARTS + 1 {
            return Rule::Literal(Value::Null); // said once
        }
        if depth > MAX_DEPTH || self.parts > MAX_PARTS {
            return self.wrong(
                pointer,
                format!("the rule is nested deeper than {MAX_DEPTH} levels, or has more than {MAX_PARTS} parts"),
            );
        }
        match value {
            Value::Array(items) => {
                let items = items
                    .iter()
                    .enumerate()
                    .map(|(place, item)| self.rule(item, &format!("{pointer}/{place}"), depth + 1));
                constant_or_list(items.collect())
            }
            Value::Object(fields) if fields.len() == 1 => match fields.iter().next() {
                Some((word, operands)) => self.operation(word, operands, &format!("{pointer}/{word}"), depth),
                None => Rule::Literal(Value::Null),
            },
            Value::Object(fields) if fields.len() > 1 && self.generation == Generation::Concat => {
                self.wrong(pointer, "an operation has one operator".to_owned())
            }
            other => Rule::Literal(other.clone()),
        }
    }

    fn wrong(&mut self, pointer: &str, message: String) -> Rule {
        self.problems.push(CompileProblem {
            flag: self.flag.to_owned(),
            pointer: pointer.to_owned(),
            message,
            breaks: true,
        });
        Rule::Literal(Value::Null)
    }

    /// What does not exist breaks the flag in the first generation; in the second, whoever reaches it gets the error.
    fn unknown(&mut self, operands: &Value, pointer: &str, depth: usize, message: String) -> Rule {
        let breaks = self.generation == Generation::Concat;
        let problem = CompileProblem { flag: self.flag.to_owned(), pointer: pointer.to_owned(), message, breaks };
        let why = format!("{pointer}: {}", problem.message);
        self.problems.push(problem);
        Rule::Unknown(why, self.operands(operands, pointer, depth))
    }

    /// Arithmetic that the first generation's evaluator does not compile.
    fn reckons(&mut self, operator: Operator, operands: &[Rule], pointer: &str) {
        let needed = match operator {
            Operator::Modulo => 2,
            Operator::Subtract | Operator::Divide => 1,
            _ => 0,
        };
        if self.generation != Generation::Concat || self.walks {
            return;
        }
        if operands.len() < needed {
            self.wrong(pointer, format!("it takes at least {needed} operands"));
        }
        let arithmetic = matches!(operator, Operator::Add | Operator::Multiply) || needed > 0;
        for (place, operand) in operands.iter().enumerate().filter(|_| arithmetic) {
            let Rule::Literal(value) = operand else { continue };
            let number = javascript::operand(value);
            let divides = operator == Operator::Divide && place > 0 && (value.is_number() || value.is_string());
            if number.is_err() || divides && number == Ok(0.0) {
                self.wrong(&format!("{pointer}/{place}"), format!("{value} is nothing to reckon with here"));
            }
        }
    }

    /// What is worth a word, and works as flagd has it.
    fn note(&mut self, pointer: &str, message: &str) {
        let (flag, pointer) = (self.flag.to_owned(), pointer.to_owned());
        self.problems.push(CompileProblem { flag, pointer, message: message.to_owned(), breaks: false });
    }

    fn operands(&mut self, operands: &Value, pointer: &str, depth: usize) -> Vec<Rule> {
        match operands {
            Value::Array(items) => {
                let items = items
                    .iter()
                    .enumerate()
                    .map(|(place, item)| self.rule(item, &format!("{pointer}/{place}"), depth + 1));
                items.collect()
            }
            single => vec![self.rule(single, pointer, depth + 1)],
        }
    }

    fn operation(&mut self, word: &str, operands: &Value, pointer: &str, depth: usize) -> Rule {
        match word {
            "var" => {
                let mut operands = self.operands(operands, pointer, depth).into_iter();
                let path = operands.next().unwrap_or(Rule::Literal(Value::Null));
                let (path, fallback) = (Box::new(path), operands.next().map(Box::new));
                if self.walks { Rule::WalkVar(path, fallback) } else { Rule::Var(path, fallback) }
            }
            "fractional" => self.fractional(operands, pointer, depth),
            "in_cohort" => {
                let names: Vec<&Value> =
                    operands.as_array().map_or_else(|| vec![operands], |names| names.iter().collect());
                match names
                    .iter()
                    .map(|name| name.as_str().map(|name| cohort_key(self.program, name)))
                    .collect::<Option<Vec<_>>>()
                {
                    Some(names) => Rule::InCohort(names),
                    None => self.wrong(pointer, "in_cohort takes names of cohorts".to_owned()),
                }
            }
            "$ref" => match operands.as_str().and_then(|name| self.evaluators.get(name)).cloned() {
                Some(rule) => self.rule(&rule, pointer, depth + 1),
                None => self.unknown(operands, pointer, depth, format!("there is no evaluator {operands}")),
            },
            word => match Operator::WORDS.iter().find(|(known, _)| *known == word) {
                // The first generation's evaluator has no such operator.
                Some((_, Operator::Log)) if self.generation == Generation::Concat => {
                    self.unknown(operands, pointer, depth, "there is no operator 'log' in this bucketing".to_owned())
                }
                Some((_, operator)) => {
                    let walked = self.walks;
                    let branches = operands.as_array().map_or(0, Vec::len);
                    let is_if = matches!(operator, Operator::If | Operator::Ternary);
                    self.walks |= self.generation == Generation::Concat && is_if && branches < 3;
                    let operands = self.operands(operands, pointer, depth);
                    self.walks = walked;
                    self.reckons(*operator, &operands, pointer);
                    if walked { Rule::Walk(*operator, operands) } else { Rule::Apply(*operator, operands) }
                }
                None => {
                    let known = Operator::WORDS.iter().map(|(word, _)| *word).chain(SPECIAL);
                    let hint = nearest(word, known).map(|near| format!("; did you mean '{near}'?")).unwrap_or_default();
                    self.unknown(operands, pointer, depth, format!("there is no operator '{word}'{hint}"))
                }
            },
        }
    }

    /// `[bucket-by?, [variant, weight?], …]`; a missing weight is 1. A first part that is no list is what to bucket by.
    fn fractional(&mut self, operands: &Value, pointer: &str, depth: usize) -> Rule {
        let parts = operands.as_array().map_or(&[][..], Vec::as_slice);
        if parts.is_empty() {
            self.note(pointer, "fractional takes a list of shares, each [variant, weight]");
        }
        let by = usize::from(parts.first().is_some_and(|first| !first.is_array()));
        for (place, part) in parts.iter().enumerate().skip(by) {
            if part.as_array().is_none_or(|part| part.is_empty() || part.len() > 2) {
                self.note(&format!("{pointer}/{place}"), "a share is [variant, weight]");
            }
        }
        Rule::Fractional(self.operands(operands, pointer, depth))
    }
}

/// A list of constants is one, and costs nothing when it is evaluated.
fn constant_or_list(items: Vec<Rule>) -> Rule {
    let constants: Option<Vec<Value>> = items
        .iter()
        .map(|item| match item {
            Rule::Literal(value) => Some(value.clone()),
            _ => None,
        })
        .collect();
    constants.map_or(Rule::List(items), |values| Rule::Literal(Value::Array(values)))
}
