//! How the first generation's evaluator, which is written in JavaScript, reads values: its truth, numbers, texts and comparisons.
//!
//! Must not know: rules, contexts.

use std::cmp::Ordering;

use serde_json::{Number, Value};

use super::eval::Broken;
use super::rule::Operator;

/// Null, false, 0, "", [] and {} are false.
pub fn truthy(value: &Value) -> bool {
    match value {
        Value::Object(fields) => !fields.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::String(text) => !text.is_empty(),
        _ => number(value) != 0.0,
    }
}

/// `Number(value)`.
pub fn number(value: &Value) -> f64 {
    match value {
        Value::Null => 0.0,
        Value::Bool(on) => f64::from(u8::from(*on)),
        Value::Number(number) => number.as_f64().unwrap_or(f64::NAN),
        Value::String(text) => parse(text),
        Value::Array(_) => parse(&text(value)),
        Value::Object(_) => f64::NAN,
    }
}

fn parse(text: &str) -> f64 {
    let text = text.trim();
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => u32::from_str_radix(digits, 16).map_or(f64::NAN, f64::from),
        None if text.is_empty() => 0.0,
        None if text.chars().any(|letter| letter.is_alphabetic() && !matches!(letter, 'e' | 'E')) => f64::NAN,
        None => text.parse().unwrap_or(f64::NAN),
    }
}

/// `String(value)`.
pub fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => match from_number(number.as_f64().unwrap_or(f64::NAN)) {
            Value::Number(number) => number.to_string(),
            _ => "NaN".to_owned(),
        },
        Value::Array(items) => {
            let items: Vec<String> =
                items.iter().map(|item| if item.is_null() { String::new() } else { text(item) }).collect();
            items.join(",")
        }
        Value::Object(_) => "[object Object]".to_owned(),
        other => other.to_string(),
    }
}

/// A number as JSON: whole ones without a decimal point.
pub fn from_number(number: f64) -> Value {
    #[allow(clippy::cast_possible_truncation, reason = "guarded by the range check")]
    if number.fract() == 0.0 && number.abs() < 9_007_199_254_740_992.0 {
        Value::from(number as i64)
    } else {
        Number::from_f64(number).map_or(Value::Null, Value::Number)
    }
}

/// An operand of arithmetic: a list, an object, or a text that is no number breaks the rule.
pub fn operand(value: &Value) -> Result<f64, Broken> {
    match value {
        Value::Array(_) | Value::Object(_) => Err(Broken::general("a list or an object is no number")),
        _ => Some(number(value)).filter(|number| !number.is_nan()).ok_or_else(not_a_number),
    }
}

fn not_a_number() -> Broken {
    Broken::general("a text is no number")
}

/// `+ - * / %` over its operands.
pub fn arithmetic(operator: Operator, operands: &[f64]) -> Result<Value, Broken> {
    let folded = match (operator, operands) {
        (Operator::Add, all) => all.iter().sum(),
        (Operator::Multiply, all) => all.iter().product(),
        (Operator::Subtract, [only]) => -only,
        (Operator::Divide, [only]) => divide(1.0, *only)?,
        (Operator::Modulo, [] | [_]) | (Operator::Subtract | Operator::Divide, []) => {
            return Err(Broken::general("an operator has too few operands"));
        }
        (_, [first, rest @ ..]) => rest.iter().try_fold(*first, |so_far, next| match operator {
            Operator::Subtract => Ok(so_far - next),
            Operator::Divide => divide(so_far, *next),
            _ => Ok(so_far % next),
        })?,
        (_, []) => 0.0,
    };
    if folded.is_nan() { Err(not_a_number()) } else { Ok(from_number(folded)) }
}

fn divide(a: f64, b: f64) -> Result<f64, Broken> {
    if b == 0.0 { Err(Broken::general("a division by zero")) } else { Ok(a / b) }
}

/// The largest or smallest of numbers; anything that is not a number as it stands breaks the rule.
pub fn extreme(operator: Operator, values: &[Value]) -> Result<Value, Broken> {
    let pick = |a: f64, b: f64| if (operator == Operator::Max) == (b > a) && a != b { b } else { a };
    let numbers: Option<Vec<f64>> = values.iter().map(Value::as_f64).collect();
    let best = numbers.and_then(|numbers| numbers.into_iter().reduce(pick));
    best.map(from_number).ok_or_else(|| Broken::general("min and max take numbers"))
}

