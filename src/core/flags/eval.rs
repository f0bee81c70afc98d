//! Evaluates a compiled rule for one person.
//!
//! Must not know: which flag wins over what; HTTP.

use std::borrow::Cow;

use serde_json::{Value, json};

use super::bucket::{Generation, MAX_TOTAL, Subject, hash, place};
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

type Answer<'a> = Result<Cow<'a, Value>, Broken>;

const NULL: Value = Value::Null;

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
fn lookup<'a>(path: &Value, scope: &Scope<'a>, data: &'a Value) -> Option<Cow<'a, Value>> {
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

/// Where a person falls among the shares of a percentage.
#[derive(Clone, Debug, PartialEq)]
pub struct Drawn {
    /// The place, from 0 to below the total.
    pub bucket: i64,
    /// The sum of all weights.
    pub total: i64,
    /// What the share gives.
    pub variant: Value,
    /// The part of the percentage that is the share which the bucket lies in.
    pub share: Option<usize>,
    /// The first bucket of that share.
    pub from: i64,
    /// The weight of that share.
    pub weight: i64,
}

/// Finds the share of a person; none where there is nothing to bucket by, nothing to share, or something that is no share.
pub fn draw(parts: &[Rule], scope: &Scope<'_>, data: &Value) -> Result<Option<Drawn>, Broken> {
    let mut values = Vec::with_capacity(parts.len());
    for part in parts {
        values.push(evaluate(part, scope, data)?);
    }
    let keyed = || scope.person.and_then(|person| hash(scope.generation, &Subject::Keys(scope.seed, person)));
    let (hashed, first) = match (scope.generation, values.first().map(|first| &**first)) {
        (_, None) | (Generation::Cbor, Some(Value::Null)) => return Ok(None),
        (Generation::Concat, Some(by)) if !by.is_string() => (keyed(), 0),
        (Generation::Cbor, Some(Value::Array(_))) => (keyed(), 0),
        (_, Some(by)) => (hash(scope.generation, &Subject::By(by)), 1),
    };
    let mut total: i64 = 0;
    for value in &values[first..] {
        let Some((_, weight)) = share(value, scope.generation) else { return Ok(None) };
        total = total.saturating_add(weight);
    }
    let Some(hashed) = hashed.filter(|_| (1..=MAX_TOTAL).contains(&total)) else { return Ok(None) };
    let bucket = place(hashed, total);
    let mut from = 0;
    for (number, value) in values.iter().enumerate().skip(first) {
        let Some((variant, weight)) = share(value, scope.generation) else { break };
        if bucket < from + weight {
            return Ok(Some(Drawn { bucket, total, variant: variant.clone(), share: Some(number), from, weight }));
        }
        from += weight;
    }
    Ok(None)
}

/// `[variant, weight?]`: a missing weight is 1, a negative one 0; one that is no whole number makes it no share.
fn share(part: &Value, generation: Generation) -> Option<(&Value, i64)> {
    let (variant, weight) = match part.as_array()?.as_slice() {
        [variant] => (variant, 1),
        [variant, Value::Number(weight)] => {
            let whole = weight.as_i64().or_else(|| {
                let number = weight.as_f64().filter(|number| number.fract() == 0.0)?;
                #[allow(clippy::cast_possible_truncation, reason = "whole, and it saturates")]
                (generation == Generation::Concat).then_some(number as i64)
            });
            (variant, whole.or_else(|| weight.as_u64().map(|_| i64::MAX))?)
        }
        _ => return None,
    };
    let refused = generation == Generation::Concat && (variant.is_array() || variant.is_object());
    (!refused).then_some((variant, weight.max(0)))
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

fn owned<'a>(answer: bool) -> Cow<'a, Value> {
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

/// What the evaluator has read last when it has evaluated a rule; none in a constant.
fn last_read<'a>(rule: &'a Rule, scope: &'a Scope<'a>, data: &'a Value) -> Result<Option<Cow<'a, Value>>, Broken> {
    use Operator::{All, And, Any, Filter, If, Map, None as Nothing, Or, Reduce, Ternary};
    Ok(match rule {
        Rule::Var(..) | Rule::Apply(And | Or, _) => Some(evaluate(rule, scope, data)?),
        Rule::Apply(If | Ternary, operands) if operands.len() < 3 => None,
        Rule::Apply(If | Ternary, operands) => {
            let (mut last, mut pairs) = (None, operands.chunks_exact(2));
            for pair in &mut pairs {
                last = last_read(&pair[0], scope, data)?.or(last);
                if truthy(scope.generation, &*evaluate(&pair[0], scope, data)?) {
                    return Ok(last_read(&pair[1], scope, data)?.or(last));
                }
            }
            match pairs.remainder() {
                [rule] => last_read(rule, scope, data)?.or(last),
                _ => last,
            }
        }
        Rule::Apply(Map | Filter | Reduce | All | Any | Nothing, operands) => match operands.first() {
            Some(list) => last_read(list, scope, data)?,
            None => None,
        },
        Rule::Apply(_, rules) | Rule::List(rules) | Rule::Fractional(rules) => {
            for rule in rules.iter().rev() {
                if let Some(last) = last_read(rule, scope, data)? {
                    return Ok(Some(last));
                }
            }
            None
        }
        _ => None,
    })
}

/// Comparisons of two or more. What the evaluator checks the second side against is not the first one but the value that it read last,
/// wherever it read one in between.
fn compare_javascript<'a>(
    operator: Operator,
    operands: &'a [Rule],
    scope: &'a Scope<'a>,
    data: &'a Value,
) -> Answer<'a> {
    let [first, rest @ ..] = operands else { return Err(Broken::general("a comparison has too few operands")) };
    if rest.is_empty() {
        return Err(Broken::general("a comparison has too few operands"));
    }
    let strict = matches!(operator, Operator::Same | Operator::NotSame);
    let mut left = evaluate(first, scope, data)?;
    for rule in rest {
        let right = evaluate(rule, scope, data)?;
        if strict {
            if !javascript::compare(operator, &left, &right) {
                return Ok(owned(false));
            }
            left = right;
            continue;
        }
        let last = match rule {
            Rule::Literal(_) => left.clone(),
            Rule::Var(..) => right.clone(),
            rule => last_read(rule, scope, data)?.unwrap_or_else(|| left.clone()),
        };
        let right = javascript::checked(&right, &last)?.into_owned();
        if !javascript::compare(operator, &left, &right) {
            return Ok(owned(false));
        }
        left = Cow::Owned(right);
    }
    Ok(owned(true))
}

fn over<'a>(operator: Operator, operands: &'a [Rule], scope: &'a Scope<'a>, list: &Value) -> Answer<'a> {
    let concat = scope.generation == Generation::Concat;
    let items: &[Value] = match list {
        Value::Array(items) => items,
        other if concat && (other.is_object() || javascript::truthy(other)) => {
            return Err(Broken::general("a list is wanted"));
        }
        // What is nothing counts as a list without an item, of which `all` holds; of a real one it does not.
        _ if concat && operator == Operator::All => return Ok(owned(true)),
        _ => &[],
    };
    let Some(rule) = operands.get(1) else { return Ok(Cow::Borrowed(&NULL)) };
    let mut answers = Vec::with_capacity(items.len());
    for item in items {
        answers.push(evaluate(rule, scope, item)?.into_owned());
        let held = answers.last().is_some_and(|answer| truthy(scope.generation, answer));
        match operator {
            Operator::All if !held => return Ok(owned(false)),
            Operator::Any if held => return Ok(owned(true)),
            Operator::None if held => return Ok(owned(false)),
            _ => {}
        }
    }
    Ok(match operator {
        Operator::Map => Cow::Owned(Value::Array(answers)),
        Operator::Filter => {
            let held = |answer: &Value| truthy(scope.generation, answer);
            let kept = items.iter().zip(&answers).filter(|(_, answer)| held(answer)).map(|(item, _)| item.clone());
            Cow::Owned(Value::Array(kept.collect()))
        }
        Operator::All => owned(!items.is_empty()),
        Operator::Any => owned(false),
        _ => owned(true),
    })
}

