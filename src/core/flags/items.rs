//! Operators over the items of a list, and over names of the data.
//!
//! Must not know: flags.

use std::borrow::Cow;

use serde_json::{Value, json};

use super::bucket::Generation;
use super::eval::{Answer, Broken, NULL, Scope, evaluate, lookup, owned, truthy};
use super::rule::{Operator, Rule};
use super::{javascript, python};

/// `map`, `filter`, `all`, `some`, `none`: a rule over each item of a list.
pub fn over<'a>(operator: Operator, operands: &'a [Rule], scope: &'a Scope<'a>, list: &Value) -> Answer<'a> {
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

/// `reduce`: a rule that takes each item with what came of those before.
pub fn reduce<'a>(operands: &'a [Rule], scope: &'a Scope<'a>, data: &'a Value) -> Answer<'a> {
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

/// `missing`, `missing_some`: which of some names the data lacks.
pub fn missing<'a>(operator: Operator, operands: &'a [Rule], scope: &'a Scope<'a>, data: &'a Value) -> Answer<'a> {
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
