//! Whether what a rule gives can change with nothing but time.
//!
//! Must not know: schedules (their boundaries are known ahead).

use serde_json::Value;

use super::rule::{Operator, Rule};

/// Whether a rule may read the time. A path that is computed, and the whole context, count as reading it: better an answer too fresh than
/// one too old.
pub fn reads_clock(rule: &Rule) -> bool {
    reads(rule, false)
}

/// `inner`: inside `map` and the like, where the whole context is one element of a list.
fn reads(rule: &Rule, inner: bool) -> bool {
    match rule {
        Rule::Literal(_) | Rule::InCohort(_) => false,
        Rule::List(rules) => rules.iter().any(|rule| reads(rule, inner)),
        Rule::Var(path, fallback) | Rule::WalkVar(path, fallback) => {
            names_clock(path, inner) || fallback.as_ref().is_some_and(|rule| reads(rule, inner))
        }
        Rule::Apply(operator, operands) | Rule::Walk(operator, operands) if is_loop(*operator) => {
            operands.iter().enumerate().any(|(place, rule)| reads(rule, inner || place == 1))
        }
        Rule::Apply(_, operands)
        | Rule::Walk(_, operands)
        | Rule::Fractional(operands)
        | Rule::Unknown(_, operands) => operands.iter().any(|rule| reads(rule, inner)),
    }
}

/// Whether an operator's second operand is asked about each item of a list.
const fn is_loop(operator: Operator) -> bool {
    matches!(
        operator,
        Operator::Map | Operator::Filter | Operator::All | Operator::Any | Operator::None | Operator::Reduce
    )
}

fn names_clock(path: &Rule, inner: bool) -> bool {
    match path {
        Rule::Literal(path) => is_clock(path, inner),
        Rule::List(paths) => paths.is_empty() && !inner || paths.iter().any(|path| names_clock(path, inner)),
        _ => true,
    }
}

fn is_clock(path: &Value, inner: bool) -> bool {
    match path {
        Value::String(path) if path.is_empty() => !inner,
        Value::String(path) => path == "$flagd" || path == "$flagd.timestamp",
        Value::Null => !inner,
        Value::Array(paths) => paths.is_empty() && !inner || paths.iter().any(|path| is_clock(path, inner)),
        _ => false,
    }
}
