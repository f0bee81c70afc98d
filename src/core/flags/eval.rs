//! Evaluates a compiled rule for one person.
//!
//! Must not know: which flag wins over what; HTTP.

use std::borrow::Cow;

use serde_json::{Value, json};

use super::bucket::Generation;
use super::checked::compare_javascript;
use super::fractional::{Drawn, draw};
use super::items::{missing, over, reduce};
use super::membership::Cohorts;
use super::rule::{Operator, Rule};
use super::{javascript, python};

/// What a rule may look at.
pub struct Scope<'a> {
    /// The flag's key.
    pub flag: &'a str,
    /// The whole context.
    pub root: &'a Value,
    /// What percentages hash with the person's key: the flag's key, or a seed that several flags share.
    pub seed: &'a str,
    /// Seconds since 1970.
    pub timestamp: i64,
    /// The person's key, where there is one.
    pub person: Option<&'a str>,
    /// The person's cohorts.
    pub cohorts: &'a Cohorts,
    /// How percentages pick people.
    pub generation: Generation,
}

/// A rule could not be evaluated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Whether the rule itself is wrong, not what it was given.
    pub parse: bool,
    /// What was wrong.
    pub why: String,
}

impl Broken {
    /// A rule that cannot do with what it was given.
    pub fn general(why: &str) -> Self {
        Self { parse: false, why: why.to_owned() }
    }
}

/// A value, borrowed where it stands already, or why there is none.
pub type Answer<'a> = Result<Cow<'a, Value>, Broken>;

/// Nothing.
pub const NULL: Value = Value::Null;

/// Evaluates a rule. `data` is what `var` looks into: the context, or inside `map` and the like an element.
pub fn evaluate<'a>(rule: &'a Rule, scope: &'a Scope<'a>, data: &'a Value) -> Answer<'a> {
    match rule {
        Rule::Literal(value) => Ok(Cow::Borrowed(value)),
        Rule::List(rules) => {
            let items: Result<Vec<Value>, Broken> =
                rules.iter().map(|rule| evaluate(rule, scope, data).map(Cow::into_owned)).collect();
            Ok(Cow::Owned(Value::Array(items?)))
        }
        Rule::Var(path, fallback) => {
            let path = evaluate(path, scope, data)?;
            match lookup(&path, scope, data).filter(|found| !found.is_null()) {
                Some(found) => Ok(found),
                None => fallback.as_ref().map_or(Ok(Cow::Borrowed(&NULL)), |rule| evaluate(rule, scope, data)),
            }
        }
        Rule::WalkVar(path, fallback) => super::interpreted::var(path, fallback.as_deref(), scope, data),
        Rule::InCohort(names) => Ok(Cow::Owned(Value::Bool(names.iter().any(|name| scope.cohorts.contains(name))))),
        Rule::Fractional(parts) => match draw(parts, scope, data)? {
            Some(Drawn { share: Some(_), variant, .. }) => Ok(Cow::Owned(variant)),
            _ => Ok(Cow::Borrowed(&NULL)),
        },
        Rule::Apply(operator, operands) => apply(*operator, operands, scope, data),
        Rule::Walk(operator, operands) => super::interpreted::walk(*operator, operands, scope, data),
        Rule::Unknown(why, operands) => {
            for rule in operands {
                evaluate(rule, scope, data)?;
            }
            Err(Broken { parse: true, why: why.clone() })
        }
    }
}

