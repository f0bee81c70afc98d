//! Percentages: which share of a `fractional` a person falls into.
//!
//! Must not know: flags, HTTP.

use serde_json::Value;

use super::bucket::{Generation, MAX_TOTAL, Subject, hash, place};
use super::eval::{Broken, Scope, evaluate};
use super::rule::Rule;

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
