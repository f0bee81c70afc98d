//! Evaluates a compiled rule for one person.
//!
//! Must not know: which flag wins over what; HTTP.

use std::borrow::Cow;
use std::cmp::Ordering;

use serde_json::{Number, Value};

use super::bucket::{Generation, MAX_TOTAL, Subject, hash, place};
use super::membership::Cohorts;
use super::rule::{Operator, Rule};

/// What a rule may look at.
pub struct Scope<'a> {
    /// The flag's key.
    pub flag: &'a str,
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

/// A rule could not be evaluated: the flag answers with a parse error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken(pub String);

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
            match lookup(&path, scope, data) {
                Some(found) => Ok(found),
                None => fallback.as_ref().map_or(Ok(Cow::Borrowed(&NULL)), |rule| evaluate(rule, scope, data)),
            }
        }
        Rule::InCohort(names) => Ok(Cow::Owned(Value::Bool(names.iter().any(|name| scope.cohorts.contains(name))))),
        Rule::Fractional(by, shares) => fractional(by.as_deref(), shares, scope, data),
        Rule::Apply(operator, operands) => apply(*operator, operands, scope, data),
    }
}

fn lookup<'a>(path: &Value, scope: &'a Scope<'a>, data: &'a Value) -> Option<Cow<'a, Value>> {
    let text = match path {
        Value::Null => return Some(Cow::Borrowed(data)),
        Value::String(text) => Cow::Borrowed(text.as_str()),
        Value::Number(number) => Cow::Owned(number.to_string()),
        _ => return None,
    };
    match text.as_ref() {
        "" => return Some(Cow::Borrowed(data)),
        "$flagd.flagKey" => return Some(Cow::Owned(Value::from(scope.flag))),
        "$flagd.timestamp" => return Some(Cow::Owned(Value::from(scope.timestamp))),
        _ => {}
    }
    // A name with dots in it, as it stands, is tried before the path.
    if let Some(found) = data.as_object().and_then(|fields| fields.get(text.as_ref())) {
        return (!found.is_null()).then_some(Cow::Borrowed(found));
    }
    let mut at = data;
    for part in text.split('.') {
        at = match at {
            Value::Object(fields) => fields.get(part)?,
            Value::Array(items) => items.get(part.parse::<usize>().ok()?)?,
            _ => return None,
        };
    }
    (!at.is_null()).then_some(Cow::Borrowed(at))
}

fn fractional<'a>(
    by: Option<&'a Rule>,
    shares: &'a [(Rule, Rule)],
    scope: &'a Scope<'a>,
    data: &'a Value,
) -> Answer<'a> {
    match draw(by, shares, scope, data)? {
        Some(Drawn { share: Some(share), .. }) => evaluate(&shares[share].0, scope, data),
        _ => Ok(Cow::Borrowed(&NULL)),
    }
}

/// Where a person falls among the shares of a percentage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drawn {
    /// The place, from 0 to below the total.
    pub bucket: i64,
    /// The sum of all weights.
    pub total: i64,
    /// The share that the bucket lies in.
    pub share: Option<usize>,
    /// The first bucket of that share.
    pub from: i64,
    /// The weight of that share.
    pub weight: i64,
}

/// Finds the share of a person; none where there is nothing to bucket by, or nothing to share.
pub fn draw(
    by: Option<&Rule>,
    shares: &[(Rule, Rule)],
    scope: &Scope<'_>,
    data: &Value,
) -> Result<Option<Drawn>, Broken> {
    let mut weights = Vec::with_capacity(shares.len());
    let mut total: i64 = 0;
    for (_, weight) in shares {
        let weight = number(&*evaluate(weight, scope, data)?).filter(|weight| weight.is_finite()).unwrap_or(0.0);
        #[allow(clippy::cast_possible_truncation, reason = "saturates, and the total is bounded below")]
        let weight = (weight as i64).max(0);
        total = total.saturating_add(weight);
        weights.push(weight);
    }
    if total > MAX_TOTAL {
        return Err(Broken(format!("the weights add up to more than {MAX_TOTAL}")));
    }
    let hashed = match by {
        Some(rule) => {
            let by = evaluate(rule, scope, data)?;
            if by.is_null() { None } else { hash(scope.generation, &Subject::By(&by)) }
        }
        None => scope.person.and_then(|person| hash(scope.generation, &Subject::Keys(scope.seed, person))),
    };
    let Some(hashed) = hashed.filter(|_| total > 0) else { return Ok(None) };
    let bucket = place(hashed, total);
    let mut from = 0;
    for (share, weight) in weights.into_iter().enumerate() {
        if bucket < from + weight {
            return Ok(Some(Drawn { bucket, total, share: Some(share), from, weight }));
        }
        from += weight;
    }
    Ok(Some(Drawn { bucket, total, share: None, from, weight: 0 }))
}

