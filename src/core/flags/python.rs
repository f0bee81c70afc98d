//! How the second generation's evaluator, which is written in Python, reads values: its truth, numbers, texts and comparisons.
//!
//! Must not know: rules, contexts.

use std::cmp::Ordering;

use serde_json::{Number, Value};

use super::eval::Broken;
use super::rule::Operator;

/// The one field of what stands for "not a number", which JSON cannot write and which rules here may go on with.
const NAN: &str = "\0NaN";

fn nan() -> Value {
    Value::Object([(NAN.to_owned(), Value::Null)].into_iter().collect())
}

/// Whether a value stands for "not a number".
pub fn is_nan(value: &Value) -> bool {
    value.as_object().is_some_and(|fields| fields.len() == 1 && fields.contains_key(NAN))
}

/// Null, false, 0, "" and [] are false.
pub fn truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Object(_) => !is_nan(value),
        Value::Array(items) => !items.is_empty(),
        Value::String(text) => !text.is_empty(),
        _ => number(value) != 0.0,
    }
}

/// A value as a number: whole ones and truth values stay what they are.
fn to_number(value: &Value) -> Value {
    match value {
        Value::Bool(_) | Value::Number(_) => value.clone(),
        Value::Null => Value::from(0),
        Value::Array(items) if items.len() < 2 => items.first().map_or(Value::from(0), to_number),
        Value::String(text) => {
            let text = text.trim();
            let letters = text.chars().any(|letter| letter.is_alphabetic() && !matches!(letter, 'e' | 'E'));
            text.parse().ok().filter(|_| !letters).map_or_else(nan, from_number)
        }
        _ => nan(),
    }
}

fn from_number(number: f64) -> Value {
    Number::from_f64(number).map_or_else(nan, Value::Number)
}

fn number(value: &Value) -> f64 {
    match value {
        Value::Bool(on) => f64::from(u8::from(*on)),
        Value::Number(number) => number.as_f64().unwrap_or(f64::NAN),
        Value::Object(_) => f64::NAN,
        other => number(&to_number(other)),
    }
}

fn whole(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_bool().map(i64::from))
}

/// A value as a text.
pub fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Bool(on) => (if *on { "True" } else { "False" }).to_owned(),
        Value::Number(number) if number.is_f64() => digits(number.as_f64().unwrap_or(f64::NAN)),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(","),
        Value::Object(_) if is_nan(value) => "nan".to_owned(),
        Value::Object(_) => "[object Object]".to_owned(),
        other => other.to_string(),
    }
}

/// `%.15g`.
fn digits(number: f64) -> String {
    let written = format!("{number:.14e}");
    let (mantissa, exponent) = written.split_once('e').unwrap_or((&written, "0"));
    let trim = |text: &str| text.trim_end_matches('0').trim_end_matches('.').to_owned();
    match exponent.parse::<i32>().unwrap_or(0) {
        exponent @ -4..=14 => {
            let places = usize::try_from(14 - exponent).unwrap_or(0);
            let plain = format!("{number:.places$}");
            if plain.contains('.') { trim(&plain) } else { plain }
        }
        exponent => {
            let sign = if exponent < 0 { '-' } else { '+' };
            let mantissa = if mantissa.contains('.') { trim(mantissa) } else { mantissa.to_owned() };
            format!("{mantissa}e{sign}{:02}", exponent.abs())
        }
    }
}

/// `repr` of a number, as which it names a variant.
pub fn name(value: &Value) -> String {
    match value {
        Value::Number(number) => number.to_string(),
        Value::Array(_) | Value::Object(_) => value.to_string(),
        other => text(other),
    }
}

/// `+ - * / % min max` over its operands.
pub fn arithmetic(operator: Operator, operands: &[Value]) -> Result<Value, Broken> {
    let numbers: Vec<Value> = operands.iter().map(to_number).collect();
    let at = |place: usize| numbers.get(place).cloned().unwrap_or(Value::from(0));
    Ok(match operator {
        Operator::Add => {
            numbers.iter().fold(Value::from(0), |so_far, next| combine(&so_far, next, i64::checked_add, |a, b| a + b))
        }
        Operator::Multiply => {
            numbers.iter().fold(Value::from(1), |so_far, next| combine(&so_far, next, i64::checked_mul, |a, b| a * b))
        }
        Operator::Subtract if operands.get(1).is_none_or(Value::is_null) => {
            combine(&Value::from(0), &at(0), i64::checked_sub, |_, b| -b)
        }
        Operator::Subtract => combine(&at(0), &at(1), i64::checked_sub, |a, b| a - b),
        Operator::Min | Operator::Max => {
            let order = if operator == Operator::Min { Ordering::Less } else { Ordering::Greater };
            let better = |a: Value, b: Value| if number(&b).partial_cmp(&number(&a)) == Some(order) { b } else { a };
            numbers.into_iter().reduce(better).unwrap_or_else(nan)
        }
        _ if number(&at(1)) == 0.0 => return Err(Broken::general("a division by zero")),
        Operator::Divide => from_number(number(&at(0)) / number(&at(1))),
        _ => combine(
            &at(0),
            &at(1),
            |a, b| {
                Some(((i128::from(a) % i128::from(b)) + i128::from(b)) % i128::from(b))
                    .and_then(|left| i64::try_from(left).ok())
            },
            |a, b| {
                let left = a % b;
                if left != 0.0 && (left < 0.0) != (b < 0.0) { left + b } else { left }
            },
        ),
    })
}