/// A value of the data, by its path; nothing where it is not there. Null may be there.
pub fn lookup<'a>(path: &Value, scope: &Scope<'a>, data: &'a Value) -> Option<Cow<'a, Value>> {
    let is_root = std::ptr::eq(data, scope.root);
    let text = match path {
        Value::String(text) => Cow::Borrowed(text.as_str()),
        Value::Null => Cow::Borrowed(""),
        Value::Number(_) if scope.generation == Generation::Cbor && data.is_object() => return None,
        other => Cow::Owned(javascript::text(other)),
    };
    match text.as_ref() {
        "" if is_root => {
            let mut whole = data.clone();
            whole["$flagd"] = json!({ "flagKey": scope.flag, "timestamp": scope.timestamp });
            return Some(Cow::Owned(whole));
        }
        "" => return Some(Cow::Borrowed(data)),
        "$flagd.flagKey" if is_root => return Some(Cow::Owned(Value::from(scope.flag))),
        "$flagd.timestamp" if is_root => return Some(Cow::Owned(Value::from(scope.timestamp))),
        "$flagd" if is_root => {
            return Some(Cow::Owned(json!({ "flagKey": scope.flag, "timestamp": scope.timestamp })));
        }
        _ => {}
    }
    let mut at = data;
    let mut parts = text.split('.');
    while let Some(part) = parts.next() {
        at = match at {
            Value::Object(fields) => fields.get(part)?,
            Value::Array(items) if part == "length" => return ended(Value::from(items.len()), parts.next()),
            Value::Array(items) => items.get(index(part)?)?,
            Value::String(text) => return ended(of_text(text, part, scope.generation)?, parts.next()),
            _ => return None,
        };
    }
    Some(Cow::Borrowed(at))
}

fn ended<'a>(found: Value, next: Option<&str>) -> Option<Cow<'a, Value>> {
    next.is_none().then_some(Cow::Owned(found))
}

/// A place in a list, written without leading zeros.
fn index(part: &str) -> Option<usize> {
    part.parse::<usize>().ok().filter(|place| place.to_string() == part)
}

/// A letter of a text, or its length, as the generation's evaluator counts.
fn of_text(text: &str, part: &str, generation: Generation) -> Option<Value> {
    let utf16 = generation == Generation::Concat;
    if part == "length" {
        return Some(Value::from(if utf16 { text.encode_utf16().count() } else { text.chars().count() }));
    }
    let place = index(part)?;
    if utf16 {
        text.encode_utf16().nth(place).map(|unit| Value::from(String::from_utf16_lossy(&[unit])))
    } else {
        text.chars().nth(place).map(|letter| Value::from(letter.to_string()))
    }
}

/// Whether a value holds as a condition.
pub fn truthy(generation: Generation, value: &Value) -> bool {
    if generation == Generation::Concat { javascript::truthy(value) } else { python::truthy(value) }
}