fn apply<'a>(operator: Operator, operands: &'a [Rule], scope: &'a Scope<'a>, data: &'a Value) -> Answer<'a> {
    use Operator::{
        Add, All, And, Any, Cat, Divide, EndsWith, Filter, If, In, Log, Map, Max, Merge, Min, Missing, MissingSome,
        Modulo, Multiply, None as Nothing, Not, Or, Reduce, SemVer, StartsWith, Substr, Subtract, Ternary, Truthy,
    };
    let at = |place: usize| -> Answer<'a> {
        operands.get(place).map_or(Ok(Cow::Borrowed(&NULL)), |rule| evaluate(rule, scope, data))
    };
    Ok(match operator {
        If | Ternary => return choose(operands, scope, data),
        Or | And => {
            let mut last = Cow::Borrowed(&NULL);
            for rule in operands {
                last = evaluate(rule, scope, data)?;
                if truthy(&last) == (operator == Or) {
                    break;
                }
            }
            last
        }
        Not => owned(!truthy(&*at(0)?)),
        Truthy => owned(truthy(&*at(0)?)),
        Operator::Equal | Operator::Unequal => {
            owned(loosely_equal(&*at(0)?, &*at(1)?) == (operator == Operator::Equal))
        }
        Operator::Same | Operator::NotSame => owned(same(&*at(0)?, &*at(1)?) == (operator == Operator::Same)),
        Operator::Above | Operator::AtLeast => owned(ordered(operator, &*at(0)?, &*at(1)?)),
        Operator::Below | Operator::AtMost => {
            let (first, second) = (at(0)?, at(1)?);
            let holds = ordered(operator, &first, &second);
            owned(holds && (operands.len() < 3 || ordered(operator, &second, &*at(2)?)))
        }
        Add | Subtract | Multiply | Divide | Modulo | Min | Max => arithmetic(operator, operands, scope, data)?,
        Cat => {
            let mut text = String::new();
            for rule in operands {
                text += &plain(&*evaluate(rule, scope, data)?);
            }
            Cow::Owned(Value::String(text))
        }
        Substr => substring(
            &plain(&*at(0)?),
            number(&*at(1)?),
            operands.get(2).map(|_| at(2)).transpose()?.and_then(|length| number(&length)),
        ),
        In => owned(match (&*at(0)?, &*at(1)?) {
            (wanted, Value::Array(items)) => items.iter().any(|item| same(item, wanted)),
            (Value::String(wanted), Value::String(text)) => text.contains(wanted.as_str()),
            _ => false,
        }),
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
        StartsWith => owned(
            matches!((&*at(0)?, &*at(1)?), (Value::String(text), Value::String(part)) if text.starts_with(part.as_str())),
        ),
        EndsWith => owned(
            matches!((&*at(0)?, &*at(1)?), (Value::String(text), Value::String(part)) if text.ends_with(part.as_str())),
        ),
        SemVer => super::version::compare(&*at(0)?, &*at(1)?, &*at(2)?).map_or(Cow::Borrowed(&NULL), owned),
    })
}

fn owned<'a>(answer: bool) -> Cow<'a, Value> {
    Cow::Owned(Value::Bool(answer))
}

fn choose<'a>(operands: &'a [Rule], scope: &'a Scope<'a>, data: &'a Value) -> Answer<'a> {
    let mut pairs = operands.chunks_exact(2);
    for pair in &mut pairs {
        if truthy(&*evaluate(&pair[0], scope, data)?) {
            return evaluate(&pair[1], scope, data);
        }
    }
    pairs.remainder().first().map_or(Ok(Cow::Borrowed(&NULL)), |rule| evaluate(rule, scope, data))
}

fn over<'a>(operator: Operator, operands: &'a [Rule], scope: &'a Scope<'a>, list: &Value) -> Answer<'a> {
    let items: &[Value] = list.as_array().map_or(&[], Vec::as_slice);
    let Some(rule) = operands.get(1) else { return Ok(Cow::Borrowed(&NULL)) };
    let mut answers = Vec::with_capacity(items.len());
    for item in items {
        answers.push(evaluate(rule, scope, item)?.into_owned());
    }
    let held = answers.iter().filter(|answer| truthy(answer)).count();
    Ok(match operator {
        Operator::Map => Cow::Owned(Value::Array(answers)),
        Operator::Filter => {
            let kept = items.iter().zip(&answers).filter(|(_, answer)| truthy(answer)).map(|(item, _)| item.clone());
            Cow::Owned(Value::Array(kept.collect()))
        }
        Operator::All => owned(!items.is_empty() && held == items.len()),
        Operator::Any => owned(held > 0),
        _ => owned(held == 0),
    })
}

fn reduce<'a>(operands: &'a [Rule], scope: &'a Scope<'a>, data: &'a Value) -> Answer<'a> {
    let (Some(list), Some(rule)) = (operands.first(), operands.get(1)) else { return Ok(Cow::Borrowed(&NULL)) };
    let list = evaluate(list, scope, data)?.into_owned();
    let mut total =
        operands.get(2).map_or(Ok(Value::Null), |first| evaluate(first, scope, data).map(Cow::into_owned))?;
    for item in list.as_array().into_iter().flatten() {
        let step = serde_json::json!({ "current": item, "accumulator": total });
        total = evaluate(rule, scope, &step)?.into_owned();
    }
    Ok(Cow::Owned(total))
}