fn combine(a: &Value, b: &Value, wholes: impl Fn(i64, i64) -> Option<i64>, floats: impl Fn(f64, f64) -> f64) -> Value {
    let exact = whole(a).zip(whole(b)).and_then(|(a, b)| wholes(a, b));
    exact.map_or_else(|| from_number(floats(number(a), number(b))), Value::from)
}

/// `a operator b`.
pub fn compare(operator: Operator, a: &Value, b: &Value) -> bool {
    let numeric = |value: &Value| matches!(value, Value::Bool(_) | Value::Number(_)) || is_nan(value);
    let order = match operator {
        Operator::Same => return same(a, b),
        Operator::NotSame => return !same(a, b),
        Operator::Equal => return loosely_equal(a, b),
        Operator::Unequal => return !loosely_equal(a, b),
        _ if !numeric(a) && !numeric(b) && (a.is_string() || b.is_string()) => Some(text(a).cmp(&text(b))),
        _ => number(a).partial_cmp(&number(b)),
    };
    match operator {
        Operator::Above => order == Some(Ordering::Greater),
        Operator::AtLeast => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
        Operator::Below => order == Some(Ordering::Less),
        _ => matches!(order, Some(Ordering::Less | Ordering::Equal)),
    }
}

/// Equal in depth; true is 1, and 1 is 1.0.
pub fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Bool(_) | Value::Number(_), Value::Bool(_) | Value::Number(_)) => number(a) == number(b),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(x), Value::Object(y)) => {
            !is_nan(a) && x.len() == y.len() && x.iter().all(|(name, x)| y.get(name).is_some_and(|y| same(x, y)))
        }
        _ => a == b,
    }
}

fn loosely_equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        _ if is_nan(a) || is_nan(b) => false,
        (Value::Array(_), Value::Array(_)) | (Value::Object(_), Value::Object(_)) => std::ptr::eq(a, b),
        (Value::Bool(_) | Value::Number(_), _) | (_, Value::Bool(_) | Value::Number(_)) => number(a) == number(b),
        (Value::Array(_), Value::Object(_)) | (Value::Object(_), Value::Array(_)) => false,
        (Value::Null, _) | (_, Value::Null) => a == b,
        _ => text(a) == text(b),
    }
}

/// Letters of a text from a place on; a negative length counts from the end.
pub fn substring(value: &Value, from: &Value, length: &Value) -> Value {
    let letters: Vec<char> = text(value).chars().collect();
    #[allow(clippy::cast_precision_loss, reason = "texts are short")]
    let count = letters.len() as f64;
    let from = number(from);
    let start = if from.is_nan() || from <= -count {
        0.0
    } else if from < 0.0 {
        count - (-from).trunc()
    } else {
        from.trunc().min(count)
    };
    let end = match length {
        Value::Null => count,
        length => match number(length) {
            length if length.is_nan() => start,
            length if length.trunc() < 0.0 => (count + length.trunc()).max(start),
            length => (start + length.trunc()).min(count),
        },
    };
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and the text's length")]
    let (start, end) = (start as usize, end as usize);
    Value::String(letters[start.min(end)..end].iter().collect())
}

/// `wanted in list`.
pub fn includes(wanted: &Value, list: &Value) -> bool {
    match list {
        Value::Array(items) => items.iter().any(|item| same(item, wanted)),
        Value::String(whole) => whole.contains(&text(wanted)),
        _ => false,
    }
}

/// How many of a percentage's names must be there.
pub fn at_least(needed: &Value, there: usize) -> bool {
    #[allow(clippy::cast_precision_loss, reason = "a count of names")]
    let there = there as f64;
    there >= number(needed)
}