/// Applies an operator to its operands.
pub fn apply<'a>(operator: Operator, operands: &'a [Rule], scope: &'a Scope<'a>, data: &'a Value) -> Answer<'a> {
    use Operator::{
        Above, Add, All, And, Any, AtLeast, AtMost, Below, Cat, Divide, EndsWith, Equal, Filter, If, In, Log, Map, Max,
        Merge, Min, Missing, MissingSome, Modulo, Multiply, None as Nothing, Not, NotSame, Or, Reduce, Same, SemVer,
        StartsWith, Substr, Subtract, Ternary, Truthy, Unequal,
    };
    let concat = scope.generation == Generation::Concat;
    let holds = |value: &Value| truthy(scope.generation, value);
    let at = |place: usize| -> Answer<'a> {
        operands.get(place).map_or(Ok(Cow::Borrowed(&NULL)), |rule| evaluate(rule, scope, data))
    };
    Ok(match operator {
        If | Ternary => return choose(operands, scope, data),
        Or | And => {
            let mut last = Cow::Borrowed(&NULL);
            for rule in operands {
                last = evaluate(rule, scope, data)?;
                if holds(&last) == (operator == Or) {
                    break;
                }
            }
            last
        }
        Not => owned(!holds(&*at(0)?)),
        Truthy => owned(holds(&*at(0)?)),
        Equal | Unequal | Same | NotSame | Above | AtLeast | Below | AtMost if concat => {
            compare_javascript(operator, operands, scope, data)?
        }
        Equal | Unequal | Same | NotSame => owned(python::compare(operator, &*at(0)?, &*at(1)?)),
        Above | AtLeast | Below | AtMost => {
            let (first, second, third) = (at(0)?, at(1)?, at(2)?);
            let held = python::compare(operator, &first, &second);
            owned(held && (third.is_null() || python::compare(operator, &second, &third)))
        }
        Add | Subtract | Multiply | Divide | Modulo | Min | Max => arithmetic(operator, operands, scope, data)?,
        Cat => {
            let mut text = String::new();
            for rule in operands {
                let value = evaluate(rule, scope, data)?;
                match value.as_ref() {
                    Value::String(part) => text += part,
                    value if concat => text += &javascript::text(value),
                    value => text += &python::text(value),
                }
            }
            Cow::Owned(Value::String(text))
        }
        Substr if concat => {
            let length = operands.get(2).map(|_| at(2)).transpose()?;
            Cow::Owned(javascript::substring(&*at(0)?, &*at(1)?, length.as_deref())?)
        }
        Substr => Cow::Owned(python::substring(&*at(0)?, &*at(1)?, &*at(2)?)),
        In if concat => owned(javascript::includes(&*at(0)?, &*at(1)?)?),
        In => owned(python::includes(&*at(0)?, &*at(1)?)),
        Merge => {
            let mut all = Vec::new();
            for rule in operands {
                match evaluate(rule, scope, data)?.into_owned() {
                    Value::Array(items) => all.extend(items),
                    other => all.push(other),
                }
            }
            Cow::Owned(Value::Array(all))
        }
        Map | Filter | All | Any | Nothing => over(operator, operands, scope, &*at(0)?)?,
        Reduce => reduce(operands, scope, data)?,
        Missing | MissingSome => missing(operator, operands, scope, data)?,
        Log => at(0)?,
        StartsWith | EndsWith => match (&*at(0)?, &*at(1)?, operands.len()) {
            (Value::String(text), Value::String(part), 2) => owned(if operator == StartsWith {
                text.starts_with(part.as_str())
            } else {
                text.ends_with(part.as_str())
            }),
            _ => Cow::Borrowed(&NULL),
        },
        SemVer if operands.len() != 3 => Cow::Borrowed(&NULL),
        SemVer => {
            let held = super::version::compare(scope.generation, &*at(0)?, &*at(1)?, &*at(2)?);
            held.map_or(Cow::Borrowed(&NULL), owned)
        }
    })
}

/// Yes or no, as a value.
pub fn owned<'a>(answer: bool) -> Cow<'a, Value> {
    Cow::Owned(Value::Bool(answer))
}

fn choose<'a>(operands: &'a [Rule], scope: &'a Scope<'a>, data: &'a Value) -> Answer<'a> {
    let mut pairs = operands.chunks_exact(2);
    for pair in &mut pairs {
        if truthy(scope.generation, &*evaluate(&pair[0], scope, data)?) {
            return evaluate(&pair[1], scope, data);
        }
    }
    pairs.remainder().first().map_or(Ok(Cow::Borrowed(&NULL)), |rule| evaluate(rule, scope, data))
}

fn arithmetic<'a>(operator: Operator, operands: &'a [Rule], scope: &'a Scope<'a>, data: &'a Value) -> Answer<'a> {
    let mut values = Vec::with_capacity(operands.len());
    for rule in operands {
        values.push(evaluate(rule, scope, data)?.into_owned());
    }
    let result = match (scope.generation, operator) {
        (Generation::Cbor, _) => python::arithmetic(operator, &values)?,
        (_, Operator::Min | Operator::Max) => javascript::extreme(operator, &values)?,
        _ => {
            let numbers: Vec<f64> = values.iter().map(javascript::operand).collect::<Result<_, _>>()?;
            javascript::arithmetic(operator, &numbers)?
        }
    };
    Ok(Cow::Owned(result))
}