fn missing<'a>(operator: Operator, operands: &'a [Rule], scope: &'a Scope<'a>, data: &'a Value) -> Answer<'a> {
    let mut values = Vec::new();
    for rule in operands {
        values.push(evaluate(rule, scope, data)?.into_owned());
    }
    let (need, names) = match (operator, values.as_slice()) {
        (Operator::MissingSome, [need, Value::Array(names)]) => (number(need), names.clone()),
        (_, [Value::Array(names), ..]) => (None, names.clone()),
        (_, names) => (None, names.to_vec()),
    };
    let absent: Vec<Value> = names.iter().filter(|name| lookup(name, scope, data).is_none()).cloned().collect();
    #[allow(clippy::cast_precision_loss, reason = "a count of names")]
    let enough = need.is_some_and(|need| (names.len() - absent.len()) as f64 >= need);
    Ok(Cow::Owned(Value::Array(if enough { Vec::new() } else { absent })))
}

fn arithmetic<'a>(operator: Operator, operands: &'a [Rule], scope: &'a Scope<'a>, data: &'a Value) -> Answer<'a> {
    let mut numbers = Vec::with_capacity(operands.len());
    for rule in operands {
        match evaluate(rule, scope, data)?.as_ref() {
            Value::Array(items) if operands.len() == 1 => numbers.extend(items.iter().map(number)),
            value => numbers.push(number(value)),
        }
    }
    let Some(numbers) = numbers.into_iter().collect::<Option<Vec<f64>>>() else { return Ok(Cow::Borrowed(&NULL)) };
    let result = match (operator, numbers.as_slice()) {
        (Operator::Add, all) => all.iter().sum(),
        (Operator::Multiply, all) => all.iter().product(),
        (Operator::Subtract, [only]) => -only,
        (Operator::Subtract, [a, b, ..]) => a - b,
        (Operator::Divide, [a, b, ..]) => a / b,
        (Operator::Modulo, [a, b, ..]) => a % b,
        (Operator::Min, [_, ..]) => numbers.iter().copied().fold(f64::INFINITY, f64::min),
        (Operator::Max, [_, ..]) => numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        _ => return Ok(Cow::Borrowed(&NULL)),
    };
    Ok(Cow::Owned(from_number(result)))
}

/// A number as JSON: whole ones without a decimal point.
fn from_number(number: f64) -> Value {
    #[allow(clippy::cast_possible_truncation, reason = "guarded by the range check")]
    if number.fract() == 0.0 && number.abs() < 9_007_199_254_740_992.0 {
        Value::from(number as i64)
    } else {
        Number::from_f64(number).map_or(Value::Null, Value::Number)
    }
}

fn substring<'a>(text: &str, start: Option<f64>, length: Option<f64>) -> Cow<'a, Value> {
    let letters: Vec<char> = text.chars().collect();
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        reason = "texts are short, and the range is clamped"
    )]
    let (count, start) = (letters.len() as i64, start.unwrap_or(0.0) as i64);
    let from = if start < 0 { count.saturating_add(start).max(0) } else { start.min(count) };
    #[allow(clippy::cast_possible_truncation, reason = "clamped")]
    let to = match length.map(|length| length as i64) {
        None => count,
        Some(length) if length < 0 => count.saturating_add(length).max(from),
        Some(length) => from.saturating_add(length).min(count),
    };
    let picked = letters.iter().skip(usize::try_from(from).unwrap_or(0)).take(usize::try_from(to - from).unwrap_or(0));
    Cow::Owned(Value::String(picked.collect()))
}

/// JsonLogic's truth: null, false, 0, "" and [] are false.
pub fn truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(on) => *on,
        Value::Number(number) => number.as_f64().is_some_and(|number| number != 0.0 && !number.is_nan()),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(_) => true,
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::Bool(on) => Some(f64::from(u8::from(*on))),
        Value::Null => Some(0.0),
        Value::String(text) if text.trim().is_empty() => Some(0.0),
        Value::String(text) => text.trim().parse().ok(),
        Value::Array(_) | Value::Object(_) => None,
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        _ => a == b,
    }
}

fn loosely_equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Null, Value::Null) => true,
        (Value::Null, _) | (_, Value::Null) => false,
        (Value::String(a), Value::String(b)) => a == b,
        (Value::Array(_) | Value::Object(_), _) | (_, Value::Array(_) | Value::Object(_)) => a == b,
        _ => number(a).zip(number(b)).is_some_and(|(a, b)| a == b),
    }
}

fn ordered(operator: Operator, a: &Value, b: &Value) -> bool {
    let order = match (a, b) {
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        _ => number(a).zip(number(b)).and_then(|(a, b)| a.partial_cmp(&b)),
    };
    match (operator, order) {
        (_, None) => false,
        (Operator::Above, Some(order)) => order == Ordering::Greater,
        (Operator::AtLeast, Some(order)) => order != Ordering::Less,
        (Operator::Below, Some(order)) => order == Ordering::Less,
        (_, Some(order)) => order != Ordering::Greater,
    }
}
