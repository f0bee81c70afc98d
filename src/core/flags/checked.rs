//! Comparisons as the first generation's evaluator makes them, which checks a side against what it has read last.
//!
//! Must not know: flags.

use std::borrow::Cow;

use serde_json::Value;

use super::eval::{Answer, Broken, Scope, evaluate, owned, truthy};
use super::javascript;
use super::rule::{Operator, Rule};

/// What the evaluator has read last when it has evaluated a rule; none in a constant.
fn last_read<'a>(rule: &'a Rule, scope: &'a Scope<'a>, data: &'a Value) -> Result<Option<Cow<'a, Value>>, Broken> {
    use Operator::{All, And, Any, Filter, If, Map, None as Nothing, Or, Reduce, Ternary};
    Ok(match rule {
        Rule::Var(..) | Rule::WalkVar(..) | Rule::Apply(And | Or, _) => Some(evaluate(rule, scope, data)?),
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
pub fn compare_javascript<'a>(
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
            Rule::Var(..) | Rule::WalkVar(..) => right.clone(),
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
