//! Where the first generation's evaluator does not compile a rule but walks it, which it does below an `if` without an "else": some
//! operators differ then.
//!
//! Must not know: flags.

use std::borrow::Cow;

use serde_json::Value;

use super::eval::{Broken, Scope, apply, evaluate, lookup};
use super::javascript::{arithmetic, compare, number, operand, text, truthy};
use super::rule::{Operator, Rule};

/// A value by its path. A constant path of two or three parts ends at the first value that does not hold, and gives that; the fallback is
/// for what is not there, not for null.
pub fn var<'a>(
    path: &'a Rule,
    fallback: Option<&'a Rule>,
    scope: &'a Scope<'a>,
    data: &'a Value,
) -> Result<Cow<'a, Value>, Broken> {
    if let (Rule::Literal(Value::String(path)), None) = (path, fallback)
        && (1..=2).contains(&path.matches('.').count())
        && !path.starts_with("$flagd.")
    {
        let mut at = data;
        for part in path.split('.') {
            if !is_something(at) {
                return Ok(Cow::Borrowed(at));
            }
            match step(at, part) {
                Some(next) => at = next,
                // A letter or a length is the end of every path.
                None => break,
            }
        }
    }
    let path = evaluate(path, scope, data)?;
    match (lookup(&path, scope, data), fallback) {
        (Some(found), _) => Ok(found),
        (None, Some(rule)) => evaluate(rule, scope, data),
        (None, None) => Ok(Cow::Owned(Value::Null)),
    }
}

/// JavaScript's own truth, for which every list and object holds.
fn is_something(value: &Value) -> bool {
    !matches!(value, Value::Null | Value::Bool(false)) && value.as_f64() != Some(0.0) && value.as_str() != Some("")
}

fn step<'a>(at: &'a Value, part: &str) -> Option<&'a Value> {
    match at {
        Value::Object(fields) => fields.get(part),
        Value::Array(items) => part.parse::<usize>().ok().and_then(|place| items.get(place)),
        _ => None,
    }
}

/// Applies an operator as the walking evaluator does.
pub fn walk<'a>(
    operator: Operator,
    operands: &'a [Rule],
    scope: &'a Scope<'a>,
    data: &'a Value,
) -> Result<Cow<'a, Value>, Broken> {
    let value = |place: usize| -> Result<Cow<'a, Value>, Broken> {
        operands.get(place).map_or(Ok(Cow::Owned(Value::Null)), |rule| evaluate(rule, scope, data))
    };
    let answer = match (operator, operands.len()) {
        (
            Operator::Equal
            | Operator::Unequal
            | Operator::Above
            | Operator::AtLeast
            | Operator::Below
            | Operator::AtMost,
            2..,
        ) => Value::Bool(chain(operator, operands, scope, data)?),
        (Operator::Cat, _) => {
            let mut whole = String::new();
            for rule in operands {
                let part = evaluate(rule, scope, data)?;
                if !part.is_null() {
                    whole += &text(&part);
                }
            }
            Value::String(whole)
        }
        // Of a single list, its first item is meant.
        (Operator::Not | Operator::Truthy, 1) => {
            let only = value(0)?;
            let held = match only.as_ref() {
                Value::Array(items) => items.first().is_some_and(truthy),
                other => truthy(other),
            };
            Value::Bool(held == (operator == Operator::Truthy))
        }
        (Operator::Add | Operator::Subtract, 1) => match value(0)?.as_ref() {
            Value::Array(items) => {
                let numbers: Vec<f64> = items.iter().map(operand).collect::<Result<_, _>>()?;
                arithmetic(operator, &numbers)?
            }
            single => arithmetic(operator, &[operand(single)?])?,
        },
        // A sum of a list, which it recognises and reckons at once.
        (Operator::Reduce, 3) if is_sum(&operands[1]) => {
            let list = value(0)?;
            let items: Result<Vec<f64>, _> = match list.as_ref() {
                Value::Array(items) => items.iter().map(operand).collect(),
                single => operand(single).map(|single| vec![single]),
            };
            let first = operand(&*value(2)?)?;
            arithmetic(Operator::Add, &[items?, vec![first]].concat())?
        }
        (Operator::All | Operator::Any | Operator::None, 2) => {
            return some_or_all(operator, &operands[1], scope, &*value(0)?).map(|held| Cow::Owned(Value::Bool(held)));
        }
        _ => return apply(operator, operands, scope, data),
    };
    Ok(Cow::Owned(answer))
}

fn is_sum(rule: &Rule) -> bool {
    let named = |rule: &Rule, name: &str| match rule {
        Rule::WalkVar(path, None) => matches!(&**path, Rule::Literal(Value::String(path)) if path == name),
        _ => false,
    };
    match rule {
        Rule::Walk(Operator::Add, operands) => match operands.as_slice() {
            [a, b] => {
                [a, b].iter().any(|rule| named(rule, "accumulator")) && [a, b].iter().any(|rule| named(rule, "current"))
            }
            _ => false,
        },
        _ => false,
    }
}

fn chain<'a>(operator: Operator, operands: &'a [Rule], scope: &'a Scope<'a>, data: &'a Value) -> Result<bool, Broken> {
    let mut left = evaluate(&operands[0], scope, data)?;
    for rule in &operands[1..] {
        let right = evaluate(rule, scope, data)?;
        let plain = |value: &Value| matches!(value, Value::String(_) | Value::Null);
        let held = if plain(&left) && plain(&right) {
            compare(operator, &left, &right)
        } else {
            let first = operand(&left)?;
            if !left.is_null() || right.is_array() || right.is_object() {
                operand(&right)?;
            }
            compare(operator, &Value::from(first), &Value::from(number(&right)))
        };
        if !held {
            return Ok(false);
        }
        left = right;
    }
    Ok(true)
}

/// Over the items of a list, or the letters of a text; anything else has none.
fn some_or_all<'a>(operator: Operator, rule: &'a Rule, scope: &'a Scope<'a>, list: &Value) -> Result<bool, Broken> {
    let letters: Vec<Value>;
    let items: &[Value] = match list {
        Value::Array(items) => items,
        Value::String(whole) => {
            letters = whole.encode_utf16().map(|unit| Value::from(String::from_utf16_lossy(&[unit]))).collect();
            &letters
        }
        _ => &[],
    };
    for item in items {
        let held = truthy(&*evaluate(rule, scope, item)?);
        if held != (operator == Operator::All) {
            return Ok(operator == Operator::Any);
        }
    }
    Ok(match operator {
        Operator::All => !items.is_empty() || !list.is_array() && is_something(list),
        Operator::Any => false,
        _ => true,
    })
}