fn reduce<'a>(operands: &'a [Rule], scope: &'a Scope<'a>, data: &'a Value) -> Answer<'a> {
    let (Some(list), Some(rule)) = (operands.first(), operands.get(1)) else { return Ok(Cow::Borrowed(&NULL)) };
    let list = evaluate(list, scope, data)?.into_owned();
    let first = operands.get(2).map(|first| evaluate(first, scope, data)).transpose()?;
    let concat = scope.generation == Generation::Concat;
    let items = match &list {
        Value::Array(items) => items.as_slice(),
        other if concat && (other.is_object() || javascript::truthy(other)) => {
            return Err(Broken::general("a list is wanted"));
        }
        _ => &[],
    };
    let (mut total, items) = match (first, items) {
        (Some(first), items) => (first.into_owned(), items),
        (None, [first, rest @ ..]) if concat => (first.clone(), rest),
        (None, []) if concat => return Err(Broken::general("there is nothing to reduce")),
        (None, items) => (Value::Null, items),
    };
    for item in items {
        let step = json!({ "current": item, "accumulator": total });
        total = evaluate(rule, scope, &step)?.into_owned();
        if concat && is_nested(&total) {
            return Err(Broken::general("reduce builds lists in lists"));
        }
    }
    Ok(Cow::Owned(total))
}

fn is_nested(value: &Value) -> bool {
    let inner = |value: &Value| matches!(value, Value::Array(_) | Value::Object(_));
    match value {
        Value::Array(items) => items.iter().any(inner),
        Value::Object(fields) => fields.values().any(inner),
        _ => false,
    }
}

fn missing<'a>(operator: Operator, operands: &'a [Rule], scope: &'a Scope<'a>, data: &'a Value) -> Answer<'a> {
    let mut values = Vec::new();
    for rule in operands {
        values.push(evaluate(rule, scope, data)?.into_owned());
    }
    let (needed, names) = match (operator, values.as_slice()) {
        (Operator::MissingSome, [needed, Value::Array(names), ..]) => (Some(needed), names.clone()),
        (Operator::MissingSome, _) => return Ok(Cow::Owned(json!([]))),
        (_, [Value::Array(names), ..]) => (None, names.clone()),
        (_, names) => (None, names.to_vec()),
    };
    let is_there = |name: &Value| match (scope.generation, lookup(name, scope, data)) {
        (_, None) => false,
        (Generation::Concat, Some(_)) => true,
        (Generation::Cbor, Some(found)) => !found.is_null() && found.as_str() != Some(""),
    };
    let absent: Vec<Value> = names.iter().filter(|name| !is_there(name)).cloned().collect();
    let enough = needed.is_some_and(|needed| python::at_least(needed, names.len() - absent.len()));
    Ok(Cow::Owned(Value::Array(if enough { Vec::new() } else { absent })))
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