/// What the second side of a comparison becomes, given what is remembered as the first one.
pub fn checked<'v>(item: &'v Value, first: &Value) -> Result<std::borrow::Cow<'v, Value>, Broken> {
    use std::borrow::Cow;
    let plain = |value: &Value| matches!(value, Value::String(_) | Value::Null);
    if plain(item) && plain(first) {
        return Ok(Cow::Borrowed(item));
    }
    match operand(item) {
        Err(_) if !(first.is_null() && item.is_string()) => return Err(not_a_number()),
        _ => {}
    }
    operand(first)?;
    if first.is_null() && number(item) == 0.0 && !item.is_string() {
        return Ok(Cow::Owned(Value::Null));
    }
    let falsy = first.is_null() || first.as_str() == Some("") || !first.is_string() && number(first) == 0.0;
    if item.is_null() && falsy {
        return Ok(Cow::Owned(Value::from(0)));
    }
    Ok(Cow::Borrowed(item))
}

/// `a operator b`, loosely or strictly.
pub fn compare(operator: Operator, a: &Value, b: &Value) -> bool {
    match operator {
        Operator::Same => same(a, b),
        Operator::NotSame => !same(a, b),
        Operator::Equal => loosely_equal(a, b),
        Operator::Unequal => !loosely_equal(a, b),
        _ => {
            let order = match (primitive(a), primitive(b)) {
                (Some(a), Some(b)) => Some(a.encode_utf16().cmp(b.encode_utf16())),
                _ => number(a).partial_cmp(&number(b)),
            };
            match operator {
                Operator::Above => order == Some(Ordering::Greater),
                Operator::AtLeast => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
                Operator::Below => order == Some(Ordering::Less),
                _ => matches!(order, Some(Ordering::Less | Ordering::Equal)),
            }
        }
    }
}

/// The text that a value is compared as, where it is compared as one.
fn primitive(value: &Value) -> Option<String> {
    matches!(value, Value::String(_) | Value::Array(_) | Value::Object(_)).then(|| text(value))
}

/// Lists and objects are the same only where they are one and the same.
pub fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (Value::Array(_), Value::Array(_)) | (Value::Object(_), Value::Object(_)) => std::ptr::eq(a, b),
        _ => a == b,
    }
}

fn loosely_equal(a: &Value, b: &Value) -> bool {
    let object = |value: &Value| matches!(value, Value::Array(_) | Value::Object(_));
    match (a, b) {
        (Value::Null, Value::Null) => true,
        (Value::Null, _) | (_, Value::Null) => false,
        (Value::String(a), Value::String(b)) => a == b,
        (a, b) if object(a) && object(b) => std::ptr::eq(a, b),
        (Value::String(a), b) if object(b) => *a == text(b),
        (a, Value::String(b)) if object(a) => text(a) == *b,
        _ => number(a) == number(b),
    }
}

/// `text.substr(from, length)`, a negative length counting from the end.
pub fn substring(value: &Value, from: &Value, length: Option<&Value>) -> Result<Value, Broken> {
    let Value::String(text) = value else { return Err(Broken::general("substr takes a text")) };
    let units: Vec<u16> = text.encode_utf16().collect();
    let whole = |value: &Value| Some(number(value)).filter(|number| !number.is_nan()).unwrap_or(0.0).trunc();
    #[allow(clippy::cast_precision_loss, reason = "texts are short")]
    let count = units.len() as f64;
    let from = whole(from);
    let start = if from < 0.0 { (count + from).max(0.0) } else { from.min(count) };
    let left = count - start;
    let taken = match length.map(whole) {
        None => left,
        Some(length) if length < 0.0 => left + length,
        Some(length) => length.min(left),
    };
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and the text's length")]
    let (start, taken) = (start as usize, taken.max(0.0) as usize);
    Ok(Value::String(String::from_utf16_lossy(&units[start..start + taken])))
}

/// `(list || []).includes(wanted)`.
pub fn includes(wanted: &Value, list: &Value) -> Result<bool, Broken> {
    match list {
        Value::Array(items) => Ok(items.iter().any(|item| same(item, wanted))),
        Value::String(whole) if whole.is_empty() => Ok(false),
        Value::String(whole) => Ok(match wanted {
            Value::String(wanted) => whole.contains(wanted.as_str()),
            other => whole.contains(&text(other)),
        }),
        other if matches!(other, Value::Object(_)) || number(other) != 0.0 => {
            Err(Broken::general("in takes a list or a text"))
        }
        _ => Ok(false),
    }
}
